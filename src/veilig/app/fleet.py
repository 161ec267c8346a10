"""How does work reach many machines? It is queued here; workers (`veilig worker`) take it from there.

`enqueue` and its relatives block; `put` and the methods of `Fleet` are for whoever runs an event loop.
"""

import asyncio
import os
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from veilig.core.canonical import JSON
from veilig.core.errors import UsageError
from veilig.providers.fleet.copies import Copies
from veilig.providers.fleet.entries import Entry, Shown, State
from veilig.providers.fleet.link import org_of
from veilig.providers.fleet.queue import Queue
from veilig.providers.fleet.store import open_store
from veilig.providers.fleet.taking import LEASE_S

__all__ = [
    "KINDS", "Shown", "State", "Work", "cancel", "counts", "enqueue", "enqueue_all", "jobs", "limit", "put",
    "retry",
    "set_aside", "upload",
]  # fmt: skip

KINDS: Final = ("audit", "fix", "run", "explain", "review", "trial")
_ORG: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SESSION: Final = re.compile(r"[a-z0-9][A-Za-z0-9_-]{0,100}")


@dataclass(frozen=True, slots=True)
class Work:
    """One session to be run by whichever worker comes first.

    kind: one of KINDS, or one that the workers were given. options: as the planner's Options write themselves
    (`AuditOptions(...).to_json()`); `source` in them is a folder that every worker can reach, or a tree
    of the store. priority: larger is sooner. org: whose it is; bounds and isolation go by it.
    session: its id, empty for a new one.
    """

    kind: str
    options: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    org: str = "main"
    priority: int = 0
    session: str = ""

    def __post_init__(self) -> None:
        if not _ORG.fullmatch(self.org):
            raise UsageError(
                f"{self.org!r} is no name of an org", fix="use a-z, 0-9, dot, dash, underscore; at most 63"
            )
        if self.session and not _SESSION.fullmatch(self.session):
            raise UsageError(f"{self.session[:120]!r} is no id of a session")
        if not -1000 <= self.priority <= 1000:
            raise UsageError(f"priority {self.priority} is out of bounds", fix="from -1000 to 1000")

    def entry(self) -> Entry:
        """The same, as the queue holds it."""
        session = self.session or f"{self.kind}-{os.urandom(6).hex()}"
        return Entry(session, self.kind, {"options": dict(self.options)}, self.org, self.priority)


def enqueue(url: str, work: Work) -> str:
    """Queue one session; its id. Raises ProviderError when the database cannot be reached, UsageError."""
    return enqueue_all(url, [work])[0]


def enqueue_all(url: str, works: Sequence[Work]) -> list[str]:
    """Queue many, a thousand per transaction; their ids in the same order. Raises as `enqueue`."""
    return asyncio.run(put(url, works))


async def put(url: str, works: Sequence[Work]) -> list[str]:
    """The same for whoever runs an event loop."""
    entries = [work.entry() for work in works]
    async with Queue.open(url) as queue:
        await queue.put(entries)
    return [entry.session for entry in entries]


def jobs(
    url: str, prefix: str = "", *, states: Sequence[State] = (), org: str = "", limit: int = 1000
) -> list[Shown]:
    """Sessions of the queue, newest first: those whose id starts with `prefix`."""
    return _ask(url, lambda queue: queue.shown(prefix, states=states, org=org, limit=limit))


def counts(url: str) -> dict[tuple[str, State], int]:
    """How many sessions of each kind are in each state."""
    return _ask(url, lambda queue: queue.counts())


def cancel(url: str, session: str) -> bool:
    """End a session: at once while it waits, between two acts at work. False when it is over already."""
    return _ask(url, lambda queue: queue.cancel(session))


def retry(url: str, session: str) -> bool:
    """Queue a session that is held, failed or cancelled again; it goes on where it was. False for others."""
    return _ask(url, lambda queue: queue.again(session))


def set_aside(url: str) -> int:
    """End all that waits or was at work when a backup was made, until it is tried again; how many that were.

    Raises UsageError while a worker lives.
    """
    return _ask(url, lambda queue: queue.set_aside(LEASE_S))


def cancel_all(url: str, sessions: Sequence[str]) -> None:
    """End many; those that are over stay as they are."""
    _each(url, sessions, lambda queue, session: queue.cancel(session))


def retry_all(url: str, sessions: Sequence[str]) -> None:
    """Queue many again that are held, failed or cancelled."""
    _each(url, sessions, lambda queue, session: queue.again(session))


def only_key(url: str, name: str, mine: str) -> str:
    """What the first of the fleet said under this name; `mine` when this is the first."""
    return _ask(url, lambda queue: queue.only_key(name, mine))


def limit(url: str, org: str, *, at_once: int | None = None, per_hour: int | None = None) -> None:
    """Bound an org: sessions at work at once, and begun per hour; None: no bound."""
    _ask(url, lambda queue: queue.limit(org, at_once=at_once, per_hour=per_hour))


def fetch(url: str, store: str, session: str, out: Path) -> None:
    """Lay out what the store has of a session's folder in `out`, a new folder: copy, results, artefacts.

    Raises UsageError when the store has nothing of it, or `out` is there already.
    """
    tree = _ask(url, lambda queue: queue.tree(session))
    if not tree:
        raise UsageError(f"the store has nothing of {session!r}", why="nothing of it was kept yet")
    if out.exists():
        raise UsageError(
            f"{str(out)!r} is there already", why="nothing is overwritten", fix="name a new folder"
        )
    Copies(open_store(store), out).restore(tree)


def prepare(url: str, worker: str = "", *, bound: bool = False) -> None:
    """Make the queue's tables as their owner, and let the role `worker` use them.

    bound: only members of `worker` may name the organisation of the address.
    """
    if bound and not worker:
        raise UsageError(
            "--bound without a role", why="it binds the organisation to one", fix="--worker ROLE"
        )

    async def make(queue: Queue) -> None:
        await queue.prepare(worker)
        if bound:
            await queue.bind(org_of(url), worker)

    _ask(url, make)


def upload(store: str, source: Path) -> str:
    """Put a project into the workers' store, without history and environments; what to name as source.

    What its policy file withholds is not known here: upload what every worker may see. Raises ProviderError.
    """
    return f"tree:{Copies(open_store(store), source).save_source().tree}"


def _each(url: str, sessions: Sequence[str], act: Callable[[Queue, str], Coroutine[Any, Any, bool]]) -> None:
    async def each(queue: Queue) -> None:
        for session in sessions:
            await act(queue, session)

    if sessions:
        _ask(url, each)


def _ask[T](url: str, question: Callable[[Queue], Coroutine[Any, Any, T]]) -> T:
    async def ask() -> T:
        async with Queue.open(url) as queue:
            return await question(queue)

    return asyncio.run(ask())
