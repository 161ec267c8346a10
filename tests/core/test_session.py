"""A session: it runs, waits, is picked up after a crash, and ends in a clear state.

Out of scope here: kill -9 at every point (tests/faults/test_kill), what planners propose (tests/agent).
"""

import sqlite3
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from kernel import AGENT, ANN, Script, World
from veilig.core.action import Action, RestartService
from veilig.core.action_json import JSON
from veilig.core.errors import LedgerTampered, SessionError, UsageError
from veilig.core.gate import cast_vote
from veilig.core.lock import SessionLock
from veilig.core.provider import Finish, Outcome, Planner, Status, Step, Verdict, Vote
from veilig.core.session import Budget, Session, View, fold


class Crash(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Recording(Script):
    """A script that remembers every outcome it was told of."""

    told: list[Status] = field(default_factory=list[Status])

    def next(self, state: dict[str, JSON], action: Action, outcome: Outcome) -> Step:
        self.told.append(outcome.status)
        return super().next(state, action, outcome)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def session(world: World, planner: Planner | None = None, budget: Budget | None = None) -> Session:
    return Session(
        "s1",
        gate=world.gate(),
        ledger=world.ledger,
        planner=planner or Script(3),
        actor=AGENT,
        budget=budget or Budget(),
        policy=lambda: "p",
    )


async def run(world: World, planner: Planner | None = None, budget: Budget | None = None) -> Finish:
    return await session(world, planner, budget).run("script", "/src", {"a": 1}, "0.1")


def view(world: World) -> View:
    return fold("s1", world.ledger.events("s1"))


async def crashed(world: World, when: str, count: int = 3) -> None:
    """A session that dies at its first act, before or after it."""

    def die() -> None:
        raise Crash

    setattr(world.services, when, die)
    with pytest.raises(Crash):
        await run(world, Script(count))
    setattr(world.services, when, lambda: None)


async def test_a_session_runs_to_its_end_and_its_fold_tells_what_it_was(world: World) -> None:
    finish = await run(world)
    assert finish == Finish(True, "3 restarted")
    seen = view(world)
    assert (seen.kind, seen.source, seen.options, seen.steps) == ("script", "/src", {"a": 1}, 3)
    assert (seen.ended, seen.summary, seen.state) == ("done", "3 restarted", {"done": 2})
    assert seen.last is not None
    assert seen.last.outcome == Outcome(True, "svc-2 restarted", ref=seen.last.ref)


async def test_a_person_cannot_drive_a_session(world: World) -> None:
    with pytest.raises(UsageError, match="is a person"):
        Session(
            "s1", gate=world.gate(), ledger=world.ledger, planner=Script(1), actor=ANN, budget=Budget(),
            policy=lambda: "p",
        )  # fmt: skip


async def test_an_unknown_session_and_an_ended_one_cannot_be_resumed(world: World) -> None:
    with pytest.raises(SessionError, match="no session"):
        await session(world).resume("0.1")
    await run(world)
    before = world.names()
    with pytest.raises(SessionError, match="has ended"):
        await session(world).resume("0.1")
    assert world.names() == before


async def test_an_act_that_had_not_happened_is_proposed_again_and_the_planner_hears_no_failure(
    world: World,
) -> None:
    await crashed(world, "before_act")
    planner = Recording(3)
    assert (await session(world, planner).resume("0.1")).ok
    assert planner.told == [Status.DONE] * 3
    assert world.services.acts("svc-0") == ["act-0"]


async def test_a_crash_right_after_the_doubt_was_settled_repeats_nothing_and_forgets_nothing(
    world: World,
) -> None:
    await crashed(world, "before_act")
    turn = view(world).last
    assert turn is not None
    await world.gate().settle(turn.ref, turn.action)
    planner = Recording(3)
    assert (await session(world, planner).resume("0.1")).ok
    assert planner.told == [Status.DONE] * 3


async def test_an_act_that_had_happened_is_not_repeated(world: World) -> None:
    await crashed(world, "after_act")
    assert (await session(world, Recording(3)).resume("0.1")).ok
    assert world.services.acts("svc-0") == ["act-0"]


async def test_an_act_nobody_can_look_at_is_told_as_in_doubt(world: World) -> None:
    await crashed(world, "after_act")
    world.services.can_look = False
    planner = Recording(3)
    await session(world, planner).resume("0.1")
    assert planner.told[0] is Status.IN_DOUBT
    assert world.services.acts("svc-0") == ["act-0"]


async def test_a_held_session_goes_on_after_the_vote(world: World) -> None:
    world.rules.verdict["svc-1"] = Verdict.ASK
    held = await run(world)
    assert (held.ok, view(world).ended) == (False, "held")
    assert not (await session(world).resume("0.1")).ok, "nobody has voted yet"
    await cast_vote(world.ledger, str(held.data["approval"]), Vote(ANN, True, "test"))
    assert (await session(world).resume("0.1")).ok
    assert world.services.acts("svc-1") == ["act-1"]


async def test_a_proposal_refused_three_times_ends_the_session_as_stuck(world: World) -> None:
    @dataclass(frozen=True)
    class Stubborn(Script):
        def next(self, state: dict[str, JSON], action: Action, outcome: Outcome) -> Step:
            return Step(state, action)

    world.rules.verdict["svc-0"] = Verdict.DENY
    finish = await run(world, Stubborn(1))
    assert (finish.ok, view(world).ended, view(world).steps) == (False, "stuck", 3)


@pytest.mark.parametrize(("steps", "ended"), [(2, "over_budget"), (3, "done"), (4, "done")])
async def test_a_step_budget_ends_a_session_in_a_clear_state(world: World, steps: int, ended: str) -> None:
    await run(world, budget=Budget(steps=steps))
    assert (view(world).ended, view(world).steps) == (ended, min(steps, 3))


async def test_a_larger_budget_lets_a_stopped_session_go_on(world: World) -> None:
    await run(world, budget=Budget(steps=2))
    assert (await session(world).resume("0.1")).ok
    assert view(world).steps == 3


async def test_the_time_between_a_crash_and_its_resume_is_not_counted(world: World) -> None:
    await crashed(world, "before_act")
    world.clock.boot_s += 100_000
    await session(world).resume("0.1")
    assert view(world).used_s < 1


async def test_tokens_and_cost_are_summed_over_a_resume(world: World) -> None:
    perform = world.services.perform

    class Priced(type(world.services)):
        async def perform(self, action: Action, permit: object) -> Outcome:
            outcome = await perform(action, permit)  # type: ignore[arg-type]  # handed on as it came
            return replace(outcome, data={"tokens": 10, "cost_usd": 0.5})

    world.services.__class__ = Priced
    await run(world, budget=Budget(steps=2))
    assert (view(world).tokens, view(world).cost_usd) == (20, 1.0)
    again = Budget(tokens=25)
    finish = await session(world, budget=again).resume("0.1")
    assert finish.ok or "token budget" in finish.summary
    assert view(world).tokens == 30


def test_two_drivers_of_one_session_exclude_each_other(tmp_path: Path) -> None:
    with SessionLock(tmp_path / "s1"):
        with pytest.raises(SessionError, match="another process") as caught, SessionLock(tmp_path / "s1"):
            raise AssertionError("both hold it")
        assert caught.value.retry_after_s
        with SessionLock(tmp_path / "s2"):
            pass
    with SessionLock(tmp_path / "s1"):
        pass


def damage(place: Path, statement: str) -> None:
    db = sqlite3.connect(place)
    db.execute(statement)
    db.commit()
    db.close()


async def test_a_session_whose_ledger_was_changed_is_not_resumed(world: World, tmp_path: Path) -> None:
    await crashed(world, "before_act")
    world.ledger.close()
    damage(tmp_path / "ledger.db", "UPDATE events SET body = replace(body, 'svc-0', 'svc-9') WHERE seq > 1")
    with pytest.raises(LedgerTampered):
        world.open()
        await session(world).resume("0.1")
    assert world.services.acts("svc-9") == []


async def test_a_session_whose_ledger_was_cut_is_not_resumed(world: World, tmp_path: Path) -> None:
    await run(world)
    world.ledger.close()
    damage(tmp_path / "ledger.db", "DELETE FROM events WHERE seq > 5")
    with pytest.raises(LedgerTampered):
        world.open()


async def test_an_endless_session_hears_of_questions_refusals_and_bounds_and_goes_on(world: World) -> None:
    world.rules.verdict = {"svc-0": Verdict.DENY, "svc-1": Verdict.ASK, "svc-2": Verdict.DENY}
    told = Recording(7)
    watching = Session(
        "s1",
        gate=world.gate(),
        ledger=world.ledger,
        planner=told,
        actor=AGENT,
        budget=Budget(steps=2),
        policy=lambda: "p",
        endless=True,
    )
    assert (await watching.run("script", "/src", {}, "0.1")).ok
    assert told.told[:4] == [Status.REFUSED, Status.HELD, Status.REFUSED, Status.REFUSED]
    assert len(told.told) == 7


async def test_events_of_other_sessions_do_not_mix_in(world: World) -> None:
    await run(world)
    world.session = "s2"
    await world.gate().submit(RestartService("web", "1"), AGENT)
    assert (view(world).steps, fold("s2", world.ledger.events("s2")).steps) == (3, 1)
    assert fold("s3", world.ledger.events("s3")) == View("s3")
