"""What is one broken miniature project, and when does its repair count as right?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

INI = {"pytest.ini": "[pytest]\npythonpath = .\ntestpaths = tests\n"}


@dataclass(frozen=True, slots=True)
class Case:
    """A project that is broken in one known way.

    files: relative path -> text as the user has it. commits: older states of the whole project, oldest
    first, each (subject, files); `files` lies on top of the last one, uncommitted unless `committed`.
    right: a regular expression that the diff of a right repair matches; empty when the tests decide alone.
    """

    kind: str
    name: str
    files: Mapping[str, str]
    right: str = ""
    commits: Sequence[tuple[str, Mapping[str, str]]] = ()
    committed: bool = False
    arguments: Sequence[str] = field(default=())


def module(kind: str, name: str, source: str, test: str, right: str = "", **more: str) -> Case:
    """A project of one module `app.py` with one test file that imports it; `more`: further root modules."""
    extra = {f"{key}.py": text for key, text in more.items()}
    files = {**INI, "app.py": source, "tests/test_app.py": test, **extra}
    return Case(kind, name, files, right)
