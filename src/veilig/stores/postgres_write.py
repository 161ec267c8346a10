"""How does a transaction reach the database once, and only once?

It locks the organisation's head row, so there is one writer at a time, appends the whole batch in one
statement and commits. When the connection is cut and nobody can tell whether the commit happened, the chain
tells: the hash of the batch's last event is in it, or the batch is recorded again. Never twice.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from veilig.core.clock import Clock
from veilig.core.errors import LedgerError
from veilig.core.ledger_anchor import Anchor, Anchored
from veilig.core.ledger_checkpoint import Checkpoint, SigningKey, append_checkpoint, checkpoint_line
from veilig.core.ledger_event import ERASED, commitment, tampered
from veilig.core.ledger_head import Head, head_of
from veilig.core.ledger_store import LEDGER_SESSION, Done, Failed, Places, WriterTurn
from veilig.core.ledger_tx import Tx
from veilig.stores.address import Address
from veilig.stores.postgres_link import PATIENCE_S, connect, passing, translated
from veilig.stores.postgres_listen import channel_of
from veilig.stores.postgres_look import AGAIN_S
from veilig.stores.postgres_schema import check_role, check_schema
from veilig.stores.postgres_tx import Batch, ServerTx

if TYPE_CHECKING:
    from psycopg import Connection

LIVE = 0x7665_696D  # class of the advisory lock that every open writer shares; a move wants it alone
_LOCK_HEAD = (
    "SELECT h.size, h.hash, h.t_ms, h.boot, h.up_ms, h.peaks, h.signed, o.state, coalesce(o.moved_to, '')"
    " FROM veilig.head AS h JOIN veilig.orgs AS o USING (org) WHERE h.org = %s FOR UPDATE OF h"
)
_HASH = "SELECT hash FROM veilig.events WHERE org = %s AND seq = %s"
_BOOT = "SELECT t_ms, up_ms FROM veilig.events WHERE org = %s AND boot = %s ORDER BY seq DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class _Sent:
    """A commit whose answer did not come: what the chain holds if it happened."""

    head: Head
    results: list[Done | Failed]
    signed: Checkpoint | None


class _CutError(Exception):
    """The connection is gone. `sent`: a commit was under way."""

    def __init__(self, sent: _Sent | None) -> None:
        super().__init__()
        self.sent = sent


class Writer:
    """The one writing connection of a process, its lock, and the anchor that follows each commit."""

    def __init__(
        self,
        address: Address,
        identity: str,
        places: Places,
        clock: Clock,
        checkpoint_events: int,
        head: Head,
    ) -> None:
        self.id = identity
        self._address = address
        self._places = places
        self._clock = clock
        self._checkpoint_events = checkpoint_events
        self._anchor = Anchor(places.anchor, places.ledger)
        self._unanchored: Anchored | None = None
        self._known = head
        self._db: Connection[Any] | None = None
        self._turn = WriterTurn()
        self._key: SigningKey | None = None

    def close(self) -> None:
        """End the connection. A second call does nothing."""
        self._turn.close(self._release)

    def _release(self) -> None:
        self._drop()
        self._anchor.close()

    def run(self, requests: Sequence[Callable[[Tx], object]], *, durable: bool) -> list[Done | Failed]:
        """As `LedgerStore.run`; a server that is away is waited for, PATIENCE_S at most."""
        return self._run(lambda db: self._attempt(db, requests, durable=durable, sign=False)).results

    def checkpoint(self) -> Checkpoint:
        """In the file beside this machine's anchor, and in the database for all others."""
        signed = self._run(lambda db: self._attempt(db, (), durable=True, sign=True)).signed
        if signed is None:
            raise LedgerError("an empty ledger has nothing to sign", fix="record something first")
        return signed

    def erase(self, seqs: Sequence[int], said: Callable[[Tx], object]) -> None:
        """As `LedgerStore.erase`, by a role that may. The server's dead rows go with its next vacuum."""

        def request(tx: Tx) -> None:
            said(tx)  # first: what it refuses leaves no change behind
            db = cast("Connection[Any]", self._db)
            query = "SELECT salt, body, seq FROM veilig.events WHERE org = %s AND seq = ANY(%s)"
            found = db.execute(query, (self._address.org, list(seqs))).fetchall()
            update = "UPDATE veilig.events SET body = %s, salt = %s WHERE org = %s AND seq = %s"
            with db.cursor() as cursor:
                rows = [(ERASED, commitment(s, body), self._address.org, seq) for s, body, seq in found]
                cursor.executemany(update, rows)

        for result in self.run([request], durable=True):
            if isinstance(result, Failed):
                raise result.error

    def _run(self, attempt: "Callable[[Connection[Any]], _Sent]") -> _Sent:
        """Try until it is committed, or the server was away for too long. Holds the writer's lock."""
        import psycopg

        with self._turn:
            until, pending = time.monotonic() + PATIENCE_S, cast("_Sent | None", None)
            while True:
                try:
                    db = self._writer()
                    if pending is not None and self._happened(db, pending):
                        return self._done(pending)
                    pending = None
                    return self._done(attempt(db))
                except (_CutError, psycopg.Error) as error:
                    self._drop()
                    if isinstance(error, _CutError):
                        pending, cause = error.sent or pending, cast(psycopg.Error, error.__cause__)
                    else:
                        cause = error
                    if cause.sqlstate == "23505":
                        row = self._known.size + 1
                        raise tampered(row, "a row stands where the next event belongs") from error
                    if not passing(cause):
                        raise translated(cause, self._address) from error
                    if time.monotonic() >= until:
                        raise self._given_up(cause, pending) from error
                    time.sleep(AGAIN_S)

    def _attempt(
        self, db: "Connection[Any]", requests: Sequence[Callable[[Tx], object]], *, durable: bool, sign: bool
    ) -> _Sent:
        """One transaction. Raises _CutError when the connection was lost, LedgerError when it must not be."""
        import psycopg

        try:
            self._settle()
            before, signed_size, batch = self._begin(db, durable=durable)
            overdue = self._checkpoint_events and before.size - signed_size >= self._checkpoint_events
            head, signed = before, cast(Checkpoint | None, None)
            if before.size and (sign or overdue):
                if not durable:
                    db.execute("SET LOCAL synchronous_commit = on")
                durable = True
                head, signed = self._sign(batch, before)
            results: list[Done | Failed] = []
            for request in requests:
                result, head = self._one(request, batch, head)
                results.append(result)
        except psycopg.Error as error:
            self._drop()
            raise _CutError(None) from error
        except BaseException:
            self._drop()  # whatever it was, its transaction ends here
            raise
        sent = _Sent(head, results, signed)
        try:
            if head.size == before.size:
                db.execute("ROLLBACK")
                return sent
            with db.pipeline():
                batch.send(head)
                db.execute("COMMIT")
                db.execute("SELECT pg_notify(%s, %s)", (channel_of(self.id), str(head.size)))
        except psycopg.Error as error:
            self._drop()
            raise _CutError(sent) from error
        self._known = head
        if durable:
            self._follow_up(head)
        return sent

    def _begin(self, db: "Connection[Any]", *, durable: bool) -> tuple[Head, int, Batch]:
        org, boot = self._address.org, self._clock.boot_id()
        with db.pipeline():
            db.execute("BEGIN")
            settings = "SELECT set_config('veilig.org', %s, true), set_config('synchronous_commit', %s, true)"
            db.execute(settings, (org, "on" if durable else "off"))
            locked = db.execute(_LOCK_HEAD, (org,))
            known = db.execute(_BOOT, (org, boot))
            mine = db.execute(_HASH, (org, self._known.size))
        row = locked.fetchone()
        if row is None:
            raise tampered(1, "the head row is missing")
        must_be_open((self.id, row[7], row[8]), self._address)
        head = head_of(row[:6])
        shrunk, last = head.size < self._known.size, mine.fetchone()
        if shrunk or (self._known.size and (last is None or last[0] != self._known.hash)):
            raise tampered(
                head.size + 1 if shrunk else self._known.size,
                "it changed back while it was open (a fail-over to a server that lacked what was confirmed?)",
            )
        return head, int(row[6]), Batch(db, org, known.fetchone())

    def _one(self, request: Callable[[Tx], object], batch: Batch, head: Head) -> tuple[Done | Failed, Head]:
        import psycopg

        tx = ServerTx(batch, head, self._clock)
        try:
            value = request(tx)
            after = tx.finish()
        except psycopg.Error:  # the transaction is broken for all of them
            tx.discard()
            raise
        except BaseException as error:  # noqa: BLE001  # handed to the caller who waits
            tx.discard()
            return Failed(error), head
        tx.keep()
        return Done(value), after

    def _sign(self, batch: Batch, head: Head) -> tuple[Head, Checkpoint]:
        if self._key is None:
            self._key = SigningKey(self._places.key, create=True)
        signed = self._key.sign(
            ledger=self.id,
            size=head.size,
            root=head.frontier.root(),
            last=head.hash,
            boot=self._clock.boot_id(),
            wall_ms=int(self._clock.wall_s() * 1000),
        )
        batch.checkpoints.append((signed.size, signed.key, checkpoint_line(signed).rstrip(b"\n")))
        body: dict[str, Any] = {"size": signed.size, "root": signed.root, "key": signed.key}
        said, head = self._one(lambda tx: tx.append("ledger.checkpointed", LEDGER_SESSION, body), batch, head)
        if isinstance(said, Failed):
            raise said.error
        return head, signed

    def _happened(self, db: "Connection[Any]", sent: _Sent) -> bool:
        """Whether the chain holds the commit whose answer was lost; its old connection has ended by then."""
        head, _, _ = self._begin(db, durable=False)  # waits for the head's lock
        row = db.execute(_HASH, (self._address.org, sent.head.size)).fetchone()
        db.execute("ROLLBACK")
        return head.size >= sent.head.size and row is not None and row[0] == sent.head.hash

    def _done(self, sent: _Sent) -> _Sent:
        if sent.signed is not None:
            append_checkpoint(self._places.checkpoints, sent.signed)
        return sent

    def _given_up(self, error: Any, pending: _Sent | None) -> LedgerError:
        found = translated(error, self._address)
        if pending is not None:
            found.why += "; it was in the middle of a commit, which may stand or not: the ledger tells"
        return found

    def _settle(self) -> None:
        if self._unanchored is not None:
            self._anchor.write(self._unanchored)
            self._unanchored = None

    def _follow_up(self, head: Head) -> None:
        anchored = anchored_of(head)
        try:
            self._anchor.write(anchored)
        except LedgerError:
            # The events are committed, so this call succeeded; the next refuses until the anchor stands.
            self._unanchored = anchored

    def _writer(self) -> "Connection[Any]":
        if self._db is None or self._db.closed:
            db = _connected(self._address)
            try:
                check_schema(db, self._address)
                check_role(db)
                db.execute("SELECT pg_advisory_lock_shared(%s, hashtext(%s))", (LIVE, self.id))
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _drop(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _connected(address: Address) -> "Connection[Any]":
    """As `connect`, but psycopg's own error passes: whether it is worth another try is decided above."""
    import psycopg

    try:
        return connect(address)
    except LedgerError as error:
        if isinstance(error.__cause__, psycopg.Error):
            raise error.__cause__ from None
        raise


def anchored_of(head: Head) -> Anchored:
    """What this machine vouches for once `head` is durable."""
    return Anchored(head.size, head.hash, head.frontier.root())


def must_be_open(row: tuple[str, str, str], address: Address) -> str:
    """The id of (id, state, moved_to). Raises LedgerError for a ledger that is not to be written."""
    identity, state, moved = row
    if moved:
        raise LedgerError(
            f"the ledger {address} was moved to {moved}",
            why="two that go on would be two histories",
            fix="name the new place (VEILIG_LEDGER, or ledger.store in veilig.yaml)",
        )
    if state != "open":
        raise LedgerError(
            f"the ledger {address} is being moved here",
            why=f"its state is {state!r}: a move was begun and not finished",
            fix="run the same `veilig ledger move` again",
        )
    return identity
