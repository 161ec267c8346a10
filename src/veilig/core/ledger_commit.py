"""How does a transaction of the ledger become true, and stay true?"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from veilig.core.clock import Clock
from veilig.core.errors import LedgerError
from veilig.core.ledger_anchor import Anchor, Anchored
from veilig.core.ledger_checkpoint import Checkpoint, SigningKey, append_checkpoint
from veilig.core.ledger_event import ERASED, commitment, tampered
from veilig.core.ledger_file import read_head, translated, unwritable, write_head
from veilig.core.ledger_file_tx import FileTx
from veilig.core.ledger_head import Head
from veilig.core.ledger_store import LEDGER_SESSION, Done, Failed, Places, WriterTurn
from veilig.core.ledger_tx import Tx


class Committer:
    """The one writing connection of a process, its lock, and the anchors that follow each commit."""

    def __init__(
        self,
        db: sqlite3.Connection,
        path: Path,
        places: Places,
        *,
        ledger_id: str,
        clock: Clock,
        checkpoint_events: int,
        checkpointed_size: int,
    ) -> None:
        self._db = db
        self._path = path
        self._places = places
        self._id = ledger_id
        self._clock = clock
        self._checkpoint_events = checkpoint_events
        self._checkpointed_size = checkpointed_size
        self._anchor = Anchor(places.anchor, places.ledger)
        self._turn = WriterTurn()
        self._inode = _inode(path)
        self._known = read_head(db)
        self._unanchored: Anchored | None = None
        self._synchronous = ""
        self._key: SigningKey | None = None

    def run(self, requests: Sequence[Callable[[Tx], object]], *, durable: bool) -> list[Done | Failed]:
        """As `LedgerStore.run`; no request is run twice."""
        with self._turn:
            try:
                self._settle()
                return self._transaction(requests, durable=durable)
            except sqlite3.Error as error:
                raise translated(error, self._path, seq=self._known.size + 1) from error

    def checkpoint(self) -> Checkpoint:
        """Sign what is in the ledger now, after making it durable. Raises LedgerError for an empty one."""
        with self._turn:
            try:
                return self._checkpoint()
            except sqlite3.Error as error:
                raise translated(error, self._path, seq=self._known.size + 1) from error

    def erase(self, seqs: Sequence[int], said: Callable[[Tx], object]) -> None:
        """As `LedgerStore.erase`. What stood in the pages is overwritten (secure_delete)."""

        def request(tx: Tx) -> None:
            said(tx)
            self._db.execute("PRAGMA secure_delete = ON")
            for seq in seqs:
                body, salt = self._db.execute(
                    "SELECT body, salt FROM events WHERE seq = ?", (seq,)
                ).fetchone()
                row = (ERASED, commitment(salt, body), seq)
                self._db.execute("UPDATE events SET body = ?, salt = ? WHERE seq = ?", row)

        for result in self.run([request], durable=True):
            if isinstance(result, Failed):
                raise result.error
        with self._turn:
            try:  # the log still holds the pages as they were
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise translated(error, self._path) from error

    def close(self) -> None:
        """Release the file. A second call does nothing."""
        self._turn.close(self._release)

    def _release(self) -> None:
        self._anchor.close()
        self._db.close()

    def _settle(self) -> None:
        """Catch up with what should follow a commit; as long as that fails, nothing new is recorded."""
        if self._unanchored is not None:
            self._anchor.write(self._unanchored)
            self._unanchored = None
        overdue = self._known.size - self._checkpointed_size
        if self._checkpoint_events and overdue >= self._checkpoint_events:
            self._checkpoint()

    def _transaction(
        self, requests: Sequence[Callable[[Tx], object]], *, durable: bool
    ) -> list[Done | Failed]:
        before = head = self._begin(durable=durable)
        try:
            results: list[Done | Failed] = []
            for request in requests:
                result, head = self._one(request, head)
                results.append(result)
            if head.size != before.size:
                write_head(self._db, head)
            self._db.execute("COMMIT")
        except BaseException:
            self._rollback()
            raise
        self._known = head
        if durable and head.size != before.size:
            self._follow_up(head)
        return results

    def _one(self, request: Callable[[Tx], object], head: Head) -> tuple[Done | Failed, Head]:
        self._db.execute("SAVEPOINT request")
        tx = FileTx(self._db, head, self._clock)
        try:
            value = request(tx)
            after = tx.finish()
        except BaseException as error:
            tx.discard()
            if not self._db.in_transaction:  # SQLite gave up the whole transaction (disk full)
                raise
            self._db.execute("ROLLBACK TO request")
            self._db.execute("RELEASE request")
            if isinstance(error, sqlite3.Error):
                ours = translated(error, self._path, seq=head.size + 1)
                ours.__cause__ = error
                return Failed(ours), head
            return Failed(error), head
        self._db.execute("RELEASE request")
        return Done(value), after

    def _begin(self, *, durable: bool) -> Head:
        if _inode(self._path) != self._inode:
            raise LedgerError(
                f"the ledger {str(self._path)!r} was replaced while it was open",
                why="what would be written now could not be found again",
                fix="stop, look who did it, and open it again",
            )
        synchronous = "FULL" if durable else "NORMAL"
        if synchronous != self._synchronous:
            self._db.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        self._db.execute("BEGIN IMMEDIATE")
        try:
            head = read_head(self._db)
            shrunk = head.size < self._known.size
            if shrunk or (head.size == self._known.size and head.hash != self._known.hash):
                raise tampered(head.size + 1 if shrunk else head.size, "it changed back while it was open")
        except BaseException:
            self._rollback()
            raise
        return head

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _follow_up(self, head: Head) -> None:
        anchored = Anchored(head.size, head.hash, head.frontier.root())
        try:
            self._anchor.write(anchored)
        except LedgerError:
            # The events are committed, so this call succeeded; the next refuses until the anchor stands.
            self._unanchored = anchored

    def _checkpoint(self) -> Checkpoint:
        head = self._begin(durable=True)
        try:
            if not head.size:
                raise LedgerError("an empty ledger has nothing to sign", fix="record something first")
            write_head(self._db, head)  # a write, so that the commit puts everything before it on disk
            self._db.execute("COMMIT")
        except BaseException:
            self._rollback()
            raise
        self._known = head
        self._follow_up(head)
        if self._key is None:
            self._key = SigningKey(self._places.key, create=True)
        checkpoint = self._key.sign(
            ledger=self._id,
            size=head.size,
            root=head.frontier.root(),
            last=head.hash,
            boot=self._clock.boot_id(),
            wall_ms=int(self._clock.wall_s() * 1000),
        )
        append_checkpoint(self._places.checkpoints, checkpoint)
        self._checkpointed_size = head.size
        # Said in the ledger too, so that a checkpoint removed from its file is missed.
        said: Callable[[Tx], object] = lambda tx: tx.append(  # noqa: E731
            "ledger.checkpointed",
            LEDGER_SESSION,
            {"size": checkpoint.size, "root": checkpoint.root, "key": checkpoint.key},
        )
        # Durable, so that the anchor moves too: a normal end leaves nothing to warn of.
        for result in self._transaction([said], durable=True):
            if isinstance(result, Failed):
                raise result.error
        return checkpoint


def _inode(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116  # half the time of Path.stat, before every transaction
    except OSError as error:
        raise unwritable(path, error) from error
    return found.st_dev, found.st_ino
