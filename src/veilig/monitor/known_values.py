"""Which of many known values stand in a text? Those of usual forms by table, the rest by automaton.

A value of a usual form (a name under a top-level domain, an IPv4 address, a hexadecimal sum, a link) can
stand only at places that are quickly found in a text, so a sorted table of short digests answers: 12 bytes
for each value instead of a node for each letter. Only values of another form are put into an automaton.

A digest of 8 bytes is keyed with random bytes that are kept with the set: two values of 200,000 collide by
chance once in 10^8 sets, and nobody can prepare a text that hits.
"""

import hashlib
import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any, Final, Self

KEY_BYTES: Final = 16
NAME_CHARS_MAX: Final = 253  # of a domain name (RFC 1035)
LABELS_MAX: Final = 12
LINK_CHARS_MAX: Final = 400  # longer ones go to the automaton
HASH_CHARS: Final = (32, 40, 64)
STEP: Final = 16  # two letters this far apart lie in every run of 32


class Form(IntEnum):
    """Where in a text such a value can stand."""

    NAME = 0
    ADDRESS = 1
    HASH = 2
    LINK = 3


_FORMS: Final = (
    (Form.ADDRESS, re.compile(r"(?:\d{1,3}\.){3}\d{1,3}")),
    (Form.NAME, re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.[a-z][a-z0-9_-]*")),
    (Form.HASH, re.compile(r"[0-9a-f]{32}(?:[0-9a-f]{8}(?:[0-9a-f]{24})?)?")),
    (Form.LINK, re.compile(r"[a-z][a-z0-9]*://[!-~]+")),
)
_LABEL: Final = re.compile(r"\.([a-z][a-z0-9_-]*)")
_ADDRESS: Final = re.compile(r"(?<![\w.:])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?!\w)", re.ASCII)
_SUM: Final = re.compile(r"[0-9a-f]{32,64}")
_HEX_PAIR: Final = re.compile(r"(?=[0-9a-f]{2})")


def form_of(value: str) -> Form | None:
    """The form of a folded value; None: it can stand anywhere."""
    if len(value) > LINK_CHARS_MAX or not value.isascii():
        return None
    form = next((form for form, pattern in _FORMS if pattern.fullmatch(value)), None)
    if form is Form.NAME and (len(value) > NAME_CHARS_MAX or value.count(".") >= LABELS_MAX):
        return None
    return form


class KnownValues:
    """Values by number, 0 to n-1, as they were given; `spots` says where they may stand in a text."""

    def __init__(self, values: Iterable[tuple[int, str]], key: bytes) -> None:
        self._key = key
        digests: array[int] = array("Q")
        numbers: array[int] = array("I")
        self._rest: list[str] = []
        self._rest_of: array[int] = array("I")
        self._labels: set[str] = set()
        self._link_sizes: set[int] = set()
        self._has: set[Form] = set()
        for number, value in values:
            form = form_of(value)
            if form is None:
                self._rest.append(value)
                self._rest_of.append(number)
                continue
            self._has.add(form)
            digests.append(self._digest(value))
            numbers.append(number)
            if form is Form.NAME:
                self._labels.add(sys.intern(value.rpartition(".")[2]))
            elif form is Form.LINK:
                self._link_sizes.add(len(value))
        order = sorted(range(len(digests)), key=digests.__getitem__)
        self._digests: array[int] = array("Q", map(digests.__getitem__, order))
        self._numbers: array[int] = array("I", map(numbers.__getitem__, order))
        self._automaton = _automaton(self._rest)

    def columns(self) -> tuple[dict[str, Any], bytes]:
        """Everything but the key, for `load`: what JSON holds, and bytes."""
        head = {
            "size": len(self._digests),
            "labels": sorted(self._labels),
            "links": sorted(self._link_sizes),
            "has": sorted(self._has),
            "rest": self._rest,
            "rest_of": self._rest_of.tolist(),
        }
        return head, self._digests.tobytes() + self._numbers.tobytes()

    @classmethod
    def load(cls, head: dict[str, Any], data: bytes, key: bytes) -> Self:
        """What `columns` gave."""
        made, size = cls((), key), int(head["size"])
        made._digests, made._numbers = array("Q", data[: 8 * size]), array("I", data[8 * size :])
        made._labels, made._link_sizes = set(head["labels"]), set(head["links"])
        made._has = {Form(form) for form in head["has"]}
        made._rest, made._rest_of = list(head["rest"]), array("I", head["rest_of"])
        made._automaton = _automaton(made._rest)
        return made

    def _digest(self, value: str) -> int:
        made = hashlib.blake2b(value.encode(), digest_size=8, key=self._key)
        return int.from_bytes(made.digest(), "little")

    def spots(self, text: str) -> Iterator[tuple[int, int, int]]:
        """(number of the value, start, end) wherever one stands in a folded text, inside words too."""
        if self._automaton is not None:
            for at, start, end in self._automaton.find_matches_as_indexes(text, overlapping=True):
                yield self._rest_of[at], start, end
        if Form.NAME in self._has and "." in text:
            yield from self._names(text)
        if Form.ADDRESS in self._has and "." in text:
            for match in _ADDRESS.finditer(text):
                yield from self._at(text, match.start(), match.end())
        if Form.HASH in self._has and len(text) >= HASH_CHARS[0]:
            yield from self._sums(text)
        if Form.LINK in self._has and "://" in text:
            yield from self._links(text)

    def _at(self, text: str, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        digest = self._digest(text[start:end])
        at = bisect_left(self._digests, digest)
        while at < len(self._digests) and self._digests[at] == digest:
            yield self._numbers[at], start, end
            at += 1

    def _names(self, text: str) -> Iterator[tuple[int, int, int]]:
        for match in _LABEL.finditer(text):
            if match[1] not in self._labels:
                continue
            end = match.end()
            start = match.start()
            for _ in range(LABELS_MAX):
                label = start
                while start and (text[start - 1].isalnum() or text[start - 1] in "_-"):
                    start -= 1
                    if end - start > NAME_CHARS_MAX:
                        break
                if start == label or end - start > NAME_CHARS_MAX:
                    break
                yield from self._at(text, start, end)
                if not start or text[start - 1] != ".":
                    break
                start -= 1

    def _sums(self, text: str) -> Iterator[tuple[int, int, int]]:
        done = 0
        for pair in _HEX_PAIR.finditer(text[::STEP]):
            middle = pair.start() * STEP
            if middle < done:
                continue
            start = middle
            while start and text[start - 1] in "0123456789abcdef" and middle - start < STEP:
                start -= 1
            match = _SUM.match(text, start)
            if match is None:
                continue
            done = match.end()
            if match.end() - match.start() in HASH_CHARS:
                yield from self._at(text, match.start(), match.end())

    def _links(self, text: str) -> Iterator[tuple[int, int, int]]:
        at = text.find("://")
        while at >= 0:
            start = at
            while start and at - start < 20 and text[start - 1].isascii() and text[start - 1].isalnum():
                start -= 1
            for size in self._link_sizes:
                end = start + size
                if end <= len(text) and not text[end : end + 1].isalnum():
                    yield from self._at(text, start, end)
            at = text.find("://", at + 3)


def _automaton(values: list[str]) -> Any:
    if not values:
        return None
    import ahocorasick_rs

    return ahocorasick_rs.AhoCorasick(
        values, implementation=ahocorasick_rs.Implementation.ContiguousNFA, store_patterns=False
    )
