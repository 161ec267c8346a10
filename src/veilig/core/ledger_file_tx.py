"""How does a transaction read and write the rows of a ledger's SQLite file?"""

import sqlite3
from collections.abc import Collection, Sequence
from typing import cast

from veilig.core.clock import Clock
from veilig.core.ledger_event import COLUMNS, Row, tampered
from veilig.core.ledger_head import Head
from veilig.core.ledger_tx import Tx

_INSERT = f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # a constant


class FileTx(Tx):
    """Each row is written at once; the caller's savepoint takes it back."""

    __slots__ = ("_db",)

    def __init__(self, db: sqlite3.Connection, head: Head, clock: Clock) -> None:
        self._db = db
        super().__init__(head, clock)

    def _insert(self, row: Row, budget_keys: Sequence[str], claims: Sequence[str], token: int) -> None:
        insert_row(self._db, row, budget_keys, claims, token)

    def _last_of_boot(self, boot: str) -> tuple[int, int] | None:
        query = "SELECT t_ms, up_ms FROM events WHERE boot = ? ORDER BY seq DESC LIMIT 1"
        return self._db.execute(query, (boot,)).fetchone()

    def _counted(self, key: str, since_ms: int) -> int:
        query = "SELECT count(*) FROM counters WHERE key = ? AND t_ms >= ?"
        return int(self._db.execute(query, (key, since_ms)).fetchone()[0])

    def _taken(self, key: str) -> bool:
        return self._db.execute("SELECT 1 FROM claims WHERE key = ?", (key,)).fetchone() is not None

    def _token(self, session: str) -> int:
        row = self._db.execute("SELECT token FROM leases WHERE session = ?", (session,)).fetchone()
        return int(row[0]) if row else 0

    def _rows(self, session: str | None, names: Collection[str] | None, after: int) -> Sequence[Row]:
        query, values = row_query(session=session, names=names, after=after, limit=-1)
        return self._db.execute(query, values).fetchall()


def insert_row(
    db: sqlite3.Connection, row: Row, budget_keys: Sequence[str], claims: Sequence[str], token: int
) -> None:
    """Write an event and what is derived from it. Raises LedgerTampered when its place is taken."""
    seq, session, t_ms = row[0], row[1], row[4]
    try:
        db.execute(_INSERT, row)
    except sqlite3.IntegrityError as error:
        raise tampered(seq, "a row stands where the next event belongs") from error
    if budget_keys:
        db.executemany("INSERT INTO counters VALUES (?, ?, ?)", [(key, t_ms, seq) for key in budget_keys])
    if claims:
        db.executemany("INSERT INTO claims VALUES (?, ?)", [(key, seq) for key in claims])
    if token:
        db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (session, token, seq))


def row_query(
    *, session: str | None, names: Collection[str] | None, after: int, limit: int
) -> tuple[str, list[object]]:
    """The SELECT for some events in order, and its values. limit: -1 for all."""
    where, values = ["seq > ?"], cast(list[object], [after])
    if session is not None:
        where.append("session = ?")
        values.append(session)
    if names is not None:
        where.append(f"name IN ({', '.join('?' * len(names))})")
        values.extend(names)
    values.append(limit)
    return f"SELECT {COLUMNS} FROM events WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?", values  # noqa: S608  # only marks
