"""What may the law take for true about a target now? Looks and counts -> Facts, the strict reading of each.

Pure. The healer's side makes a `Known` from its samples, the broker one from its own looks; a planner has no
say in either.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from veilig.core.action import (
    Action,
    ChangeDatabase,
    FreeSpace,
    RestartService,
    RollBack,
    ScaleDown,
    ScaleUp,
    StopService,
)
from veilig.core.effect import Effect
from veilig.core.policy import Capability, Facts
from veilig.core.service import Inventory, Service
from veilig.core.signal import Answer, Run, Sample

STORM_SERVICES = 4  # fewer are no fleet
STORM_S = 10.0  # more than half turned bad within this: the cause is no single service, so look first
LEAK_BYTES = 32 << 20  # less growth than this is nobody's leak
LEAK_TIMES = 2  # its memory when it was well
LEAKED_BYTES, LEAKED_TIMES = 128 << 20, 4  # so much is out of bounds even when it has stopped growing

_ON_SERVICE = RestartService | StopService | RollBack | FreeSpace


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one service. foreign_starts: None when nobody counted. failing: it carries no load."""

    run: Run = Run.UNKNOWN
    failing: bool = False
    incarnation: str = ""
    capability: Capability = Capability.UNKNOWN
    managed: bool = False
    foreign_starts: int | None = None
    held_by: str = ""
    warming: bool = False
    last_good: str = ""
    regenerable: frozenset[str] = field(default_factory=frozenset[str])
    replicas: int = -1
    replicas_own: int = 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything known at one moment. holds: what stops every act (a kill switch, a lease, a storm)."""

    inventory: Inventory
    known: Mapping[str, Known]
    in_flight: frozenset[str] = frozenset()
    holds: tuple[str, ...] = ()


def of_sample(sample: Sample, service: Service, *, well_before: bool) -> Known:
    """What a sample says; the rest comes from the broker. well_before: this incarnation has answered."""
    silent = sample.answer in (Answer.REFUSED, Answer.TIMEOUT, Answer.BROKEN)
    starting = sample.run in (Run.RUNNING, Run.STARTING) and sample.up_s < service.warmup_s
    return Known(
        run=sample.run,
        failing=fails(sample) or leaks(sample, service),
        incarnation=sample.incarnation,
        held_by=sample.held_by,
        warming=starting and silent and not well_before,
        last_good=sample.good,
        regenerable=frozenset(path for disk in sample.disks for path, *_ in disk.regenerable),
        replicas=sample.replicas,
        replicas_own=sample.replicas_own,
    )


def fails(sample: Sample) -> bool:
    """It is not there, gets no CPU, or has been asked and did not answer as it should."""
    if not sample.alive or sample.run is Run.FROZEN:
        return True
    return sample.failing and sample.fails > 0  # before its first answer nobody knows


def leaks(sample: Sample, service: Service) -> bool:
    """Is its memory out of its stated bound, twice what it had when well and growing, or far beyond?"""
    if service.memory_max_bytes:
        return sample.rss_bytes > service.memory_max_bytes
    base = sample.rss_base_bytes
    grown = sample.rss_bytes - base
    growing = sample.rss_slope > 0 and sample.rss_bytes > LEAK_TIMES * base and grown >= LEAK_BYTES
    return base > 0 and (growing or (grown >= LEAKED_BYTES and sample.rss_bytes > LEAKED_TIMES * base))


def facts(action: Action, fleet: Fleet) -> Facts:
    """For this action, at this moment. A name nobody knows has every fact at its strict default."""
    name = _name(action)
    live = frozenset(s.name for s in fleet.inventory.services) | frozenset(_groups(fleet.inventory))
    unhealthy = frozenset(n for n, k in fleet.known.items() if k.failing) | fleet.in_flight
    base = Facts(unhealthy=unhealthy, in_flight=fleet.in_flight, live=live, holds=fleet.holds)
    members = [s for s in fleet.inventory.services if name in (s.name, s.group)]
    if not name:
        return replace(base, capability=Capability.READ_WRITE, holds=())
    target = fleet.inventory.get(name) or (members[0] if members else None)
    known = fleet.known.get(target.name) if target else None
    if target is None or known is None:
        return base
    return replace(
        base,
        capability=known.capability,
        managed=known.managed,
        known=target.provider == "process",  # the operator's file names it; others are found by a label
        last_healthy=(not known.failing or known.run is Run.UNKNOWN) and not _peers(target, fleet),
        foreign_starts=known.foreign_starts,
        holds=(*fleet.holds, *_holds(action, target, known)),
        last_good=known.last_good,
        regenerable=known.regenerable,
        replicas=known.replicas if known.replicas >= 0 else None,
        own_replicas=known.replicas_own,
        classes=frozenset({Effect.DATABASE})
        if target.database or target.provider == "postgres"
        else frozenset[Effect](),
    )


def _name(action: Action) -> str:
    if isinstance(action, _ON_SERVICE):
        return action.service
    if isinstance(action, ChangeDatabase):
        return action.database
    return action.group if isinstance(action, ScaleUp | ScaleDown) else ""


def _groups(inventory: Inventory) -> Iterable[str]:
    return (s.group for s in inventory.services if s.group)


def _peers(target: Service, fleet: Fleet) -> bool:
    """Does another one of its group carry the load meanwhile?"""
    return bool(target.group) and any(
        s.name != target.name
        and s.group == target.group
        and s.name not in fleet.in_flight
        and (known := fleet.known.get(s.name)) is not None
        and known.run is Run.RUNNING
        and not known.failing
        for s in fleet.inventory.services
    )


def _holds(action: Action, target: Service, known: Known) -> tuple[str, ...]:
    found: list[str] = []
    if known.held_by or known.run is Run.STOPPED:
        found.append(f"a person stopped {target.name} ({known.held_by or 'as its keeper says'})")
    if known.run is Run.UNKNOWN and not isinstance(action, FreeSpace):
        found.append(f"{target.name} cannot be seen clearly")
    if known.warming and isinstance(action, RestartService):
        found.append(f"{target.name} is still starting")
    return tuple(found)


@dataclass(slots=True)
class Storm:
    """Did more than half of a fleet turn bad at once? Then the first thing to do is to look.

    Only trouble that nothing explains counts: who waits for a dependency that is down is no storm.
    """

    services: int
    bad: dict[str, float] = field(default_factory=dict[str, float])
    seen: set[str] = field(default_factory=set[str])

    def see(self, name: str, failing: bool, now_s: float) -> None:
        """One look. What was bad when first seen has not turned bad now."""
        first = name not in self.seen
        self.seen.add(name)
        if not failing:
            self.bad.pop(name, None)
        elif name not in self.bad:
            self.bad[name] = now_s - (STORM_S if first else 0.0)

    def holds(self, now_s: float) -> tuple[str, ...]:
        """The hold, while it lasts."""
        turned = [since_s for since_s in self.bad.values() if now_s - since_s < STORM_S]
        if self.services < STORM_SERVICES or 2 * len(turned) <= self.services:
            return ()
        return (f"{len(turned)} of {self.services} services turned bad at once: acts wait {STORM_S:.0f} s",)
