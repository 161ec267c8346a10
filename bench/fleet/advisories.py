"""How soon does a published advisory name the affected ones of 10,000 repositories?

`python bench/fleet/advisories.py [REPOSITORIES]`. A real watcher is at work (`veilig advisories watch`,
looking every 0.1 s), on a SQLite file and on a PostgreSQL of its own; the time runs from the record in its
feed to the last line printed.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from postgres import NoPostgres
from server_ledger import Server
from veilig.app import fleet
from veilig.campaign.sboms import Sboms
from veilig.campaign.sboms_base import Base
from veilig.providers.fleet.index import ServerBase

COMPONENTS = 60  # of one repository: the median of a web service with its transitive pins
PACKAGES = 5_000
SEED = 7
# package, how many of a hundred repositories hold it
WIDE, NARROW, NOBODY = "everywhere", "rare", "unheard-of"
SHARE = {WIDE: 0.9, NARROW: 0.001}


def fill(place: Path | Base, repositories: int) -> float:
    """Seconds that it took to keep the components of all of them."""
    dice = random.Random(SEED)
    names = [f"package-{number}" for number in range(PACKAGES)]
    began_s = time.perf_counter()
    with Sboms(place) as sboms:
        for number in range(repositories):
            chosen = dice.sample(names, COMPONENTS)
            held = [(name, f"{dice.randint(1, 9)}.{dice.randint(0, 9)}", "uv.lock") for name in chosen]
            held += [
                (n, f"1.{dice.randint(0, 3)}", "uv.lock")
                for n, share in SHARE.items()
                if dice.random() < share
            ]
            sboms.record(f"/repositories/{number}", "", f"team/{number}", "", held)
    return time.perf_counter() - began_s


def record(name: str, package: str) -> dict[str, Any]:
    """An OSV record: everything below 1.2 is affected."""
    events = [{"introduced": "0"}, {"fixed": "1.2"}]
    ranges = [{"type": "ECOSYSTEM", "events": events}]
    affected = [{"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges}]
    return {"id": name, "modified": "2026-11-22T00:00:00Z", "summary": "bench", "affected": affected}


def publish(feed: Path, name: str, package: str) -> None:
    """Put the record there whole, as a feed's own tool does."""
    fresh = feed / f".{name}"
    fresh.write_text(json.dumps(record(name, package)))
    fresh.rename(feed / f"{name}.json")


def watched(home: Path, feed: Path, *more: str) -> list[tuple[str, int, float]]:
    """(package, repositories named, seconds) for several advisories, one after the other."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "veilig.cli.main",
            "advisories",
            "watch",
            "--from",
            str(feed),
            "--every",
            "0.1",
            "--json",
            *more,
        ],
        env=os.environ | {"VEILIG_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stderr.readline()  # it is at work
    found: list[tuple[str, int, float]] = []
    try:
        for number, package in enumerate([WIDE, NARROW, NARROW, NARROW, WIDE, WIDE, NARROW, NARROW]):
            began_s = time.perf_counter()
            publish(feed, f"BENCH-{number}", package)
            told = process.stderr.readline()  # `read 1 new pages, N alerts, S s`, then a line for each
            count = int(told.split(", ")[1].split()[0])
            for _ in range(count):
                process.stdout.readline()
            found.append((package, count, time.perf_counter() - began_s))
    finally:
        process.terminate()
        process.communicate()
    return found


def table(name: str, filled_s: float, repositories: int, found: list[tuple[str, int, float]]) -> float:
    """Prints what was measured of one place; the worst time."""
    print(f"{name}: kept in {filled_s:.1f} s ({repositories / filled_s:.0f} a second, each durable)")
    print(f"{'package':<12} {'advisories':>10} {'named':>8} {'median s':>9} {'worst s':>8}")
    worst_s = 0.0
    for package in (WIDE, NARROW):
        times = [seconds for about, _, seconds in found if about == package]
        count = max(count for about, count, _ in found if about == package)
        worst_s = max(worst_s, *times)
        median_s = statistics.median(times)
        print(f"{package:<12} {len(times):>10} {count:>8} {median_s:>9.3f} {max(times):>8.3f}")
    return worst_s


def on_server(home: Path, feed: Path, repositories: int) -> float:
    """The same on a PostgreSQL of its own, fsync off as its disk is thrown away."""
    server = Server("autovacuum = on\n")
    try:
        fleet.prepare(server.cluster.conninfo("boss", "fleet"), "worker")
        host = str(server.cluster.folder).replace("/", "%2F")
        url = f"postgresql://worker@{host}:{server.cluster.port}/fleet"
        filled_s = fill(ServerBase(url, "main"), repositories)
        found = watched(home, feed, "--database", url)
    finally:
        server.close()
    return table("PostgreSQL", filled_s, repositories, found)


def main() -> int:
    """Prints the tables; 1 when an advisory took a second or more."""
    repositories = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        home, feeds = Path(folder, "home"), [Path(folder, name) for name in ("near", "far")]
        for feed in feeds:
            feed.mkdir()
        place = home / "campaigns" / "sboms.sqlite"
        filled_s = fill(place, repositories)
        size = place.stat().st_size
        print(f"{repositories} repositories, {repositories * COMPONENTS} components, {size >> 20} MiB")
        worst_s = table("SQLite", filled_s, repositories, watched(home, feeds[0]))
        try:
            worst_s = max(worst_s, on_server(home, feeds[1], repositories))
        except NoPostgres as error:
            print(f"PostgreSQL: not measured: {error}")
    return int(worst_s >= 1.0)


if __name__ == "__main__":
    raise SystemExit(main())
