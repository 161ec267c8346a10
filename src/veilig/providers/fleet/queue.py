"""How do sessions get into the queue, and who sees them there? PostgreSQL holds them, a library orders them.

procrastinate keeps the jobs: their order, who has taken which, whose heart beats. Beside it stands one
row per session: whose it is, its state, and the lease of whoever drives it.
"""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from veilig.core.errors import ProviderError, UsageError
from veilig.providers.fleet import tables, tables_orgs
from veilig.providers.fleet.entries import Entry, Shown, State, queue_name

if TYPE_CHECKING:
    from procrastinate import App
    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool

TASK: Final = "veilig.session"
BATCH: Final = 1000  # sessions per transaction
POOL_MAX: Final = 6
WAIT_S: Final = 30.0  # for a connection: a restart of the database takes a few seconds
# A lease that a power cut or a fail-over forgets is given twice: whatever the database's own setting is.
_OPTIONS: Final = f"-c search_path={tables.SCHEMA} -c synchronous_commit=on"
INIT_LOCK: Final = 0x7665696C6967  # one process at a time makes the tables

type Row = tuple[Any, ...]


class Queue:
    """An open queue. Every method raises ProviderError (retry later) when the database cannot be reached."""

    def __init__(self, pool: "AsyncConnectionPool[AsyncConnection[Row]]", app: "App") -> None:
        self.pool = pool
        self.app = app

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, wait_s: float = WAIT_S) -> AsyncGenerator[Self]:
        """The queue in the database at `url`; its tables are made when missing. Raises ProviderError."""
        psycopg, pools, procrastinate = libraries()
        try:
            base = psycopg.conninfo.make_conninfo(plain(url), options=_OPTIONS)
        except psycopg.Error as error:
            raise UsageError("this is no address of a database", why=str(error)) from error
        pool = pools.AsyncConnectionPool(
            base, min_size=1, max_size=POOL_MAX, timeout=wait_s, open=False, name="veilig-fleet",
            check=pools.AsyncConnectionPool.check_connection, kwargs={"connect_timeout": 10},
        )  # fmt: skip
        connector = procrastinate.PsycopgConnector()
        app = procrastinate.App(connector=connector)
        try:  # once without the pool, which would try for long and not say why
            async with await psycopg.AsyncConnection.connect(base, connect_timeout=10):
                pass
        except psycopg.Error as error:
            raise gone(error) from error
        try:
            await pool.open(wait=True, timeout=wait_s)
            queue = cls(pool, app)
            await queue._install()
            async with app.open_async(pool):
                yield queue
        except pools.PoolTimeout as error:
            raise gone(error) from error
        finally:
            await pool.close()

    async def _install(self) -> None:
        """Make what is missing, or say who must."""
        async with self.sql() as sql:
            row = await (await sql.execute(tables.STANDS)).fetchone()
            if row and row[0]:
                return
            may = await (
                await sql.execute("SELECT has_database_privilege(current_database(), 'CREATE')")
            ).fetchone()
            if not (may and may[0]):
                raise ProviderError(
                    "this database has no queue yet", why="and this role may not make one",
                    fix="let an owner of the database run `veilig queue prepare --worker ROLE`",
                )  # fmt: skip
        await self._make()

    async def _make(self) -> None:
        async with self.sql() as sql:
            await sql.execute("SELECT pg_advisory_xact_lock(%s)", (INIT_LOCK,))
            await sql.execute(f"CREATE SCHEMA IF NOT EXISTS {tables.SCHEMA}")
            row = await (await sql.execute("SELECT to_regclass('procrastinate_jobs')")).fetchone()
            if row is None or row[0] is None:
                await sql.execute(self.app.schema_manager.get_schema())
            await sql.execute(tables.TABLES)
            await sql.execute(tables_orgs.TABLES)

    async def prepare(self, role: str = "") -> None:
        """Make or bring on the tables; let `role` queue and take sessions, and own nothing."""
        await self._make()
        if role:
            await self._allow(role)

    async def _allow(self, role: str) -> None:
        psycopg, _, _ = libraries()
        name, schema = psycopg.sql.Identifier(role), psycopg.sql.Identifier(tables.SCHEMA)
        async with self.sql() as sql:
            for grant in (*tables.GRANTS, *tables_orgs.GRANTS):
                await sql.execute(psycopg.sql.SQL(grant).format(schema=schema, role=name))

    async def bind(self, org: str, role: str) -> None:
        """Only members of this role may name the organisation from now on."""
        async with self.sql() as sql:
            await sql.execute(tables_orgs.BIND, (org, role))

    @asynccontextmanager
    async def sql(self) -> "AsyncGenerator[AsyncConnection[Row]]":
        """A connection inside one transaction; foreign errors become ours."""
        psycopg, pools, _ = libraries()
        try:
            async with self.pool.connection() as sql, sql.transaction():
                yield sql
        except (psycopg.Error, pools.PoolTimeout) as error:
            raise gone(error) from error

    async def rows(self, query: Any, **values: Any) -> list[Row]:
        """What one statement answers."""
        async with self.sql() as sql:
            return await (await sql.execute(query, values)).fetchall()

    # --- whoever wants work done ------------------------------------------------------------------

    async def put(self, entries: Sequence[Entry]) -> None:
        """Queue these sessions, all of a thousand or none. Raises UsageError for an id that is taken."""
        psycopg, _, _ = libraries()
        for at in range(0, len(entries), BATCH):
            part = entries[at : at + BATCH]
            try:
                async with self.sql() as sql:
                    await self._put(sql, part)
            except ProviderError as error:
                if isinstance(error.__cause__, psycopg.errors.UniqueViolation):
                    raise UsageError("a session of this id is queued already", fix="give another") from error
                raise

    async def _put(self, sql: "AsyncConnection[Row]", part: Sequence[Entry]) -> None:
        waits: dict[str, tuple[float, float]] = {}
        for org in sorted({one.org for one in part}):
            count = sum(one.org == org for one in part)
            row = await (await sql.execute(tables.PACE, {"org": org, "count": count})).fetchone()
            waits[org] = (float(row[0]), float(row[1])) if row else (0.0, 0.0)
        rows: list[dict[str, Any]] = []
        for n, one in enumerate(part):
            wait_s, gap_s = waits[one.org]
            waits[one.org] = (wait_s + gap_s, gap_s)
            rows.append(
                {
                    "session": one.session, "org": one.org, "kind": one.kind, "version": one.version,
                    "work": one.work, "priority": one.priority, "queue": queue_name(one), "n": n,
                    "wait_s": wait_s,
                }
            )  # fmt: skip
        names = sorted({(queue_name(one), one.org, one.kind, one.version) for one in part})
        for name in names:
            await sql.execute("INSERT INTO fleet_queue VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING", name)
        told = json.dumps(rows)
        await sql.execute(tables.PUT_SESSIONS, {"rows": told})
        await sql.execute(tables.PUT_JOBS, {"rows": told, "task": TASK})

    async def limit(self, org: str, *, at_once: int | None, per_hour: int | None) -> None:
        """How many sessions of an org may be at work at once, and begin per hour; None: no bound."""
        if (at_once is not None and at_once < 1) or (per_hour is not None and per_hour < 1):
            raise UsageError("a bound of less than one stops everything", fix="give a number from 1 on")
        query = (
            "INSERT INTO fleet_org (org, at_once, per_hour) VALUES (%(org)s, %(at_once)s, %(per_hour)s) "
            "ON CONFLICT (org) DO UPDATE SET at_once = excluded.at_once, per_hour = excluded.per_hour"
        )
        async with self.sql() as sql:
            await sql.execute(query, {"org": org, "at_once": at_once, "per_hour": per_hour})

    async def shown(
        self, prefix: str = "", *, states: Sequence[State] = (), org: str = "", limit: int = 1000
    ) -> list[Shown]:
        """Sessions by the time they were queued, newest first."""
        # Only what is asked for: the newest of 10^5 come from an index then.
        wanted = [
            text
            for given, text in (
                (prefix, "starts_with(s.session, %(prefix)s)"),
                (org, "s.org = %(org)s"),
                (states, "s.state = ANY(%(states)s)"),
            )
            if given
        ]
        where = f"WHERE {' AND '.join(wanted)} " if wanted else ""
        rows = await self.rows(
            f"{tables.SHOW}{where}ORDER BY s.queued_at DESC, s.session LIMIT %(limit)s",
            prefix=prefix, org=org, states=[str(s) for s in states], limit=limit,
        )  # fmt: skip
        return [_shown(row) for row in rows]

    async def tree(self, session: str) -> str:
        """The name of what the store has of this session's folder; empty for nothing."""
        rows = await self.rows("SELECT tree FROM fleet_session WHERE session = %(session)s", session=session)
        return str(rows[0][0]) if rows else ""

    async def counts(self) -> dict[tuple[str, State], int]:
        """How many sessions of each kind are in each state."""
        rows = await self.rows("SELECT kind, state, count(*) FROM fleet_session GROUP BY 1, 2")
        return {(kind, State(state)): int(count) for kind, state, count in rows}

    async def depth(self) -> dict[tuple[str, str], tuple[int, float]]:
        """(kind, state) of what is not over -> how many sessions, and the age of the oldest in s."""
        rows = await self.rows(tables.DEPTH)
        return {(str(kind), str(state)): (int(count), float(age_s)) for kind, state, count, age_s in rows}

    async def cancel(self, session: str) -> bool:
        """End it: at once while it waits, between two acts while it is at work. False when it is over."""
        rows = await self.rows(
            "UPDATE fleet_session SET note = 'cancelled', "
            "state = CASE state WHEN 'working' THEN state ELSE 'cancelled' END, "
            "ended_at = CASE state WHEN 'working' THEN NULL ELSE now() END "
            "WHERE session = %(session)s AND state IN ('queued', 'held', 'working') RETURNING state",
            session=session,
        )
        if not rows:
            return False
        if rows[0][0] == State.CANCELLED:
            await self.rows(
                "SELECT procrastinate_cancel_job_v1(id, false, false) FROM procrastinate_jobs "
                "WHERE queueing_lock = %(session)s AND status = 'todo'",
                session=session,
            )
        return True

    async def again(self, session: str) -> bool:
        """Queue a session that is held, failed or cancelled once more; it goes on where it was."""
        async with self.sql() as sql:
            query = (
                "UPDATE fleet_session SET state = 'queued', note = '', until = NULL, ended_at = NULL "
                "WHERE session = %s AND state IN ('held', 'failed', 'cancelled') "
                "RETURNING session, org, kind, version, priority"
            )
            row = await (await sql.execute(query, (session,))).fetchone()
            if row is None:
                return False
            one = Entry(row[0], row[2], {}, row[1], row[4], row[3])
            told = {"session": one.session, "queue": queue_name(one), "priority": one.priority}
            rows = json.dumps([{**told, "wait_s": 0.0, "n": 0}])
            await sql.execute(tables.PUT_JOBS, {"rows": rows, "task": TASK})
            return True

    async def set_aside(self, lease_s: float) -> int:
        """End all that waits, is held or was at work, until somebody tries it again; how many that were.

        For a database that was restored: it does not know what was done since its backup. lease_s: how long
        ago a worker may have been heard of to be taken for alive. Raises UsageError while one is.
        """
        alive = (await self.rows(tables.LIVE_WORKERS, lease_s=lease_s))[0][0]
        if alive:
            raise UsageError(
                f"{alive} workers are at work", why="they would go on with what they have",
                fix=f"stop them, wait {lease_s:g} s, then say it again",
            )  # fmt: skip
        return int((await self.rows(tables.SET_ASIDE))[0][0])

    async def only_key(self, name: str, fingerprint: str) -> str:
        """What the first of the fleet said under this name; `fingerprint` when this is the first."""
        async with self.sql() as sql:
            await sql.execute(
                "INSERT INTO fleet_meta VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, fingerprint)
            )
            row = await (
                await sql.execute("SELECT value FROM fleet_meta WHERE name = %s", (name,))
            ).fetchone()
            return str(row[0]) if row else fingerprint


def plain(url: str) -> str:
    """The address without the organisation of a ledger, which the queue's library does not know."""
    head, mark, query = url.partition("?")
    kept = "&".join(part for part in query.split("&") if part and not part.startswith("org="))
    return f"{head}?{kept}" if mark and kept else head


def _shown(row: Row) -> Shown:
    values: list[Any] = [*row]
    values[3] = State(row[3])
    return Shown(*values)


def gone(error: Exception) -> ProviderError:
    """The error for a database that cannot be used now."""
    cause = error.__cause__ or error  # the queue's library says "Database error." of everything
    full = getattr(cause, "sqlstate", None) in ("53100", "53200", "53400")
    return ProviderError(
        "the fleet's database cannot be used",
        why=("the server has no room: " if full else "") + str(cause).strip()[:300],
        fix="free space there" if full else "see that it runs and that --database names it",
        retry_after_s=2.0,
    )


def libraries() -> tuple[Any, Any, Any]:
    """psycopg, psycopg_pool and procrastinate. Raises UsageError where they are not installed."""
    try:
        import procrastinate
        import psycopg
        import psycopg_pool
    except ImportError as error:
        raise UsageError(
            "a fleet needs libraries that are not installed", why=str(error), fix="install veilig[fleet]"
        ) from error
    return psycopg, psycopg_pool, procrastinate
