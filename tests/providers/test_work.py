"""What runs behind the wall: commands, tests and the audit of a real copy. Needs a wall that stands here."""

import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from veilig.core.action import Action, ProposePatch, ReadFile, RunCommand, RunTests, ScanCode, SearchPatch
from veilig.core.action_json import digest
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError, SandboxUnavailable, SecretRefused
from veilig.core.provider import Found, Outcome, Permit, Status
from veilig.core.redact import Redactor
from veilig.providers.box import Box, Terms
from veilig.providers.copying import copy_tree
from veilig.providers.sandbox.wall import Bounds, Wall
from veilig.providers.testing import pytest_paths
from veilig.providers.work import WorkProvider
from veilig.providers.workspace import Workspace

SECRET = "correct-horse-" + "battery-staple-7"
PYTHON = sys.executable


class Bench:
    """A copy with a wall around it; secrets may go where `allowed` says."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        source = folder / "project"
        for path, text in files.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_text(text)
        self.workspace = Workspace(folder / "session", source)
        copy_tree(source, self.workspace.tree.root)
        self.walls: list[Wall] = []
        terms = Terms(("bubblewrap", "landlock"), frozenset(), Bounds())
        self.box = Box(self.workspace, Path(PYTHON), terms, self.stood)
        self.work = WorkProvider(self.workspace, self.box, SystemClock(), None)
        self.redactor = Redactor(b"k" * 32)
        self.allowed = True
        self.output: list[tuple[str, bytes]] = []

    async def stood(self, wall: Wall) -> None:
        self.walls.append(wall)

    async def do(self, action: Action) -> Outcome:
        permit = Permit(
            "r", digest(action), SystemClock().boottime_s() + 60, "p", "s",
            lambda text: self.redactor.expand(text, lambda _: self.allowed), self.redactor.seal,
            lambda stream, data: self.output.append((stream, data)),
        )  # fmt: skip
        outcome = await self.work.perform(action, permit)
        return await self.work.verify(action, outcome, permit)


FILES = {
    "pkg/__init__.py": "",
    "pkg/sums.py": "def add(a, b):\n    return a - b\n\n\ndef twice(a):\n    return a * 2\n",
    "tests/test_sums.py": (
        "from pkg.sums import add, twice\n\n\ndef test_add():\n    assert add(1, 2) == 3\n\n\n"
        "def test_twice():\n    assert twice(2) == 4\n"
    ),
    "conftest.py": "",
}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, FILES)
    try:
        await bench.box.run(["true"], timeout_s=20)
    except SandboxUnavailable as error:
        pytest.skip(f"no wall stands here: {error.what}")
    yield bench
    await bench.work.close()


async def test_a_command_runs_in_the_copy_and_says_how_it_ended(bench: Bench) -> None:
    code = "import os; print(sorted(os.listdir())); open('made.txt', 'w').write('x')"
    outcome = await bench.do(RunCommand((PYTHON, "-c", code), timeout_s=20))
    assert (outcome.ok, outcome.data["exit_code"]) == (True, 0)
    assert "'conftest.py', 'pkg', 'tests'" in outcome.detail
    assert bench.workspace.tree.read("made.txt") == "x"
    assert not (bench.workspace.source / "made.txt").exists()
    assert len(bench.walls) == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [("raise SystemExit(3)", "exit code 3"), ("import os; os.kill(os.getpid(), 9)", "signal 9")],
)
async def test_a_command_that_fails_is_a_failed_outcome_with_its_reason(
    bench: Bench, code: str, said: str
) -> None:
    outcome = await bench.do(RunCommand((PYTHON, "-c", code), timeout_s=20))
    assert (outcome.ok, outcome.status) == (False, Status.FAILED)
    assert said in outcome.detail


async def test_a_command_that_does_not_end_is_stopped_and_it_is_said(bench: Bench) -> None:
    outcome = await bench.do(RunCommand(("sleep", "60"), timeout_s=0.5))
    assert (outcome.ok, outcome.data["reason"]) == (False, "timeout")


async def test_a_command_that_wants_the_network_is_refused_before_it_runs(bench: Bench) -> None:
    with pytest.raises(ProviderError, match="no way to"):
        await bench.do(RunCommand(("touch", "ran"), hosts=("example.org",)))
    assert bench.workspace.tree.read("ran") is None


async def test_a_secret_reaches_a_command_only_where_it_may_go(bench: Bench) -> None:
    handle = bench.redactor.mark(SECRET, "KEY")
    seal = bench.redactor.seal(SECRET)
    assert str(handle.name) in seal
    action = RunCommand((PYTHON, "-c", "import os; print(len(os.environ['KEY']))"), env=(("KEY", seal),))
    assert (await bench.do(action)).detail.strip() == str(len(SECRET))
    bench.allowed = False
    with pytest.raises(SecretRefused):
        await bench.do(action)


async def test_tests_are_run_and_each_failure_is_told(bench: Bench) -> None:
    outcome = await bench.do(RunTests(trace=True, timeout_s=60))
    report: Any = dict(outcome.data)
    assert (outcome.ok, report["complete"], report["passed"], report["total"]) == (True, True, 1, 2)
    assert list(report["nonpassing"].values()) == ["failed"]
    (group,) = report["groups"]
    assert (group["kind"], group["path"]) == ("test", "pkg/sums.py")


@pytest.mark.parametrize(
    "conftest", ["raise RuntimeError('no data folder')\n", "import pytest\npytest.exit('not here', 4)\n"]
)
async def test_a_runner_that_breaks_before_any_test_is_a_problem_not_an_absence(
    bench: Bench, conftest: str
) -> None:
    (bench.workspace.tree.root / "conftest.py").write_text(conftest)
    outcome = await bench.do(RunTests(trace=True, timeout_s=60))
    (group,) = cast("list[Any]", outcome.data["groups"])
    assert group["title"] == "pytest cannot start"
    assert re.search("no data folder|not here", group["failure"]["text"])
    assert outcome.detail == "the tests cannot be started"


async def test_a_search_finds_the_edit_and_nothing_in_the_copy_changes(bench: Bench) -> None:
    report: Any = (await bench.do(RunTests(trace=True, timeout_s=60))).data
    (group,) = report["groups"]
    before = bench.workspace.tree.read("pkg/sums.py")
    lines = tuple((str(p), int(n), int(s)) for p, n, s in group["lines"])
    outcome = await bench.do(SearchPatch(tuple(group["tests"]), lines, budget_s=30, timeout_s=90))
    found: Any = outcome.data["proposals"]
    assert found[0]["changes"][0]["path"] == "pkg/sums.py"
    assert bench.workspace.tree.read("pkg/sums.py") == before


async def test_a_users_own_test_command_is_judged_by_its_exit_code(bench: Bench) -> None:
    good = await bench.do(RunTests((PYTHON, "-c", "pass"), timeout_s=20))
    bad = await bench.do(RunTests((PYTHON, "-c", "raise SystemExit('no')"), timeout_s=20))
    assert (good.data["exit_code"], good.data["groups"]) == (0, [])
    groups: Any = bad.data["groups"]
    assert (bad.data["exit_code"], groups[0]["message"]) == (1, "no\n")


async def test_what_pytest_is_told_to_run_is_run_test_by_test(bench: Bench) -> None:
    (bench.workspace.tree.root / "test_other.py").write_text("def test_other():\n    assert False\n")
    tests = next(
        path.name for path in bench.workspace.tree.root.rglob("test_*.py") if "other" not in path.name
    )
    place = next(path for path in bench.workspace.tree.root.rglob(tests)).relative_to(
        bench.workspace.tree.root
    )
    command = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", place.as_posix())
    report: Any = (await bench.do(RunTests(command, trace=True, timeout_s=60))).data
    assert report["total"] == 2
    (group,) = report["groups"]
    assert group["path"] == "pkg/sums.py"


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("pytest tests", ("tests",)),
        ("python3.12 -m pytest -x tests/a.py tests", ("tests/a.py", "tests")),
        ("pytest", None), ("pytest ../tests", None), ("pytest /etc", None), ("pytest tests -k word", None),
        ("pytest missing.py", None), ("python -m unittest tests", None), ("make test", None), ("", None),
    ],
)  # fmt: skip
def test_only_files_and_folders_of_pytest_are_taken_over(
    tmp_path: Path, command: str, paths: tuple[str, ...] | None
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/a.py").write_text("")
    assert pytest_paths(tuple(command.split()), tmp_path) == paths


async def test_the_audit_reads_the_copy_and_never_runs_it(tmp_path: Path) -> None:
    trap = "import os\nos.system('touch ' + input())\nopen('ran', 'w')\n"
    bench = Bench(tmp_path, {"app.py": trap, "broken.py": "def f(:\n"})
    try:
        outcome = await bench.do(ScanCode(repairs=True, timeout_s=60))
    except SandboxUnavailable as error:
        pytest.skip(f"no wall stands here: {error.what}")
    finally:
        await bench.work.close()
    problems: Any = outcome.data["problems"]
    assert {"app.py", "broken.py"} == {p["path"] for p in problems}
    assert bench.workspace.tree.read("ran") is None


async def test_modules_of_the_project_never_take_the_place_of_ours(tmp_path: Path) -> None:
    liar = "import os\nopen('ran', 'w').close()\nprint('{}')\nos._exit(0)\n"
    trap = "import os\nos.system('touch ' + input())\n"
    named = {"veilig/__init__.py": liar, "json.py": liar, "ast.py": liar, "sitecustomize.py": liar}
    bench = Bench(tmp_path, {"app.py": trap, **named})
    try:
        outcome = await bench.do(ScanCode(repairs=True, timeout_s=60))
    except SandboxUnavailable as error:
        pytest.skip(f"no wall stands here: {error.what}")
    finally:
        await bench.work.close()
    problems: Any = outcome.data["problems"]
    assert [p["path"] for p in problems] == ["app.py"]
    assert bench.workspace.tree.read("ran") is None


async def test_a_project_without_tests_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a.txt": "x"})
    outcome = await bench.do(RunTests(timeout_s=20))
    await bench.work.close()
    assert (outcome.ok, outcome.status) == (False, Status.FAILED)
    assert "no tests" in outcome.detail


async def test_a_failure_whose_message_holds_a_secret_gets_its_repair_and_not_the_secret(
    bench: Bench,
) -> None:
    bench.workspace.tree.root.joinpath("pkg/sums.py").write_text(
        f"import os\nKEY = '{SECRET}'\n\n\ndef add(a, b):\n    return a + b, json.dumps(KEY)\n"
    )
    bench.redactor.mark(SECRET, "KEY")
    bench.allowed = False
    group = {
        "kind": "test", "exception": "NameError", "message": f"name 'json' is not defined for {SECRET}",
        "path": "pkg/sums.py", "line": 6, "tests": ["tests/test_sums.py::test_add"],
        "frames": [["pkg/sums.py", 6, "add", "return a + b, json.dumps(KEY)"]],
    }  # fmt: skip
    outcome = await bench.do(ProposePatch(bench.redactor.seal(json.dumps(group))))
    assert outcome.ok, outcome.detail
    assert "import json" in str(outcome.data["proposals"])
    assert SECRET not in str(outcome.data)


async def test_after_a_crash_looks_are_repeated_and_runs_are_in_doubt(bench: Bench) -> None:
    assert await bench.work.inspect(ScanCode()) is Found.NOT_DONE
    assert await bench.work.inspect(ProposePatch(json.dumps({}))) is Found.NOT_DONE
    assert await bench.work.inspect(RunCommand(("true",))) is Found.UNKNOWN
    assert await bench.work.inspect(RunTests()) is Found.UNKNOWN


async def test_another_kind_and_another_digest_are_refused(bench: Bench) -> None:
    with pytest.raises(ProviderError, match="does not perform"):
        await bench.do(ReadFile("a.py"))
    action = RunCommand(("touch", "ran"))
    permit = Permit("r", "0" * 64, 1e12, "p", "s", str, str, lambda *_: None)
    with pytest.raises(ProviderError, match="not the one that was decided"):
        await bench.work.perform(action, permit)
    late = Permit("r", digest(action), SystemClock().boottime_s() - 1, "p", "s", str, str, lambda *_: None)
    with pytest.raises(ProviderError, match="deadline"):
        await bench.work.perform(action, late)
    assert bench.workspace.tree.read("ran") is None


async def test_what_a_command_prints_is_handed_on_while_it_runs(bench: Bench) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr)"
    await bench.do(RunCommand((PYTHON, "-c", code), timeout_s=20))
    assert {stream for stream, _ in bench.output} == {"stdout", "stderr"}
    assert os.linesep.join(["out", ""]).encode() in b"".join(d for s, d in bench.output if s == "stdout")
