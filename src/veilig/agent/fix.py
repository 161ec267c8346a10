"""What is tried next when a project shall be fixed with no model? A planner: it only proposes.

Copy, scan, repair what keeps tests from running, run the tests, repair the rest one problem at a
time, prove the whole in fresh processes, show the diff, bring it back when asked. Every step is a
function of the recorded state and the last outcome.
"""

from collections.abc import Callable
from typing import Any, cast

from veilig.agent.fix_match import brought, matching, seen, still_there, take_scan
from veilig.agent.fix_model import Asking
from veilig.agent.fix_state import (
    FIXED,
    KINDS,
    OPEN,
    PROPOSED,
    UNFIXED,
    Json,
    Problem,
    State,
    Trial,
    missed,
    number,
    outcomes,
    problem_of,
    regressions,
    seconds,
    undo_of,
    went_away,
)
from veilig.core.action import Action, OpenWorkspace, ProposePatch, ScanCode, SearchPatch
from veilig.core.action_json import JSON, from_json
from veilig.core.canonical import canonical_text
from veilig.core.provider import Outcome, Status, Step

EARLY = ("syntax", "config")  # what keeps the tests from running at all
TRIES_MAX = 8  # proposals per problem: the eighth best is a guess
RECIPES_MAX = 6  # known repairs of one failure: each is a test run that the search would like to have
QUICK_TESTS_S = 3.0  # a suite that takes longer is run for a repair only when its own tests pass
SLOW_TESTS_S = 20.0  # beyond it, patches for weaknesses share one test run at the end
SEARCH_SHARE, LAST_SHARE = 0.5, 0.9  # of the time left, for one search and for the last one
RESTARTS_MAX = 3  # a crash or two is bad luck; a step that always ends in doubt never will end


_ONLY = {
    "": KINDS,
    "tests": ("syntax", "import", "test"),
    "audit": ("weakness", "dependency"),
    "config": ("syntax", "config"),
}


class FixPlanner(Asking):
    """The embedded planner of `veilig fix`."""

    def first(self) -> Step:
        """Start with the copy."""
        return self._step(State(), OpenWorkspace(self._options.source))

    def next(self, state: dict[str, JSON], action: Action, outcome: Outcome) -> Step:
        """The step after `action` came to `outcome`."""
        now = State.from_json(cast(dict[str, Any], state))
        now.used_s += seconds(dict(outcome.data))
        if outcome.status is Status.IN_DOUBT and now.stage not in ("apply", "branch"):
            return self._restart(now, outcome)
        if now.stage == "change" and outcome.ok and "after" not in outcome.data:
            return self._restart(now, outcome)  # it happened before a crash; how to take it back is lost
        if now.stage == "change":
            return self._after_change(now, action, outcome)
        handlers: dict[str, Callable[[State, Outcome], Step]] = {
            "open": self._after_open,
            "scan": self._after_scan,
            "baseline": self._after_baseline,
            "refresh": self._after_refresh,
            "propose": self._after_propose,
            "history": self._after_history,
            "probe": self._after_probe,
            "search": self._after_search,
            "model_read": self._after_model_read,
            "model_ask": self._after_model_ask,
            "rescan": self._after_rescan,
            "pretest": self._after_pretest,
            "retest": self._after_retest,
            "undo": self._after_undo,
            "proof": self._after_proof,
            "final_scan": self._after_final_scan,
            "diff": self._after_diff,
            "apply": self._after_delivery,
            "branch": self._after_delivery,
        }
        return handlers[now.stage](now, outcome)

    # --- the stages, in the order they come ------------------------------------------------------

    def _after_open(self, now: State, outcome: Outcome) -> Step:
        if not outcome.ok:
            return self._finish(now, ok=False, summary=outcome.detail)
        now.skipped = cast(list[JSON], outcome.data.get("skipped", []))
        now.stage = "scan"
        return self._step(now, ScanCode(repairs=True))

    def _after_scan(self, now: State, outcome: Outcome) -> Step:
        if outcome.ok:
            take_scan(now, dict(outcome.data))
        else:
            missed(now, f"the code: it could not be audited: {outcome.detail}")
        return self._work(now)

    def _after_baseline(self, now: State, outcome: Outcome) -> Step:
        now.late = True
        report = dict(outcome.data)
        if report.get("no_tests"):
            now.notes.append(f"no tests were run: {outcome.detail}")
        elif not outcome.ok:
            missed(now, f"the tests: they could not be run: {outcome.detail}")
        now.tests = now.baseline = {k: v for k, v in report.items() if k != "groups"}
        now.problems += [problem_of(group) for group in cast(list[Json], report.get("groups", []))]
        now.proven = outcome.ok
        return self._work(now)

    def _after_refresh(self, now: State, outcome: Outcome) -> Step:
        """Proposals for a file that another fix has changed meanwhile."""
        problem = self._current(now)
        problem.stale = False
        found = cast(list[Json], outcome.data.get("problems", []))
        item = matching(problem, found, now.problems)
        if not outcome.ok:
            problem.proposals, problem.why = [], f"the file could not be read again: {outcome.detail}"
        elif item is not None:
            problem.id = str(item["id"])
            problem.proposals = cast(list[Json], item.get("proposals", []))
        else:
            problem.status, problem.fix = FIXED, "went away with another fix"
            problem.proof.append("gone on re-scan")
        return self._work(now)

    def _after_propose(self, now: State, outcome: Outcome) -> Step:
        problem = self._current(now)
        problem.asked = True
        if outcome.ok:
            problem.proposals = cast(list[Json], outcome.data.get("proposals", []))[:RECIPES_MAX]
        else:
            now.notes.append(f"{problem.title}: no repairs could be proposed: {outcome.detail}")
        return self._work(now)

    def _after_history(self, now: State, outcome: Outcome) -> Step:
        self._take_history(now, self._current(now), outcome)
        return self._work(now)

    def _after_probe(self, now: State, outcome: Outcome) -> Step:
        problem = self._current(now)
        self._take_probe(problem, outcome)
        return self._give_up(now, problem.why)

    def _after_search(self, now: State, outcome: Outcome) -> Step:
        problem = self._current(now)
        problem.searched, problem.tried = True, 0
        problem.proposals = cast(list[Json], outcome.data.get("proposals", []))
        tried = number(dict(outcome.data), "tried")
        problem.why = f"{tried} edits were tried and none was right" if outcome.ok else outcome.detail
        return self._work(now)

    def _after_change(self, now: State, action: Action, outcome: Outcome) -> Step:
        trial, now.proven = self._trial(now), False
        if not outcome.ok:
            if "after" in outcome.data:  # written, and then not what was meant: it is taken back too
                trial.undo.append(undo_of(action, outcome))
            word = "is refused" if outcome.status is Status.REFUSED else "cannot be made"
            return self._give_up(now, f"the edit {word}: {outcome.detail}")
        trial.undo.append(undo_of(action, outcome))
        if trial.todo:
            return self._step(now, from_json(trial.todo.pop(0)))
        return self._prove(now)

    def _after_rescan(self, now: State, outcome: Outcome) -> Step:
        trial, problem = self._trial(now), self._current(now)
        if not outcome.ok:
            return self._give_up(now, f"the re-scan failed: {outcome.detail}")
        trial.rescanned = True
        found = cast(list[Json], outcome.data.get("problems", []))
        if still_there(problem, found, now.findings):
            return self._give_up(now, "the finding is still there after the edit")
        if new := brought(found, now.findings, self._paths(trial)):
            return self._give_up(now, f"the edit brings a new finding: {new['title']}")
        trial.seen = seen(found)
        problem.proof.append("gone on re-scan")
        return self._prove(now)

    def _after_pretest(self, now: State, outcome: Outcome) -> Step:
        still = [t for t in self._current(now).tests if t in outcomes(dict(outcome.data))]
        if still or not outcome.ok:
            return self._give_up(now, f"{still[0]} still fails" if still else outcome.detail)
        self._trial(now).pretested = True
        return self._prove(now)

    def _after_retest(self, now: State, outcome: Outcome) -> Step:
        problem = self._current(now)
        report = {k: v for k, v in outcome.data.items() if k != "groups"}
        if not outcome.ok:
            return self._give_up(now, f"the tests could not be run: {outcome.detail}")
        still = [t for t in problem.tests if t in outcomes(report)]
        if still or (problem.kind == "test" and not problem.tests and number(report, "exit_code")):
            return self._give_up(now, f"{(still or ['the test command'])[0]} still fails")
        worse = regressions(now.tests, report)
        if worse:
            return self._give_up(now, f"it breaks something: {worse[0]}")
        now.tests, now.proven = report, True
        if problem.kind == "test":
            problem.proof.append("the failing test passes")
        if number(report, "total"):
            problem.proof.append(f"{number(report, 'passed')} tests pass, none got worse")
        else:
            problem.proof.append("the test command succeeds")
        return self._accept(now)

    def _after_undo(self, now: State, outcome: Outcome) -> Step:
        if not outcome.ok:
            return self._finish(now, ok=False, summary=f"an edit could not be taken back: {outcome.detail}")
        return self._take_back(now)

    # --- working through the problems ------------------------------------------------------------

    def _work(self, now: State) -> Step:
        """The next step for an open problem, or the next stage when there is none."""
        while (index := self._pick(now)) is not None:
            step = self._work_on(now, index)
            if step is not None:
                return step
        return self._next_stage(now)

    def _work_on(self, now: State, index: int) -> Step | None:
        """The next step for this problem; None when it was closed without one."""
        problem = now.problems[index]
        over = now.used_s >= self._options.budget_s
        if problem.tried >= TRIES_MAX and not over and (question := self._ask_model(now, index)) is not None:
            problem.proposals = []
            return question
        if over or problem.tried >= TRIES_MAX:
            told = [problem.why] if problem.why else []
            why = "; ".join([*told, "the time budget is used up"] if over else told)
            problem.status, problem.why = UNFIXED, why or "no repair was right"
            return None
        if problem.stale:
            now.trial = Trial(index, {}, [])
            now.stage = "refresh"
            return self._step(now, ScanCode((problem.path,), repairs=True))
        if problem.proposals:
            return self._try(now, index)
        now.trial = Trial(index, {}, [])
        if problem.kind in ("test", "import") and not problem.asked:
            now.stage = "propose"
            told = {**problem.failure, "lines": problem.lines}
            return self._step(now, ProposePatch(canonical_text(cast(JSON, told))))
        if (step := self._read_history(now, index)) is not None:
            return step
        if (probe := self._look_back(now, index)) is not None:
            now.trial = Trial(index, probe[0], probe[1][1:])
            now.stage = "change"
            return self._step(now, from_json(probe[1][0]))
        if problem.proposals:  # the history offers an undo
            return self._try(now, index)
        if problem.kind == "test" and not problem.searched and problem.tests and problem.lines:
            now.stage = "search"
            more = any(p.status == OPEN and p.kind == "test" and p is not problem for p in now.problems)
            share = SEARCH_SHARE if more else LAST_SHARE
            left_s = max(5.0, (self._options.budget_s - now.used_s) * share)
            lines = tuple((str(p), int(n), int(s)) for p, n, s in cast(list[Any], problem.lines))
            return self._step(
                now, SearchPatch(tuple(problem.tests), lines, budget_s=left_s, timeout_s=left_s + 60.0)
            )
        if (question := self._ask_model(now, index)) is not None:
            return question
        if problem.undo:
            problem.proposals, problem.undo = [problem.undo], {}
            return self._try(now, index)
        problem.status = UNFIXED
        problem.why = problem.why or "no repair is known for it"
        return None

    def _pick(self, now: State) -> int | None:
        kinds = _ONLY[self._options.only]
        wanted = KINDS if now.late else EARLY
        candidates = [
            (KINDS.index(p.kind), i)
            for i, p in enumerate(now.problems)
            if p.status == OPEN and p.kind in wanted and p.kind in kinds
        ]
        return min(candidates)[1] if candidates else None

    def _try(self, now: State, index: int) -> Step | None:
        problem = now.problems[index]
        proposal = problem.proposals.pop(0)
        problem.tried += 1
        if proposal.get("decision"):
            problem.status, problem.fix = PROPOSED, str(proposal["title"])
            problem.why = f"needs a decision: {proposal['decision']}"
            return None
        changes = cast(list[Json], proposal["changes"])
        if not changes:
            return None
        now.trial = Trial(index, {k: v for k, v in proposal.items() if k != "changes"}, changes[1:])
        now.stage = "change"
        return self._step(now, from_json(changes[0]))

    def _prove(self, now: State) -> Step:
        """The weakest proof not yet given: re-scan what was touched, then the tests."""
        trial, problem = self._trial(now), self._current(now)
        if trial.proposal.get("probe"):
            return self._probe(now, problem)
        if not trial.rescanned and problem.kind != "test":
            now.stage = "rescan"
            return self._step(now, ScanCode(tuple(p for p in self._paths(trial))))
        if not now.late:
            return self._accept(now)  # the tests could not run yet; the baseline comes after
        runnable = number(now.tests, "total") or self._options.test_command
        slow = seconds(now.baseline) > QUICK_TESTS_S and not self._options.test_command
        if problem.kind == "test" and problem.tests and slow and not trial.pretested:
            now.stage = "pretest"
            return self._step(now, self._tests(tests=tuple(problem.tests)))
        if problem.kind in ("test", "import") or (runnable and seconds(now.baseline) <= SLOW_TESTS_S):
            now.stage = "retest"
            return self._step(now, self._tests())
        problem.pending_tests = bool(runnable)
        if not runnable:
            problem.proof.append("no tests to run")
        return self._accept(now)

    def _accept(self, now: State) -> Step:
        trial, problem = self._trial(now), self._current(now)
        problem.status = FIXED
        problem.fix = str(trial.proposal.get("title", ""))
        problem.confidence = str(trial.proposal.get("confidence", ""))
        problem.why = ""
        touched = set(self._paths(trial))
        if trial.rescanned:
            now.findings = [one for one in now.findings if one[2] not in touched] + trial.seen
        for other in now.problems:
            if other.status == OPEN and other.path in touched and other.kind not in ("test", "import"):
                other.stale = True
        now.trial = None
        went_away(now)
        return self._work(now)

    def _give_up(self, now: State, why: str) -> Step:
        """Take the trial's edits back; the next proposal comes after."""
        self._trial(now).failed = why
        now.stage = "undo"
        return self._take_back(now)

    def _take_back(self, now: State) -> Step:
        trial = self._trial(now)
        while trial.undo:
            undo = trial.undo.pop()
            if undo.get("edits", True):  # an edit that changed nothing has nothing to take back
                return self._step(now, from_json(undo))
        problem = self._current(now)
        problem.why, problem.proof, now.trial = trial.failed, [], None
        return self._work(now)

    def _next_stage(self, now: State) -> Step:
        if not now.late and not now.scanned_again and any(p.status == FIXED for p in now.problems):
            now.scanned_again = True  # what could not be parsed before has findings too
            now.stage = "scan"
            return self._step(now, ScanCode(repairs=True))
        if not now.late:
            now.stage = "baseline"
            return self._step(now, self._tests(trace=True))
        return self._prove_all(now)

    def _restart(self, now: State, outcome: Outcome) -> Step:
        """Nobody can tell what became of a step: make the copy anew; nothing outside of it was touched."""
        if now.restarts >= RESTARTS_MAX:
            return self._finish(now, ok=False, summary=f"the same step stays in doubt: {outcome.detail}")
        note = f"{now.stage} was left in doubt ({outcome.detail or 'a crash'}): the copy was made anew"
        fresh = State(notes=[*now.notes, note], used_s=now.used_s, restarts=now.restarts + 1)
        return self._step(fresh, OpenWorkspace(self._options.source))

    # --- small parts -----------------------------------------------------------------------------

    def _current(self, now: State) -> Problem:
        return now.problems[self._trial(now).problem]

    @staticmethod
    def _trial(now: State) -> Trial:
        if now.trial is None:
            raise AssertionError(f"stage {now.stage} without a trial")
        return now.trial

    @staticmethod
    def _paths(trial: Trial) -> list[str]:
        return sorted({str(u["path"]) for u in trial.undo})
