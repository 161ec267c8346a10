"""Who is known, with which keys, tiers, grants and budgets? A fold of the ledger's access events.

The same events give the same registry, in any process and after any crash. Times of expiry are seconds since
1970; whoever asks gives a time that never goes back, so an expiry, once passed, stays passed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from veilig.access.budgets import Amount, Limit
from veilig.access.tiers import DAY_S, rank
from veilig.core.actor import Tier
from veilig.core.canonical import JSON
from veilig.core.ledger_event import Event

EVENTS = frozenset({
    "subject.added",
    "subject.vouched",
    "subject.vetted",
    "subject.scoped",
    "key.issued",
    "key.revoked",
    "access.granted",
    "access.withdrawn",
    "budget.set",
})  # fmt: skip
ANY = "*"


@dataclass(frozen=True, slots=True)
class Vetting:
    """Why a subject has a tier, and until when. evidence: a hash; what it was made from is not kept."""

    tier: Tier
    method: str
    verifier: str
    evidence: str
    expires_s: int


@dataclass(frozen=True, slots=True)
class Scope:
    """What this subject may test: hosts (exact, or `*.name`) and repositories (prefixes of their URLs)."""

    hosts: tuple[str, ...]
    repositories: tuple[str, ...]
    expires_s: int


@dataclass(frozen=True, slots=True)
class Subject:
    """A person or a service in an organisation."""

    id: str
    kind: str
    org: str
    vettings: tuple[Vetting, ...] = ()
    vouches: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    scope: Scope | None = None

    def tier(self, now_s: float, default: Tier) -> Tier:
        """The highest tier that a vetting in force gives, at least the default."""
        held = [v.tier for v in self.vettings if v.expires_s > now_s]
        return max([*held, default], key=rank)

    def vouchers(self, tier: Tier, now_s: float) -> frozenset[str]:
        """Who vouches for this tier and has not lapsed."""
        return frozenset(p for (p, t), until in self.vouches.items() if t == tier and until > now_s)


@dataclass(frozen=True, slots=True)
class Key:
    """One API key; only its SHA-256 is kept. hint: its first characters, for people."""

    id: str
    subject: str
    hash: bytes
    hint: str
    issued_s: float
    expires_s: int
    revoked: bool = False

    def live(self, now_s: float) -> bool:
        """May it be used at this moment?"""
        return not self.revoked and now_s < self.expires_s


@dataclass(frozen=True, slots=True)
class Grant:
    """Subject x model class x surface, until `expires_s`. micro_usd: its own credit; -1: none is kept."""

    id: str
    subject: str
    model_class: str
    surface: str
    expires_s: int
    micro_usd: int
    withdrawn: bool = False

    def covers(self, model_class: str, surface: str, now_s: float) -> bool:
        """Does it hold for this, now?"""
        return (
            not self.withdrawn
            and now_s < self.expires_s
            and self.model_class == model_class
            and self.surface in (ANY, surface)
        )


class Registry:
    """Everything above, by id; keys by hash as well."""

    def __init__(self) -> None:
        self.seen = 0
        self.subjects: dict[str, Subject] = {}
        self.keys: dict[str, Key] = {}
        self.by_hash: dict[bytes, Key] = {}
        self.grants: dict[str, Grant] = {}
        self.budgets: dict[str, Limit] = {}
        self._of_subject: dict[str, list[str]] = {}

    def apply(self, events: Iterable[Event]) -> None:
        """Take in events, each once, in order."""
        for event in events:
            if event.seq > self.seen:
                self.seen = event.seq
                self._apply(event)

    def grant_for(self, subject: str, model_class: str, surface: str, now_s: float) -> Grant | None:
        """A grant in force: one that keeps no credit goes first."""
        held = [self.grants[g] for g in self._of_subject.get(subject, ())]
        fit = [g for g in held if g.covers(model_class, surface, now_s)]
        return min(fit, key=lambda g: g.micro_usd >= 0, default=None)

    def lapsed_grant(self, subject: str, model_class: str) -> Grant | None:
        """The newest grant for the class, in force or not: for saying why it does not hold."""
        held = [self.grants[g] for g in self._of_subject.get(subject, ())]
        return next((g for g in reversed(held) if g.model_class == model_class), None)

    def _apply(self, event: Event) -> None:
        body = event.body
        text = {k: v for k, v in body.items() if isinstance(v, str)}
        until = _whole(body.get("expires_s"))
        match event.name:
            case "subject.added":
                self.subjects[text["subject"]] = Subject(text["subject"], text["kind"], text["org"])
            case "subject.vouched":
                self._change(
                    text["subject"],
                    lambda s: replace(s, vouches={**s.vouches, (text["person"], text["tier"]): until}),
                )
            case "subject.vetted":
                vetting = Vetting(
                    Tier(text["tier"]), text["method"], text["verifier"], text["evidence"], until
                )
                self._change(text["subject"], lambda s: _vetted(s, vetting))
            case "subject.scoped":
                scope = Scope(_texts(body["hosts"]), _texts(body["repositories"]), until)
                self._change(text["subject"], lambda s: replace(s, scope=scope))
            case "key.issued":
                digest = bytes.fromhex(text["hash"])
                issued_s = event.wall_ms / 1000
                key = Key(text["key"], text["subject"], digest, text["hint"], issued_s, until)
                self._put(key)
            case "key.revoked":
                if key := self.keys.get(text["key"]):
                    self._put(replace(key, revoked=True))
            case "access.granted":
                grant = Grant(
                    text["grant"],
                    text["subject"],
                    text["class"],
                    text["surface"],
                    until,
                    _whole(body["micro_usd"]),
                )
                self.grants[grant.id] = grant
                self._of_subject.setdefault(grant.subject, []).append(grant.id)
                if grant.micro_usd >= 0:
                    self.budgets[f"grant:{grant.id}"] = Limit("total", Amount(-1, grant.micro_usd))
            case "access.withdrawn":
                if grant := self.grants.get(text["grant"]):
                    self.grants[grant.id] = replace(grant, withdrawn=True)
            case "budget.set":
                most = Amount(_whole(body["tokens"]), _whole(body["micro_usd"]))
                self.budgets[text["account"]] = Limit(text["period"], most)
            case _:
                return

    def _put(self, key: Key) -> None:
        self.keys[key.id] = key
        self.by_hash[key.hash] = key

    def _change(self, subject: str, change: Callable[[Subject], Subject]) -> None:
        if known := self.subjects.get(subject):
            self.subjects[subject] = change(known)


def _vetted(subject: Subject, vetting: Vetting) -> Subject:
    others = tuple(
        v for v in subject.vettings if (v.method, v.verifier) != (vetting.method, vetting.verifier)
    )
    return replace(subject, vettings=(*others, vetting))


def clean_days(key: Key, signals_s: float, now_s: float) -> int:
    """Whole days since the key was issued or, if later, since the last signal about its subject."""
    return max(0, int((now_s - max(key.issued_s, signals_s)) // DAY_S))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _texts(value: JSON) -> tuple[str, ...]:
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()
