"""Which family would have made each small fix of a project's history, and at which place of its list?

    python bench/repair/families.py CHECKOUT [...] [--most N] [--out FILE]

No test runs and nothing is executed: for every commit that speaks of a fix and changes a few lines of one
source file, the candidates at the changed lines are made, and the one that gives the commit's own program is
looked for. Prints one line per family: fixes, how many candidates it makes at such a place, and the cost that
these two numbers suggest. FILE gets one line per fix that was found.
"""

import argparse
import ast
import contextlib
import difflib
import math
import subprocess
import sys
import time
import warnings
from collections import Counter
from itertools import islice
from pathlib import Path

from mine import git, small_fixes

from veilig.repair.candidates import generate
from veilig.repair.edit import apply
from veilig.repair.families import FAMILIES, Hints
from veilig.repair.locate import Line

LINES_MAX = 4  # changed lines of the old text; a larger change is no single edit
CANDIDATES_MAX = 6_000
CASE_S = 4.0
SMOOTHING = 0.5  # fixes that a family which made none is credited with


def changed_lines(before: str, after: str) -> list[int]:
    """Lines of the old text that the change touches; for an insertion the lines around it."""
    found: set[int] = set()
    blocks = difflib.SequenceMatcher(None, before.split("\n"), after.split("\n"), autojunk=False)
    for tag, start, end, _, _ in blocks.get_opcodes():
        if tag != "equal":
            found |= set(range(start + 1, end + 1)) if end > start else {start, start + 1}
    return sorted(one for one in found if one > 0)


def squeezed(text: str) -> str:
    """The text without blanks and parentheses: a quick test before the programs are compared."""
    return text.translate({ord(one): None for one in " \t\n()\\"})


def program(text: str) -> str:
    """The program in a form that layout and comments do not change; empty when it does not parse."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.dump(ast.parse(text))
    return ""


def look(path: str, before: str, after: str, made: Counter[str]) -> tuple[str, int, int] | None:
    """(family, its place, candidates made) of the candidate that is the fix; counts what was made."""
    lines = changed_lines(before, after)
    wanted, quick = program(after), squeezed(after)
    if not lines or len(lines) > LINES_MAX or not wanted or wanted == program(before):
        return None
    until_s, found, number = time.process_time() + CASE_S, None, 0
    grown = len(quick) - len(squeezed(before))
    located = [Line(path, one, 1.0, "") for one in lines]
    for number, one in enumerate(islice(generate({path: before}, located, Hints()), CANDIDATES_MAX), 1):
        made[one.family] += 1
        more = sum(len(squeezed(e.replacement)) - len(squeezed(before[e.start : e.end])) for e in one.edits)
        if found is None and more == grown:
            text = apply(before, one.edits)
            if squeezed(text) == quick and program(text) == wanted:
                found = (one.family, number)
        if time.process_time() > until_s:
            break
    return (*found, number) if found else ("", 0, number)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", type=Path, nargs="+")
    parser.add_argument("--most", type=int, default=120, help="fixes per project")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    fixes: Counter[str] = Counter()
    made: Counter[str] = Counter()
    places: list[int] = []
    asked = 0
    for checkout in options.checkouts:
        for commit, _, path, _ in small_fixes(checkout, need_tests=False)[: options.most]:
            try:
                after = git(checkout, "show", f"{commit}:{path}").decode()
                before = git(checkout, "show", f"{commit}~1:{path}").decode()
            except (subprocess.CalledProcessError, UnicodeDecodeError):
                continue
            result = look(path, before, after, made)
            if result is None:
                continue
            asked += 1
            family, place, number = result
            if family:
                fixes[family] += 1
                places.append(place)
            if family and options.out is not None:
                with options.out.open("a", encoding="utf-8") as stream:
                    stream.write(f"{checkout.name}\t{commit}\t{path}\t{family}\t{place}\t{number}\n")
        print(f"{checkout.name}: {sum(fixes.values())} of {asked} fixes so far", file=sys.stderr, flush=True)
    table(fixes, made, asked, places)


def table(fixes: Counter[str], made: Counter[str], asked: int, places: list[int]) -> None:
    """One line per family; the cost is minus the logarithm of the chance of one of its candidates."""
    print(f"{sum(fixes.values())} of {asked} small fixes are one candidate")
    if places:
        middle = sorted(places)[len(places) // 2]
        print(f"place in the list at the right lines: median {middle}, mean 1/place "
              f"{sum(1 / one for one in places) / len(places):.3f}")  # fmt: skip
    costs = {one.name: one.cost for one in FAMILIES}
    chance = {name: (fixes[name] + SMOOTHING) / max(made[name], 1) for name in costs if made[name]}
    mean = sum(-math.log(one) for one in chance.values()) / max(len(chance), 1)
    print("family\tfixes\tmade\tcost now\tcost suggested")
    for name in sorted(chance, key=lambda one: -chance[one]):
        wanted = 2.4 + 0.4 * (-math.log(chance[name]) - mean)
        print(f"{name}\t{fixes[name]}\t{made[name]}\t{costs[name]}\t{wanted:.2f}")


if __name__ == "__main__":
    main()
