"""What the broker of a simulated machine works with: a keeper of services, their files, a journal, a clock.

Everything asks `point` first, where somebody may die, and every effect goes to the judge.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from heal_fuzz import Trouble
from heal_world import Sim, World
from veilig.core.action import Action
from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal.journal import Entry, Journal
from veilig.providers.heal.stop import go_on, stop
from veilig.providers.heal.substrate import Done, Seen

if TYPE_CHECKING:
    from heal_whole import Whole


class HealerDead(BaseException):
    """kill -9 of the healer, here."""


class BrokerDead(BaseException):
    """kill -9 of the broker, here."""


class Over(BaseException):
    """The simulated hours are over."""


class DyingJournal(Journal):
    """The real journal; its process may die before a line, in the middle of one, or after the fsync."""

    point: Callable[[str], None]
    late: bool = False  # broken on purpose: the intent is written when the act is over
    held: list[tuple[str, dict[str, Any]]]

    def append(self, what: str, **body: Any) -> Entry:
        if self.late and what == "act":
            self.held = [(what, body)]
            return Entry(what, 0.0, "", 0.0, body)
        for one, kept in self.held if self.late else ():
            super().append(one, **kept)
        self.held = []
        self.point("before a line of the journal")
        try:
            self.point("within a line of the journal")
        except BrokerDead:
            os.write(self._descriptor, b'{"what": "ac')
            raise
        entry = super().append(what, **body)
        self.point("after a line of the journal")
        return entry


@dataclass
class Clock:
    """The world's boot clock."""

    world: World
    boots: int = 1

    def boottime_s(self) -> float:
        return self.world.boot_s

    def boot_id(self) -> str:
        return f"boot-{self.boots}"

    def wall_s(self) -> float:
        return 1_800_000_000.0 + self.world.now


@dataclass
class Keeper:
    """The substrate: services of the simulated world. Every effect goes to the judge."""

    whole: "Whole"
    name: str = "process"

    async def capability(self, service: Service) -> tuple[Capability, str]:
        self.whole.point("broker", "capability")
        return Capability.READ_WRITE, ""

    async def look(self, services: Sequence[Service]) -> list[Seen]:
        self.whole.point("broker", "look")
        return [self.seen(self.whole.world.sims[s.name]) for s in services]

    def seen(self, sim: Sim) -> Seen:
        run = self.whole.world.sample(sim.name).run
        held = "STOPPED_BY_OPERATOR" if sim.held and self.whole.rules.holds else ""
        born = sim.started_s - self.whole.world.zero
        return Seen(
            sim.name, run if held or run is not Run.STOPPED else Run.DOWN, "", sim.incarnation, born,
            sim.exit, held_by=held, managed=True, replicas=sim.replicas,
        )  # fmt: skip

    async def restart(self, service: Service, incarnation: str) -> Done:
        sim = self._fenced(service, incarnation)
        takes_s = self.whole.effect(sim, lambda: self.whole.world.restart(sim.name))
        self.whole.world.run_until(self.whole.world.now + takes_s)
        self.whole.point("broker", "after a restart")
        return Done(True, "started", sim.incarnation)

    def _fenced(self, service: Service, incarnation: str) -> Sim:
        self.whole.point("broker", "before a restart")
        sim = self.whole.world.sims[service.name]
        if incarnation != sim.incarnation and self.whole.rules.fence:
            raise ProviderError("another incarnation runs now")
        return sim

    async def stop(self, service: Service, incarnation: str) -> Done:
        raise ProviderError("nobody asked for that")

    async def scale(self, group: str, current: int, replicas: int) -> Done:
        self.whole.point("broker", "before a scaling")
        sim = self.whole.world.sims[self.whole.judge.member(cast(Action, self.whole.acting))]
        if sim.replicas != current:
            raise ProviderError("another number of replicas runs now")
        self.whole.effect(sim, lambda: self.whole.world.scale(sim, replicas))
        self.whole.point("broker", "after a scaling")
        return Done(True, "scaled", "")

    async def close(self) -> None: ...


@dataclass
class Files:
    """The services' files as the world has them."""

    whole: "Whole"

    def last_good(self, service: Service) -> str:
        return self.whole.world.sample(service.name).good

    def regenerable(self, service: Service) -> frozenset[str]:
        return frozenset()

    def restore(self, service: Service, files: Sequence[tuple[str, str, str]], to: str) -> str:
        if not self.whole.world.restore(service.name, files):
            raise ProviderError("a file is not what it was")
        self.whole.point("broker", "between files and restart")
        return "restored"


class Mischief(Trouble):
    """Faults that befall the whole machine."""

    whole: "Whole"

    def fault_reboot(self, sim: Sim) -> None:
        if self.dice.random() < 0.2:
            self.world.zero = self.world.now - self.dice.uniform(5, 30)
            self.whole.clock.boots += 1
            self.whole.rebooted = True
            self.whole.judge.rebooted()
            for one in self.world.sims.values():
                self.world.die(one, "")
                if self.dice.random() < 0.8 and not one.held:
                    self.foreign(one)

    def fault_switch(self, sim: Sim) -> None:
        """A person stops all healing for a while."""
        stop(self.whole.folder, "ann", "drill")
        self.whole.judge.off = True

        def end() -> None:
            go_on(self.whole.folder)
            self.whole.judge.off = False

        self.later(sim, end)
