"""Which characters does a handle replace when several findings overlap, and which secret names it?"""

from dataclasses import dataclass, field
from enum import StrEnum


class OriginKind(StrEnum):
    """Where a secret was learnt."""

    ENV = "env"
    FILE = "file"
    MARK = "mark"
    PATTERN = "pattern"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a secret was learnt: kind, and the variable or path (empty for marks and patterns)."""

    kind: OriginKind
    where: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.where}" if self.where else self.kind.value


@dataclass(frozen=True, slots=True)
class Handle:
    """The name of a secret, never its value."""

    name: str
    n: str
    origin: Origin

    def __str__(self) -> str:
        return f"‹secret:{self.name}#{self.n}›"


@dataclass(frozen=True, slots=True)
class Place:
    """Characters [start, end) to replace; `known` is the number of the secret, or None for one known by
    shape only.

    form: empty when the characters are exactly the value, else what they are of it ("part", "hex", ...).
    """

    start: int
    end: int
    kind: str
    name: str
    known: int | None = None
    form: str = ""


@dataclass(slots=True)
class Known:
    """A secret in memory; its repr must not show it."""

    value: str = field(repr=False)
    name: str
    n: str
    origins: list[Origin]
    indexed: bool


def blanked(text: str, places: list[Place]) -> str:
    """`text`, as long as before, with the first character of a handle wherever a handle will stand."""
    pieces: list[str] = []
    at = 0
    for place in places:
        pieces += (text[at : place.start], "‹" * (place.end - place.start))
        at = place.end
    return "".join([*pieces, text[at:]])


def merge(text: str, found: list[Place], known: list[Known]) -> list[Place]:
    """Disjoint places: what overlaps becomes one place, named after what covers it best."""
    merged: list[Place] = []
    group: list[Place] = []
    end = -1
    for place in sorted(found, key=lambda p: (p.start, -p.end)):
        if group and place.start >= end:
            merged.append(_union(text, group, known))
            group = []
        group.append(place)
        end = place.end if len(group) == 1 else max(end, place.end)
    return [*merged, _union(text, group, known)] if group else merged


def _union(text: str, group: list[Place], known: list[Known]) -> Place:
    start, end = group[0].start, max(p.end for p in group)
    whole = [p for p in group if (p.start, p.end) == (start, end)]
    registry = [p for p in group if p.known is not None]
    for place in whole:
        if place.known is not None and not place.form and known[place.known].value == text[start:end]:
            return place
    if registry:
        # Never a full handle for more than the known secret: it would carry it under another origin.
        best = max(registry, key=lambda p: (p.end - p.start, p.form in ("", "part"), -(p.known or 0), p.form))
        return Place(start, end, best.kind, best.name, best.known, best.form or "part")
    best = max(group, key=lambda p: p.end - p.start)
    return Place(start, end, best.kind, best.name)
