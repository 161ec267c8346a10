"""Does the law get the strict reading of what is known, and never more?"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.action import FreeSpace, Notify, RestartService, RollBack, ScaleUp, StopService, WatchSignals
from veilig.core.actor import Actor, ActorKind
from veilig.core.effect import Effect
from veilig.core.policy import Capability, Facts, decide, parse
from veilig.core.provider import Verdict
from veilig.core.service import Inventory, Service
from veilig.core.signal import Answer, Disk, Run, Sample
from veilig.providers.heal.facts import Fleet, Known, Storm, facts, leaks, of_sample

A = Service("worker-1", group="web")
B = Service("worker-2", group="web")
DB = Service("db", database=True)
INVENTORY = Inventory("/srv/services.json", "0" * 64, (A, B, DB))
WELL = Known(Run.RUNNING, False, "7:1", Capability.READ_WRITE, True, 0, last_good="g" * 8)
DOWN = replace(WELL, run=Run.DOWN, failing=True, incarnation="")
RESTART = RestartService("worker-1", "7:1")
POLICY = parse(
    """
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - name: "worker-*"
        actions: [restart]
        max_restarts_per_hour: 3
"""
)


def fleet(**known: Known) -> Fleet:
    names = {"a": "worker-1", "b": "worker-2", "db": "db"}
    return Fleet(INVENTORY, {names[key]: value for key, value in known.items()})


def test_a_name_nobody_knows_has_every_fact_at_its_strict_default() -> None:
    found = facts(RestartService("worker-9", ""), fleet(a=WELL))
    assert found == replace(Facts(), live=frozenset({"worker-1", "worker-2", "db", "web"}))
    unseen = facts(RESTART, fleet(b=WELL))
    assert (unseen.capability, unseen.foreign_starts, unseen.last_healthy) == (Capability.UNKNOWN, None, True)


@pytest.mark.parametrize(
    ("target", "peer", "last"),
    [
        (WELL, DOWN, True),
        (WELL, replace(WELL, run=Run.FROZEN), True),
        (WELL, replace(WELL, failing=True), True),
        (WELL, WELL, False),
        (DOWN, DOWN, False),
        (replace(DOWN, run=Run.UNKNOWN), DOWN, True),
    ],
    ids=["peer down", "peer frozen", "peer failing", "peer well", "target down", "target unseen"],
)
def test_the_last_healthy_capacity_is_that_of_a_healthy_target_without_a_healthy_peer(
    target: Known, peer: Known, last: bool
) -> None:
    assert facts(RESTART, fleet(a=target, b=peer)).last_healthy is last


def test_a_peer_that_is_being_healed_carries_nothing() -> None:
    busy = replace(fleet(a=WELL, b=WELL), in_flight=frozenset({"worker-2"}))
    found = facts(RESTART, busy)
    assert (found.last_healthy, found.in_flight) == (True, frozenset({"worker-2"}))
    assert "worker-2" in found.unhealthy


def test_holds_name_who_stopped_it_what_cannot_be_seen_and_what_is_starting() -> None:
    stopped = replace(DOWN, run=Run.STOPPED, held_by="/srv/a/STOPPED_BY_OPERATOR")
    assert facts(RESTART, fleet(a=stopped)).holds == (
        "a person stopped worker-1 (/srv/a/STOPPED_BY_OPERATOR)",
    )
    assert facts(RESTART, fleet(a=replace(DOWN, run=Run.STOPPED))).holds
    assert facts(RESTART, fleet(a=replace(DOWN, run=Run.UNKNOWN))).holds
    warming = replace(WELL, failing=True, warming=True)
    assert facts(RESTART, fleet(a=warming)).holds == ("worker-1 is still starting",)
    rollback = RollBack("worker-1", "7:1", "config", "g" * 8, (("/srv/a/c", "1", "2"),))
    assert facts(rollback, fleet(a=warming)).holds == ()
    everyone = replace(fleet(a=DOWN), holds=("healing was stopped by ann",))
    assert facts(RESTART, everyone).holds == ("healing was stopped by ann",)


def test_looking_and_telling_people_need_no_target_and_heed_no_hold() -> None:
    held = replace(fleet(a=WELL), holds=("healing was stopped by ann",))
    for action in (WatchSignals("/srv/services.json", "0" * 64), Notify("ops", "i1", "text")):
        found = facts(action, held)
        assert (found.capability, found.holds) == (Capability.READ_WRITE, ())


def test_a_database_is_one_whoever_keeps_it() -> None:
    assert facts(StopService("db", ""), fleet(db=WELL)).classes == frozenset({Effect.DATABASE})
    assert facts(RESTART, fleet(a=WELL)).classes == frozenset()


def test_a_group_has_the_replicas_of_its_member() -> None:
    known = replace(WELL, replicas=3, replicas_own=1)
    found = facts(ScaleUp("web", 3, 4), fleet(a=known))
    assert (found.replicas, found.own_replicas, found.managed) == (3, 1, True)
    assert facts(ScaleUp("web", 3, 4), fleet(a=WELL)).replicas is None


def test_a_container_is_known_only_by_its_label() -> None:
    made = replace(INVENTORY, services=(replace(A, provider="container"),))
    known = {"worker-1": replace(WELL, managed=False)}
    assert not facts(RESTART, Fleet(made, known)).known
    assert facts(RESTART, fleet(a=WELL)).known


SAMPLE = Sample("worker-1", 100.0, Run.RUNNING, incarnation="7:1", up_s=3.0, answer=Answer.OK)


@pytest.mark.parametrize(
    ("sample", "before", "failing", "warming"),
    [
        (SAMPLE, False, False, False),
        (replace(SAMPLE, answer=Answer.REFUSED), True, False, False),
        (replace(SAMPLE, answer=Answer.REFUSED, fails=1), False, True, True),
        (replace(SAMPLE, answer=Answer.REFUSED, fails=1), True, True, False),
        (replace(SAMPLE, answer=Answer.REFUSED, fails=1, up_s=10.0), False, True, False),
        (replace(SAMPLE, answer=Answer.ERROR, fails=1), False, True, False),
        (replace(SAMPLE, run=Run.FROZEN), False, True, False),
        (replace(SAMPLE, run=Run.FROZEN, answer=Answer.TIMEOUT), False, True, False),
        (replace(SAMPLE, run=Run.DOWN, answer=Answer.REFUSED, up_s=0.0), False, True, False),
    ],
)
def test_what_starts_is_left_alone_and_what_was_well_is_not_starting(
    sample: Sample, before: bool, failing: bool, warming: bool
) -> None:
    found = of_sample(sample, A, well_before=before)
    assert (found.failing, found.warming) == (failing, warming)


MIB = 1 << 20


@pytest.mark.parametrize(
    ("rss", "base", "slope", "bound", "expected"),
    [
        (201, 0, 0.0, 200, True),
        (200, 0, 9e6, 200, False),
        (101, 50, 1e6, 0, True),
        (100, 50, 1e6, 0, False),
        (101, 50, 0.0, 0, False),
        (241, 60, 0.0, 0, True),
        (240, 60, 0.0, 0, False),
        (170, 40, 0.0, 0, True),
        (167, 40, 0.0, 0, False),
        (31, 10, 1e6, 0, False),
        (101, 0, 1e6, 0, False),
    ],
)
def test_a_leak_is_above_its_bound_or_twice_its_base_and_growing(
    rss: int, base: int, slope: float, bound: int, expected: bool
) -> None:
    sample = replace(SAMPLE, rss_bytes=rss * MIB, rss_base_bytes=base * MIB, rss_slope=slope)
    assert leaks(sample, replace(A, memory_max_bytes=bound * MIB)) is expected


def test_what_can_be_made_again_is_what_the_look_found() -> None:
    disk = Disk("/srv", 0, 100, regenerable=(("/srv/a.log.1", 5, 6, 7),))
    known = of_sample(replace(SAMPLE, disks=(disk,)), A, well_before=True)
    action = FreeSpace("worker-1", (("/srv/a.log.1", 5, 6, 7),))
    assert facts(action, fleet(a=known)).regenerable == frozenset({"/srv/a.log.1"})


def test_a_storm_is_more_than_half_of_a_fleet_turning_bad_at_once() -> None:
    storm = Storm(4)
    for name in "abcd":
        storm.see(name, False, 0.0)
    for name, now_s in (("a", 10.0), ("b", 11.0)):
        storm.see(name, True, now_s)
    assert storm.holds(11.0) == ()
    storm.see("c", True, 19.0)
    assert storm.holds(19.0)
    assert storm.holds(19.9)
    assert storm.holds(20.0) == ()
    storm.see("a", False, 20.0)
    storm.see("a", True, 20.5)
    assert storm.holds(20.5)
    storm.see("b", False, 20.6)  # its trouble has found an explanation
    assert storm.holds(20.6) == ()


def test_no_storm_comes_of_small_fleets_slow_decay_or_what_was_bad_before_us() -> None:
    small, slow, old = Storm(3), Storm(4), Storm(4)
    for number, name in enumerate("abc"):
        small.see(name, False, 0.0)
        slow.see(name, False, 0.0)
        small.see(name, True, 1.0)
        slow.see(name, True, 1.0 + 10.0 * number)
        old.see(name, True, 0.0)
    assert small.holds(1.0) == slow.holds(21.0) == old.holds(0.0) == ()


KNOWN = st.builds(
    Known,
    run=st.sampled_from(Run),
    failing=st.booleans(),
    incarnation=st.sampled_from(["", "7:1"]),
    capability=st.sampled_from(Capability),
    managed=st.booleans(),
    foreign_starts=st.one_of(st.none(), st.integers(0, 5)),
    held_by=st.sampled_from(["", "/srv/hold"]),
    warming=st.booleans(),
)
AGENT = Actor("agent:heal", ActorKind.AGENT)


@given(
    known=KNOWN,
    peer=KNOWN,
    holds=st.sampled_from([(), ("kill switch",)]),
    name=st.sampled_from(["worker-1", "db"]),
)
def test_an_act_is_allowed_only_when_nothing_known_speaks_against_it(
    known: Known, peer: Known, holds: tuple[str, ...], name: str
) -> None:
    made = Fleet(INVENTORY, {name: known, "worker-2": peer}, frozenset(), holds)
    action = RestartService(name, known.incarnation)
    decision = decide(POLICY, action, AGENT, replace(facts(action, made), now_wall_s=0.0))
    if decision.verdict is Verdict.ALLOW:
        assert name == "worker-1"
        assert not holds
        assert known.capability is Capability.READ_WRITE
        assert known.run not in (Run.STOPPED, Run.UNKNOWN)
        assert not known.held_by
        assert not known.warming
        assert known.foreign_starts is not None
        assert known.foreign_starts < 3
        assert known.failing or (peer.run is Run.RUNNING and not peer.failing)
