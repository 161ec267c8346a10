"""How are thousands of candidates tried in one collected test session?

The session is collected once. Batches of candidates run in forked children: each candidate swaps code
objects, runs the failing tests under a CPU limit, swaps back. A batch ends when it left traces, ran out of
time or found something; what it found is confirmed by a fork that has seen no other candidate.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from typing import Any

from veilig_worker_batch import Batch, Limits
from veilig_worker_child import Child
from veilig_worker_digest import State
from veilig_worker_items import cpu_s, run_item
from veilig_worker_project import pytest_arguments
from veilig_worker_swap import Functions, clear_caches
from veilig_worker_tree import Tree

PROGRESS_S = 0.5
BASELINE_TEST_CPU_S = 30.0
HANGING_CPU_S = 0.5  # a failing test that loops for ever shows it within this; others took a fraction
WHOLE_CPU_S, SAMPLE = 5.0, 50  # a longer suite is asked in two steps, the nearest tests first
BATCH_MAX = 60
JUDGE_AFTER, JUDGES_MAX = 2, 4
GROWING_BATCH_MAX = 20  # when every run of the tests adds to a registry
FIRST_PASS, SECOND_PASS = 20.0, 40.0  # times the slowest passing test, as measured on real mutants
AGAIN_LEAST_S, AGAIN_SHARE = 3.0, 0.5  # for candidates that ran out of time, and as a share of the first pass
AFTER_FIRST_S = 10.0  # how long to look for a simpler patch once one is found, at most
AFTER_LEAST, AFTER_LEAST_S, AFTER_SHARE = (
    400,
    0.5,
    0.5,
)  # candidates, seconds, and else as a share of what finding the first one took
EXAMPLES_S, SETTLE_S, SETTLE_GREEN = 5.0, 5.0, 5
PROBE_ITEMS, PROBE_S = 40, 8.0  # tests whose calls are recorded; wall seconds for comparing the patches


class Search:
    """The state of one search; everything it finds goes out through `tell`."""

    def __init__(self, task: dict[str, Any], items: list[Any], deadline_s: float, tell: Any) -> None:
        self.task = task
        self.tell = tell
        self.deadline_s = deadline_s
        self.limits: dict[str, Any] = task["limits"]
        by_id = {_id(item): item for item in items}
        self.order = {_id(item): place for place, item in enumerate(items)}
        self.targets = [by_id[one] for one in task["targets"] if one in by_id]
        self.keep = [by_id[one] for one in task["keep"] if one in by_id]
        self.missing = [one for one in [*task["targets"], *task["keep"]] if one not in by_id]
        self.cpu: dict[str, float] = {}
        self.wall_s: dict[str, float] = {}
        self.outcomes: dict[str, str] = {}
        self.tried = self.timeouts = self.died = self.invalid = self.unconfirmed = 0
        self.restored = 0
        self.best: tuple[float, int] | None = None
        self.found = 0
        self.hits: list[int] = []
        self.refused: dict[str, int] = {}
        self.judges: list[Any] = []
        self.examples: set[str] | None = None  # docstrings whose examples hold before any edit
        self.found_s = 0.0
        self.found_at = 0
        self.started_s = time.monotonic()
        self.progress_s = self.started_s
        self.pass_end_s = deadline_s

    def run(self) -> None:
        if not self.targets:
            return self._done("none of the failing tests was collected here")
        self._baseline()
        still = [item for item in self.targets if self.outcomes.get(_id(item)) not in {"passed", "skipped"}]
        if not still:
            return self._done("the failing tests pass in this session: they depend on order or on state")
        # Cheap tests first: most candidates fail the first one they meet.
        self.targets.sort(key=lambda item: self.cpu.get(_id(item), 1e9))
        if still[0] in self.targets:
            self.targets.sort(key=lambda item: item not in still)
        self.keep = [item for item in self.keep if self.outcomes.get(_id(item)) == "passed"]
        root = str(self.task["root"])
        candidates: list[Any] = self.task["candidates"]
        paths = {os.path.join(root, str(one[1])) for one in candidates}  # noqa: PTH118
        functions = Functions(paths)
        modules = [one for one in list(sys.modules.values()) if _inside(one, root)]
        self.batch = Batch(
            self.task,
            functions,
            State(modules, self.targets),
            clear_caches(functions),
        )
        fast, slow = self.batch.sort_out(range(len(candidates)))
        self.tell({"event": "slow", "candidates": slow})
        self.tree = Tree(root)
        gc.collect()
        gc.freeze()
        limits = self._limits(SECOND_PASS, 1.0)
        until_s = min(self.deadline_s, time.monotonic() + SETTLE_S)
        near = self.keep[:SETTLE_GREEN]
        settled = self._ask(until_s, self.batch.settle, self.targets, near, limits)
        self.batch.warm = bool(settled.get("warm"))
        if settled.get("growing"):
            self.limits["batch"] = min(int(self.limits.get("batch", BATCH_MAX)), GROWING_BATCH_MAX)
        self.batch.state.counters = {(int(one), name) for one, name in settled.get("counters", [])}
        late = self._pass(fast, FIRST_PASS, float(self.limits.get("cpu_max_s", 0.5)))
        if self.best is None and late and time.monotonic() < self.deadline_s:
            spent_s = time.monotonic() - self.started_s
            self.pass_end_s = time.monotonic() + max(AGAIN_LEAST_S, AGAIN_SHARE * spent_s)
            self._pass(late, SECOND_PASS, 10 * float(self.limits.get("cpu_max_s", 0.5)))
        self._probe()
        reason = "found" if self.best else "exhausted"
        if time.monotonic() >= self.deadline_s and not self.best:
            reason = "deadline"
        return self._done(reason)

    def _baseline(self) -> None:
        """One run of every test in a fork, untraced: outcome, CPU time, wall time."""
        items = self._in_order([*self.keep, *self.targets])
        budget_s = min(self.deadline_s, time.monotonic() + 0.4 * (self.deadline_s - time.monotonic()))
        left = list(items)
        while left and time.monotonic() < budget_s:
            reported = self._baseline_part(left, budget_s)
            left = left[reported + 1 :]  # the one behind the last report killed its process or hung
        passed = sum(1 for item in self.keep if self.outcomes.get(_id(item)) == "passed")
        self.tell(
            {
                "event": "baseline",
                "targets": {_id(item): self.outcomes.get(_id(item), "died") for item in self.targets},
                "keep": passed,
                "keep_left_out": len(self.keep) - passed,
                "missing": self.missing,
                "quick_s": round(sum(self.wall_s.get(_id(item), 0.0) for item in self.targets), 3),
                "wall_s": round(time.monotonic() - self.started_s, 3),
            }
        )

    def _baseline_part(self, items: list[Any], budget_s: float) -> int:
        from veilig_worker_items import Clock

        def work(tell: Any) -> None:
            clock = Clock()
            targets = {_id(item) for item in self.targets}
            slowest_s = max(
                (self.cpu[one] for one, said in self.outcomes.items() if said == "passed"), default=0.0
            )
            hangs = False
            for place, item in enumerate(items):
                if hangs and _id(item) in targets and _id(item) not in self.task.get("cpu_s", {}):
                    tell({"o": "timeout", "c": 0.0, "w": 0.0})  # as in the traced run; one is proof enough
                    continue
                hanging_s = min(max(SECOND_PASS * slowest_s, HANGING_CPU_S), BASELINE_TEST_CPU_S)
                known_s = 4 * float(self.task.get("cpu_s", {}).get(_id(item), 0.0))
                limit_s = max(hanging_s, known_s) if _id(item) in targets else BASELINE_TEST_CPU_S
                used_s, began_s = cpu_s(), time.monotonic()
                following = items[place + 1] if place + 1 < len(items) else None
                outcome = run_item(item, clock, limit_s, following)
                spent_s = cpu_s() - used_s
                hangs = hangs or (outcome == "timeout" and _id(item) in targets)
                slowest_s = max(slowest_s, spent_s if outcome == "passed" else 0.0)
                tell({"o": outcome, "c": spent_s, "w": time.monotonic() - began_s})

        child = Child(work)
        count = 0
        heard_s = time.monotonic()
        while child.open and time.monotonic() < min(budget_s, heard_s + 2 * BASELINE_TEST_CPU_S):
            for record in child.poll(1.0):
                name = _id(items[count])
                self.outcomes[name], self.cpu[name] = str(record["o"]), float(record["c"])
                self.wall_s[name] = float(record["w"])
                count += 1
                heard_s = time.monotonic()
        child.finish("deadline" if child.open else "")
        return count

    def _limits(self, factor: float, ceiling_s: float) -> Limits:
        """CPU seconds per test: a multiple of what comparable passing tests need, no guess at the machine."""
        files = {_file(item) for item in self.targets}
        near = [self.cpu[_id(item)] for item in self.keep if _file(item) in files]
        passing = near or [self.cpu[_id(item)] for item in self.keep]
        slowest_s = max(passing, default=0.001)
        least_s = float(self.limits.get("cpu_min_s", 0.02))
        per_test: dict[str, float] = {}
        for item in [*self.targets, *self.keep]:
            limit_s = min(max(factor * slowest_s, least_s * factor / FIRST_PASS), ceiling_s)
            own_s = self.cpu.get(_id(item), 0.0)
            if self.outcomes.get(_id(item)) in {"passed", "failed"}:
                limit_s = max(limit_s, own_s * factor / 4)
            per_test[_id(item)] = limit_s
        silence_s = 3.0 + 5 * sum(self.wall_s.get(_id(item), 0.1) for item in self.targets)
        return Limits(per_test, min(silence_s, 60.0), int(self.limits.get("memory_bytes", 1 << 30)))

    def _pass(self, numbers: list[int], factor: float, ceiling_s: float) -> list[int]:
        """Try the candidates in order; returns those that ran out of time."""
        limits = self._limits(factor, ceiling_s)
        size = int(self.limits.get("batch", BATCH_MAX))
        late: list[int] = []
        place = 0
        while place < len(numbers) and not self._enough(numbers[place]):
            outcomes = self._batch(numbers[place : place + size], limits)
            for number, outcome in zip(numbers[place:], outcomes):  # noqa: B905  (strict= is newer than 3.9)
                self._count(outcome)
                if outcome == "timeout":
                    late.append(number)
                elif outcome == "hit":
                    self._confirm(number, limits)
            place += max(len(outcomes), 1)
            self._progress(place, len(numbers))
        return late

    def _batch(self, numbers: list[int], limits: Limits) -> list[str]:
        """The outcomes of the first candidates of the batch; shorter than the batch when it ended early."""
        asked = [*self.targets, *self.judges]
        child = Child(lambda tell: self.batch.run(numbers, asked, limits, tell))
        outcomes: list[str] = []
        clean_end = leak = False
        heard_s = time.monotonic()
        while child.open and time.monotonic() < min(self.deadline_s, heard_s + limits.silence_s):
            for record in child.poll(0.5):
                heard_s = time.monotonic()
                if "end" in record:
                    clean_end, leak = True, bool(record.get("leak"))
                else:
                    outcomes.append(str(record["o"]))
        in_time = not child.open
        child.finish("" if in_time else "silence")
        if not clean_end and len(outcomes) < len(numbers):
            outcomes.append("died" if in_time else "timeout")
        self.restored += self.tree.restore()
        if leak:  # a large table changed on the way: from here on it is looked at each time
            self.batch.careful = True
            return self._batch(numbers, limits)
        return outcomes

    def _confirm(self, number: int, limits: Limits) -> None:
        """What passed counts only when a clean fork passes too, with every test that was green."""
        keep_s = sum(self.cpu[_id(item)] for item in self.keep)
        stages = [self.keep] if keep_s < WHOLE_CPU_S else [self.keep[:SAMPLE], self.keep]
        if not all(self._green(number, [*self.targets, *keep], limits) for keep in stages):
            self.unconfirmed += 1
            return
        cost = float(self.task["candidates"][number][3])
        self.found += 1
        self.hits.append(number)
        if self.best is None:
            self.best, self.found_s, self.found_at = (cost, number), time.monotonic(), self.tried
        self.tell(
            {"event": "plausible", "candidate": number, "cost": cost, "path": "fast", "tried": self.tried}
        )

    def _in_order(self, items: list[Any]) -> list[Any]:
        """As collected: tests that share state see each other's traces in the order they always did."""
        return sorted(items, key=lambda item: self.order[_id(item)])

    def _green(self, number: int, items: list[Any], limits: Limits) -> bool:
        """True when all of the tests pass with the candidate, in a fork that has seen no other."""
        items = self._in_order(items)
        if self.examples is None:
            paths = sorted({str(one[1]) for one in self.task["candidates"]})
            until_s = min(self.deadline_s, time.monotonic() + EXAMPLES_S)
            self.examples = set(self._ask(until_s, self.batch.examples, paths, limits).get("examples", []))
        examples = self.examples
        child = Child(lambda tell: self.batch.confirm(number, items, limits, examples, tell))
        verdict: dict[str, Any] = {}
        heard_s = time.monotonic()
        while child.open and time.monotonic() < min(self.deadline_s, heard_s + limits.silence_s):
            for record in child.poll(0.5):
                heard_s = time.monotonic()
                verdict = record
        child.finish("deadline" if child.open else "")
        self.restored += self.tree.restore()
        self._remember(str(verdict.get("test", "")), items)
        return verdict.get("o") == "green"

    def _remember(self, name: str, items: list[Any]) -> None:
        """A green test that refused several candidates is asked in the batch: a refusal costs less there."""
        self.refused[name] = self.refused.get(name, 0) + 1
        if self.refused[name] == JUDGE_AFTER and len(self.judges) < JUDGES_MAX:
            targets = {_id(item) for item in self.targets}
            self.judges += [item for item in items if _id(item) == name and name not in targets]

    def _enough(self, number: int) -> bool:
        now_s = time.monotonic()
        if now_s >= self.deadline_s:
            return True
        if self.best is None:
            return now_s >= self.pass_end_s
        cost = float(self.task["candidates"][number][3])
        return (
            cost > self.best[0] + float(self.limits.get("cost_band", 0.0))
            or self.found >= int(self.limits.get("plausible_max", 10))
            or self._tired(now_s - self.found_s)
        )

    def _tired(self, since_s: float) -> bool:
        """An easy patch has its rivals close by; after a long search a second look may take longer.

        Candidates are counted too, so that a busy machine does not cut the look short.
        """
        most_s = float(self.limits.get("after_first_s", AFTER_FIRST_S))
        least_s = max(AFTER_LEAST_S, AFTER_SHARE * (self.found_s - self.started_s))
        return since_s > most_s or (since_s > least_s and self.tried - self.found_at >= AFTER_LEAST)

    def _probe(self) -> None:
        """When several patches pass: what each answers to neighbours of the calls that the tests make."""
        if len(self.hits) < 2:
            return
        until_s = min(self.deadline_s, time.monotonic() + PROBE_S)
        limits = self._limits(SECOND_PASS, 1.0)
        units = sorted({int(self.task["candidates"][number][0]) for number in self.hits})
        items = self._in_order([*self.targets[: PROBE_ITEMS // 2], *self.keep[: PROBE_ITEMS // 2]])
        made = self._ask(until_s, self.batch.inputs, units, items, limits)
        inputs: list[Any] = made.get("inputs", [])
        for number in [-1, *self.hits] if inputs else ():
            answer = self._ask(until_s, self.batch.probe, number, inputs, limits)
            if "answers" in answer:
                self.tell({"event": "behaviour", "candidate": number, "answers": answer["answers"]})

    def _ask(self, until_s: float, work: Any, *arguments: Any) -> dict[str, Any]:
        """The one record of a fork that has until then to say it; empty when it does not."""
        child = Child(lambda tell: work(*arguments, tell))
        answer: dict[str, Any] = {}
        while child.open and time.monotonic() < until_s:
            for record in child.poll(0.5):
                answer = record
        child.finish("deadline" if child.open else "")
        self.restored += self.tree.restore()
        return answer

    def _count(self, outcome: str) -> None:
        self.tried += 1
        self.timeouts += outcome == "timeout"
        self.died += outcome == "died"
        self.invalid += outcome == "invalid"

    def _counts(self) -> dict[str, Any]:
        wall_s = time.monotonic() - self.started_s
        return {
            "tried": self.tried,
            "per_s": round(self.tried / max(wall_s, 1e-6), 1),
            "timeouts": self.timeouts,
            "died": self.died,
            "invalid": self.invalid,
            "unconfirmed": self.unconfirmed,
            "plausible": self.found,
            "best": self.best[1] if self.best else None,
        }

    def _progress(self, place: int, total: int) -> None:
        if time.monotonic() - self.progress_s >= PROGRESS_S:
            self.progress_s = time.monotonic()
            self.tell({"event": "progress", "of": total, "at": place, **self._counts()})

    def _done(self, reason: str) -> None:
        guarded = getattr(getattr(self, "tree", None), "guarded", None)
        self.tell(
            {
                "event": "done",
                "reason": reason,
                **self._counts(),
                "tree_guarded": guarded,
                "files_restored": self.restored,
            }
        )


def run(task: dict[str, Any], deadline_s: float, tell: Any) -> None:
    """Collect the session and search in it. Reports through `tell` only."""
    if task.get("runner", "pytest") == "unittest":
        from veilig_worker_unittest import discover

        Search(task, discover(task), deadline_s, tell).run()
        return
    import pytest
    from veilig_worker_takeover import Takeover

    def work(items: list[Any]) -> None:
        Search(task, items, deadline_s, tell).run()

    pytest.main(
        [*pytest_arguments(task), "-q", "-s"],
        plugins=[Takeover(work)],
    )


def _id(item: Any) -> str:
    return str(item.nodeid) if hasattr(item, "nodeid") else str(item.id())


def _file(item: Any) -> str:
    return _id(item).split("::")[0] if hasattr(item, "nodeid") else str(item.__class__.__module__)


def _inside(module: Any, root: str) -> bool:
    name = getattr(module, "__file__", None)
    return isinstance(name, str) and os.path.realpath(name).startswith(root + os.sep)
