"""Can a regular expression try exponentially many ways? Answered from its automaton, never by running it."""

import re
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from re import _parser  # type: ignore[attr-defined]  # the only parser of its own syntax
from typing import Any, cast

ENDLESS = 10  # a repeat with this many turns or more counts as endless: 2 ** 10 ways are enough to hurt
PATTERN_CHARS_MAX = 2_000
POSITIONS_MAX = 160  # larger automata are not judged
COPIES_MAX = 3  # a bounded repeat is written out this often; more changes nothing about ambiguity
SAMPLES = [chr(code) for code in range(128)] + ["é", "β", "中", "\u2028"]
EVERY_SAMPLE = (1 << len(SAMPLES)) - 1


@lru_cache(maxsize=1024)
def catastrophic(pattern: str | bytes) -> bool:
    """Whether some text makes the pattern try exponentially many ways.

    It does when one text leads from a place of the automaton back to it in two ways. Long, invalid and
    very large patterns are not judged; texts outside ASCII are judged by a few samples.
    Source: the ambiguity criterion EDA of Weber and Seidl (1991), on a Glushkov automaton.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            automaton = _Automaton()
            automaton.build(cast("Any", _parser).parse(pattern))
            return automaton.ambiguous()
    except (re.error, RecursionError, OverflowError, ValueError, _TooLargeError):
        return False


class _TooLargeError(Exception):
    """The automaton has more than POSITIONS_MAX places."""


@dataclass(slots=True, eq=False)
class _Part:
    """One piece of the pattern: whether it may be empty, where it begins, where it ends."""

    empty: bool = True
    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class _Automaton:
    """A Glushkov automaton: one place per character of the pattern, `double` holds ways that exist twice."""

    masks: list[int] = field(default_factory=list[int])
    follow: list[set[int]] = field(default_factory=list[set[int]])
    double: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])

    def build(self, tokens: Any) -> _Part:
        """The part for these tokens of Python's own parser, one after the other."""
        whole = _Part()
        for kind, argument in tokens:
            whole = self._then(whole, self._token(str(kind), argument))
        return whole

    def _token(self, kind: str, argument: Any) -> _Part:
        match kind:
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self._repeat(int(argument[0]), int(argument[1]), argument[2])
            case "SUBPATTERN":
                return self.build(argument[3])
            case "BRANCH":
                options = [self.build(option) for option in argument[1]]
                return _Part(
                    any(option.empty for option in options),
                    tuple(at for option in options for at in option.first),
                    tuple(at for option in options for at in option.last),
                )
            case "LITERAL" | "NOT_LITERAL" | "IN" | "ANY":
                return self._place(_mask(kind, argument))
            case "POSSESSIVE_REPEAT" | "ATOMIC_GROUP" | "GROUPREF" | "GROUPREF_EXISTS":
                raise _TooLargeError  # outside regular languages: not judged
            case _:
                return _Part()  # anchors and look-around take no characters

    def _place(self, mask: int) -> _Part:
        if len(self.masks) >= POSITIONS_MAX:
            raise _TooLargeError
        at = len(self.masks)
        self.masks.append(mask)
        self.follow.append(set())
        return _Part(False, (at,), (at,))

    def _repeat(self, low: int, high: int, body: Any) -> _Part:
        if high >= ENDLESS:
            whole = _Part()
            for _ in range(min(low, COPIES_MAX) - 1):
                whole = self._then(whole, self.build(body))
            turn = self.build(body)
            self._link(turn.last, turn.first)
            turn = _Part(turn.empty or low == 0, turn.first, turn.last)
            return self._then(whole, turn)
        whole = _Part()
        for number in range(min(high, COPIES_MAX)):
            turn = self.build(body)
            whole = self._then(whole, _Part(turn.empty or number >= low, turn.first, turn.last))
        return whole

    def _link(self, ends: tuple[int, ...], starts: tuple[int, ...]) -> None:
        for end in ends:
            for start in starts:
                if start in self.follow[end]:
                    self.double.add((end, start))
                self.follow[end].add(start)

    def _then(self, left: _Part, right: _Part) -> _Part:
        self._link(left.last, right.first)
        return _Part(
            left.empty and right.empty,
            left.first + right.first if left.empty else left.first,
            left.last + right.last if right.empty else right.last,
        )

    def ambiguous(self) -> bool:
        """Whether a text leads from some place back to it in two ways."""
        reach = [self._reachable(at) for at in range(len(self.masks))]
        if any(end in reach[start] for end, start in self.double):
            return True
        looping = [at for at in range(len(self.masks)) if at in reach[at]]
        return any(self._splits(at, reach) for at in looping)

    def _reachable(self, at: int) -> set[int]:
        found: set[int] = set()
        stack = list(self.follow[at])
        while stack:
            item = stack.pop()
            if item not in found:
                found.add(item)
                stack.extend(self.follow[item])
        return found

    def _splits(self, home: int, reach: list[set[int]]) -> bool:
        """Whether two walkers reading one text can leave `home`, part, and meet there again."""
        seen: set[tuple[int, int]] = set()
        stack: list[tuple[int, int, bool]] = [(home, home, False)]
        while stack:
            one, two, parted = stack.pop()
            for a in self.follow[one]:
                if home != a and home not in reach[a]:
                    continue
                for b in self.follow[two]:
                    if not self.masks[a] & self.masks[b] or (home != b and home not in reach[b]):
                        continue
                    apart = parted or a != b
                    if apart and a == b == home:
                        return True
                    key = (a, b) if apart else (-1 - a, b)
                    if key not in seen:
                        seen.add(key)
                        stack.append((a, b, apart))
        return False


@lru_cache(maxsize=4096)
def _literal_mask(kind: str, code: int) -> int:
    inside = sum(1 << i for i, sample in enumerate(SAMPLES) if ord(sample) == code) or 1 << len(SAMPLES)
    return inside if kind == "LITERAL" else EVERY_SAMPLE & ~inside


def _mask(kind: str, argument: Any) -> int:
    """Which samples the token takes, as bits. A literal outside the samples has a bit they all share."""
    if kind == "ANY":
        return EVERY_SAMPLE
    if kind != "IN":
        return _literal_mask(kind, int(argument))
    return _class_mask(tuple((str(name), value) for name, value in argument))


@lru_cache(maxsize=1024)
def _class_mask(items: tuple[tuple[str, Any], ...]) -> int:
    mask, negate = 0, False
    for name, value in items:
        match name:
            case "NEGATE":
                negate = True
            case "LITERAL":
                mask |= _literal_mask("LITERAL", int(value))
            case "RANGE":
                low, high = value
                mask |= sum(1 << i for i, sample in enumerate(SAMPLES) if low <= ord(sample) <= high)
            case "CATEGORY":
                mask |= _category_mask(str(value))
            case _:
                mask |= EVERY_SAMPLE
    return EVERY_SAMPLE & ~mask if negate else mask


_CATEGORIES = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}


@lru_cache(maxsize=16)
def _category_mask(name: str) -> int:
    test = re.compile(_CATEGORIES.get(name.rpartition("_")[2], r"[\s\S]"))
    mask = sum(1 << i for i, sample in enumerate(SAMPLES) if test.match(sample))
    return EVERY_SAMPLE & ~mask if "NOT_" in name else mask
