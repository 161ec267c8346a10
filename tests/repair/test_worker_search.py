"""The search inside the sandbox, asked directly."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from veilig.repair import search, workers
from veilig.repair.candidates import Candidate, generate
from veilig.repair.detect import Runner, TestCommand
from veilig.repair.locate import Line
from veilig.repair.recipes.proposal import Failure
from veilig.repair.testreport import Outcome, Test

SIGN = "SEEN = []\ndef sign(x):\n    SEEN.append(x)\n    if x > 0:\n        return 1\n    return 0\n"
TESTS = """\
import unittest
from m import sign
class T(unittest.TestCase):
    def test_a(self):
        self.assertEqual(sign(0), 1)
    def test_b(self):
        self.assertEqual(sign(-3), 0)
"""


def ask(
    folder: Path, runner: Runner, target: str, keep: list[str], files: Mapping[str, str] | None = None
) -> tuple[list[search.News], tuple[Candidate, ...]]:
    root = folder / "project"
    root.mkdir()
    (root / "m.py").write_text(SIGN)
    for name, text in (files or {"test_m.py": TESTS}).items():
        (root / name).write_text(text)
    one = next(search.plan(generate({"m.py": SIGN}, [Line("m.py", 4, 1.0, "")]), 10))
    command = TestCommand(runner, sys.executable, (), (".",), "")
    failing = [Test(target, Outcome.FAILED, 0.1, 0.1, Failure("AssertionError", ""))]
    text = search.task(one, root=str(root), nonce="n", command=command, targets=failing, keep=keep)
    (folder / "task.json").write_text(text)
    wall = [
        "bwrap",
        "--unshare-all",
        "--ro-bind",
        "/",
        "/",
        "--bind",
        str(folder),
        str(folder),
        "--proc",
        "/proc",
    ]
    wall += ["--dev", "/dev", "--die-with-parent", "--setenv", "TMPDIR", str(folder)]
    argv = [*wall, sys.executable, str(workers.folder() / "search.py"), "--task", str(folder / "task.json")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    told = [search.news(line, "n") for line in done.stdout.splitlines()]
    assert None not in told, done.stdout
    assert json.loads(text)["nonce"] == "n"
    return [item for item in told if item is not None], one.candidates


def test_the_first_plausible_candidate_is_the_boundary_and_the_end_is_announced(tmp_path: Path) -> None:
    told, candidates = ask(tmp_path, Runner.PYTEST, "test_m.py::T::test_a", ["test_m.py::T::test_b"])
    first = next(item for item in told if item.kind is search.Told.PLAUSIBLE)
    assert first.candidate is not None
    assert candidates[first.candidate].title == "wrong comparison: if x > 0: -> if x >= 0:"
    assert told[-1].kind is search.Told.DONE
    assert told[-1].fields["reason"] == "found"


def test_a_unittest_project_is_searched_without_pytest(tmp_path: Path) -> None:
    told, _ = ask(tmp_path, Runner.UNITTEST, "test_m.T.test_a", ["test_m.T.test_b"])
    assert any(item.kind is search.Told.PLAUSIBLE for item in told)


def test_a_failing_test_that_is_not_there_ends_the_search_with_its_reason(tmp_path: Path) -> None:
    told, _ = ask(tmp_path, Runner.PYTEST, "test_m.py::T::test_gone", [])
    assert told[-1].fields["reason"] == "none of the failing tests was collected here"


def test_a_test_that_passes_here_is_not_repaired(tmp_path: Path) -> None:
    told, _ = ask(tmp_path, Runner.PYTEST, "test_m.py::T::test_b", [])
    assert "pass in this session" in told[-1].fields["reason"]


WATCHING = """\
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, "rep_" + report.when, report)
    return report


@pytest.fixture
def watched(request):
    yield
    assert not request.node.rep_call.failed
"""
WATCHED = """\
from m import sign


def test_a(tmp_path, watched):
    assert sign(0) == 1


def test_b(tmp_path, watched):
    assert sign(-3) == 0
"""


def test_fixtures_that_look_at_the_phases_before_them_do_not_fail_a_test(tmp_path: Path) -> None:
    """`tmp_path`, and a recipe of pytest's manual, read the reports of set-up and call at their end."""
    files = {"test_m.py": WATCHED, "conftest.py": WATCHING}
    told, _ = ask(tmp_path, Runner.PYTEST, "test_m.py::test_a", ["test_m.py::test_b"], files)
    assert told[0].fields["keep"] == 1
    assert any(item.kind is search.Told.PLAUSIBLE for item in told)


def test_a_warning_that_the_project_makes_an_error_fails_its_test_here_too(tmp_path: Path) -> None:
    warning = "import warnings\nfrom m import sign\n\n\n"
    warning += "def test_a():\n    if sign(0) == 0:\n        warnings.warn('old', FutureWarning)\n"
    files = {"test_m.py": warning, "pytest.ini": "[pytest]\nfilterwarnings = error::FutureWarning\n"}
    told, _ = ask(tmp_path, Runner.PYTEST, "test_m.py::test_a", [], files)
    assert any(item.kind is search.Told.PLAUSIBLE for item in told)
