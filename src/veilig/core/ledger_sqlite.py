"""How does one SQLite file keep a ledger? Several processes of one machine may use it at a time."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

from veilig.core.clock import Clock, SystemClock
from veilig.core.errors import LedgerError
from veilig.core.ledger_anchor import lost_ledger
from veilig.core.ledger_checkpoint import Checkpoint, parse_checkpoint, read_checkpoints
from veilig.core.ledger_commit import Committer
from veilig.core.ledger_event import COLUMNS, Row
from veilig.core.ledger_file import connect, create_file, ledger_id, moved_to, read_head, translated
from veilig.core.ledger_file_tx import row_query
from veilig.core.ledger_head import Head
from veilig.core.ledger_open import check_end, file_end
from veilig.core.ledger_store import Done, Failed, SessionSummary, places_of
from veilig.core.ledger_tx import Tx


class FileStore:
    """An open ledger file: one writing connection, one reading, and the anchors beside it."""

    far = False

    def __init__(self, path: Path, identity: str, committer: Committer, reader: sqlite3.Connection) -> None:
        self.path = path
        self.id = identity
        self._committer = committer
        self._reader = reader
        self._reading = threading.Lock()
        self._closed = False

    @classmethod
    def open(
        cls, path: Path, anchor_dir: Path, clock: Clock | None, *, create: bool, checkpoint_events: int
    ) -> Self:
        """As `Ledger.open`."""
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
            _must_be_here(db, path)
            identity = ledger_id(db)
            places = places_of(path, anchor_dir, identity)
            checkpoints, _ = read_checkpoints(places.checkpoints, identity)
            check_end(partial(file_end, db), places, checkpoints)
            committer = Committer(
                db,
                path,
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

    @property
    def place(self) -> Path:
        """The file."""
        return self.path

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Release the files."""
        with self._reading:
            if not self._closed:
                self._closed = True
                self._reader.close()
        self._committer.close()  # last: it folds the write-ahead log into the file, which a reader may not

    def run(self, requests: Sequence[Callable[[Tx], object]], *, durable: bool) -> list[Done | Failed]:
        """In one transaction."""
        return self._committer.run(requests, durable=durable)

    def checkpoint(self) -> Checkpoint:
        """Signed, in the file beside the anchor."""
        return self._committer.checkpoint()

    def erase(self, seqs: Sequence[int], said: Callable[[Tx], object]) -> None:
        """Overwritten in the file and its log."""
        self._committer.erase(seqs, said)

    def rows(
        self, session: str | None, names: Collection[str] | None, after: int, limit: int
    ) -> tuple[list[Row], LedgerError | None]:
        """As far as they can be read."""
        query, values = row_query(session=session, names=names, after=after, limit=limit)
        rows: list[Row] = []
        with self._reading:
            try:
                rows.extend(self._open_reader().execute(query, values))
            except sqlite3.Error as error:
                return rows, translated(error, self.path, seq=(rows[-1][0] if rows else after) + 1)
        return rows, None

    def newest(self, session: str) -> int:
        """By the index."""
        row = self._one("SELECT max(seq) FROM events WHERE session = ?", session)
        return cast(int, row[0]) if row is not None and row[0] is not None else 0

    def sessions(self) -> list[SessionSummary]:
        """By the index."""
        query = (
            "SELECT s.session, s.n, s.first, s.last, a.wall_ms, b.wall_ms, b.name FROM (SELECT session,"
            " count(*) AS n, min(seq) AS first, max(seq) AS last FROM events GROUP BY session) AS s"
            " JOIN events AS a ON a.seq = s.first JOIN events AS b ON b.seq = s.last ORDER BY s.first"
        )
        return [SessionSummary(*row) for row in self._all(query)]

    def size(self) -> int:
        """From the head row."""
        row = self._one("SELECT size FROM head")
        return cast(int, row[0]) if row else 0

    def leaves(self, after: int = 0) -> list[bytes]:
        """One column."""
        return [row[0] for row in self._all("SELECT leaf FROM events WHERE seq > ? ORDER BY seq", (after,))]

    def version(self) -> object:
        """What SQLite counts of other connections' commits, this process's writer included."""
        row = self._one("PRAGMA data_version")
        return row[0] if row is not None else None

    def stamp(self) -> tuple[int, int] | None:
        """Time and size of the write-ahead log; None without one."""
        try:
            found = os.stat(f"{self.path}-wal")  # noqa: PTH116  # half the time of Path.stat, per request
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    async def change(self, poll_s: float) -> None:
        """A file tells nobody: look again soon."""
        await asyncio.sleep(poll_s)

    @contextmanager
    def snapshot(self) -> Generator["FileSnapshot"]:
        """By a connection of its own."""
        with file_snapshot(self.path) as found:
            yield found

    def _all(self, query: str, given: Sequence[object] = ()) -> list[Any]:
        with self._reading:
            try:
                return self._open_reader().execute(query, given).fetchall()
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

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


class FileSnapshot:
    """One read transaction over a ledger file."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self.place = path
        self.id = ledger_id(db)

    def rows(self, after: int = 0) -> Iterator[Row]:
        """In the order of the table itself, whatever an index says."""
        query = f"SELECT {COLUMNS} FROM events NOT INDEXED WHERE seq > ? ORDER BY seq"  # noqa: S608  # constant
        seq = after
        try:
            for row in cast(Iterator[Row], self._db.execute(query, (after,))):
                seq = row[0] if isinstance(row[0], int) else seq + 1  # pyright: ignore[reportUnnecessaryIsInstance]
                yield row
        except sqlite3.Error as error:
            raise translated(error, self.place, seq=seq + 1) from error

    def head(self) -> Head:
        """The head row."""
        return read_head(self._db)

    def counters(self) -> set[tuple[str, int, int]]:
        """The table."""
        return set(self._db.execute("SELECT key, t_ms, seq FROM counters"))

    def claims(self) -> set[tuple[str, int]]:
        """The table."""
        return set(self._db.execute("SELECT key, seq FROM claims"))

    def leases(self) -> set[tuple[str, int, int]]:
        """The table."""
        return set(self._db.execute("SELECT session, token, seq FROM leases"))

    def checkpoints(self) -> list[Checkpoint]:
        """Those of other machines, of a ledger that was moved here from a database."""
        query = "SELECT value FROM meta WHERE key LIKE 'checkpoint:%' ORDER BY key"
        return [parse_checkpoint(row[0].encode(), self.id) for row in self._db.execute(query)]

    def damage(self) -> str:
        """What SQLite's own check says."""
        found = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        return "" if found == "ok" else str(found)


@contextmanager
def file_snapshot(path: Path) -> Generator[FileSnapshot]:
    """A ledger file as it is now, frozen; its end is not compared with the anchors. Raises LedgerError."""
    db = connect(path, write=False)
    try:
        db.execute("BEGIN")
        yield FileSnapshot(db, path)
        db.execute("COMMIT")
    except sqlite3.Error as error:
        raise translated(error, path) from error
    finally:
        db.close()


def _must_be_here(db: sqlite3.Connection, path: Path) -> None:
    if place := moved_to(db):
        raise LedgerError(
            f"the ledger {str(path)!r} was moved to {place}",
            why="two that go on would be two histories",
            fix="name the new place (VEILIG_LEDGER, or ledger.store in veilig.yaml)",
        )


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
