"""What happened, and can anybody have changed it since? The append-only, hash-chained, Merkle-tree event log.

A store holds the events of all sessions: one SQLite file, or PostgreSQL. An event's leaf is the RFC 9162 hash
of its canonical JSON; its hash chains it to everything before; the head record and the signed checkpoints
outside the store keep its length and content honest. Several processes may use one ledger at a time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from veilig.core.clock import Clock
from veilig.core.errors import LedgerError
from veilig.core.ledger_checkpoint import Checkpoint
from veilig.core.ledger_event import Draft, Event, read_row
from veilig.core.ledger_proof import ConsistencyProof, InclusionProof, Prover, export_lines
from veilig.core.ledger_queue import GroupCommit
from veilig.core.ledger_sqlite import FileStore
from veilig.core.ledger_store import Failed, LedgerStore, SessionSummary
from veilig.core.ledger_tx import Tx
from veilig.core.limits import CHECKPOINT_EVENTS

__all__ = ["Draft", "Event", "Ledger", "LedgerStore", "SessionSummary", "Tx"]

CHUNK_EVENTS = 1000  # per read: no reader holds a snapshot that keeps the write-ahead log from shrinking
FOLLOW_POLL_S = 0.05  # another process's event is seen before a person notices the wait


class Ledger:
    """An open ledger. Close it, or use it in a `with` statement."""

    def __init__(self, store: LedgerStore) -> None:
        self.id = store.id
        self._store = store
        self._queue = GroupCommit(store)
        self._prover = Prover(store.leaves)
        self._fence: tuple[str, int] | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        anchor_dir: Path,
        clock: Clock | None = None,
        create: bool = True,
        checkpoint_events: int = CHECKPOINT_EVENTS,
    ) -> Self:
        """The ledger at `path`, made when missing and `create`; what is beside it in `anchor_dir` must agree.

        anchor_dir: a folder outside the reach of whoever could change the ledger. checkpoint_events: sign
        at least this often; 0 only when `checkpoint` is called. (`stores.open_ledger` knows PostgreSQL, too.)
        Raises LedgerError when it cannot be used (missing, unreadable, read-only, of a newer veilig, not a
        ledger, its anchor is gone, or a ledger with events stood here and is gone); LedgerTampered when its
        end is not what the anchors vouch for.
        """
        store = FileStore.open(path, anchor_dir, clock, create=create, checkpoint_events=checkpoint_events)
        return cls(store)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the writer's thread and release the store; requests that wait get LedgerError. Idempotent."""
        self._queue.close()
        self._store.close()

    @property
    def place(self) -> str:
        """What people are shown: the path, or the address without its password."""
        return str(self._store.place)

    @property
    def path(self) -> Path:
        """The file. Raises LedgerError for a ledger that is kept by a server."""
        place = self._store.place
        if isinstance(place, Path):
            return place
        raise LedgerError(f"the ledger {place} is no file", fix="use a command that takes either")

    def stamp(self) -> tuple[int, int] | None:
        """(time in ns, size) of what every commit changes; None when only a look (`size`) tells."""
        return self._store.stamp()

    @property
    def far(self) -> bool:
        """Whether reading may wait for a network: an event loop reads in a thread then."""
        return self._store.far

    # --- writing: for the gate and the session only -----------------------------------------------

    def fenced(self, session: str, token: int) -> Self:
        """This ledger for the holder of a lease: each transaction first checks that the lease still stands.

        `transact`, `submit` and `append` of what is returned raise Fenced once somebody took the session
        over, and nothing is recorded then. Both share the store: closing one closes it for both.
        """
        view = copy(self)
        view._fence = (session, token)
        return view

    def transact[T](self, fn: Callable[[Tx], T], *, durable: bool = True) -> T:
        """What `fn` returns, after everything it appended was committed; an exception leaves nothing.

        durable: on disk when this returns. Otherwise a power cut (not a crash of the process) may lose it,
        never out of order. Blocks; other processes and threads wait. `fn` may run twice when a server's
        commit failed: it acts through its Tx only. Raises LedgerError.
        """
        result = self._store.run([self._guarded(fn)], durable=durable)[0]
        if isinstance(result, Failed):
            raise result.error
        return cast(T, result.value)

    async def submit[T](self, fn: Callable[[Tx], T], *, durable: bool = True) -> T:
        """As `transact`, without blocking the event loop; what waits at the same time shares one commit.

        `fn` runs in the writer's thread. A caller cancelled before its turn leaves nothing; after it, the
        events are in the ledger.
        """
        return cast(T, await self._queue.submit(self._guarded(fn), durable=durable))

    def append(self, drafts: Sequence[Draft], *, durable: bool = True) -> list[Event]:
        """All drafts in one transaction."""
        return self.transact(
            lambda tx: [tx.append(d.name, d.session, d.body) for d in drafts], durable=durable
        )

    def lease(self, session: str, holder: str) -> int:
        """Take the session for `holder`: the token for `fenced`. Every earlier token is fenced off."""
        return self.transact(lambda tx: tx.lease(session, holder))

    def checkpoint(self) -> Checkpoint:
        """Make everything durable and sign it. Raises LedgerError for an empty ledger or an unusable key."""
        return self._store.checkpoint()

    def erase(self, seqs: Sequence[int], said: Callable[[Tx], object]) -> None:
        """Replace these bodies by their commitments and record `said`; `ledger_erase` says which may go."""
        self._store.erase(seqs, said)

    def _guarded[T](self, fn: Callable[[Tx], T]) -> Callable[[Tx], T]:
        if self._fence is None:
            return fn
        session, token = self._fence

        def guarded(tx: Tx) -> T:
            tx.must_hold(session, token)
            return fn(tx)

        return guarded

    # --- reading ----------------------------------------------------------------------------------

    def events(
        self,
        session: str | None = None,
        *,
        after: int = 0,
        names: Collection[str] | None = None,
        limit: int | None = None,
        erased: bool = False,
    ) -> Iterator[Event]:
        """Committed events with seq > `after`, in order. Each content is checked against its hash.

        erased: those whose body was erased, too; what folds events wants none of them. Raises
        LedgerTampered at the first event that is not what was written, after the good ones.
        """
        left = limit
        while left is None or left > 0:
            size = CHUNK_EVENTS if left is None else min(CHUNK_EVENTS, left)
            rows, error = self._store.rows(session, names, after, size)
            for row in rows:
                event = read_row(row)
                if erased or not event.erased:
                    left = None if left is None else left - 1
                    yield event
            if error is not None:
                raise error
            if len(rows) < size:
                return
            after = rows[-1][0]

    def last(self, session: str) -> Event | None:
        """The newest event of a session."""
        seq = self._store.newest(session)
        return next(self.events(session, after=seq - 1, limit=1, erased=True), None) if seq else None

    def sessions(self) -> list[SessionSummary]:
        """Every session, by its first event."""
        return self._store.sessions()

    def size(self) -> int:
        """How many events are committed."""
        return self._store.size()

    async def follow(
        self, after: int = 0, session: str | None = None, *, poll_s: float = FOLLOW_POLL_S
    ) -> AsyncIterator[Event]:
        """Every event with seq > `after`, now and to come, from any process, until the ledger is closed."""
        version: object = None
        while not self._store.closed:
            try:
                seen = await self.read(self._store.version)
            except LedgerError:
                if self._store.closed:  # meanwhile
                    return
                raise
            if version is not None and seen == version:
                await self._store.change(poll_s)
                continue
            version = seen
            found = True
            while found and not self._store.closed:
                chunk = await self.read(partial(self._chunk, session, after))
                for event in chunk:
                    after = event.seq
                    yield event
                found = len(chunk) == CHUNK_EVENTS

    # --- proving ----------------------------------------------------------------------------------

    def prove(self, seq: int) -> InclusionProof:
        """That event `seq` is in the ledger as it is now: an RFC 9162 audit path. Raises LedgerError."""
        return self.prove_all([seq])[0]

    def prove_all(self, seqs: Sequence[int]) -> list[InclusionProof]:
        """The same for many events, under one root. The tree is kept for the next proof: 64 bytes of hashes
        for each event of the ledger, read once.
        """
        return self._prover.inclusion(seqs)

    def prove_consistency(self, size1: int, size2: int) -> ConsistencyProof:
        """That the first `size1` events are a prefix of the first `size2`. Raises LedgerError."""
        return self._prover.consistency(size1, size2)

    def export(self, session: str | None = None) -> Iterator[str]:
        """A session (default: everything) as JSON lines; `verify_export` checks them without this ledger."""
        leaves = self._store.leaves()
        events = [event for event in self.events(session, erased=True) if event.seq <= len(leaves)]
        return export_lines(self.id, leaves, events)

    def _chunk(self, session: str | None, after: int) -> list[Event]:
        return list(self.events(session, after=after, limit=CHUNK_EVENTS))

    async def read[T](self, fn: Callable[[], T]) -> T:
        """What `fn` reads here; in a thread where that waits for a network, so that no event loop does."""
        return await asyncio.to_thread(fn) if self._store.far else fn()
