"""Who are the people of this server, and are they who they say? Accounts, passwords, sign-ins.

A file beside the ledger, or tables beside a ledger in a database, which several servers share: argon2id
hashes of passwords, SHA-256 of session cookies. What happened to an account (added, changed, signed in) also
stands in the ledger; secrets never do.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from veilig.collab.people_file import FileTables
from veilig.collab.roles import Refused, Role
from veilig.core.errors import UsageError

PASSWORD_CHARS_MIN: Final = 12  # NIST SP 800-63B-4: length counts, composition does not
PASSWORD_CHARS_MAX: Final = 1024  # more is an attack on the hash
LOGIN_S: Final = 12 * 3600  # a working day; then one signs in again
NAME_CHARS_MAX: Final = 64
GUESSES: Final = 5  # wrong passwords for one name (and 20 from one address) within GUESS_S
GUESSES_OF_ADDRESS: Final = 20
GUESS_S: Final = 300.0
PASSES_MAX: Final = 1000  # sign-ins under way at an identity provider, and links of terminals


class Ask(Protocol):
    """One transaction's statements; `?` stands for a value."""

    def all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        ...

    def do(self, query: str, *values: object) -> None:
        """A statement without rows."""
        ...


class Tables(Protocol):
    """Where people stand: a file, or a database that several servers share. far: asking may take a while."""

    far: bool

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of one query. Raises LedgerError."""
        ...

    def transact[T](self, fn: Callable[[Any], T], *, alone: bool = False) -> T:
        """What `fn` (of an Ask) returns, after its commit. alone: one at a time. Raises LedgerError."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


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
    """The people of one server, or of several with one database. Thread-safe; `wall_s` is the clock."""

    def __init__(
        self, place: Path | Tables, wall_s: Callable[[], float] = time.time, *, login_s: int = LOGIN_S
    ) -> None:
        self._tables: Tables = FileTables(place) if isinstance(place, Path) else place
        self.login_s = login_s
        self._wall_s = wall_s

    def close(self) -> None:
        """Let go of the file or the database."""
        self._tables.close()

    @property
    def far(self) -> bool:
        """Whether asking may wait for a network."""
        return self._tables.far

    async def read[T](self, fn: Callable[[], T]) -> T:
        """What `fn` asks here; in a thread where that waits for a network."""
        return await asyncio.to_thread(fn) if self.far else fn()

    # --- people ---------------------------------------------------------------------------------------

    def people(self) -> list[Person]:
        """Everybody, by id."""
        return [_person(row) for row in self._tables.rows(f"{_PERSON} ORDER BY id")]

    def find(self, person: str) -> Person | None:
        """The account with this id."""
        rows = self._tables.rows(f"{_PERSON} WHERE id = ?", person)
        return _person(rows[0]) if rows else None

    def of_subject(self, subject: str) -> Person | None:
        """The account of somebody whom the identity provider calls so."""
        rows = self._tables.rows(f"{_PERSON} WHERE subject = ?", subject)
        return _person(rows[0]) if rows else None

    def add(
        self, person: str, name: str, role: Role | None, *, password: str = "", subject: str = ""
    ) -> Person:
        """A new account. Raises UsageError for a bad name or password, or when there is one already."""
        must_be_name(person)
        hashed = hash_password(password) if password else ""
        made = Person(person, name or person, role, subject)
        self._insert((person, made.name, str(role or ""), hashed, subject or None, 1, self._wall_s()))
        return made

    def _insert(self, values: tuple[object, ...]) -> None:
        def put(ask: Ask) -> None:
            if ask.all("SELECT 1 FROM people WHERE lower(id) = lower(?)", values[0]):
                raise UsageError(f"there is an account {values[0]!r} already", fix="choose another name")
            if values[4] and ask.all("SELECT 1 FROM people WHERE subject = ?", values[4]):
                raise UsageError("they have an account already", why="the provider knows them by one name")
            ask.do(_INSERT, *values)

        self._tables.transact(put, alone=True)

    def bring(self, other: "Accounts") -> tuple[list[Person], list[str]]:
        """Take over another's accounts, passwords included: (who came, who was here already)."""
        came, here = list[Person](), list[str]()
        for row in other._tables.rows(_EVERYTHING):
            try:
                self._insert(row)
                came.append(_person((*row[:3], row[4], row[5])))
            except UsageError:
                here.append(str(row[0]))
        return came, here

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

        def put(ask: Ask) -> None:
            if not ask.all("SELECT 1 FROM people WHERE id = ?", person):
                raise UsageError(f"there is no account {person!r}", fix="see `veilig people`")
            if role is not None:
                ask.do("UPDATE people SET role = ? WHERE id = ?", str(role), person)
            if active is not None:
                ask.do("UPDATE people SET active = ? WHERE id = ?", int(active), person)
            if hashed is not None:
                ask.do("UPDATE people SET password = ? WHERE id = ?", hashed, person)
            if hashed is not None or active is False:
                ask.do("DELETE FROM logins WHERE person = ?", person)

        self._tables.transact(put, alone=True)
        found = self.find(person)
        if found is None:
            raise UsageError(f"there is no account {person!r}")
        return found

    # --- signing in -----------------------------------------------------------------------------------

    def sign_in(self, name: str, password: str, address: str) -> Person:
        """Who this is. Raises Refused: 401 without saying what was wrong, 429 after too many guesses."""
        now = self._wall_s()
        by_name, by_address = f"name:{name.lower()[:200]}", f"from:{address}"
        query = "SELECT key, at FROM guesses WHERE key IN (?, ?) AND at > ? AND at <= ? ORDER BY at"
        recent = self._tables.rows(query, by_name, by_address, now - GUESS_S, now)
        for key, most in ((by_name, GUESSES), (by_address, GUESSES_OF_ADDRESS)):
            _must_wait([at for k, at in recent if k == key], most, now)
        rows = self._tables.rows("SELECT id, password FROM people WHERE id = ? AND active = 1", name[:200])
        stored = str(rows[0][1]) if rows else ""
        right = check_password(stored or _decoy(), password) and bool(stored)
        person = self.find(str(rows[0][0])) if right else None
        if person is None:
            self._tables.transact(lambda ask: _guessed(ask, (by_name, by_address), now))
            raise Refused("the name or the password is wrong", status=401, fix="try again, or ask an owner")
        if recent:
            self._tables.transact(lambda ask: ask.do("DELETE FROM guesses WHERE key = ?", by_name))
        return person

    def log_in(self, person: Person, via: str) -> tuple[str, Login]:
        """A new cookie for this person, and what it stands for."""
        cookie, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        login = Login(person, csrf, self._wall_s() + self.login_s, hashed_token(cookie))

        def put(ask: Ask) -> None:
            ask.do("DELETE FROM logins WHERE until < ?", self._wall_s())
            values = (login.key, person.id, csrf, login.until, via)
            ask.do("INSERT INTO logins (token, person, csrf, until, via) VALUES (?, ?, ?, ?, ?)", *values)

        self._tables.transact(put)
        return cookie, login

    def login(self, cookie: str) -> Login | None:
        """Whose cookie this is; None when nobody's, too old, or of a blocked account."""
        key = hashed_token(cookie)
        rows = self._tables.rows(
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
        self._tables.transact(lambda ask: ask.do("DELETE FROM logins WHERE token = ?", login.key))

    def live(self, keys: Collection[str]) -> set[str]:
        """Those of these sign-ins that have not ended, at any server."""
        known = self._tables.rows("SELECT token FROM logins WHERE until > ?", self._wall_s())
        return {str(row[0]) for row in known} & set(keys)

    # --- what opens once ------------------------------------------------------------------------------

    def give(self, key: str, value: str, seconds: float) -> None:
        """Keep `value` under a key that whoever comes back names, at whichever server."""
        now = self._wall_s()

        def put(ask: Ask) -> None:
            ask.do("DELETE FROM passes WHERE until < ?", now)
            if int(ask.all("SELECT count(*) FROM passes")[0][0]) >= PASSES_MAX:
                raise Refused("too many sign in at once", status=503, fix="try again", retry_after_s=30.0)
            ask.do("INSERT INTO passes (key, value, until) VALUES (?, ?, ?)", key, value, now + seconds)

        self._tables.transact(put)

    def take(self, key: str) -> str | None:
        """What was kept under it, once; None when nothing is, or no longer."""
        query = "DELETE FROM passes WHERE key = ? RETURNING value, until"
        found = self._tables.transact(lambda ask: ask.all(query, key))
        return str(found[0][0]) if found and float(found[0][1]) > self._wall_s() else None


_EVERYTHING: Final = "SELECT id, name, role, password, subject, active, made FROM people ORDER BY id"
_INSERT: Final = (
    "INSERT INTO people (id, name, role, password, subject, active, made) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_PERSON: Final = "SELECT id, name, role, subject, active FROM people"


def _person(row: tuple[object, ...]) -> Person:
    role = Role(str(row[2])) if row[2] else None
    return Person(str(row[0]), str(row[1]), role, str(row[3] or ""), active=bool(row[4]))


def _must_wait(recent: list[float], most: int, now: float) -> None:
    if len(recent) >= most:
        wait_s = GUESS_S - (now - recent[-most])
        raise Refused(
            "too many wrong passwords", status=429, why="somebody may be guessing",
            fix=f"wait {wait_s:.0f} s", retry_after_s=wait_s,
        )  # fmt: skip


def _guessed(ask: Ask, keys: Sequence[str], now: float) -> None:
    ask.do("DELETE FROM guesses WHERE at < ?", now - GUESS_S)
    for key in keys:
        ask.do("INSERT INTO guesses (key, at) VALUES (?, ?)", key, now)


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
