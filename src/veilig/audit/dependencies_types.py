"""What is a requirement, and which files hold some?"""

from dataclasses import dataclass
from pathlib import PurePosixPath

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

NOT_AMONG = "included file is not among the files that were read"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One distribution that a project names; `name` is canonical (PEP 503).

    version: the one version it can be, or None when the text leaves it open.
    spec: the version specifier as written ("" when there is none).
    start, end: character offsets in the file of the text to rewrite: the version where it is pinned,
        the specifier where it is open; start == end == -1 when the file gives no such place.
    """

    name: str
    version: str | None
    spec: str
    path: str
    line: int
    column: int = 0
    end_column: int = 0
    start: int = -1
    end: int = -1
    written: str = ""
    locked: bool = False
    hashed: bool = False


@dataclass(frozen=True, slots=True)
class NotAssessed:
    """A requirement or file that could not be compared with advisories, and why."""

    name: str
    path: str
    line: int
    reason: str

    @property
    def is_file(self) -> bool:
        """Whether nobody knows what a file asks for, and not only in which version."""
        return self.name == self.path or self.reason == NOT_AMONG


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Everything the dependency files of a project say; nothing in them is left out of both tuples."""

    requirements: tuple[Requirement, ...]
    not_assessed: tuple[NotAssessed, ...]

    @property
    def pinned(self) -> tuple[Requirement, ...]:
        """The requirements that stand for one version, one per name, version, file and line."""
        return tuple(item for item in self.requirements if item.version is not None)


@dataclass(slots=True)
class Found:
    """What the reader of one file format has collected so far."""

    requirements: list[Requirement]
    not_assessed: list[NotAssessed]

    def add(self, requirement: Requirement) -> None:
        """Keep a requirement; one that cannot be compared is listed as not assessed as well."""
        self.requirements.append(requirement)
        if requirement.version is None:
            what = requirement.spec or "any version"
            self.skip(requirement.name, requirement.path, requirement.line, f"not pinned ({what})")
        elif not is_pep440(requirement.version):
            reason = f"version {requirement.version!r} is not a PEP 440 version: compared by exact text only"
            self.skip(requirement.name, requirement.path, requirement.line, reason)

    def skip(self, name: str, path: str, line: int, reason: str) -> None:
        """Record something that is not assessed."""
        self.not_assessed.append(NotAssessed(name, path, line, reason))


def is_pep440(version: str) -> bool:
    """Whether versions can be ordered with this one."""
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True


def canonical(name: str) -> str:
    """The name as indexes compare it (PEP 503)."""
    return str(canonicalize_name(name))


def is_requirements_file(path: str) -> bool:
    """requirements.txt and its relatives: requirements-dev.txt, constraints.txt, requirements/*.txt."""
    pure = PurePosixPath(path)
    name = pure.name.lower()
    if not name.endswith((".txt", ".in")):
        return False
    return "requirements" in name or "constraints" in name or pure.parent.name.lower() == "requirements"


_LOCKS = frozenset({"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock"})


def is_lock_file(path: str) -> bool:
    """A file that a tool writes: it is regenerated, never edited by hand."""
    name = PurePosixPath(path).name
    return name in _LOCKS or name == "pylock.toml" or (name.startswith("pylock.") and name.endswith(".toml"))
