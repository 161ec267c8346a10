"""What is one broken miniature project, and when does its repair count as right?"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

INI = {"pytest.ini": "[pytest]\npythonpath = .\ntestpaths = tests\n"}


@dataclass(frozen=True, slots=True)
class Case:
    """A project that is broken in one known way.

    files: relative path -> text as the user has it. commits: older states of the whole project, oldest
    first, each (subject, files); `files` lies on top of the last one, uncommitted unless `committed`.
    right: a regular expression that the diff of a right repair matches.
    hidden: a test module that `veilig` never sees, run on the repaired project: it tells right from
    plausible by behaviour and then decides instead of `right`. Without both, the project's own tests decide.
    """

    kind: str
    name: str
    files: Mapping[str, str]
    right: str = ""
    commits: Sequence[tuple[str, Mapping[str, str]]] = ()
    committed: bool = False
    arguments: Sequence[str] = field(default=())
    hidden: str = ""


def module(kind: str, name: str, source: str, test: str, right: str = "", **more: str) -> Case:
    """A project of one module `app.py` with one test file that imports it; `more`: further root modules."""
    extra = {f"{key}.py": text for key, text in more.items()}
    files = {**INI, "app.py": source, "tests/test_app.py": test, **extra}
    return Case(kind, name, files, right)


def read(path: Path) -> tuple[Case, ...]:
    """The cases of a text file.

    `=== KIND: NAME` begins a case, a line `right: PATTERN` may follow; `--- PATH` begins a file,
    `--- (hidden)` the hidden test, and `--- (commit) SUBJECT` makes an older state of the files above it.
    """
    parts = re.split(r"^=== (\w+): (.+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return tuple(_case(*part) for part in zip(parts[1::3], parts[2::3], parts[3::3], strict=True))


def _case(kind: str, name: str, text: str) -> Case:
    head, *parts = re.split(r"^--- (.+)\n", text, flags=re.MULTILINE)
    files: dict[str, str] = {}
    commits: list[tuple[str, dict[str, str]]] = []
    for place, body in zip(parts[::2], parts[1::2], strict=True):
        if place.startswith("(commit) "):
            commits.append((place.removeprefix("(commit) "), dict(files)))
        else:
            files[place] = body
    hidden = files.pop("(hidden)", "")
    right = head.strip().removeprefix("right: ")
    return Case(kind, name, files, right, commits, committed=bool(commits), hidden=hidden)
