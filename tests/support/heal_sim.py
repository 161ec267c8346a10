"""A heal session in simulated time: the real planner and the real policy, a gate in memory, and a judge.

The judge sees the truth of the world, which the planner does not, and notes every breach of a property.
"""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from heal_world import Sim, World, inventory
from veilig.core.action import (
    Action,
    FreeSpace,
    Notify,
    RestartService,
    RollBack,
    ScaleUp,
    WatchSignals,
)
from veilig.core.action_json import digest
from veilig.core.actor import Actor, ActorKind
from veilig.core.policy import Capability, Decision, Facts, Policy, decide
from veilig.core.provider import Finish, Outcome, Status, Step, Verdict
from veilig.core.signal import to_json
from veilig.heal.fleet import ordered
from veilig.heal.planner import HealOptions, HealPlanner

HEALER = Actor("agent:heal", ActorKind.AGENT)
HOUR_S = 3600.0
NEWS_S = 0.1  # from a change until a watch returns


@dataclass
class Told:
    """A question to people, and what they answered."""

    id: str
    digest: str
    verdict: bool | None = None
    spent: bool = False


@dataclass
class Rules:
    """What a mutation of the kernel or of the provider would take away; all true: the real thing."""

    holds: bool = True  # facts name what a person stopped
    budgets: bool = True  # budgets are counted
    durable: bool = True  # and survive a crash
    fence: bool = True  # the provider compares incarnations
    approvals: bool = True  # ask means ask
    policy: bool = True  # the policy is asked at all


@dataclass
class Executed:
    """One act that reached the world."""

    t: float
    kind: str
    name: str
    well: bool


class Kernel:
    """Gate, budgets and approvals in memory; the verdicts are the real policy's."""

    def __init__(self, world: World, policy: Policy, dice: random.Random, rules: Rules) -> None:
        self.world, self.policy, self.dice, self.rules = world, policy, dice, rules
        self.budgets: dict[str, list[float]] = {}
        self.questions: dict[str, Told] = {}
        self.answered: list[str] = []
        self.people: Callable[[Action], bool | None] = lambda _: None
        self.acts: list[Executed] = []
        self.proposals: list[tuple[float, str]] = []
        self.breaches: list[str] = []
        self.in_flight: set[str] = set()
        self.leader: object = None
        self.decided: dict[Verdict, int] = dict.fromkeys(Verdict, 0)
        self.circles = ordered(inventory([s.spec for s in world.sims.values()]))[1]

    def facts(self, action: Action, healer: object) -> Facts:
        world = self.world
        name = self.member(action)
        sim = world.sims.get(name)
        holds: list[str] = []
        if sim is not None and sim.held and self.rules.holds:
            holds.append("a person stopped it")
        if self.leader is not None and self.leader is not healer:
            holds.append("another healer acts")
        own = sum(1 for a in self.acts if a.name == name and world.now - a.t < HOUR_S and a.kind in STARTS)
        all_ = 0 if sim is None else sum(1 for t in sim.starts if world.now - t < HOUR_S)
        return Facts(
            now_wall_s=world.now,
            capability=Capability.READ_WRITE,
            managed=True,
            known=True,
            last_healthy=sim is None or world.well(sim),
            replicas=sim.replicas if sim else None,
            holds=tuple(holds),
            unhealthy=frozenset(s.name for s in world.sims.values() if not world.well(s)),
            in_flight=frozenset(self.in_flight),
            live=frozenset(world.sims) | {s.spec.group for s in world.sims.values()},
            foreign_starts=max(0, all_ - own),
            last_good=self.world.sample(name).good if sim else "",
            regenerable=frozenset(f[0] for d in world.sample(name).disks for f in d.regenerable)
            if sim
            else frozenset(),
        )

    def member(self, action: Action) -> str:
        """The service an action is about; of a group, the one that carries most."""
        name = target(action)
        members = [s for s in self.world.sims.values() if name and s.spec.group == name]
        return max(members, key=lambda s: s.load_s).name if members else name

    def decide(self, action: Action, healer: object) -> Decision:
        decision = decide(self.policy, action, HEALER, self.facts(action, healer))
        self.decided[decision.verdict] += 1
        return decision

    def submit(self, action: Action, healer: object) -> Outcome | None:
        """None: it may start. Anything else ends it."""
        self._judge_proposal(action)
        if not self.rules.policy:
            return None
        decision = self.decide(action, healer)
        if decision.verdict is Verdict.DENY:
            return Outcome(False, "; ".join(decision.reasons), Status.REFUSED, {"rule": decision.rule})
        told = None
        if decision.verdict is Verdict.ASK and self.rules.approvals:
            told = self._question(action)
            if told.verdict is False:
                return Outcome(False, "people denied this act", Status.REFUSED, {"rule": decision.rule})
            if told.verdict is None:
                return Outcome(False, "waits for people", Status.HELD, {"approval": told.id})
        now = self.world.now
        for budget in decision.budgets if self.rules.budgets else ():
            spent = [t for t in self.budgets.get(budget.key, []) if t >= now - budget.window_s]
            if len(spent) >= budget.limit:
                return Outcome(
                    False, f"budget {budget.key} is spent", Status.REFUSED, {"rule": decision.rule}
                )
        for budget in decision.budgets:
            self.budgets.setdefault(budget.key, []).append(now)
        if told is not None:
            told.spent = True
        return None

    def _question(self, action: Action) -> Told:
        mark = digest(action)
        for known in self.questions.values():
            if known.digest == mark and not known.spent:
                return known
        told = Told(f"q{len(self.questions)}", mark)
        self.questions[told.id] = told

        def answer() -> None:
            told.verdict = self.people(action)
            if told.verdict is not None:
                self.answered.append(told.id)
                self.world.dirty.add(target(action))

        self.world.at(self.dice.uniform(5, 400), answer)
        return told

    def crash(self) -> None:
        """What is only in memory is gone."""
        if not self.rules.durable:
            self.budgets.clear()

    # --- the act ------------------------------------------------------------------------------------------

    def perform(self, action: Action) -> tuple[Outcome, float]:
        """Do it in the world; its outcome and the seconds until then."""
        world, name = self.world, self.member(action)
        if isinstance(action, Notify):
            return Outcome(True, "told"), 0.05
        sim = world.sims[name]
        if isinstance(action, RestartService | RollBack) and action.incarnation != sim.incarnation:
            if self.rules.fence:
                return Outcome(False, "another incarnation runs now", Status.FAILED), 0.05
            self.breaches.append(f"P16 {world.now:.2f}: {name} was not what was believed")
        self._judge_act(action, name)
        self.acts.append(Executed(world.now, action.kind, name, world.well(sim)))
        if isinstance(action, RestartService):
            return Outcome(True, "started"), world.restart(name)
        if isinstance(action, RollBack):
            done = world.roll_back(name, action.files)
            return Outcome(done, "", Status.DONE if done else Status.FAILED), 0.3
        if isinstance(action, FreeSpace):
            world.free(name, len(action.files))
        if isinstance(action, ScaleUp):
            world.scale(sim, action.replicas)
        return Outcome(True, "done"), 0.5

    # --- the judge ------------------------------------------------------------------------------------------

    def _judge_proposal(self, action: Action) -> None:
        world, name = self.world, self.member(action)
        if isinstance(action, Notify):
            return
        self.proposals.append((world.now, f"{action.kind} {name}"))
        sim = world.sims.get(name)
        if sim is None:
            self.breaches.append(f"P9 {world.now:.2f}: {name!r} is no service")
        elif world.well(sim) and world.now - sim.well_s > 1.0:
            self.breaches.append(f"P20 {world.now:.2f}: {action.kind} for {name}, which is well")

    def counted(self, sim: Sim) -> int:
        """Starts of the last hour by anybody that count against the budget."""
        return sum(1 for t in sim.starts if self.world.now - t < HOUR_S and t > 1000)

    def _judge_act(self, action: Action, name: str) -> None:
        world, sim = self.world, self.world.sims[name]
        scope = [r for r in self.policy.healing.services if r.pattern.matches(name)]
        if not scope:
            self.breaches.append(f"P9 {world.now:.2f}: {name} is out of scope")
        if not self.policy.healing.enabled:
            self.breaches.append(f"P19 {world.now:.2f}: {action.kind} while healing is off")
        if sim.held:
            self.breaches.append(f"P14 {world.now:.2f}: {action.kind} for {name}, which a person stopped")
        starts = isinstance(action, RestartService | RollBack)
        if starts:
            limit = min((r.restarts_per_hour for r in scope), default=0)
            own = sum(
                1 for a in self.acts if a.name == name and a.kind in STARTS and world.now - a.t < HOUR_S
            )
            started = max(self.counted(sim), own)
            if started >= limit:
                self.breaches.append(f"P7 {world.now:.2f}: {name} was started {started} times already")
        if isinstance(action, RestartService):
            gone = [n for n in world.lacks(sim) if sim.dep_mode != "bear" and (name, n) not in self.circles]
            if gone and all(world.now - _since(world, n) > 3.0 for n in gone):
                self.breaches.append(f"P15 {world.now:.2f}: {name} restarted, but {gone} are down")
        if isinstance(action, ScaleUp) and action.replicas > self.policy.healing.max_scale:
            self.breaches.append(f"P12 {world.now:.2f}: {name} scaled to {action.replicas}")
        # What happened since the service was last well, or since its world changed, counts.
        since = max(sim.well_s, world.healed_with.get(name, 0.0), world.now - 300)
        # Replicas are added one step after another: each is a part of one cure, bounded by the policy.
        cures = [a for a in self.acts if a.name == name and a.kind != "container.scale_up"]
        futile = [a for a in cures if a.t > since and not a.well]
        if len(futile) >= 2 and not sim.flaps and not isinstance(action, ScaleUp):
            self.breaches.append(f"P18 {world.now:.2f}: {name} got {len(futile)} acts that did not help")


STARTS = frozenset({"service.restart", "service.rollback"})


def _since(world: World, need: str) -> float:
    sim = world.sims.get(need)
    return (sim.answer_s if sim.running else sim.down_s) if sim else 0.0


def target(action: Action) -> str:
    return str(getattr(action, "target", ""))


@dataclass
class Healer:
    """One heal session: a planner, its recorded state, and what it waits for."""

    kernel: Kernel
    name: str
    seen: set[str] = field(default_factory=set[str])
    step: Step | None = None
    busy_until: float = 0.0
    outcome: Outcome | None = None
    alive: bool = True
    steps: int = 0
    open_s: float = 0.0
    news_s: float = 0.0
    _last: float = 0.0

    def __post_init__(self) -> None:
        self.planner = HealPlanner(self._inventory(), HealOptions(channels=("chat",)))
        self.seen = set(self.kernel.world.sims)
        self._begin(self.planner.first())

    def _inventory(self) -> Any:
        return inventory([s.spec for s in self.kernel.world.sims.values()])

    def _begin(self, step: Step) -> None:
        """Propose: a watch waits, an act starts, a refusal is there at once."""
        kernel, world = self.kernel, self.kernel.world
        self.step, action = step, step.propose
        self.steps += 1
        assert not isinstance(action, Finish)
        if isinstance(action, WatchSignals):
            self.busy_until, self.outcome = world.now + action.timeout_s, None
            return
        self.outcome = kernel.submit(action, self)
        if self.outcome is not None:
            self.busy_until = world.now
            return
        name = target(action)
        kernel.in_flight.add(name)
        self.outcome, takes = kernel.perform(action)
        self.busy_until = world.now + takes

    @property
    def watching(self) -> bool:
        return self.step is not None and isinstance(self.step.propose, WatchSignals)

    def wakes_at(self) -> float:
        news = self.watching and (self.seen or self.kernel.answered)
        if not news:
            return self.busy_until
        self.news_s = self.news_s or self.kernel.world.now + NEWS_S
        return min(self.busy_until, self.news_s)

    def go_on(self) -> None:
        """The outcome is there: the next step."""
        kernel, world, step = self.kernel, self.kernel.world, self.step
        assert step is not None and not isinstance(step.propose, Finish)
        action = step.propose
        if isinstance(action, WatchSignals):
            names = sorted(self.seen | world.trouble()) if action.seen else sorted(world.sims)
            self.seen, self.news_s = set(), 0.0
            answered, kernel.answered = kernel.answered, []
            data: dict[str, Any] = {
                "mark": f"m{self.steps}",
                "now_s": world.boot_s,
                "samples": [to_json(world.sample(name)) for name in names],
                "answered": answered,
                "notes": [],
            }
            outcome = Outcome(True, "", data=data)
        else:
            kernel.in_flight.discard(target(action))
            outcome = self.outcome or Outcome(False, "nobody can tell", Status.IN_DOUBT)
        after = self.planner.next(step.state, action, outcome)
        open_ = after.state["incidents"]
        assert isinstance(open_, dict)
        self.open_s += len(open_) * (world.now - self._last) if self._last else 0.0
        self._last = world.now
        self._begin(after)

    def crash(self) -> None:
        """Killed at this very moment, and resumed from what the ledger holds."""
        kernel, step = self.kernel, self.step
        assert step is not None
        kernel.crash()
        self.planner = HealPlanner(self._inventory(), HealOptions(channels=("chat",)))
        state = json.loads(json.dumps(step.state))
        self.step = Step(state, step.propose)
        acted = self.outcome is not None and self.outcome.status in (Status.DONE, Status.FAILED)
        if acted and not isinstance(step.propose, WatchSignals | Finish):
            self.outcome = Outcome(False, "nobody can tell", Status.IN_DOUBT, {"found": "unknown"})
        self.seen |= set(kernel.world.sims)


def simulate(
    kernel: Kernel, healers: Iterable[Healer], until: float, hooks: Callable[[], None] = lambda: None
) -> None:
    """Let world and healers go on until the simulated second `until`."""
    world, all_ = kernel.world, list(healers)
    while world.now < until - 1e-9:
        if world.dirty:
            for name in world.dirty:
                world.sims[name].news_s = world.now
            for healer in all_:
                healer.seen |= world.dirty
            world.dirty = set()
        wakes = min((h.wakes_at() for h in all_ if h.alive), default=until)
        event = world.queue[0][0] if world.queue else until
        if event <= wakes:
            world.run_until(min(event, until))
            continue
        world.run_until(min(wakes, until))
        if world.dirty:
            continue
        hooks()
        for healer in all_:
            if healer.alive and healer.wakes_at() <= world.now + 1e-6:
                healer.go_on()
