"""How does a worker come to a session, keep it, and let go of it? By a lease, whose token only grows.

Whatever is recorded for a session carries the token: nobody who lost the lease can record anything, and a
worker that cannot renew it stops by its own clock before anybody else may take over.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from veilig.core.errors import ProviderError
from veilig.providers.fleet import tables
from veilig.providers.fleet.entries import VERSION, LeaseLost, State, Taken
from veilig.providers.fleet.queue import Queue, gone, libraries

LEASE_S: Final = 15.0  # a worker that was not heard of for so long has lost its sessions
BEAT_S: Final = 3.0  # how often it says that it lives: four may be lost


class Desk(Queue):
    """The queue as a worker sees it."""

    async def register(self) -> int:
        """A number for this worker, under which its heart beats; those long dead lose theirs."""
        await self.rows(
            "DELETE FROM procrastinate_workers WHERE last_heartbeat < now() - interval '1 day' RETURNING id"
        )
        rows = await self.rows("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")
        return int(rows[0][0])

    async def unregister(self, worker: int) -> None:
        """It has left, and drives nothing any more."""
        await self.rows("DELETE FROM procrastinate_workers WHERE id = %(id)s RETURNING id", id=worker)

    async def beat(self, worker: int, held: Mapping[str, int]) -> frozenset[str]:
        """Say that this worker lives; the sessions among `held` (session -> token) that are still its own."""
        async with self.sql() as sql:
            query = "UPDATE procrastinate_workers SET last_heartbeat = now() WHERE id = %s RETURNING id"
            alive = await (await sql.execute(query, (worker,))).fetchone()
            if alive is None:  # taken for dead, and its row cleared away: it comes back under its number
                await sql.execute(
                    "INSERT INTO procrastinate_workers (id) OVERRIDING SYSTEM VALUE VALUES (%s)", (worker,)
                )
            values = {"lease_s": LEASE_S, "sessions": list(held), "tokens": list(held.values())}
            rows = await (await sql.execute(tables.RENEW, values)).fetchall()
            return frozenset(str(row[0]) for row in rows)

    async def rescue(self) -> int:
        """Put back what dead workers had, for anybody to take; how many that were."""
        return len(await self.rows(tables.RESCUE, silent_s=LEASE_S))

    async def take(self, worker: int, name: str, kinds: Sequence[str]) -> Taken | None:
        """The next session of these kinds, with a new lease; None when there is none now."""
        queues = await self.rows(tables.QUEUES, kinds=list(kinds), version=VERSION)
        if not queues:
            return None
        procrastinate = libraries()[2]
        try:
            job = await self.app.job_manager.fetch_job([row[0] for row in queues], worker)
        except procrastinate.exceptions.ConnectorException as error:
            raise gone(error) from error
        if job is None or job.id is None:
            return None
        session = str(job.task_kwargs["session"])
        rows = await self.rows(tables.TAKE, worker=name, job=job.id, session=session, lease_s=LEASE_S)
        if rows:
            return Taken(job.id, *rows[0])
        # The lease of a dead worker runs for some seconds more; a session that is over needs no job.
        await self.rows(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM fleet_session WHERE session = %(session)s "
            "AND state = 'working') "
            "THEN procrastinate_retry_job_v2(%(job)s, now() + interval '2 s', NULL, NULL, NULL) "
            "ELSE procrastinate_finish_job_v1(%(job)s, 'succeeded', true) END",
            session=session, job=job.id,
        )  # fmt: skip
        return None

    async def keep(self, session: str, token: int, tree: str) -> None:
        """The session's copy is this tree of the store from now on. Raises LeaseLost."""
        if not await self.rows(tables.KEEP, session=session, token=token, tree=tree):
            raise lost(session)

    async def calm(self, session: str, token: int) -> None:
        """Forget earlier tries of a session that is driven well for long."""
        await self.rows(tables.CALM, session=session, token=token)

    async def settle(
        self,
        taken: Taken,
        state: State,
        note: str = "",
        seq: int = 0,
        delay_s: float = 0.0,
        *,
        free: bool = False,
    ) -> None:
        """Let go of a session: over, held, or QUEUED for anybody to go on with. Raises LeaseLost.

        seq: the ledger's size then, after which votes for a held session count. delay_s: not before.
        free: it counts as no try, as for every session that was left without a note.
        """
        no_try = int(free or (state is State.QUEUED and not note))
        values = {
            "session": taken.session,
            "token": taken.token,
            "state": str(state),
            "seq": seq,
            "free": no_try,
        }
        async with self.sql() as sql:
            found = await sql.execute(tables.SETTLE, {**values, "note": note[:500]})
            if await found.fetchone() is None:
                raise lost(taken.session)
            if state is State.QUEUED:
                query = (
                    "SELECT procrastinate_retry_job_v2"
                    "(%s, now() + %s * interval '1 second', NULL, NULL, NULL)"
                )
                await sql.execute(query, (taken.job, delay_s))
            else:
                query = "SELECT procrastinate_finish_job_v1(%s, %s, true)"
                good = state in (State.DONE, State.HELD)
                await sql.execute(query, (taken.job, "succeeded" if good else "failed"))

    async def cancelled(self, sessions: Sequence[str]) -> frozenset[str]:
        """Those of these sessions at work that somebody wants to end."""
        rows = await self.rows(
            "SELECT session FROM fleet_session WHERE session = ANY(%(sessions)s) AND note = 'cancelled'",
            sessions=list(sessions),
        )
        return frozenset(str(row[0]) for row in rows)

    async def held(self) -> dict[str, tuple[str, int]]:
        """The sessions that wait for people, with their org and its ledger's size when they began to."""
        rows = await self.rows("SELECT session, org, seq FROM fleet_session WHERE state = 'held'")
        return {str(session): (str(org), int(seq)) for session, org, seq in rows}

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a session is queued, until cancelled. Raises ProviderError when that ends."""
        procrastinate = libraries()[2]

        async def heard(**_: Any) -> None:
            wake()

        try:
            await self.app.job_manager.listen_for_jobs(on_notification=heard, queues=None)
        except procrastinate.exceptions.ConnectorException as error:
            raise gone(error) from error
        raise ProviderError("nobody tells of new sessions any more", retry_after_s=1.0)


def lost(session: str) -> LeaseLost:
    """The error of whoever lost the lease of a session."""
    return LeaseLost(
        f"session {session!r} is driven by another worker now", why="this worker's lease has run out"
    )
