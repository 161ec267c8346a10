"""Where does the index of components lie? In one SQLite file here; whoever wires it may bring a server's."""

import sqlite3
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from veilig.core.errors import UsageError

BUSY_S = 30.0  # an audit and a watcher write to it in turn
_SCHEMA = """
CREATE TABLE IF NOT EXISTS repository (
    id INTEGER PRIMARY KEY, place TEXT NOT NULL, ref TEXT NOT NULL, label TEXT NOT NULL,
    revision TEXT NOT NULL, seen_at TEXT NOT NULL, UNIQUE (place, ref));
CREATE TABLE IF NOT EXISTS component (
    package TEXT NOT NULL, version TEXT NOT NULL, repository INTEGER NOT NULL, path TEXT NOT NULL,
    PRIMARY KEY (package, version, repository, path)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS component_repository ON component (repository);
CREATE TABLE IF NOT EXISTS advisory (
    id TEXT PRIMARY KEY, modified TEXT NOT NULL, withdrawn INTEGER NOT NULL, summary TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS affected (
    package TEXT NOT NULL, advisory TEXT NOT NULL, ranges TEXT NOT NULL, versions TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS affected_package ON affected (package);
CREATE INDEX IF NOT EXISTS affected_advisory ON affected (advisory);
CREATE TABLE IF NOT EXISTS alert (
    id INTEGER PRIMARY KEY, advisory TEXT NOT NULL, package TEXT NOT NULL, version TEXT NOT NULL,
    repository INTEGER NOT NULL, clean TEXT, state TEXT NOT NULL, found_at TEXT NOT NULL, told_at TEXT,
    UNIQUE (advisory, package, version, repository));
CREATE TABLE IF NOT EXISTS feed (place TEXT PRIMARY KEY, stamp TEXT NOT NULL, read_at TEXT NOT NULL);
"""


class Rows(Protocol):
    """What a question was answered with."""

    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Work(Protocol):
    """One transaction. Values stand as `?`; both SQLite and PostgreSQL understand what is said here."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Rows: ...
    def executemany(self, sql: str, values: Iterable[Sequence[Any]], /) -> object: ...


class Base(Protocol):
    """A place of the index. Whatever is raised inside of a transaction undoes it. Raises VeiligError."""

    def writing(self, *, alone: bool) -> AbstractContextManager[Work]:
        """alone: nobody else writes meanwhile; else others may, to repositories of their own."""
        ...

    def reading(self) -> AbstractContextManager[Work]: ...
    def close(self) -> None: ...


class FileBase:
    """The index in one file; made when missing."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._lock = threading.Lock()
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                place, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._trouble(error) from error

    @contextmanager
    def writing(self, *, alone: bool) -> Generator[Work]:
        """One transaction; in a file every writer is alone."""
        del alone
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield cast(Work, self._connection)
                    self._connection.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise self._trouble(error) from error

    @contextmanager
    def reading(self) -> Generator[Work]:
        """A look."""
        with self._lock:
            try:
                yield cast(Work, self._connection)
            except sqlite3.Error as error:
                raise self._trouble(error) from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _trouble(self, error: Exception) -> UsageError:
        return UsageError(
            f"{self._place}: the index of components cannot be used",
            why=str(error),
            fix="free space; or remove the file: the next audits fill it again",
        )
