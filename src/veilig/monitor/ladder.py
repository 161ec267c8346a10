"""On which rung does a subject stand, and why? A fold of the log: observe, warn, throttle, reroute, suspend.

Plain functions decide: they take what is known and ledger time, and return the facts to append. Nothing
changes until those are in the ledger and applied, so the level after a crash is what the log says.

A signal has a severity and a confidence (0-100). Soft signals (the classifier, rules) weigh by tier and move
one rung; an indicator of confidence 85 or more is hard: it may jump and ignores the tier. Scores halve in
7 days.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from veilig.core.actor import Tier
from veilig.core.canonical import JSON
from veilig.core.errors import ApprovalError, UsageError
from veilig.core.ledger_event import Draft, Event

SESSION = "safeguards"  # the ledger's session id of everything here
EVENTS = frozenset({"signal.raised", "ladder.moved", "case.opened", "case.appealed", "case.decided"})
HOUR_MS: Final = 3_600_000
HALF_LIFE_MS: Final = 7 * 24 * HOUR_MS
IMMUNITY_MS: Final = 24 * HOUR_MS  # after a granted appeal: the same evidence must not bring it back at once
HARD_CONFIDENCE: Final = 85
APPEAL_CHARS_MAX: Final = 4000


class Level(StrEnum):
    """From least to most."""

    OBSERVE = "observe"
    WARN = "warn"
    THROTTLE = "throttle"
    REROUTE = "reroute"
    SUSPEND = "suspend"


class Kind(StrEnum):
    """Where a signal comes from."""

    MONITOR = "monitor"  # the classifier: never enough to suspend
    RULE = "rule"  # what an action does
    INDICATOR = "indicator"  # threat intelligence


LEVELS: Final = tuple(Level)
RANK: Final = {level: i for i, level in enumerate(LEVELS)}
STEP_UP: Final = {Level.WARN: 3.0, Level.THROTTLE: 6.0, Level.REROUTE: 9.0, Level.SUSPEND: 14.0}
DWELL_MS: Final = {Level.WARN: 0, Level.THROTTLE: HOUR_MS, Level.REROUTE: 6 * HOUR_MS}
# tier -> weight of a soft signal, and the highest level that soft signals reach
WEIGHT: Final = {
    Tier.NEW: (1.5, Level.SUSPEND),
    Tier.STANDARD: (1.0, Level.SUSPEND),
    Tier.VERIFIED: (0.5, Level.REROUTE),
    Tier.TRUSTED: (0.25, Level.THROTTLE),
    Tier.RESEARCH: (0.25, Level.THROTTLE),
}


@dataclass(frozen=True, slots=True)
class Signal:
    """One observation about a subject. evidence: ids, never the text itself."""

    kind: Kind
    severity: float
    confidence: int
    evidence: tuple[str, ...]

    @property
    def hard(self) -> bool:
        """May it jump, and past the tier's cap?"""
        return self.kind is Kind.INDICATOR and self.confidence >= HARD_CONFIDENCE


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one subject stands. Times are ledger time in ms; until pinned_ms a person's decision holds."""

    subject: str
    level: Level = Level.OBSERVE
    score: float = 0.0
    at_ms: int = 0
    since_ms: int = 0
    case: str = ""
    pinned_ms: int = -1
    reason: str = ""
    signal_wall_s: float = 0.0

    def score_at(self, t_ms: int) -> float:
        """The score, decayed; a time before the last event changes nothing."""
        return self.score * 0.5 ** (max(0, t_ms - self.at_ms) / HALF_LIFE_MS)

    def pinned(self, t_ms: int) -> bool:
        """Does a person's decision, or immunity after an appeal, hold?"""
        return max(t_ms, self.at_ms) < self.pinned_ms


@dataclass(frozen=True, slots=True)
class Case:
    """What a subject is told, may contest, and somebody else decides. owner: "" when the ladder opened it."""

    id: str
    subject: str
    owner: str
    opened_wall_s: int
    moves: tuple[str, ...] = ()
    appeal: str = ""
    appellant: str = ""
    decided: str = ""  # granted or denied
    decision: str = ""


class Ladder:
    """All standings and cases."""

    def __init__(self) -> None:
        self.seen = 0
        self.standings: dict[str, Standing] = {}
        self.cases: dict[str, Case] = {}

    def standing(self, subject: str) -> Standing:
        """Of a subject that nobody knows: observe."""
        return self.standings.get(subject) or Standing(subject)

    def copy(self) -> "Ladder":
        """Another one that stands at the same event, to decide on."""
        made = Ladder()
        made.seen, made.standings, made.cases = self.seen, dict(self.standings), dict(self.cases)
        return made

    def apply(self, events: Iterable[Event]) -> None:
        """Take in events, each once, in order."""
        for event in events:
            if event.seq > self.seen:
                self.seen = event.seq
                self._apply(event)

    def _apply(self, event: Event) -> None:
        text = {k: v for k, v in event.body.items() if isinstance(v, str)}
        t_ms, wall_s = event.t_ms, event.wall_ms // 1000
        if event.name == "signal.raised":
            now = self.standing(text["subject"])
            score = now.score_at(t_ms) + _weighed(event.body)
            self._put(replace(now, score=score, at_ms=max(now.at_ms, t_ms), signal_wall_s=float(wall_s)))
        elif event.name == "ladder.moved":
            self._moved(text, _number(event.body["until_ms"]), t_ms)
        elif event.name == "case.opened":
            self.cases[text["case"]] = Case(text["case"], text["subject"], text["owner"], wall_s)
            self._put(replace(self.standing(text["subject"]), case=text["case"]))
        elif event.name == "case.appealed":
            case = self.cases[text["case"]]
            self.cases[case.id] = replace(
                case, appeal=text["text"], appellant=text["actor"], decided="", decision=""
            )
        elif event.name == "case.decided":
            case = self.cases[text["case"]]
            granted = event.body["granted"] is True
            self.cases[case.id] = replace(
                case, decided="granted" if granted else "denied", decision=text["reason"]
            )
            if granted:
                now = self.standing(case.subject)
                self._put(replace(now, score=0.0, at_ms=max(now.at_ms, t_ms), case=""))

    def _moved(self, text: dict[str, str], until_ms: int, t_ms: int) -> None:
        now = self.standing(text["subject"])
        t_ms, level = max(now.at_ms, t_ms), Level(text["after"])
        held = "" if level is Level.OBSERVE else text["case"] or now.case
        self._put(
            replace(
                now,
                level=level,
                score=now.score_at(t_ms),
                at_ms=t_ms,
                since_ms=t_ms,
                case=held,
                pinned_ms=until_ms,
                reason=text["reason"],
            )
        )
        if case := self.cases.get(text["case"]):
            moves = (*case.moves, f"{text['before']} -> {text['after']}: {text['reason']}")
            self.cases[case.id] = replace(case, moves=moves)

    def _put(self, standing: Standing) -> None:
        self.standings[standing.subject] = standing


# --- what follows: pure, as drafts to append ------------------------------------------------------------


def on_signal(
    now: Standing, signal: Signal, tier: Tier, t_ms: int, *, new_case: str, request: str, text: str = ""
) -> list[Draft]:
    """The signal itself and, where it asks for one, the move up and its case."""
    body: dict[str, JSON] = {
        "subject": now.subject,
        "kind": str(signal.kind),
        "severity": signal.severity,
        "confidence": signal.confidence,
        "evidence": [*signal.evidence],
        "tier": str(tier),
        "request": request,
        "text": text,
    }
    found = [Draft("signal.raised", SESSION, body)]
    weight, cap = WEIGHT[tier]
    score = now.score_at(t_ms) + signal.severity * signal.confidence / 100 * (1.0 if signal.hard else weight)
    if now.pinned(t_ms) or not signal.evidence:  # nothing moves without something to show for it
        return found
    wanted = max((RANK[level] for level, least in STEP_UP.items() if score >= least), default=0)
    wanted = min(wanted, RANK[Level.SUSPEND] if signal.hard else RANK[cap])
    if signal.kind is Kind.MONITOR:
        wanted = min(wanted, RANK[Level.REROUTE])
    if wanted <= RANK[now.level]:
        return found
    after = LEVELS[wanted if signal.hard else RANK[now.level] + 1]
    reason = f"{signal.kind} of severity {signal.severity:g} and confidence {signal.confidence}"
    return found + _move(now, after, reason, signal.evidence, "ladder", new_case=new_case)


def open_case(now: Standing, new_case: str) -> list[Draft]:
    """A case below the rung that brings one: something was stopped, and who was stopped may contest it."""
    if now.case:
        return []
    return [Draft("case.opened", SESSION, {"case": new_case, "subject": now.subject, "owner": ""})]


def on_time(now: Standing, t_ms: int) -> list[Draft]:
    """One rung down where the dwell time is over and the score is below half the rung; a pin that has ended
    first lapses. Suspension never lapses by itself.
    """
    if now.level in (Level.OBSERVE, Level.SUSPEND) or now.pinned(t_ms):
        return []
    calm = now.score_at(t_ms) < 0.5 * STEP_UP[now.level]
    if not calm or t_ms - now.since_ms < DWELL_MS[now.level]:
        return []
    return _move(now, LEVELS[RANK[now.level] - 1], "quiet for long enough", (), "ladder", new_case="")


def by_person(
    now: Standing, level: Level, until_ms: int, reason: str, actor: str, *, new_case: str
) -> list[Draft]:
    """A person's decision, which holds until `until_ms`. Raises UsageError without a reason."""
    if not reason.strip():
        raise UsageError("a decision needs a reason", why="the subject is told it", fix="give --reason")
    return _move(now, level, reason, (), actor, new_case=new_case, until_ms=until_ms)


def appeal(case: Case | None, actor: str, text: str) -> list[Draft]:
    """An objection, for somebody else to decide. Raises UsageError."""
    if case is None:
        raise UsageError("there is no such case", fix="`veilig cases` lists them")
    if case.decided == "granted":
        raise UsageError(f"{case.id} was granted already", why="nothing is held against you in it")
    if case.appeal and not case.decided:
        raise UsageError(f"{case.id} is under appeal already", fix="wait for the decision")
    if not text.strip() or len(text) > APPEAL_CHARS_MAX:
        raise UsageError("an appeal says why", why=f"in 1 to {APPEAL_CHARS_MAX} characters")
    return [Draft("case.appealed", SESSION, {"case": case.id, "actor": actor, "text": text})]


def decide(
    case: Case | None, now: Standing, granted: bool, reason: str, actor: str, t_ms: int
) -> list[Draft]:
    """An appeal's end. Granted: level observe, score 0, and a day of immunity. Raises ApprovalError."""
    if case is None or not case.appeal or case.decided:
        raise ApprovalError(
            "there is no open appeal in this case", fix="`veilig cases` lists those that wait"
        )
    if actor in (case.owner, case.appellant):
        raise ApprovalError(
            f"{actor} may not decide the appeal in {case.id}",
            why="somebody else than who opened the case or appealed decides",
            fix="ask another person",
        )
    if not reason.strip():
        raise ApprovalError("a decision needs a reason", why="the subject is told it", fix="give --reason")
    body: dict[str, JSON] = {"case": case.id, "granted": granted, "reason": reason, "actor": actor}
    found = [Draft("case.decided", SESSION, body)]
    if not granted:
        return found
    until_ms = max(t_ms, now.at_ms) + IMMUNITY_MS
    moved = _move(
        replace(now, case=""), Level.OBSERVE, f"appeal granted: {reason}", (), actor,
        new_case="", until_ms=until_ms, case=case.id,
    )  # fmt: skip
    return found + moved


def _move(
    now: Standing,
    after: Level,
    reason: str,
    evidence: tuple[str, ...],
    actor: str,
    *,
    new_case: str,
    until_ms: int = -1,
    case: str = "",
) -> list[Draft]:
    found: list[Draft] = []
    case = case or now.case
    if RANK[after] >= RANK[Level.THROTTLE] and not case:
        case, owner = new_case, "" if actor == "ladder" else actor
        found.append(Draft("case.opened", SESSION, {"case": case, "subject": now.subject, "owner": owner}))
    body: dict[str, JSON] = {
        "subject": now.subject,
        "before": str(now.level),
        "after": str(after),
        "reason": reason,
        "evidence": [*evidence],
        "actor": actor,
        "case": case,
        "until_ms": until_ms,
    }
    return [*found, Draft("ladder.moved", SESSION, body)]


def _weighed(body: dict[str, JSON]) -> float:
    kind, confidence = Kind(str(body["kind"])), _number(body["confidence"])
    hard = kind is Kind.INDICATOR and confidence >= HARD_CONFIDENCE
    severity = body["severity"]
    if not isinstance(severity, int | float):
        return 0.0
    return severity * confidence / 100 * (1.0 if hard else WEIGHT[Tier(str(body["tier"]))][0])


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
