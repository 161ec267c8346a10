"""What is a session in the queue? What was asked for, and what became of it so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from veilig.core.canonical import JSON
from veilig.core.errors import SessionError

VERSION: Final = 1  # of what an entry's work means; a worker takes no newer one


class LeaseLost(SessionError):
    """Another worker drives this session now: whoever gets this stops, and changes nothing more."""


class State(StrEnum):
    """Where a session of the queue is."""

    QUEUED = "queued"
    WORKING = "working"
    HELD = "held"  # it waits for people, or can go on; nobody drives it
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Entry:
    """One session to be queued. work: what to do, as JSON. priority: larger is sooner."""

    session: str
    kind: str
    work: Mapping[str, JSON]
    org: str = "main"
    priority: int = 0
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Taken:
    """A session that this worker drives now. waited_s: since it was queued. tree: its copy in the store."""

    job: int
    session: str
    org: str
    kind: str
    version: int
    work: Mapping[str, Any]
    token: int
    tree: str
    tries: int
    waited_s: float


@dataclass(frozen=True, slots=True)
class Shown:
    """One row of the queue for people and scripts. Times are seconds since 1970, None for not yet."""

    session: str
    org: str
    kind: str
    state: State
    note: str
    priority: int
    worker: str
    tries: int
    token: int
    version: int
    queued_at: float
    began_at: float | None
    ended_at: float | None
    work: Mapping[str, JSON] = field(default_factory=dict[str, JSON])


def queue_name(entry: Entry) -> str:
    """Kind, version and org in one name: a worker takes only what it understands, of who may go on now."""
    return f"v{entry.version}.{entry.kind}.{entry.org}"
