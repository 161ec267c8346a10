"""Which past fixes of a project are small, and does a test of theirs show the defect?

    .venv/bin/python bench/repair/mine.py CHECKOUT CASES [--python PYTHON] [--most N]

Walks the history of CHECKOUT (a clone with its history) without merges. Keeps commits whose subject speaks
of a fix and which change one source file by at most five lines each way, and at least one test file. The
tree after the commit with the source file of before becomes a case when a changed test fails there and
passes with the commit's own file. Tests run behind the wall of `veilig fix`, in copies. CASES gets one JSON
line per case.
"""

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

from engine import Desk
from veilig.repair.locate import is_test_path

SUBJECT = re.compile(
    r"\b(?:fix|fixes|fixed|bug|bugfix|regression|wrong|incorrect|correct|crash|handle)", re.IGNORECASE
)
WRITTEN_VERSION = re.compile(r"""(?:version-file|version_file|write_to)["']?\s*[=:]\s*["']?([\w/]+\.py)""")
LINES_MAX = 5


@dataclass
class Case:
    """One fix: the tree after it, the source file of before, and the tests that tell them apart."""

    checkout: str
    commit: str
    subject: str
    path: str
    tests: list[str]
    failing: list[str]
    unrelated: int


def git(checkout: Path, *arguments: str) -> bytes:
    """What git prints; raises CalledProcessError when it fails."""
    return subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, check=True).stdout


def small_fixes(checkout: Path, *, need_tests: bool = True) -> list[tuple[str, str, str, list[str]]]:
    """(commit, subject, source path, test paths), the newest first."""
    text = git(checkout, "log", "--no-merges", "--numstat", "--format=%x01%H%x02%s").decode(
        "utf-8", "replace"
    )
    found: list[tuple[str, str, str, list[str]]] = []
    for entry in text.split("\x01")[1:]:
        head, *rows = entry.strip().splitlines()
        commit, subject = head.split("\x02", 1)
        changed = [row.split("\t") for row in rows if row.count("\t") == 2]
        sources = [row for row in changed if row[2].endswith(".py") and not is_test_path(row[2])]
        tests = [
            row[2]
            for row in changed
            if row[2].endswith(".py") and is_test_path(row[2]) and "=>" not in row[2]
        ]
        if not SUBJECT.search(subject) or len(sources) != 1 or "=>" in sources[0][2]:
            continue
        if need_tests and not tests:
            continue
        added, removed, path = sources[0]
        if int(added) <= LINES_MAX and int(removed) <= LINES_MAX:
            found.append((commit, subject, path, tests))
    return found


def tree(checkout: Path, commit: str, folder: Path) -> None:
    """The files of a commit, in `folder`."""
    data = git(checkout, "archive", "--format=tar", commit)
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    for name in ("pyproject.toml", "setup.cfg", "setup.py"):
        text = (folder / name).read_text(encoding="utf-8") if (folder / name).exists() else ""
        for path in WRITTEN_VERSION.findall(text):  # a build would write it from the tags
            (folder / path).write_text('__version__ = version = "0.0"\n')


def case_tree(checkout: Path, commit: str, path: str, tests: list[str], folder: Path) -> str:
    """The tree after the commit with the source file of before; returns the fixed text.

    Only the commit's own test files and what is no test stay: the history asked exactly them.
    """
    tree(checkout, commit, folder)
    keep = {folder / one for one in tests}
    for one in list(folder.rglob("*.py")):
        name = one.relative_to(folder).as_posix()
        testing = one.name.startswith("test_") or one.name.endswith("_test.py")
        if testing and is_test_path(name) and one not in keep:
            one.unlink()
    fixed = (folder / path).read_text(encoding="utf-8")
    (folder / path).write_bytes(git(checkout, "show", f"{commit}~1:{path}"))
    return fixed


async def examine(checkout: Path, one: tuple[str, str, str, list[str]], python: Path) -> Case | str:
    """The case, or why it is none."""
    commit, subject, path, tests = one
    folder = Path(tempfile.mkdtemp(prefix="veilig-mine-"))
    try:
        fixed = case_tree(checkout, commit, path, tests, folder)
        async with Desk(folder, python) as desk:
            before, complete = await desk.red()
            if not complete or not before:
                return "nothing fails before" if complete else "the run did not end"
            desk.write(path, fixed)
            after, complete = await desk.red()
        failing = sorted(before - after)
        if not complete or not failing or not all("::" in name for name in failing):
            return "no test tells before from after" if complete else "the run did not end"
        return Case(str(checkout), commit, subject, path, tests, failing, len(after))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Write the cases, say what was left out and why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--most", type=int, default=40, help="commits to examine")
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    kept = 0
    with options.cases.open("a", encoding="utf-8") as stream:
        for one in small_fixes(checkout)[: options.most]:
            try:
                case = asyncio.run(examine(checkout, one, options.python.absolute()))
            except (OSError, subprocess.CalledProcessError, UnicodeDecodeError) as error:
                case = f"{type(error).__name__}"
            if isinstance(case, Case):
                stream.write(json.dumps(asdict(case)) + "\n")
                stream.flush()
                kept += 1
            print(one[0][:10], "kept" if isinstance(case, Case) else case, one[1][:70], flush=True)
    print(f"{kept} cases")


if __name__ == "__main__":
    main()
