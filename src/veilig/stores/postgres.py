"""How does a PostgreSQL database keep the ledgers of many machines? One chain per organisation."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from veilig.core.clock import Clock, SystemClock
from veilig.core.errors import LedgerError
from veilig.core.ledger_anchor import create_anchor, lost_ledger
from veilig.core.ledger_checkpoint import Checkpoint, read_checkpoints
from veilig.core.ledger_open import check_end
from veilig.core.ledger_store import Done, Failed, Places, SessionSummary, Snapshot, places_of
from veilig.core.ledger_tx import Tx
from veilig.stores.address import Address
from veilig.stores.postgres_link import connect, translated
from veilig.stores.postgres_listen import Listener
from veilig.stores.postgres_look import Reader, end_of, ledger_row, server_snapshot
from veilig.stores.postgres_schema import check_role, check_schema
from veilig.stores.postgres_write import Writer, anchored_of, must_be_open


class ServerStore:
    """An open ledger in a database: one writing connection, a small pool to read, the anchors here."""

    far = True

    def __init__(self, address: Address, writer: Writer) -> None:
        self.id = writer.id
        self._address = address
        self._writer = writer
        self._closed = False
        self._reader = Reader(address)
        self._listener = Listener(address)
        self._looked = 0

    @classmethod
    def open(cls, address: Address, anchor_dir: Path, clock: Clock | None, *, checkpoint_events: int) -> Self:
        """The ledger at `address`; what this machine's `anchor_dir` vouches for must agree with it.

        A machine that sees this ledger for the first time vouches for it from now on. Raises LedgerError;
        LedgerTampered when the ledger is shorter than, or another than, this machine has seen.
        """
        import psycopg

        with connect(address) as db:
            try:
                check_schema(db, address)
                check_role(db)
                identity = must_be_open(ledger_row(db, address), address)
                places = places_of(str(address), anchor_dir, identity)
                _must_be_the_same(places, anchor_dir)
                look = end_of(db, address.org, identity)
                checkpoints, _ = read_checkpoints(places.checkpoints, identity)
                if not places.anchor.exists() and not checkpoints:
                    head = look(set()).head
                    create_anchor(places.anchor, places.ledger, anchored_of(head))
                check_end(look, places, checkpoints)
                head = look(set()).head
            except psycopg.Error as error:
                raise translated(error, address) from error
        writer = Writer(address, identity, places, clock or SystemClock(), checkpoint_events, head)
        return cls(address, writer)

    @property
    def place(self) -> str:
        """The address without its password."""
        return str(self._address)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """End all connections."""
        self._closed = True
        self._writer.close()
        self._listener.close()
        self._reader.close()

    def run(self, requests: Sequence[Callable[[Tx], object]], *, durable: bool) -> list[Done | Failed]:
        """In one transaction."""
        return self._writer.run(requests, durable=durable)

    def checkpoint(self) -> Checkpoint:
        """Signed, here and in the database."""
        return self._writer.checkpoint()

    def erase(self, seqs: Sequence[int], said: Callable[[Tx], object]) -> None:
        """By a role that may."""
        self._writer.erase(seqs, said)

    def rows(
        self, session: str | None, names: Collection[str] | None, after: int, limit: int
    ) -> tuple[list[Any], LedgerError | None]:
        """By the pool."""
        return self._open().rows(session, names, after, limit)

    def newest(self, session: str) -> int:
        """By the index."""
        query = "SELECT max(seq) FROM veilig.events WHERE org = %s AND session = %s"
        row = self._open().one(query, session)
        return int(row[0]) if row and row[0] is not None else 0

    def sessions(self) -> list[SessionSummary]:
        """By the index."""
        return self._open().sessions()

    def size(self) -> int:
        """From the head row."""
        row = self._open().one("SELECT size FROM veilig.head WHERE org = %s")
        return int(row[0]) if row else 0

    def leaves(self, after: int = 0) -> list[bytes]:
        """One column."""
        query = "SELECT leaf FROM veilig.events WHERE org = %s AND seq > %s ORDER BY seq"
        found = self._open().all(query, after)
        return [bytes(row[0]) for row in found]

    def version(self) -> object:
        """The size: it only grows."""
        self._looked = self.size()
        return self._looked

    def stamp(self) -> tuple[int, int] | None:
        """Nothing on this machine tells."""
        return None

    async def change(self, poll_s: float) -> None:
        """Told by NOTIFY, or after a second."""
        await self._listener.change(self._looked, poll_s)

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """By a connection of its own."""
        return server_snapshot(self._address)

    def _open(self) -> Reader:
        if self._closed:
            raise LedgerError("the ledger is closed", fix="open it again")
        return self._reader


def _must_be_the_same(places: Places, anchor_dir: Path) -> None:
    """Raises LedgerError when this machine vouches for another ledger at this address."""
    found = lost_ledger(anchor_dir, places.ledger) if anchor_dir.is_dir() else None
    if found is not None and found != places.anchor:
        raise LedgerError(
            f"the ledger {places.ledger} is not the one that stood there",
            why=f"{str(found)!r} vouches for another that held events (budgets, approvals)",
            fix=f"restore it, or move {str(found)!r} away to start anew on purpose",
        )
