"""Which safety notices are due, and to whom? A fold of the log: who was warned or suspended, who was told.

A notice is one per case and step: a warning when a case opens or its subject is slowed down or rerouted, a
deactivation when it is suspended. It carries ids only; who is told asks for the case with their own key.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from veilig.core.canonical import JSON
from veilig.core.errors import UsageError
from veilig.core.ledger_event import Event
from veilig.monitor.ladder import RANK, Level

EVENTS: Final = frozenset({"case.opened", "ladder.moved", "signal.raised", "webhook.sent", "webhook.failed"})
WARNING: Final = "safety.warning_issued"
DEACTIVATION: Final = "safety.deactivation_issued"
ALERT: Final = "safety.alert.created"
RETRY_S: Final = (
    0.0,
    5.0,
    30.0,
    300.0,
    3600.0,
    21_600.0,
    86_400.0,
)  # after each failure the next one waits so long
AGE_S_MAX: Final = 3 * 86_400  # older ones are history: a new endpoint is not told of last year
ALERTS_MAX: Final = 10_000  # older ones are in the ledger
_ALERT_KINDS: Final = {
    "potentially_unintended_destructive_activity": {"destroying-recovery", "wiping", "stopping-defence"},
    "potentially_unintended_data_transfer": {"carrying-out", "reverse-shell"},
    "potentially_unintended_data_access": {"credential-files", "memory-of-others", "metadata-credentials"},
}
SECRET_PREFIX: Final = "whsec_"
SECRET_BYTES_MIN: Final = 24


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell. id: the same at every try and for every endpoint; about: the case or alert."""

    id: str
    type: str
    about: str
    at_s: int

    def body(self) -> dict[str, JSON]:
        """In the public SDK's shape."""
        return {
            "id": self.id,
            "object": "event",
            "created_at": self.at_s,
            "type": self.type,
            "data": {"id": self.about},
        }


class Outbox:
    """Notices by id and how often each endpoint was tried in vain; what was told or given up is gone."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        self.endpoints = tuple(endpoints)
        self.seen = 0
        self.notices: dict[str, Notice] = {}
        self.failures: dict[tuple[str, str], int] = {}
        self._open: dict[tuple[str, str], None] = {}
        self._opened = ("", 0, "")  # the last case, where it opened, and the notice of that

    def apply(self, events: Iterable[Event]) -> None:
        """Take in events, each once, in order."""
        for event in events:
            if event.seq > self.seen:
                self.seen = event.seq
                self._apply(event)

    def due(self, now_s: float) -> list[tuple[Notice, str]]:
        """What to tell to whom, oldest first; without what is too old."""
        late = now_s - AGE_S_MAX
        for name in [n for n, notice in self.notices.items() if notice.at_s < late]:
            del self.notices[name]
            for endpoint in self.endpoints:
                self._close(name, endpoint)
        return [(self.notices[name], endpoint) for name, endpoint in self._open]

    def _apply(self, event: Event) -> None:
        text = {k: v for k, v in event.body.items() if isinstance(v, str)}
        at_s = event.wall_ms // 1000
        match event.name:
            case "case.opened":
                name = self._add(WARNING, text["case"], event.seq, at_s)
                self._opened = (text["case"], event.seq, name)
            case "ladder.moved" if text["case"]:
                self._moved(text, event.seq, at_s)
            case "signal.raised" if text["kind"] != "monitor" and text["request"]:
                self._add(ALERT, alert_id(text["request"]), 0, at_s)
            case "webhook.sent":
                self._close(text["event"], text["to"])
            case "webhook.failed":
                key = (text["event"], text["to"])
                self.failures[key] = self.failures.get(key, 0) + 1
                if event.body["final"] is True:
                    self._close(*key)
            case _:
                return

    def _moved(self, text: dict[str, str], seq: int, at_s: int) -> None:
        before, after = Level(text["before"]), Level(text["after"])
        if RANK[after] <= RANK[before]:
            return
        case, opened, name = self._opened
        same_step = case == text["case"] and opened == seq - 1
        if after is Level.SUSPEND:
            if same_step:  # one step, one notice: the stronger
                for endpoint in self.endpoints:
                    self._close(name, endpoint)
            self._add(DEACTIVATION, text["case"], seq, at_s)
        elif not same_step:
            self._add(WARNING, text["case"], seq, at_s)

    def _add(self, kind: str, about: str, seq: int, at_s: int) -> str:
        name = f"evt_{hashlib.sha256(f'{kind}\0{about}\0{seq}'.encode()).hexdigest()[:32]}"
        if name not in self.notices and self.endpoints:
            self.notices[name] = Notice(name, kind, about, at_s)
            self._open |= dict.fromkeys((name, endpoint) for endpoint in self.endpoints)
        return name

    def _close(self, name: str, endpoint: str) -> None:
        self._open.pop((name, endpoint), None)
        self.failures.pop((name, endpoint), None)


@dataclass(frozen=True, slots=True)
class Alert:
    """What one request showed: where its signal stands in the ledger, about whom, and by which evidence."""

    id: str
    request: str
    subject: str
    seq: int
    at_s: int
    evidence: tuple[str, ...]

    @property
    def kind(self) -> str:
        """As the public API sorts them."""
        rules = {e.partition(":")[2] for e in self.evidence if e.startswith("rule:")}
        return next((kind for kind, ids in _ALERT_KINDS.items() if rules & ids), "other")


class Alerts:
    """The newest alerts by id."""

    def __init__(self) -> None:
        self.known: dict[str, Alert] = {}

    def apply(self, event: Event) -> None:
        """Take in one event."""
        body = event.body
        if event.name != "signal.raised" or body["kind"] == "monitor" or not body["request"]:
            return
        request, evidence = str(body["request"]), body["evidence"]
        said = tuple(e for e in evidence if isinstance(e, str)) if isinstance(evidence, list) else ()
        name = alert_id(request)
        before = self.known.get(name)
        self.known[name] = Alert(
            name, request, str(body["subject"]), before.seq if before else event.seq, event.wall_ms // 1000,
            (before.evidence if before else ()) + said,
        )  # fmt: skip
        if len(self.known) > ALERTS_MAX:
            del self.known[next(iter(self.known))]


def alert_id(request: str) -> str:
    """The alert of one request: nobody guesses it, since a request's id is random."""
    return "alert_" + request.removeprefix("req_")


def endpoint_id(url: str) -> str:
    """How the ledger calls an endpoint: its address may hold a key."""
    host = url.partition("://")[2].partition("/")[0]
    return f"{host}#{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def read_secret(text: str, name: str) -> bytes:
    """The signing key in `whsec_` and base64. Raises UsageError for one that is no secret."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(SECRET_PREFIX) or len(key) < SECRET_BYTES_MIN:
        raise UsageError(
            f"${name} holds no signing secret",
            why=f"it is {SECRET_PREFIX} and base64 of at least {SECRET_BYTES_MIN} random bytes",
            fix=f'export {name}="{SECRET_PREFIX}$(openssl rand -base64 32)"',
        )
    return key


def sign(key: bytes, notice: str, at_s: int, body: bytes) -> str:
    """The header webhook-signature. Source: Standard Webhooks 1.0, symmetric signatures."""
    signed = f"{notice}.{at_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
