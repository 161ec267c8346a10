"""How is a database changed, once people have approved? Each verb with its fence, its bounds and its proof.

The writer's role acts; the watcher's role, which may change nothing, looks whether it happened.
"""

import asyncio
import time
from dataclasses import dataclass

from veilig.core.errors import ProviderError
from veilig.providers.heal import postgres_sql as ask
from veilig.providers.heal.postgres_link import Link
from veilig.providers.heal.substrate import Done

GONE_S = 5.0  # a session rolls back before it ends
POLL_S = 0.05
MAINTENANCE_S = 1800  # statement_timeout of VACUUM, ANALYZE and REINDEX
ANSWER_S = 50.0  # the broker's client waits for a minute; what takes longer goes on, and is said
LOCK_S = 5  # maintenance that does not get its lock gives way


@dataclass(frozen=True, slots=True)
class Session:
    """A session as an act names it: PID@START, microseconds since 1970."""

    pid: int
    started_us: int

    @classmethod
    def parse(cls, text: str) -> "Session":
        """Raises ProviderError for anything else."""
        pid, mark, started = text.partition("@")
        if not mark or not pid.isdecimal() or not started.isdecimal() or not 0 < int(pid) < 1 << 31:
            raise ProviderError(
                f"{text!r} names no session", why="it is PID@START in microseconds since 1970"
            )
        return cls(int(pid), int(started))


async def terminate(watcher: Link, writer: Link, argument: str) -> Done:
    """End exactly this session, if it still is in the way. Raises ProviderError when it is not."""
    session = Session.parse(argument)
    found = await watcher.rows(ask.SESSION, (session.pid, session.started_us))
    if not found:
        raise ProviderError(f"session {session.pid} has ended by itself", why="nothing was done")
    state, user, program, *_, blocks = found[0]
    if not blocks and not str(state).startswith("idle in transaction"):
        raise ProviderError(
            f"session {session.pid} is in nobody's way any more", why=f"it is {state}; nothing was done"
        )
    # One statement finds it by pid and start and signals it: its pid has no time to become another session's.
    said = await writer.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND pid <> pg_backend_pid()"
        " AND (extract(epoch FROM backend_start) * 1000000)::bigint = %s",
        (session.pid, session.started_us),
    )
    if not said or not said[0][0]:
        raise ProviderError(f"session {session.pid} was not there any more", why="nothing was done")
    until_s = time.monotonic() + GONE_S
    while await watcher.rows(ask.SESSION, (session.pid, session.started_us)):
        if time.monotonic() > until_s:
            return Done(False, f"session {session.pid} was told to end and is still there")
        await asyncio.sleep(POLL_S)
    freed = f", {blocks} sessions waited for it" if blocks else ""
    return Done(True, f"session {session.pid} of {program or user} was ended{freed}")


def named(argument: str) -> tuple[str, str]:
    """(schema, name) of SCHEMA.NAME. Raises ProviderError for anything else."""
    schema, dot, name = argument.partition(".")
    if not dot or not schema or not name or "." in name or "\0" in argument:
        raise ProviderError(f"{argument!r} names no table or index", why="it is SCHEMA.NAME")
    return schema, name


async def maintain(watcher: Link, writer: Link, verb: str, argument: str) -> Done:
    """VACUUM, ANALYZE or REINDEX CONCURRENTLY of one table or index: none keeps anybody from writing."""
    from psycopg import sql

    schema, name = named(argument)
    question = ask.INDEX if verb == "reindex" else ask.TABLE
    before = await watcher.rows(question, (schema, name))
    if not before:
        raise ProviderError(f"there is no {argument}", why="nothing was done")
    target = sql.Identifier(schema, name)
    words = {
        "vacuum": "VACUUM (ANALYZE) {}",
        "analyze": "ANALYZE {}",
        "reindex": "REINDEX INDEX CONCURRENTLY {}",
    }
    await writer.rows("SELECT set_config('statement_timeout', %s, false)", (f"{MAINTENANCE_S}s",))
    await writer.rows("SELECT set_config('lock_timeout', %s, false)", (f"{LOCK_S}s",))
    await writer.rows(sql.SQL(words[verb]).format(target))  # pyright: ignore[reportArgumentType]  # our own text
    notices = "; ".join(writer.notices[:3])
    until_s = time.monotonic() + GONE_S
    while not _maintained(verb, before[0], await watcher.rows(question, (schema, name))):
        if time.monotonic() > until_s:  # statistics come a moment later
            return Done(False, f"{verb} of {argument} left no trace: {notices or 'nothing was said'}")
        await asyncio.sleep(POLL_S)
    return Done(True, f"{verb} of {argument} is done{f': {notices}' if notices else ''}")


def _maintained(verb: str, before: tuple[object, ...], now: list[tuple[object, ...]]) -> bool:
    """Do the statistics, or the catalogue, tell of it?"""
    if not now:
        return False
    if verb == "reindex":
        return bool(now[0][0])
    at = 3 if verb == "vacuum" else 4
    return int(str(now[0][at])) > int(str(before[at]))


async def told(watcher: Link, verb: str, argument: str) -> str:
    """What people should see before they approve. Raises ProviderError for what is no argument."""
    if verb == "terminate_backend":
        return await _told_session(watcher, Session.parse(argument))
    if verb == "restart":
        rows = await watcher.rows(ask.SESSIONS)
        each = [f"  {count} of {program or user} ({active} at work)" for user, program, count, active in rows]
        return "\n".join(["every session is cut, and what it has not committed is lost:", *each])
    schema, name = named(argument)
    if verb == "reindex":
        for valid, size, table in await watcher.rows(ask.INDEX, (schema, name)):
            state = "valid" if valid else "not valid"
            return f"index {argument} of {table}, {size}, {state}; it is built anew beside the old one"
    else:
        for dead, live, size, *_ in await watcher.rows(ask.TABLE, (schema, name)):
            return (
                f"table {argument}, {size}: {dead:.0f} dead and {live:.0f} live rows; nobody is kept from it"
            )
    return f"there is no {argument} any more"


async def _told_session(watcher: Link, session: Session) -> str:
    found = await watcher.rows(ask.SESSION, (session.pid, session.started_us))
    if not found:
        return f"session {session.pid} has ended already"
    state, user, program, host, query, open_s, state_s, wrote, locks, blocks = found[0]
    lost = "what it has written is taken back" if wrote else "it has written nothing"
    return "\n".join(
        (
            f"session {session.pid} of {program or '?'} as {user} from {host}",
            f"  {state} for {state_s or 0:.0f} s, its transaction is open for {open_s or 0:.0f} s; {lost}",
            f"  last statement: {' '.join(str(query).split())}",
            f"  holds: {locks or 'no table'}",
            f"  {blocks} sessions wait for it",
        )
    )
