"""What became of one repository in a campaign?"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, cast

from veilig.audit.advisories_severity import Severity as Rated
from veilig.core.errors import UsageError

SEVERITIES: tuple[str, ...] = ("critical", "high", "medium", "low")


class Status(StrEnum):
    """How far it came.

    audited: read now. same: its content is that of another repository of this campaign, which was read.
    known: an earlier campaign read the same content with the same rules and data. fixed: a patch was made.
    clean: nothing was to be mended. unfixed: nothing could be. failed, refused: nothing is known of it; the
    reason says why. skipped: the campaign was stopped before.
    """

    AUDITED = "audited"
    SAME = "same"
    KNOWN = "known"
    FIXED = "fixed"
    CLEAN = "clean"
    UNFIXED = "unfixed"
    FAILED = "failed"
    REFUSED = "refused"
    SKIPPED = "skipped"

    @property
    def read(self) -> bool:
        """Whether the audit of this content is known."""
        return self in (Status.AUDITED, Status.SAME, Status.KNOWN)

    @property
    def trouble(self) -> bool:
        """Whether nothing is known of the repository."""
        return self in (Status.FAILED, Status.REFUSED)


@dataclass(frozen=True, slots=True)
class Found:
    """One finding as campaigns compare it: `mark` is its fingerprint, or the pin with its advisory."""

    mark: str
    rule: str
    severity: str
    path: str
    line: int
    title: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One repository of a campaign. content: digest of its files; key: of content, rules and data.

    findings: weaknesses and vulnerable pins. excluded: how many the policy leaves out. left_out:
    files and functions that could not be looked at, counted. patch: the file of a fix. new, gone: compared
    with the campaign before; None where there was none.
    """

    label: str
    place: str
    ref: str
    status: Status
    reason: str = ""
    commit: str = ""
    content: str = ""
    key: str = ""
    session: str = ""
    wall: str = ""
    seconds: float = 0.0
    files: int = 0
    lines: int = 0
    findings: tuple[Found, ...] = ()
    excluded: int = 0
    left_out: int = 0
    incomplete: bool = False  # what could not be looked at could have held findings
    patch: str = ""
    fixed: int = 0
    slug: str = ""
    new: int | None = None
    gone: int | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Findings by severity, worst first; what nobody rated counts as critical."""
        found = dict.fromkeys(SEVERITIES, 0)
        for finding in self.findings:
            found[finding.severity if finding.severity in found else "critical"] += 1
        return found

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Result":
        """The inverse of `to_json`. Raises UsageError."""
        try:
            told = cast("dict[str, Any]", json.loads(line))
            told["findings"] = tuple(Found(**cast("dict[str, Any]", f)) for f in told["findings"])
            told["status"] = Status(told["status"])
            known = {f.name for f in fields(cls)}
            return cls(**{k: v for k, v in told.items() if k in known})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(
                "this is no result of a campaign", why=f"{type(error).__name__}: {error}"
            ) from error


def findings_of(data: Mapping[str, Any]) -> tuple[Found, ...]:
    """Weaknesses and vulnerable pins of what an audit session ended with, worst first."""
    found = [
        Found(f["fingerprint"], f["rule"], f["severity"], f["path"], int(f["line"]), f["title"])
        for f in data["report"]["findings"]
    ]
    for pin in data.get("problems", []):
        if pin["kind"] == "dependency":
            said = str(pin.get("severity") or "")
            rated = "low" if said == Rated.NONE else said if said in SEVERITIES else "critical"
            mark = f"{pin['id']}:{pin.get('rule', '')}"
            found.append(Found(mark, "pin", rated, str(pin["path"]), int(pin["line"]), str(pin["title"])))
    order = {name: at for at, name in enumerate(SEVERITIES)}
    return tuple(sorted(found, key=lambda f: (order.get(f.severity, 0), f.path, f.line, f.rule, f.mark)))


def compared(result: Result, was: Result | None) -> Result:
    """The result with what is new and what is gone since the campaign before.

    A repository of which nothing is known now, or was known then, is compared with nothing.
    """
    if was is None or not result.status.read or not was.status.read:
        return result
    now, old = {f.mark for f in result.findings}, {f.mark for f in was.findings}
    return replace(result, new=len(now - old), gone=len(old - now))
