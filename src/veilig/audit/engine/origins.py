"""When part of a tainted value is taken, what does a check of the part say about the whole?"""

from veilig.audit.engine.frame import Frame
from veilig.audit.engine.probes import PROBES
from veilig.audit.engine.state import as_values, new_key
from veilig.audit.engine.value import (
    ATTACKER,
    EVERY_KIND,
    Facts,
    Opaque,
    Origin,
    Taint,
    Taints,
    Value,
)

# (origin, part) -> the part's origin, and what the whole becomes harmless for once the part is checked.
# Kept on the
# engine for one entry point: the same part read twice is the same thing, so a guard on one reading covers
# the other.


EACH = frozenset({"each"})  # a part that is one element or character of the whole
# What text of harmless characters is harmless for. Nobody chose it from a list: the sender still decides it.
TEXT_KINDS = frozenset(
    {
        *PROBES, "argument", "csv", "format", "size", "mass", "depth", "identity", "cors", "deserialization",
    }
)  # fmt: skip
UNQUOTED = frozenset({"no-'", 'no-"'})
# The first and the second character: what they are not, says what the whole cannot be.
FIRST = frozenset({"first"})
SECOND = frozenset({"second"})
RESOLVED = "socket.getaddrinfo()"
NAMES = "<names of a path>"  # each without a slash


def part_of(frame: Frame, taints: Taints, part: object, grants: frozenset[str] = frozenset()) -> Taints:
    """The taints of a part of the value: what is known of the whole holds for it, not the other way round.

    part: a hashable name of the part (key, index, attribute); None is a new part at each evaluation.
    grants: what the whole becomes harmless for once the part passed an allow-list.
    """
    if not taints:
        return taints
    result: list[Taint] = []
    for taint in taints:
        if taint.origin.kind not in ATTACKER:
            result.append(taint)
            continue
        origin = _part(frame, taint.origin, part, grants)
        result.append(Taint(origin, taint.hop, frame.safe_for(taint), taint.weak))
    return tuple(result)


def each_of(frame: Frame, iterable: Value) -> Value:
    """One value that stands for any element of `iterable`; checking it checks the whole, character by
    character."""
    element = as_values(frame.state, iterable)
    if isinstance(iterable, Opaque) and iterable.qual.startswith(RESOLVED):
        return iterable
    if isinstance(iterable, Opaque) and isinstance(element, Opaque) and element.taints:
        return Opaque(element.qual, part_of(frame, element.taints, None, EACH))
    return element


def _part(frame: Frame, whole: Origin, part: object, grants: frozenset[str]) -> Origin:
    parts = frame.engine.parts
    key = (whole.uid, part)
    if part is not None:
        try:
            found = parts.get(key)
        except TypeError:  # an unhashable key: a new part
            found, part = None, None
        if found is not None:
            return found
    origin = Origin(new_key(), whole.kind, whole.label, whole)
    if part is not None:
        parts[key] = origin
    if grants:
        frame.engine.grants[origin.uid] = (whole.uid, grants)
    return origin


def decoded(frame: Frame, taints: Taints) -> Taints:
    """The taints after a decoder: whatever was checked before says nothing about what comes out."""
    return tuple(
        Taint(_part(frame, taint.origin, None, frozenset()), taint.hop, frozenset(), taint.weak)
        if taint.origin.kind in ATTACKER
        else taint
        for taint in taints
    )


def first_characters(frame: Frame, taints: Taints, unlike: str) -> Facts:
    """What the whole is harmless for once its first or second character is none of `unlike`."""
    found: dict[int, frozenset[str]] = {}
    for taint in taints:
        whole, granted = frame.engine.grants.get(taint.origin.uid, (0, frozenset[str]()))
        kinds: set[str] = set()
        if granted is FIRST:
            kinds = {"csv"} if "=" in unlike else set()
            kinds |= {"argument"} if "-" in unlike else set()
        elif granted is SECOND and "/" in unlike:
            kinds = {"not-double"}
        if kinds:
            found[whole] = found.get(whole, frozenset()) | kinds
    return found


def facts_about(frame: Frame, taints: Taints, kinds: frozenset[str]) -> Facts:
    """The facts that the value with these taints is harmless for `kinds`."""
    found: dict[int, frozenset[str]] = {}
    if not kinds:
        return found
    for taint in taints:
        if taint.origin.kind not in ATTACKER:
            continue
        uid = taint.origin.uid
        found[uid] = found.get(uid, frozenset()) | kinds
        granted = frame.engine.grants.get(uid)
        if granted is None:
            continue
        gained = granted[1] if EVERY_KIND in kinds else frozenset[str]()
        if "url" in kinds and "url" in granted[1]:
            gained = granted[1]
        if granted[1] is EACH:
            gained = kinds
        if "inside" in granted[1]:
            gained = frozenset(f"inside-{kind}" for kind in kinds if kind in UNQUOTED)
        if gained:
            found[granted[0]] = found.get(granted[0], frozenset()) | gained
    return found
