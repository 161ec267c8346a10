"""What does a fleet's database know of campaigns? One row for each repository; workers fill them in.

Whoever commands a campaign may die: rows and sessions are made in steps that can be made again, and what a
worker found is there for whoever asks next.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from veilig.core.errors import ProviderError
from veilig.providers.fleet.entries import LeaseLost
from veilig.providers.fleet.link import Link

PUT_ROWS: Final = 1000
LATE_S: Final = 60.0  # a row may be seen so much later than it says it ended: its transaction was open
PAGE_ROWS: Final = 500  # results read at once
_HEADING: Final = ("id", "kind", "list", "about", "terms", "repositories", "began_at", "ended_at", "asked")
_HEADINGS: Final = (
    "SELECT id, kind, list, about, terms, repositories, began_at, ended_at, asked FROM fleet_campaign"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A repository of a campaign: its line in the list, its session, and its result once there is one.

    report: the name in the store of what was found, or of the patch. pinned: what a worker began with.
    """

    number: int
    label: str
    session: str
    result: str | None
    report: str = ""
    pinned: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who reads some content. mine: whoever asked does. result, report: it was read, by `label`.

    campaign: in which it was read. Neither mine nor read: another session is at it.
    """

    mine: bool
    campaign: str = ""
    label: str = ""
    result: str = ""
    report: str = ""


class FleetCampaigns:
    """The campaigns of one organisation. Every method raises ProviderError without the database."""

    def __init__(self, link: Link) -> None:
        self._link = link

    # --- whoever commands -------------------------------------------------------------------------

    def headings(self, about: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """Campaigns of one list and kind, or all; newest first."""
        rows = self._link.rows(
            f"{_HEADINGS} WHERE %(about)s IN ('', about) ORDER BY id DESC LIMIT %(limit)s",
            about=about, limit=limit,
        )  # fmt: skip
        return [dict(zip(_HEADING, row, strict=True)) for row in rows]

    def asked(self, campaign: str) -> str:
        """What is wanted of every repository. Raises ProviderError when the campaign is gone."""
        rows = self._link.rows("SELECT asked FROM fleet_campaign WHERE id = %(id)s", id=campaign)
        if not rows:
            raise ProviderError(f"campaign {campaign!r} is gone", why="somebody removed it")
        return str(rows[0][0])

    def begin(self, heading: Mapping[str, Any], *, fresh: bool) -> dict[str, Any]:
        """The newest campaign of this list, if it goes on with the same terms; else this one, made now.

        fresh: never an older one. Two that begin at once have the same.
        """
        with self._link.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (str(heading["about"]),))
            cursor.execute(
                f"{_HEADINGS} WHERE about = %s AND ended_at = '' AND terms = %s AND NOT %s "
                "ORDER BY id DESC LIMIT 1",
                (heading["about"], heading["terms"], fresh),
            )
            if row := cursor.fetchone():
                return dict(zip(_HEADING, row, strict=True))
            cursor.execute(
                "INSERT INTO fleet_campaign (id, kind, list, about, terms, repositories, began_at, asked) "
                "VALUES (%(id)s, %(kind)s, %(list)s, %(about)s, %(terms)s, %(repositories)s, %(began_at)s, "
                "%(asked)s)",
                {k: heading[k] for k in _HEADING if k != "ended_at"},
            )
            return {**heading, "ended_at": ""}

    def add(self, campaign: str, rows: Iterable[tuple[int, str, str]]) -> None:
        """Add (number, label, session), a thousand at a time; those that are there stay as they are."""
        part: list[tuple[str, int, str, str]] = []
        for number, label, session in rows:
            part.append((campaign, number, label, session))
            if len(part) == PUT_ROWS:
                self._add(part)
                part = []
        self._add(part)

    def _add(self, part: Sequence[tuple[str, int, str, str]]) -> None:
        if not part:
            return
        with self._link.transaction() as cursor:
            cursor.executemany(
                "INSERT INTO fleet_repository (campaign, number, label, session) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT DO NOTHING",
                part,
            )

    def unqueued(self, campaign: str) -> list[tuple[int, str]]:
        """(number, session) of those that no session of the queue is for yet."""
        rows = self._link.rows(
            "SELECT r.number, r.session FROM fleet_repository r WHERE r.campaign = %(campaign)s "
            "AND r.result IS NULL AND NOT EXISTS (SELECT 1 FROM fleet_session s WHERE s.session = r.session) "
            "ORDER BY r.number",
            campaign=campaign,
        )
        return [(int(number), str(session)) for number, session in rows]

    def ended_since(self, campaign: str, since: float) -> tuple[list[Row], float]:
        """What has ended since a moment of the database's clock (0: all), and that clock now.

        Some come twice: what is asked again reaches LATE_S back.
        """
        rows = self._link.rows(
            f"{_ROWS} AND result IS NOT NULL AND ended_at >= to_timestamp(%(since)s) ORDER BY number",
            campaign=campaign,
            since=max(0.0, since - LATE_S),
        )
        now = self._link.rows("SELECT extract(epoch FROM now())::float8")
        return [Row(*row) for row in rows], float(now[0][0])

    def ended(self, campaign: str) -> Iterator[Row]:
        """Every row with a result, in the order of the list."""
        last = -1
        while rows := self._link.rows(
            f"{_ROWS} AND result IS NOT NULL AND number > %(last)s ORDER BY number LIMIT %(limit)s",
            campaign=campaign, last=last, limit=PAGE_ROWS,
        ):  # fmt: skip
            yield from (Row(*row) for row in rows)
            last = int(rows[-1][0])

    def counts(self, campaign: str) -> tuple[int, int]:
        """(how many have a result, how many there are)."""
        rows = self._link.rows(
            "SELECT count(result), count(*) FROM fleet_repository WHERE campaign = %(campaign)s",
            campaign=campaign,
        )
        return int(rows[0][0]), int(rows[0][1])

    def abandoned(self, campaign: str) -> list[tuple[Row, str, str]]:
        """Rows without a result whose session is over: (row, state, note)."""
        rows = self._link.rows(
            "SELECT r.number, r.label, r.session, r.result, r.report, r.pinned, s.state, s.note "
            "FROM fleet_repository r JOIN fleet_session s ON s.session = r.session "
            "WHERE r.campaign = %(campaign)s AND r.result IS NULL "
            "AND s.state IN ('done', 'failed', 'cancelled') ORDER BY r.number",
            campaign=campaign,
        )
        return [(Row(*row[:6]), str(row[6]), str(row[7])) for row in rows]

    def waiting(self, campaign: str) -> list[str]:
        """The sessions that nobody has begun."""
        rows = self._link.rows(
            "SELECT r.session FROM fleet_repository r JOIN fleet_session s ON s.session = r.session "
            "WHERE r.campaign = %(campaign)s AND r.result IS NULL AND s.state = 'queued' ORDER BY r.number",
            campaign=campaign,
        )
        return [str(row[0]) for row in rows]

    def conclude(self, campaign: str, number: int, result: str) -> None:
        """Say what became of a repository whose session ended without a word."""
        self._link.rows(
            "UPDATE fleet_repository SET result = %(result)s, ended_at = now() "
            "WHERE campaign = %(campaign)s AND number = %(number)s AND result IS NULL RETURNING number",
            campaign=campaign, number=number, result=result,
        )  # fmt: skip

    def close(self, campaign: str, ended_at: str) -> bool:
        """Whether it is over now: every repository has a result."""
        rows = self._link.rows(
            "UPDATE fleet_campaign c SET ended_at = CASE c.ended_at WHEN '' THEN %(ended_at)s "
            "ELSE c.ended_at END WHERE c.id = %(campaign)s AND c.repositories = (SELECT count(r.result) "
            "FROM fleet_repository r WHERE r.campaign = c.id) RETURNING id",
            campaign=campaign, ended_at=ended_at,
        )  # fmt: skip
        return bool(rows)

    def remove(self, campaign: str) -> None:
        """Forget it."""
        with self._link.transaction() as cursor:
            cursor.execute("DELETE FROM fleet_repository WHERE campaign = %s", (campaign,))
            cursor.execute("DELETE FROM fleet_campaign WHERE id = %s", (campaign,))

    # --- whoever works ----------------------------------------------------------------------------

    def row(self, campaign: str, number: int) -> Row:
        """One repository. Raises ProviderError when its campaign is gone."""
        rows = self._link.rows(f"{_ROWS} AND number = %(number)s", campaign=campaign, number=number)
        if not rows:
            raise ProviderError(f"campaign {campaign!r} is gone", why="somebody removed it")
        return Row(*rows[0])

    def pin(self, campaign: str, number: int, pinned: str) -> None:
        """What the work begins with, for whoever may have to go on with it."""
        self._link.rows(
            "UPDATE fleet_repository SET pinned = %(pinned)s "
            "WHERE campaign = %(campaign)s AND number = %(number)s RETURNING number",
            campaign=campaign, number=number, pinned=pinned,
        )  # fmt: skip

    def claim(self, key: str, row: Row, campaign: str, *, fresh: bool) -> Claim:
        """Read this content, unless somebody has, or is at it. fresh: only this campaign's word counts."""
        rows = self._link.rows(_CLAIM, key=key, session=row.session, campaign=campaign,
                               label=row.label, fresh=fresh)  # fmt: skip
        if rows:
            return Claim(mine=True)
        found = self._link.rows(
            "UPDATE fleet_content SET used_at = now() WHERE key = %(key)s "
            "RETURNING campaign, label, result, report",
            key=key,
        )
        return Claim(False, *found[0]) if found and found[0][2] else Claim(mine=False)

    def disclaim(self, key: str, session: str) -> None:
        """It could not be read: somebody else may try."""
        self._link.rows(
            "DELETE FROM fleet_content WHERE key = %(key)s AND session = %(session)s AND result = '' "
            "RETURNING key",
            key=key, session=session,
        )  # fmt: skip

    def end(
        self, campaign: str, row: Row, token: int, result: str, report: str, *, key: str = "", kept: str = ""
    ) -> None:
        """The result of a repository, and of its content under `key`. Raises LeaseLost.

        report: the name of what was found in the store. kept: what others with this content are told.
        """
        with self._link.transaction() as cursor:
            cursor.execute(
                "SELECT 1 FROM fleet_session WHERE session = %s AND token = %s AND state = 'working' "
                "FOR SHARE",
                (row.session, token),
            )
            if cursor.fetchone() is None:
                raise LeaseLost(f"session {row.session!r} is driven by another worker now")
            cursor.execute(
                "UPDATE fleet_repository SET result = %s, report = %s, ended_at = now() "
                "WHERE campaign = %s AND number = %s",
                (result, report, campaign, row.number),
            )
            if key:
                cursor.execute(
                    "UPDATE fleet_content SET result = %s, report = %s, campaign = %s, label = %s, "
                    "used_at = now() WHERE key = %s AND session = %s",
                    (kept, report, campaign, row.label, key, row.session),
                )


_ROWS: Final = (
    "SELECT number, label, session, result, report, pinned FROM fleet_repository "
    "WHERE campaign = %(campaign)s"
)

# The claim of a session that is over without a result is nobody's.
_CLAIM: Final = """
INSERT INTO fleet_content AS c (key, session, campaign, label)
VALUES (%(key)s, %(session)s, %(campaign)s, %(label)s)
ON CONFLICT (org, key) DO UPDATE
SET session = excluded.session, campaign = excluded.campaign, label = excluded.label, result = '',
    report = '', used_at = now()
WHERE c.session = excluded.session
   OR (%(fresh)s AND c.campaign <> excluded.campaign)
   OR (c.result = '' AND NOT EXISTS (
       SELECT 1 FROM fleet_session s
       WHERE s.session = c.session AND s.state NOT IN ('done', 'failed', 'cancelled')))
RETURNING key
"""
