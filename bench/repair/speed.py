"""How many more candidates does the search try than one test process per candidate would?

    .venv/bin/python bench/repair/speed.py CHECKOUT [NAME ...]

CHECKOUT is a clone of jkoppel/QuixBugs. For each program the same suite is run a few times in processes of
its own, as a tool without a fork server does for each candidate; then one search round runs to its end. Both
happen behind the same wall on the same machine, one after the other; wall times, sessions' starts included.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

from quixbugs import project

from engine import Desk, permit, run
from veilig.core.action import RunTests
from veilig.repair import search
from veilig.repair.candidates import generate
from veilig.repair.locate import groups, nearest, suspicious

PROCESSES = 5
NAMES = ("lis", "kth", "powerset", "max_sublist_sum", "longest_common_subsequence")


async def one(checkout: Path, name: str, folder: Path) -> tuple[float, float]:
    """Candidates per second: one process each, and in the search (its own start included)."""
    async with Desk(project(checkout, name, folder), Path(sys.executable)) as desk:
        await desk.tests.run(RunTests(trace=True, timeout_s=120), permit())
        report = desk.tests.last
        command = desk.tests.command()
        assert report is not None
        assert command is not None
        times: list[float] = []
        for _ in range(PROCESSES):
            began_s = time.monotonic()
            await desk.python("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider")
            times.append(time.monotonic() - began_s)
        targets = groups(report.tests.values())[0].tests
        lines = suspicious(report.tests.values(), targets)
        path = lines[0].path
        failing = [report.tests[one] for one in targets]
        found = generate({path: cast(str, desk.space.tree.read(path))}, lines, search.hints(failing))
        round_ = next(search.plan((c for c in found if c.unit is not None), 60))
        keep = nearest(report.tests.values(), lines)
        task = search.task(
            round_, root=str(desk.space.tree.root), nonce="n", command=command, targets=failing, keep=keep
        )
        began_s = time.monotonic()
        done = await desk.tests.search_worker(task, 90)
        spent_s = time.monotonic() - began_s
        news = [n for line in done.splitlines() if (n := search.news(line, "n")) is not None]
        tried = next(int(n.fields["tried"]) for n in news if n.kind is search.Told.DONE)
        return 1 / statistics.median(times), tried / spent_s


def main() -> None:
    """Print one row per program and the median factor."""
    checkout = Path(sys.argv[1]).resolve()
    folder = Path(tempfile.mkdtemp(prefix="veilig-speed-"))
    factors: list[float] = []
    try:
        print(f"{'program':28} one process each   search   factor")
        for name in sys.argv[2:] or NAMES:
            slow, quick = run(one(checkout, name, folder))
            factors.append(quick / slow)
            print(f"{name:28} {slow:12.2f}/s {quick:12.0f}/s {factors[-1]:7.0f}x", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"median factor {statistics.median(factors):.0f}")


if __name__ == "__main__":
    main()
