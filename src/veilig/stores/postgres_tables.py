"""What else do several gateways and pages share in a database? Rows beside the ledger, by short transactions.

People and their sign-ins, and how fast each key goes. A server that is away is not waited for as a ledger is:
whoever asks is refused within seconds.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, LiteralString, cast

from veilig.core.errors import LedgerError
from veilig.stores.address import Address
from veilig.stores.postgres_link import connect, driver, passing, settings, translated
from veilig.stores.postgres_look import AGAIN_S, ledger_row
from veilig.stores.postgres_schema import check_role, check_schema

if TYPE_CHECKING:
    from psycopg import Connection

CONNECTIONS = 4
PATIENCE_S = 4.0  # a request waits for it; a ledger's writer has a minute
_BEGIN: LiteralString = (
    "SELECT set_config('veilig.org', %s, true), set_config('search_path', 'pg_catalog, veilig', true),"
    " set_config('synchronous_commit', %s, true)"
)
_LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtext(%s))"

type State = dict[str, Any]


class Ask:
    """One transaction's statements; `?` stands for a value, as in a file's tables."""

    def __init__(self, db: "Connection[Any]") -> None:
        self._db = db

    def all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self._db.execute(_own(query), values).fetchall()

    def do(self, query: str, *values: object) -> None:
        """A statement without rows."""
        self._db.execute(_own(query), values)


class ServerTables:
    """The tables of one organisation. Thread-safe. durable: on disk before `transact` returns."""

    far = True

    def __init__(self, address: Address, *, durable: bool = True) -> None:
        """Raises LedgerError when they are not there, or not for this role."""
        driver()
        from psycopg_pool import ConnectionPool

        self._address = address
        self._durable = durable
        with connect(address) as db:
            check_schema(db, address)
            check_role(db)
            self._lock = "veilig.tables." + ledger_row(db, address)[0]
        self._pool: ConnectionPool[Connection[Any]] = ConnectionPool(
            address.conninfo, kwargs=settings(), min_size=0, max_size=CONNECTIONS, open=True, num_workers=1,
            timeout=PATIENCE_S, max_idle=60.0, reconnect_timeout=PATIENCE_S,
        )  # fmt: skip
        self.transact(lambda ask: ask.all("SELECT 1 FROM states WHERE key = ?", ""))

    @property
    def place(self) -> str:
        """The address without its password."""
        return str(self._address)

    def close(self) -> None:
        """End the connections."""
        self._pool.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of one query. Raises LedgerError."""
        return self.transact(lambda ask: ask.all(query, *values))

    def transact[T](self, fn: Callable[[Ask], T], *, alone: bool = False) -> T:
        """What `fn` returns, after its commit. alone: one at a time in the organisation. Raises LedgerError.

        `fn` is run again when the server was lost before the commit: it acts through `ask` only.
        """
        import psycopg

        until = time.monotonic() + PATIENCE_S
        while True:
            begun = False
            try:
                with self._pool.connection(timeout=max(0.1, until - time.monotonic())) as db:
                    with db.pipeline():  # statements go together until somebody wants to know an answer
                        db.execute("BEGIN")
                        db.execute(_BEGIN, (self._address.org, "on" if self._durable else "off"))
                        if alone:
                            db.execute(_LOCK, (self._lock,))
                        result = fn(Ask(db))
                        begun = True  # from here on it may have happened
                        db.execute("COMMIT")
                    return result
            except psycopg.Error as error:
                if self._pool.closed:
                    raise LedgerError("the tables are closed", fix="open them again") from error
                if begun or not passing(error) or time.monotonic() >= until:
                    raise translated(error, self._address) from error
                time.sleep(AGAIN_S)


class ServerStates:
    """Small states by key, which processes change in turn."""

    def __init__(self, address: Address) -> None:
        self._tables = ServerTables(address, durable=False)  # a power cut may forget a moment of speed

    def close(self) -> None:
        """End the connections."""
        self._tables.close()

    def change(self, keys: Sequence[str], fn: Callable[[dict[str, State], float], dict[str, State]]) -> None:
        """Replace the states of `keys` by what `fn` makes of them. Raises LedgerError; blocks.

        fn: gets what is known (a key that is not there has no state) and the server's seconds since 1970; the
        rows are locked meanwhile. It may run twice.
        """
        wanted = sorted(set(keys))
        lock = (
            "SELECT s.key, s.state, extract(epoch FROM clock_timestamp())::float8 FROM states AS s"
            " WHERE s.key = ANY(?) ORDER BY s.key FOR UPDATE"
        )
        make = "INSERT INTO states (key, state) SELECT unnest(?::text[]), '{}' ON CONFLICT DO NOTHING"
        write = (
            "UPDATE states AS s SET state = n.state FROM"
            " (SELECT unnest(?::text[]) AS key, unnest(?::text[]) AS state) AS n WHERE s.key = n.key"
        )

        def turn(ask: Ask) -> None:
            ask.do(make, wanted)
            found = ask.all(lock, wanted)
            known = {str(key): cast(State, json.loads(state)) for key, state, _ in found}
            made = fn(known, float(found[-1][2]) if found else 0.0)
            ask.do(write, list(made), [json.dumps(state) for state in made.values()])

        if wanted:
            self._tables.transact(turn)


def _own(query: str) -> LiteralString:
    return cast(LiteralString, query.replace("?", "%s"))  # ours, from this package and `collab`
