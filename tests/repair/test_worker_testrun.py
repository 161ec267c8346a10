"""The test runner inside the sandbox: truthful whatever the tests do to their process."""
# ruff: noqa: E501  (small files as one string)

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from veilig.repair import testreport, workers
from veilig.repair.testreport import Outcome

NONCE = "n0nce"


def run(
    folder: Path, files: dict[str, str], python: str = sys.executable, **more: Any
) -> testreport.TestReport:
    root = folder / "project"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
    task = {
        "root": str(root),
        "result": str(folder / "result.json"),
        "nonce": NONCE,
        "args": [],
        "pythonpath": ["."],
    }
    (folder / "task.json").write_text(json.dumps({**task, "test_wall_s": 3, "wall_s": 60, **more}))
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
    argv = [*wall, python, str(workers.folder() / "testrun.py"), "--task", str(folder / "task.json")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return testreport.read((folder / "result.json").read_text(), NONCE)


def outcomes(report: testreport.TestReport) -> dict[str, str]:
    return {name.split("::")[-1]: str(test.outcome) for name, test in report.tests.items()}


def test_every_outcome_is_told_apart_and_a_killed_process_is_charged_to_its_test(tmp_path: Path) -> None:
    tests = """
        import os, unittest, pytest
        def test_pass(): pass
        def test_fail(): assert 1 == 2
        def test_error(nothing_like_this): pass
        def test_exit(): os._exit(0)
        def test_hang():
            while True: pass
        @pytest.mark.skip(reason="later")
        def test_skip(): pass
        @pytest.mark.xfail
        def test_xfail(): assert 0
        @pytest.mark.xfail
        def test_xpass(): pass
        class T(unittest.TestCase):
            def test_sub(self):
                for i in (1, 2):
                    with self.subTest(i=i):
                        self.assertEqual(i, 1)
        def test_after(): pass
        """
    report = run(tmp_path, {"test_all.py": tests}, test_wall_s=1)
    assert outcomes(report) == {
        "test_pass": "passed", "test_fail": "failed", "test_error": "error", "test_exit": "failed",
        "test_hang": "failed", "test_skip": "skipped", "test_xfail": "xfailed", "test_xpass": "xpassed",
        "test_sub": "failed", "test_after": "passed",
    }  # fmt: skip
    assert report.complete
    by_name = {name.split("::")[-1]: test for name, test in report.tests.items()}
    died, hung = by_name["test_exit"].failure, by_name["test_hang"].failure
    assert died is not None
    assert died.message == "the process ended early with exit code 0"
    assert hung is not None
    assert (hung.exception, hung.path, hung.line) == ("TestTimedOut", "test_all.py", 7)


def test_a_failure_names_its_frames_and_its_cause(tmp_path: Path) -> None:
    files = {
        "m.py": "def f(d):\n    try:\n        return d['x']\n    except KeyError as e:\n        raise ValueError('no x') from e\n",
        "test_m.py": "from m import f\ndef test_a():\n    f({})\n",
    }
    test = next(iter(run(tmp_path, files).tests.values()))
    assert test.failure is not None
    assert (test.failure.exception, test.failure.path, test.failure.line) == ("ValueError", "m.py", 5)
    assert [(one.path, one.line, one.function) for one in test.failure.frames] == [
        ("test_m.py", 3, "test_a"),
        ("m.py", 5, "f"),
    ]
    assert [(one.exception, one.line) for one in test.causes] == [("KeyError", 3)]


@pytest.mark.parametrize(
    ("module", "exception", "line"),
    [
        ("x = 1\ndef f(:\n    pass\n", "SyntaxError", 2),
        ("import nothing_like_this\n", "ModuleNotFoundError", 1),
        ("x = 1\nx.y\n", "AttributeError", 2),
    ],
)
def test_a_module_that_cannot_be_collected_is_named_with_its_line(
    tmp_path: Path, module: str, exception: str, line: int
) -> None:
    report = run(tmp_path, {"m.py": module, "test_m.py": "import m\ndef test_a():\n    pass\n"})
    error = report.collect_errors[0].failure
    assert (error.exception, error.path, error.line) == (exception, "m.py", line)
    assert report.exit_code == 2


def test_the_trace_holds_each_tests_own_lines(tmp_path: Path) -> None:
    files = {
        "m.py": "def f(x):\n    if x:\n        return 1\n    return 2\n",
        "test_m.py": "from m import f\ndef test_a():\n    assert f(1)\ndef test_b():\n    assert f(0)\n",
    }
    report = run(tmp_path, files, trace=True)
    lines = {name.split("::")[-1]: test.lines["m.py"] for name, test in report.tests.items()}
    assert lines == {"test_a": 0b1100, "test_b": 0b10100}


def test_without_pytest_the_same_report_comes_from_unittest(tmp_path: Path) -> None:
    tests = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(1, 2)\n"
    report = run(tmp_path, {"test_m.py": tests}, runner="unittest")
    assert (report.runner, [str(one.outcome) for one in report.tests.values()]) == ("unittest", ["failed"])


def test_a_wrong_option_in_the_configuration_is_said_with_its_output(tmp_path: Path) -> None:
    files = {"pytest.ini": "[pytest]\naddopts = --no-such-option\n", "test_m.py": "def test_a():\n    pass\n"}
    report = run(tmp_path, files)
    assert report.exit_code == 4
    assert "--no-such-option" in report.output_tail


def test_parallel_and_early_stopping_options_of_the_project_do_not_hide_tests(tmp_path: Path) -> None:
    files = {
        "pytest.ini": "[pytest]\naddopts = -x\n",
        "test_m.py": "def test_a():\n    assert 0\ndef test_b():\n    assert 0\n",
    }
    assert outcomes(run(tmp_path, files)) == {"test_a": "failed", "test_b": "failed"}


def test_a_coroutine_that_is_never_awaited_is_a_warning_with_a_place(tmp_path: Path) -> None:
    tests = "async def f():\n    pass\ndef test_a():\n    f()\n"
    warned = run(tmp_path, {"test_m.py": tests}).warnings
    assert any("never awaited" in one.message and one.path == "test_m.py" for one in warned)


def test_a_result_with_another_nonce_is_refused(tmp_path: Path) -> None:
    run(tmp_path, {"test_m.py": "def test_a():\n    pass\n"})
    with pytest.raises(testreport.TestReportError, match="does not answer"):
        testreport.read((tmp_path / "result.json").read_text(), "another")


def test_a_damaged_result_is_refused() -> None:
    with pytest.raises(testreport.TestReportError, match="cannot be read"):
        testreport.read('{"nonce": "n0nce", "tests": [', NONCE)


def test_outcomes_have_the_names_the_worker_writes() -> None:
    assert {str(one) for one in Outcome} == {"passed", "failed", "error", "skipped", "xfailed", "xpassed"}


def test_a_session_that_breaks_inside_a_test_is_no_pass_and_the_rest_still_runs(tmp_path: Path) -> None:
    conftest = """
        def pytest_runtest_logstart(nodeid, location):
            if "broken" in nodeid:
                raise MemoryError("in pytest itself")
        """
    tests = "def test_a(): pass\ndef test_broken(): pass\ndef test_b(): pass\ndef test_c(): assert 0\n"
    report = run(tmp_path, {"conftest.py": conftest, "test_x.py": tests})
    found = outcomes(report)
    assert found == {"test_a": "passed", "test_broken": "failed", "test_b": "passed", "test_c": "failed"}
    assert report.complete
