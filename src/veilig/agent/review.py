"""What is done to review a change? It is audited, its tests run with and without it, and a model may comment.

Everything happens in a copy that is thrown away. A change that the copy does not hold yet (a patch) is made
there first; tests that fail are run again without the change, so that it is blamed only for its own.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, cast

from veilig.agent import review_comments as comments
from veilig.agent.edit_acts import changes
from veilig.agent.fix_state import outcomes
from veilig.agent.patching import PatchError
from veilig.agent.run_state import Draft, Json
from veilig.audit.baseline import added_lines
from veilig.audit.dependencies import is_dependency_file
from veilig.audit.finding import Report
from veilig.audit.patch_apply import apply_diff, reversed_diff, sections
from veilig.core.action import Action, AskModel, OpenWorkspace, ReadFile, RunCommand, RunTests, ScanCode
from veilig.core.action_json import JSON, from_json, to_json
from veilig.core.errors import InvalidAction, UsageError
from veilig.core.message import Message
from veilig.core.provider import Finish, Outcome, Status, Step
from veilig.repair.denials_paths import is_test_path

SCAN_S = 900.0
TESTS_S = 900.0
FILES_MAX = 300  # of a patch that is made in the copy; a larger one is audited, and its tests are not run
QUESTIONS_MAX = 12
ANSWER_TOKENS = 3072
WHY_CHARS = 300
_LISTS = ("hidden", "test_command", "binary")


@dataclass(frozen=True, slots=True)
class ReviewOptions:
    """What the user asked for.

    diff: the change, its secrets as handles. made: the folder holds it already. hidden: paths that a model is
    not shown. binary: files that change and are no text. test_command: empty for the runner that is found.
    """

    source: str
    diff: str
    made: bool
    pattern: bool = False
    model: str = ""
    hidden: tuple[str, ...] = ()
    test_command: tuple[str, ...] = ()
    tests: bool = True
    binary: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """The options as `session.started` records them."""
        return cast(Json, {**asdict(self), **{name: [*getattr(self, name)] for name in _LISTS}})

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "ReviewOptions":
        """The inverse of `to_json`."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        for name in _LISTS:
            known[name] = tuple(str(word) for word in known.get(name, ()))
        return cls(**known)


class ReviewPlanner:
    """The planner of `veilig review`."""

    def __init__(self, options: ReviewOptions) -> None:
        self._options = options
        self._added = added_lines(options.diff)

    def first(self) -> Step:
        """Start with the copy."""
        tests: Json = {"ran": "", "new": [], "old": [], "passed": 0, "why_not": ""}
        model: Json = {"name": self._options.model, "comments": [], "trouble": [], "asked": 0}
        model |= {"tokens_in": 0, "tokens_out": 0}
        state: Json = {"stage": "open", "tests": tests, "model": model, "left_out": [], "report": {}}
        state |= {"pins": [], "edit": {}, "queue": [], "failing": [], "advisories": {}}
        return Step(state, OpenWorkspace(self._options.source))

    def next(self, state: Json, action: Action, outcome: Outcome) -> Step:
        """The step after `action` came to `outcome`."""
        now = Draft(state)
        if outcome.status is Status.IN_DOUBT and now["stage"] != "model":
            return self.first()  # a crash came into it; all of it happens in a copy that is made anew
        if now["stage"] == "edit":
            return self._edited(now, action, outcome)
        handlers: dict[str, Callable[[Draft, Outcome], Step]] = {
            "open": self._opened,
            "scan": self._scanned,
            "pins": self._pins_read,
            "find": self._found,
            "tests": self._tested,
            "past": self._past_tested,
            "model": self._answered,
        }
        return handlers[str(now["stage"])](now, outcome)

    def _opened(self, now: Draft, outcome: Outcome) -> Step:
        if not outcome.ok:
            return Step(now.state, Finish(False, outcome.detail))
        now["left_out"], now["stage"] = outcome.data.get("skipped", []), "scan"
        wanted = self._options
        if not wanted.diff.strip():  # binary files alone: a scan without a diff would be one of everything
            now["report"] = cast(JSON, json.loads(Report().to_json()))
            return self._read_pins(now) if wanted.made else self._edit(now, wanted.diff, "pins")
        given = json.dumps({"made": wanted.made})
        return Step(
            now.state, ScanCode((), False, True, wanted.pattern, wanted.diff, given, timeout_s=SCAN_S)
        )

    def _scanned(self, now: Draft, outcome: Outcome) -> Step:
        if not outcome.ok or outcome.data.get("error"):
            return Step(now.state, Finish(False, str(outcome.data.get("error") or outcome.detail)))
        now["report"] = outcome.data["report"]
        if self._options.made:
            return self._read_pins(now)
        return self._edit(now, self._options.diff, "pins")

    # --- the change, made or taken back in the copy ----------------------------------------------------

    def _edit(self, now: Draft, diff: str, then: str) -> Step:
        """Make a diff in the copy, file by file, each an act; `then` names what follows."""
        paths = [*dict.fromkeys(p for d in (diff, reversed_diff(diff)) for p in sections(d))]
        if len(paths) > FILES_MAX:
            return self._not_edited(now, f"it touches {len(paths)} files, the bound is {FILES_MAX}", then)
        if not paths:  # a change of binary files alone
            return self._read_pins(now) if then == "pins" else self._test_past(now)
        now["edit"] = {"then": then, "back": then == "past", "wanted": cast(JSON, paths[1:]), "texts": {}}
        now["stage"] = "edit"
        return Step(now.state, ReadFile(paths[0]))

    def _edited(self, now: Draft, action: Action, outcome: Outcome) -> Step:
        edit = cast(dict[str, Any], now["edit"])
        if isinstance(action, ReadFile):
            if not outcome.ok and "no such file" not in outcome.detail:
                return self._not_edited(now, outcome.detail, edit["then"])
            texts = {**edit["texts"], **({action.path: outcome.detail} if outcome.ok else {})}
            wanted, then = cast(list[str], edit["wanted"]), str(edit["then"])
            now["edit"] = {**edit, "texts": texts, "wanted": cast(JSON, wanted[1:])}
            if wanted:
                return Step(now.state, ReadFile(wanted[0]))
            try:
                diff = reversed_diff(self._options.diff) if edit["back"] else self._options.diff
                after = apply_diff(texts, diff).after
                todo = changes({path: texts.get(path) for path in after}, after)
            except (UsageError, PatchError, InvalidAction) as error:
                return self._not_edited(now, str(error), then)
            now["edit"] = {**edit, "texts": {}, "todo": [to_json(one) for one in todo[1:]]}
            return Step(now.state, todo[0])
        if not outcome.ok:
            return self._not_edited(now, outcome.detail, edit["then"])
        if edit["todo"]:
            now["edit"] = {**edit, "todo": edit["todo"][1:]}
            return Step(now.state, from_json(edit["todo"][0]))
        return self._read_pins(now) if edit["then"] == "pins" else self._test_past(now)

    def _not_edited(self, now: Draft, why: str, then: str) -> Step:
        tests = cast(Json, now["tests"])
        said = " ".join(why.split())[:WHY_CHARS]
        if then == "pins":
            now["tests"] = {**tests, "why_not": f"the patch was not made in the copy: {said}"}
        else:
            why_old = f"nobody looked whether they failed before: {said}"
            now["tests"] = {**tests, "new": now["failing"], "why_not": why_old}
        return self._ask_all(now)

    # --- dependencies ------------------------------------------------------------------------------------

    def _read_pins(self, now: Draft) -> Step:
        paths = tuple(path for path in self._added if is_dependency_file(path))
        if not paths:
            return self._find_tests(now)
        now["stage"] = "pins"
        return Step(now.state, ScanCode(paths, timeout_s=SCAN_S))

    def _pins_read(self, now: Draft, outcome: Outcome) -> Step:
        problems = cast(list[dict[str, Any]], outcome.data.get("problems", []))
        now["pins"] = [
            {name: value for name, value in one.items() if name != "proposals"}
            for one in problems
            if one["kind"] == "dependency" and one["line"] in self._added.get(one["path"], ())
        ]
        now["advisories"] = outcome.data.get("advisories", {}) if outcome.ok else {"error": outcome.detail}
        return self._find_tests(now)

    # --- tests -----------------------------------------------------------------------------------------

    def _find_tests(self, now: Draft) -> Step:
        """Which test files touch the change: those it changes, and those that name a module of it."""
        if not self._options.tests:
            now["tests"] = {**cast(Json, now["tests"]), "why_not": "not asked for"}
            return self._ask_all(now)
        names = sorted({n for path in self._added if (n := _module(path)) and not is_test_path(path)})
        if self._options.test_command or not names:
            return self._run_tests(now, [])
        now["stage"] = "find"
        pattern = rf"(import|from)[[:space:]].*\b({'|'.join(map(re.escape, names))})\b"
        files = ("--include=test_*.py", "--include=*_test.py")
        return Step(now.state, RunCommand(("grep", "-rlIE", *files, "-e", pattern, ".")))

    def _found(self, now: Draft, outcome: Outcome) -> Step:
        named = [line.removeprefix("./") for line in outcome.detail.splitlines() if line.endswith(".py")]
        return self._run_tests(now, named if outcome.ok else [])

    def _run_tests(self, now: Draft, named: list[str]) -> Step:
        own = [p for p in self._added if is_test_path(p) and _collected(p)]
        files = sorted({*named, *own}) if not self._options.test_command else []
        now["tests"] = {**cast(Json, now["tests"]), "ran": ", ".join(files[:40]) or "all"}
        now["stage"] = "tests"
        return Step(now.state, RunTests(self._options.test_command, tuple(files), timeout_s=TESTS_S))

    def _tested(self, now: Draft, outcome: Outcome) -> Step:
        tests = cast(Json, now["tests"])
        if not outcome.ok:
            now["tests"] = {**tests, "ran": "", "why_not": outcome.detail.splitlines()[0][:WHY_CHARS]}
            return self._ask_all(now)
        failing = _failing(outcome)
        now["tests"] = {**tests, "passed": outcome.data.get("passed", 0)}
        if not outcome.data.get("complete"):
            why = str(outcome.data.get("problem") or "they did not run to their end")[:WHY_CHARS]
            now["tests"] = {**cast(Json, now["tests"]), "why_not": why}
        if not failing:
            return self._ask_all(now)
        now["failing"] = failing
        now["groups"] = outcome.data.get("groups", [])
        return self._edit(now, reversed_diff(self._options.diff), "past")

    def _test_past(self, now: Draft) -> Step:
        now["stage"] = "past"
        failing = cast(list[str], now["failing"])
        wanted = () if self._options.test_command else tuple(failing[:200])
        return Step(now.state, RunTests(self._options.test_command, wanted, timeout_s=TESTS_S))

    def _past_tested(self, now: Draft, outcome: Outcome) -> Step:
        before = set(_failing(outcome)) if outcome.ok else set[str]()
        failing = cast(list[str], now["failing"])
        old: list[JSON] = [test for test in failing if test in before]
        new: list[JSON] = [test for test in failing if test not in before]
        now["tests"] = {**cast(Json, now["tests"]), "new": new, "old": old}
        return self._ask_all(now)

    # --- a model -----------------------------------------------------------------------------------------

    def _ask_all(self, now: Draft) -> Step:
        model = cast(Json, now["model"])
        if not self._options.model:
            return self._end(now)
        parts, left = comments.questions(sections(self._options.diff), frozenset(self._options.hidden))
        if len(parts) > QUESTIONS_MAX:
            left.append(f"{len(parts) - QUESTIONS_MAX} parts of the change were not shown: too many")
        now["model"] = {**model, "trouble": [*left]}
        now["queue"] = [*parts[:QUESTIONS_MAX]]
        return self._ask(now)

    def _ask(self, now: Draft) -> Step:
        queue = cast(list[str], now["queue"])
        if not queue:
            return self._end(now)
        now["queue"], now["stage"] = queue[1:], "model"
        return Step(now.state, AskModel(self._options.model, comments.prompt(queue[0]), ANSWER_TOKENS))

    def _answered(self, now: Draft, outcome: Outcome) -> Step:
        model = cast(dict[str, Any], now["model"])
        model = {**model, "asked": model["asked"] + 1}
        if not outcome.ok:
            said = " ".join(outcome.detail.split())[:WHY_CHARS]
            now["model"], now["queue"] = {**model, "trouble": [*model["trouble"], said]}, []
            return self._end(now)
        for name in ("tokens_in", "tokens_out"):
            model[name] += int(cast(int, outcome.data.get(name, 0)))
        text = Message.from_json(outcome.data["message"]).text
        kept, trouble = comments.heard(text, self._added)
        model["comments"] = [*model["comments"], *(one.to_json() for one in kept)]
        model["trouble"] = [*model["trouble"], *([trouble] if trouble else [])]
        now["model"] = model
        return self._ask(now)

    def _end(self, now: Draft) -> Step:
        names = ("report", "pins", "tests", "model", "left_out", "advisories", "groups")
        data = {name: now[name] for name in names if name in now.state}
        return Step(now.state, Finish(True, "reviewed", {**data, "binary": [*self._options.binary]}))


def _failing(outcome: Outcome) -> list[str]:
    """Tests that fail; a command of the user's counts as one."""
    if outcome.data.get("runner") == "command":
        return ["the test command"] if outcome.data.get("exit_code") else []
    return [test for test, how in outcomes(dict(outcome.data)).items() if how in ("failed", "error")]


def _module(path: str) -> str:
    """The name that an import of this file ends in."""
    file = PurePosixPath(path)
    if file.suffix != ".py":
        return ""
    return file.parent.name if file.stem == "__init__" else file.stem


def _collected(path: str) -> bool:
    """Whether pytest takes this file for tests: a conftest or a helper among them is none."""
    name = PurePosixPath(path).name
    return name.endswith("_test.py") or (name.startswith("test_") and name.endswith(".py"))
