"""A heal session in simulated time, of which only services are played: planner, session, gate, law, broker,
journal, lease and stop switch are the real ones; healer and broker die at any commit, fsync or await.
The ledger keeps its events in memory (`tests/heal/test_kernel.py` plays such stories on the real one).

`play_whole(folder, seed, hours)` is one story, and the same seed gives the same one. The judge is the
simulation's own, with what only the whole has to keep: P1 to P5, P13 and P17.
"""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from heal_fuzz import Story, character, fleet_policy, fleet_services
from heal_hands import BrokerDead, Clock, DyingJournal, Files, HealerDead, Keeper, Mischief, Over
from heal_judge import Judge, WholeRules
from heal_world import Sim, World
from kernel import ANN
from memory_ledger import MemoryLedger
from veilig.app.heal_adviser import ByPeople
from veilig.core.action import Action, Notify, WatchSignals
from veilig.core.action_json import digest, to_json
from veilig.core.actor import Actor, ActorKind
from veilig.core.errors import ApprovalError, ProviderError, VeiligError
from veilig.core.gate import Gate, cast_vote
from veilig.core.gate_case import Law
from veilig.core.policy import Capability, Decision, Facts, Policy, decide
from veilig.core.provider import Found, Outcome, Permit, Status, Vote, must_fit
from veilig.core.redact import Redactor
from veilig.core.service import Inventory, Service
from veilig.core.session import Budget, Session, View
from veilig.core.signal import to_json as plain
from veilig.heal.hypothesis import wanted
from veilig.heal.planner import HealOptions, HealPlanner
from veilig.providers.heal import acts
from veilig.providers.heal import broker_wire as wire
from veilig.providers.heal import facts as reading
from veilig.providers.heal.broker import Broker, Means, Own
from veilig.providers.heal.broker_starts import Starts
from veilig.providers.heal.journal import Journal
from veilig.providers.heal.lease import Lease
from veilig.providers.heal.stop import stopped

AGENT = Actor("agent:heal", ActorKind.AGENT)
KEY = b"k" * 32
SLEEP_S = (0.1, 2.0, 60.0, 600.0)  # how long a dead healer stays dead


@dataclass
class Whole:
    """One world, one machine. Whoever dies comes back with what was durable."""

    folder: Path
    seed: int
    hours: float
    size: int = 1
    pace: float = 1.0
    gap: float = 0.1
    deaths: float = 0.003  # chance of a death at each point
    die_at: int = 0  # or: at exactly this point
    only: tuple[str, ...] = ()  # faults; all of them when empty
    law: Policy | None = None  # else one of the dice
    model: Callable[[str], str] | None = None  # what a model says of an incident, by its name
    guessed: int = 0  # proposals of the model
    rules: WholeRules = field(default_factory=WholeRules)
    break_planner: Callable[[HealPlanner], None] = lambda _: None
    died: Counter[str] = field(default_factory=Counter[str])
    points: int = 0
    steps: int = 0
    incident_hours: float = 0.0
    incidents: int = 0
    acting: Action | None = None
    agent: Actor = AGENT

    def __post_init__(self) -> None:
        dice = self.dice = random.Random(self.seed)
        self.world = World(fleet_services(dice, self.size))
        self.judge = Judge(
            self.world, self.law or fleet_policy(dice), random.Random(self.seed + 1), self.rules
        )
        self.judge.whole = self
        for sim in self.world.sims.values():
            character(dice, sim, "")
        self.clock = Clock(self.world)
        self.until = self.world.now + self.hours * 3600
        self.killer = random.Random(self.seed + 3)
        self.rebooted = False
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "services.json"
        self.file.write_bytes(b"{}")
        named = tuple(s.spec for s in self.world.sims.values())
        self.inventory = Inventory(str(self.file), hashlib.sha256(b"{}").hexdigest(), named)
        self.ledger = MemoryLedger(self.clock, lambda where: self.point("healer", where))
        self.ledger.claiming, self.ledger.intents = self.rules.claims, self.rules.intent
        self.trouble = Mischief(dice, self.world, self.judge, [], Story(self.seed), self.pace, self.gap)
        self.trouble.whole = self
        faults = {name for name in dir(self.trouble) if name.startswith("fault_")}
        self.trouble.skip = {"fault_healer_ends"} | (faults - set(self.only) if self.only else set[str]())
        self.world.at(5, self.trouble.strike)
        self.well: dict[str, str] = {}
        self.waiting: list[str] = []
        self.last_s = 0.0
        self.open_broker()

    # --- deaths ---------------------------------------------------------------------------------------

    def point(self, who: str, where: str) -> None:
        """Somebody may die here."""
        self.points += 1
        if self.rebooted or self.points == self.die_at or (
            not self.die_at and self.killer.random() < self.deaths
        ):  # fmt: skip
            self.died[f"{who}: {where}"] += 1
            raise HealerDead if who == "healer" else BrokerDead

    def open_broker(self) -> None:
        """A new broker process over the same journal."""
        self.broker = Broker(
            Means(
                inventory=self.inventory,
                substrates={"process": Keeper(self)},
                own=Own(self.decided, lambda: self.judge.law().digest),
                clock=self.clock,
                starts=Starts(self.open_journal, self.clock),
                lease=Lease(self.file),
                folder=self.folder if self.rules.switch else self.folder / "elsewhere",
                key=KEY,
                files=Files(self),
                well=self.answers,
            )
        )
        self.looked: dict[str, str] = {}

    def open_journal(self) -> Journal:
        journal = DyingJournal(self.folder / "journal", self.clock)
        journal.point, journal.held = (lambda where: self.point("broker", where)), []
        journal.late = not self.rules.durable
        return journal

    async def answers(self, service: Service, limit_s: float) -> bool:
        self.point("broker", "health check")
        return self.world.well(self.world.sims[service.name])

    def ledger_ms(self) -> int:
        """The ledger's own time, now."""
        return self.ledger.transact(lambda tx: tx.now_ms(), durable=False)

    def effect(self, sim: Sim, change: Callable[[], Any]) -> Any:
        """Something happens to a service: the judge looks first."""
        if self.planner.by_model(cast(Action, self.acting)) and not self.judge.permit.approval:
            self.judge.breach("P2", f"a model's word was enough to act on {sim.name}")
        self.judge.effect(cast(Action, self.acting), sim)
        return change()

    # --- the law ----------------------------------------------------------------------------------------

    def decided(self, action: Action, facts: Facts) -> Decision:
        """What the law says, minus what was broken on purpose."""
        return self.judge.broken(decide(self.judge.law(), action, AGENT, self._at(facts)))

    def _at(self, facts: Facts) -> Facts:
        facts = replace(facts, now_wall_s=self.clock.wall_s())
        return facts if self.rules.holds else replace(facts, holds=())

    def facts(self, action: Action) -> Facts:
        """As the provider makes them: from samples and the broker's counts."""
        if isinstance(action, WatchSignals | Notify):
            return reading.facts(action, reading.Fleet(self.inventory, {}))
        known: dict[str, reading.Known] = {}
        target = self.judge.member(action)
        for sim in self.world.sims.values():
            if sim.name != target and not sim.spec.group:
                known[sim.name] = reading.Known(failing=not self.world.well(sim))
                continue
            sample = self.world.sample(sim.name)
            well = self.well.get(sim.name, "") == sample.incarnation != ""
            journal = self.broker._starts.usable()
            known[sim.name] = replace(
                reading.of_sample(sample, sim.spec, well_before=well),
                capability=Capability.READ_WRITE,
                managed=True,
                foreign_starts=journal.starts(sim.name).foreign if journal else None,
            )
        off = stopped(self.folder) if self.rules.switch else None
        return reading.facts(action, reading.Fleet(self.inventory, known, holds=(str(off),) if off else ()))

    # --- the gate's provider -----------------------------------------------------------------------------

    kinds = acts.KINDS | {"signals.watch", "people.notify"}

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        must_fit(permit, digest(action), self.clock.boottime_s())
        if isinstance(action, WatchSignals):
            return await self._watch(action)
        self.point("healer", "before it asks the broker")
        if isinstance(action, Notify):
            return Outcome(True, "told")
        message: dict[str, Any] = {
            "op": "act", "action": to_json(action), "ref": permit.ref, "digest": digest(action),
            "policy": permit.policy, "approval": permit.approval, "deadline_s": permit.deadline_s,
            "boot": self.clock.boot_id(), "ailing": bool(self.world.sims[self.judge.member(action)].leak_s),
        }  # fmt: skip
        self.acting, self.judge.permit = action, permit
        try:
            reply = await self.broker.answer(dict(wire.sign(message, KEY)))
        except BrokerDead:
            self.new_broker()
            return Outcome(False, "the broker has ended", Status.IN_DOUBT)
        except VeiligError as error:
            raise ProviderError(error.what, why=error.why) from error
        self.point("healer", "before it hears the broker")
        status = Status.DONE if reply["ok"] else Status.FAILED
        return Outcome(bool(reply["ok"]), str(reply["detail"]), status, {})

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        self.point("healer", "before it verifies")
        return outcome

    async def inspect(self, action: Action) -> Found:
        if isinstance(action, WatchSignals):
            return Found.NOT_DONE
        return Found.UNKNOWN if isinstance(action, Notify) else self.broker._inspect(digest(action))

    def new_broker(self) -> None:
        self.broker.close()
        if not self.rules.counts:
            self.ledger.spent.clear()
            (self.folder / "journal").unlink(missing_ok=True)
        self.open_broker()

    async def _look(self) -> None:
        """The broker looks when something started or ended; what it saw, the judge takes for seen."""
        now = {s.name: s.incarnation for s in self.world.sims.values()}
        if now == self.looked:
            return
        try:
            await self.broker.answer({"op": "look"})
            self.looked = now
            self.judge.witness()
        except BrokerDead:
            self.new_broker()

    async def _watch(self, action: WatchSignals) -> Outcome:
        world, end = self.world, self.world.now + action.timeout_s
        self.point("healer", "before a watch")
        await self._look()
        while world.now < end and not world.dirty:
            world.run_until(min(world.queue[0][0] if world.queue else end, end))
        if world.now > self.until:
            raise Over
        world.run_until(world.now + 0.05)
        self.point("healer", "within a watch")
        await self._look()
        for name in world.dirty:
            world.sims[name].news_s = world.now
        names = sorted(world.dirty | world.trouble()) if action.seen else sorted(world.sims)
        world.dirty = set()
        samples = [world.sample(name) for name in names]
        self.well |= {s.service: s.incarnation for s in samples if s.incarnation and not s.failing}
        data: dict[str, Any] = {
            "mark": "m", "now_s": world.boot_s, "samples": [plain(one) for one in samples],
            "answered": await self._people(), "notes": [],
        }  # fmt: skip
        if self.model is not None and self.waiting:
            said = [(one, self.model(one)) for one in self.waiting]
            data["said"] = [
                {"incident": one, "answer": text, "model": "m", "t_s": world.boot_s} for one, text in said
            ]
        return Outcome(True, "", data=data)

    async def _people(self) -> list[str]:
        """Somebody looks at the inbox now and then; whoever may not vote tries it, too."""
        if self.dice.random() > 0.1:
            return []
        asked = [str(e.body["approval"]) for e in self.ledger.events("s1", names=("approval.asked",))]
        answered: list[str] = []
        for one in asked[-1:]:
            for other in (AGENT, Actor("bot", ActorKind.BOT), Actor("eve", roles=frozenset({"guest"}))):
                await self.judge.must_not_vote(self.ledger, one, other)
            try:
                await cast_vote(self.ledger, one, Vote(ANN, self.dice.random() < 0.7, "test"))
                answered.append(one)
            except ApprovalError:
                continue  # answered before, or expired
        return answered

    # --- the story ----------------------------------------------------------------------------------------

    def session(self) -> tuple[Session, HealPlanner]:
        law = Law(
            lambda a, _: self.judge.proposed(a, self.decided(a, self.facts(a))),
            lambda: self.judge.law().digest,
            lambda _h, _a: False,
        )
        guards = [ByPeople(lambda: self.planner)] if self.rules.approvals else []
        gate = Gate(
            session="s1",
            ledger=self.ledger,
            law=law,
            guards=guards,
            providers=[self],
            redactor=REDACTOR,
            clock=self.clock,
        )
        planner = self.planner = HealPlanner(self.inventory, HealOptions(channels=("chat",)))
        self.break_planner(planner)
        engine = Session(
            "s1", gate=gate, ledger=self.ledger, planner=planner, actor=AGENT,
            budget=Budget(), policy=lambda: self.judge.law().digest, watcher=self, endless=True,
        )  # fmt: skip
        return engine, planner

    def proposed(self, action: Action) -> None:
        self.steps += 1
        self.guessed += bool(self.planner.by_model(action))

    def observed(self, action: Action, outcome: Outcome) -> None: ...

    def noted(self, state: dict[str, Any]) -> None:
        now = self.world.now
        self.waiting = [str(state["incidents"][name]["id"]) for name in wanted(state)]
        self.incident_hours += len(state["incidents"]) * (now - self.last_s) / 3600 if self.last_s else 0.0
        self.last_s, self.incidents = now, max(self.incidents, int(state["count"]))

    async def play(self) -> None:
        engine, planner = self.session()
        go: Any = engine.run("heal", str(self.file), {}, "0.1")
        while True:
            try:
                await go
            except Over:
                return
            except HealerDead:
                self.rebooted, self.last_s = False, 0.0
                self.new_broker()
                self.world.run_until(self.world.now + self.killer.choice(SLEEP_S))
                self.rebooted = False
                self.well.clear()
                if self.ledger.last("s1") is None:
                    engine, planner = self.session()
                    go = engine.run("heal", str(self.file), {}, "0.1")
                    continue
                engine, planner = self.session()
                go = engine.go_on("0.1", lambda view, planner=planner: planner.again(view.state, _out(view)))

    def close(self) -> None:
        self.broker.close()
        self.ledger.close()


class Remembering(Redactor):
    """The real redactor, which need not look at the same text twice."""

    def __init__(self) -> None:
        super().__init__(b"k" * 32)
        self.seal = lru_cache(maxsize=200_000)(super().seal)


REDACTOR = Remembering()


def _out(view: View) -> Action | None:
    turn = view.last
    unknown = turn is not None and turn.started and turn.outcome is None
    return turn.action if turn and unknown and not isinstance(turn.action, WatchSignals) else None


def play_whole(folder: Path, seed: int, hours: float, **more: Any) -> Whole:
    """One story, to its end."""
    whole = Whole(folder, seed, hours, **more)
    try:
        asyncio.run(whole.play())
        whole.judge.records()
    finally:
        whole.close()
    return whole
