"""How does a fix session end? Proven once more in fresh processes, shown, and brought back if asked."""

from typing import cast

from veilig.agent.fix_match import matching
from veilig.agent.fix_state import (
    FIXED,
    KINDS,
    OPEN,
    PROPOSED,
    UNFIXED,
    FixOptions,
    Json,
    State,
    missed,
    number,
    regressions,
)
from veilig.core.action import Action, ApplyPatch, CommitBranch, ReadDiff, RunTests, ScanCode
from veilig.core.action_json import JSON
from veilig.core.provider import Finish, Outcome, Step


class Proof:
    """The last stages of the fix planner: proof, final_scan, diff, apply or branch."""

    def __init__(self, options: FixOptions) -> None:
        self._options = options

    def _prove_all(self, now: State) -> Step:
        """Every test in a fresh process, unless exactly that was the last thing done to the copy."""
        if now.proven:
            return self._judge(now, now.tests, "")
        now.stage = "proof"
        return self._step(now, self._tests())

    def _after_proof(self, now: State, outcome: Outcome) -> Step:
        report = {k: v for k, v in outcome.data.items() if k != "groups"}
        return self._judge(now, report, "" if outcome.ok else outcome.detail)

    def _judge(self, now: State, report: Json, failed: str) -> Step:
        now.final = report
        if failed and not report.get("no_tests"):
            missed(now, f"the tests: they could not be run: {failed}")
            now.unproven = f"the tests could not be run: {failed}"
        worse = [failed] if failed else regressions(now.baseline, report)
        if worse and now.baseline.get("complete"):
            now.unproven = f"the final test run is worse than the first: {worse[0]}"
            now.notes.append(now.unproven)
            for problem in now.problems:
                if problem.status == FIXED:
                    problem.status, problem.why = PROPOSED, "together, the fixes break a test"
        for problem in now.problems:
            if problem.pending_tests and problem.status == FIXED:
                problem.proof.append(f"{number(now.final, 'passed')} tests pass, none got worse")
        now.stage = "final_scan"
        return self._step(now, ScanCode())

    def _after_final_scan(self, now: State, outcome: Outcome) -> Step:
        if outcome.ok:
            data = dict(outcome.data)
            now.rescan = {k: v for k, v in data.items() if k != "problems"}
            found = cast(list[Json], data.get("problems", []))
            standing = {str(item["id"]) for item in found}
            for problem in now.problems:
                if problem.status == FIXED and problem.id in standing:
                    problem.status, problem.why = UNFIXED, "the finding came back"
                scanned = problem.kind in ("weakness", "dependency", "syntax", "config")
                if problem.status == UNFIXED and scanned and matching(problem, found, now.problems) is None:
                    problem.status, problem.fix, problem.why = FIXED, "went away with another fix", ""
                    problem.proof = ["gone on re-scan"]
        else:
            missed(now, f"the code: the final scan failed: {outcome.detail}")
            now.unproven = now.unproven or f"the final scan failed: {outcome.detail}"
        now.stage = "diff"
        return self._step(now, ReadDiff())

    def _after_diff(self, now: State, outcome: Outcome) -> Step:
        now.diff = outcome.detail if outcome.ok else ""
        now.base = cast(list[JSON], outcome.data.get("base", []))
        now.files_changed = len(now.base)
        if now.diff and now.unproven and self._options.deliver:
            return self._finish(now, ok=False, summary=f"nothing was brought back: {now.unproven}")
        base = tuple((str(p), str(h)) for p, h in cast(list[list[str]], now.base))
        if now.diff and self._options.deliver == "apply":
            now.stage = "apply"
            return self._step(now, ApplyPatch(self._options.source, now.diff, base))
        if now.diff and self._options.deliver.startswith("branch:"):
            now.stage = "branch"
            name = self._options.deliver.removeprefix("branch:")
            message = "\n".join(
                f"- {p.title} ({p.path}:{p.line}): {p.fix}" for p in now.problems if p.status == FIXED
            )
            text = (
                f"Fix {sum(p.status == FIXED for p in now.problems)} problems found by veilig\n\n{message}\n"
            )
            return self._step(now, CommitBranch(self._options.source, name, now.diff, text, base))
        return self._finish(now)

    def _after_delivery(self, now: State, outcome: Outcome) -> Step:
        now.applied = outcome.detail
        if not outcome.ok:
            return self._finish(now, ok=False, summary=f"the diff was not brought back: {outcome.detail}")
        return self._finish(now)

    def _tests(self, *, trace: bool = False, tests: tuple[str, ...] = ()) -> RunTests:
        timeout_s = max(60.0, min(1800.0, self._options.budget_s * 2))
        return RunTests(self._options.test_command, tests, trace=trace, timeout_s=timeout_s)

    def _finish(self, now: State, *, ok: bool = True, summary: str = "") -> Step:
        for problem in now.problems:
            if problem.status == OPEN:
                problem.status = UNFIXED
                problem.why = (
                    "the session ended before it" if summary else f"left out by --only {self._options.only}"
                )
        now.problems.sort(key=lambda p: (KINDS.index(p.kind), p.path, p.line))
        counts = {s: sum(p.status == s for p in now.problems) for s in (FIXED, PROPOSED, UNFIXED)}
        text = summary or f"{counts[FIXED]} fixed, {counts[PROPOSED]} proposed, {counts[UNFIXED]} not fixed"
        now.stage = "end"
        state = now.to_json()
        return Step(state, Finish(ok, text, state))

    @staticmethod
    def _step(now: State, action: Action) -> Step:
        return Step(now.to_json(), action)
