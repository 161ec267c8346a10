"""What is one finding, and what is a whole audit report?"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import cast

from veilig.core.errors import EXIT_FINDINGS, EXIT_INCOMPLETE, EXIT_OK, UsageError

REPORT_VERSION = 1


class Severity(StrEnum):
    """How bad the weakness is when it is real."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 (low) to 3 (critical), for comparing and sorting."""
        return tuple(Severity).index(self)


class Confidence(StrEnum):
    """How sure the engine is.

    certain: the call itself is the weakness (no flow is needed); flow: every step of a flow was followed;
    possible: an
    unknown call, a database or a parameter nobody is seen to fill lies in between; pattern: only the shape
    of the
    code was looked at. Reports show the first three unless `pattern` is asked for.
    """

    CERTAIN = "certain"
    FLOW = "flow"
    POSSIBLE = "possible"
    PATTERN = "pattern"

    @property
    def rank(self) -> int:
        """0 (certain) to 3 (pattern)."""
        return tuple(Confidence).index(self)


@dataclass(frozen=True, slots=True)
class Step:
    """One stop of a value on its way from source to sink; lines count from 1, columns from 0."""

    path: str
    line: int
    column: int
    text: str
    what: str


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a model says of a finding. It lowers how sure we are and takes nothing away.

    by: the model's name. was: how sure the engine is; None when the engine did not find it, the model did.
    """

    by: str
    reason: str
    was: Confidence | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One weakness at one place; `flow` is empty when the place alone is the weakness."""

    rule: str
    cwe: int
    title: str
    message: str
    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    severity: Severity
    confidence: Confidence
    flow: tuple[Step, ...] = ()
    fix_id: str | None = None
    fingerprint: str = ""
    opinion: Opinion | None = None

    @property
    def claimed(self) -> bool:
        """Whether nobody but a model says so."""
        return self.opinion is not None and self.opinion.was is None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not analysed, and why; never silent."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A function whose analysis stopped at a bound: findings behind it may be missing."""

    path: str
    function: str
    reason: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A finding a person silenced in the source, with the reason and the day it expires (ISO date or
    empty)."""

    finding: Finding
    reason: str
    until: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A remark on the audit itself: a suppression that does not count, for example."""

    path: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one scan saw, did not see, and was told not to show."""

    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    files: int = 0
    lines: int = 0
    seconds: float = 0.0
    incomplete: tuple[Incomplete, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
    notices: tuple[Notice, ...] = ()
    outside_profile: tuple[str, ...] = field(default=())  # test files: parsed for calls, not reported on
    version: int = REPORT_VERSION

    def exit_code(self, fail_at: Severity = Severity.LOW, *, claimed: bool = False) -> int:
        """0 clean, 1 a finding at or above `fail_at`, 3 nothing found but part of the input was not looked
        at.

        claimed: count what only a model found. What a model doubts always counts: the code it read may have
        talked it into that.
        """
        counted = [finding for finding in self.findings if claimed or not finding.claimed]
        if any(finding.severity.rank >= fail_at.rank for finding in counted):
            return EXIT_FINDINGS
        return EXIT_INCOMPLETE if self.skipped or self.incomplete else EXIT_OK

    def to_json(self) -> str:
        """The report as one JSON object; `Report.from_json` reads it back unchanged."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """Read what `to_json` wrote. Raises UsageError on anything else: unknown, missing or ill-typed
        members."""
        try:
            return _report(json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(
                "this is not an audit report of this version",
                why=str(error) or type(error).__name__,
                fix="write it with `python -m veilig.audit.worker ROOT --json` of the same release",
            ) from error


def _members(raw: object, kind: type) -> dict[str, object]:
    if not isinstance(raw, dict):
        raise TypeError(f"{kind.__name__} must be an object, not {type(raw).__name__}")
    members = cast(dict[str, object], raw)
    known = {item.name for item in fields(kind)}
    if set(members) != known:
        raise ValueError(f"{kind.__name__} has other members than expected: {sorted(set(members) ^ known)}")
    return members


def _typed[T](members: Mapping[str, object], name: str, kind: type[T]) -> T:
    value = members[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{name} must be {kind.__name__}, not {type(value).__name__}")
    return value


def _list(members: Mapping[str, object], name: str) -> list[object]:
    value = members[name]
    if not isinstance(value, list):
        raise TypeError(f"{name} must be a list")
    return cast(list[object], value)


def _step(raw: object) -> Step:
    got = _members(raw, Step)
    return Step(
        _typed(got, "path", str),
        _typed(got, "line", int),
        _typed(got, "column", int),
        _typed(got, "text", str),
        _typed(got, "what", str),
    )


def _finding(raw: object) -> Finding:
    got = _members(raw, Finding)
    return Finding(
        rule=_typed(got, "rule", str),
        cwe=_typed(got, "cwe", int),
        title=_typed(got, "title", str),
        message=_typed(got, "message", str),
        path=_typed(got, "path", str),
        line=_typed(got, "line", int),
        column=_typed(got, "column", int),
        end_line=_typed(got, "end_line", int),
        end_column=_typed(got, "end_column", int),
        severity=Severity(_typed(got, "severity", str)),
        confidence=Confidence(_typed(got, "confidence", str)),
        flow=tuple(_step(item) for item in _list(got, "flow")),
        fix_id=None if got["fix_id"] is None else _typed(got, "fix_id", str),
        fingerprint=_typed(got, "fingerprint", str),
        opinion=None if got["opinion"] is None else _opinion(got["opinion"]),
    )


def _opinion(raw: object) -> Opinion:
    got = _members(raw, Opinion)
    was = None if got["was"] is None else Confidence(_typed(got, "was", str))
    return Opinion(_typed(got, "by", str), _typed(got, "reason", str), was)


def _skipped(raw: object) -> Skipped:
    got = _members(raw, Skipped)
    return Skipped(_typed(got, "path", str), _typed(got, "reason", str))


def _incomplete(raw: object) -> Incomplete:
    got = _members(raw, Incomplete)
    return Incomplete(_typed(got, "path", str), _typed(got, "function", str), _typed(got, "reason", str))


def _suppressed(raw: object) -> Suppressed:
    got = _members(raw, Suppressed)
    return Suppressed(_finding(got["finding"]), _typed(got, "reason", str), _typed(got, "until", str))


def _notice(raw: object) -> Notice:
    got = _members(raw, Notice)
    return Notice(_typed(got, "path", str), _typed(got, "line", int), _typed(got, "message", str))


def _report(raw: object) -> Report:
    got = _members(raw, Report)
    version = _typed(got, "version", int)
    if version != REPORT_VERSION:
        raise ValueError(f"report version {version}, this release reads {REPORT_VERSION}")
    outside = _list(got, "outside_profile")
    if not all(isinstance(item, str) for item in outside):
        raise TypeError("outside_profile must hold paths")
    return Report(
        findings=tuple(_finding(item) for item in _list(got, "findings")),
        skipped=tuple(_skipped(item) for item in _list(got, "skipped")),
        files=_typed(got, "files", int),
        lines=_typed(got, "lines", int),
        seconds=_typed(got, "seconds", float),
        incomplete=tuple(_incomplete(item) for item in _list(got, "incomplete")),
        suppressed=tuple(_suppressed(item) for item in _list(got, "suppressed")),
        notices=tuple(_notice(item) for item in _list(got, "notices")),
        outside_profile=tuple(cast(list[str], outside)),
        version=version,
    )
