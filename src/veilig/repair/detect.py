"""How are this project's tests run?"""

import configparser
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from veilig.repair.locate import is_test_path

CONFIGURED_BY = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
PYTEST_MARKS = re.compile(
    r"^\s*(?:import pytest\b|from pytest\b|def test_\w+\(|async def test_\w+\()", re.MULTILINE
)
UNITTEST_MARKS = re.compile(r"^\s*(?:import unittest\b|from unittest\b)", re.MULTILINE)


class Runner(StrEnum):
    """What executes the tests."""

    PYTEST = "pytest"
    UNITTEST = "unittest"


@dataclass(frozen=True, slots=True)
class TestCommand:
    """A test run: `args` and `pythonpath` are relative to the project's root; `why` can be shown."""

    __test__ = False

    runner: Runner
    python: str
    args: tuple[str, ...]
    pythonpath: tuple[str, ...]
    why: str

    @property
    def argv(self) -> tuple[str, ...]:
        """The command a person would type."""
        if self.runner is Runner.UNITTEST:
            return (self.python, "-m", "unittest", "discover", *(("-s", self.args[0]) if self.args else ()))
        return (self.python, "-m", "pytest", *self.args)


def test_command(files: Mapping[str, str], python: str) -> TestCommand | None:
    """How to run the tests, or None when the project has none.

    files: relative posix path -> text; configuration and Python files are enough. python: the interpreter.
    A configuration file that does not parse still counts by its name: the run says what is wrong.
    """
    tests = sorted(path for path in files if path.endswith(".py") and _holds_tests(path, files[path]))
    configured = next(
        (path for path in CONFIGURED_BY if path in files and _configures(path, files[path])), ""
    )
    paths = _pythonpath(files)
    if not tests and not configured:
        return None
    by_pytest = [path for path in tests if PYTEST_MARKS.search(files[path])]
    by_unittest = [path for path in tests if UNITTEST_MARKS.search(files[path])]
    if configured or by_pytest or not by_unittest:
        why = f"pytest, configured in {configured}" if configured else f"pytest, {len(tests)} test files"
        arguments = () if _names_paths(configured, files) else _folders(tests)
        return TestCommand(Runner.PYTEST, python, arguments, paths, why)
    folders = _folders(tests)
    why = f"unittest, {len(by_unittest)} test files"
    # pytest runs unittest cases too and reports more; the worker falls back when it is not installed.
    return TestCommand(Runner.PYTEST, python, folders, paths, f"{why}, run by pytest where it is installed")


def _holds_tests(path: str, text: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    if name.startswith("test_") or name.endswith("_test.py"):
        return True
    return (
        is_test_path(path)
        and name != "conftest.py"
        and bool(re.search(r"^\s*(?:async )?def test", text, re.MULTILINE))
    )


def _configures(path: str, text: str) -> bool:
    if path in {"pytest.ini", ".pytest.ini"}:
        return True
    section = {"pyproject.toml": "[tool.pytest", "tox.ini": "[pytest]", "setup.cfg": "[tool:pytest]"}[path]
    return section in text


def _names_paths(configured: str, files: Mapping[str, str]) -> bool:
    return bool(configured) and bool(re.search(r"^\s*testpaths\s*=", files[configured], re.MULTILINE))


def _folders(tests: list[str]) -> tuple[str, ...]:
    """The topmost folders that hold tests; none when tests stand in the root: pytest looks everywhere."""
    tops = {path.split("/")[0] for path in tests if "/" in path}
    if any("/" not in path for path in tests) or not tops:
        return ()
    usual = [top for top in ("tests", "test") if top in tops]
    if usual and all(path.split("/")[0] in usual for path in tests):
        return tuple(usual)
    return ()


def _pythonpath(files: Mapping[str, str]) -> tuple[str, ...]:
    """Import roots: what the configuration names, a `src` layout, and the project itself."""
    found: dict[str, None] = {}
    for one in _configured_paths(files):
        if one and not one.startswith("/") and ".." not in one.split("/"):
            found[one] = None
    if (
        any(path.startswith("src/") and path.endswith(".py") for path in files)
        and "src/__init__.py" not in files
    ):
        found["src"] = None
    found["."] = None
    return tuple(found)


def _configured_paths(files: Mapping[str, str]) -> list[str]:
    try:
        project = tomllib.loads(files.get("pyproject.toml", ""))
        options = project.get("tool", {}).get("pytest", {}).get("ini_options", {})
        value = options.get("pythonpath", [])
        if value:
            return value.split() if isinstance(value, str) else [str(one) for one in value]
    except (tomllib.TOMLDecodeError, AttributeError):
        pass  # broken configuration is another recipe's work; the default import roots still hold
    for path, section in (("pytest.ini", "pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(files.get(path, ""))
        except configparser.Error:
            continue
        if parser.has_option(section, "pythonpath"):
            return parser.get(section, "pythonpath").split()
    return []
