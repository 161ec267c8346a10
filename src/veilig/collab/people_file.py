"""Where do the people of one machine stand? In `people.db` beside the ledger, mode 0600."""

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from veilig.core.errors import LedgerError

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS people (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, password TEXT NOT NULL,
  subject TEXT UNIQUE, active INTEGER NOT NULL, made REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS logins (
  token TEXT PRIMARY KEY, person TEXT NOT NULL, csrf TEXT NOT NULL, until REAL NOT NULL, via TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS guesses (key TEXT NOT NULL, at REAL NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS guesses_key ON guesses (key);
CREATE TABLE IF NOT EXISTS passes (key TEXT PRIMARY KEY, value TEXT NOT NULL, until REAL NOT NULL) STRICT;
"""


class FileAsk:
    """One transaction's statements."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self._db.execute(query, values).fetchall()

    def do(self, query: str, *values: object) -> None:
        """A statement without rows."""
        self._db.execute(query, values)


class FileTables:
    """The tables in one file. Thread-safe."""

    far = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, check_same_thread=False, timeout=10.0, isolation_level=None)
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(
                f"cannot use {path}", why=str(error), fix="make it readable and writable for you"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of one query. Raises LedgerError."""
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise LedgerError(f"cannot read {self._path}", why=str(error)) from error

    def transact[T](self, fn: Callable[[FileAsk], T], *, alone: bool = False) -> T:
        """What `fn` returns, after its commit; a file's writers are always alone. Raises LedgerError."""
        del alone
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                result = fn(FileAsk(self._db))
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                raise LedgerError(f"cannot write {self._path}", why=str(error), fix="try again") from error
            except BaseException:
                self._undo()
                raise
            return result

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
