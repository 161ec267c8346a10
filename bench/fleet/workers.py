"""How many sessions per second do 1, 2 and 4 workers drive, how long does one wait, what do 10^5 cost?

`workers.py [--sessions N] [--queued N]`: a real PostgreSQL, workers with homes of their own, one ledger.
A probe is a session of five acts through gate, ledger, lease and store that costs nothing itself; an audit is
a real one, behind the wall, of the kernel of this project (about 13,000 lines).
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from veilig.app import fleet  # noqa: E402
from workers import Hall  # noqa: E402


def times(hall: Hall, ids: list[str]) -> tuple[list[float], float]:
    """How long each waited, sorted, and how long from the first beginning to the last end."""
    wanted = set(ids)
    shown = [one for one in fleet.jobs(hall.url, limit=200_000) if one.session in wanted]
    bad = [one for one in shown if one.state != "done"]
    if bad:
        raise SystemExit(f"{len(bad)} sessions did not end well, such as {bad[0]}")
    waits = sorted((one.began_at or 0) - one.queued_at for one in shown)
    return waits, max(one.ended_at or 0 for one in shown) - min(one.began_at or 0 for one in shown)


def project(folder: Path) -> tuple[Path, float]:
    """A project to be audited, and its lines in thousands."""
    made = folder / "project"
    made.mkdir()
    lines = 0
    for file in sorted((ROOT / "src" / "veilig" / "core").glob("*.py")):
        shutil.copy(file, made / file.name)
        lines += file.read_text().count("\n")
    return made, lines / 1000


def started(hall: Hall, names: list[str], slots: int) -> None:
    for name in names:
        hall.start(name, slots=slots)
    hall.until(lambda: all(any(e["event"] == "worker.began" for e in hall.log(n)) for n in names))


def ended(hall: Hall, names: list[str]) -> None:
    for name in names:
        hall.workers[name].terminate()
    for name in names:
        hall.workers.pop(name).wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=120)
    parser.add_argument("--audits", type=int, default=12)
    parser.add_argument("--queued", type=int, default=100_000)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vw-"))
    hall = Hall(folder / "hall")
    try:
        source, kloc = project(folder)
        print(f"{'workers':>8} {'probes/s':>9} {'scaling':>8} {'audits/s':>9} {'KLOC/s':>7} {'scaling':>8}")
        one: tuple[float, float] | None = None
        for count in (1, 2, 4):
            names = [f"w{count}-{n}" for n in range(count)]
            started(hall, names, 1)
            probes = hall.put(given.sessions, 5, 0.0)
            hall.until(hall.over, 900)
            rate = given.sessions / times(hall, probes)[1]
            options = {"source": str(source), "pattern": False, "jobs": 1, "fresh": True}
            audits = fleet.enqueue_all(hall.url, [fleet.Work("audit", options) for _ in range(given.audits)])
            hall.until(hall.over, 900)
            done = given.audits / times(hall, audits)[1]
            one = one or (rate, done)
            print(
                f"{count:>8} {rate:>9.2f} {rate / one[0]:>8.2f} {done:>9.2f} {done * kloc:>7.1f} "
                f"{done / one[1]:>8.2f}",
                flush=True,
            )
            if count == 2:
                ids: list[str] = []
                for _ in range(100):
                    ids += hall.put(1, 1, 0.0)
                    time.sleep(0.05)
                hall.until(hall.over)
                waits = times(hall, ids)[0]
                p50, p99 = waits[50] * 1e3, waits[98] * 1e3
                latency = f"from queued to begun, 2 idle workers: p50 {p50:.0f} ms, p99 {p99:.0f} ms"
            ended(hall, names)
        print(latency)
        if given.queued:
            begun = time.perf_counter()
            hall.put(given.queued, 5, 0.0, priority=-5)
            put = given.queued / (time.perf_counter() - begun)
            started(hall, ["m0", "m1"], 1)
            probes = hall.put(given.sessions, 5, 0.0, priority=5)
            wanted = set(probes)
            hall.until(
                lambda: all(
                    o.state == "done"
                    for o in fleet.jobs(hall.url, limit=given.sessions + 50)
                    if o.session in wanted
                ),
                900,
            )
            waits, seconds = times(hall, probes)
            rate = given.sessions / seconds
            print(f"with {given.queued} queued ({put:,.0f}/s in): {rate:.2f} probes/s at 2 workers")
    finally:
        hall.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is taken down
    main()
