"""Is the task done because the model says so? Its diff is tested, checked and audited first.

What fails is told to the model twice; then the session ends and says what is not proven. A test that fails is
run on the untouched copy too: one that failed before is nobody's fault here, and said.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, cast

from veilig.agent.delegating import edited
from veilig.agent.fix_state import number, outcomes
from veilig.agent.hooks import Hooks
from veilig.agent.run_state import Draft, Handler, Json
from veilig.agent.schema import misfit
from veilig.audit.baseline import added_lines
from veilig.core.action import (
    ApplyPatch,
    CommitBranch,
    ReadDiff,
    RestoreTree,
    RunCommand,
    RunTests,
    ScanCode,
)
from veilig.core.action_json import JSON
from veilig.core.message import Message, Role, ToolCall
from veilig.core.provider import Finish, Outcome, Step
from veilig.repair.denials_paths import is_test_path

TRIES_MAX = 2  # how often a claim that does not hold goes back to the model
TESTS_S = 900.0
FAILURE_CHARS = 3000
SHOWN_MAX = 12


class Ending(Hooks):
    """The part of the planner that checks, brings back and reports."""

    @abstractmethod
    def _ask(self, now: Draft) -> Step:
        """Send the model what it has not seen yet."""

    def _endings(self) -> Mapping[str, Handler]:
        return {
            **self._hook_stages(),
            "diff": self._after_diff,
            "tests": self._after_tests,
            "past": self._after_past,
            "past_tests": self._after_past_tests,
            "present": self._after_present,
            "check": self._after_check,
            "scan": self._after_scan,
            "last_diff": self._after_last_diff,
            "deliver": self._after_delivery,
        }

    def _claims_done(self, now: Draft, summary: str, call: ToolCall | None) -> Step:
        said: Json = {"id": call.id, "name": call.name, "arguments": call.arguments} if call else {}
        now["claim"] = {"summary": summary, "call": said}
        now["wrong"], now["proof"], now["tests"], now["missed"] = [], [], {}, []
        finish = cast(Json, now["finish"])
        if self._options.schema and (why := misfit(finish.get("result"), self._options.schema)):
            now["wrong"] = [f"call finish with a result that has the wanted form: {why}"]
            return self._judge(now)
        return self._then_look(now) if finish.get("done", True) else self._look_at_diff(now)

    def _look_at_diff(self, now: Draft) -> Step:
        now["stage"] = "diff"
        return Step(now.state, ReadDiff())

    def _after_diff(self, now: Draft, outcome: Outcome) -> Step:
        _take_diff(now, outcome)
        finish = cast(Json, now["finish"])
        if not finish.get("done", True):
            return self._end(now, ok=False)
        touched = [str(path) for path, _ in cast(list[list[str]], now["base"]) if is_test_path(str(path))]
        if touched:  # what they prove is for a person to judge
            now["proof"] = [*now["proof"], f"the change touches tests: {', '.join(touched[:SHOWN_MAX])}"]
        if self._to_verify(now):
            now["stage"] = "tests"
            return Step(now.state, RunTests(self._options.test_command, timeout_s=TESTS_S))
        return self._checked(now)

    def _to_verify(self, now: Draft) -> bool:
        """Whether there is a change of this session that tests and an audit may judge."""
        mine = self._options.origin is None or edited(now)
        return bool(now["diff"]) and self._options.verify and mine

    def _after_tests(self, now: Draft, outcome: Outcome) -> Step:
        report = {key: value for key, value in outcome.data.items() if key not in ("groups", "lines")}
        now["tests"] = report
        failing = [test for test, how in outcomes(report).items() if how in ("failed", "error")]
        if report.get("no_tests"):
            now["proof"] = [*now["proof"], f"no tests were run: {outcome.detail}"]
        elif not outcome.ok:
            _miss(now, "the tests could not be run", outcome)
        elif failing or not report.get("complete"):
            now["failing"] = failing
            now["groups"] = outcome.data.get("groups", [])
            if failing and now["first_tree"]:
                now["stage"] = "past"
                return Step(now.state, RestoreTree(str(now["first_tree"])))
            now["wrong"] = [str(report.get("problem") or "the tests did not run to their end")]
        else:
            now["proof"] = [*now["proof"], f"{number(report, 'passed')} tests pass"]
        return self._checked(now)

    def _after_past(self, now: Draft, outcome: Outcome) -> Step:
        now["present_tree"] = outcome.data.get("before", "")
        if not outcome.ok:
            return self._name_failing(now, set())
        now["stage"] = "past_tests"
        failing = cast(list[str], now["failing"])
        tests = () if self._options.test_command else tuple(failing[:200])
        return Step(now.state, RunTests(self._options.test_command, tests, timeout_s=TESTS_S))

    def _after_past_tests(self, now: Draft, outcome: Outcome) -> Step:
        before = outcomes({key: value for key, value in outcome.data.items() if key == "nonpassing"})
        now["before"] = (
            [test for test, how in before.items() if how in ("failed", "error")] if outcome.ok else []
        )
        now["stage"] = "present"
        return Step(now.state, RestoreTree(str(now["present_tree"])))

    def _after_present(self, now: Draft, outcome: Outcome) -> Step:
        if not outcome.ok:
            return self._ended(
                now, ok=False, summary=f"the changed copy was not brought back: {outcome.detail}"
            )
        return self._name_failing(now, set(cast(list[str], now["before"])))

    def _name_failing(self, now: Draft, before: set[str]) -> Step:
        failing = cast(list[str], now["failing"])
        mine = [test for test in failing if test not in before]
        old = [test for test in failing if test in before]
        passed = number(cast(Json, now["tests"]), "passed")
        if old and not now["asked_old"]:
            now["asked_old"] = True
            why = "fails as it did before you began: mend it if the task is about it, else call finish again"
            now["wrong"] = [*now["wrong"], *(f"{test} {why}" for test in old[:SHOWN_MAX])]
        elif old:
            now["proof"] = [
                *now["proof"],
                f"{passed} tests pass; failed before as well: {', '.join(old[:SHOWN_MAX])}",
            ]
        if mine:
            now["wrong"] = [*now["wrong"], *(f"{test} fails{_why(now, test)}" for test in mine[:SHOWN_MAX])]
        return self._checked(now)

    def _checked(self, now: Draft) -> Step:
        if self._options.check:
            now["stage"] = "check"
            return Step(now.state, RunCommand(self._options.check, timeout_s=TESTS_S))
        return self._audited(now)

    def _after_check(self, now: Draft, outcome: Outcome) -> Step:
        text = " ".join(self._options.check)
        if outcome.ok:
            now["proof"] = [*now["proof"], f"{text} says yes"]
        else:
            said = f"{outcome.detail}\n{outcome.data.get('stderr', '')}"[-FAILURE_CHARS:]
            now["wrong"] = [*now["wrong"], f"{text} says no:\n{said}"]
        return self._audited(now)

    def _audited(self, now: Draft) -> Step:
        if self._to_verify(now):
            now["stage"] = "scan"
            return Step(now.state, ScanCode())
        return self._judge(now)

    def _after_scan(self, now: Draft, outcome: Outcome) -> Step:
        if not outcome.ok:
            _miss(now, "the change was not audited", outcome)
            return self._judge(now)
        added = added_lines(str(now["diff"]))
        found = [
            f"{item['path']}:{item['line']}: {item['title']}"
            for item in cast(list[dict[str, Any]], outcome.data.get("problems", []))
            if item.get("line") in added.get(str(item.get("path")), ())
        ]
        if found:
            now["wrong"] = [
                *now["wrong"],
                *(f"your change brings a finding: {text}" for text in found[:SHOWN_MAX]),
            ]
        else:
            now["proof"] = [*now["proof"], "the audit of the changed lines is clean"]
        return self._judge(now)

    def _judge(self, now: Draft) -> Step:
        wrong = cast(list[str], now["wrong"])
        told = bool(now.state.get("told"))
        if not wrong and not told:
            return self._bring_back(now)
        if now["tries"] >= TRIES_MAX and not told:
            return self._end(now, ok=False)
        now["tries"] = 0 if told else now["tries"] + 1
        lines = "\n".join(f"- {line}" for line in wrong)
        text = f"Not accepted yet:\n{lines}\nMend it and call finish again."
        if not wrong:
            text = "Noted. The user has said something more; call finish again when that is done, too."
        call = cast(dict[str, Any], cast(Json, now["claim"])["call"])
        if call:
            now.answer(ToolCall(**call), text)
        else:
            now.say(Message(Role.USER, text))
        for left in cast(list[dict[str, Any]], now["queue"]):
            now.answer(ToolCall(**left), "not done: finish was called before it")
        now["queue"] = []
        return self._ask(now)

    # --- bringing back ---------------------------------------------------------------------------------

    def _bring_back(self, now: Draft) -> Step:
        base = tuple((str(p), str(h)) for p, h in cast(list[list[str]], now["base"]))
        diff, deliver = str(now["diff"]), self._options.deliver
        if diff and deliver and (missed := cast(list[str], now["missed"])):
            how = "see to that and ask again, or pass --no-verify and judge the change yourself"
            now["wrong"] = [f"nothing was brought back, for {missed[0]}: {how}"]
            return self._end(now, ok=False)
        if diff and deliver:
            now["stage"] = "deliver"
            if deliver == "apply":
                return Step(now.state, ApplyPatch(self._options.source, diff, base))
            summary = str(cast(Json, now["claim"])["summary"])
            message = f"{self._options.task.strip().splitlines()[0][:72]}\n\n{summary}\n"
            return Step(
                now.state,
                CommitBranch(self._options.source, deliver.removeprefix("branch:"), diff, message, base),
            )
        return self._end(now, ok=True)

    def _after_delivery(self, now: Draft, outcome: Outcome) -> Step:
        now["applied"] = outcome.detail
        if not outcome.ok:
            now["wrong"] = [f"the diff was not brought back: {outcome.detail}"]
        return self._end(now, ok=outcome.ok)

    def _ended(self, now: Draft, *, ok: bool, summary: str) -> Step:
        """The end where nobody claims that the task is done: what was changed so far is still shown."""
        now["claim"], now["wrong"] = {"summary": summary, "call": {}}, [] if ok else [summary]
        now["stage"] = "last_diff"
        return Step(now.state, ReadDiff())

    def _after_last_diff(self, now: Draft, outcome: Outcome) -> Step:
        _take_diff(now, outcome)
        return self._end(now, ok=False)

    def _end(self, now: Draft, *, ok: bool) -> Step:
        now["stage"] = "end"
        summary = str(cast(Json, now["claim"])["summary"]) or ("done" if ok else "not done")
        return Step(now.state, Finish(ok, summary, self._result(now)))

    def _result(self, now: Draft) -> Json:
        """What a terminal or a page shows of the end."""
        names = (
            "plan",
            "notes",
            "usage",
            "turns",
            "compacted",
            "proof",
            "tests",
            "skipped",
            "mcp_left",
            "skills_left",
            "files",
            "thread",
        )
        found: Json = {name: now[name] for name in names if name in now.state}
        for name in ("wrong", "missed", "diff", "base", "applied", "claim"):
            if name in now.state:
                found[name] = now[name]
        finish = cast(Json, now["finish"])
        if told := now.state.get("told"):
            found["unheard"] = told
        found["result"] = finish.get("result")
        found["files_changed"] = len(cast(list[JSON], found.get("base", [])))
        return found


def _take_diff(now: Draft, outcome: Outcome) -> None:
    now["diff"] = outcome.detail if outcome.ok else ""
    now["base"] = outcome.data.get("base", []) if outcome.ok else []
    if left := outcome.data.get("left_out"):
        now["proof"] = [
            *now["proof"],
            f"not text, so not in the diff: {', '.join(cast(list[str], left)[:SHOWN_MAX])}",
        ]


def _miss(now: Draft, what: str, outcome: Outcome) -> None:
    """A look that failed: nobody knows what it would have seen, and it is no proof."""
    said = next(iter(outcome.detail.splitlines()), "no reason was given")[:200]
    now["missed"] = [*cast(list[str], now["missed"]), f"{what}: {said}"]


def _why(now: Draft, test: str) -> str:
    """What the test said, short."""
    for group in cast(list[dict[str, Any]], now["groups"]):
        if test in group.get("tests", []):
            return f": {str(group.get('message') or group.get('title') or '')[:400]}"
    return ""
