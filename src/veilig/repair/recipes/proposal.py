"""What does a recipe get, and what may it offer?"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from veilig.repair.edit import Edit, Patch


class Needs(StrEnum):
    """What proves a proposal: the weakest check that may call it good."""

    PARSE = "parse"
    IMPORT = "import"
    TESTS = "tests"
    RESCAN = "rescan"


class Confidence(StrEnum):
    """How likely the edit is what the author meant, before anything proved it."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Proposal:
    """One repair that can be tried; `cost` orders proposals, smaller first (1 is one obvious character).

    decision: a question that a person must answer before the edit may be applied; "" when there is none.
    """

    recipe: str
    title: str
    path: str
    edits: tuple[Edit, ...]
    cost: float
    needs: Needs
    confidence: Confidence
    line: int = 0
    removed: tuple[str, ...] = ()
    decision: str = ""

    def patch(self) -> Patch:
        return Patch(self.edits, self.removed)


@dataclass(frozen=True, slots=True)
class Advice:
    """No edit, and why: what a person would have to do."""

    recipe: str
    title: str
    path: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a traceback; `path` is relative to the project when it lies inside it."""

    path: str
    line: int
    function: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure as its traceback tells it: `exception` is the type name without its module."""

    exception: str
    message: str
    path: str = ""
    line: int = 0
    frames: tuple[Frame, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution, as its metadata names it."""

    name: str
    version: str


def _no_distributions() -> Mapping[str, Distribution]:
    return MappingProxyType({})


def _no_exports() -> Mapping[str, frozenset[str]]:
    return MappingProxyType({})


def _no_lines() -> Mapping[str, frozenset[int]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Context:
    """The project's text files, one failure, and what is installed where the project runs.

    files: relative posix path -> text.
    installed: import name -> distribution, from the metadata of the project's own environment.
    exports: module name -> public names, where they are known from the outside (optional).
    paths: every file of the project, those that were not read included (optional).
    suspects: path -> lines that the failing tests run, the most suspicious ones; empty when not known.
    """

    files: Mapping[str, str]
    failure: Failure | None = None
    installed: Mapping[str, Distribution] = field(default_factory=_no_distributions)
    python_version: tuple[int, int] = (sys.version_info.major, sys.version_info.minor)
    exports: Mapping[str, frozenset[str]] = field(default_factory=_no_exports)
    paths: frozenset[str] = frozenset()
    suspects: Mapping[str, frozenset[int]] = field(default_factory=_no_lines)


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that is certainly or very likely wrong, found by reading alone."""

    kind: str
    path: str
    line: int
    message: str
