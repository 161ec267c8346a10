"""How are the rows of one organisation's ledger read: one by one, frozen as a whole, and at the end?"""

import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString, cast

from veilig.core.errors import LedgerError
from veilig.core.ledger_checkpoint import Checkpoint, parse_checkpoint
from veilig.core.ledger_event import Row, tampered
from veilig.core.ledger_head import Head, head_of
from veilig.core.ledger_open import End
from veilig.core.ledger_store import SessionSummary
from veilig.stores.address import Address
from veilig.stores.postgres_link import PATIENCE_S, connect, driver, passing, settings, translated
from veilig.stores.postgres_tx import EVENTS, row_query

if TYPE_CHECKING:
    from psycopg import Connection

READERS = 4  # connections of one process that read at a time; more wait their turn
AGAIN_S = 0.2  # between two tries to reach a server that is away
ROWS = 2000  # fetched at a time where everything is read
HEAD: LiteralString = "SELECT size, hash, t_ms, boot, up_ms, peaks FROM veilig.head WHERE org = %s"
_ORG: LiteralString = "SELECT set_config('veilig.org', %s, true)"


class Reader:
    """Reads by a small pool; a server that is away for a moment is waited for."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._org = address.org
        driver()
        from psycopg_pool import ConnectionPool

        self._pool: ConnectionPool[Connection[Any]] = ConnectionPool(
            address.conninfo, kwargs=settings(), min_size=0, max_size=READERS, open=True, num_workers=1,
            timeout=PATIENCE_S, max_idle=60.0, reconnect_timeout=PATIENCE_S,
        )  # fmt: skip

    def close(self) -> None:
        """End the connections and the pool's threads."""
        self._pool.close()

    def all(self, query: LiteralString, *values: object) -> list[Any]:
        """The rows of one query, which names the organisation first. Raises LedgerError."""
        import psycopg

        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self._pool.connection(timeout=max(0.1, until - time.monotonic())) as db:
                    with db.pipeline():  # one way there and back
                        db.execute("BEGIN READ ONLY")
                        db.execute(_ORG, (self._org,))
                        found = db.execute(query, (self._org, *values))
                        db.execute("COMMIT")
                    return found.fetchall()
            except psycopg.Error as error:
                if self._pool.closed:
                    raise LedgerError("the ledger is closed", fix="open it again") from error
                if not passing(error) or time.monotonic() >= until:
                    raise translated(error, self._address) from error
                time.sleep(AGAIN_S)

    def one(self, query: LiteralString, *values: object) -> Any:
        """The first row, or None."""
        rows = self.all(query, *values)
        return rows[0] if rows else None

    def rows(
        self, session: str | None, names: Collection[str] | None, after: int, limit: int
    ) -> tuple[list[Row], LedgerError | None]:
        """As `LedgerStore.rows`."""
        query, values = row_query(self._org, session=session, names=names, after=after, limit=limit)
        return cast(list[Row], self.all(query, *values[1:])), None

    def sessions(self) -> list[SessionSummary]:
        """As `LedgerStore.sessions`."""
        query: LiteralString = (
            "SELECT s.session, s.n, s.first, s.last, a.wall_ms, b.wall_ms, b.name FROM (SELECT org, session,"
            " count(*) AS n, min(seq) AS first, max(seq) AS last FROM veilig.events WHERE org = %s"
            " GROUP BY org, session) AS s JOIN veilig.events AS a ON a.org = s.org AND a.seq = s.first"
            " JOIN veilig.events AS b ON b.org = s.org AND b.seq = s.last ORDER BY s.first"
        )
        return [SessionSummary(*row) for row in self.all(query)]


def ledger_row(db: "Connection[Any]", address: Address) -> tuple[str, str, str]:
    """(id, state, moved_to) of the address's organisation. Raises LedgerError when it is not to be seen."""
    query = "SELECT id, state, coalesce(moved_to, '') FROM veilig.orgs WHERE org = %s"
    with db.transaction():
        db.execute(_ORG, (address.org,))
        row = db.execute(query, (address.org,)).fetchone()
    if row is None:
        raise LedgerError(
            f"there is no ledger of {address.org!r} at {address}",
            why="the organisation is not there, or this role may not see it",
            fix=f"veilig ledger prepare {address} (as the owner of the tables)",
        )
    if len(row[0]) != 32 or not row[0].isalnum():
        raise tampered(1, "the ledger's id is damaged")
    return row


def end_of(db: "Connection[Any]", org: str, identity: str) -> Callable[[set[int]], End]:
    """Looks at the end of the ledger, each time in one snapshot."""

    def look(sizes: set[int]) -> End:
        with db.transaction():
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            db.execute(_ORG, (org,))
            head = head_of(db.execute(HEAD, (org,)).fetchone())
            last = db.execute(f"{EVENTS} ORDER BY seq DESC LIMIT 2", (org, 0)).fetchall()
            query = "SELECT seq, hash FROM veilig.events WHERE org = %s AND seq = ANY(%s)"
            hashes = dict(db.execute(query, (org, list(sizes))).fetchall())
        return End(identity, head, last, hashes)

    return look


class ServerSnapshot:
    """One repeatable-read transaction."""

    def __init__(self, db: "Connection[Any]", address: Address, identity: str) -> None:
        self._db = db
        self._address = address
        self._org = address.org
        self.id = identity

    @property
    def place(self) -> str:
        """The address without its password."""
        return str(self._address)

    def rows(self, after: int = 0) -> Iterator[Row]:
        """By a cursor of the server."""
        with self._db.cursor(name="veilig_rows") as cursor:
            cursor.itersize = ROWS
            cursor.execute(f"{EVENTS} ORDER BY seq", (self._org, after))
            yield from cast(Iterator[Row], cursor)

    def head(self) -> Head:
        """The head row."""
        return head_of(self._db.execute(HEAD, (self._org,)).fetchone())

    def counters(self) -> set[tuple[str, int, int]]:
        """The table."""
        return self._set("SELECT key, t_ms, seq FROM veilig.counters WHERE org = %s")

    def claims(self) -> set[tuple[str, int]]:
        """The table."""
        return self._set("SELECT key, seq FROM veilig.claims WHERE org = %s")

    def leases(self) -> set[tuple[str, int, int]]:
        """The table."""
        return self._set("SELECT session, token, seq FROM veilig.leases WHERE org = %s")

    def checkpoints(self) -> list[Checkpoint]:
        """Of every machine."""
        query = "SELECT line FROM veilig.checkpoints WHERE org = %s ORDER BY size, key"
        found = self._db.execute(query, (self._org,)).fetchall()
        return [parse_checkpoint(bytes(row[0]), self.id) for row in found]

    def damage(self) -> str:
        """A server checks its own pages (data checksums); what it cannot read is an error of the query."""
        return ""

    def _set(self, query: LiteralString) -> set[Any]:
        return set(self._db.execute(query, (self._org,)).fetchall())


@contextmanager
def server_snapshot(address: Address) -> Generator[ServerSnapshot]:
    """The ledger as it is now, frozen. Raises LedgerError."""
    import psycopg

    with connect(address) as db:
        identity = ledger_row(db, address)[0]
        try:
            with db.transaction():
                db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                # A long look is no idle transaction, and nobody waits for it.
                db.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                db.execute(_ORG, (address.org,))
                yield ServerSnapshot(db, address, identity)
        except psycopg.Error as error:
            raise translated(error, address) from error
