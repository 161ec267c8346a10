"""One service with a fault, a bystander, the example policy: the smallest world of a healing test."""

import random
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from heal_sim import Healer, Kernel, Rules, simulate
from heal_world import Sim, World, service
from veilig.core.policy import Policy, parse

EXAMPLE = """
autonomous_healing:
  enabled: {enabled}
  scope:
    services:
      - name: "worker-*"
        actions: [{actions}]
        max_restarts_per_hour: 3
    security_groups: {{readonly: true}}
    containers: {{actions: [scale_up], max_scale: 10}}
mode: {mode}
"""


@cache
def policy(actions: str = "restart", mode: str = "act", *, enabled: bool = True) -> Policy:
    text = EXAMPLE.format(actions=actions, mode=mode, enabled=str(enabled).lower())
    return parse(text, "veilig.yaml")


@dataclass
class Case:
    """One world with `worker-a` (which may need `worker-db` or an address) and a bystander."""

    world: World
    kernel: Kernel
    healer: Healer

    @property
    def sim(self) -> Sim:
        return self.world.sims["worker-a"]

    def run(self, seconds: float) -> None:
        simulate(self.kernel, [self.healer], self.world.now + seconds)

    def acts(self, name: str = "worker-a") -> list[str]:
        return [a.kind for a in self.kernel.acts if a.name == name]

    def proposed(self) -> list[str]:
        return list(dict.fromkeys(what for _, what in self.kernel.proposals))

    def incident(self, name: str = "worker-a") -> dict[str, Any]:
        assert self.healer.step is not None
        return cast(dict[str, Any], self.healer.step.state["incidents"]).get(name, {})

    def closed(self) -> list[dict[str, Any]]:
        assert self.healer.step is not None
        return cast(list[dict[str, Any]], self.healer.step.state["closed"])

    def well(self) -> bool:
        return self.world.well(self.sim)


def case(*needs: str, actions: str = "restart", mode: str = "act", **kept: Any) -> Case:
    services = [service("worker-a", *needs, **kept), service("web-ok")]
    services += [service(n) for n in needs if ":" not in n]
    world = World(services)
    kernel = Kernel(world, policy(actions, mode), random.Random(1), Rules())
    healer = Healer(kernel, "h")
    made = Case(world, kernel, healer)
    made.run(30)
    assert kernel.proposals == []
    return made


def time_until_well(c: Case, limit_s: float) -> float:
    start = c.world.now
    while c.world.now - start < limit_s:
        c.run(0.1)
        if c.well():
            return c.world.now - start
    return limit_s


def outage(c: Case, need: str, *, down: bool) -> None:
    if ":" in need:
        c.world.outside[need] = not down
    elif down:
        c.world.die(c.world.sims[need], "signal 9")
        c.world.sims[need].doomed = True  # nothing restarts it
        c.world.sims[need].held = True
    else:
        c.world.sims[need].doomed = c.world.sims[need].held = False
        c.world.start(c.world.sims[need])
    c.world.dirty |= {"worker-a"}
    c.world.settle()
