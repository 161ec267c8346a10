"""What does recording cost beside the disk? The ledger and plain SQLite, side by side, in one table."""

import argparse
import asyncio
import hashlib
import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from veilig.core.ledger import Draft, Ledger
from veilig.core.ledger_verify import verify

BODY = {
    "ref": "s1:17",
    "digest": "ab" * 32,
    "policy": "cd" * 32,
    "timeout_ms": 30_000,
    "approval": "",
    "text": "x" * 100,
}


def measure(what: str, durable: bool, per_commit: int, rounds: int, commit: Callable[[int], None]) -> None:
    """One row: median wall and CPU of a commit, and events per second."""
    walls: list[float] = []
    cpu = time.process_time()
    start = time.perf_counter()
    for _ in range(rounds):
        at = time.perf_counter()
        commit(per_commit)
        walls.append(time.perf_counter() - at)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(
        f"{what:<28} {'full' if durable else 'normal':<7} {per_commit:>6}"
        f" {rounds * per_commit / wall:>11,.0f}"
        f" {statistics.median(walls) * 1e3:>10.3f} {cpu / rounds * 1e3:>9.3f}"
        f" {cpu / rounds / per_commit * 1e6:>13.1f}"
    )


def raw_sqlite(path: Path, durable: bool, chained: bool) -> Callable[[int], None]:
    """INSERTs of the same bytes; `chained` adds one SHA-256 per row the simplest tamper-evident log."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    db.execute("CREATE TABLE IF NOT EXISTS t (seq INTEGER PRIMARY KEY, body TEXT, hash BLOB)")
    last = b""

    def commit(count: int) -> None:
        nonlocal last
        db.execute("BEGIN IMMEDIATE")
        for _ in range(count):
            body = json.dumps(BODY, sort_keys=True)
            if chained:
                last = hashlib.sha256(last + body.encode()).digest()
            db.execute("INSERT INTO t (body, hash) VALUES (?, ?)", (body, last))
        db.execute("COMMIT")

    return commit


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="commits per row")
    parser.add_argument("--dir", type=Path, default=None, help="where to write: a real disk, not a tmpfs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        place = Path(folder)
        print(
            f"load {os.getloadavg()[0]:.1f}, SQLite {sqlite3.sqlite_version}, {args.rounds} commits per row\n"
        )
        columns = f"{'events/s':>11} {'commit ms':>10} {'CPU ms':>9} {'CPU us/event':>13}"
        print(f"{'what':<28} {'sync':<7} {'events':>6} {columns}")
        with Ledger.open(place / "l.db", anchor_dir=place / "anchors", checkpoint_events=0) as ledger:
            for durable in (True, False):
                for per_commit in (1, 4, 20, 200):
                    rounds = args.rounds if per_commit < 200 else max(10, args.rounds // 10)
                    drafts = [Draft("action.started", "s1", {**BODY}) for _ in range(per_commit)]
                    run = (durable, per_commit, rounds)
                    measure("SQLite rows", *run, raw_sqlite(place / "raw.db", durable, chained=False))
                    measure(
                        "SQLite rows, one hash each",
                        *run,
                        raw_sqlite(place / "raw.db", durable, chained=True),
                    )
                    measure(
                        "ledger.transact",
                        *run,
                        lambda _, d=drafts, f=durable: ledger.append(d, durable=f) and None,
                    )
            print()
            asyncio.run(groups(ledger))
        reading(place)


async def groups(ledger: Ledger) -> None:
    """How much a shared commit saves callers who wait at the same time."""
    append = lambda tx: tx.append("action.started", "s2", {**BODY})  # noqa: E731
    for callers in (1, 4, 20, 200):
        rounds = max(5, 200 // callers)
        start = time.perf_counter()
        for _ in range(rounds):
            await asyncio.gather(*(ledger.submit(append) for _ in range(callers)))
        wall = time.perf_counter() - start
        rate = rounds * callers / wall
        print(f"ledger.submit, {callers:>3} callers at a time: {rate:>9,.0f} durable events/s")


def reading(place: Path) -> None:
    """What resuming and verifying cost."""
    with Ledger.open(place / "r.db", anchor_dir=place / "anchors") as ledger:
        for _ in range(10):
            ledger.append([Draft("action.started", "long", {**BODY}) for _ in range(1000)], durable=False)
        start = time.perf_counter()
        count = sum(1 for _ in ledger.events("long"))
        took_s = time.perf_counter() - start
        print(f"\nresume: {count:,} events of one session read and checked in {took_s:.3f} s")
        start = time.perf_counter()
        ledger.prove(5000)
        took_s = time.perf_counter() - start
        print(f"prove: one inclusion proof among {ledger.size():,} events in {took_s:.3f} s")
    start = time.perf_counter()
    found = verify(place / "r.db", place / "anchors")
    print(f"verify: {found.events:,} events in {time.perf_counter() - start:.3f} s")
    start = time.perf_counter()
    Ledger.open(place / "r.db", anchor_dir=place / "anchors").close()
    print(f"open and close: {(time.perf_counter() - start) * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
