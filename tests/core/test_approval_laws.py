"""Approvals under every order of events: nobody acts without a live yes of people to exactly that act.

Two executors on one ledger, votes, expiry, reboot, a replaced target, other arguments, a policy that now
forbids, a crash between claim and act. Out of scope here: who is asked (test_policy_decide).
"""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernel import AGENT, ANN, BEN, Clock, Rules, World
from veilig.core import grant as grants
from veilig.core.action import (
    Action,
    AskModel,
    ChangeDatabase,
    ChangeSecurityGroup,
    EditPolicy,
    RestartService,
    RunCommand,
    ScaleDown,
    ScaleUp,
    StopService,
)
from veilig.core.action_json import digest
from veilig.core.actor import Actor, ActorKind
from veilig.core.approval import Approval, Ballot, Need, State, may_vote
from veilig.core.errors import ApprovalError
from veilig.core.gate import Gate, cast_vote
from veilig.core.gate_case import Case, judge
from veilig.core.grant import Grant
from veilig.core.ledger import Ledger, Tx
from veilig.core.limits import APPROVAL_EXPIRY_S, DENIAL_FINAL_S
from veilig.core.policy_model import ApprovalNeed, Decision, Finding
from veilig.core.provider import Found, Outcome, Permit, Status, Verdict, Vote, must_fit
from veilig.core.redact import Redactor

BOT = Actor("bot:ci", ActorKind.BOT, frozenset({"dba"}))
TWIN = Actor("ann-2", roles=frozenset({"dba"}), person="ann")


SERVICES = st.sampled_from(["web", "web", "web-b"])
BETWEEN = st.sampled_from(["", "", "late", "expire", "replace", "forbid", "crash"])
VOTERS = st.sampled_from([ANN, BEN, ANN, BEN, TWIN, BOT, AGENT])


class Crash(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Act:
    digest: str
    real_s: float
    boot: str
    on_target: bool
    forbidden: bool


class BetweenLedger(Ledger):
    """Runs `between` once, right after the next transaction that recorded an intent."""

    between: Callable[[], None] | None = None

    async def submit(self, fn: Callable[[Tx], Any], *, durable: bool = True) -> Any:
        value = await super().submit(fn, durable=durable)
        if type(value).__name__ == "_Begun" and self.between is not None:
            happens, self.between = self.between, None
            happens()
        return value


@dataclass
class Target:
    """A service with an incarnation, and a provider that fences on it, as a real one must."""

    clock: Clock
    real_s: float = 0.0
    incarnation: int = 0
    forbidden: bool = False
    acts: list[Act] = field(default_factory=list[Act])
    kinds: frozenset[str] = frozenset({"service.restart"})

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        must_fit(permit, digest(action), self.clock.boottime_s())
        assert isinstance(action, RestartService)
        if action.incarnation != str(self.incarnation):
            return Outcome(False, "another incarnation", Status.FAILED)
        self.acts.append(Act(permit.digest, self.real_s, self.clock.boot, True, self.forbidden))
        return Outcome(True, "restarted")

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        return outcome

    async def inspect(self, action: Action) -> Found:
        return Found.UNKNOWN


class Approvals(RuleBasedStateMachine):
    """What the checker believes comes from the votes it cast itself, never from the ledger."""

    @initialize(quorum=st.sampled_from([1, 2]))
    def begin(self, quorum: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        place = Path(self.folder.name)
        self.clock = Clock()
        self.target = Target(self.clock)
        self.law = Rules({"web": Verdict.ASK, "web-b": Verdict.ASK})
        self.law.needs = (ApprovalNeed("changes", frozenset({"dba"}), quorum),)
        self.quorum = quorum
        self.ledgers = [
            BetweenLedger.open(place / "l.db", anchor_dir=place / "a", clock=self.clock) for _ in range(2)
        ]
        self.asked: dict[str, str] = {}  # approval -> digest
        self.votes: dict[str, dict[str, float]] = {}  # approval -> person -> when
        self.denied: dict[str, float] = {}  # digest -> when
        self.allowed: dict[str, tuple[str, float, str]] = {}  # approval -> digest, when complete, boot
        self.spent: set[str] = set()

    def gate(self, executor: int) -> Gate:
        return Gate(
            session="s1",
            ledger=self.ledgers[executor],
            law=self.law.law(),
            providers=[self.target],
            redactor=Redactor(b"k" * 32),
            clock=self.clock,
        )

    @rule(executor=st.integers(0, 1), service=SERVICES, old=st.booleans(), between=BETWEEN)
    def submit(self, executor: int, service: str, old: bool, between: str) -> None:
        incarnation = max(0, self.target.incarnation - int(old))
        action = RestartService(service, str(incarnation))
        self.ledgers[executor].between = lambda: self.happens(between)
        before = len(self.target.acts)
        try:
            outcome = asyncio.run(self.gate(executor).submit(action, AGENT))
        except Crash:
            return
        finally:
            self.ledgers[executor].between = None
        if outcome.status is Status.HELD:
            self.asked[str(outcome.data["approval"])] = digest(action)
        assert outcome.ok == (len(self.target.acts) > before), "the outcome says what happened"

    @rule(
        executor=st.integers(0, 1),
        first=st.sampled_from(["", "", "wait", "reboot", "deny"]),
        between=BETWEEN,
    )
    def ask_vote_and_act(self, executor: int, first: str, between: str) -> None:
        """The usual way, so that runs often get as far as the claim."""
        self.submit(1 - executor, "web", old=False, between="")
        for actor in (ANN, BEN)[: self.quorum]:
            self.vote(actor, approve=True)
        match first:
            case "wait":
                self.advance(APPROVAL_EXPIRY_S)
            case "reboot":
                self.reboot()
            case "deny":
                self.vote(ANN, approve=False)
            case _:
                pass
        self.submit(executor, "web", old=False, between=between)

    def happens(self, what: str) -> None:
        match what:
            case "late":
                self.advance(2)
            case "expire":
                self.advance(APPROVAL_EXPIRY_S + 1)
            case "replace":
                self.target.incarnation += 1
            case "forbid":
                self.forbid()
            case "crash":
                raise Crash
            case _:
                pass

    @rule(actor=VOTERS, approve=st.sampled_from([True] * 5 + [False]))
    def vote(self, actor: Actor, approve: bool) -> None:
        if not self.asked:
            return
        approval = list(self.asked)[-1]
        try:
            asyncio.run(cast_vote(self.ledgers[0], approval, Vote(actor, approve, "test")))
        except ApprovalError:
            return
        assert actor.kind is ActorKind.HUMAN
        if not approve:
            self.denied[self.asked[approval]] = self.target.real_s
            self.allowed.pop(approval, None)
            return
        given = self.votes.setdefault(approval, {})
        given[actor.person] = self.target.real_s
        if len(given) >= self.quorum:
            self.allowed[approval] = (self.asked[approval], self.target.real_s, self.clock.boot)

    @rule(seconds=st.sampled_from([1, 600, APPROVAL_EXPIRY_S - 1, APPROVAL_EXPIRY_S + 1, 3601]))
    def advance(self, seconds: float) -> None:
        self.clock.boot_s += seconds
        self.target.real_s += seconds

    @rule()
    def reboot(self) -> None:
        self.target.real_s += 60
        self.clock.boot_s, self.clock.boot = 1.0, f"{self.clock.boot}'"

    @rule()
    def replace_target(self) -> None:
        self.target.incarnation += 1

    @rule()
    def forbid(self) -> None:
        self.target.forbidden = not self.target.forbidden
        verdict = Verdict.DENY if self.target.forbidden else Verdict.ASK
        self.law.verdict = {"web": verdict, "web-b": verdict}
        self.law.digest_ += "'"

    @invariant()
    def every_act_had_its_own_live_approval(self) -> None:
        for act in getattr(self, "target", Target(Clock())).acts:
            assert act.on_target
            assert not act.forbidden, "deny beats approval, also after the claim"
            assert act.real_s - self.denied.get(act.digest, -1e9) >= DENIAL_FINAL_S, "a denial is final"
            fit = [
                approval
                for approval, (bound, when, boot) in self.allowed.items()
                if (bound, boot) == (act.digest, act.boot)
                and approval not in self.spent
                and 0 <= act.real_s - when <= APPROVAL_EXPIRY_S
            ]
            assert fit, "no live, unspent approval of exactly this act"
            self.spent.add(fit[0])
        if hasattr(self, "target"):
            self.target.acts.clear()

    def teardown(self) -> None:
        for ledger in getattr(self, "ledgers", []):
            ledger.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestApprovals = Approvals.TestCase
TestApprovals.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.rules.verdict["web"] = Verdict.ASK
    return world


RESTART = RestartService("web", "1")


async def approved(world: World) -> Gate:
    gate = world.gate()
    held = await gate.submit(RESTART, AGENT)
    await cast_vote(world.ledger, str(held.data["approval"]), Vote(ANN, True, "test"))
    return gate


@pytest.mark.parametrize(
    ("late_s", "acts"), [(0.0, ["1"]), (APPROVAL_EXPIRY_S, ["1"]), (APPROVAL_EXPIRY_S + 0.01, [])]
)
async def test_an_approval_counts_until_it_expires(world: World, late_s: float, acts: list[str]) -> None:
    gate = await approved(world)
    world.clock.boot_s += late_s
    await gate.submit(RESTART, AGENT)
    assert world.services.acts("web") == acts


async def test_an_act_that_starts_after_its_approval_expired_is_refused_by_the_provider(world: World) -> None:
    """The claim is in time; what comes between claim and act is not."""
    gate = await approved(world)
    world.clock.boot_s += APPROVAL_EXPIRY_S - 1
    late = replace(world.clock)

    class Late(type(world.services)):
        async def perform(self, action: Action, permit: Permit) -> Outcome:
            world.clock.boot_s = late.boot_s + 2
            return await super().perform(action, permit)

    world.services.__class__ = Late
    outcome = await gate.submit(RESTART, AGENT)
    assert (outcome.status, world.services.acts("web")) == (Status.FAILED, [])
    assert "deadline" in outcome.detail


async def test_a_policy_that_changes_between_claim_and_act_stops_the_act(
    world: World, tmp_path: Path
) -> None:
    world.ledger.close()
    ledger = BetweenLedger.open(tmp_path / "ledger.db", anchor_dir=tmp_path / "anchors", clock=world.clock)
    world.ledger = ledger
    gate = await approved(world)
    ledger.between = lambda: setattr(world.rules, "digest_", "policy-2")
    outcome = await gate.submit(RESTART, AGENT)
    assert (outcome.status, world.services.acts("web")) == (Status.FAILED, [])
    assert "policy changed" in outcome.detail


@pytest.mark.parametrize("needs", [(), (ApprovalNeed("changes", quorum=0),)], ids=["nobody", "no quorum"])
def test_a_question_that_nobody_must_answer_is_a_refusal(needs: tuple[ApprovalNeed, ...]) -> None:
    case = Case("r", RESTART, "d", AGENT, provider=Target(Clock()))
    decision = Decision(Verdict.ASK, "rule", (Finding(Verdict.ASK, "rule", "x"),), needs, otherwise=())
    assert judge(case, decision, (), "p").verdict is Verdict.DENY


PEOPLE = st.builds(
    Actor,
    st.sampled_from(["ann", "ben", "cleo", "proposer", "alias"]),
    st.sampled_from(ActorKind),
    st.frozensets(st.sampled_from(["dba", "owner"])),
    person=st.sampled_from(["ann", "ben", "cleo", "proposer"]),
)


@given(st.lists(st.tuples(PEOPLE, st.booleans()), max_size=8), st.integers(1, 3))
def test_only_distinct_people_with_the_role_who_did_not_propose_make_a_quorum(
    votes: list[tuple[Actor, bool]], quorum: int
) -> None:
    needs = (Need("g", frozenset({"dba"}), quorum),)
    approval = Approval("a", "r", "s", "d", "proposer", needs, "", 0, "boot")
    counted: set[str] = set()
    denied = False
    for actor, approve in votes:
        try:
            may_vote(approval, actor, approve, 0, "boot")
        except ApprovalError:
            continue
        assert actor.kind is ActorKind.HUMAN
        assert actor.person != "proposer"
        ballot = Ballot(actor.id, actor.person, actor.roles, approve, 0, "boot")
        approval = replace(approval, ballots=(*approval.ballots, ballot))
        denied |= not approve
        counted |= {actor.person} if approve and "dba" in actor.roles else set()
    expected = State.DENIED if denied else State.APPROVED if len(counted) >= quorum else State.OPEN
    assert approval.state(0, "boot") is expected


GATEWAY_ACTS: list[Action] = [
    StopService("web"),
    ScaleUp("web", 1, 2),
    ScaleDown("web", 2, 1),
    ChangeSecurityGroup("sg-1", "authorize", "tcp/22"),
    ChangeDatabase("db", "restart"),
    AskModel("m", "p", 10),
    EditPolicy("/etc", "", "mode: act"),
    RestartService("web"),
]


@pytest.mark.parametrize("action", GATEWAY_ACTS, ids=lambda a: a.kind)
@given(directory=st.sampled_from(["", "."]), session_only=st.booleans())
def test_no_grant_covers_what_a_gateway_guards(action: Action, directory: str, session_only: bool) -> None:
    for pattern in ((action.target,), ("*",), ("**",)):
        wide = Grant("g", "ann", "s", action.kind, pattern, directory, session_only, 10**12, "b", "")
        assert not wide.covers(action, "s")


@given(
    st.lists(st.sampled_from(["git", "status", "push", "-f", "a b", "*"]), min_size=1, max_size=4),
    st.booleans(),
)
def test_a_grant_of_a_command_covers_its_words_and_never_a_way_out(words: list[str], hosts: bool) -> None:
    grant = Grant("g", "ann", "s", "command.run", ("git", "status", "**"), "", False, 10**12, "b", "")
    action = RunCommand(tuple(words), hosts=("example.org",) if hosts else ())
    assert grant.covers(action, "s") == (words[:2] == ["git", "status"] and not hosts)
    assert grants.grantable(action) or hosts
