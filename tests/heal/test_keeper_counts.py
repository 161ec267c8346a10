"""What a keeper's own numbers mean: each bound from both sides, and what is proposed."""

from dataclasses import replace
from typing import Any

import pytest

from veilig.core.action import ChangeDatabase
from veilig.core.service import Service
from veilig.core.signal import Answer, Backend, Gauge, Run, Sample, from_json, to_json
from veilig.heal.diagnosis import Cause, Diagnosis, Fleet, diagnose
from veilig.heal.history import History
from veilig.heal.keeper_counts import ACTIVE_S, IDLE_S, WAITS_S, act

SERVICE = Service("db", provider="postgres", unit="host=x")
WAY = Backend("7@1", "idle in transaction", "app", "shop", "UPDATE t", IDLE_S, IDLE_S, 2, WAITS_S, True)


def sample(*parts: Backend | Gauge, run: Run = Run.RUNNING) -> Sample:
    return Sample(
        "db",
        100.0,
        run=run,
        incarnation="5",
        answer=Answer.OK,
        gauges=tuple(p for p in parts if isinstance(p, Gauge)),
        backends=tuple(p for p in parts if isinstance(p, Backend)),
    )


def found(given: Sample) -> Diagnosis:
    return diagnose(SERVICE, given, History(), Fleet(100.0, {"db": SERVICE}))


def backend(**changed: Any) -> Backend:
    return replace(WAY, **changed)


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({}, Cause.BLOCKED),
        ({"state_s": IDLE_S - 0.1}, Cause.HEALTHY),
        ({"waits_s": WAITS_S - 0.1}, Cause.HEALTHY),
        ({"blocks": 0}, Cause.HEALTHY),
        ({"state": "active", "state_s": ACTIVE_S}, Cause.BLOCKED),
        ({"state": "active", "state_s": ACTIVE_S - 0.1}, Cause.HEALTHY),
        ({"state": "idle in transaction (aborted)"}, Cause.BLOCKED),
    ],
)
def test_a_session_blocks_when_it_is_forgotten_and_others_wait(
    changed: dict[str, object], cause: Cause
) -> None:
    assert found(sample(backend(**changed))).cause is cause


def test_the_forgotten_one_with_most_waiters_is_proposed_with_its_start() -> None:
    given = sample(WAY, backend(id="8@2", blocks=5), backend(id="9@3", blocks=9, state="active"))
    diagnosis = found(given)
    assert diagnosis.subject == "session 8"
    assert act(diagnosis, SERVICE, given)[0] == ChangeDatabase("db", "terminate_backend", "8@2")


def test_a_full_server_proposes_only_a_forgotten_session_and_else_leaves_the_choice_to_people() -> None:
    full = Gauge("connections", 97, 97, "connections")
    busy = sample(full)
    diagnosis = found(busy)
    assert (diagnosis.cause, diagnosis.held) == (Cause.CONNECTIONS_EXHAUSTED, True)
    assert act(diagnosis, SERVICE, busy)[0] is None
    waits = sample(full, backend(blocks=0))
    assert act(found(waits), SERVICE, waits)[0] == ChangeDatabase("db", "terminate_backend", "7@1")
    assert found(sample(Gauge("connections", 96, 97, "connections"))).cause is Cause.HEALTHY


@pytest.mark.parametrize(
    ("name", "verb"),
    [
        ("dead rows", "vacuum"),
        ("age of a table", "vacuum"),
        ("rows since the last ANALYZE", "analyze"),
        ("an index is not valid", "reindex"),
    ],
)
def test_upkeep_that_is_behind_is_proposed_for_exactly_that_table(name: str, verb: str) -> None:
    given = sample(Gauge(name, 10, 10, "", "public.t"), Gauge(name, 9, 10, "", "public.u"))
    diagnosis = found(given)
    assert diagnosis.cause is Cause.NEEDS_MAINTENANCE
    assert act(diagnosis, SERVICE, given)[0] == ChangeDatabase("db", verb, "public.t")  # pyright: ignore[reportArgumentType]


def test_any_other_bound_is_for_people_and_a_dead_server_has_no_counts() -> None:
    drift = Gauge("drift", 1, 1, "", "added in tcp 22 0.0.0.0/0")
    told = found(sample(drift))
    assert (told.cause, told.held) == (Cause.OUT_OF_BOUNDS, True)
    assert "tcp 22" in told.evidence[-1]
    assert found(sample(drift, run=Run.DOWN)).cause is Cause.CRASH
    assert found(sample(Gauge("size", 10**12))).cause is Cause.HEALTHY  # no bound is known


def test_counts_go_through_json_whole() -> None:
    given = sample(WAY, Gauge("a", 1, 2, "s", "b"))
    assert from_json(to_json(given)) == given
