"""How are a project's tests run behind the wall, and what does the planner get to see of it?"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from veilig.core.action import RunTests
from veilig.core.action_json import JSON
from veilig.core.errors import ProviderError
from veilig.core.provider import Outcome, Permit, Status
from veilig.providers.box import Box
from veilig.providers.sandbox.wall import CommandResult, OnOutput, Reason
from veilig.providers.tree import Tree
from veilig.repair.detect import Runner, TestCommand, test_command
from veilig.repair.locate import Group, groups, suspicious
from veilig.repair.recipes.proposal import Failure
from veilig.repair.testreport import Outcome as Result
from veilig.repair.testreport import Test, TestReport, read
from veilig.repair.workers import folder

_NAMED = re.compile(r"(?:[\w.]*(?:Error|Warning|Exception)|ERROR)\b.*:")  # the line that says what it was
_TALK = frozenset({"-q", "-qq", "-v", "-vv", "-x", "-s", "--quiet", "--verbose", "--exitfirst"})
NO_TESTS = 5  # pytest's exit code when there are none
GROUPS_MAX = 20  # failures beyond the twentieth group are counted, not worked on at once
LINES_MAX = 120  # suspected lines a group carries: more are noise
REASONS_MAX = 5  # lines that are shown to a person with the reason
TEXT_MAX = 4000  # characters of one failure that a recipe or a person reads


class Tests:
    """Runs tests in a box; remembers the last traced report for the search that follows it."""

    __test__ = False

    def __init__(self, box: Box) -> None:
        self._box = box
        self._named: tuple[str, ...] = ()
        self.last: TestReport | None = None

    async def run(self, action: RunTests, permit: Permit) -> Outcome:
        """One run: totals, the tests that did not pass, and failing tests grouped by cause."""
        named = pytest_paths(action.command, self._box.root)
        if action.command and named is None:
            return await self._own_command(action, permit)
        self._named = named or self._named
        command = self.command()
        if command is None:
            text = "the project has no tests that pytest or unittest would find"
            return Outcome(False, text, Status.FAILED, data={"no_tests": True})
        report = await self.report(
            command, action.tests, trace=action.trace, timeout_s=action.timeout_s, permit=permit
        )
        self.last = report if action.trace and not action.tests else self.last
        return Outcome(True, summary(report), data=described(report))

    def command(self) -> TestCommand | None:
        """How this project's tests are run, or None when it has none; the paths are those the user named."""
        found = test_command(project_files(self._box.root), str(self._box.python))
        return replace(found, args=self._named) if found and self._named else found

    async def report(
        self, command: TestCommand, tests: Sequence[str], *, trace: bool, timeout_s: float, permit: Permit
    ) -> TestReport:
        """The full report of one run. Raises ProviderError when the worker did not answer."""
        if tests and (files := files_of(tests, command, self._box.root)):
            if files == list(tests):  # whole files are wanted, whatever their tests are called
                return await self._report(command, files, (), trace=trace, timeout_s=timeout_s, permit=permit)
            few = await self._report(command, files, tests, trace=trace, timeout_s=timeout_s, permit=permit)
            if set(tests) <= set(few.tests):
                return few
        return await self._report(
            command, command.args, tests, trace=trace, timeout_s=timeout_s, permit=permit
        )

    async def _report(
        self,
        command: TestCommand,
        args: Sequence[str],
        tests: Sequence[str],
        *,
        trace: bool,
        timeout_s: float,
        permit: Permit,
    ) -> TestReport:
        nonce = os.urandom(16).hex()
        place = f"{await self._box.scratch()}/veilig-{nonce[:8]}.json"
        task: dict[str, Any] = {
            "root": str(self._box.root),
            "result": place,
            "nonce": nonce,
            "runner": command.runner.value,
            "args": list(args),
            "pythonpath": list(command.pythonpath),
            "tests": list(tests) or None,
            "wall_s": timeout_s,
            "trace": trace,
        }
        done = await self._worker("testrun.py", json.dumps(task), timeout_s + 10, emitting(permit))
        got = await self._box.run(["cat", place], timeout_s=30)
        if not got.ok:
            raise ProviderError(
                "the test run gave no result",
                why=told(done),
                fix="run the tests by hand; `--test CMD` names another command",
            )
        return read(got.stdout.decode("utf-8", "replace"), nonce)

    async def search_worker(self, task: str, timeout_s: float, shown: OnOutput | None = None) -> str:
        """What workers/search.py printed for this task; when it was stopped, what it had found so far.

        shown: gets the output while it comes.
        """
        done = await self._worker("search.py", task, timeout_s, shown)
        return done.stdout.decode("utf-8", "replace")

    async def _worker(
        self, script: str, task: str, timeout_s: float, shown: OnOutput | None
    ) -> CommandResult:
        """Run one of the worker scripts with the project's interpreter; its task comes on standard input."""
        argv = [str(self._box.python), str(folder() / script), "--task", "/dev/stdin"]
        # The worker would set the seed and start itself again.
        seed = {"PYTHONHASHSEED": "0"}
        return await self._box.run(argv, env=seed, stdin=task.encode(), timeout_s=timeout_s, on_output=shown)

    async def _own_command(self, action: RunTests, permit: Permit) -> Outcome:
        done = await self._box.run(
            action.command,
            timeout_s=action.timeout_s,
            on_output=emitting(permit),
        )
        data: dict[str, JSON] = {
            "runner": "command",
            "exit_code": done.exit_code if done.exit_code is not None else -1,
            "complete": done.reason is Reason.EXITED,
            "problem": "" if done.reason is Reason.EXITED else told(done),
            "wall_s": round(done.wall_s, 3),
            "groups": [],
        }
        if done.exit_code or done.reason is not Reason.EXITED:
            tail = (done.stderr or done.stdout).decode("utf-8", "replace")[-TEXT_MAX:]
            group: dict[str, JSON] = {
                "id": "test:command",
                "kind": "test",
                "title": f"{' '.join(action.command)} fails",
                "path": "",
                "line": 0,
                "message": tail,
                "failure": {
                    "exception": "",
                    "message": "",
                    "path": "",
                    "line": 0,
                    "frames": [],
                    "text": tail,
                },
            }
            data["groups"] = [group]
        return Outcome(True, told(done), data=data)


def pytest_paths(command: Sequence[str], root: Path) -> tuple[str, ...] | None:
    """The files and folders that `pytest PATH...` is about, None for a command that is more than that.

    What pytest runs we run test by test, so that a failure has lines to look at and not only an exit code.
    """
    words = list(command)
    if words[:1] and re.fullmatch(r"python[\d.]*", words[0]) and words[1:3] == ["-m", "pytest"]:
        words = words[2:]
    if words[:1] != ["pytest"]:
        return None
    text = " ".join(words[1:]).replace("-p no:cacheprovider", "")
    paths = tuple(word for word in text.split() if word not in _TALK)
    inside = (
        not one.startswith(("-", "/")) and ".." not in one and Path(root, one).exists() for one in paths
    )
    return paths if paths and all(inside) else None


def files_of(tests: Sequence[str], command: TestCommand, root: Path) -> list[str]:
    """The files of these pytest tests: no other one has to be collected. None when one is not there."""
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    whole = command.runner is Runner.PYTEST and all(Path(root, one).is_file() for one in files)
    return files if whole else []


def emitting(permit: Permit) -> OnOutput:
    """Hands a command's output to the gate, stream by stream."""

    def emit(stream: int, data: bytes) -> None:
        permit.emit("stdout" if stream == 1 else "stderr", data)

    return emit


def told(done: CommandResult) -> str:
    """How a command ended, in words, with the end of what it said."""
    how = f"exit code {done.exit_code}" if done.signal is None else f"signal {done.signal}"
    if done.reason is not Reason.EXITED:
        how = f"stopped: {done.reason}"
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-600:]
    return f"{how}\n{said}" if said else how


def summary(report: TestReport) -> str:
    """One line: what passed and what did not."""
    if stillborn(report):
        return "the tests cannot be started"
    totals = {name: n for name, n in report.totals.items() if n}
    return ", ".join(f"{n} {name}" for name, n in totals.items()) or "no tests collected"


def described(report: TestReport) -> dict[str, JSON]:
    """The report as the ledger holds it: small, and enough to tell better from worse."""
    nonpassing: dict[str, JSON] = {
        t.id: t.outcome.value for t in report.tests.values() if t.outcome is not Result.PASSED
    }
    for error in report.collect_errors:
        nonpassing[error.id] = "error"
    found: list[JSON] = [_group(g, report) for g in groups(report.tests.values())]
    broken: list[JSON] = [_collect_error(e.id, e.failure) for e in report.collect_errors]
    if stillborn(report):
        broken.append(_not_started(report))
    shown: list[JSON] = [*broken, *found][:GROUPS_MAX]
    return {
        "runner": report.runner,
        "total": len(report.tests) + len(report.collect_errors),
        "passed": len(report.green),
        "nonpassing": nonpassing,
        "collect_errors": len(report.collect_errors),
        "exit_code": report.exit_code if report.exit_code is not None else -1,
        "complete": report.complete,
        "problem": report.problem,
        "wall_s": report.wall_s,
        "groups": shown,
        "groups_left_out": len(broken) + len(found) - len(shown),
    }


def failure_json(failure: Failure | None) -> dict[str, JSON]:
    """A failure as JSON; long texts are cut, frames are kept."""
    if failure is None:
        return {"exception": "", "message": "", "path": "", "line": 0, "frames": [], "text": ""}
    frames: list[JSON] = [[f.path, f.line, f.function, f.text] for f in failure.frames]
    return {
        "exception": failure.exception,
        "message": failure.message[:TEXT_MAX],
        "path": failure.path,
        "line": failure.line,
        "frames": frames,
        "text": failure.text[-TEXT_MAX:],
    }


def _group(group: Group, report: TestReport) -> dict[str, JSON]:
    first: Test = report.tests[group.tests[0]]
    lines = suspicious(report.tests.values(), group.tests)[:LINES_MAX]
    ranked: list[JSON] = [[one.path, one.line, round(one.score * 1000)] for one in lines]
    failure = first.failure
    place = (lines[0].path, lines[0].line) if lines else (failure.path, failure.line) if failure else ("", 0)
    more = f" and {len(group.tests) - 1} more" if len(group.tests) > 1 else ""
    tests: list[JSON] = list(group.tests)
    return {
        "id": f"test:{first.id}",
        "kind": "test",
        "title": f"{first.id}{more}",
        "path": place[0],
        "line": place[1],
        "message": f"{failure.exception}: {failure.message}"[:TEXT_MAX] if failure else "",
        "tests": tests,
        "failure": failure_json(failure),
        "lines": ranked,
        "reasons": [one.why for one in lines[:REASONS_MAX]],
    }


def stillborn(report: TestReport) -> bool:
    """Whether the runner itself broke before any test: a missing plugin, a bad option, a broken conftest."""
    return not report.tests and not report.collect_errors and report.exit_code not in (0, NO_TESTS)


def _not_started(report: TestReport) -> dict[str, JSON]:
    said = [line.removeprefix("INTERNALERROR>").strip() for line in report.output_tail.splitlines()]
    named = [line for line in said if _NAMED.match(line)]
    last = next((line for line in reversed(named or said) if line), report.problem or "it said nothing")
    failure = Failure("", last, "", 0, (), report.output_tail)
    return {
        "id": "test:runner",
        "kind": "test",
        "title": f"{report.runner} cannot start",
        "path": "",
        "line": 0,
        "message": last[:TEXT_MAX],
        "tests": [],
        "failure": failure_json(failure),
        "why": f"{last[:110]} (--python EXE: an interpreter that has what the tests need)",
    }


def _collect_error(name: str, failure: Failure) -> dict[str, JSON]:
    return {
        "id": f"import:{name}",
        "kind": "import",
        "title": f"{name} cannot be collected: {failure.exception}",
        "path": failure.path,
        "line": failure.line,
        "message": failure.message[:TEXT_MAX],
        "tests": [name],
        "failure": failure_json(failure),
    }


def project_files(root: Path) -> dict[str, str]:
    """Relative path -> text of what tells how tests are run: configuration and Python files."""
    wanted = {"pyproject.toml", "pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "setup.py"}
    found: dict[str, str] = {}
    tree = Tree(root)
    for base, folders, files in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for name in files:
            if not name.endswith(".py") and name not in wanted:
                continue
            path = Path(base, name).relative_to(root).as_posix()
            try:
                found[path] = tree.read(path) or ""
            except ProviderError:
                found[path] = ""  # a pipe, a link, no text: project code may have put anything there
    return found
