"""Which repositories hold which components, and whom does an advisory concern? Each audit fills the index.

Components lie sorted by package, so that an advisory is a look at its own packages; what was found for whom,
and what of a feed was read, is written in one transaction. It lies in a file, or in a database for many.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from veilig.audit.advisories_source import Advisory
from veilig.audit.advisories_versions import Affected, Event, lowest_clean
from veilig.audit.dependencies import canonical
from veilig.campaign.sboms_base import Base, FileBase, Work

NAME = "sboms.sqlite"
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
    """The index at a place; a path is a file, which is made when missing."""

    def __init__(self, place: Path | Base, known: Clean = lambda _: ()) -> None:
        self._base: Base = FileBase(place) if isinstance(place, Path) else place
        self._known = known

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def record(
        self, place: str, ref: str, label: str, revision: str, components: Iterable[tuple[str, str, str]]
    ) -> list[Alert]:
        """Keep what a repository holds now, instead of what it held; what feeds said concerns it is returned.

        components: (name, version, file). Raises VeiligError when the place cannot be written.
        """
        rows = sorted({(canonical(name), version, path) for name, version, path in components})
        with self._base.writing(alone=False) as work:
            number = int(
                work.execute(
                    "INSERT INTO repository (place, ref, label, revision, seen_at) VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT (place, ref) DO UPDATE SET label = excluded.label, "
                    "revision = excluded.revision, seen_at = excluded.seen_at RETURNING id",
                    (place, ref, label, revision, _now()),
                ).fetchone()[0]
            )
            work.execute("DELETE FROM component WHERE repository = ?", (number,))
            work.executemany(
                "INSERT INTO component (package, version, repository, path) VALUES (?, ?, ?, ?)",
                [(package, version, number, path) for package, version, path in rows],
            )
            work.execute(
                "UPDATE alert SET state = 'resolved' WHERE repository = ? AND state = 'open' AND NOT EXISTS "
                "(SELECT 1 FROM component c WHERE c.package = alert.package AND c.version = alert.version "
                "AND c.repository = alert.repository)",
                (number,),
            )
            return self._met(work, number, {(package, version) for package, version, _ in rows})

    def read(self, pages: Iterable[Page]) -> list[Alert]:
        """Take in pages of a feed, all or none; the alerts they cause. Read again they cause none twice.

        `is_read` tells them from then on. A record that is as it was is passed over; a withdrawn one closes
        its alerts. Raises VeiligError.
        """
        with self._base.writing(alone=True) as work:
            first, made = _last_alert(work), set[int]()
            for page in pages:
                for one in page.news:
                    made |= self._take(work, one)
                work.execute(
                    "INSERT INTO feed (place, stamp, read_at) VALUES (?, ?, ?) ON CONFLICT (place) DO "
                    "UPDATE SET stamp = excluded.stamp, read_at = excluded.read_at",
                    (page.place, page.stamp, _now()),
                )
            return _since(work, first, made)

    def is_read(self, place: str, stamp: str) -> bool:
        """Whether this was read in this state."""
        with self._base.reading() as work:
            row = work.execute("SELECT stamp FROM feed WHERE place = ?", (place,)).fetchone()
        return row is not None and row[0] == stamp

    def alerts(self, *, state: str = "open", untold: bool = False) -> list[Alert]:
        """The alerts of a state, oldest first; untold: those nobody was told of."""
        more = "AND a.told_at IS NULL " if untold else ""
        with self._base.reading() as work:
            rows = work.execute(f"{_ALERT}WHERE a.state = ? {more}ORDER BY a.id", (state,)).fetchall()
        return [Alert(*row) for row in rows]

    def told(self, alerts: Iterable[Alert]) -> None:
        """Somebody outside has heard of them."""
        with self._base.writing(alone=False) as work:
            work.executemany(
                "UPDATE alert SET told_at = ? WHERE id = ?", [(_now(), alert.id) for alert in alerts]
            )

    @property
    def size(self) -> tuple[int, int]:
        """Repositories and components."""
        with self._base.reading() as work:
            repositories = work.execute("SELECT count(*) FROM repository").fetchone()[0]
            return int(repositories), int(work.execute("SELECT count(*) FROM component").fetchone()[0])

    # --- parts ----------------------------------------------------------------------------------------

    def _met(self, work: Work, number: int, held: set[tuple[str, str]]) -> list[Alert]:
        """What feeds have said before of what a repository holds."""
        first, made = _last_alert(work), set[int]()
        said: dict[str, list[tuple[str, Affected]]] = {}
        for package, advisory, ranges, versions in work.execute(
            "SELECT package, advisory, ranges, versions FROM affected WHERE package IN "
            "(SELECT package FROM component WHERE repository = ?)",
            (number,),
        ).fetchall():
            one = _affected(json.loads(ranges), json.loads(versions))
            said.setdefault(str(package), []).append((str(advisory), one))
        for package, version in sorted(held):
            for advisory, affected in said.get(package, ()):
                if affected.covers(version):
                    made |= self._alert(work, advisory, package, version, number)
        return _since(work, first, made)

    def _take(self, work: Work, one: News) -> set[int]:
        """The numbers of the alerts that one record causes."""
        item = one.advisory
        was = work.execute("SELECT modified, withdrawn FROM advisory WHERE id = ?", (item.id,)).fetchone()
        if was == (one.modified, int(one.withdrawn)) and one.modified:
            return set()
        work.execute(
            "INSERT INTO advisory (id, modified, withdrawn, summary) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET modified = excluded.modified, "
            "withdrawn = excluded.withdrawn, summary = excluded.summary",
            (item.id, one.modified, int(one.withdrawn), item.summary),
        )
        work.execute("DELETE FROM affected WHERE advisory = ?", (item.id,))
        if one.withdrawn:
            work.execute(
                "UPDATE alert SET state = 'withdrawn' WHERE advisory = ? AND state = 'open'", (item.id,)
            )
            return set()
        work.executemany(
            "INSERT INTO affected (package, advisory, ranges, versions) VALUES (?, ?, ?, ?)",
            [(p, item.id, json.dumps(ranges), json.dumps(versions)) for p, ranges, versions in item.affected],
        )
        covered: set[tuple[str, str]] = set()
        for package, ranges, versions in item.affected:
            affected = _affected(ranges, versions)
            for (version,) in work.execute(
                "SELECT DISTINCT version FROM component WHERE package = ?", (package,)
            ).fetchall():
                if affected.covers(version):
                    covered.add((package, version))
        if was is not None:
            self._outdated(work, item.id, covered)
        made = set[int]()
        for package, version in sorted(covered):
            made |= self._alert(work, item.id, package, version)
        return made

    @staticmethod
    def _outdated(work: Work, advisory: str, covered: set[tuple[str, str]]) -> None:
        """A record was changed: what it covers no more is closed."""
        rows = work.execute(
            "SELECT DISTINCT package, version FROM alert WHERE advisory = ? AND state = 'open'", (advisory,)
        ).fetchall()
        for package, version in {(str(p), str(v)) for p, v in rows} - covered:
            work.execute(
                "UPDATE alert SET state = 'withdrawn' "
                "WHERE advisory = ? AND package = ? AND version = ? AND state = 'open'",
                (advisory, package, version),
            )

    def _alert(self, work: Work, advisory: str, package: str, version: str, number: int = 0) -> set[int]:
        """Open the alerts of everybody who holds this, or of one repository; their numbers."""
        feeds = [
            _affected(json.loads(r), json.loads(v))
            for r, v in work.execute(
                "SELECT ranges, versions FROM affected WHERE package = ?", (package,)
            ).fetchall()
        ]
        clean = lowest_clean(version, [*self._known(package), *feeds])
        rows = work.execute(
            "INSERT INTO alert (advisory, package, version, repository, clean, state, found_at) "
            "SELECT CAST(? AS TEXT), package, version, repository, CAST(? AS TEXT), 'open', CAST(? AS TEXT) "
            "FROM component WHERE package = ? AND version = ? AND CAST(? AS BIGINT) IN (0, repository) "
            "GROUP BY package, version, repository ORDER BY repository "
            "ON CONFLICT (advisory, package, version, repository) "
            "DO UPDATE SET told_at = CASE alert.state WHEN 'open' THEN alert.told_at END, state = 'open', "
            "clean = excluded.clean RETURNING id",
            (advisory, clean, _now(), package, version, number),
        ).fetchall()
        return {int(row[0]) for row in rows}


def _last_alert(work: Work) -> int:
    return int(work.execute("SELECT coalesce(max(id), 0) FROM alert").fetchone()[0])


def _since(work: Work, first: int, made: set[int]) -> list[Alert]:
    """The new ones of those that were made or opened again; others may have made some meanwhile."""
    if not any(number > first for number in made):
        return []
    rows = work.execute(f"{_ALERT}WHERE a.id > ? ORDER BY a.id", (first,)).fetchall()
    return [Alert(*row) for row in rows if row[0] in made]


def _affected(ranges: Iterable[Iterable[Sequence[str]]], versions: Iterable[str]) -> Affected:
    events = tuple(tuple(Event(kind, version) for kind, version in part) for part in ranges)
    return Affected(events, frozenset(versions))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
