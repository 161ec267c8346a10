"""Which lines are suspected of the failures, and which failures belong together?"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from veilig.repair.recipes.proposal import Failure
from veilig.repair.testreport import Test

TRACEBACK_BONUS = 0.15  # measured on real suites: a hint, weaker than the spectrum
CRASH_BONUS = 0.15  # the line that raised, on top
CHANGED_BONUS = 0.15
NEAR_FACTOR = 0.5  # the lines beside a changed one
SAME_GROUP_OVERLAP = 0.5  # of the smaller set of executed lines


@dataclass(frozen=True, slots=True)
class Line:
    """A suspected line; `score` is 0 to about 1.5, `why` can be shown to a person."""

    path: str
    line: int
    score: float
    why: str


@dataclass(frozen=True, slots=True)
class Group:
    """Failing tests that probably have one cause, first failure first."""

    tests: tuple[str, ...]
    exception: str


def is_test_path(path: str) -> bool:
    """True for what a repair must never edit: tests, their configuration and data."""
    parts = path.split("/")
    name = parts[-1]
    return (
        name.startswith("test_")
        or name.endswith(("_test.py", "_tests.py"))
        or name in {"conftest.py", "tests.py", "test.py"}
        or any(part in {"tests", "test", "testing"} for part in parts[:-1])
    )


def suspicious(
    tests: Iterable[Test],
    targets: Iterable[str],
    *,
    changed: Mapping[str, frozenset[int]] | None = None,
    editable: Callable[[str], bool] = lambda path: not is_test_path(path),
) -> list[Line]:
    """Lines that may be edited, most suspicious first.

    tests: a traced run. targets: the failing tests of one group; other failing tests count neither way.
    changed: path -> lines changed recently (from the history), when known.
    Method: Ochiai, failed(l) / sqrt(all failed * (failed(l) + passed(l))), plus bonuses for traceback and
    history.
    """
    wanted = frozenset(targets)
    failing = [test for test in tests if test.id in wanted]
    passing = [test for test in tests if test.id not in wanted and test.outcome == "passed"]
    failed, passed = _counts(failing), _counts(passing)
    crash, trace = _frames(failing)
    lines: list[Line] = []
    keys = set(failed) | trace
    for path, number in keys:
        if not editable(path):
            continue
        here = failed[path, number]
        reasons: list[str] = []
        score = 0.0
        if here:
            score = here / math.sqrt(max(len(failing), 1) * (here + passed[path, number]))
            reasons.append(f"run by {here} failing and {passed[path, number]} passing")
        if (path, number) in trace:
            score += TRACEBACK_BONUS
            reasons.append("in the traceback")
        if (path, number) in crash:
            score += CRASH_BONUS
            reasons.append("raised there")
        score += _history(path, number, changed or {}, reasons)
        lines.append(Line(path, number, round(score, 4), ", ".join(reasons)))
    last = _last_run(failing)
    # Among equals, the files in which the failures were raised come first.
    return sorted(lines, key=lambda line: (-line.score, line.path not in last, line.path, line.line))


def groups(tests: Iterable[Test]) -> list[Group]:
    """Failing tests by overlap: the same crash line and exception, or mostly the same executed lines."""
    failing = [test for test in tests if test.outcome in {"failed", "error"}]
    made: list[list[Test]] = []
    for test in failing:
        home = next((group for group in made if any(_same(test, other) for other in group)), None)
        if home is None:
            made.append([test])
        else:
            home.append(test)
    found = [
        Group(tuple(test.id for test in group), group[0].failure.exception if group[0].failure else "")
        for group in made
    ]
    return sorted(found, key=lambda group: -len(group.tests))


def nearest(tests: Iterable[Test], lines: Sequence[Line], most: int = 5000) -> list[str]:
    """Passing tests, those first that execute the suspected lines: a wrong patch breaks them soonest."""
    top: dict[str, int] = {}
    for line in lines[:20]:
        top[line.path] = top.get(line.path, 0) | (1 << line.line)
    scored = [
        (
            -sum((test.lines.get(path, 0) & mask).bit_count() for path, mask in top.items()),
            test.cpu_s,
            test.id,
        )
        for test in tests
        if test.outcome == "passed"
    ]
    return [name for _, _, name in sorted(scored)[:most]]


def _counts(tests: Sequence[Test]) -> Counter[tuple[str, int]]:
    found: Counter[tuple[str, int]] = Counter()
    for test in tests:
        for path, mask in test.lines.items():
            found.update((path, number) for number in _bits(mask))
    return found


def _bits(mask: int) -> Iterable[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _all_failures(test: Test) -> list[Failure]:
    return [*([test.failure] if test.failure else []), *test.causes]


def _frames(failing: Sequence[Test]) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    crash: set[tuple[str, int]] = set()
    trace: set[tuple[str, int]] = set()
    for test in failing:
        for failure in _all_failures(test):
            trace.update((frame.path, frame.line) for frame in failure.frames)
            if failure.path:
                crash.add((failure.path, failure.line))
    return crash, trace


def _last_run(failing: Sequence[Test]) -> set[str]:
    return {failure.path for test in failing for failure in _all_failures(test) if failure.path}


def _history(path: str, number: int, changed: Mapping[str, frozenset[int]], reasons: list[str]) -> float:
    lines = changed.get(path, frozenset())
    if number in lines:
        reasons.append("changed recently")
        return CHANGED_BONUS
    if lines and (number - 1 in lines or number + 1 in lines):
        reasons.append("beside a recent change")
        return CHANGED_BONUS * NEAR_FACTOR
    return 0.0


def _same(one: Test, other: Test) -> bool:
    first, second = _project_lines(one), _project_lines(other)
    if one.failure and other.failure and one.failure.exception == other.failure.exception:
        here = [(frame.path, frame.line) for frame in one.failure.frames if not is_test_path(frame.path)]
        there = [(frame.path, frame.line) for frame in other.failure.frames if not is_test_path(frame.path)]
        if here and there and here[-1] == there[-1]:
            return True
    if not first or not second:
        return (
            not first and not second and one.file == other.file and bool(one.failure) == bool(other.failure)
        )
    shared = sum((first.get(path, 0) & mask).bit_count() for path, mask in second.items())
    smaller = min(_size(first), _size(second))
    return shared / smaller >= SAME_GROUP_OVERLAP


def _project_lines(test: Test) -> dict[str, int]:
    return {path: mask for path, mask in test.lines.items() if not is_test_path(path)}


def _size(lines: Mapping[str, int]) -> int:
    return max(sum(mask.bit_count() for mask in lines.values()), 1)
