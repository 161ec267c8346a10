"""The gate: what is allowed, refused and asked, and what the ledger tells of it.

Out of scope here: what a policy says (test_policy), how the ledger keeps it (test_ledger).
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import AGENT, ANN, BEN, World
from veilig.core.action import Action, RestartService, StopService
from veilig.core.actor import Actor, ActorKind
from veilig.core.errors import ApprovalError, PolicyError
from veilig.core.gate import cast_vote
from veilig.core.gate_case import Case, judge
from veilig.core.policy_model import ApprovalNeed, BudgetClaim, Decision, Finding
from veilig.core.provider import Found, Opinion, Outcome, Status, Verdict, Vote, strictness

RESTART = RestartService("web", "1")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.ledger.close()


async def test_an_allowed_act_happens_and_leaves_proposal_decision_intent_output_and_result(
    world: World,
) -> None:
    outcome = await world.gate().submit(RESTART, AGENT)
    assert outcome == Outcome(True, "web restarted", ref=outcome.ref)
    assert world.services.acts("web") == ["1"]
    assert world.names() == [
        "action.proposed",
        "action.decided",
        "action.started",
        "action.output",
        "action.verified",
    ]


async def test_a_denied_act_does_not_happen_and_the_rule_is_named(world: World) -> None:
    world.rules.verdict["web"] = Verdict.DENY
    outcome = await world.gate().submit(RESTART, AGENT)
    assert (outcome.status, outcome.data["rule"]) == (Status.REFUSED, "rules:1")
    assert world.services.acts("web") == []
    assert world.names() == ["action.proposed", "action.decided", "action.refused"]


async def test_a_kind_without_a_provider_is_refused_whatever_the_policy_says(world: World) -> None:
    outcome = await world.gate().submit(StopService("web"), AGENT)
    assert outcome.status is Status.REFUSED
    assert "no provider" in str(outcome.data["rule"])


async def test_an_unreadable_policy_refuses_everything(world: World) -> None:
    def broken(action: Action, actor: Actor) -> Decision:
        raise PolicyError("veilig.yaml:3: unknown key 'scop'", fix="did you mean 'scope'?")

    world.rules.decide = broken  # the policy file became unreadable
    outcome = await world.gate().submit(RESTART, AGENT)
    assert outcome.status is Status.REFUSED
    assert "scop" in outcome.detail
    assert world.services.acts("web") == []


async def test_an_asked_act_waits_and_happens_once_after_a_vote(world: World) -> None:
    world.rules.verdict["web"] = Verdict.ASK
    gate = world.gate()
    held = await gate.submit(RESTART, AGENT)
    assert held.status is Status.HELD
    assert world.services.acts("web") == []
    await cast_vote(world.ledger, str(held.data["approval"]), Vote(ANN, True, "test"))
    assert (await gate.submit(RESTART, AGENT)).ok
    again = await gate.submit(RESTART, AGENT)
    assert again.status is Status.HELD, "one approval is spent once"
    assert world.services.acts("web") == ["1"]


async def test_an_approval_of_one_act_does_not_cover_another(world: World) -> None:
    world.rules.verdict["web"] = Verdict.ASK
    gate = world.gate()
    held = await gate.submit(RESTART, AGENT)
    await cast_vote(world.ledger, str(held.data["approval"]), Vote(ANN, True, "test"))
    other = await gate.submit(replace(RESTART, incarnation="2"), AGENT)
    assert other.status is Status.HELD
    assert world.services.acts("web") == []


async def test_a_denial_is_final_for_an_hour(world: World) -> None:
    world.rules.verdict["web"] = Verdict.ASK
    gate = world.gate()
    held = await gate.submit(RESTART, AGENT)
    await cast_vote(world.ledger, str(held.data["approval"]), Vote(ANN, False, "test", "not now"))
    assert (await gate.submit(RESTART, AGENT)).status is Status.REFUSED
    world.clock.boot_s += 3599
    assert (await gate.submit(RESTART, AGENT)).status is Status.REFUSED
    world.clock.boot_s += 2
    assert (await gate.submit(RESTART, AGENT)).status is Status.HELD, "after the hour it may be asked again"


async def test_the_policy_is_decided_again_and_a_deny_beats_an_approval(world: World) -> None:
    world.rules.verdict["web"] = Verdict.ASK
    gate = world.gate()
    held = await gate.submit(RESTART, AGENT)
    await cast_vote(world.ledger, str(held.data["approval"]), Vote(ANN, True, "test"))
    world.rules.verdict["web"] = Verdict.DENY
    assert (await gate.submit(RESTART, AGENT)).status is Status.REFUSED
    assert world.services.acts("web") == []


@pytest.mark.parametrize(
    ("later_s", "status"), [(899, Status.DONE), (901, Status.HELD)], ids=["in time", "too late"]
)
async def test_an_approval_must_start_within_fifteen_minutes_of_the_last_vote(
    world: World, later_s: float, status: Status
) -> None:
    world.rules.verdict["web"] = Verdict.ASK
    gate = world.gate()
    held = await gate.submit(RESTART, AGENT)
    await cast_vote(world.ledger, str(held.data["approval"]), Vote(ANN, True, "test"))
    world.clock.boot_s += later_s
    world.clock.wall -= 86_400  # the wall clock has no say
    assert (await gate.submit(RESTART, AGENT)).status is status


async def test_a_reboot_ends_an_approval(world: World) -> None:
    world.rules.verdict["web"] = Verdict.ASK
    gate = world.gate()
    held = await gate.submit(RESTART, AGENT)
    await cast_vote(world.ledger, str(held.data["approval"]), Vote(ANN, True, "test"))
    world.clock.boot, world.clock.boot_s = "boot-2", 5.0
    assert (await gate.submit(RESTART, AGENT)).status is Status.HELD


async def test_a_quorum_is_distinct_people_with_the_role(world: World) -> None:
    world.rules.verdict["web"] = Verdict.ASK
    world.rules.needs = (ApprovalNeed("database_actions", frozenset({"dba"}), 2),)
    gate = world.gate()
    held = await gate.submit(RESTART, AGENT)
    approval = str(held.data["approval"])
    await cast_vote(world.ledger, approval, Vote(ANN, True, "test"))
    with pytest.raises(ApprovalError, match="voted already"):
        await cast_vote(
            world.ledger, approval, Vote(Actor("ann2", roles=ANN.roles, person="ann"), True, "test")
        )
    with pytest.raises(ApprovalError, match="not a person"):
        await cast_vote(world.ledger, approval, Vote(Actor("bot", ActorKind.BOT, ANN.roles), True, "test"))
    with pytest.raises(ApprovalError, match="proposed this act"):
        await cast_vote(
            world.ledger, approval, Vote(Actor("x", roles=ANN.roles, person="agent:test"), True, "test")
        )
    with pytest.raises(ApprovalError, match="none of the roles"):
        await cast_vote(world.ledger, approval, Vote(Actor("cas", roles=frozenset({"dev"})), True, "test"))
    assert (await gate.submit(RESTART, AGENT)).status is Status.HELD
    await cast_vote(world.ledger, approval, Vote(BEN, True, "test"))
    assert (await gate.submit(RESTART, AGENT)).ok


async def test_a_vote_from_another_process_wakes_a_waiting_act(world: World) -> None:
    import asyncio

    world.rules.verdict["web"] = Verdict.ASK
    act = asyncio.ensure_future(world.gate(patience_s=20).submit(RESTART, AGENT))
    async for event in world.ledger.follow(0):
        if event.name == "approval.asked":
            await cast_vote(world.ledger, str(event.body["approval"]), Vote(ANN, True, "test"))
            break
    assert (await act).ok


async def test_a_policy_that_asks_for_more_people_makes_the_old_approval_void(world: World) -> None:
    world.rules.verdict["web"] = Verdict.ASK
    gate = world.gate()
    held = await gate.submit(RESTART, AGENT)
    await cast_vote(world.ledger, str(held.data["approval"]), Vote(ANN, True, "test"))
    world.rules.needs = (ApprovalNeed("changes", frozenset({"dba"}), 2),)
    assert (await gate.submit(RESTART, AGENT)).status is Status.HELD
    assert "approval.expired" in world.names()


async def test_a_budget_counts_attempts_and_frees_by_the_sliding_window(world: World) -> None:
    world.rules.budgets = (BudgetClaim("restart:web", 2, 3600),)
    gate = world.gate()
    assert (await gate.submit(RESTART, AGENT)).ok
    world.clock.boot_s += 1800
    assert (await gate.submit(RESTART, AGENT)).ok
    assert (await gate.submit(RESTART, AGENT)).status is Status.REFUSED
    world.clock.boot_s += 1799
    assert (await gate.submit(RESTART, AGENT)).status is Status.REFUSED
    world.clock.boot_s += 1.001
    assert (await gate.submit(RESTART, AGENT)).ok
    assert len(world.services.acts("web")) == 3


async def test_a_provider_that_breaks_is_a_failed_outcome_with_its_words(world: World) -> None:
    def disk_full() -> None:
        from veilig.core.errors import ProviderError

        raise ProviderError("no space left", why="the disk is full", fix="free some")

    world.services.before_act = disk_full
    outcome = await world.gate().submit(RESTART, AGENT)
    assert (outcome.ok, outcome.status) == (False, Status.FAILED)
    assert "disk is full" in outcome.detail
    assert world.names()[-1] == "action.failed"


async def test_a_secret_in_an_action_or_its_result_is_a_handle_in_the_ledger(world: World) -> None:
    secret = "correct-horse-" + "battery-staple"
    world.redactor.mark(secret, "SAFE")
    outcome = await world.gate().submit(RestartService("web", secret), AGENT)
    raw = (world.folder / "ledger.db").read_bytes() + (world.folder / "ledger.db-wal").read_bytes()
    assert secret.encode() not in raw
    assert outcome.ok


@dataclass(frozen=True)
class Says:
    """A guard with one opinion."""

    verdict: Verdict

    def judge(self, action: Action, actor: Actor) -> Opinion:
        return Opinion("says", self.verdict, "because")


async def test_a_guard_can_turn_an_allow_into_a_question_or_a_refusal(world: World) -> None:
    world.guards = (Says(Verdict.ASK),)
    assert (await world.gate().submit(RESTART, AGENT)).status is Status.HELD
    world.guards = (Says(Verdict.DENY),)
    assert (await world.gate().submit(RESTART, AGENT)).status is Status.REFUSED
    assert world.services.acts("web") == []


VERDICTS = st.sampled_from(list(Verdict))


@given(VERDICTS, st.lists(VERDICTS, max_size=4))
def test_guards_only_tighten(base: Verdict, guards: list[Verdict]) -> None:
    case = Case("r", RESTART, "d", AGENT, provider=None)
    decision = Decision(base, "rule", (Finding(base, "rule", "x"),))
    with_guards = judge(case, decision, [Says(v) for v in guards], "p")
    assert strictness(with_guards.verdict) >= max([strictness(base), *map(strictness, guards)])


async def test_a_provider_that_cannot_say_what_happened_leaves_the_act_in_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(action: Action) -> Found:
        await asyncio.Event().wait()
        return Found.DONE

    monkeypatch.setattr(world.services, "inspect", never)
    monkeypatch.setattr("veilig.core.gate.GRACE_S", 0.01)
    outcome = await world.gate().settle("r1", RESTART)
    assert outcome.status is Status.IN_DOUBT
    assert "did not answer" in outcome.detail
