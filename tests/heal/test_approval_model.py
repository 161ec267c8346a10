"""Is there any order of two healers, people, time, crashes and changes in which an approval does harm? None.

An explicit-state check: every order of steps, up to a bound, is played on the real gate, approvals, law and
permit check, over a ledger in memory; states that are alike are visited once. P2 to P6 and P16.
Each protection taken away is shown to matter.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from kernel import ANN, BEN, Clock
from memory_ledger import MemoryLedger
from veilig.core import approval as approvals
from veilig.core.action import RestartService
from veilig.core.action_json import digest
from veilig.core.actor import Actor, ActorKind
from veilig.core.errors import ApprovalError, PolicyError, ProviderError
from veilig.core.gate import Gate, cast_vote
from veilig.core.gate_case import Law
from veilig.core.policy import Capability, Facts, Policy, decide, parse
from veilig.core.provider import Found, Outcome, Permit, Vote, must_fit
from veilig.core.redact import Redactor

AGENT = Actor("agent:heal", ActorKind.AGENT)
TWIN = Actor("ann-2", person="ann", roles=ANN.roles)
TEXT = """
mode: propose
approvers: {changes: {roles: [dba], quorum: QUORUM}}
autonomous_healing:
  enabled: ENABLED
  scope: {services: [{name: "worker-*", actions: [restart], max_restarts_per_hour: 3}]}
"""


def laws(quorum: int) -> tuple[Policy, Policy]:
    """One that asks so many people, and one that forbids it."""
    text = TEXT.replace("QUORUM", str(quorum))
    return parse(text.replace("ENABLED", "true")), parse(text.replace("ENABLED", "false"))


LAWS = {quorum: laws(quorum) for quorum in (1, 2)}
EXPIRY_S = 15 * 60
STEP_S = 8 * 60.0  # two of them are longer than an approval lives
REDACTOR = Redactor(b"k" * 32)
FACTS = Facts(
    capability=Capability.READ_WRITE, managed=True, known=True, last_healthy=False, foreign_starts=0
)


@dataclass(frozen=True)
class Without:
    """Protections that are taken away."""

    claim: bool = False
    fence: bool = False
    law_again: bool = False
    deadline: bool = False
    digest: bool = False


class Hands:
    """The provider of the gate; acts are steps of the model, so it performs nothing by itself."""

    kinds = frozenset({"service.restart"})

    async def perform(self, action: Any, permit: Permit) -> Outcome:
        raise ProviderError("a step of the model")

    async def verify(self, action: Any, outcome: Outcome, permit: Permit) -> Outcome:
        return outcome

    async def inspect(self, action: Any) -> Found:
        return Found.UNKNOWN


def now(coroutine: Any) -> Any:
    """Its value; nothing in it waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


@dataclass
class State:
    """Everything at one moment. holds: per healer what it was allowed to do, or None."""

    ledger: MemoryLedger
    clock: Clock
    forbidden: bool = False
    incarnation: int = 0
    waits: int = 0
    boots: int = 0
    votes: int = 0
    holds: tuple[Any, Any] = (None, None)
    acts: tuple[tuple[Any, ...], ...] = ()
    trace: tuple[str, ...] = ()
    wrong: list[str] = field(default_factory=list[str])

    def copy(self, step: str) -> "State":
        clock = replace(self.clock)
        ledger = MemoryLedger(clock)
        ledger.all, ledger.claims, ledger.boots = (
            list(self.ledger.all),
            set(self.ledger.claims),
            dict(self.ledger.boots),
        )
        ledger.by_name = {name: list(events) for name, events in self.ledger.by_name.items()}
        ledger.spent = {key: list(times) for key, times in self.ledger.spent.items()}
        ledger.claiming = self.ledger.claiming
        return replace(self, ledger=ledger, clock=clock, trace=(*self.trace, step), wrong=[])

    def questions(self) -> list[approvals.Approval]:
        """As the gate sees them: spent by their claims."""
        asked = approvals.fold(self.ledger.events(names=approvals.APPROVAL_EVENTS)).values()
        return [a.spent_if(a.claim in self.ledger.claims) for a in asked]

    def time(self) -> tuple[int, str]:
        return self.ledger.transact(lambda tx: (tx.now_ms(), tx.boot))

    def key(self) -> Any:
        """What makes two moments alike: names and absolute times do not matter."""
        at, boot = self.time()
        asked = self.questions()
        order = {a.id: n for n, a in enumerate(asked)}
        said = tuple(
            (a.digest, a.spent, a.closed != "", a.boot == boot, (at - a.asked_ms) // 60_000,
             tuple((b.person, b.approve, (at - b.t_ms) // 60_000, b.boot == boot) for b in a.ballots))
            for a in asked
        )  # fmt: skip
        held = tuple(
            h and (h[0].incarnation, order.get(h[1].approval), round(h[1].deadline_s - self.clock.boot_s))
            for h in self.holds
        )
        done = tuple((name, order.get(approval)) for name, approval, *_ in self.acts)
        return said, held, done, self.forbidden, self.incarnation, self.waits, self.boots, self.votes


@dataclass
class Model:
    """The steps that may come next, played on the real code."""

    without: Without = field(default_factory=Without)
    quorum: int = 1

    def gate(self, s: State) -> Gate:
        law = LAWS[self.quorum][s.forbidden]
        judged = Law(lambda a, _: decide(law, a, AGENT, FACTS), lambda: law.digest, lambda _h, _a: False)
        return Gate(
            session="s1", ledger=s.ledger, law=judged, providers=[Hands()], redactor=REDACTOR, clock=s.clock
        )

    def start(self) -> State:
        clock = Clock()
        ledger = MemoryLedger(clock)
        ledger.claiming = not self.without.claim
        ledger.transact(lambda tx: tx.append("session.noted", "s1", {"delta": {}}))
        return State(ledger, clock)

    def after(self, s: State) -> list[State]:
        found = [self.begin(s, i, s.incarnation) for i in (0, 1) if s.holds[i] is None and len(s.acts) < 3]
        found += [self.act(s, i) for i in (0, 1) if s.holds[i] is not None]
        found += [self.crash(s, i) for i in (0, 1) if s.holds[i] is not None]
        found += self.people(s) if s.votes < 3 else []
        if s.waits < 2:
            found.append(later := s.copy("8 minutes pass"))
            later.clock.boot_s += STEP_S
            later.waits += 1
        if not s.forbidden:
            found.append(law := s.copy("the policy forbids it"))
            law.forbidden = True
        if s.incarnation == 0:
            found.append(other := s.copy("another incarnation runs"))
            other.incarnation = 1
        if s.boots == 0:
            found.append(boot := s.copy("reboot"))
            boot.boots, boot.clock.boot, boot.clock.boot_s, boot.holds = 1, "boot-2", 5.0, (None, None)
        return found

    def begin(self, s: State, i: int, incarnation: int) -> State:
        """One healer proposes: the gate's transaction, whole, as it is one."""
        new = s.copy(f"healer {i} proposes")
        action = RestartService("worker-1", f"i{incarnation}")
        gate = self.gate(new)
        case = gate._propose(action, AGENT)
        begun = new.ledger.transact(lambda tx: gate._begin(tx, case, None))
        if hasattr(begun, "deadline_s"):
            held = list(new.holds)
            held[i] = (action, begun, case)
            new.holds = (held[0], held[1])
        return new

    def act(self, s: State, i: int) -> State:
        """The same healer acts: permit, law and fence are looked at again."""
        new = s.copy(f"healer {i} acts")
        action, begun, case = s.holds[i]
        new.holds = (None, new.holds[1]) if i == 0 else (new.holds[0], None)
        gate = self.gate(new)
        permit = Permit(
            case.ref,
            case.digest,
            begun.deadline_s,
            begun.policy,
            "s1",
            str,
            str,
            lambda _s, _b: None,
            begun.approval,
        )
        try:
            if not self.without.law_again:
                gate._must_still_hold(begun)
            must_fit(permit, digest(action), 0.0 if self.without.deadline else new.clock.boottime_s())
        except (PolicyError, ProviderError):
            return new
        if action.incarnation != f"i{new.incarnation}" and not self.without.fence:
            return new
        new.acts = (*new.acts, (action.incarnation, begun.approval))
        new.wrong = self.harm(new, action, begun.approval)
        return new

    def crash(self, s: State, i: int) -> State:
        """It dies between intent and act: what it was allowed is lost, and it may propose again."""
        new = s.copy(f"healer {i} dies")
        new.holds = (None, new.holds[1]) if i == 0 else (new.holds[0], None)
        return new

    def people(self, s: State) -> list[State]:
        found: list[State] = []
        at, boot = s.time()
        open_ = [
            a for a in s.questions() if a.state(at, boot) in (approvals.State.OPEN, approvals.State.APPROVED)
        ]
        for asked in open_[-1:]:
            for who, yes in ((ANN, True), (ANN, False), (BEN, True), (TWIN, True), (AGENT, True)):
                new = s.copy(f"{who.id} votes {'yes' if yes else 'no'}")
                try:
                    now(cast_vote(new.ledger, asked.id, Vote(who, yes, "test")))
                except ApprovalError:
                    continue
                if who is AGENT:
                    new.wrong = ["P5: the agent voted"]
                new.votes += 1
                found.append(new)
        return found

    def harm(self, s: State, action: RestartService, approval: str) -> list[str]:
        """What must never be, by code of its own over the record."""
        votes = [e for e in s.ledger.all if e.name == "approval.voted" and e.body["approval"] == approval]
        asked = [e for e in s.ledger.all if e.name == "approval.asked" and e.body["approval"] == approval]
        yes = {str(v.body["person"]) for v in votes if v.body["vote"] == "approve"}
        at, boot = s.time()
        checks = {
            "P2: nobody was asked about this": not asked or asked[0].body["digest"] != digest(action),
            "P2: nobody said yes": not yes,
            "P5: too few people": len(yes) < self.quorum,
            "P4: somebody said no": any(v.body["vote"] == "deny" for v in votes),
            "P4: the policy forbids it": s.forbidden,
            "P5: a voice that does not count": "agent:heal" in yes,
            "P6: the yes is too old": any(at - v.t_ms > EXPIRY_S * 1000 + 1 for v in votes[-1:]),
            "P6: a yes from before the reboot": any(v.boot != boot for v in votes),
            "P3: spent twice": sum(1 for _, one in s.acts if one == approval) > 1,
            "P16: another incarnation": action.incarnation != f"i{s.incarnation}",
        }
        return [what for what, is_so in checks.items() if is_so]


def explore(model: Model, most: int) -> tuple[int, dict[str, tuple[str, ...]], int]:
    """Breadth first: states seen, the shortest way to each harm, and how many states had an act."""
    start = model.start()
    known, queue, harms, acted = {start.key()}, deque([start]), dict[str, tuple[str, ...]](), 0
    while queue and len(known) < most:
        for new in model.after(queue.popleft()):
            for what in new.wrong:
                harms.setdefault(what, new.trace)
            key = new.key()
            if key not in known and not new.wrong:
                known.add(key)
                queue.append(new)
                acted += bool(new.acts)
    return len(known), harms, acted


@pytest.mark.parametrize("quorum", [1, 2])
def test_no_order_of_healers_people_time_and_deaths_does_harm(quorum: int) -> None:
    states, harms, acted = explore(Model(quorum=quorum), 6000)
    print(f"{states} states, {acted} of them after an act")
    assert harms == {}
    assert acted > 20, "nothing was ever done: a gate that refuses everything proves nothing"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("quorum", [1, 2])
def test_no_order_at_all_does_harm(quorum: int) -> None:
    states, harms, acted = explore(Model(quorum=quorum), 400_000)
    print(f"{states} states, {acted} of them after an act")
    assert (harms, acted > 1000) == ({}, True)


@pytest.mark.parametrize(
    ("without", "harm"),
    [
        (Without(claim=True), "P3: spent twice"),
        (Without(fence=True), "P16: another incarnation"),
        (Without(law_again=True), "P4: the policy forbids it"),
        (Without(deadline=True), "P6: the yes is too old"),
    ],
    ids=["claim", "fence", "law-again", "deadline"],
)
def test_each_protection_matters(without: Without, harm: str) -> None:
    _, harms, _ = explore(Model(without), 2500)
    assert harm in harms, f"taken away, and nothing happened: {sorted(harms)}"
