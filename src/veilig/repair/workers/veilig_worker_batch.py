"""What happens to one batch of candidates inside its forked child?"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from typing import Any

from veilig_worker_examples import held
from veilig_worker_items import Clock, run_item
from veilig_worker_probe import answers, record, varied
from veilig_worker_swap import (
    Functions,
    NotSwappable,
    Swap,
    apply_edits,
    compile_unit,
    future_flags,
)

TEARDOWN_CPU_S = 5.0
UNSEEN_BYTES = 1 << 30  # addresses that an interpreter with a test runner may hold before its candidate


class Limits:
    """What one candidate may use."""

    def __init__(self, per_test: dict[str, float], silence_s: float, memory_bytes: int) -> None:
        self.per_test = per_test
        self.silence_s = silence_s
        self.memory_bytes = memory_bytes


class Batch:
    """Compiles, swaps, runs and swaps back."""

    def __init__(self, task: dict[str, Any], functions: Functions, state: Any, caches: list[Any]) -> None:
        self.root = str(task["root"])
        self.candidates: list[Any] = task["candidates"]
        self.units: list[dict[str, Any]] = task["units"]
        self.functions = functions
        self.state = state
        self.caches = caches
        self.warm = self.careful = False
        self.texts: dict[str, str] = {}
        self.files = {
            os.path.realpath(str(name)): module
            for module in list(sys.modules.values())
            if (name := getattr(module, "__file__", None))
        }

    def sort_out(self, numbers: Any) -> tuple[list[int], list[int]]:
        """Candidates whose function is alive here, and those that need a fresh import."""
        fast: list[int] = []
        slow: list[int] = []
        alive = [bool(self._old(unit)) for unit in self.units]
        for number in numbers:
            unit = int(self.candidates[number][0])
            (fast if unit >= 0 and alive[unit] else slow).append(number)
        return fast, slow

    def run(self, numbers: list[int], targets: list[Any], limits: Limits, tell: Any) -> None:
        _bound(limits)
        clock = Clock()
        if self.warm:  # what the first test sets up once is no trace of a candidate
            _run_all(targets, limits, clock)
            self._forget()
        whole = self.state.parts()
        before = self.state.parts(quick=not self.careful)
        for number in numbers:
            try:
                swap = self._swap(number)
            except (SyntaxError, ValueError, NotSwappable, RecursionError, MemoryError):
                tell({"o": "invalid"})
                continue
            swap.apply()
            outcome = _run_all(targets, limits, clock)
            swap.undo()
            self._forget()
            tell({"o": outcome})
            if outcome in {"timeout", "hit"} or self.state.parts(quick=not self.careful) != before:
                tell({"end": True})
                return
        tell({"end": True, "leak": not self.careful and self.state.parts() != whole})

    def settle(self, targets: list[Any], green: list[Any], limits: Limits, tell: Any) -> None:
        """Tells whether the tests set something up at their first run, and what merely counts.

        A registry that grows with every run counts too when green tests still pass on their second run:
        without that every candidate would need a process of its own.
        """
        _bound(limits)
        clock = Clock()
        first = self.state.parts()
        _run_all(targets, limits, clock)
        once = self.state.parts()
        if clock.fires:
            tell({"warm": False, "counters": []})
            return
        _run_all(targets, limits, clock)
        growing = self.state.learn(once, self.state.parts())
        if growing and green and _run_all([*green, *green], limits, clock) == "hit":
            self.state.counters |= growing
        tell(
            {
                "warm": first != once,
                "counters": [list(key) for key in self.state.counters],
                "growing": bool(growing & self.state.counters),
            }
        )

    def _forget(self) -> None:
        for cache in self.caches:
            cache.cache_clear()

    def confirm(self, number: int, items: list[Any], limits: Limits, examples: set[str], tell: Any) -> None:
        """The tests with one candidate, in a process that ran no other; the last word is green or red."""
        _bound(limits)
        clock = Clock()
        self._swap(number).apply()
        for place, item in enumerate(items):
            following = items[place + 1] if place + 1 < len(items) else None
            if run_item(item, clock, 2 * limits.per_test[_id(item)], following) != "passed":
                tell({"o": "red", "test": _id(item)})
                return
            tell({"o": "going"})
        path = str(self.candidates[number][1])
        if examples and not all(good for _, good in self._held([path], examples)):
            tell({"o": "red", "test": "an example in a docstring"})
            return
        tell({"o": "green"})

    def inputs(self, units: list[int], items: list[Any], limits: Limits, tell: Any) -> None:
        """Tells the calls, varied, that these tests make of the units' functions as they are."""
        _bound(limits)
        codes = {number: self._old(self.units[number]) for number in units}
        made = record(codes, items, max(limits.per_test.values(), default=1.0))
        tell({"inputs": varied(made, {one: self._live(one) for one in units})})

    def probe(self, number: int, inputs: list[Any], limits: Limits, tell: Any) -> None:
        """Tells what the functions answer to these calls with the candidate in place (-1: as they are)."""
        _bound(limits)
        live = {one: self._live(one) for one in {int(one[0]) for one in inputs}}
        if number >= 0:
            self._swap(number).apply()
        tell({"answers": answers(live, inputs)})

    def examples(self, paths: list[str], limits: Limits, tell: Any) -> None:
        """Tells which examples in the docstrings of these modules hold as the code is."""
        _bound(limits)
        tell({"examples": [name for name, held in self._held(paths, None) if held]})

    def _held(self, paths: list[str], wanted: set[str] | None) -> Any:
        for path in paths:
            module = self.files.get(os.path.realpath(os.path.join(self.root, path)))  # noqa: PTH118
            if module is not None:
                yield from held(module, wanted)

    def _live(self, unit: int) -> Any:
        return self.functions.by_code[self._old(self.units[unit])[0]][0]

    def _swap(self, number: int) -> Swap:
        unit_number, path, edits, _ = self.candidates[number]
        unit = self.units[int(unit_number)]
        full = os.path.join(self.root, str(path))  # noqa: PTH118
        if full not in self.texts:
            with open(full, encoding="utf-8", newline="") as stream:  # noqa: PTH123
                self.texts[full] = stream.read()
        start, end = int(unit["start"]), int(unit["end"])
        text = apply_edits(self.texts[full][start:end], edits, start)
        old = self._old(unit)
        module = self.files.get(os.path.realpath(full))
        return Swap(self.functions, old, compile_unit(text, old[0].co_filename, unit, future_flags(module)))

    def _old(self, unit: dict[str, Any]) -> list[Any]:
        full = os.path.join(self.root, str(unit["path"]))  # noqa: PTH118
        return self.functions.find(full, str(unit["name"]), int(unit["first_line"]))


def _run_all(targets: list[Any], limits: Limits, clock: Clock) -> str:
    """One of hit, fail, timeout; stops at the first test that does not pass."""
    outcome = "hit"
    for place, item in enumerate(targets):
        following = targets[place + 1] if place + 1 < len(targets) else None
        result = run_item(item, clock, limits.per_test[_id(item)], following)
        if result != "passed":
            outcome = "timeout" if result == "timeout" else "fail"
            if following is not None:
                _tear_down(item, clock)
            break
    return outcome


def _tear_down(item: Any, clock: Clock) -> None:
    # The fixtures that were kept for the next test belong to this candidate.
    stack = getattr(getattr(item, "session", None), "_setupstate", None)
    if stack is None:
        return
    clock.start(TEARDOWN_CPU_S)
    # A mutant may fail in its own clean-up; its verdict stands already.
    with contextlib.suppress(BaseException):
        stack.teardown_exact(None)
    clock.stop()


def _bound(limits: Limits) -> None:
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123
            used_bytes = int(stream.read().split()[0]) * resource.getpagesize()
    except OSError:  # behind Landlock alone /proc is closed
        used_bytes = UNSEEN_BYTES
    most_bytes = used_bytes + limits.memory_bytes
    wall_bytes = resource.getrlimit(resource.RLIMIT_AS)[1]
    if wall_bytes != resource.RLIM_INFINITY:
        most_bytes = min(most_bytes, wall_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _id(item: Any) -> str:
    return str(item.nodeid) if hasattr(item, "nodeid") else str(item.id())
