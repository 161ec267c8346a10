"""Which pinned versions have known vulnerabilities, offline?"""

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from json import loads
from pathlib import Path
from typing import Any, Self

from veilig.audit.advisories_severity import Severity, base_score, rank, rating, worded
from veilig.audit.advisories_source import MEMORY, AdvisoryError, fill, read_advisories
from veilig.audit.advisories_versions import Affected, Event, lowest_clean
from veilig.audit.dependencies import Requirement

AGE_WARNING_DAYS = 7  # advisories appear daily; a week is what a careful team syncs
DATABASE_NAME = "advisories.sqlite"
SNAPSHOT_NAME = "pypi-advisories.jsonl.gz"
ENVIRONMENT_NAME = "VEILIG_ADVISORIES"


@dataclass(frozen=True, slots=True)
class VulnerablePin:
    """One vulnerability of one pinned version; advisories that are aliases of each other are one row.

    id: the CVE name where there is one. score: CVSS base score, None when no vector is given; then
    `severity` is the publisher's own word where there is one.
    lowest_clean: clean of all advisories of the package, None when no clean version is known.
    """

    requirement: Requirement
    id: str
    aliases: tuple[str, ...]
    cwes: tuple[str, ...]
    summary: str
    severity: Severity
    score: float | None
    published: str
    lowest_clean: str | None
    lowest_clean_in_branch: str | None

    @property
    def path(self) -> str:
        """The file that holds the pin."""
        return self.requirement.path

    @property
    def line(self) -> int:
        """The line of the pin, from 1."""
        return self.requirement.line


@dataclass(frozen=True, slots=True)
class _Row:
    names: frozenset[str]
    cwes: tuple[str, ...]
    summary: str
    score: float | None
    word: Severity
    published: str
    affected: Affected


class AdvisoryDatabase:
    """Advisories in a read-only SQLite file (or in memory), indexed by canonical package name."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self.name = name
        try:
            self.meta: dict[str, str] = dict(connection.execute("SELECT key, value FROM meta"))
            self.advisories = int(connection.execute("SELECT count(*) FROM advisory").fetchone()[0])
        except sqlite3.Error as error:
            raise _unreadable(name, str(error)) from error
        if self.advisories == 0:
            raise _unreadable(name, "it holds no advisories")

    @classmethod
    def build(cls, source: Path, target: Path, *more: Path, facts: Mapping[str, str] | None = None) -> Self:
        """Make the database file from files, zips or folders; `target` changes only on success.

        facts: what else to keep in `meta`. The file is read-only. Raises AdvisoryError when a source is
        missing, empty or malformed (with file and line).
        """
        meta, advisories = read_advisories(source, *more)
        fresh = target.with_name(f"{target.name}.{os.getpid()}.new")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)
            connection = sqlite3.connect(fresh)
            try:
                fill(connection, {**meta, **(facts or {})}, advisories)
            finally:
                connection.close()
            fresh.chmod(0o444)
            fresh.replace(target)
        except (OSError, sqlite3.Error) as error:
            fresh.unlink(missing_ok=True)
            raise AdvisoryError(
                f"{target}: the advisory database cannot be written",
                why=str(error),
                fix="choose a folder that can be written, or free some space",
            ) from error
        return cls.open(target)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The database at a path: a built one is opened read-only, a .jsonl(.gz) is read into memory.

        Raises AdvisoryError when it is missing, damaged or empty: no data is never "no vulnerabilities".
        """
        if not path.is_file():
            raise _unreadable(str(path), "there is no such file")
        if path.name.endswith((".jsonl", ".jsonl.gz", ".zip")):
            meta, advisories = read_advisories(path)
            connection = sqlite3.connect(MEMORY)
            fill(connection, meta, advisories)
            return cls(connection, str(path))
        try:
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        except sqlite3.Error as error:
            raise _unreadable(str(path), str(error)) from error
        return cls(connection, str(path))

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def as_of(self) -> date | None:
        """The day the data was taken at its source, None when the data does not say."""
        try:
            return date.fromisoformat(self.meta.get("commit_date", self.meta.get("date", ""))[:10])
        except ValueError:
            return None

    def age_days(self, today: date) -> int | None:
        """Age of the data in days, None when it carries no date."""
        as_of = self.as_of()
        return None if as_of is None else (today - as_of).days

    def warning(self, today: date) -> str:
        """What a reader must know about the age of the data; "" when it is fresh."""
        age = self.age_days(today)
        if age is None:
            return "advisory data without a date: nobody can tell what is missing"
        if age > AGE_WARNING_DAYS:
            return (
                f"advisory data of {self.as_of()}, {age} days old: what was published since is unknown here"
            )
        if age < 0:
            return f"advisory data of {self.as_of()} is from the future: check the clock"
        return ""

    def match(self, requirements: Iterable[Requirement]) -> list[VulnerablePin]:
        """Known vulnerabilities of the pinned requirements, in the order given, worst first within a pin."""
        found: list[VulnerablePin] = []
        cache: dict[str, tuple[_Row, ...]] = {}
        for requirement in requirements:
            version = requirement.version
            if version is None:
                continue
            if requirement.name not in cache:
                cache[requirement.name] = self._rows(requirement.name)
            rows = cache[requirement.name]
            hits = [row for row in rows if row.affected.covers(version)]
            if hits:
                every = [row.affected for row in rows]
                clean = lowest_clean(version, every)
                branch = lowest_clean(version, every, same_branch=True)
                pins = [_pin(requirement, group, clean, branch) for group in _united(hits)]
                found += sorted(pins, key=lambda pin: (-(pin.score or 0.0), pin.id))
        return found

    def covers(self, name: str, version: str) -> bool:
        """Whether any advisory covers this version of a package (canonical name)."""
        return any(row.affected.covers(version) for row in self._rows(name))

    def affected(self, name: str) -> tuple[Affected, ...]:
        """What each advisory says of the versions of a package (canonical name)."""
        return tuple(row.affected for row in self._rows(name))

    def names(self) -> frozenset[str]:
        """Every package (canonical name) that some advisory is about."""
        try:
            rows = self._connection.execute("SELECT DISTINCT package FROM affected").fetchall()
        except sqlite3.Error as error:
            raise _unreadable(self.name, str(error)) from error
        return frozenset(str(row[0]) for row in rows)

    def _rows(self, package: str) -> tuple[_Row, ...]:
        try:
            rows = self._connection.execute(
                "SELECT a.id, a.aliases, a.cwes, a.summary, a.severity, a.published, f.ranges, f.versions "
                "FROM affected f JOIN advisory a ON a.id = f.advisory WHERE f.package = ?",
                (package,),
            ).fetchall()
        except sqlite3.Error as error:
            raise _unreadable(self.name, str(error)) from error
        return tuple(_row(row) for row in rows)


def _row(row: Sequence[Any]) -> _Row:
    severity = loads(row[4])
    scores = [score for vector in severity if (score := base_score(vector)) is not None]
    ranges = tuple(tuple(Event(kind, version) for kind, version in events) for events in loads(row[6]))
    return _Row(
        names=frozenset((row[0], *loads(row[1]))),
        cwes=tuple(loads(row[2])),
        summary=row[3],
        score=max(scores, default=None),
        word=worded(severity),
        published=row[5],
        affected=Affected(ranges, frozenset(loads(row[7]))),
    )


def _united(rows: Sequence[_Row]) -> list[list[_Row]]:
    """Rows grouped so that any two that share a name, directly or through a third, are together."""
    groups: list[tuple[set[str], list[_Row]]] = []
    for row in rows:
        names, members = set(row.names), [row]
        apart: list[tuple[set[str], list[_Row]]] = []
        for group in groups:
            if group[0] & names:
                names |= group[0]
                members = group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (names, members)]
    return [members for _, members in groups]


def _name_rank(name: str) -> tuple[int, str]:
    order = ("CVE-", "GHSA-", "PYSEC-")
    return (next((i for i, prefix in enumerate(order) if name.startswith(prefix)), len(order)), name)


def _pin(requirement: Requirement, rows: list[_Row], clean: str | None, branch: str | None) -> VulnerablePin:
    names = sorted({name for row in rows for name in row.names}, key=_name_rank)
    score = max((row.score for row in rows if row.score is not None), default=None)
    return VulnerablePin(
        requirement=requirement,
        id=names[0],
        aliases=tuple(names[1:]),
        cwes=tuple(sorted({cwe for row in rows for cwe in row.cwes})),
        summary=rows[0].summary,
        severity=rating(score) if score is not None else max((r.word for r in rows), key=rank),
        score=score,
        published=min(row.published for row in rows),
        lowest_clean=clean,
        lowest_clean_in_branch=branch,
    )


def locate(environ: Mapping[str, str], state_dir: Path | None = None, checkout: Path | None = None) -> Path:
    """The advisory data to use: $VEILIG_ADVISORIES, else the state folder, else the checkout's data.

    Raises AdvisoryError that says how to get one. A path in the environment that does not exist is an error:
    falling back in silence would answer from other data than the operator chose.
    """
    chosen = environ.get(ENVIRONMENT_NAME)
    if chosen:
        if Path(chosen).is_file():
            return Path(chosen)
        raise _unreadable(chosen, f"${ENVIRONMENT_NAME} names it, but there is no such file")
    places: list[Path] = []
    if state_dir is not None:
        places += [state_dir / DATABASE_NAME, state_dir / SNAPSHOT_NAME]
    if checkout is not None:
        places.append(checkout / "data" / "advisories" / SNAPSHOT_NAME)
    for place in places:
        if place.is_file():
            return place
    raise AdvisoryError(
        "no advisory data: dependencies were not assessed",
        why="looked at "
        + (", ".join(map(str, places)) or "nothing: no state folder and no checkout was given"),
        fix="`veilig advisories sync --from DIR|ZIP|FILE` makes it from the PyPA advisory-database or "
        f"OSV's PyPI zip; or set {ENVIRONMENT_NAME} to a .jsonl, .jsonl.gz or .sqlite file",
    )


def _unreadable(name: str, why: str) -> AdvisoryError:
    return AdvisoryError(
        f"{name}: the advisory data cannot be used; dependencies were not assessed",
        why=why,
        fix=f"rebuild it from a snapshot, or set {ENVIRONMENT_NAME} to another file",
    )
