"""How is the project's own test session started the same way each time?"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

MARKER = "VEILIG-WORKER"
OUTPUT_TAIL_BYTES = 64 << 10  # enough for a traceback of a collection error, small enough for a result
IGNORED_FOLDERS = frozenset(
    {".git", ".hg", ".tox", ".nox", ".venv", "venv", "node_modules", "site-packages", "__pycache__", ".eggs"}
)


def read_task() -> dict[str, Any]:
    """The task named by `--task`; the hash seed is fixed so that two runs see the same order of sets."""
    if os.environ.get("PYTHONHASHSEED") is None:
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", required=True, help="JSON file; its fields are in the worker's docstring")
    parser.add_argument("--trace", action="store_true", help="record the executed lines of each test")
    options = parser.parse_args()
    task = cast("dict[str, Any]", json.loads(Path(options.task).read_text(encoding="utf-8")))
    if options.trace:
        task["trace"] = True
    return task


def enter_project(task: dict[str, Any]) -> None:
    """Become a process of the project: working directory, import path, no bytecode left behind."""
    here = str(Path(__file__).resolve().parent)
    root = str(Path(task["root"]).resolve())
    task["root"] = root
    os.chdir(root)
    sys.dont_write_bytecode = True
    extra = [str(Path(root, entry)) for entry in task.get("pythonpath", [])]
    kept = [
        entry for entry in sys.path if entry and str(Path(entry).resolve()) != here and entry not in extra
    ]
    sys.path[:] = extra + kept
    inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if extra:
        os.environ["PYTHONPATH"] = os.pathsep.join(extra + inherited)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def pytest_arguments(task: dict[str, Any]) -> list[str]:
    """The project's own options, with parallel runs, coverage, random order and early stops taken back."""
    cache = Path(tempfile.gettempdir(), "veilig-pytest-cache")
    arguments = [
        "--color=no",
        "-o",
        f"cache_dir={cache}",
        "-p",
        "no:randomly",
        "-p",
        "no:random_order",
        "--maxfail=0",
    ]
    if _installed("xdist"):
        arguments.append("-n0")
    if _installed("pytest_cov"):
        arguments.append("--no-cov")
    return arguments + [str(argument) for argument in task.get("args", [])]


def has_pytest() -> bool:
    """True when this interpreter can import pytest."""
    return _installed("pytest")


def silence(path: str | None) -> None:
    """Send this process's output to a file (or nowhere): the parent's pipe and terminal stay ours."""
    target = os.open(path or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    source = os.open(os.devnull, os.O_RDONLY)
    os.dup2(source, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)


def relative(path: str, root: str) -> str:
    """The posix path below the root, or the path as it is when it lies outside or in an installed package."""
    if not path.startswith(root + os.sep):
        return path
    inside = path[len(root) + 1 :].replace(os.sep, "/")
    return path if IGNORED_FOLDERS.intersection(inside.split("/")[:-1]) else inside


def say(nonce: str, record: dict[str, Any]) -> None:
    """One line on standard output that the reader can tell from the project's own output by its nonce."""
    line = f"{MARKER} {nonce} {json.dumps(record, default=str)}\n"
    data = line.encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(1, data) :]


def write_result(task: dict[str, Any], nonce: str, record: dict[str, Any]) -> None:
    """The whole result, or none: written beside its place and moved there."""
    place = Path(task["result"])
    beside = place.with_name(place.name + ".part")
    beside.write_text(json.dumps({"nonce": nonce, "v": 1, **record}, default=str), encoding="utf-8")
    beside.replace(place)


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
