"""Does the enforcement ladder keep its promises on any walk: signals, time, people, appeals?"""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.core.actor import Tier
from veilig.core.errors import ApprovalError, UsageError
from veilig.core.ledger_event import Draft, Event
from veilig.monitor.ladder import (
    IMMUNITY_MS,
    LEVELS,
    RANK,
    WEIGHT,
    Kind,
    Ladder,
    Level,
    Signal,
    appeal,
    by_person,
    decide,
    on_signal,
    on_time,
)

HOUR = 3_600_000


class Log:
    """A ledger as the ladder sees one: drafts become numbered events at a time."""

    def __init__(self) -> None:
        self.ladder = Ladder()
        self.events: list[Event] = []
        self.t_ms = 0
        self.cases = 0

    def add(self, drafts: list[Draft]) -> list[Event]:
        made = [
            Event(
                len(self.events) + 1 + i, d.session, d.name, 1, self.t_ms, "b", 0, self.t_ms, d.body, "", ""
            )
            for i, d in enumerate(drafts)
        ]
        self.events += made
        self.ladder.apply(made)
        return made

    def signal(self, subject: str, signal: Signal, tier: Tier = Tier.STANDARD) -> list[Event]:
        self.cases += 1
        now = self.ladder.standing(subject)
        return self.add(on_signal(now, signal, tier, self.t_ms, new_case=f"case-{self.cases}", request="r"))

    def tick(self, subject: str) -> list[Event]:
        return self.add(on_time(self.ladder.standing(subject), self.t_ms))


RULE = Signal(Kind.RULE, 4.0, 95, ("e1",))
HARD = Signal(Kind.INDICATOR, 15.0, 95, ("indicator--1",))

signals = st.builds(
    Signal,
    st.sampled_from(list(Kind)),
    st.sampled_from([0.5, 1.0, 2.0, 4.0, 20.0]),
    st.sampled_from([15, 50, 84, 85, 95]),
    st.sampled_from([(), ("e1",), ("e1", "e2")]),
)
steps = st.one_of(
    st.tuples(st.just("signal"), signals),
    st.tuples(st.just("time"), st.sampled_from([0, 60_000, HOUR, 24 * HOUR, -HOUR])),
    st.tuples(st.just("person"), st.sampled_from(LEVELS)),
    st.tuples(st.just("appeal"), st.booleans()),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(Tier)), st.lists(steps, max_size=60))
def test_the_invariants_hold_on_any_walk(tier: Tier, walk: list[tuple[str, object]]) -> None:
    log, me, other = Log(), "user:a", "user:b"
    for what, given_ in walk:
        now, before = log.ladder.standing(me), len(log.events)
        if what == "signal":
            assert isinstance(given_, Signal)
            log.signal(me, given_, tier)
        elif what == "time":
            assert isinstance(given_, int)
            log.t_ms += given_
            log.tick(me)
        elif what == "person":
            log.add(
                by_person(
                    now,
                    Level(str(given_)),
                    log.t_ms + HOUR,
                    "looked at it",
                    "alice",
                    new_case=f"case-p{before}",
                )
            )
        elif case := log.ladder.cases.get(now.case):
            if not case.appeal or case.decided == "denied":
                log.add(appeal(case, "me", "it was my own server"))
            case = log.ladder.cases[now.case]
            log.add(decide(case, now, bool(given_), "checked", "bob", log.t_ms))
        check_step(now, log.ladder.standing(me), log.events[before:], tier, given_)
        assert log.ladder.standing(other).level is Level.OBSERVE
    again = Ladder()
    again.apply(log.events)
    assert again.standings == log.ladder.standings
    assert again.cases == log.ladder.cases


def check_step(before: object, after: object, events: list[Event], tier: Tier, cause: object) -> None:
    was, now = dataclasses.asdict(before), dataclasses.asdict(after)  # type: ignore[call-overload]
    moves = [e.body for e in events if e.name == "ladder.moved"]
    if was["level"] != now["level"]:
        assert len(moves) == 1, "every change is logged exactly once"
    for move in moves:
        up = RANK[Level(str(move["after"]))] - RANK[Level(str(move["before"]))]
        assert move["reason"] and move["actor"]
        if move["actor"] != "ladder":
            continue
        if up > 0:
            assert isinstance(cause, Signal) and move["evidence"], "machines escalate on evidence only"
            assert up == 1 or cause.hard, "one rung per signal"
            if not cause.hard:
                assert RANK[Level(str(move["after"]))] <= RANK[WEIGHT[tier][1]], "the tier's cap"
            assert not (cause.kind is Kind.MONITOR and move["after"] == "suspend")
        else:
            assert move["before"] != "suspend", "suspension never lapses"
    if RANK[Level(now["level"])] >= RANK[Level.THROTTLE]:
        assert now["case"], "from throttle up there is a case"


def test_a_soft_signal_moves_one_rung_and_a_hard_one_jumps() -> None:
    log = Log()
    log.signal("a", dataclasses.replace(RULE, severity=20.0))
    assert log.ladder.standing("a").level is Level.WARN
    log.signal("b", HARD)
    assert log.ladder.standing("b").level is Level.SUSPEND


@pytest.mark.parametrize(
    ("confidence", "level"), [(84, Level.WARN), (85, Level.SUSPEND)], ids=["soft at 84", "hard at 85"]
)
def test_confidence_85_makes_an_indicator_hard(confidence: int, level: Level) -> None:
    log = Log()
    log.signal("a", Signal(Kind.INDICATOR, 20.0, confidence, ("i",)))
    assert log.ladder.standing("a").level is level


def test_a_classifier_alone_never_suspends_whatever_it_scores() -> None:
    log = Log()
    for _ in range(50):
        log.signal("a", Signal(Kind.MONITOR, 10.0, 100, ("e",)), Tier.NEW)
    assert log.ladder.standing("a").level is Level.REROUTE


def test_time_brings_a_subject_down_but_not_from_suspension() -> None:
    log = Log()
    for _ in range(2):
        log.signal("a", RULE)
    assert log.ladder.standing("a").level is Level.THROTTLE
    log.t_ms += HOUR
    assert log.tick("a") == [], "the score is still above half of the rung"
    log.t_ms += 14 * 24 * HOUR
    log.tick("a")
    assert log.ladder.standing("a").level is Level.WARN
    log.signal("b", HARD)
    log.t_ms += 3650 * 24 * HOUR
    assert log.tick("b") == []


def test_a_clock_that_goes_back_lowers_nothing() -> None:
    log = Log()
    log.t_ms = 1000 * HOUR
    log.signal("a", RULE)
    score = log.ladder.standing("a").score
    log.t_ms = 0
    assert log.ladder.standing("a").score_at(0) == score
    log.signal("a", Signal(Kind.RULE, 0.0, 0, ("e",)))
    assert log.ladder.standing("a").score == score


def test_an_appeal_is_decided_by_somebody_else_and_brings_immunity() -> None:
    log = Log()
    log.add(by_person(log.ladder.standing("a"), Level.SUSPEND, HOUR, "abuse", "alice", new_case="c1"))
    log.add(appeal(log.ladder.cases["c1"], "ann", "it was an exercise"))
    for who in ("alice", "ann"):
        with pytest.raises(ApprovalError, match="may not decide"):
            decide(log.ladder.cases["c1"], log.ladder.standing("a"), True, "fine", who, 0)
    log.add(decide(log.ladder.cases["c1"], log.ladder.standing("a"), True, "fine", "bob", log.t_ms))
    now = log.ladder.standing("a")
    assert (now.level, now.score) == (Level.OBSERVE, 0.0)
    log.t_ms += IMMUNITY_MS - 1
    log.signal("a", HARD)
    assert log.ladder.standing("a").level is Level.OBSERVE
    log.t_ms += 1
    log.signal("a", HARD)
    assert log.ladder.standing("a").level is Level.SUSPEND


def test_a_case_is_appealed_once_and_decided_with_a_reason() -> None:
    log = Log()
    log.signal("a", HARD)
    case = log.ladder.cases[log.ladder.standing("a").case]
    with pytest.raises(ApprovalError, match="no open appeal"):
        decide(case, log.ladder.standing("a"), True, "fine", "bob", 0)
    with pytest.raises(UsageError, match="says why"):
        appeal(case, "ann", "  ")
    log.add(appeal(case, "ann", "mine"))
    with pytest.raises(UsageError, match="under appeal already"):
        appeal(log.ladder.cases[case.id], "ann", "again")
    with pytest.raises(ApprovalError, match="needs a reason"):
        decide(log.ladder.cases[case.id], log.ladder.standing("a"), True, "", "bob", 0)
