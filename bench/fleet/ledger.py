"""How many events a second does a ledger in PostgreSQL take durably, beside plain COPY, INSERT and our file?

.venv/bin/python bench/fleet/ledger.py [--seconds 4] [--dir FOLDER]     (needs PostgreSQL's programs)
"""

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from server_ledger import Server  # from the folder above
from veilig.core.ledger import Ledger
from veilig.core.ledger_verify import verify_store
from veilig.stores.address import parse_place
from veilig.stores.opening import looks, open_ledger, places_at

BODY = {"ref": "s1:17", "digest": "ab" * 32, "policy": "cd" * 32, "timeout_ms": 30_000, "text": "x" * 100}


def appending(
    place: str, anchors: Path, callers: int, seconds: float, found: "multiprocessing.Queue[int]"
) -> None:
    """One process: `callers` tasks that append one durable event after another."""

    async def work(ledger: Ledger) -> int:
        until, done = time.perf_counter() + seconds, 0

        async def one(name: str) -> None:
            nonlocal done
            while time.perf_counter() < until:
                await ledger.submit(lambda tx: tx.append("action.proposed", name, dict(BODY)))
                done += 1

        await asyncio.gather(*(one(f"s{n}") for n in range(callers)))
        return done

    with open_ledger(parse_place(place), anchor_dir=anchors, create=False) as ledger:
        found.put(asyncio.run(work(ledger)))


def ours(place: str, anchors: Path, callers: int, processes: int, seconds: float) -> float:
    """Events a second of all processes."""
    context = multiprocessing.get_context("spawn")
    found: multiprocessing.Queue[int] = context.Queue()
    given = (place, anchors, callers, seconds, found)
    workers = [context.Process(target=appending, args=given) for _ in range(processes)]
    for one in workers:
        one.start()
    total = sum(found.get() for _ in workers)
    for one in workers:
        one.join()
    return total / seconds


def plain(conninfo: str, seconds: float, per_commit: int, kind: str) -> float:
    """Rows a second of the same bytes in a plain table: `insert` one by one in one transaction, or `copy`."""
    import psycopg

    body = json.dumps(BODY, sort_keys=True)
    row = ("s1", "action.proposed", body, hashlib.sha256(body.encode()).digest())
    with psycopg.connect(conninfo, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS plain")
        db.execute(
            "CREATE TABLE plain (seq bigserial PRIMARY KEY, session text, name text, body text, hash bytea)"
        )
        insert = "INSERT INTO plain (session, name, body, hash) VALUES (%s, %s, %s, %s)"
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            if kind == "insert":
                db.execute(insert, row)
            else:
                with db.cursor().copy("COPY plain (session, name, body, hash) FROM STDIN") as copy:
                    for _ in range(per_commit):
                        copy.write_row(row)
            done += per_commit
        return done / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="per row")
    parser.add_argument("--dir", default=None, help="where files are written: a real disk, not a tmpfs")
    given = parser.parse_args()
    if given.dir:
        tempfile.tempdir = given.dir
    server = Server("fsync = on\nautovacuum = on\n")
    try:
        with tempfile.TemporaryDirectory(dir=given.dir) as folder:
            table(server, Path(folder), given.seconds)
    finally:
        server.close()


def table(server: Server, folder: Path, seconds: float) -> None:
    """All rows, each with its ratio to the plain one that does as much at a time."""
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {seconds:g} s per row, fsync on\n")
    print(f"{'what':<44} {'events/s':>9}  {'of plain':>8}")

    def row(what: str, measure: Callable[[], float], beside: float = 0.0) -> float:
        rate = measure()
        print(f"{what:<44} {rate:>9,.0f}  {f'{rate / beside:.2f}' if beside else '':>8}", flush=True)
        return rate

    boss = server.cluster.conninfo("boss", "fleet")
    base = {1: row("plain INSERT, 1 per commit", lambda: plain(boss, seconds, 1, "insert"))}
    for size in (20, 200):
        base[size] = row(
            f"plain COPY, {size} per commit", lambda size=size: plain(boss, seconds, size, "copy")
        )
    file = folder / "l.db"
    Ledger.open(file, anchor_dir=folder / "anchors").close()
    for callers in (1, 20, 200):
        row(
            f"file (SQLite), {callers} at once, 1 process",
            lambda callers=callers: ours(str(file), folder / "anchors", callers, 1, seconds),
            base[callers],
        )
    for processes in (1, 2, 4):
        for callers in (1, 20, 200):
            org = server.org()
            row(
                f"PostgreSQL, {callers} at once, {processes} process{'es' if processes > 1 else ''}",
                lambda org=org, callers=callers, processes=processes: ours(
                    address(server, org), folder / org, callers, processes, seconds
                ),
                base[callers],
            )
    org = server.org()
    ours(address(server, org), folder / org, 200, 1, seconds)
    start = time.perf_counter()
    found = verify_store(looks(server.address(org)), places_at(server.address(org), folder / org))
    print(f"\nverify: {found.events:,} events in {time.perf_counter() - start:.2f} s")


def address(server: Server, org: str) -> str:
    """As a user writes it."""
    host = str(server.cluster.folder).replace("/", "%2F")
    return f"postgresql://worker@{host}:{server.cluster.port}/fleet?org={org}"


if __name__ == "__main__":
    main()
