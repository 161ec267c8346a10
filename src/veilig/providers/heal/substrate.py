"""What must code that knows one kind of keeper of services be able to do? Substrate, Seen, Done.

A keeper is plain processes, supervisord, a container engine, systemd, PostgreSQL, Kubernetes. Substrates
live in the broker's process, which alone holds their sockets and credentials; they act only through it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Backend, Change, Gauge, Run


@dataclass(frozen=True, slots=True)
class Seen:
    """What the keeper knows of one service now.

    incarnation: "" when nothing runs; else never the same for two starts. started_s: boot clock of its start.
    pids: every process of it, the main one first. held_by: by which a person keeps it down ("" nobody).
    managed: it carries the veilig.managed label (or is named in the services file, for plain processes).
    restarts: the keeper's own count of restarts, -1 where it keeps none. replicas: of its group, -1: none.
    text: what the keeper says of the last end, for people. gauges, backends: what it counts. changes,
    good: of its own record of versions, where it keeps one (core/signal.py).
    """

    service: str
    run: Run
    why: str = ""
    incarnation: str = ""
    started_s: float = 0.0
    exit: str = ""
    pids: tuple[int, ...] = ()
    held_by: str = ""
    managed: bool = False
    restarts: int = -1
    replicas: int = -1
    replicas_own: int = 0
    text: str = ""
    gauges: tuple[Gauge, ...] = ()
    backends: tuple[Backend, ...] = ()
    changes: tuple[Change, ...] = ()
    good: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What an act left behind: the incarnation that runs now ("" none), and a line for people."""

    ok: bool
    detail: str
    incarnation: str = ""


class Substrate(Protocol):
    """One keeper. Methods raise ProviderError for what cannot be done; they never raise anything foreign.

    `incarnation` is the fence: it must be what runs at the moment of the act ("" for a service that is
    down), else nothing is done and ProviderError says so.
    """

    @property
    def name(self) -> str:
        """As `Service.provider` says it."""
        ...

    async def capability(self, service: Service) -> tuple[Capability, str]:
        """What it holds for this service, found by trying, and in words what is not enforced."""
        ...

    async def look(self, services: Sequence[Service]) -> list[Seen]:
        """Each service as it is now, in the order asked; one that cannot be seen is UNKNOWN with its why."""
        ...

    async def restart(self, service: Service, incarnation: str) -> Done:
        """Stop what runs (politely, then not) and start it once; start it when it is down."""
        ...

    async def stop(self, service: Service, incarnation: str) -> Done:
        """Stop what runs and leave it down."""
        ...

    async def scale(self, group: str, current: int, replicas: int) -> Done:
        """From `current` to `replicas` in total: same image, same arguments."""
        ...

    async def close(self) -> None:
        """Let go of sockets; services go on."""
        ...


@runtime_checkable
class ChangesDatabases(Protocol):
    """A keeper of databases: the typed changes of core's ChangeDatabase, each fenced by its argument."""

    async def change(self, service: Service, verb: str, argument: str) -> Done:
        """Do it once, and say what an independent look showed."""
        ...


@runtime_checkable
class RollsBack(Protocol):
    """A keeper with a record of versions of its own: files of an act name them, none lies on a disk here."""

    async def roll_back(
        self, service: Service, incarnation: str, files: Sequence[tuple[str, str, str]], to: str
    ) -> Done:
        """Bring the version back, and start it."""
        ...


@runtime_checkable
class Previews(Protocol):
    """A keeper that can tell people beforehand what a change would touch."""

    async def preview(self, service: Service, verb: str, argument: str) -> str:
        """Some lines: whom it concerns, what is lost, who waits."""
        ...
