"""What happened, and can anybody have changed it since? The append-only, hash-chained, Merkle-tree event log.

One SQLite file holds the events of all sessions. An event's leaf is the RFC 9162 hash of its
canonical JSON; its hash chains it to everything before; the head record and the signed checkpoints
outside the file keep its length and content honest. Several processes may use one ledger at a time.
"""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from veilig.core.clock import Clock, SystemClock
from veilig.core.errors import LedgerError
from veilig.core.ledger_anchor import lost_ledger
from veilig.core.ledger_checkpoint import Checkpoint, read_checkpoints
from veilig.core.ledger_commit import Committer, Failed, places_of
from veilig.core.ledger_event import Draft, Event, Row, read_row
from veilig.core.ledger_file import connect, create_file, ledger_id, translated
from veilig.core.ledger_open import check_end
from veilig.core.ledger_proof import (
    ConsistencyProof,
    InclusionProof,
    consistency_proof,
    export_lines,
    inclusion_proof,
)
from veilig.core.ledger_queue import GroupCommit
from veilig.core.ledger_tx import Tx, row_query
from veilig.core.limits import CHECKPOINT_EVENTS

__all__ = ["Draft", "Event", "Ledger", "SessionSummary", "Tx"]

CHUNK_EVENTS = 1000  # per read: no reader holds a snapshot that keeps the write-ahead log from shrinking
FOLLOW_POLL_S = 0.05  # another process's event is seen before a person notices the wait


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """What the ledger holds of one session; wall times are for people."""

    session: str
    events: int
    first_seq: int
    last_seq: int
    first_wall_ms: int
    last_wall_ms: int
    last_name: str


class Ledger:
    """An open ledger. Close it, or use it in a `with` statement."""

    def __init__(self, path: Path, identity: str, committer: Committer, reader: sqlite3.Connection) -> None:
        self.path = path
        self.id = identity
        self._committer = committer
        self._queue = GroupCommit(committer)
        self._reader = reader
        self._reading = threading.Lock()
        self._closed = False

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
        at least this often; 0 only when `checkpoint` is called.
        Raises LedgerError when it cannot be used (missing, unreadable, read-only, of a newer veilig, not a
        ledger, its anchor is gone, or a ledger with events stood here and is gone); LedgerTampered when its
        end is not what the anchors vouch for.
        """
        if not path.exists():
            _must_not_be_lost(path, anchor_dir, create=create)
            create_file(path)
        db = connect(path, write=True)
        try:
            reader = connect(path, write=False)
        except BaseException:
            db.close()
            raise
        try:
            identity = ledger_id(db)
            places = places_of(path, anchor_dir, identity)
            checkpoints, _ = read_checkpoints(places.checkpoints, identity)
            check_end(db, places, checkpoints)
            committer = Committer(
                db,
                places,
                ledger_id=identity,
                clock=clock or SystemClock(),
                checkpoint_events=checkpoint_events,
                checkpointed_size=max((c.size for c in checkpoints), default=0),
            )
        except BaseException as error:
            reader.close()
            db.close()
            if isinstance(error, sqlite3.Error):
                raise translated(error, path) from error
            raise
        return cls(path, identity, committer, reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the writer's thread and release the files; requests that wait get LedgerError. Idempotent."""
        self._queue.close()
        with self._reading:
            if not self._closed:
                self._closed = True
                self._reader.close()
        self._committer.close()  # last: it folds the write-ahead log into the file, which a reader may not

    # --- writing: for the gate and the session only -----------------------------------------------

    def transact[T](self, fn: Callable[[Tx], T], *, durable: bool = True) -> T:
        """What `fn` returns, after everything it appended was committed; an exception leaves nothing.

        durable: on disk when this returns. Otherwise a power cut (not a crash of the process) may lose it,
        never out of order. Blocks; other processes and threads wait. Raises LedgerError.
        """
        result = self._committer.run([fn], durable=durable)[0]
        if isinstance(result, Failed):
            raise result.error
        return cast(T, result.value)

    async def submit[T](self, fn: Callable[[Tx], T], *, durable: bool = True) -> T:
        """As `transact`, without blocking the event loop; what waits at the same time shares one commit.

        `fn` runs in the writer's thread. A caller cancelled before its turn leaves nothing; after it, the
        events are in the ledger.
        """
        return cast(T, await self._queue.submit(fn, durable=durable))

    def append(self, drafts: Sequence[Draft], *, durable: bool = True) -> list[Event]:
        """All drafts in one transaction."""
        return self.transact(
            lambda tx: [tx.append(d.name, d.session, d.body) for d in drafts], durable=durable
        )

    def checkpoint(self) -> Checkpoint:
        """Make everything durable and sign it. Raises LedgerError for an empty ledger or an unusable key."""
        return self._committer.checkpoint()

    # --- reading ----------------------------------------------------------------------------------

    def events(
        self,
        session: str | None = None,
        *,
        after: int = 0,
        names: Collection[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        """Committed events with seq > `after`, in order. Each content is checked against its hash.

        Raises LedgerTampered at the first event that is not what was written, after the good ones.
        """
        left = limit
        while left is None or left > 0:
            size = CHUNK_EVENTS if left is None else min(CHUNK_EVENTS, left)
            rows, error = self._rows(session, names, after, size)
            for row in rows:
                yield read_row(row)
            if error is not None:
                raise error
            if len(rows) < size:
                return
            after = rows[-1][0]
            left = None if left is None else left - len(rows)

    def last(self, session: str) -> Event | None:
        """The newest event of a session."""
        row = self._one("SELECT max(seq) FROM events WHERE session = ?", session)
        if row is None or row[0] is None:
            return None
        return next(self.events(session, after=cast(int, row[0]) - 1, limit=1))

    def sessions(self) -> list[SessionSummary]:
        """Every session, by its first event."""
        query = (
            "SELECT s.session, s.n, s.first, s.last, a.wall_ms, b.wall_ms, b.name FROM (SELECT session,"
            " count(*) AS n, min(seq) AS first, max(seq) AS last FROM events GROUP BY session) AS s"
            " JOIN events AS a ON a.seq = s.first JOIN events AS b ON b.seq = s.last ORDER BY s.first"
        )
        with self._reading:
            try:
                return [SessionSummary(*row) for row in self._open_reader().execute(query)]
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    def size(self) -> int:
        """How many events are committed."""
        row = self._one("SELECT size FROM head")
        return cast(int, row[0]) if row else 0

    async def follow(
        self, after: int = 0, session: str | None = None, *, poll_s: float = FOLLOW_POLL_S
    ) -> AsyncIterator[Event]:
        """Every event with seq > `after`, now and to come, from any process, until the ledger is closed."""
        version = -1
        while not self._closed:
            row = self._one("PRAGMA data_version")
            if row is not None and row[0] == version:
                await asyncio.sleep(poll_s)
                continue
            version = cast(int, row[0]) if row else -1
            found = True
            while found and not self._closed:
                chunk = list(self.events(session, after=after, limit=CHUNK_EVENTS))
                for event in chunk:
                    after = event.seq
                    yield event
                found = len(chunk) == CHUNK_EVENTS

    # --- proving ----------------------------------------------------------------------------------

    def prove(self, seq: int) -> InclusionProof:
        """That event `seq` is in the ledger as it is now: an RFC 9162 audit path. Raises LedgerError."""
        return inclusion_proof(self._leaves(), seq)

    def prove_consistency(self, size1: int, size2: int) -> ConsistencyProof:
        """That the first `size1` events are a prefix of the first `size2`. Raises LedgerError."""
        return consistency_proof(self._leaves(), size1, size2)

    def export(self, session: str | None = None) -> Iterator[str]:
        """A session (default: everything) as JSON lines; `verify_export` checks them without this ledger."""
        leaves = self._leaves()
        events = [event for event in self.events(session) if event.seq <= len(leaves)]
        return export_lines(self.id, leaves, events)

    # --- helpers ----------------------------------------------------------------------------------

    def _leaves(self) -> list[bytes]:
        with self._reading:
            try:
                return [row[0] for row in self._open_reader().execute("SELECT leaf FROM events ORDER BY seq")]
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    def _rows(
        self, session: str | None, names: Collection[str] | None, after: int, size: int
    ) -> tuple[list[Row], LedgerError | None]:
        query, values = row_query(session=session, names=names, after=after, limit=size)
        rows: list[Row] = []
        with self._reading:
            try:
                rows.extend(self._open_reader().execute(query, values))
            except sqlite3.Error as error:
                return rows, translated(error, self.path, seq=(rows[-1][0] if rows else after) + 1)
        return rows, None

    def _one(self, query: str, *values: object) -> tuple[object, ...] | None:
        with self._reading:
            try:
                return self._open_reader().execute(query, values).fetchone()
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    def _open_reader(self) -> sqlite3.Connection:
        if self._closed:
            raise LedgerError("the ledger is closed", fix="open it again")
        return self._reader


def _must_not_be_lost(path: Path, anchor_dir: Path, *, create: bool) -> None:
    if not create:
        raise LedgerError(
            f"there is no ledger at {str(path)!r}", why="nothing was made", fix="check the path"
        )
    if anchor_dir.is_dir() and (anchor := lost_ledger(anchor_dir, path)):
        raise LedgerError(
            f"the ledger {str(path)!r} is gone",
            why="it held events (budgets, approvals): starting anew would forget them",
            fix=f"restore it, or move {str(anchor)!r} away to start anew on purpose",
        )
