"""Does a healer of one shard see what the others do, in their ledger? Acts under way, trouble, stops."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import Clock
from veilig.app.fleet_others import LOST_S, OVER_S, Others, _fold, seen_before
from veilig.core.delta import delta
from veilig.core.ledger import Draft, Ledger
from veilig.heal.shards import Shard

MINE, OTHER, FOREIGN = "heal-x-1-1", "heal-x-1-2", "heal-y-1-1"
SHARD = Shard("/srv/s.json", "1/2", ("a", "b"), peers=(MINE, OTHER), total=6)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db", anchor_dir=tmp_path / "anchors") as found:
        yield found


def say(ledger: Ledger, session: str, name: str, **body: Any) -> None:
    ledger.append([Draft(name, session, body)])


def begin(ledger: Ledger, session: str, ref: str, service: str) -> None:
    action = {"kind": "service.restart", "service": service, "incarnation": ""}
    say(ledger, session, "action.proposed", ref=ref, action=action, digest="d", actor="agent:heal")
    say(
        ledger, session, "action.started", ref=ref, digest="d", policy="p", timeout_ms=1,
        budget_keys=[], claims=[], approval="",
    )  # fmt: skip


def end(ledger: Ledger, session: str, ref: str, status: str) -> None:
    if status == "doubted":
        say(ledger, session, "action.doubted", ref=ref, found="unknown", detail="")
        return
    name = "action.verified" if status == "done" else "action.failed"
    say(ledger, session, name, ref=ref, status=status, detail="", data={}, wall_ms=1)


def test_an_act_of_another_shard_is_under_way_until_it_is_seen_to_have_ended(ledger: Ledger) -> None:
    clock = Clock()
    begin(ledger, OTHER, "r0", "z")  # before this healer came
    others = Others(ledger, MINE, SHARD, clock)
    begin(ledger, OTHER, "r1", "c")
    begin(ledger, FOREIGN, "r2", "elsewhere")
    begin(ledger, MINE, "r3", "a")  # the broker here knows it
    assert others.look().in_flight == {"z", "c"}
    end(ledger, OTHER, "r1", "done")
    end(ledger, OTHER, "r0", "failed")
    assert others.look().in_flight == frozenset()


@pytest.mark.parametrize("how", ["doubted", "in_doubt"])
def test_an_act_in_doubt_counts_for_as_long_as_it_may_still_run(ledger: Ledger, how: str) -> None:
    clock = Clock()
    begin(ledger, MINE, "r1", "a")  # by the worker before, which died
    others = Others(ledger, MINE, SHARD, clock)
    end(ledger, MINE, "r1", how)
    assert others.look().in_flight == {"a"}
    clock.boot_s += OVER_S - 1
    assert others.look().in_flight == {"a"}
    clock.boot_s += 1
    assert others.look().in_flight == frozenset()


def test_an_act_whose_worker_is_gone_for_good_does_not_hold_the_others_for_ever(ledger: Ledger) -> None:
    clock = Clock()
    others = Others(ledger, MINE, SHARD, clock)
    begin(ledger, OTHER, "r1", "c")
    assert others.look().in_flight == {"c"}
    clock.boot_s += LOST_S + 1
    assert others.look().in_flight == frozenset()


def test_a_stop_holds_every_shard_from_its_event_on_and_one_that_comes_later_too(ledger: Ledger) -> None:
    others = Others(ledger, MINE, SHARD, Clock())
    assert others.holds() == ()
    say(ledger, "heal", "heal.switched", state="stopped", actor="ann", reason="drill")
    assert others.holds() == ("healing was stopped by ann: drill",)
    assert Others(ledger, OTHER, SHARD, Clock()).holds() == ("healing was stopped by ann: drill",)
    say(ledger, "heal", "heal.switched", state="started", actor="ann", reason="")
    assert others.holds() == ()
    assert Others(ledger, OTHER, SHARD, Clock()).holds() == ()


def test_more_than_half_of_the_whole_file_turning_bad_at_once_holds_every_shard(ledger: Ledger) -> None:
    clock = Clock()
    say(ledger, OTHER, "session.noted", delta={"set": {"incidents": {"c": {}, "d": {}, "e": {}, "f": {}}}})
    others = Others(ledger, MINE, SHARD, clock)
    assert others.look().unhealthy == {"c", "d", "e", "f"}
    assert others.holds() == ()  # they did not turn bad now
    say(ledger, OTHER, "session.noted", delta={"inside": {"incidents": {"gone": ["c", "d", "e", "f"]}}})
    say(ledger, OTHER, "session.noted", delta={"inside": {"incidents": {"set": {"c": {}, "d": {}}}}})
    say(ledger, MINE, "session.noted", delta={"set": {"incidents": {"a": {}}}})
    assert others.holds() == ()  # three of six
    say(ledger, MINE, "session.noted", delta={"inside": {"incidents": {"set": {"b": {}}}}})
    assert others.holds() == ("4 of 6 services of all shards turned bad at once",)
    assert others.look().unhealthy == {"c", "d"}
    clock.boot_s += 10
    assert others.holds() == ()


def test_what_ran_and_who_else_started_it_is_known_to_whoever_comes_next(ledger: Ledger) -> None:
    sample = {
        "service": "a",
        "t_s": 90.0,
        "incarnation": "pid 7",
        "starts": [50.0, 60.0],
        "own_starts": [60.0],
    }
    state: dict[str, Any] = {"now_s": 100.0, "services": {"a": {"sample": sample, "history": {}}}}
    say(ledger, MINE, "session.noted", delta=delta({}, state))
    before = seen_before(ledger, MINE)
    (event,) = ledger.events(session=MINE)
    assert before.incarnations == {"a": "pid 7"}
    assert before.starts == {"a": (pytest.approx(event.wall_ms / 1000 - 50.0),)}
    assert seen_before(ledger, OTHER).starts == {}


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.fixed_dictionaries({"n": st.integers(0, 2)}))))
def test_the_changes_of_a_state_tell_who_has_an_incident(states: list[dict[str, Any]]) -> None:
    known: dict[str, float] = {}
    last: dict[str, Any] = {}
    for incidents in states:
        state: dict[str, Any] = {"v": 1, "incidents": incidents}
        _fold(known, delta(last, state), 1.0)
        last = state
        assert set(known) == set(incidents)
