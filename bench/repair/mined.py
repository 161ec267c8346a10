"""How many small fixes of real projects does the search find by itself?

    .venv/bin/python bench/repair/mined.py CASES [--python PYTHON] [--budget SECONDS]

CASES comes from mine.py. A case is fixed when the first patch passes all tests of the case and its changed
lines are the commit's own, or when the whole test suite of the commit (the files the search never saw)
passes as with the commit's own file; the text of what only differs is printed, to be compared by reading.
"""

import argparse
import ast
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from engine import Desk
from mine import case_tree, tree


async def attempt(case: dict[str, Any], python: Path, budget_s: float) -> tuple[str, str, str]:
    """(word, confidence, text): fixed, plausible, unfixed or proposed; then what was done."""
    folder = Path(tempfile.mkdtemp(prefix="veilig-mined-"))
    try:
        fixed = case_tree(Path(case["checkout"]), case["commit"], case["path"], case["tests"], folder)
        async with Desk(folder, python) as desk:
            found = await desk.solve(budget_s)
            if not found.proposals:
                return "unfixed", "-", f"{found.tried} edits tried {found.problem}"
            first = found.proposals[0]
            level = str(first["confidence"])
            desk.patch(first)
            text = Path(desk.space.tree.root, case["path"]).read_text(encoding="utf-8")
            red, complete = await desk.red()
            if not complete or red.intersection(case["failing"]):
                return "unfixed", level, f"partly: {first['title']}"
        if first.get("decision"):
            return "proposed", level, str(first["title"])
        if same(text, fixed):
            return "fixed", level, f"as the commit: {first['title']}"
        word = "different" if await hidden(case, python, text) else "overfit"
        return word, level, str(first["title"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def same(one: str, other: str) -> bool:
    """True when two texts are the same program, comments and layout aside."""
    try:
        return ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    except SyntaxError:
        return False


async def hidden(case: dict[str, Any], python: Path, text: str) -> bool:
    """True when the whole suite of the commit fails nowhere with `text` where it passes with its own file."""
    folder = Path(tempfile.mkdtemp(prefix="veilig-hidden-"))
    try:
        tree(Path(case["checkout"]), case["commit"], folder)
        async with Desk(folder, python) as desk:
            allowed, _ = await desk.red()
            desk.write(case["path"], text)
            red, complete = await desk.red()
            return complete and not red - allowed
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Print one line per case, then the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--budget", type=float, default=60.0, help="seconds per search")
    options = parser.parse_args()
    counts: dict[str, int] = {}
    times: list[float] = []
    for line in options.cases.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        began_s = time.monotonic()
        word, level, text = asyncio.run(attempt(case, options.python.absolute(), options.budget))
        times.append(time.monotonic() - began_s)
        counts[word] = counts.get(word, 0) + 1
        name = Path(case["checkout"]).name
        print(f"{name:16} {case['commit'][:8]} {word:9} {level:7} {times[-1]:6.1f}  {text}", flush=True)
        print(f"{'':26}{case['subject'][:90]}", flush=True)
    print(", ".join(f"{number} {word}" for word, number in sorted(counts.items())), end="; ")
    print(f"median {statistics.median(times):.0f} s per case" if times else "no cases")


if __name__ == "__main__":
    main()
