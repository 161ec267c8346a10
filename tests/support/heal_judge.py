"""Was this act allowed, by the truth of the world and by the record? The judge of the whole simulation.

It reads the record with code of its own: P1 to P5, P17 and P19; the rest are the simulation's own checks.
"""

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from heal_sim import HOUR_S, STARTS, Executed, Kernel, Rules
from heal_world import Sim, World
from veilig.core.action import Action, RestartService, RollBack
from veilig.core.action_json import digest
from veilig.core.actor import Actor
from veilig.core.errors import ApprovalError
from veilig.core.gate import cast_vote
from veilig.core.ledger import Event, Ledger
from veilig.core.policy import Decision, Policy
from veilig.core.provider import Permit, Verdict, Vote

if TYPE_CHECKING:
    from heal_whole import Whole

EXPIRY_MS = 15 * 60 * 1000


@dataclass
class WholeRules(Rules):
    """All true: the real thing."""

    claims: bool = True  # an approval is spent once
    switch: bool = True  # `enabled: false` and the stop switch count
    intent: bool = True  # the intent is written before the act
    denial: bool = True  # a no of people holds
    counts: bool = True  # both counts of starts say what was


class Judge(Kernel):
    """The simulation's judge, for whom the gate is the real one."""

    whole: "Whole"
    permit: Permit

    def __init__(self, world: World, policy: Policy, dice: random.Random, rules: WholeRules) -> None:
        super().__init__(world, policy, dice, rules)
        self.broken_rules = rules
        self.off = False
        self.seen: dict[str, int] = {name: sim.count for name, sim in world.sims.items()}
        self.ours: set[tuple[str, int]] = set()
        self.foreign: list[tuple[float, str]] = []
        self.refs: list[str] = []
        self.used: set[str] = set()
        self.last_law = policy

    # --- the law --------------------------------------------------------------------------------------------

    def law(self) -> Policy:
        """The policy; the last enabled one when the switch was broken on purpose."""
        if self.broken_rules.switch or self.policy.healing.enabled:
            self.last_law = self.policy
        return self.last_law

    def broken(self, decision: Decision) -> Decision:
        """A decision, minus what was broken on purpose."""
        if not self.broken_rules.budgets:
            decision = replace(decision, budgets=())
        if not self.broken_rules.approvals and decision.verdict is Verdict.ASK:
            decision = replace(decision, verdict=Verdict.ALLOW, needs=())
        return decision

    def proposed(self, action: Action, decision: Decision) -> Decision:
        if action.kind != "signals.watch":
            self._judge_proposal(action)
        self.decided[decision.verdict] += 1
        return decision

    # --- starts ---------------------------------------------------------------------------------------------

    def witness(self) -> None:
        """The broker has looked: a start by others since its last look counts from now on."""
        for name, sim in self.world.sims.items():
            known = self.seen.get(name)
            if sim.running and sim.count != known:
                if known is not None and (name, sim.count) not in self.ours:
                    self.foreign.append((self.world.now, name))
                self.seen[name] = sim.count

    def rebooted(self) -> None:
        """The first start after a reboot is no restart."""
        self.seen = {}

    def counted(self, sim: Sim) -> int:
        recent = self.world.now - HOUR_S
        own = sum(1 for a in self.acts if a.name == sim.name and a.kind in STARTS and a.t > recent)
        return own + sum(1 for t, name in self.foreign if name == sim.name and t > recent)

    # --- effects --------------------------------------------------------------------------------------------

    def effect(self, action: Action, sim: Sim) -> None:
        """Just before it happens."""
        if isinstance(action, RestartService | RollBack) and action.incarnation != sim.incarnation:
            self.breach("P16", f"{sim.name} was not what was believed")
        self._judge_act(action, sim.name)
        if self.off:
            self.breach("P19", f"{action.kind} while all healing is stopped")
        self._on_record(action)
        self.acts.append(Executed(self.world.now, action.kind, sim.name, self.world.well(sim)))
        self.ours.add((sim.name, sim.count + 1))

    def breach(self, law: str, what: str) -> None:
        """Note it."""
        self.breaches.append(f"{law} {self.world.now:.2f}: {what}")

    def _on_record(self, action: Action) -> None:
        permit, mark = self.permit, digest(action)
        if permit.ref in self.refs:
            self.breach("P3", f"{permit.ref} was done twice")
        self.refs.append(permit.ref)
        before = {e.name: e for e in self.whole.ledger.events("s1") if e.body.get("ref") == permit.ref}
        started, decided = before.get("action.started"), before.get("action.decided")
        if started is None or decided is None or started.body["digest"] != mark:
            self.breach("P1", f"no durable intent of {action.kind} before it")
            return
        if self._journalled(permit.ref) != "act":
            self.breach("P1", f"no line of the broker's journal before {action.kind}")
        if decided.body["verdict"] == "ask" or self._must_ask(action):
            self._approved(str(started.body.get("approval", "")), mark)

    def _journalled(self, ref: str) -> str:
        entry = self.whole.broker._starts.journal.act(ref)
        return entry.what if entry else ""

    def _must_ask(self, action: Action) -> bool:
        from veilig.core.policy import decide

        whole = self.whole
        return decide(self.policy, action, whole.agent, whole.facts(action)).verdict is Verdict.ASK

    def _approved(self, approval: str, mark: str) -> None:
        """A live yes of a person to exactly this, not spent before."""
        asked, votes = self._vote(approval)
        now = self.whole.ledger_ms()
        if asked is None or asked.body["digest"] != mark:
            self.breach("P2", "nobody was asked about exactly this")
            return
        yes = {str(v.body["person"]) for v in votes if v.body["vote"] == "approve"}
        if any(v.body["vote"] == "deny" for v in votes):
            self.breach("P4", "people had said no")
        mute = {str(asked.body["proposer"]), "bot", "eve", "agent:heal"}
        if not yes - mute:
            self.breach("P2", "nobody had said yes")
        elif yes & mute:
            self.breach("P5", f"a voice that does not count was counted: {sorted(yes)}")
        if votes and now - max(v.t_ms for v in votes) > EXPIRY_MS:
            self.breach("P6", "the yes was too old")
        if approval in self.used:
            self.breach("P3", f"approval {approval} was spent before")
        self.used.add(approval)

    def _vote(self, approval: str) -> tuple[Event | None, list[Event]]:
        names = ("approval.asked", "approval.voted")
        about = [e for e in self.whole.ledger.events("s1", names=names) if e.body["approval"] == approval]
        asked = [e for e in about if e.name == "approval.asked"]
        return (asked[0] if asked else None), [e for e in about if e.name == "approval.voted"]

    # --- people and records ---------------------------------------------------------------------------------

    async def must_not_vote(self, ledger: Ledger, approval: str, actor: Actor) -> None:
        """Whoever may not vote tries to."""
        try:
            await cast_vote(ledger, approval, Vote(actor, True, "test"))
        except ApprovalError:
            return
        self.breach("P5", f"{actor.id} has voted")

    def records(self) -> None:
        """After the story: each act stands in the record from proposal to intent, in this order, once."""
        wanted = ["action.proposed", "action.decided", "action.started"]
        seen: dict[str, list[str]] = {ref: [] for ref in self.refs}
        claims: list[Any] = []
        for event in self.whole.ledger.events("s1"):
            if (ref := event.body.get("ref")) in seen and event.name in wanted:
                seen[str(ref)].append(event.name)
            if event.name == "action.started":
                claims += cast(list[Any], event.body.get("claims", []))
        if any(names != wanted for names in seen.values()):
            self.breach("P17", "an act is not on record from proposal to intent")
        if len(claims) != len(set(claims)):
            self.breach("P3", "a claim was taken twice")
