"""Does an advisory cover a version, how bad is it, and which version is clean?"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from packaging.version import InvalidVersion, Version


class Severity(StrEnum):
    """CVSS 3 qualitative rating; `unknown` says that nobody rated it, not that it is harmless."""

    UNKNOWN = "unknown"
    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of an OSV range: `kind` is introduced, fixed or last_affected."""

    kind: str
    version: str


@dataclass(frozen=True, slots=True)
class Affected:
    """The versions of one package that one advisory covers: the list or any of the ranges."""

    ranges: tuple[tuple[Event, ...], ...]
    versions: frozenset[str]

    def covers(self, version: str) -> bool:
        """Whether the advisory covers the version.

        A version that PEP 440 cannot order is compared with the list as text. An event that cannot be
        ordered is read so that more versions are covered: an unreadable start counts as the beginning,
        an unreadable end as none.
        Source: OSV schema, "Evaluation": affected if listed or inside a range.
        """
        if version in self.versions:
            return True
        parsed = parsed_version(version)
        if parsed is None:
            return False
        if parsed.public in self.versions or any(_in_range(parsed, events) for events in self.ranges):
            return True
        return any(parsed == parsed_version(item) for item in self.versions)  # "1.0" may be listed as "1.0.0"


@lru_cache(maxsize=1 << 15)  # parsing is most of the work of matching; a database names the same ones again
def parsed_version(version: str) -> Version | None:
    """The version in PEP 440's order, None when it has no place there."""
    try:
        return Version(version)
    except InvalidVersion:
        return None


def _in_range(version: Version, events: Sequence[Event]) -> bool:
    def place(event: Event) -> tuple[int, Version]:
        parsed = None if event.version == "0" else parsed_version(event.version)
        # At one version the end of a range comes before the start of the next.
        return (0 if parsed is None else 1, parsed or Version("0"))

    affected = False
    for event in sorted(events, key=lambda event: (place(event), event.kind == "introduced")):
        limit = None if event.version == "0" else parsed_version(event.version)
        if event.kind == "introduced":
            affected = affected or limit is None or version >= limit
        elif limit is None:
            continue
        elif (event.kind == "fixed" and version >= limit) or (
            event.kind == "last_affected" and version > limit
        ):
            affected = False
    return affected


def lowest_clean(installed: str, advisories: Iterable[Affected], *, same_branch: bool = False) -> str | None:
    """The lowest named version above `installed` that no advisory covers; None when none is named.

    Only versions that an advisory names as `fixed` are candidates: none is invented, and a version in a list
    is covered by that very advisory.
    A pre-release is a candidate only when `installed` is one.
    same_branch: only versions with the same major and minor number.
    Source: OSV schema, affected[].ranges[].events "fixed".
    """
    current = parsed_version(installed)
    if current is None:
        return None
    every = tuple(advisories)
    names = {
        event.version for item in every for events in item.ranges for event in events if event.kind == "fixed"
    }
    ordered = sorted((parsed, name) for name in names if (parsed := parsed_version(name)) is not None)
    for parsed, name in ordered:
        if parsed <= current or (parsed.is_prerelease and not current.is_prerelease):
            continue
        if same_branch and parsed.release[:2] != current.release[:2]:
            continue
        if not any(item.covers(name) for item in every):
            return name
    return None


_METRICS: dict[str, dict[str, float]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_PRIVILEGES = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}


def cvss3_base_score(vector: str) -> float | None:
    """The CVSS 3.0 or 3.1 base score of a vector, None when it is none.

    Source: FIRST, CVSS v3.1 specification, section 7.1 and appendix A (rounding up).
    """
    if not vector.startswith(("CVSS:3.0/", "CVSS:3.1/")):
        return None
    parts = dict(item.split(":", 1) for item in vector.split("/")[1:] if ":" in item)
    try:
        value = {metric: table[parts[metric]] for metric, table in _METRICS.items()}
        scope = parts["S"]
        privileges = _PRIVILEGES[scope][parts["PR"]]
    except KeyError:
        return None
    impact = 1 - (1 - value["C"]) * (1 - value["I"]) * (1 - value["A"])
    exploit = 8.22 * value["AV"] * value["AC"] * privileges * value["UI"]
    total = 6.42 * impact if scope == "U" else 7.52 * (impact - 0.029) - 3.25 * (impact - 0.02) ** 15
    if total <= 0:
        return 0.0
    return _round_up(min(total + exploit if scope == "U" else 1.08 * (total + exploit), 10.0))


def _round_up(value: float) -> float:
    whole = round(value * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (math.floor(whole / 10_000) + 1) / 10


def rating(score: float | None) -> Severity:
    """The qualitative rating of a base score. Source: CVSS v3.1 specification, section 5."""
    if score is None:
        return Severity.UNKNOWN
    if score >= 9.0:
        return Severity.CRITICAL
    if score >= 7.0:
        return Severity.HIGH
    if score >= 4.0:
        return Severity.MEDIUM
    return Severity.LOW if score > 0 else Severity.NONE
