"""How does a ledger go from a file to a database, or back, so that there is one at every moment?

The source must be at rest. Its rows are copied byte for byte into a target that nobody can open yet, folded
and compared; then the source says where it went and the target opens. After an interruption the same command
goes on where it stopped.
"""

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from veilig.core.canonical import parse
from veilig.core.errors import LedgerError
from veilig.core.ledger_checkpoint import Checkpoint, checkpoint_line, read_checkpoints
from veilig.core.ledger_event import Row, genesis, is_erased, keys_of, lease_of, tampered
from veilig.core.ledger_file import connect, create_file, file_id, moved_to, read_head, translated, write_head
from veilig.core.ledger_file_tx import insert_row
from veilig.core.ledger_head import Head
from veilig.core.ledger_sqlite import file_snapshot
from veilig.core.ledger_store import Snapshot, places_of
from veilig.core.ledger_tx import LEASED
from veilig.core.ledger_verify import fold_snapshot, verify_store
from veilig.stores.address import Address
from veilig.stores.opening import looks, snapshot_of
from veilig.stores.postgres_look import HEAD, ledger_row, server_snapshot

if TYPE_CHECKING:
    from psycopg import Connection

ROWS = 2000  # per transaction of the target: what an interruption costs
CLOSED_S = 3.0  # for a server to notice that the last user of a ledger has gone


@dataclass(frozen=True, slots=True)
class Moved:
    """A ledger that has gone to another place. copied: events of this run; root: hex."""

    events: int
    copied: int
    root: str


class _Target(Protocol):
    """Where the rows go: nobody else can open it until `finish`."""

    def head(self) -> Head: ...
    def add(self, rows: list[Row], head: Head) -> None: ...
    def finish(self, others: list[Checkpoint]) -> None: ...


def move(source: Path | Address, target: Path | Address, anchor_dir: Path) -> Moved:
    """Move a whole ledger. Raises LedgerError when the source is in use, or the target holds another one."""
    if str(source) == str(target):
        raise LedgerError(f"{source} is where the ledger is", fix="name another place")
    with _at_rest(source, target) as identity:
        places = places_of(source if isinstance(source, Path) else str(source), anchor_dir, identity)
        before = verify_store(looks(source), places)
        kept, _ = read_checkpoints(places.checkpoints, identity)
        with _target(target, identity) as there:
            with snapshot_of(source) as snapshot:
                copied = _copy(snapshot, there)
                others = {(c.size, c.key): c for c in (*kept, *snapshot.checkpoints())}
            with _inner(target) as look:
                _, head = fold_snapshot(look, {})
            if (head.size, head.hash.hex(), head.frontier.root().hex()) != (
                before.events,
                before.head,
                before.root,
            ):
                raise tampered(max(head.size, 1), f"what arrived at {target} is not what left {source}")
            _mark(source, str(target))
            there.finish(sorted(others.values(), key=lambda c: (c.size, c.key)))
    return Moved(before.events, copied, before.root)


def _copy(snapshot: Snapshot, there: _Target) -> int:
    head, copied = there.head(), 0
    for chunk in batched(snapshot.rows(after=head.size), ROWS):
        for row in chunk:
            head = Head(row[10], row[4], row[5], row[6], head.frontier.push(row[9]))
        there.add([*chunk], head)
        copied += len(chunk)
    return copied


def _derived(row: Row) -> tuple[list[str], list[str], int]:
    """The budget keys, the claims and the lease's token of a row; an erased one has none."""
    if is_erased(row):
        return [], [], 0
    body = cast(dict[str, Any], parse(row[8]))
    token = lease_of(row[2], body, row[0]) if row[2] == LEASED else 0
    return keys_of(body, "budget_keys", row[0]), keys_of(body, "claims", row[0]), token


# --- the source --------------------------------------------------------------------------------------


@contextmanager
def _at_rest(source: Path | Address, target: Path | Address) -> Generator[str]:
    """The source's id, while nobody writes it. Raises LedgerError when somebody has it open."""
    if isinstance(source, Path):
        identity = file_id(source)
        with _locked_file(source, str(target)):
            pass  # SQLite tells whether anybody has it open, and cannot hold on to that beside a reader
        yield identity
        return
    from veilig.stores.postgres_link import connect as reach
    from veilig.stores.postgres_write import LIVE

    with reach(source) as db:
        identity, state, moved = ledger_row(db, source)
        _must_go_here(str(source), moved, str(target), state)
        if not _locked(db, LIVE, identity):
            raise _in_use(str(source))
        yield identity


def _locked(db: "Connection[Any]", kind: int, identity: str) -> bool:
    """Whether nobody else has it. The server notices a moment late that a connection was closed."""
    until = time.monotonic() + CLOSED_S
    while True:
        row = db.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (kind, identity)).fetchone()
        if row and row[0]:
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.05)


@contextmanager
def _locked_file(path: Path, target: str) -> Generator[sqlite3.Connection]:
    db = connect(path, write=True)
    try:
        db.execute("PRAGMA busy_timeout = 0")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _must_go_here(str(path), moved_to(db), target, "open")
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = DELETE")  # refused while anybody else has it open
        if db.execute("PRAGMA journal_mode").fetchone()[0] != "delete":
            raise _in_use(str(path))
        db.execute("BEGIN EXCLUSIVE")
        yield db
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise _in_use(str(path)) from error
        raise translated(error, path) from error
    except sqlite3.Error as error:
        raise translated(error, path) from error
    finally:
        db.close()


def _must_go_here(source: str, moved: str, target: str, state: str) -> None:
    if moved and moved != target:
        raise LedgerError(f"the ledger {source} was moved to {moved}", fix="move it from there")
    if state != "open":
        raise LedgerError(f"the ledger {source} is {state!r}", fix="finish the move that brings it there")


def _in_use(source: str) -> LedgerError:
    return LedgerError(
        f"the ledger {source} is in use",
        why="what is recorded during a move would be lost",
        fix="end every session, `veilig serve`, heal, gateway and worker that uses it",
        retry_after_s=5.0,
    )


def _mark(source: Path | Address, target: str) -> None:
    """Say in the source where it went: it is not opened for writing again."""
    if isinstance(source, Path):
        with _locked_file(source, target) as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('moved_to', ?)", (target,))
        return
    from veilig.stores.postgres_link import connect as reach

    with reach(source) as db:
        _update_org(db, source, "moved_to = %s", target)


# --- the target --------------------------------------------------------------------------------------


@contextmanager
def _target(place: Path | Address, identity: str) -> Generator[_Target]:
    if isinstance(place, Path):
        with _file_target(place, identity) as found:
            yield found
        return
    import psycopg

    from veilig.stores.postgres_link import connect as reach
    from veilig.stores.postgres_link import translated as of_server

    with reach(place) as db:
        try:
            yield _ServerTarget(db, place, identity)
        except psycopg.Error as error:
            raise of_server(error, place) from error


@contextmanager
def _inner(place: Path | Address) -> Generator[Snapshot]:
    """The target as it is before it opens."""
    if isinstance(place, Path):
        with file_snapshot(_draft(place)) as found:
            yield found
        return
    with server_snapshot(place) as found:
        yield found


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.name}.moving")


@contextmanager
def _file_target(path: Path, identity: str) -> Generator["_FileTarget"]:
    if path.exists():
        raise LedgerError(f"there is a file at {path}", why="it is not overwritten", fix="name another place")
    draft = _draft(path)
    if not draft.exists():
        create_file(draft, identity)
    if file_id(draft) != identity:
        raise LedgerError(f"{draft} is of another move", fix="remove it when that move is not wanted")
    db = connect(draft, write=True)
    try:
        yield _FileTarget(db, draft, path)
    except sqlite3.Error as error:
        raise translated(error, draft) from error
    finally:
        db.close()


class _FileTarget:
    def __init__(self, db: sqlite3.Connection, draft: Path, path: Path) -> None:
        self._db, self._draft, self._path = db, draft, path
        db.execute("PRAGMA synchronous = FULL")

    def head(self) -> Head:
        return read_head(self._db)

    def add(self, rows: list[Row], head: Head) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for row in rows:
            insert_row(self._db, row, *_derived(row))
        write_head(self._db, head)
        self._db.execute("COMMIT")

    def finish(self, others: list[Checkpoint]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for one in others:
            line = checkpoint_line(one).decode().rstrip("\n")
            key = f"checkpoint:{one.size:020}:{one.key}"
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, line))
        self._db.execute("COMMIT")
        self._db.close()  # folds the log into the file
        self._draft.rename(self._path)


class _ServerTarget:
    def __init__(self, db: "Connection[Any]", address: Address, identity: str) -> None:
        self._db, self._address = db, address
        mine, state, _ = ledger_row(db, address)
        if state == "open":
            if mine == identity:
                raise LedgerError(f"the ledger {address} is there already", fix="nothing is to be moved")
            if self.head().size:
                raise LedgerError(
                    f"the ledger {address} holds events", why="two do not become one", fix="name another org"
                )
            _update_org(db, address, "id = %s, state = 'moving', moved_to = NULL", identity)
            with self._own():
                first = (genesis(identity), address.org)
                db.execute("UPDATE veilig.head SET hash = %s WHERE org = %s AND size = 0", first)
        elif mine != identity:
            raise LedgerError(f"another ledger is being moved to {address}", fix="name another org")

    def head(self) -> Head:
        from veilig.core.ledger_head import head_of

        with self._own():
            return head_of(self._db.execute(HEAD, (self._address.org,)).fetchone())

    def add(self, rows: list[Row], head: Head) -> None:
        from veilig.stores.postgres_tx import Batch

        batch = Batch(self._db, self._address.org, None, rows=rows)
        for row in rows:
            keys, claims, token = _derived(row)
            batch.counters += [(key, row[4], row[0]) for key in keys]
            batch.claims |= dict.fromkeys(claims, row[0])
            if token:
                batch.leases[row[1]] = (token, row[0])
        with self._own():
            batch.send(head)

    def finish(self, others: list[Checkpoint]) -> None:
        query = "INSERT INTO veilig.checkpoints VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
        with self._own():
            for one in others:
                line = checkpoint_line(one).rstrip(b"\n")
                self._db.execute(query, (self._address.org, one.size, one.key, line))
        _update_org(self._db, self._address, "state = 'open', moved_to = %s", None)

    @contextmanager
    def _own(self) -> Generator[None]:
        with self._db.transaction():
            self._db.execute("SELECT set_config('veilig.org', %s, true)", (self._address.org,))
            self._db.execute("SET LOCAL synchronous_commit = on")
            yield


def _update_org(db: "Connection[Any]", address: Address, what: str, value: str | None) -> None:
    from psycopg import sql

    query = sql.SQL("UPDATE veilig.orgs SET {} WHERE org = %s").format(sql.SQL(cast(Any, what)))
    with db.transaction():
        db.execute("SELECT set_config('veilig.org', %s, true)", (address.org,))
        db.execute("SET LOCAL synchronous_commit = on")
        if db.execute(query, (value, address.org)).rowcount != 1:
            raise LedgerError(
                f"the ledger {address} could not be marked",
                why="its organisation is not there, or this role may not move it",
                fix="use the keeper's role: docs/how-to/ledger-on-postgresql.md",
            )
