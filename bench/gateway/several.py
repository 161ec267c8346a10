"""What does a gateway cost that shares its state, and what do two of them carry?

    .venv/bin/python bench/gateway/several.py [--seconds 5] [--clients 16] [--keys 4]

A scripted upstream, real `veilig gateway` processes and a real PostgreSQL (fsync on) on this machine: one
process on a file, then one, two and three on one database, asked by so many clients at once with so many
keys. CPU is that of the gateways and of the database, per request. Requests that are refused since the
database took more than five seconds are not counted.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from fake_models import fake_models  # noqa: E402
from served import gateway_process  # noqa: E402
from server_ledger import Server  # noqa: E402
from veilig.access.keys import key_hash  # noqa: E402
from veilig.core.ledger import Draft, Ledger  # noqa: E402
from veilig.stores.opening import open_ledger  # noqa: E402

POLICY = """
access:
  default_tier: trusted
  limits: [{{tier: trusted, requests_per_minute: 1000000, tokens_per_minute: 1000000000, concurrent: 10000}}]
monitor: {{enabled: true}}
gateway:
  enabled: true
  upstreams: [{{name: fake, url: "{url}"}}]
  models: [{{name: "*", usd_per_million_in: 1, usd_per_million_out: 4}}]
"""
FOREVER_S = 4_000_000_000
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Row:
    """What one set-up did."""

    name: str
    per_s: float
    p50_ms: float
    p99_ms: float
    gateway_us: float
    database_us: float


def people(ledger: Ledger, keys: int) -> None:
    """One subject with so many keys, and budgets that are never used up."""
    drafts = [
        Draft("subject.added", "access", {"subject": "ann", "kind": "person", "org": "acme", "actor": "t"})
    ]
    drafts += [
        Draft("key.issued", "access", {
            "key": f"k-{n}", "subject": "ann", "hash": key_hash(f"key-{n}".encode()).hex(), "hint": "k",
            "expires_s": FOREVER_S, "actor": "t",
        })
        for n in range(keys)
    ]  # fmt: skip
    drafts.append(
        Draft("budget.set", "access", {
            "account": "org:acme", "period": "total", "tokens": 10**12, "micro_usd": 10**12, "actor": "t",
        })
    )  # fmt: skip
    ledger.append(drafts)


async def ask(urls: list[str], clients: int, keys: int, seconds: float) -> list[float]:
    """How long each request took, in seconds."""
    took: list[float] = []

    async def client(http: aiohttp.ClientSession, number: int) -> None:
        url, headers = urls[number % len(urls)], {"authorization": f"Bearer key-{number % keys}"}
        body = {"model": "m", "input": "hello", "max_output_tokens": 100}
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            async with http.post(f"{url}/responses", json=body, headers=headers) as answer:
                text = await answer.text()
                if answer.status == 503 and "cannot use its record" in text:
                    continue
                if answer.status != 200:
                    raise RuntimeError(text)
            took.append(time.perf_counter() - began)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(client(http, number) for number in range(clients)))
    return took


def cpu_s(pids: list[int]) -> float:
    """Of these processes so far."""
    found = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found += int(parts[11]) + int(parts[12])
    return found / TICKS


def children(pid: int) -> list[int]:
    """A process and those that it started."""
    said = subprocess.run(["pgrep", "-P", str(pid)], check=False, capture_output=True, text=True).stdout
    return [pid, *map(int, said.split())]


async def measured(
    name: str, processes: int, store: str, server: Server | None, given: argparse.Namespace
) -> Row:
    """Start so many gateways on this store, warm them up, and ask."""
    policy = POLICY + (f'ledger: {{{{store: "{store}"}}}}\n' if store else "")
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as all_of_them:
        folders = [Path(scratch) / str(n) for n in range(processes)]
        for folder in folders:
            folder.mkdir()
        if not store:
            with open_ledger(
                folders[0] / "home" / "ledger.db", anchor_dir=folders[0] / "home" / "anchors"
            ) as ledger:
                people(ledger, given.keys)
        async with fake_models() as fake:
            made = [
                all_of_them.enter_context(gateway_process(f, fake.url, known="-", stop=False, policy=policy))
                for f in folders
            ]
            try:
                urls = [one.url for one in made]
                await ask(urls, given.clients, given.keys, 1.0)
                fake.requests.clear()
                pids = [one.process.pid for one in made]
                postmaster = server.cluster.data / "postmaster.pid" if server else None
                base = children(int(postmaster.read_text().split()[0])) if postmaster else []
                before, base_before = cpu_s(pids), cpu_s(base)
                took = await ask(urls, given.clients, given.keys, given.seconds)
                used, base_used = cpu_s(pids) - before, cpu_s(base) - base_before
            finally:
                for one in made:
                    one.process.kill()
    cuts = statistics.quantiles(took, n=100)
    count = len(took)
    return Row(
        name,
        count / given.seconds,
        cuts[49] * 1e3,
        cuts[98] * 1e3,
        used / count * 1e6,
        base_used / count * 1e6,
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--keys", type=int, default=4)
    given = parser.parse_args()
    server = Server("fsync = on\n")
    try:
        rows = [await measured("a file, 1 process", 1, "", None, given)]
        for processes in (1, 2, 3):
            org = server.org()
            address = server.address(org, "server")
            with (
                tempfile.TemporaryDirectory() as scratch,
                open_ledger(address, anchor_dir=Path(scratch) / "anchors") as ledger,
            ):
                people(ledger, given.keys)
            store = f"{address.conninfo}?org={org}"
            rows.append(await measured(f"PostgreSQL, {processes}", processes, store, server, given))
    finally:
        server.close()
    print(
        f"{given.clients} clients, {given.keys} keys, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print("| state | requests/s | p50 ms | p99 ms | gateways us/request | database us/request |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.name} | {row.per_s:.0f} | {row.p50_ms:.1f} | {row.p99_ms:.1f} "
            f"| {row.gateway_us:.0f} | {row.database_us:.0f} |"
        )


if __name__ == "__main__":
    asyncio.run(main())
