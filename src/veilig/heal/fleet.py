"""Who needs whom, and who is ill? Fleet: what one diagnosis may know of the other services."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from veilig.core.service import Inventory, Service
from veilig.core.signal import DependencySeen

LOOPBACK = frozenset({"", "localhost", "127.0.0.1", "::1", "[::1]", "0.0.0.0"})  # noqa: S104  # names, no socket


class Cause(StrEnum):
    """What is wrong with a service. The first four need nobody."""

    HEALTHY = "healthy"
    STARTING = "starting"
    DEGRADED = "degraded"  # it does not answer well, and nothing seen says why (or not long enough)
    OPERATOR_STOPPED = "operator_stopped"
    UNSEEN = "unseen"
    CRASH = "crash"
    CRASH_LOOP = "crash_loop"
    BAD_CONFIG = "bad_config"
    BAD_DEPLOY = "bad_deploy"
    HANG = "hang"
    DEADLOCK = "deadlock"
    LEAK = "leak"
    PORT_CONFLICT = "port_conflict"
    DEPENDENCY_DOWN = "dependency_down"
    DISK_FULL = "disk_full"
    OVERLOAD = "overload"
    BLOCKED = "blocked"  # sessions of a database wait for one that holds what they need
    CONNECTIONS_EXHAUSTED = "connections_exhausted"
    NEEDS_MAINTENANCE = "needs_maintenance"  # a table or index: vacuum, analyze, reindex
    OUT_OF_BOUNDS = "out_of_bounds"  # a number of its keeper's, with no cure here: people are told


USABLE = frozenset({
    Cause.HEALTHY, Cause.DEGRADED, Cause.LEAK, Cause.OVERLOAD,
    Cause.BLOCKED, Cause.NEEDS_MAINTENANCE, Cause.OUT_OF_BOUNDS,
})  # others may still lean on it  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fleet:
    """The services of one inventory at one moment; `causes` holds those that were diagnosed before.

    order: providers before those that need them; `cyclic`: edges left out because they close a circle, as
    (service, need).
    """

    now_s: float
    services: Mapping[str, Service]
    causes: Mapping[str, Cause] = field(default_factory=dict[str, Cause])
    by_port: Mapping[int, str] = field(default_factory=dict[int, str])
    cyclic: frozenset[tuple[str, str]] = frozenset()

    def owner(self, need: str) -> str:
        """The service of the inventory that a need's name means; "" when it is none."""
        if need in self.services:
            return need
        host, _, port = need.rpartition(":")
        return self.by_port.get(int(port), "") if port.isdecimal() and host in LOOPBACK else ""

    def ill(self, name: str) -> bool:
        """Was this service found unable to serve others?"""
        cause = self.causes.get(name)
        return cause is not None and cause not in USABLE

    def missing(self, service: Service, needs: Sequence[DependencySeen]) -> list[DependencySeen]:
        """What the service needs and does not have; one that closes a circle of needs is left out."""
        found: dict[str, DependencySeen] = {}
        for need in needs:
            owner = self.owner(need.name)
            if owner == service.name or (service.name, owner) in self.cyclic:
                continue
            if not need.up or (owner and need.how == "declared" and self.ill(owner)):
                found[owner or need.name] = need
        for declared in service.depends_on:
            owner = self.owner(str(declared))
            if owner and (service.name, owner) not in self.cyclic and self.ill(owner):
                found.setdefault(owner, DependencySeen(str(declared), False))
        return list(found.values())


def ordered(inventory: Inventory) -> tuple[tuple[str, ...], frozenset[tuple[str, str]]]:
    """Names with providers first, and the edges that close circles. Deterministic: by name where free."""
    services = {s.name: s for s in inventory.services}
    ports = ports_of(inventory)
    fleet = Fleet(0.0, services, {}, ports)
    done: dict[str, bool] = {}  # False while on the way
    order: list[str] = []
    cyclic: set[tuple[str, str]] = set()
    for root in sorted(services):
        stack: list[tuple[str, list[str]]] = []
        if root not in done:
            done[root] = False
            stack.append((root, _needs(fleet, services[root])))
        while stack:
            name, rest = stack[-1]
            if not rest:
                done[name] = True
                order.append(name)
                stack.pop()
                continue
            need = rest.pop(0)
            if need not in done:
                done[need] = False
                stack.append((need, _needs(fleet, services[need])))
            elif not done[need]:
                cyclic.add((name, need))
    return tuple(order), frozenset(cyclic)


def _needs(fleet: Fleet, service: Service) -> list[str]:
    return sorted({owner for d in service.depends_on if (owner := fleet.owner(str(d)))})


def ports_of(inventory: Inventory) -> dict[int, str]:
    """Which service of the inventory listens on which port; a port that two claim is nobody's."""
    claims: dict[int, list[str]] = {}
    for service in inventory.services:
        if service.port:
            claims.setdefault(service.port, []).append(service.name)
    return {port: names[0] for port, names in claims.items() if len(names) == 1}
