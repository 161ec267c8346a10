"""What can somebody with a seat do? Each act once: its fields, who may, what it calls; for page and API."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from veilig.access.budgets import PERIODS
from veilig.access.seats import Duty, Seat
from veilig.access.tiers import DAY_S
from veilig.app import access, cases
from veilig.app.access import KINDS, SURFACES, Office
from veilig.core.actor import Tier
from veilig.core.canonical import JSON
from veilig.core.errors import ApprovalError, UsageError
from veilig.monitor.ladder import LEVELS, Level

TEXT_CHARS_MAX: Final = 4000
DAYS_MAX: Final = 366.0


@dataclass(frozen=True, slots=True)
class Field:
    """One thing an act needs to know. choices: () takes text. number: it is one. hint: what to write."""

    name: str
    label: str
    choices: tuple[str, ...] = ()
    number: bool = False
    optional: bool = False
    hint: str = ""
    long: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """One act: its button, who may, its fields, and what it does with them; it answers with facts."""

    name: str
    button: str
    fields: tuple[Field, ...]
    do: Callable[[Office, "Values"], Awaitable[dict[str, JSON]]]
    reviewer: bool = False


class Values:
    """What was given, checked against the fields. Raises UsageError."""

    def __init__(self, act: Act, given: Mapping[str, object]) -> None:
        known = {f.name: f for f in act.fields}
        if odd := sorted(set(given) - set(known)):
            raise UsageError(f"{act.name} knows no {odd[0]!r}", fix=f"its fields are {', '.join(known)}")
        self._said: dict[str, str] = {}
        for field in act.fields:
            value = given.get(field.name)
            text = "" if value is None else str(value).strip()
            if not text and not field.optional:
                raise UsageError(f"{act.name} needs {field.name}", fix=field.hint or "fill it in")
            if len(text) > TEXT_CHARS_MAX or not text.replace("\n", " ").replace("\r", " ").isprintable():
                raise UsageError(
                    f"{field.name} is too long or unprintable", why=f"at most {TEXT_CHARS_MAX} characters"
                )
            if text and field.choices and text not in field.choices:
                raise UsageError(f"{field.name} is {text!r}", fix=f"one of {', '.join(field.choices)}")
            if text and field.number:
                _number(field.name, text)
            self._said[field.name] = text

    def __getitem__(self, name: str) -> str:
        return self._said[name]

    def number(self, name: str, default: float = -1.0) -> float:
        """A number, or the default where none was given."""
        return _number(name, self._said[name]) if self._said[name] else default

    def seconds(self, name: str = "days") -> float:
        """Days as seconds. Raises UsageError beyond a year."""
        days = self.number(name)
        if not 0 < days <= DAYS_MAX:
            raise UsageError(f"{name} is {days:g}", fix=f"more than 0, at most {DAYS_MAX:g}")
        return days * DAY_S


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -1e12 < value < 1e12:
        raise UsageError(f"{name} is {text[:40]!r}", fix="write a number")
    return value


async def perform(act: Act, seat: Seat, at: Office, given: Mapping[str, object]) -> dict[str, JSON]:
    """Do it in the name of the seat's person. Raises UsageError, ApprovalError, LedgerError."""
    if seat.duty is not Duty.ADMIN and not act.reviewer:
        raise ApprovalError(
            f"a {seat.duty}'s seat may not {act.name}",
            why="it takes the duty admin",
            fix="ask an administrator",
        )
    return await act.do(at, Values(act, given))


async def _add(at: Office, v: Values) -> dict[str, JSON]:
    made = access.add_subject(at, v["subject"], v["org"], v["kind"])
    return {"subject": made.id}


async def _key(at: Office, v: Values) -> dict[str, JSON]:
    made, text = access.issue_key(at, v["subject"], v.seconds())
    return {"key": made.id, "expires_s": made.expires_s, "text": text}


async def _revoke(at: Office, v: Values) -> dict[str, JSON]:
    return {"key": (access.revoke_key(at, v["key"], v["reason"])).id}


async def _vouch(at: Office, v: Values) -> dict[str, JSON]:
    found = access.vouch(at, v["subject"], Tier(v["tier"]), v.seconds(), v["reason"])
    missing = found if isinstance(found, int) else 0
    return {"subject": v["subject"], "tier": v["tier"], "people_missing": missing}


async def _grant(at: Office, v: Values) -> dict[str, JSON]:
    usd = v.number("usd") if v["usd"] else None
    made = access.grant(at, v["subject"], v["class"], v["surface"], v.seconds(), usd, v["reason"])
    return {"grant": made.id, "expires_s": made.expires_s}


async def _withdraw(at: Office, v: Values) -> dict[str, JSON]:
    return {"grant": (access.withdraw(at, v["grant"], v["reason"])).id}


async def _budget(at: Office, v: Values) -> dict[str, JSON]:
    tokens, usd = int(v.number("tokens")), v.number("usd")
    if tokens < 0 and usd < 0:
        raise UsageError("a budget needs tokens or usd", fix="an empty field does not bound it")
    period = access.set_budget(at, v["account"], v["period"], tokens, usd)
    return {"account": v["account"], "period": period}


async def _level(at: Office, v: Values) -> dict[str, JSON]:
    now = await cases.set_level(at, v["subject"], Level(v["level"]), v.seconds(), v["reason"])
    return {"subject": now.subject, "level": str(now.level), "case": now.case}


async def _appeal(at: Office, v: Values) -> dict[str, JSON]:
    return {"case": (await cases.appeal(at, v["case"], v["reason"])).id}


async def _decide(at: Office, v: Values) -> dict[str, JSON]:
    case = await cases.decide(at, v["case"], v["decision"] == "grant", v["reason"])
    return {
        "case": case.id,
        "decided": case.decided,
        "level": str(at.desk.ladder.standing(case.subject).level),
    }


_SUBJECT: Final = Field("subject", "subject", hint="a known person or service")
_REASON: Final = Field("reason", "reason", hint="what you know; it is kept", long=True)
_TOLD: Final = Field("reason", "reason", hint="the subject is told it", long=True)


def _days(default: str) -> Field:
    return Field("days", "days", number=True, hint=default)


_TIER: Final = Field("tier", "tier", tuple(map(str, Tier)))
_USD: Final = Field("usd", "credit, USD", number=True, optional=True, hint="empty: none is kept")
_ACCOUNT: Final = Field("account", "account", hint="key:ID, subject:NAME or org:NAME")
_WHOM: Final = Field("subject", "subject", hint="user:ID, key:ID, subject:NAME, org:NAME or agent:WHO")
_LEVEL: Final = Field("level", "level", tuple(map(str, LEVELS)))
_SURFACE: Final = Field("surface", "surface", SURFACES)
_DECISION: Final = Field("decision", "decision", ("grant", "deny"))
_KIND: Final = Field("kind", "kind", KINDS)
_BOUNDS: Final = (
    Field("tokens", "tokens", number=True, optional=True, hint="empty: unbounded"),
    Field("usd", "USD", number=True, optional=True, hint="empty: unbounded"),
)
_CASE: Final = Field("case", "case")
_SAID: Final = Field("reason", "what they say", long=True)

ACTS: Final = {
    act.name: act
    for act in (
        Act("subject.add", "Add subject", (_SUBJECT, Field("org", "organisation"), _KIND), _add),
        Act("subject.vouch", "Vouch", (_SUBJECT, _TIER, _days("365"), _REASON), _vouch, reviewer=True),
        Act("key.new", "New key", (_SUBJECT, _days("90")), _key),
        Act("key.revoke", "Revoke key", (Field("key", "key"), _REASON), _revoke),
        Act(
            "access.grant",
            "Grant",
            (_SUBJECT, Field("class", "class of models"), _SURFACE, _days("30"), _USD, _REASON),
            _grant,
        ),
        Act("access.withdraw", "Withdraw grant", (Field("grant", "grant"), _REASON), _withdraw),
        Act("budget.set", "Set budget", (_ACCOUNT, Field("period", "per", PERIODS), *_BOUNDS), _budget),
        Act("level.set", "Set level", (_WHOM, _LEVEL, _days("7"), _TOLD), _level),
        Act("appeal.file", "Appeal for them", (_CASE, _SAID), _appeal, reviewer=True),
        Act("appeal.decide", "Decide", (_CASE, _DECISION, _TOLD), _decide, reviewer=True),
    )
}
