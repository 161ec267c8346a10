"""Did it work before? Older states are tried on the copy, and the smallest sufficient undo is offered."""

from dataclasses import asdict
from typing import Any, cast

from veilig.agent.fix_proof import Proof
from veilig.agent.fix_state import Json, Problem, State, Trial, number, outcomes
from veilig.core.action import ReadHistory, RunTests
from veilig.core.action_json import JSON
from veilig.core.provider import Outcome, Step
from veilig.repair.bisect import Bisect
from veilig.repair.delta import Delta
from veilig.repair.history import SMALL_LINES, raised

PROBES_MAX = 60  # test runs of a session: enough for ddmin over a few dozen hunks, and within its steps
HISTORY_SHARE = 0.6  # of the time budget; the search must get its turn


class History(Proof):
    """The stage between known repairs and the search: bisect, then delta debugging of the difference."""

    def _read_history(self, now: State, index: int) -> Step | None:
        """Ask for the history once per problem that tests show, when there is one test to ask."""
        problem = now.problems[index]
        told = problem.tests or self._options.test_command
        if problem.kind not in ("test", "import") or problem.history or not told:
            return None
        now.trial = Trial(index, {}, [])
        now.stage = "history"
        return self._step(now, ReadHistory(self._options.source))

    def _take_history(self, now: State, problem: Problem, outcome: Outcome) -> None:
        """Keep the levels; lines that changed lately are suspected more."""
        if not outcome.ok:
            problem.history = {"levels": []}
            now.notes.append(f"the history could not be read: {outcome.detail}")
            return
        data = cast(dict[str, Any], dict(outcome.data))
        levels = data.get("levels", [])
        problem.history = {"levels": levels, "before": data.get("before", {})}
        problem.history["bisect"] = cast(JSON, asdict(Bisect(len(levels))))
        lines = [(str(p), int(n), int(s)) for p, n, s in cast(list[Any], problem.lines)]
        problem.lines = [[*line] for line in raised(lines, data.get("changed", {}))]

    def _look_back(self, now: State, index: int) -> tuple[Json, list[Json]] | None:
        """The next probe as a proposal and its changes; None when the history has nothing more to say."""
        problem = now.problems[index]
        history = cast(dict[str, Any], problem.history)
        if not history.get("levels"):
            return None
        self._learn(history)
        wanted = self._wanted(history)
        spent = now.used_s > self._options.budget_s * HISTORY_SHARE or now.probes >= PROBES_MAX
        if wanted is None or spent:
            self._offer(problem, history, minimal=wanted is None)
            return None
        now.probes += 1
        history["asked"], history["answer"] = True, False  # an undo that cannot be made is no cure
        return {"title": "an older state", "probe": True}, _changes(history, *wanted)

    @staticmethod
    def _learn(history: dict[str, Any]) -> None:
        """Feed the last answer to the search that asked."""
        if not history.pop("asked", False):
            return
        good = bool(history.pop("answer"))
        if "delta" in history:
            history["delta"] = _json(_delta(history).answered(enough=good))
            return
        search = Bisect(**history["bisect"]).answered(good=good)
        history["bisect"] = asdict(search)
        if search.found is not None:
            # Only what differs from the last bad state can matter, unless it needs the rest: then all.
            edits = history["levels"][search.found]["edits"]
            history["delta"] = _json(Delta(tuple(range(len(edits)))))

    @staticmethod
    def _wanted(history: dict[str, Any]) -> tuple[int, tuple[int, ...]] | None:
        """(level, numbers of its edits) to try next."""
        search = Bisect(**history["bisect"])
        if "delta" in history:
            asked = _delta(history).question()
            return None if asked is None else (search.good, asked)
        level = search.question()
        return None if level is None else (level, tuple(range(len(history["levels"][level]["edits"]))))

    def _offer(self, problem: Problem, history: dict[str, Any], *, minimal: bool) -> None:
        """Turn the smallest undo into a proposal: tried at once when small, a question to a person else."""
        levels, good = history["levels"], Bisect(**history["bisect"]).good
        problem.history = {"levels": []}
        if "delta" not in history:
            return
        kept = _delta(history).items
        edits = [levels[good]["edits"][number] for number in kept]
        lines = sum(int(edit[4]) for edit in edits)
        paths = ", ".join(sorted({str(edit[0]) for edit in edits}))
        many = f"{len(edits)} hunk{'s' if len(edits) != 1 else ''}"
        title = f"undo of {many} in {paths} from {levels[good]['by']}"
        proposal: Json = {"recipe": "history", "title": title, "needs": "tests", "confidence": "medium"}
        proposal["changes"] = cast(JSON, _changes(history, good, kept))
        if lines <= SMALL_LINES and minimal:
            problem.proposals = [proposal]
            return
        size = "could not be made smaller in time" if not minimal else f"takes {lines} lines back"
        proposal["decision"] = f"it {size}; at {levels[good]['commit'][:9]} the failing tests passed"
        problem.undo = proposal

    def _probe(self, now: State, problem: Problem) -> Step:
        """Run the failing tests against the older state."""
        now.stage = "probe"
        timeout_s = max(30.0, min(600.0, self._options.budget_s))
        tests = tuple(problem.tests) if problem.kind == "test" else ()
        return self._step(now, RunTests(self._options.test_command, tests, timeout_s=timeout_s))

    @staticmethod
    def _take_probe(problem: Problem, outcome: Outcome) -> None:
        """Whether the older state cures; a run that did not finish is none."""
        report = dict(outcome.data)
        failing = outcomes(report)
        ran = bool(report.get("complete")) and outcome.ok
        if problem.tests:
            total = number(report, "total")
            cured = ran and total > 0 and not any(test in failing for test in problem.tests)
        else:
            cured = ran and number(report, "exit_code") == 0
        cast(dict[str, Any], problem.history)["answer"] = cured


def _delta(history: dict[str, Any]) -> Delta:
    found = history["delta"]
    return Delta(tuple(found["items"]), int(found["parts"]), int(found["at"]))


def _changes(history: dict[str, Any], level: int, numbers: tuple[int, ...]) -> list[Json]:
    """One ready edit per file for these hunks of a level."""
    by_path: dict[str, list[JSON]] = {}
    for number_ in numbers:
        path, start, end, text, _ = history["levels"][level]["edits"][number_]
        by_path.setdefault(path, []).append([start, end, text])
    return [
        {"kind": "file.patch", "path": path, "before": history["before"][path], "edits": edits}
        for path, edits in by_path.items()
    ]


def _json(delta: Delta) -> dict[str, JSON]:
    return {"items": [*delta.items], "parts": delta.parts, "at": delta.at}
