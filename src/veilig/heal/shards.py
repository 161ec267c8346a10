"""Which services must be watched together, and how are the others dealt out? Inventory -> shards.

Pure and deterministic. Services that need each other, or carry the same load, stay in one shard: whoever
heals one of them must see the others.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from veilig.core.canonical import JSON
from veilig.core.errors import UsageError
from veilig.core.service import Inventory
from veilig.heal.fleet import Fleet, ports_of

LOCAL: Final = frozenset({"process", "supervisord", "container", "systemd"})  # seen on their machine alone
SERVICES_PER_SHARD: Final = 50


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a services file for one healer at a time.

    services: the file, at the same path on every machine. part: like "2/5". names: the services that it acts
    on. host: the machine they are kept on, "" when any machine reaches them. peers: the sessions of all
    parts. total: services of all parts; known: their names, with the first part only.
    """

    services: str
    part: str
    names: tuple[str, ...]
    host: str = ""
    peers: tuple[str, ...] = field(default=())
    total: int = 0
    known: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """The same for the same services, however the rest of the file is dealt out."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:12]

    @property
    def kind(self) -> str:
        """Its kind of work in the queue: who may take it."""
        return kind_at(self.host)

    def to_json(self) -> dict[str, JSON]:
        """Plain values."""
        return {
            "services": self.services, "part": self.part, "names": [*self.names], "host": self.host,
            "peers": [*self.peers], "total": self.total, "known": [*self.known],
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Shard":
        """The inverse of `to_json`. Raises UsageError for what is no shard."""
        try:
            names, peers, known = (tuple(map(str, value[key])) for key in ("names", "peers", "known"))
            services, part, host = (str(value[key]) for key in ("services", "part", "host"))
            made = cls(services, part, names, host, peers, int(value["total"]), known)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError("this is no shard of a services file", why=repr(error)) from error
        if not made.names or not made.part or set(value) - set(made.to_json()):
            raise UsageError("this is no shard of a services file", why="it has other keys, or no names")
        return made


def kind_at(host: str) -> str:
    """The kind of work that only workers of this machine take; "": all that heal."""
    return f"heal@{host}" if host else "heal"


def shards(inventory: Inventory, host: str = "", most: int = SERVICES_PER_SHARD) -> tuple[Shard, ...]:
    """The shards of a file, each of at most `most` services unless more of them belong together.

    host: where those are kept that only their own machine can see. Raises UsageError when there are such,
    and none is named.
    """
    if not 1 <= most <= 10_000:
        raise UsageError(f"{most} services per shard", why="from 1 to 10000")
    kept = {s.name: s.provider in LOCAL for s in inventory.services}
    if not host and (near := sorted(name for name, local in kept.items() if local)):
        more = f" and {len(near) - 3} more" if len(near) > 3 else ""
        raise UsageError(
            f"{', '.join(near[:3])}{more} can only be reached from the machine that runs them",
            why=f"their provider is one of {', '.join(sorted(LOCAL))}",
            fix="name that machine: --on HOST (workers there take them), or leave them out of the file",
        )
    dealt: list[tuple[bool, list[str]]] = []
    for together in _together(inventory):
        local = any(kept[name] for name in together)
        if dealt and dealt[-1][0] == local and len(dealt[-1][1]) + len(together) <= most:
            dealt[-1][1].extend(together)
        else:
            dealt.append((local, [*together]))
    return tuple(
        Shard(
            inventory.path, f"{at}/{len(dealt)}", tuple(names), host if local else "",
            total=len(kept), known=tuple(kept) if at == 1 else (),
        )
        for at, (local, names) in enumerate(dealt, 1)
    )  # fmt: skip


def _together(inventory: Inventory) -> list[list[str]]:
    """Services in sets that nothing connects: those seen from their own machine first, then by name."""
    services = {s.name: s for s in inventory.services}
    fleet = Fleet(0.0, services, {}, ports_of(inventory))
    root = {name: name for name in services}

    def of(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    def join(one: str, other: str) -> None:
        first, last = sorted((of(one), of(other)))
        root[last] = first

    groups: dict[str, str] = {}
    for name, service in services.items():
        for need in service.depends_on:
            if owner := fleet.owner(str(need)):
                join(name, owner)
        if service.group:
            join(name, groups.setdefault(service.group, name))
    sets: dict[str, list[str]] = {}
    for name in sorted(services):
        sets.setdefault(of(name), []).append(name)
    near = {key: any(services[n].provider in LOCAL for n in names) for key, names in sets.items()}
    return [sets[key] for key in sorted(sets, key=lambda key: (not near[key], key))]


def part_of(inventory: Inventory, shard: Shard) -> Inventory:
    """The shard's part of the file as it is now; a note says which services came since it was dealt out."""
    known = frozenset(shard.known)
    fresh = [s.name for s in inventory.services if known and s.name not in known]
    told = f"no shard has {', '.join(fresh[:5])}: deal the file out anew (veilig queue heal --replace)"
    found = inventory.only(shard.names, shard.mark)
    return replace(found, notes=(told, *found.notes)) if fresh else found
