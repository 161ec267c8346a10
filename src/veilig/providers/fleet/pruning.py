"""What in a fleet's database is over, and what of the store does anything that is left still name?"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from veilig.core.errors import UsageError
from veilig.providers.fleet.link import Link
from veilig.providers.fleet.queue import TASK

BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Over:
    """A session of the queue that ended before a moment."""

    session: str
    org: str
    state: str


class Attic:
    """The database, for whoever clears it. Every method raises ProviderError without it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._link = Link(url, "main")

    def close(self) -> None:
        """Let go of the database."""
        self._link.close()

    def orgs(self) -> list[str]:
        """Every organisation that has queued anything. Raises UsageError where one is hidden from us."""
        rows = self._link.rows(
            "SELECT org FROM fleet_queue UNION SELECT org FROM fleet_session UNION SELECT org FROM fleet_org "
            "ORDER BY 1"
        )
        found = [str(row[0]) for row in rows]
        for org in found:
            with self._as(org) as link:
                if link.rows("SELECT fleet_this_org()") != [(org,)]:
                    raise UsageError(
                        f"this role may not see the organisation {org!r}",
                        why="what its campaigns still need would be taken for rubbish",
                        fix="prune as a role that may name every organisation",
                    )
        return found

    def over(self, older_s: float) -> list[Over]:
        """The sessions that ended so long ago."""
        rows = self._link.rows(
            "SELECT session, org, state FROM fleet_session WHERE state IN ('done', 'failed', 'cancelled') "
            "AND ended_at < now() - %(older_s)s * interval '1 second' ORDER BY session",
            older_s=older_s,
        )
        return [Over(*row) for row in rows]

    def forget(self, sessions: Sequence[str], older_s: float) -> int:
        """Take these from the queue, unless somebody has tried one again; how many went."""
        gone = 0
        for at in range(0, len(sessions), BATCH):
            with self._link.transaction() as cursor:
                cursor.execute(
                    "DELETE FROM fleet_session WHERE session = ANY(%s) "
                    "AND state IN ('done', 'failed', 'cancelled') "
                    "AND ended_at < now() - %s * interval '1 second' RETURNING session",
                    (list(sessions[at : at + BATCH]), older_s),
                )
                names = [row[0] for row in cursor.fetchall()]
                cursor.execute(
                    "DELETE FROM procrastinate_jobs WHERE task_name = %s AND args->>'session' = ANY(%s) "
                    "AND status NOT IN ('todo', 'doing')",
                    (TASK, names),
                )
                gone += len(names)
        return gone

    def campaigns(self, org: str, before: str) -> list[str]:
        """Campaigns that ended before a moment, save the last of each list: the next is compared with it."""
        with self._as(org) as link:
            rows = link.rows(
                "SELECT c.id FROM fleet_campaign c WHERE c.ended_at <> '' AND c.ended_at < %(before)s "
                "AND EXISTS (SELECT 1 FROM fleet_campaign n "
                "WHERE n.about = c.about AND n.ended_at <> '' AND n.id > c.id) ORDER BY c.id",
                before=before,
            )
        return [str(row[0]) for row in rows]

    def drop_campaigns(self, org: str, campaigns: Sequence[str]) -> None:
        """Forget these campaigns."""
        with self._as(org) as link, link.transaction() as cursor:
            cursor.execute("DELETE FROM fleet_repository WHERE campaign = ANY(%s)", (list(campaigns),))
            cursor.execute("DELETE FROM fleet_campaign WHERE id = ANY(%s)", (list(campaigns),))

    def contents(self, org: str, older_s: float, *, drop: bool) -> int:
        """What was found in files that nobody has had for so long, and whose campaign is gone; how many."""
        which = (
            "WHERE used_at < now() - %(older_s)s * interval '1 second' AND NOT EXISTS "
            "(SELECT 1 FROM fleet_campaign c WHERE c.id = fleet_content.campaign)"
        )
        query = "DELETE FROM fleet_content {} RETURNING 1" if drop else "SELECT 1 FROM fleet_content {}"
        with self._as(org) as link:
            return len(link.rows(query.format(which), older_s=older_s))

    def trees(self, leaving: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
        """(session, tree) that the sessions of the queue name, as copy or as source; not those `leaving`."""
        gone, last = frozenset(leaving), ""
        while rows := self._link.rows(
            "SELECT session, tree, work->'options'->>'source' FROM fleet_session WHERE session > %(last)s "
            "ORDER BY session LIMIT %(limit)s",
            last=last, limit=BATCH,
        ):  # fmt: skip
            for session, tree, source in rows:
                if session in gone:
                    continue
                if tree:
                    yield str(session), str(tree)
                if source and str(source).startswith("tree:"):
                    yield str(session), str(source).removeprefix("tree:")
            last = str(rows[-1][0])

    def reports(self, org: str, without: Sequence[str] = ()) -> Iterator[str]:
        """Names of what was found, of kept campaigns and contents."""
        with self._as(org) as link:
            rows = link.rows(
                "SELECT report FROM fleet_repository WHERE report <> '' AND campaign <> ALL(%(without)s) "
                "UNION SELECT report FROM fleet_content WHERE report <> ''",
                without=list(without),
            )
        yield from (str(row[0]) for row in rows)

    def _as(self, org: str) -> "_Closing":
        return _Closing(Link(self._url, org))


class _Closing:
    def __init__(self, link: Link) -> None:
        self._link = link

    def __enter__(self) -> Link:
        return self._link

    def __exit__(self, *_: object) -> None:
        self._link.close()
