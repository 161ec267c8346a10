"""How is PostgreSQL reached as one role? Link: one connection, kept, bounded, one question at a time.

A connection string names host, port, database and user, and never a password: libpq finds that in a passfile
that only the broker's user can read, or the server knows the user of the socket (peer).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from veilig.core.errors import ProviderError
from veilig.core.signal import Run

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.sql import Composed

type Row = tuple[Any, ...]
type Query = "str | Composed"

CONNECT_S = 3
QUERY_S = 2.0  # a look that takes longer would hide the others
TOO_MANY, STARTING, STOPPING = "53300", "57P03", "57P01"
_SETTINGS = {
    "statement_timeout": f"{QUERY_S * 1000:.0f}",
    "lock_timeout": "500",
    "idle_in_transaction_session_timeout": "5000",
    "search_path": "pg_catalog, pg_temp",  # nobody else's function answers for PostgreSQL's own
}


class Unreached(ProviderError):
    """No answer. run: what that says of the server. full: it is there and has no connection left."""

    def __init__(self, what: str, run: Run, *, why: str = "", full: bool = False) -> None:
        super().__init__(what, why=why)
        self.run, self.full = run, full


class Denied(ProviderError):
    """The server answered, and said no. code: its SQLSTATE."""

    def __init__(self, what: str, code: str, why: str) -> None:
        super().__init__(what, why=why)
        self.code = code


def parameters(conninfo: str) -> Mapping[str, str]:
    """What a connection string says. Raises ProviderError for a password, no host, or several hosts."""
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        raise ProviderError(
            "psycopg is not installed", why=str(error), fix="pip install 'veilig[postgres]'"
        ) from error
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if value is not None}
    except ProgrammingError as error:
        raise ProviderError("this is no connection string of PostgreSQL", why=str(error).strip()) from error
    if "password" in given:
        raise ProviderError(
            "a connection string has a password in it",
            why="the services file is read by the healer, too",
            fix="put it into a passfile that only the broker's user can read (passfile=PATH)",
        )
    host = given.get("host", "")
    if not host or "," in host:
        raise ProviderError(
            "a connection string names no single host", fix="host=ADDRESS, or host=/FOLDER/OF/SOCKET"
        )
    return given


class Link:
    """One role's connection to one server, opened when needed and kept. program: how the server lists it."""

    def __init__(self, conninfo: str, program: str) -> None:
        self._conninfo, self._program = conninfo, program
        self._connection: AsyncConnection[Row] | None = None
        self._lock = asyncio.Lock()
        self.notices: list[str] = []

    async def rows(self, query: Query, values: Sequence[object] = ()) -> list[Row]:
        """What it answers; [] for a statement without an answer. Raises Unreached, Denied."""
        async with self._lock:
            return await self._rows(query, values)

    async def _rows(self, query: Query, values: Sequence[object] = ()) -> list[Row]:
        import psycopg
        from psycopg import sql

        connection = self._connection or await self._open()
        made = sql.SQL(query) if isinstance(query, str) else query  # type: ignore[arg-type]  # our own texts
        self.notices.clear()
        whole = False
        try:
            cursor = await connection.execute(made, values or None)
            found = await cursor.fetchall() if cursor.description else []
            whole = True
        except psycopg.Error as error:
            whole = not connection.closed and not connection.broken and error.sqlstate not in (None, STOPPING)
            if not whole:
                raise Unreached(
                    "the connection to PostgreSQL broke", Run.UNKNOWN, why=_said(error)
                ) from error
            raise Denied("PostgreSQL says no", error.sqlstate or "", _said(error)) from error
        finally:
            if not whole:  # cut off, or cancelled in the middle of an answer: nothing more is asked of it
                self._connection = None
                await _closed(connection)
        return found

    async def _open(self) -> "AsyncConnection[Row]":
        import psycopg
        from psycopg import AsyncConnection

        await _reachable(parameters(self._conninfo))
        try:
            connection = await AsyncConnection.connect(
                self._conninfo, autocommit=True, connect_timeout=CONNECT_S, application_name=self._program
            )
        except psycopg.Error as error:
            said = _said(error)
            # What fails before there is a session has no SQLSTATE in psycopg: the server's words are all.
            if error.sqlstate == TOO_MANY or "too many" in said or "connection slots" in said:
                raise Unreached("no connection is left", Run.RUNNING, why=said, full=True) from error
            if error.sqlstate == STARTING or "starting up" in said or "recovery" in said:
                raise Unreached("it is starting", Run.STARTING, why=said) from error
            raise Unreached("PostgreSQL takes no connection of ours", Run.UNKNOWN, why=said) from error
        connection.add_notice_handler(lambda notice: self.notices.append(notice.message_primary or ""))
        try:
            for name, value in _SETTINGS.items():
                await connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
        except psycopg.Error as error:
            await _closed(connection)
            raise Unreached("PostgreSQL takes no bounds of ours", Run.UNKNOWN, why=_said(error)) from error
        self._connection = connection
        return connection

    async def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await _closed(connection)


async def _closed(connection: "AsyncConnection[Row]") -> None:
    import psycopg

    try:
        await connection.close()
    except psycopg.Error:  # it is gone already, which is what was wanted
        return


async def _reachable(given: Mapping[str, str]) -> None:
    """Does anybody listen there? libpq would tell it only in words of the user's language."""
    host, port = given["host"], given.get("port", "5432")
    where = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else f"{host}:{port}"
    try:
        async with asyncio.timeout(CONNECT_S):
            if host.startswith("/"):
                _, writer = await asyncio.open_unix_connection(where)
            else:
                _, writer = await asyncio.open_connection(given.get("hostaddr") or host, int(port))
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise Unreached(f"nobody listens at {where}", Run.DOWN, why=error.strerror or "") from error
    except (OSError, ValueError) as error:
        why = str(error) or f"no answer within {CONNECT_S} s"
        raise Unreached(f"{where} cannot be reached", Run.UNKNOWN, why=why) from error
    writer.close()


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
