"""What does one rule for a file that is not Python say, and where did it strike?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from veilig.audit.finding import Confidence, Severity


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rule strikes; lines from 1, columns from 0. `origin`: line and words of where the value enters."""

    line: int
    column: int
    end_line: int
    end_column: int
    confidence: Confidence = Confidence.CERTAIN
    detail: str = ""
    origin: tuple[int, str] | None = None


@dataclass(frozen=True)  # no slots: a slotted frozen generic cannot be made as LanguageRule[X](...)
class LanguageRule[Document]:
    """One weakness. `bad` and `good` are whole files: the first must be found, the second must stay silent."""

    id: str
    cwe: int
    title: str
    severity: Severity
    what: str
    why: str
    advice: str
    bad: str
    good: str
    find: Callable[[Document], Iterator[Place]]


class UnreadableError(Exception):
    """The file cannot be parsed as its language; the text says why."""


class GrammarMissingError(Exception):
    """The parser of this language is not installed."""
