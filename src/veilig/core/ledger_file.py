"""How is the ledger's SQLite file made, opened and refused?"""

import errno
import os
import sqlite3
import uuid
from pathlib import Path
from typing import Any

from veilig.core.errors import LedgerError
from veilig.core.ledger_event import genesis, tampered
from veilig.core.ledger_head import Head, head_of
from veilig.core.limits import LEDGER_BUSY_S

APPLICATION_ID = 0x7665_696C  # "veil" in the file's header
SCHEMA_VERSION = 2
PAGE_CACHE_KIB = 4096
_SQLITE_MIN = (3, 37, 0)  # STRICT tables
_HEADER_BYTES = 100  # of every SQLite file

SCHEMA: dict[str, str] = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "events": (
        "CREATE TABLE events (seq INTEGER PRIMARY KEY, session TEXT NOT NULL, name TEXT NOT NULL,"
        " v INTEGER NOT NULL, t_ms INTEGER NOT NULL, boot TEXT NOT NULL, up_ms INTEGER NOT NULL,"
        " wall_ms INTEGER NOT NULL, body TEXT NOT NULL, leaf BLOB NOT NULL, hash BLOB NOT NULL,"
        " salt BLOB) STRICT"
    ),
    "events_session": "CREATE INDEX events_session ON events (session)",  # the rowid is seq: (session, seq)
    "events_name": "CREATE INDEX events_name ON events (name)",  # approvals and grants among a million acts
    "head": (
        "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL,"
        " hash BLOB NOT NULL, t_ms INTEGER NOT NULL, boot TEXT NOT NULL, up_ms INTEGER NOT NULL,"
        " peaks BLOB NOT NULL) STRICT"
    ),
    "counters": (
        "CREATE TABLE counters (key TEXT NOT NULL, t_ms INTEGER NOT NULL, seq INTEGER NOT NULL,"
        " PRIMARY KEY (key, t_ms, seq)) STRICT, WITHOUT ROWID"
    ),
    "claims": "CREATE TABLE claims (key TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "leases": (
        "CREATE TABLE leases (session TEXT PRIMARY KEY, token INTEGER NOT NULL, seq INTEGER NOT NULL)"
        " STRICT, WITHOUT ROWID"
    ),
}
_TO_2 = ("ALTER TABLE events ADD COLUMN salt BLOB", SCHEMA["leases"])  # what an older file lacks


def read_head(db: sqlite3.Connection) -> Head:
    """The head as the file's last commit left it. Raises LedgerTampered when it cannot be one."""
    return head_of(db.execute("SELECT size, hash, t_ms, boot, up_ms, peaks FROM head").fetchone())


def write_head(db: sqlite3.Connection, head: Head) -> None:
    """Store `head`; the caller's transaction makes it true."""
    db.execute(
        "UPDATE head SET size = ?, hash = ?, t_ms = ?, boot = ?, up_ms = ?, peaks = ? WHERE one = 1",
        (head.size, head.hash, head.t_ms, head.boot, head.up_ms, head.frontier.packed()),
    )


def create_file(path: Path, ledger_id: str = "") -> str:
    """Make an empty ledger at `path` (mode 0600) and return its id. Somebody else's newer file is kept.

    ledger_id: of one that is moved here, else a new one is made. It is built under another name and linked
    into place, so nobody ever sees half a ledger.
    """
    ledger_id = ledger_id or uuid.uuid4().hex
    draft = path.with_name(f".{path.name}.{ledger_id}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        db = sqlite3.connect(draft, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA.values():
                db.execute(statement)
            db.execute("INSERT INTO meta VALUES ('id', ?)", (ledger_id,))
            db.execute("INSERT INTO head VALUES (1, 0, ?, 0, '', 0, x'')", (genesis(ledger_id),))
            db.execute("COMMIT")
        finally:
            db.close()
        os.link(draft, path)
        sync_folder(path.parent)
        return ledger_id
    except FileExistsError:
        return ""
    except sqlite3.Error as error:
        raise translated(error, path) from error
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        draft.unlink(missing_ok=True)


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """A connection to an existing ledger whose header and schema were checked.

    Raises LedgerError: missing, unreadable, no ledger, of a newer veilig, read-only while `write`;
    LedgerTampered: its schema is not the one that was made (a planted trigger or view included).
    """
    if sqlite3.sqlite_version_info < _SQLITE_MIN:
        raise LedgerError(
            f"this Python's SQLite {sqlite3.sqlite_version} is too old for the ledger",
            why="3.37 is the first with STRICT tables",
            fix="use a Python built with a newer SQLite",
        )
    _check_file(path, write=write)
    try:
        if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
            _upgrade(path)
        db = _open(path, write=write)
        try:
            check_schema(db, path)
            if write:
                mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                if mode != "wal":
                    raise LedgerError(
                        f"the ledger {str(path)!r} cannot use a write-ahead log ({mode})",
                        why="its file system lacks shared memory (a network drive?)",
                        fix="put the ledger on a local disk",
                    )
        except BaseException:
            db.close()
            raise
    except sqlite3.Error as error:
        raise translated(error, path) from error
    return db


def _upgrade(path: Path) -> None:
    """Add what a ledger of an older veilig lacks; one transaction, and an older veilig still writes it."""
    db = _open(path, write=True)
    try:
        if _pragma(db, "application_id") != APPLICATION_ID or _pragma(db, "user_version") != 1:
            return
        db.execute("BEGIN IMMEDIATE")
        if _pragma(db, "user_version") == 1:
            for statement in _TO_2:
                db.execute(statement)
            db.execute("PRAGMA user_version = 2")
        db.execute("COMMIT")
    finally:
        db.close()


def check_schema(db: sqlite3.Connection, path: Path) -> None:
    """Raises LedgerError for no ledger of ours or a newer one, LedgerTampered for a changed schema."""
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise LedgerError(
            f"{str(path)!r} is not a veilig ledger",
            why="it is a SQLite file of something else",
            fix="check the path; it was not touched",
        )
    version = _pragma(db, "user_version")
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {str(path)!r} has schema {version}; this veilig knows {SCHEMA_VERSION}",
            why="a newer veilig wrote it",
            fix="upgrade veilig; nothing was changed",
        )
    if version < SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {str(path)!r} has the older schema {version}",
            why="it is brought up to date when it can be written",
            fix="make it writable once, or copy it to where it is",
        )
    found = dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_autoindex_%'"))
    if found != SCHEMA:
        odd = min(set(found.items()) ^ set(SCHEMA.items()), key=repr)[0]
        raise tampered(1, f"the file's schema was changed at {odd!r}")


def ledger_id(db: sqlite3.Connection) -> str:
    """The id that names the anchors. Raises LedgerTampered when it is missing or could leave its folder."""
    row = db.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()
    if row is None or not isinstance(row[0], str) or len(row[0]) != 32 or not row[0].isalnum():
        raise tampered(1, "the ledger's id is missing or damaged")
    return row[0]


def file_id(path: Path) -> str:
    """The id of the ledger in this file. Raises LedgerError when it cannot be opened."""
    db = connect(path, write=False)
    try:
        return ledger_id(db)
    except sqlite3.Error as error:
        raise translated(error, path) from error
    finally:
        db.close()


def file_moved_to(path: Path) -> str:
    """Where the ledger in this file goes on; empty when here. Raises LedgerError when it cannot be opened."""
    db = connect(path, write=False)
    try:
        return moved_to(db)
    except sqlite3.Error as error:
        raise translated(error, path) from error
    finally:
        db.close()


def moved_to(db: sqlite3.Connection) -> str:
    """Where this ledger goes on, when it was moved away; else empty."""
    row = db.execute("SELECT value FROM meta WHERE key = 'moved_to'").fetchone()
    return str(row[0]) if row else ""


def translated(error: sqlite3.Error, path: Path, *, seq: int = 1) -> LedgerError:
    """Our error for SQLite's. `seq`: the first event that could not be read, should the file be damaged."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LedgerError(
            f"the ledger {str(path)!r} is busy",
            why=f"another process held its transaction for more than {LEDGER_BUSY_S:.0f} s",
            fix="try again; if it stays, look for a stopped veilig process",
            retry_after_s=1.0,
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT) or (
        not code and "decode" in str(error)  # text that is no UTF-8 any more has no error code
    ):
        return tampered(seq, f"the file is damaged: {error}")
    why, fix = {
        sqlite3.SQLITE_FULL: (
            "the disk is full",
            "free space on that disk and go on: nothing was half-written",
        ),
        sqlite3.SQLITE_IOERR: (
            "the disk refused to write or read (full, over quota or failing)",
            "free space, look at the disk's health, and go on: nothing was half-written",
        ),
        sqlite3.SQLITE_NOTADB: (
            "it is not an SQLite file",
            "check the path; restore the ledger if it was one",
        ),
        sqlite3.SQLITE_READONLY: ("it may not be written", "make the file and its folder writable"),
        sqlite3.SQLITE_CANTOPEN: (
            "it cannot be opened",
            "make the file and its folder readable and writable",
        ),
    }.get(code, (f"SQLite says: {error}", "look at the file and its disk"))
    return LedgerError(f"the ledger {str(path)!r} cannot be used", why=why, fix=fix)


def sync_folder(folder: Path) -> None:
    """Make a new name in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def unwritable(path: Path, error: OSError) -> LedgerError:
    """Our error for a path that the system refuses."""
    return LedgerError(
        f"the ledger {str(path)!r} cannot be used",
        why=f"the system says: {error.strerror or error}",
        fix="choose a path on a local disk with space, in a folder you may write",
    )


def _check_file(path: Path, *, write: bool) -> None:
    """What can be told without opening the file.

    It must not be opened here: closing any descriptor of it would drop the locks that SQLite holds for
    this process (POSIX says so), and the next process to close the ledger would delete the
    write-ahead log under us. https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
    """
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise unwritable(path, error) from error
    if not os.access(path, os.R_OK):
        raise unwritable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    if path.is_dir():
        raise unwritable(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if size_bytes < _HEADER_BYTES:
        raise LedgerError(
            f"{str(path)!r} is not a veilig ledger",
            why="it is empty, cut or of another format",
            fix="check the path; restore the ledger if it was one. It was not touched",
        )
    if write and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise LedgerError(
            f"the ledger {str(path)!r} is read-only",
            why="nothing is done that cannot be recorded",
            fix="make the file and its folder writable",
        )


def _open(path: Path, *, write: bool) -> sqlite3.Connection:
    uri = path.absolute().as_uri()
    mode = "rw" if write else "ro"
    # A closed ledger on read-only media has no -shm file and cannot get one; nobody writes it either.
    if not write and not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists():
        mode = "ro&immutable=1"
    db = sqlite3.connect(
        f"{uri}?mode={mode}", uri=True, isolation_level=None, timeout=LEDGER_BUSY_S, check_same_thread=False
    )
    db.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
    db.execute("PRAGMA trusted_schema = OFF")
    if not write:
        db.execute("PRAGMA query_only = ON")
    return db


def _pragma(db: sqlite3.Connection, name: str) -> Any:
    return db.execute(f"PRAGMA {name}").fetchone()[0]
