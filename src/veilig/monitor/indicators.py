"""Is something in this text known to be bad? A set of indicators in columns, swapped as a whole.

Both sides are folded: case, defanging (hxxp, [.]), international names. A hit inside a longer name is none
(bad.example in notbad.example). What is expired, not yet valid, revoked or allow-listed says nothing.
"""

import hashlib
import ipaddress
import json
import re
import secrets
import time
import uuid
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final, Self

from veilig.core.policy_match import host_matches
from veilig.monitor.known_values import KEY_BYTES, KnownValues


class Sort(StrEnum):
    """What kind of thing an indicator names."""

    DOMAIN = "domain"
    IP = "ip"
    URL = "url"
    HASH = "hash"
    MAIL = "mail"
    PACKAGE = "package"
    ACCOUNT = "account"  # of this gateway: never looked for in texts
    KEY = "key"


class Tlp(StrEnum):
    """Traffic Light Protocol 2.0: how far it may be passed on."""

    CLEAR = "clear"
    GREEN = "green"
    AMBER = "amber"
    AMBER_STRICT = "amber+strict"
    RED = "red"


SECRET_TLP: Final = frozenset({Tlp.RED, Tlp.AMBER, Tlp.AMBER_STRICT})  # never shown or exported
LIFE_S: Final = {
    Sort.IP: 30 * 86400,
    Sort.DOMAIN: 90 * 86400,
    Sort.URL: 90 * 86400,
    Sort.HASH: 365 * 86400,
    Sort.MAIL: 90 * 86400,
    Sort.PACKAGE: 365 * 86400,
    Sort.ACCOUNT: 90 * 86400,
    Sort.KEY: 90 * 86400,
}
CANARY: Final = "veilig-self-test.invalid"  # in every set: finding it proves that the set works
SORTS: Final = tuple(Sort)
TLPS: Final = tuple(Tlp)
_EDGES: Final = {  # what may not stand beside a hit
    Sort.DOMAIN: re.compile(r"[\w-]"),
    Sort.IP: re.compile(r"[\w.:]"),
    Sort.URL: re.compile(r"\w"),
    Sort.HASH: re.compile(r"\w"),
    Sort.MAIL: re.compile(r"[\w.+-]"),
    Sort.PACKAGE: re.compile(r"[\w-]"),
}
_DEFANGED: Final = re.compile(r"\[\.\]|\(\.\)|\{\.\}|\[dot\]|\(dot\)|\[:\]|\[@\]|\bhxxp", re.IGNORECASE)
_MARKS: Final = ("[.", "(.", "{.", "[d", "(d", "[:", "[@", "hxxp")
_FANGS: Final = {"[.]": ".", "(.)": ".", "{.}": ".", "[dot]": ".", "(dot)": ".", "[:]": ":", "[@]": "@"}


@dataclass(frozen=True, slots=True)
class Indicator:
    """One observable that somebody vouches for. Times in seconds since 1970; confidence 0-100."""

    id: str
    sort: Sort
    value: str
    valid_from_s: float
    valid_until_s: float
    confidence: int
    tlp: Tlp
    feed: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One indicator found in a text."""

    id: str
    sort: Sort
    confidence: int
    tlp: Tlp
    feed: str
    value: str

    @property
    def shown(self) -> str:
        """What may be said of it: a value under TLP amber or red never leaves."""
        what = self.sort if self.tlp in SECRET_TLP else f"{self.sort} {self.value}"
        return f"{self.id} ({self.feed}, {what})"


_NAME_BYTES: Final = 17
_USUAL: Final = re.compile(r"indicator--([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:#(\d{1,3}))?")


def fold(text: str) -> str:
    """How texts and values are compared: lower case, without defanging."""
    text = text.lower()
    # The expression alone costs a hundred times as much, and looking for two characters ten times one.
    opened = "[" in text or "(" in text or "{" in text or "hxxp" in text
    if opened and any(mark in text for mark in _MARKS):
        text = _DEFANGED.sub(lambda m: _FANGS.get(m[0], "http"), text)
    return text


def fold_value(sort: Sort, value: str) -> str:
    """An indicator's value; names in their ASCII form, addresses in their shortest."""
    value = fold(value.strip()).rstrip("." if sort is Sort.DOMAIN else "")
    if sort is Sort.DOMAIN and not value.isascii():
        try:
            return value.encode("idna").decode()
        except UnicodeError:
            return value
    if sort is Sort.IP:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            return value
    return value


def allowed(sort: Sort, value: str, allow: Iterable[str]) -> bool:
    """Does the allow list beat it? Private and documentation addresses and example names always are."""
    if sort is Sort.IP:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return False
        if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
            return True
    host = value
    if sort is Sort.URL:
        host = value.partition("://")[2].partition("/")[0].partition(":")[0]
    elif sort is Sort.MAIL:
        host = value.rpartition("@")[2]
    if host in ("example.com", "example.org", "example.net", "localhost") or host.endswith(
        (".example.com", ".example.org", ".example.net")
    ):
        return True
    return any(entry.lower() in (value, host) or host_matches(entry.lower(), host) for entry in allow)


class _Names:
    """Ids of indicators; those of the usual form as 17 bytes each."""

    __slots__ = ("_odd", "_packed")

    def __init__(self, packed: bytes = b"", odd: dict[int, str] | None = None) -> None:
        self._packed = bytearray(packed)
        self._odd = odd or {}

    def __len__(self) -> int:
        return len(self._packed) // _NAME_BYTES

    def add(self, name: str) -> None:
        match = _USUAL.fullmatch(name)
        number = int(match[2] or 0) if match else 0
        if match is None or number > 254 or match[2] not in (None, str(number)):
            self._odd[len(self)] = name
            self._packed += bytes(_NAME_BYTES)
            return
        part = 255 if match[2] is None else number
        self._packed += uuid.UUID(match[1]).bytes + bytes([part])

    def __getitem__(self, at: int) -> str:
        if (name := self._odd.get(at)) is not None:
            return name
        packed = self._packed[at * _NAME_BYTES : (at + 1) * _NAME_BYTES]
        part = "" if packed[-1] == 255 else f"#{packed[-1]}"
        return f"indicator--{uuid.UUID(bytes=bytes(packed[:-1]))}{part}"

    def columns(self) -> tuple[bytes, dict[str, str]]:
        return bytes(self._packed), {str(k): v for k, v in self._odd.items()}


class IndicatorSet:
    """All live indicators; made once, asked often, replaced as a whole. Columns, so that many take little."""

    def __init__(self, indicators: Iterable[Indicator]) -> None:
        self._names = _Names()
        self._feeds: list[str] = []
        self._feed: array[int] = array("H")
        self._sort = bytearray()
        self._tlp = bytearray()
        self._confidence = bytearray()
        self._from: array[float] = array("d")
        self._until: array[float] = array("d")
        self._accounts: dict[str, int] = {}
        feeds: dict[str, int] = {}

        def texts() -> Iterator[tuple[int, str]]:
            for at, one in enumerate(chain(indicators, (_canary(),))):
                self._names.add(one.id)
                self._feed.append(feeds.setdefault(one.feed, len(feeds)))
                self._sort.append(SORTS.index(one.sort))
                self._tlp.append(TLPS.index(one.tlp))
                self._confidence.append(one.confidence)
                self._from.append(one.valid_from_s)
                self._until.append(one.valid_until_s)
                value = one.value.replace("\n", " ")
                if one.sort in (Sort.ACCOUNT, Sort.KEY):
                    self._accounts[value] = at
                else:
                    yield at, value

        self._key = secrets.token_bytes(KEY_BYTES)
        self._known = KnownValues(texts(), self._key)
        self._feeds = list(feeds)
        self.size = len(self._sort) - 1

    def dump(self) -> bytes:
        """Everything, for `load`."""
        packed, odd = self._names.columns()
        known, table = self._known.columns()
        head = {
            "n": len(self._sort), "feeds": self._feeds, "odd": odd, "key": self._key.hex(),
            "accounts": self._accounts, "known": known,
        }  # fmt: skip
        columns = (
            self._feed.tobytes(),
            self._sort,
            self._tlp,
            self._confidence,
            self._from.tobytes(),
            self._until.tobytes(),
        )
        body = b"".join([json.dumps(head).encode(), b"\n", packed, *columns, table])
        return hashlib.sha256(body).digest() + body

    @classmethod
    def load(cls, data: bytes) -> Self:
        """What `dump` made. Raises ValueError when it is not whole."""
        body = memoryview(data)[32:]
        if hashlib.sha256(body).digest() != data[:32]:
            raise ValueError("the compiled indicators are not whole")
        end = data.index(b"\n", 32) - 32
        head = json.loads(bytes(body[:end]))
        made, n, at = cls.__new__(cls), int(head["n"]), end + 1

        def take(size: int) -> memoryview:
            nonlocal at
            at += size
            return body[at - size : at]

        made._names = _Names(bytes(take(n * _NAME_BYTES)), {int(k): v for k, v in head["odd"].items()})
        made._feeds, made._feed = list(head["feeds"]), array("H", bytes(take(2 * n)))
        made._sort, made._tlp, made._confidence = (bytearray(take(n)) for _ in range(3))
        made._from, made._until = array("d", bytes(take(8 * n))), array("d", bytes(take(8 * n)))
        made._accounts = head["accounts"]
        made._key = bytes.fromhex(head["key"])
        made._known = KnownValues.load(head["known"], bytes(body[at:]), made._key)
        made.size = n - 1
        return made

    def find(self, text: str, now_s: float) -> list[Hit]:
        """Every indicator in force in the text, each once; the text may be as it came."""
        folded = fold(text)
        found: dict[str, Hit] = {}
        for at, start, end in self._known.spots(folded):
            hit = self._hit(at, now_s, folded[start:end])
            if hit is not None and _stands_alone(hit.sort, folded, start, end):
                found.setdefault(hit.id, hit)
        return list(found.values())

    def account(self, value: str, now_s: float) -> Hit | None:
        """Is this account, or the hash of this key, itself an indicator?"""
        at = self._accounts.get(value.lower())
        return None if at is None else self._hit(at, now_s, value)

    def works(self) -> bool:
        """The self-test: the canary is found, and only where it stands alone."""
        now_s = time.time()
        found = self.find(f"get hxxps://{CANARY.replace('.', '[.]')}/x", now_s)
        return [h.value for h in found] == [CANARY] and not self.find(f"not{CANARY}", now_s)

    def _hit(self, at: int, now_s: float, value: str) -> Hit | None:
        if not self._from[at] <= now_s < self._until[at]:
            return None
        sort = SORTS[self._sort[at]]
        return Hit(
            self._names[at],
            sort,
            self._confidence[at],
            TLPS[self._tlp[at]],
            self._feeds[self._feed[at]],
            value,
        )


def _canary() -> Indicator:
    return Indicator("self-test", Sort.DOMAIN, CANARY, 0.0, float("inf"), 0, Tlp.CLEAR, "self-test")


def _stands_alone(sort: Sort, text: str, start: int, end: int) -> bool:
    edge = _EDGES[sort]
    if start and edge.match(text[start - 1]):
        return False
    after, more = text[end : end + 1], text[end + 1 : end + 2].isalnum()
    if sort is Sort.IP and after == ":":
        return "." in text[start:end] or not more  # a port after IPv4; IPv6 would go on
    if after == "." and sort in (Sort.IP, Sort.DOMAIN):
        return not more  # evil.example in evil.example.org is another name
    return not after or not edge.match(after)


def newest(indicators: Iterable[tuple[float, Indicator]]) -> Iterator[Indicator]:
    """One of each id: the one modified last. indicators: (modified, indicator)."""
    best: dict[str, tuple[float, Indicator]] = {}
    for modified, one in indicators:
        known = best.get(one.id)
        if known is None or modified >= known[0]:
            best[one.id] = (modified, one)
    return (one for _, one in best.values())
