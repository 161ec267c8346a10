"""How many small fixes of real projects does the search find by itself?

    .venv/bin/python bench/repair/mined.py CASES [--python PYTHON] [--budget SECONDS]

CASES comes from mine.py. The first patch of a case is fixed when it is the commit's own program, or when the
whole suite of the commit (files that the search never saw) passes and the function answers as the commit's
own to at least 90 % of the calls made or nearly made by those tests. Otherwise it is overfit. A patch that
`veilig fix` would only propose is counted apart, as asked:fixed or asked:overfit.
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

from mine import case_tree, git, tree

from engine import Desk

AGREE = 0.9  # of the calls near those of the tests; the commit's own fix is one of several good ones


async def attempt(case: dict[str, Any], python: Path, budget_s: float) -> tuple[str, str, str]:
    """(word, confidence, text): fixed, overfit or unfixed, the former two after `asked:` when proposed."""
    folder = Path(tempfile.mkdtemp(prefix="veilig-mined-"))
    try:
        fixed = case_tree(Path(case["checkout"]), case["commit"], case["path"], case["tests"], folder)
        async with Desk(folder, python) as desk:
            titles: list[str] = []
            decisions: list[Any] = []
            level, first, red = "-", {}, set(case["failing"])
            until_s = time.monotonic() + budget_s
            # One patch per cause, as `veilig fix` works; each search starts from the patched copy.
            while red.intersection(case["failing"]) and time.monotonic() < until_s:
                found = await desk.solve(max(until_s - time.monotonic(), 5.0))
                if not found.proposals:
                    return "unfixed", level, f"{found.tried} edits tried {found.problem} {titles}"
                first = found.proposals[0]
                level = str(first["confidence"])
                told = f"{first['title']} [{first['recipe']} {first['cost']}: {first.get('why', '')}]"
                titles.append(told)
                decisions.append(first.get("decision"))
                desk.patch(first)
                left, complete = await desk.red()
                if not complete or len(left) >= len(red) + case["unrelated"]:
                    return "unfixed", level, f"no progress: {titles}"
                red = left
            if red.intersection(case["failing"]):
                return "unfixed", level, f"partly: {titles}"
            text = Path(desk.space.tree.root, case["path"]).read_text(encoding="utf-8")
        asked = "asked:" if any(decisions) else ""
        if same(text, fixed):
            return f"{asked}fixed", level, f"as the commit: {'; '.join(titles)}"
        word, near = await hidden(case, python, text)
        return asked + word, level, f"{near}{'; '.join(titles)}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def same(one: str, other: str) -> bool:
    """True when two texts are the same program, comments and layout aside."""
    try:
        return ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    except SyntaxError:
        return False


async def hidden(case: dict[str, Any], python: Path, text: str) -> tuple[str, str]:
    """`fixed` or `overfit`, by the whole suite of the commit and by calls near those of its tests."""
    folder = Path(tempfile.mkdtemp(prefix="veilig-hidden-"))
    try:
        tree(Path(case["checkout"]), case["commit"], folder)
        async with Desk(folder, python) as desk:
            fixed = desk.space.tree.read(case["path"]) or ""
            allowed, _ = await desk.red()
            desk.write(case["path"], text)
            red, complete = await desk.red()
            if not complete or red - allowed:
                return "overfit", "[fails in the whole suite] "
            broken = git(Path(case["checkout"]), "show", f"{case['commit']}~1:{case['path']}").decode()
            desk.write(case["path"], broken)
            said = await desk.answers(case["path"], [text, fixed], case["failing"])
        if not said:
            return "fixed", "[whole suite only] "
        pairs = [(a, b) for a, b in zip(*said, strict=False) if "unasked" not in (a, b)]
        same_s = sum(a == b or (failed(a) and failed(b)) for a, b in pairs)
        share = same_s / len(pairs) if pairs else 1.0
        return ("fixed" if share >= AGREE else "overfit"), f"[{same_s} of {len(pairs)} calls agree] "
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def failed(word: str) -> bool:
    """True for a call that raised or did not end."""
    return word == "late" or word.startswith("!")


def main() -> None:
    """Print one line per case, then the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--budget", type=float, default=60.0, help="seconds per search")
    options = parser.parse_args()
    counts: dict[str, int] = {}
    times: list[float] = []
    levels: dict[str, list[bool]] = {}
    for line in options.cases.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        began_s = time.monotonic()
        word, level, text = asyncio.run(attempt(case, options.python.absolute(), options.budget))
        times.append(time.monotonic() - began_s)
        counts[word] = counts.get(word, 0) + 1
        if word != "unfixed":
            levels.setdefault(level, []).append(word.endswith("fixed"))
        name = Path(case["checkout"]).name
        print(f"{name:16} {case['commit'][:8]} {word:13} {level:7} {times[-1]:6.1f}  {text}", flush=True)
        print(f"{'':26}{case['subject'][:90]}", flush=True)
    print(", ".join(f"{number} {word}" for word, number in sorted(counts.items())), end="; ")
    print(f"median {statistics.median(times):.0f} s per case" if times else "no cases")
    for level, right in sorted(levels.items()):
        print(f"confidence {level}: {sum(right)} of {len(right)} patches right")


if __name__ == "__main__":
    main()
