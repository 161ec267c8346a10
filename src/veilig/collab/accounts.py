"""Who are the people of this server, and are they who they say? Accounts, passwords, sign-ins, in one file.

`people.db` beside the ledger, mode 0600: argon2id hashes of passwords, SHA-256 of session cookies. What
happened to an account (added, changed, signed in) also stands in the ledger; secrets never do.
"""

import hashlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veilig.collab.roles import Refused, Role
from veilig.core.errors import LedgerError, UsageError

PASSWORD_CHARS_MIN: Final = 12  # NIST SP 800-63B-4: length counts, composition does not
PASSWORD_CHARS_MAX: Final = 1024  # more is an attack on the hash
LOGIN_S: Final = 12 * 3600  # a working day; then one signs in again
NAME_CHARS_MAX: Final = 64
GUESSES: Final = 5  # wrong passwords for one name (and 20 from one address) within GUESS_S
GUESSES_OF_ADDRESS: Final = 20
GUESS_S: Final = 300.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS people (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, password TEXT NOT NULL,
  subject TEXT UNIQUE, active INTEGER NOT NULL, made REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS logins (
  token TEXT PRIMARY KEY, person TEXT NOT NULL, csrf TEXT NOT NULL, until REAL NOT NULL, via TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Person:
    """An account. role: what they are in every session that says nothing else; None: a guest, in none.

    subject: who they are at the identity provider, "" for a local account.
    """

    id: str
    name: str
    role: Role | None
    subject: str = ""
    active: bool = True


@dataclass(frozen=True, slots=True)
class Login:
    """A signed-in browser. csrf: what its changes must carry. until: seconds since 1970."""

    person: Person
    csrf: str
    until: float
    key: str  # SHA-256 of the cookie


class Accounts:
    """The people of one server. Thread-safe; `wall_s` is the clock."""

    def __init__(
        self, path: Path, wall_s: Callable[[], float] = time.time, *, login_s: int = LOGIN_S
    ) -> None:
        self._path = path
        self.login_s = login_s
        self._wall_s = wall_s
        self._lock = threading.Lock()
        self._wrong: dict[str, list[float]] = {}
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

    @contextmanager
    def _tx(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                raise LedgerError(f"cannot write {self._path}", why=str(error), fix="try again") from error
            except BaseException:
                self._undo()
                raise

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    # --- people ---------------------------------------------------------------------------------------

    def people(self) -> list[Person]:
        """Everybody, by id."""
        return [_person(row) for row in self._rows(f"{_PERSON} ORDER BY id")]

    def find(self, person: str) -> Person | None:
        """The account with this id."""
        rows = self._rows(f"{_PERSON} WHERE id = ?", person)
        return _person(rows[0]) if rows else None

    def of_subject(self, subject: str) -> Person | None:
        """The account of somebody whom the identity provider calls so."""
        rows = self._rows(f"{_PERSON} WHERE subject = ?", subject)
        return _person(rows[0]) if rows else None

    def add(
        self, person: str, name: str, role: Role | None, *, password: str = "", subject: str = ""
    ) -> Person:
        """A new account. Raises UsageError for a bad name or password, or when there is one already."""
        must_be_name(person)
        hashed = hash_password(password) if password else ""
        made = Person(person, name or person, role, subject)
        with self._tx() as db:
            if db.execute("SELECT 1 FROM people WHERE lower(id) = lower(?)", (person,)).fetchone():
                raise UsageError(f"there is an account {person!r} already", fix="choose another name")
            values = (person, made.name, role or "", hashed, subject or None, 1, self._wall_s())
            db.execute("INSERT INTO people VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return made

    def change(
        self,
        person: str,
        *,
        role: Role | None = None,
        active: bool | None = None,
        password: str | None = None,
    ) -> Person:
        """Change an account; what is None stays. A new password or a block ends its sign-ins. UsageError."""
        hashed = hash_password(password) if password else None
        with self._tx() as db:
            if not db.execute("SELECT 1 FROM people WHERE id = ?", (person,)).fetchone():
                raise UsageError(f"there is no account {person!r}", fix="see `veilig people`")
            if role is not None:
                db.execute("UPDATE people SET role = ? WHERE id = ?", (role, person))
            if active is not None:
                db.execute("UPDATE people SET active = ? WHERE id = ?", (int(active), person))
            if hashed is not None:
                db.execute("UPDATE people SET password = ? WHERE id = ?", (hashed, person))
            if hashed is not None or active is False:
                db.execute("DELETE FROM logins WHERE person = ?", (person,))
        found = self.find(person)
        if found is None:
            raise UsageError(f"there is no account {person!r}")
        return found

    def _rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise LedgerError(f"cannot read {self._path}", why=str(error)) from error

    # --- signing in -----------------------------------------------------------------------------------

    def sign_in(self, name: str, password: str, address: str) -> Person:
        """Who this is. Raises Refused: 401 without saying what was wrong, 429 after too many guesses."""
        now = self._wall_s()
        for key, most in ((f"name:{name.lower()[:200]}", GUESSES), (f"from:{address}", GUESSES_OF_ADDRESS)):
            self._must_wait(key, most, now)
        rows = self._rows("SELECT id, password FROM people WHERE id = ? AND active = 1", name[:200])
        stored = str(rows[0][1]) if rows else ""
        right = check_password(stored or _decoy(), password) and bool(stored)
        person = self.find(str(rows[0][0])) if right else None
        if person is None:
            for key in (f"name:{name.lower()[:200]}", f"from:{address}"):
                self._wrong.setdefault(key, []).append(now)
            raise Refused("the name or the password is wrong", status=401, fix="try again, or ask an owner")
        self._wrong.pop(f"name:{name.lower()[:200]}", None)
        return person

    def _must_wait(self, key: str, most: int, now: float) -> None:
        recent = [t for t in self._wrong.get(key, ()) if 0 <= now - t < GUESS_S]
        if recent:
            self._wrong[key] = recent
        else:
            self._wrong.pop(key, None)
        if len(recent) >= most:
            wait_s = GUESS_S - (now - recent[-most])
            raise Refused(
                "too many wrong passwords", status=429, why="somebody may be guessing",
                fix=f"wait {wait_s:.0f} s", retry_after_s=wait_s,
            )  # fmt: skip

    def log_in(self, person: Person, via: str) -> tuple[str, Login]:
        """A new cookie for this person, and what it stands for."""
        cookie, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        login = Login(person, csrf, self._wall_s() + self.login_s, hashed_token(cookie))
        with self._tx() as db:
            db.execute("DELETE FROM logins WHERE until < ?", (self._wall_s(),))
            values = (login.key, person.id, csrf, login.until, via)
            db.execute("INSERT INTO logins VALUES (?, ?, ?, ?, ?)", values)
        return cookie, login

    def login(self, cookie: str) -> Login | None:
        """Whose cookie this is; None when nobody's, too old, or of a blocked account."""
        key = hashed_token(cookie)
        rows = self._rows(
            "SELECT p.id, p.name, p.role, p.subject, p.active, l.csrf, l.until FROM logins l "
            "JOIN people p ON p.id = l.person WHERE l.token = ? AND p.active = 1 AND l.until > ?",
            key,
            self._wall_s(),
        )
        if not rows:
            return None
        row = rows[0]
        return Login(_person(row[:5]), str(row[5]), float(str(row[6])), key)

    def log_out(self, login: Login) -> None:
        """End this sign-in."""
        with self._tx() as db:
            db.execute("DELETE FROM logins WHERE token = ?", (login.key,))


_PERSON: Final = "SELECT id, name, role, subject, active FROM people"


def _person(row: tuple[object, ...]) -> Person:
    role = Role(str(row[2])) if row[2] else None
    return Person(str(row[0]), str(row[1]), role, str(row[3] or ""), active=bool(row[4]))


def must_be_name(name: str) -> None:
    """Raises UsageError for a name that cannot be an id: it is compared exactly and shown to others."""
    good = name.isascii() and all(c.isalnum() or c in "._-@+" for c in name)
    if not name or len(name) > NAME_CHARS_MAX or not good:
        raise UsageError(
            f"{name[:80]!r} cannot be a person's name here",
            why=f"1 to {NAME_CHARS_MAX} letters, digits and ._-@+",
            fix="use for example ann or ann@example.org",
        )


def hashed_token(token: str) -> str:
    """What is kept of a random token: it has 256 bits, so a plain hash suffices."""
    return hashlib.sha256(token.encode()).hexdigest()


def hash_password(password: str) -> str:
    """Argon2id, RFC 9106's second choice (64 MiB, 3 passes). Raises UsageError for a poor password."""
    from argon2 import PasswordHasher

    if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX or len(set(password)) < 5:
        raise UsageError(
            "this password is too easy to guess" if len(password) <= PASSWORD_CHARS_MAX else "it is too long",
            why=f"{PASSWORD_CHARS_MIN} characters, five of them different, are the least",
            fix="take four words, or what a password manager proposes",
        )
    return PasswordHasher().hash(password)


def check_password(stored: str, given: str) -> bool:
    """Whether this is the password; takes as long for a wrong one."""
    from argon2 import PasswordHasher
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return PasswordHasher().verify(stored, given[:PASSWORD_CHARS_MAX])
    except (Argon2Error, InvalidHashError):
        return False


_DECOYS: list[str] = []


def _decoy() -> str:
    """The hash of a password that nobody has: an unknown name takes as long as a known one."""
    if not _DECOYS:
        _DECOYS.append(hash_password(secrets.token_urlsafe(24)))
    return _DECOYS[0]
