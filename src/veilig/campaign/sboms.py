"""Which repositories hold which components, and whom does an advisory concern? Each audit fills the index.

One SQLite file. Components lie sorted by package, so that an advisory is a look at its own packages; what was
found for whom, and what of a feed was read, is written in one transaction.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from veilig.audit.advisories_source import Advisory
from veilig.audit.advisories_versions import Affected, Event, lowest_clean
from veilig.audit.dependencies import canonical
from veilig.core.errors import UsageError

NAME = "sboms.sqlite"
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
_ALERT = (
    "SELECT a.id, a.advisory, a.package, a.version, a.clean, a.state, a.found_at, r.label, r.place, r.ref, "
    "v.summary FROM alert a JOIN repository r ON r.id = a.repository JOIN advisory v ON v.id = a.advisory "
)

type Clean = Callable[[str], Sequence[Affected]]  # what else is known of the versions of a package


@dataclass(frozen=True, slots=True)
class Alert:
    """A repository that an advisory concerns. clean: the lowest version that no advisory covers, or None.

    state: open, resolved (the component is gone) or withdrawn (the advisory is).
    """

    id: int
    advisory: str
    package: str
    version: str
    clean: str | None
    state: str
    found_at: str
    repository: str
    place: str
    ref: str
    summary: str

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class News:
    """One record of a feed."""

    advisory: Advisory
    modified: str
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class Page:
    """A file of a feed. stamp: the state in which it was read."""

    place: str
    stamp: str
    news: tuple[News, ...]


class Sboms:
    """The index in one file; made when missing."""

    def __init__(self, place: Path, known: Clean = lambda _: ()) -> None:
        self._place = place
        self._known = known
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def record(
        self, place: str, ref: str, label: str, revision: str, components: Iterable[tuple[str, str, str]]
    ) -> list[Alert]:
        """Keep what a repository holds now, instead of what it held; what feeds said concerns it is returned.

        components: (name, version, file). Raises UsageError when the file cannot be written.
        """
        rows = sorted({(canonical(name), version, path) for name, version, path in components})
        with self._writing() as connection:
            (number,) = connection.execute(
                "INSERT INTO repository (place, ref, label, revision, seen_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (place, ref) DO UPDATE SET label = excluded.label, "
                "revision = excluded.revision, seen_at = excluded.seen_at RETURNING id",
                (place, ref, label, revision, _now()),
            ).fetchone()
            connection.execute("DELETE FROM component WHERE repository = ?", (number,))
            connection.executemany(
                "INSERT INTO component VALUES (?, ?, ?, ?)",
                [(package, version, number, path) for package, version, path in rows],
            )
            connection.execute(
                "UPDATE alert SET state = 'resolved' WHERE repository = ? AND state = 'open' AND NOT EXISTS "
                "(SELECT 1 FROM component c WHERE c.package = alert.package AND c.version = alert.version "
                "AND c.repository = alert.repository)",
                (number,),
            )
            first = self._next_alert(connection)
            for package, version in sorted({(p, v) for p, v, _ in rows}):
                for advisory, affected in self._of_feeds(connection, package):
                    if affected.covers(version):
                        self._alert(connection, advisory, package, version, [number])
            return self._since(connection, first)

    def read(self, pages: Iterable[Page]) -> list[Alert]:
        """Take in pages of a feed, all or none; the alerts they cause. Read again they cause none twice.

        `is_read` tells them from then on. A record that is as it was is passed over; a withdrawn one closes
        its alerts. Raises UsageError.
        """
        with self._writing() as connection:
            first = self._next_alert(connection)
            for page in pages:
                for one in page.news:
                    self._take(connection, one)
                connection.execute(
                    "INSERT OR REPLACE INTO feed (place, stamp, read_at) VALUES (?, ?, ?)",
                    (page.place, page.stamp, _now()),
                )
            return self._since(connection, first)

    def is_read(self, place: str, stamp: str) -> bool:
        """Whether this was read in this state."""
        row = self._one("SELECT stamp FROM feed WHERE place = ?", (place,))
        return row is not None and row[0] == stamp

    def alerts(self, *, state: str = "open", untold: bool = False) -> list[Alert]:
        """The alerts of a state, oldest first; untold: those nobody was told of."""
        more = "AND a.told_at IS NULL " if untold else ""
        with self._lock:
            try:
                rows = self._connection.execute(
                    f"{_ALERT}WHERE a.state = ? {more}ORDER BY a.id",
                    (state,),  # no value of others
                ).fetchall()
            except sqlite3.Error as error:
                raise self._trouble(error) from error
        return [Alert(*row) for row in rows]

    def told(self, alerts: Iterable[Alert]) -> None:
        """Somebody outside has heard of them."""
        with self._writing() as connection:
            connection.executemany(
                "UPDATE alert SET told_at = ? WHERE id = ?", [(_now(), alert.id) for alert in alerts]
            )

    @property
    def size(self) -> tuple[int, int]:
        """Repositories and components."""
        found = [self._one(f"SELECT count(*) FROM {t}", ()) for t in ("repository", "component")]  # noqa: S608
        return tuple(int(row[0]) for row in found if row)  # pyright: ignore[reportReturnType]  # two tables

    # --- parts ----------------------------------------------------------------------------------------

    def _take(self, connection: sqlite3.Connection, one: News) -> None:
        item = one.advisory
        was = connection.execute(
            "SELECT modified, withdrawn FROM advisory WHERE id = ?", (item.id,)
        ).fetchone()
        if was == (one.modified, int(one.withdrawn)) and one.modified:
            return
        connection.execute(
            "INSERT OR REPLACE INTO advisory VALUES (?, ?, ?, ?)",
            (item.id, one.modified, int(one.withdrawn), item.summary),
        )
        connection.execute("DELETE FROM affected WHERE advisory = ?", (item.id,))
        if one.withdrawn:
            self._close(connection, item.id, "withdrawn")
            return
        connection.executemany(
            "INSERT INTO affected VALUES (?, ?, ?, ?)",
            [(p, item.id, json.dumps(ranges), json.dumps(versions)) for p, ranges, versions in item.affected],
        )
        covered: set[tuple[str, str]] = set()
        for package, ranges, versions in item.affected:
            affected = _affected(ranges, versions)
            for (version,) in connection.execute(
                "SELECT DISTINCT version FROM component WHERE package = ?", (package,)
            ).fetchall():
                if affected.covers(version):
                    covered.add((package, version))
        if was is not None:
            self._outdated(connection, item.id, covered)
        for package, version in sorted(covered):
            rows = connection.execute(
                "SELECT DISTINCT repository FROM component WHERE package = ? AND version = ?",
                (package, version),
            ).fetchall()
            self._alert(connection, item.id, package, version, [int(row[0]) for row in rows])

    def _outdated(self, connection: sqlite3.Connection, advisory: str, covered: set[tuple[str, str]]) -> None:
        """A record was changed: what it covers no more is closed."""
        rows = connection.execute(
            "SELECT DISTINCT package, version FROM alert WHERE advisory = ? AND state = 'open'", (advisory,)
        ).fetchall()
        for package, version in {(str(p), str(v)) for p, v in rows} - covered:
            connection.execute(
                "UPDATE alert SET state = 'withdrawn' "
                "WHERE advisory = ? AND package = ? AND version = ? AND state = 'open'",
                (advisory, package, version),
            )

    @staticmethod
    def _close(connection: sqlite3.Connection, advisory: str, state: str) -> None:
        connection.execute(
            "UPDATE alert SET state = ? WHERE advisory = ? AND state = 'open'", (state, advisory)
        )

    def _alert(
        self, connection: sqlite3.Connection, advisory: str, package: str, version: str, who: Sequence[int]
    ) -> None:
        feeds = [affected for _, affected in self._of_feeds(connection, package)]
        clean = lowest_clean(version, [*self._known(package), *feeds])
        connection.executemany(
            "INSERT INTO alert (advisory, package, version, repository, clean, state, found_at) "
            "VALUES (?, ?, ?, ?, ?, 'open', ?) ON CONFLICT (advisory, package, version, repository) "
            "DO UPDATE SET told_at = CASE alert.state WHEN 'open' THEN alert.told_at END, state = 'open', "
            "clean = excluded.clean",
            [(advisory, package, version, number, clean, _now()) for number in who],
        )

    @staticmethod
    def _of_feeds(connection: sqlite3.Connection, package: str) -> list[tuple[str, Affected]]:
        rows = connection.execute(
            "SELECT advisory, ranges, versions FROM affected WHERE package = ?", (package,)
        ).fetchall()
        return [(str(a), _affected(json.loads(r), json.loads(v))) for a, r, v in rows]

    @staticmethod
    def _next_alert(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT coalesce(max(id), 0) FROM alert").fetchone()[0])

    @staticmethod
    def _since(connection: sqlite3.Connection, first: int) -> list[Alert]:
        rows = connection.execute(f"{_ALERT}WHERE a.id > ? ORDER BY a.id", (first,)).fetchall()
        return [Alert(*row) for row in rows]

    def _one(self, question: str, values: tuple[str, ...]) -> tuple[str, ...] | None:
        with self._lock:
            try:
                return self._connection.execute(question, values).fetchone()
            except sqlite3.Error as error:
                raise self._trouble(error) from error

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        """One transaction; all of it or nothing. Raises UsageError."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> UsageError:
        return UsageError(
            f"{self._place}: the index of components cannot be used",
            why=str(error),
            fix="free space; or remove the file: the next audits fill it again",
        )


def _affected(ranges: Iterable[Iterable[Sequence[str]]], versions: Iterable[str]) -> Affected:
    events = tuple(tuple(Event(kind, version) for kind, version in part) for part in ranges)
    return Affected(events, frozenset(versions))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
