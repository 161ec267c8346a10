"""Which costs of the families put the fixes of the past first, and does that hold for projects not seen?

    python bench/repair/fit_costs.py CHECKOUTS FIXES.tsv

FIXES.tsv comes from families.py; CHECKOUTS is the folder of the clones. For each fix all candidates at its
lines are made with their costs of now. Each family gets an offset (multiples of 0.2 within 0.4) that makes
the sum of log10 of the places small, with a penalty on large offsets (coordinate descent). Prints the mean
before and after, on the fixes fitted on and on each project when it was left out, then the offsets.
"""

import argparse
import math
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from families import CANDIDATES_MAX, changed_lines, program, squeezed
from mine import git

from veilig.repair.candidates import generate
from veilig.repair.edit import apply
from veilig.repair.families import Hints
from veilig.repair.locate import Line

OFFSETS = tuple(number / 10 for number in range(-4, 5, 2))
PENALTY = 0.5  # of an offset of 1.0, in units of log10 of a place, per family
SWEEPS = 3


@dataclass(frozen=True)
class Fix:
    """One past fix: its family and cost, and the costs of all candidates beside it, sorted, by family."""

    project: str
    family: str
    cost: float
    beside: dict[str, list[float]]

    def place(self, offsets: dict[str, float]) -> int:
        """Its place in the list when families cost this much more or less."""
        own = self.cost + offsets.get(self.family, 0.0)
        return 1 + sum(
            bisect_left(costs, own - offsets.get(name, 0.0)) for name, costs in self.beside.items()
        )


def load(checkouts: Path, line: str) -> Fix | None:
    """The fix on one line of FIXES.tsv; None when no candidate is it any more."""
    project, commit, path, *_ = line.split("\t")
    after = git(checkouts / project, "show", f"{commit}:{path}").decode()
    before = git(checkouts / project, "show", f"{commit}~1:{path}").decode()
    wanted, quick = program(after), squeezed(after)
    grown = len(quick) - len(squeezed(before))
    beside: dict[str, list[float]] = defaultdict(list)
    found: tuple[str, float] | None = None
    located = [Line(path, one, 1.0, "") for one in changed_lines(before, after)]
    for one in islice(generate({path: before}, located, Hints()), CANDIDATES_MAX):
        beside[one.family].append(one.cost)
        more = sum(len(squeezed(e.replacement)) - len(squeezed(before[e.start : e.end])) for e in one.edits)
        if found is None and more == grown and squeezed(text := apply(before, one.edits)) == quick:
            found = (one.family, one.cost) if program(text) == wanted else None
    return Fix(project, *found, dict(beside)) if found else None


def loss(fixes: list[Fix], offsets: dict[str, float]) -> float:
    """Sum of log10 of the places."""
    return sum(math.log10(one.place(offsets)) for one in fixes)


def fit(fixes: list[Fix]) -> dict[str, float]:
    """Offsets of the families that made a fix here or stand before one."""
    offsets: dict[str, float] = {}
    names = sorted({one.family for one in fixes} | {name for one in fixes for name in one.beside})
    for _ in range(SWEEPS):
        for name in names:
            offsets[name] = min(
                OFFSETS,
                key=lambda value, name=name: loss(fixes, {**offsets, name: value}) + PENALTY * abs(value),
            )
    return {name: value for name, value in offsets.items() if value}


def main() -> None:
    """Print the fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", type=Path)
    parser.add_argument("fixes", type=Path)
    options = parser.parse_args()
    lines = options.fixes.read_text(encoding="utf-8").splitlines()
    fixes = [one for line in lines if (one := load(options.checkouts, line)) is not None]
    count = max(len(fixes), 1)
    print(f"{len(fixes)} fixes, mean log10 of the place now {loss(fixes, {}) / count:.3f}")
    unseen = 0.0
    for project in sorted({one.project for one in fixes}):
        rest = fit([one for one in fixes if one.project != project])
        unseen += loss([one for one in fixes if one.project == project], rest)
    print(f"each project left out in turn: {unseen / count:.3f}")
    offsets = fit(fixes)
    print(f"fitted on all: {loss(fixes, offsets) / count:.3f}")
    for name, value in sorted(offsets.items(), key=lambda item: item[1]):
        print(f"{name}\t{value:+.1f}")


if __name__ == "__main__":
    main()
