"""Does an advisory cover a version, and which version is clean?"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from packaging.version import InvalidVersion, Version

from veilig.audit.advisories_severity import Severity as Severity  # noqa: PLC0414  # its place before it had its own file

TRAILING_ZEROS_MAX = 8  # "1.0.0.0.0.0.0.0.0" for "1": nobody lists that
_PLAIN = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*")


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
        if not self.versions.isdisjoint(_spelled(parsed)):
            return True
        return any(parsed == parsed_version(item) for item in _odd(self.versions))


@lru_cache(maxsize=1 << 12)
def _spelled(version: Version) -> frozenset[str]:
    """The plain release in every length it may be listed in: 1, 1.0, 1.0.0 ...; empty for another version."""
    plain = version.public
    if not _PLAIN.fullmatch(plain):
        return frozenset()
    while plain.endswith(".0"):
        plain = plain[:-2]
    return frozenset(plain + ".0" * zeros for zeros in range(TRAILING_ZEROS_MAX))


@lru_cache(maxsize=1 << 14)
def _odd(versions: frozenset[str]) -> tuple[str, ...]:
    """The listed versions that are spelled otherwise than PEP 440 writes a plain release."""
    return tuple(item for item in versions if not _PLAIN.fullmatch(item))


@lru_cache(maxsize=1 << 15)  # parsing is most of the work of matching; a database names the same ones again
def parsed_version(version: str) -> Version | None:
    """The version in PEP 440's order, None when it has no place there."""
    try:
        return Version(version)
    except InvalidVersion:
        return None


def _in_range(version: Version, events: tuple[Event, ...]) -> bool:
    affected = False
    for kind, limit in _ordered(events):
        if kind == "introduced":
            affected = affected or limit is None or version >= limit
        elif limit is None:
            continue
        elif (kind == "fixed" and version >= limit) or (kind == "last_affected" and version > limit):
            affected = False
    return affected


@lru_cache(maxsize=1 << 14)
def _ordered(events: tuple[Event, ...]) -> tuple[tuple[str, Version | None], ...]:
    """Kind and version of the events, earliest first; None is the beginning, or what cannot be ordered."""

    def place(event: Event) -> tuple[int, Version]:
        parsed = None if event.version == "0" else parsed_version(event.version)
        # At one version the end of a range comes before the start of the next.
        return (0 if parsed is None else 1, parsed or Version("0"))

    return tuple(
        (event.kind, None if event.version == "0" else parsed_version(event.version))
        for event in sorted(events, key=lambda event: (place(event), event.kind == "introduced"))
    )


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
