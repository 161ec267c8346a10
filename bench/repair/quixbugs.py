"""How many of the 40 QuixBugs programs are repaired, how well, and how fast?

    .venv/bin/python bench/repair/quixbugs.py CHECKOUT [NAME ...]

CHECKOUT is a clone of jkoppel/QuixBugs. Each program becomes its own small project with its own tests. A
patch is plausible when the whole suite passes in a fresh process, and correct when it also behaves as the
reference program on the inputs of judge.py. Everything runs behind the wall of `veilig fix`.
"""

import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from engine import Desk, Found, run

BUDGET_S = 60.0
HERE = Path(__file__).parent


@dataclass
class Row:
    """One program."""

    name: str
    plausible: bool
    correct: bool
    place: int  # of the first correct proposal, 0 when none
    confidence: str
    tried: int
    tests_s: float
    search_s: float
    title: str
    note: str

    def line(self) -> str:
        """The row as it is printed."""
        word = "correct" if self.correct else "overfit" if self.plausible else "unfixed"
        times = f"{self.tests_s:5.1f} {self.search_s:6.1f}"
        return (
            f"{self.name:27} {word:8} {self.place:2} {self.confidence:7} {self.tried:6} {times}  {self.title}"
        )


def project(checkout: Path, name: str, folder: Path) -> Path:
    """A small project with one program, its tests and its data."""
    root = folder / name
    for kind in ("python_programs", "python_testcases", "json_testcases"):
        (root / kind).mkdir(parents=True)
    shutil.copy(checkout / "conftest.py", root)
    shutil.copy(checkout / "python_programs" / f"{name}.py", root / "python_programs")
    for helper in ("load_testdata.py", "node.py"):
        shutil.copy(checkout / "python_testcases" / helper, root / "python_testcases")
    shutil.copy(checkout / "python_testcases" / f"test_{name}.py", root / "python_testcases")
    data = checkout / "json_testcases" / f"{name}.json"
    if data.exists():
        shutil.copy(data, root / "json_testcases")
    return root


async def one(checkout: Path, name: str, folder: Path) -> Row:
    """Search, prove the first patch in a fresh process, compare every proposal with the reference."""
    async with Desk(project(checkout, name, folder), Path(sys.executable)) as desk:
        found: Found = await desk.solve(BUDGET_S)
        place, correct, note, plausible = 0, False, found.problem, False
        for number, proposal in enumerate(found.proposals, 1):
            made = desk.patch(proposal)
            if number == 1:
                red, complete = await desk.red()
                plausible = complete and not red
            got = await judge(desk, checkout, name)
            if number == 1:
                correct, note = not got, got
            for path, (before, _) in made.items():
                desk.write(path, before)
            if not got:
                place = number
                break
        first = found.proposals[0] if found.proposals else {}
        good = plausible and correct
        level, title = str(first.get("confidence", "-")), str(first.get("title", ""))
        times = found.tests_s, found.search_s
        return Row(name, plausible, good, place, level, found.tried, *times, title, note)


async def judge(desk: Desk, checkout: Path, name: str) -> str:
    """What differs from the reference; empty when nothing does."""
    root = desk.space.tree.root
    if not (root / "correct_python_programs").exists():
        (root / "correct_python_programs").mkdir()
        shutil.copy(checkout / "correct_python_programs" / f"{name}.py", root / "correct_python_programs")
        shutil.copy(HERE / "judge.py", root / "judge_reference.py")
    done = await desk.python("judge_reference.py", name, timeout_s=120)
    try:
        answer = json.loads(done.stdout.decode().splitlines()[-1])
    except (IndexError, ValueError):
        return done.stderr.decode()[-200:] or "no answer"
    few = "" if answer["compared"] >= 10 else f"only {answer['compared']} inputs compared"
    return str(answer["differs"]) or few


def main() -> None:
    """Print the table."""
    checkout = Path(sys.argv[1]).resolve()
    tests = checkout / "python_testcases"
    names = sys.argv[2:] or sorted(p.stem.removeprefix("test_") for p in tests.glob("test_*.py"))
    folder = Path(tempfile.mkdtemp(prefix="veilig-quixbugs-"))
    rows: list[Row] = []
    try:
        for name in names:
            rows.append(run(one(checkout, name, folder)))
            print(rows[-1].line(), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for row in rows:
        if row.note:
            print(f"  {row.name}: {row.note}")
    times = sorted(row.tests_s + row.search_s for row in rows)
    searches = [row.search_s for row in rows]
    p90 = times[min(int(0.9 * len(times)), len(times) - 1)]
    passing, right = sum(row.plausible for row in rows), sum(row.correct for row in rows)
    print(f"plausible {passing} of {len(rows)}, correct first {right}, ", end="")
    print(f"correct among the proposals {sum(row.place > 0 for row in rows)}")
    middle, alone = statistics.median(times), statistics.median(searches)
    print(f"seconds per program: median {middle:.1f} (search alone {alone:.1f}), p90 {p90:.1f}")


if __name__ == "__main__":
    main()
