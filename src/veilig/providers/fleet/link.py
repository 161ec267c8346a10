"""How does one thread reach an organisation's tables of a fleet? One connection, whole transactions."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from veilig.core.errors import ProviderError, UsageError
from veilig.providers.fleet import tables, tables_orgs
from veilig.providers.fleet.queue import gone, libraries, plain

if TYPE_CHECKING:
    from psycopg import Connection


class Link:
    """Transactions as one organisation; the connection is made when it is wanted, and again when it was cut.

    url: names no organisation, or is told of `org` beside it. schema: where tables are looked up.
    """

    def __init__(self, url: str, org: str, schema: str = tables.SCHEMA) -> None:
        self.org = org
        self._url = url
        self._schema = schema
        self._db: Connection[Any] | None = None
        self._guard = threading.Lock()

    @contextmanager
    def transaction(self) -> Generator[Any]:
        """A cursor; all of it or nothing. Raises ProviderError (retry later) without the database."""
        psycopg = libraries()[0]
        with self._guard:
            try:
                db = self._open()
                with db.transaction(), db.cursor() as cursor:
                    cursor.execute("SELECT set_config('veilig.org', %s, true)", (self.org,))
                    yield cursor
            except psycopg.Error as error:
                if self._db is not None and self._db.broken:
                    self._db.close()
                    self._db = None
                raise gone(error) from error

    def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """What one statement answers."""
        with self.transaction() as cursor:
            found: list[tuple[Any, ...]] = cursor.execute(query, values).fetchall()
            return found

    def close(self) -> None:
        """Let go of the database."""
        with self._guard:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _open(self) -> "Connection[Any]":
        if self._db is not None and not self._db.closed:
            return self._db
        psycopg = libraries()[0]
        try:
            base = psycopg.conninfo.make_conninfo(
                plain(self._url), options=f"-c search_path={self._schema}", connect_timeout=10
            )
        except psycopg.Error as error:
            raise UsageError("this is no address of a database", why=str(error)) from error
        db: Connection[Any] = psycopg.connect(base, autocommit=True)
        try:
            _need_walls(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        return db


def _need_walls(db: "Connection[Any]") -> None:
    """Raises ProviderError where the tables are missing, UsageError for a role that sees every row."""
    row = db.execute(tables_orgs.STANDS).fetchone()
    if not (row and row[0]):
        raise ProviderError(
            "this database has no campaigns and components yet",
            why="its tables are missing, or of an older veilig",
            fix="let an owner of the database run `veilig queue prepare --worker ROLE`",
        )
    query = "SELECT rolname FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)"
    if row := db.execute(query).fetchone():
        raise UsageError(
            f"the role {row[0]!r} walks through the walls between organisations",
            why="it is a superuser or has BYPASSRLS",
            fix="use a plain role: CREATE ROLE worker LOGIN; veilig queue prepare --worker worker",
        )


def org_of(url: str) -> str:
    """The organisation that an address names; `main` where it names none."""
    query = url.partition("?")[2]
    return next((part[4:] for part in query.split("&") if part.startswith("org=") and part[4:]), "main")
