"""How does a transaction read and write the rows of one organisation in a database?

What is appended waits in memory until the whole batch goes to the server in one statement. So a request
that fails is taken back by forgetting its rows, and only reading costs a way to the server and back.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString, cast

from veilig.core.clock import Clock
from veilig.core.ledger_event import COLUMNS, Row
from veilig.core.ledger_head import Head
from veilig.core.ledger_tx import Tx

if TYPE_CHECKING:
    from psycopg import Connection

_COLUMNS: LiteralString = "seq, session, name, v, t_ms, boot, up_ms, wall_ms, body, leaf, hash, salt"
if COLUMNS != _COLUMNS:  # both are sent to a server: this one is known to be a literal
    raise ImportError("the columns of an event have changed in one place only")

# One statement: the events, what is derived from them, and the head.
_APPEND: LiteralString = f"""
WITH e AS (INSERT INTO veilig.events (org, {_COLUMNS})
    SELECT %(org)s, * FROM unnest(%(seq)s::bigint[], %(session)s::text[], %(name)s::text[], %(v)s::int[],
    %(t_ms)s::bigint[], %(boot)s::text[], %(up_ms)s::bigint[], %(wall_ms)s::bigint[], %(body)s::text[],
    %(leaf)s::bytea[], %(hash)s::bytea[], %(salt)s::bytea[])),
  c AS (INSERT INTO veilig.counters (org, key, t_ms, seq)
    SELECT %(org)s, * FROM unnest(%(c_key)s::text[], %(c_t_ms)s::bigint[], %(c_seq)s::bigint[])),
  k AS (INSERT INTO veilig.claims (org, key, seq)
    SELECT %(org)s, * FROM unnest(%(k_key)s::text[], %(k_seq)s::bigint[])),
  l AS (INSERT INTO veilig.leases (org, session, token, seq)
    SELECT %(org)s, * FROM unnest(%(l_session)s::text[], %(l_token)s::bigint[], %(l_seq)s::bigint[])
    ON CONFLICT (org, session) DO UPDATE SET token = excluded.token, seq = excluded.seq),
  p AS (INSERT INTO veilig.checkpoints (org, size, key, line)
    SELECT %(org)s, * FROM unnest(%(p_size)s::bigint[], %(p_key)s::text[], %(p_line)s::bytea[]))
UPDATE veilig.head SET size = %(size)s, hash = %(last)s, t_ms = %(h_t_ms)s, boot = %(h_boot)s,
    up_ms = %(h_up_ms)s, peaks = %(peaks)s, signed = greatest(signed, %(signed)s) WHERE org = %(org)s
"""  # noqa: S608  # a constant
_NAMES = ("seq", "session", "name", "v", "t_ms", "boot", "up_ms", "wall_ms", "body", "leaf", "hash", "salt")


@dataclass(slots=True)
class Batch:
    """What one transaction is about to write; `known`: the times of this boot's last event before it."""

    db: "Connection[Any]"
    org: str
    known: tuple[int, int] | None
    rows: list[Row] = field(default_factory=list[Row])
    counters: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    claims: dict[str, int] = field(default_factory=dict[str, int])
    leases: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    checkpoints: list[tuple[int, str, bytes]] = field(default_factory=list[tuple[int, str, bytes]])

    def add(self, other: "Batch") -> None:
        """Take over what one request appended."""
        self.rows += other.rows
        self.counters += other.counters
        self.claims |= other.claims
        self.leases |= other.leases

    def send(self, head: Head) -> None:
        """Write it all, and the head that it leads to."""
        values: dict[str, object] = {name: [row[i] for row in self.rows] for i, name in enumerate(_NAMES)}
        values |= {"c_key": [c[0] for c in self.counters], "c_t_ms": [c[1] for c in self.counters]}
        values |= {"c_seq": [c[2] for c in self.counters]}
        values |= {"k_key": list(self.claims), "k_seq": list(self.claims.values())}
        values |= {"l_session": list(self.leases), "l_token": [one[0] for one in self.leases.values()]}
        values |= {"l_seq": [one[1] for one in self.leases.values()]}
        for i, name in enumerate(("p_size", "p_key", "p_line")):
            values[name] = [one[i] for one in self.checkpoints]
        values |= {"org": self.org, "size": head.size, "last": head.hash, "h_t_ms": head.t_ms}
        values |= {"h_boot": head.boot, "h_up_ms": head.up_ms, "peaks": head.frontier.packed()}
        values["signed"] = max((one[0] for one in self.checkpoints), default=0)
        self.db.execute(_APPEND, values)


class ServerTx(Tx):
    """Reads what is stored, what the batch holds already, and its own."""

    __slots__ = ("_batch", "_mine")

    def __init__(self, batch: Batch, head: Head, clock: Clock) -> None:
        self._batch = batch
        self._mine = Batch(batch.db, batch.org, None)
        super().__init__(head, clock)

    def keep(self) -> None:
        """Leave what was appended to the batch."""
        self._batch.add(self._mine)

    def _insert(self, row: Row, budget_keys: Sequence[str], claims: Sequence[str], token: int) -> None:
        seq, session, t_ms = row[0], row[1], row[4]
        self._mine.rows.append(row)
        self._mine.counters += [(key, t_ms, seq) for key in budget_keys]
        self._mine.claims |= dict.fromkeys(claims, seq)
        if token:
            self._mine.leases[session] = (token, seq)

    def _last_of_boot(self, boot: str) -> tuple[int, int] | None:
        del boot  # looked up with the head; once something is appended, the head itself is of this boot
        return self._batch.known

    def _counted(self, key: str, since_ms: int) -> int:
        query = "SELECT count(*) FROM veilig.counters WHERE org = %s AND key = %s AND t_ms >= %s"
        stored = self._one(query, key, since_ms)
        waiting = (*self._batch.counters, *self._mine.counters)
        return int(stored[0] if stored else 0) + sum(1 for k, t, _ in waiting if k == key and t >= since_ms)

    def _taken(self, key: str) -> bool:
        if key in self._batch.claims or key in self._mine.claims:
            return True
        return self._one("SELECT 1 FROM veilig.claims WHERE org = %s AND key = %s", key) is not None

    def _token(self, session: str) -> int:
        for batch in (self._mine, self._batch):
            if session in batch.leases:
                return batch.leases[session][0]
        row = self._one("SELECT token FROM veilig.leases WHERE org = %s AND session = %s", session)
        return int(row[0]) if row else 0

    def _rows(self, session: str | None, names: Collection[str] | None, after: int) -> Sequence[Row]:
        query, values = row_query(self._batch.org, session=session, names=names, after=after, limit=None)
        stored = cast(list[Row], self._batch.db.execute(query, values).fetchall())
        waiting = (*self._batch.rows, *self._mine.rows)
        return stored + [
            row
            for row in waiting
            if row[0] > after and session in (None, row[1]) and (names is None or row[2] in names)
        ]

    def _one(self, query: LiteralString, *values: object) -> Any:
        return self._batch.db.execute(query, (self._batch.org, *values)).fetchone()


EVENTS: LiteralString = f"SELECT {_COLUMNS} FROM veilig.events WHERE org = %s AND seq > %s"  # noqa: S608  # a constant


def row_query(
    org: str, *, session: str | None, names: Collection[str] | None, after: int, limit: int | None
) -> tuple[LiteralString, list[object]]:
    """The SELECT for some events in order, and its values."""
    query = EVENTS
    values: list[object] = [org, after]
    if session is not None:
        query += " AND session = %s"
        values.append(session)
    if names is not None:
        query += " AND name = ANY(%s)"
        values.append(list(names))
    values.append(limit)
    return query + " ORDER BY seq LIMIT %s", values
