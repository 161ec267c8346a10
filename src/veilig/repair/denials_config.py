"""Does a change of configuration make tests, coverage or linters see less?"""

import configparser
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, cast

from veilig.repair.denials_paths import is_test_path

Reason = tuple[str, int, str]
_NAMES = frozenset(
    {"pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg", "pyproject.toml",
     ".coveragerc", "ruff.toml", ".ruff.toml", "mypy.ini", ".mypy.ini", ".flake8",
     ".bandit"}
)  # fmt: skip
_LOOSER_OPTION = re.compile(
    r"^(-k|-m|-x|-W|-p|--ignore(-glob)?|--deselect|--collect-only|--co|--exitfirst|--maxfail|--lf|--last-failed|--ff|"
    r"--sw|--stepwise|--no-cov|--no-cov-on-fail|--runxfail|--disable-(pytest-)?warnings|--pythonwarnings|"
    r"--import-mode|--confcutdir|--noconftest|-c|--config-file|--rootdir|--override-ini|-o|--continue-on-collection-errors)\b"
)
_STRICT_OPTION = re.compile(r"^(--strict|--cov|--doctest|--fail-|-W=?error|error)")
_SELECTING = (
    "python_files",
    "python_classes",
    "python_functions",
    "norecursedirs",
    "collect_ignore",
    "collect_ignore_glob",
)
_GROWING = re.compile(
    r"(^|[.-])(ignore|extend-ignore|exclude|extend-exclude|omit|exclude_lines|exclude_also|skips|per-file-ignores|disable_error_code|filterwarnings)(\.|$)"
)
_STRICT_FLAGS = re.compile(
    r"(strict\w*|xfail_strict|fail_under|warn_\w+|disallow_\w+|typeCheckingMode|branch)$"
)


def is_test_config(path: str) -> bool:
    """Whether the file configures tests, coverage, linters or types."""
    return PurePosixPath(path).name in _NAMES


def judge_config(path: str, old: str | None, new: str | None, files: Mapping[str, str]) -> Iterator[Reason]:
    """(rule, line, why) for everything that is looser after the change; `files` is the project before it.

    A file that cannot be read after the change is a reason too, unless it could not be read before.
    """
    before, after = _flat(path, old), _flat(path, new)
    if after is None:
        if before is not None:
            yield "config.unreadable", 1, "the configuration can no longer be read"
        return
    if before is None:
        # A broken file had no effect: what the repaired one says counts as new.
        before = {}
        old = None
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key), after.get(key)
        if was != now:
            for rule, why in _looser(key, was, now, files):
                yield rule, _line_of(new or "", key), f"{key}: {why}"


def _flat(path: str, text: str | None) -> dict[str, Any] | None:
    """Dotted keys -> values; {} for a file that is not there, None for one that cannot be read."""
    if text is None:
        return {}
    if PurePosixPath(path).suffix == ".toml":
        try:
            return dict(_walk(tomllib.loads(text.removeprefix("\ufeff")), ""))
        except tomllib.TOMLDecodeError:
            return None
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read_string(text.removeprefix("\ufeff"))
    except configparser.Error:
        return None
    return {
        f"{section}.{key}": value or ""
        for section in parser.sections()
        for key, value in parser.items(section)
    }


def _walk(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _walk(cast("dict[str, Any]", value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _words(value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list):
        return [str(item) for item in cast("list[object]", value)]
    text = str(value)
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _looser(key: str, was: object, now: object, files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    last = key.rsplit(".", 1)[-1]
    if last == "addopts":
        yield from _addopts(_words(was), _words(now))
    elif last == "testpaths":
        lost = _covered(files, _words(was)) - _covered(files, _words(now))
        if lost:
            yield (
                "config.loosened",
                f"{len(lost)} test file(s) are no longer collected, {min(lost)} among them",
            )
    elif last in _SELECTING:
        yield "config.loosened", "decides which tests are collected"
    elif last == "commands" or last.endswith("script"):
        if any("pytest" in word or "test" in word for word in _words(was)):
            yield "config.loosened", "the command that runs the tests changes"
    elif last == "fail_under":
        if _number(now) < _number(was):
            yield "config.loosened", f"the coverage floor falls from {was} to {now}"
    elif _GROWING.search(key):
        extra = [item for item in _lines(now) if item not in _lines(was)]
        dropped = [item for item in _lines(was) if item not in _lines(now) and item.startswith("error")]
        if extra and not (last == "filterwarnings" and all(item.startswith("error") for item in extra)):
            yield "config.loosened", f"ignores more: {extra[0]}"
        elif dropped:
            yield "config.loosened", f"no longer an error: {dropped[0]}"
    elif _STRICT_FLAGS.search(last) and _truth(was) and not _truth(now):
        yield "config.loosened", f"{was} -> {now}"


def _addopts(was: list[str], now: list[str]) -> Iterator[tuple[str, str]]:
    for word in now:
        if word not in was and _LOOSER_OPTION.match(word):
            yield "config.loosened", f"adds {word}, which drops tests or warnings"
        floor = re.match(r"--cov-fail-under[= ](\S+)", word)
        before = next((w for w in was if w.startswith("--cov-fail-under")), "")
        if floor and before and _number(floor[1]) < _number(before.rpartition("=")[2]):
            yield "config.loosened", f"{before} -> {word}"
    for word in was:
        gone = not any(other.split("=")[0] == word.split("=")[0] for other in now)
        if gone and _STRICT_OPTION.match(word):
            yield "config.loosened", f"removes {word}"


def _covered(files: Mapping[str, str], folders: list[str]) -> set[str]:
    tests = {path for path in files if is_test_path(path) and path.endswith(".py")}
    if not folders:
        return tests
    clean = [folder.strip("/").removeprefix("./") for folder in folders]
    return {
        path
        for path in tests
        for folder in clean
        if folder in ("", ".") or path == folder or path.startswith(f"{folder}/")
    }


def _lines(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(item).strip() for item in cast("list[object]", value)]
    return [part.strip() for part in re.split(r"[\n,]", str(value or "")) if part.strip()]


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0


def _truth(value: object) -> bool:
    return str(value).strip().lower() in ("true", "1", "yes", "on", "strict", "standard")


def _line_of(text: str, key: str) -> int:
    last = re.escape(key.rsplit(".", 1)[-1])
    match = re.search(rf"^[ \t]*['\"]?{last}['\"]?[ \t]*[=:]", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else 1
