"""How many can watch one session, how late do they hear, and what does a message cost? (see README.md)

A real `veilig serve`; the watchers are bare WebSocket clients in processes of their own on the same cores, so
the latencies hold the clients' work, too. Events are appended to the ledger by this process, as a driver
would.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import statistics
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from veilig.collab.accounts import Accounts
from veilig.collab.roles import Role
from veilig.collab.view import view
from veilig.core.ledger import Event, Ledger
from veilig.core.redact import Redactor
from veilig.home import Home

SESSION = "run-be7c4000"
PASSWORD = "correct-horse-battery-9"
ROLES = ("owner", "driver", "commenter", "viewer")
TICKS = os.sysconf("SC_CLK_TCK")
PER_PERSON = 60
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def body(number: int) -> dict[str, Any]:
    """About 250 bytes of output, with the time at which it was made."""
    text = f"@{time.time():.6f}@ tests/test_cart.py::test_{number} PASSED and some more words of a line\n" * 2
    return {"ref": "r1", "stream": "stdout", "text": text, "dropped_bytes": 0}


# --- one process of watchers ----------------------------------------------------------------------------


async def watch(
    host: str, port: int, cookie: str, late: list[float], *, reads: bool, ready: asyncio.Event
) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        f"GET /api/v1/sessions/{SESSION}/live?after=999999999 HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        f"Cookie: {cookie}\r\n\r\n".encode()
    )
    status = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
    if b"101" not in status:
        raise SystemExit(status.decode())
    ready.set()
    if not reads:
        await asyncio.sleep(3600)
    while True:
        head = await reader.readexactly(2)
        size = head[1] & 127
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await reader.readexactly(8), "big")
        data = await reader.readexactly(size)
        if head[0] & 15 == 8:
            return
        now = time.time()
        if (at := data.find(b"@")) > 0 and data.startswith(b'{"t":"event"'):
            late.append((now - float(data[at + 1 : data.index(b"@", at + 1)])) * 1000)


async def crowd(host: str, port: int, cookies: list[str], count: int, *, reads: bool) -> None:
    late: list[float] = []
    tasks: list[asyncio.Task[None]] = []
    for number in range(count):
        ready = asyncio.Event()
        cookie = cookies[number % len(cookies)]
        tasks.append(asyncio.create_task(watch(host, port, cookie, late, reads=reads, ready=ready)))
        await ready.wait()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    late.clear()
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps(late), flush=True)


# --- the measurement ------------------------------------------------------------------------------------


class Server:
    """The server under measurement."""

    def __init__(self, home: Path) -> None:
        argv = [sys.executable, "-m", "veilig.cli.main", "serve", str(home), "--listen", "127.0.0.1:0"]
        env = {**os.environ, "VEILIG_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://([\d.]+):(\d+)", line)
        if found is None:
            raise SystemExit(line)
        self.host, self.port = found[1], int(found[2])

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mib(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", text)
        return int(found[1]) / 1024 if found else 0.0


def start_crowd(server: Server, cookies: list[str], count: int, *, reads: bool) -> "subprocess.Popen[str]":
    kind = "reads" if reads else "deaf"
    argv = [sys.executable, __file__, "--crowd", kind, server.host, str(server.port), str(count)]
    made = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert made.stdin is not None
    assert made.stdout is not None
    made.stdin.write(json.dumps(cookies) + "\n")
    made.stdin.flush()
    if made.stdout.readline().strip() != "ready":
        raise SystemExit("a crowd did not come in")
    return made


def told(crowds: "list[subprocess.Popen[str]]") -> None:
    for one in crowds:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()


def run(
    server: Server, ledger: Ledger, cookies: list[str], readers: int, deaf: int, rate: float, seconds: float
) -> None:
    """One row of the table."""
    crowds = [start_crowd(server, cookies, readers // 2, reads=True) for _ in range(2)]
    silent = [start_crowd(server, cookies, deaf, reads=False)] if deaf else []
    time.sleep(2)  # who came in has been said
    told(crowds)
    cpu_s, began, sent = server.cpu_s(), time.monotonic(), 0
    while (now := time.monotonic()) - began < seconds:
        due = began + sent / rate
        if now < due:
            time.sleep(due - now)
        made = body(sent)
        ledger.transact(lambda tx, b=made: tx.append("action.output", SESSION, b), durable=False)
        sent += 1
    time.sleep(2)
    used_s = server.cpu_s() - cpu_s
    told(crowds)
    late: list[float] = []
    for one in crowds:
        assert one.stdout is not None
        late += json.loads(one.stdout.readline())
    expected = sent * (readers // 2 * 2)
    late.sort()
    p50 = statistics.median(late) if late else 0.0
    p99 = late[int(len(late) * 0.99)] if late else 0.0
    each_us = used_s / max(1, len(late)) * 1e6
    print(
        f"| {readers} | {deaf} | {rate:g} | {len(late) / expected:.3f} | {p50:.0f} / {p99:.0f} | "
        f"{each_us:.1f} | {server.rss_mib():.0f} |",
        flush=True,
    )
    for one in [*crowds, *silent]:
        one.kill()
        one.wait()
    time.sleep(1)


def added(count: int = 4000, secrets: int = 20) -> None:
    """What redaction adds to one event of output: its stream, then a view for each role that watches."""
    dice = random.Random(3)
    redactor = Redactor(b"k" * 32)
    for number in range(secrets):
        redactor.mark("".join(dice.choices(string.ascii_letters + string.digits, k=40)), f"S{number}")
    redactor.seal("-")
    stream, found = redactor.stream(), list[float]()
    for number in range(count):
        made = body(number)
        begin = time.perf_counter()
        made["text"] = stream.feed(made["text"].encode()).decode("utf-8", "replace")
        event = Event(number + 1, SESSION, "action.output", 2, 0, "", 0, 0, made, "", "")
        for role in ROLES:
            view(event, Role(role))
        found.append((time.perf_counter() - begin) * 1000)
    found.sort()
    p50_ms, p99_ms = found[count // 2], found[count * 99 // 100]
    print(
        f"added by redaction, {secrets} known secrets, 4 roles, per event: "
        f"p50 {p50_ms:.2f}, p99 {p99_ms:.2f} ms"
    )


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["--crowd"]:
        kind, host, port, count = sys.argv[2:6]
        cookies = json.loads(sys.stdin.readline())
        asyncio.run(crowd(host, int(port), cookies, int(count), reads=kind == "reads"))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--rates", type=float, nargs="+", default=[5, 10, 20, 40])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--added", action="store_true", help="only what redaction adds to each event")
    parser.add_argument("--deaf", type=int, default=50, help="in one more row: watchers that never read")
    args = parser.parse_args()
    added()
    if args.added:
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        people = [f"p{i}" for i in range(args.readers // PER_PERSON + 2)]
        accounts = Accounts(home / "people.db")
        cookies: list[str] = []
        for number, person in enumerate(people):
            made = accounts.add(person, person, Role(ROLES[number % 4]))
            cookies.append(f"veilig_session={accounts.log_in(made, 'password')[0]}")
        accounts.close()
        with Home(home).open_ledger() as ledger:
            start = {
                "kind": "run",
                "actor": "agent:run",
                "source": "/x",
                "options": {},
                "policy": "",
                "veilig": "",
            }
            ledger.transact(lambda tx: tx.append("session.started", SESSION, start))
            server = Server(home)
            print("| watchers | deaf | events/s | delivered | p50 / p99 ms | CPU us per message | RSS MiB |")
            print("|---|---|---|---|---|---|---|")
            for rate in args.rates:
                run(server, ledger, cookies, args.readers, 0, rate, args.seconds)
            if args.deaf:
                run(server, ledger, cookies, args.readers, args.deaf, args.rates[0], args.seconds)
            server.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            server.process.wait(60)
            print(f"stopped in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
