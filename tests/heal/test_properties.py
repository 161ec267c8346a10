"""Do the promises hold for any order of faults, people and time? A state machine that Hypothesis shrinks.

P7, P9, P12, P14 to P16, P18 to P20 by the judge after every step; P22 (a single crash with budget left is
healed) and P8 (nothing is done blindly) as rules of their own.
"""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from heal_case import policy
from heal_sim import Healer, Kernel, Rules, simulate
from heal_world import Sim, World, service
from veilig.core.action import Action, WatchSignals
from veilig.core.provider import Outcome, Status
from veilig.heal.planner import HealPlanner

NAMES = ("worker-db", "worker-a", "worker-b", "web")
NAME = st.sampled_from(NAMES)
RESTARTS_MAX = 3
RULE_MAX = 8


class Healing(RuleBasedStateMachine):
    """Four services, one of which two others need; the example policy grants every verb, or only restart."""

    @initialize(verbs=st.sampled_from(["restart", "restart, rollback, restore_config, free_space"]))
    def begin(self, verbs: str) -> None:
        services = [service("worker-db"), service("worker-a", "worker-db"), service("worker-b", "worker-db")]
        self.world = World([*services, service("web")])
        self.kernel = Kernel(self.world, policy(verbs), random.Random(1), Rules())
        self.kernel.people = self._answer
        self.healer = Healer(self.kernel, "h")
        self.people_say = True
        self.verbs = verbs
        self.later(20)

    def _answer(self, _: Action) -> bool:
        return self.people_say

    def later(self, seconds: float) -> None:
        simulate(self.kernel, [self.healer], self.world.now + seconds)

    def sim(self, name: str) -> Sim:
        return self.world.sims[name]

    def changed(self, name: str) -> None:
        for sim in self.world.sims.values():
            if sim.name == name or any(need.service == name for need in sim.spec.depends_on):
                self.world.healed_with[sim.name] = self.world.now
        self.world.dirty.add(name)
        self.world.settle()

    @rule(seconds=st.sampled_from([0.3, 2, 8, 40, 400, 4000]))
    def time_passes(self, seconds: float) -> None:
        self.later(seconds)

    @rule(name=NAME, how=st.sampled_from(["signal 9", "exit 1", ""]))
    def crash(self, name: str, how: str) -> None:
        self.world.die(self.sim(name), how)
        self.world.settle()

    @rule(name=NAME, how=st.sampled_from(["frozen", "deadlock", "hang", "error"]))
    def stick(self, name: str, how: str) -> None:
        if self.sim(name).running:
            self.sim(name).stuck = how
            self.world.settle()

    @rule(name=NAME, valid=st.booleans())
    def break_config(self, name: str, valid: bool) -> None:
        self.world.change(self.sim(name), "config", "bad1", valid)
        self.world.die(self.sim(name), "signal 15")
        self.changed(name)

    @rule(name=NAME)
    def mend_config(self, name: str) -> None:
        self.world.change(self.sim(name), "config", "a0")
        self.changed(name)

    @rule(name=NAME, doomed=st.booleans())
    def doom(self, name: str, doomed: bool) -> None:
        self.sim(name).doomed = doomed
        self.changed(name)

    @rule(name=NAME, taken=st.booleans())
    def port(self, name: str, taken: bool) -> None:
        if taken:
            self.world.die(self.sim(name), "signal 9")
        self.sim(name).port_by = "pid 7 nc" if taken else ""
        self.changed(name)

    @rule(name=NAME, full=st.booleans(), trash=st.integers(0, 4))
    def disk(self, name: str, full: bool, trash: int) -> None:
        self.sim(name).disk_full, self.sim(name).trash = full, trash
        self.changed(name)

    @rule(name=NAME, held=st.booleans())
    def hold(self, name: str, held: bool) -> None:
        self.sim(name).held = held
        if held:
            self.world.die(self.sim(name), "signal 15")
        self.changed(name)

    @rule(name=NAME)
    def somebody_starts_it(self, name: str) -> None:
        self.world.die(self.sim(name), "signal 15")
        self.world.start(self.sim(name))
        self.changed(name)

    @rule(yes=st.booleans())
    def people(self, yes: bool) -> None:
        self.people_say = yes

    @rule(enabled=st.booleans())
    def switch(self, enabled: bool) -> None:
        self.kernel.policy = policy(self.verbs, enabled=enabled)

    @rule()
    def the_healer_dies(self) -> None:
        self.healer.crash()

    def _calm(self) -> bool:
        return all(self.world.well(s) and not s.flaps for s in self.world.sims.values())

    @precondition(lambda self: self._calm())
    @rule()
    def a_single_crash_with_budget_left_is_healed(self) -> None:
        sim = self.sim("worker-a")
        self.kernel.policy = policy(self.verbs)
        self.later(60)
        recent = [a for a in self.kernel.acts if self.world.now - a.t < 3600]
        starts = max(
            sum(1 for a in recent if a.name == sim.name),
            sum(1 for t in sim.starts if self.world.now - t < 3600),
        )
        bad = (
            any(f.now.startswith("bad") for f in sim.files.values()) or sim.doomed or sim.port_by or sim.held
        )
        if not self._calm() or starts >= RESTARTS_MAX or len(recent) >= RULE_MAX or bad:
            return
        self.world.die(sim, "signal 9")
        self.world.settle()
        self.later(12)
        assert self.world.well(sim), f"P22: {sim}"

    @invariant()
    def no_promise_is_broken(self) -> None:
        if hasattr(self, "kernel"):
            assert self.kernel.breaches == []


TestHealing = Healing.TestCase
TestHealing.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_nothing_is_proposed_while_nothing_can_be_seen() -> None:
    world = World([service("worker-a")])
    healer = Healer(Kernel(world, policy(), random.Random(1), Rules()), "h")
    simulate(healer.kernel, [healer], world.now + 5)
    world.die(world.sims["worker-a"], "signal 9")
    assert healer.step is not None
    state, watch = healer.step.state, healer.step.propose
    assert isinstance(watch, WatchSignals)
    blind = Outcome(False, "the broker is gone", Status.FAILED)
    planner: HealPlanner = healer.planner
    step = planner.next(state, watch, blind)
    assert isinstance(step.propose, WatchSignals)
    assert step.state["notes"] == ["nothing could be seen: the broker is gone"]
