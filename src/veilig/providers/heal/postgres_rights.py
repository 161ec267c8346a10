"""What may a role really do to a database? Found by trying, in ways that change nothing.

EXPLAIN of a change checks the GRANTs of the tables it names and runs nothing: no row, no trigger.
`default_transaction_read_only` does not hinder it, so a role that only that setting keeps from writing is
found out. The right to end sessions is tried by cancelling what an idle session of ours does.
"""

from dataclasses import dataclass

from veilig.providers.heal.postgres_link import Denied, Link

TABLES_MAX = 20  # the largest ones; GRANTs are usually given by schema
NOT_ALLOWED = "42501"

_ROLE = """
SELECT rolname::text, rolsuper,
       coalesce((SELECT bool_or(pg_has_role(current_user, oid, 'MEMBER')) FROM pg_roles
                  WHERE rolname = 'pg_signal_backend'), false),
       (SELECT coalesce(string_agg(rolname, ', '), '') FROM pg_roles
         WHERE rolname IN ('pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program')
           AND pg_has_role(current_user, oid, 'MEMBER')),
       coalesce((SELECT bool_or(pg_has_role(current_user, oid, 'MEMBER')) FROM pg_roles
                  WHERE rolname IN ('pg_monitor', 'pg_read_all_stats')), false)
  FROM pg_roles WHERE rolname = current_user
"""
_TABLES = """
SELECT n.nspname::text, c.relname::text,
       (SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
           AND NOT a.attisdropped AND a.attgenerated = '' LIMIT 1)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$)'
 ORDER BY c.relpages DESC, 1, 2 LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Rights:
    """role: its name. writes: what it may change, in words. sees: all sessions. signals: may end sessions.

    untried: tables that could not be tried, because somebody holds them or there are too many.
    """

    role: str
    writes: tuple[str, ...]
    sees: bool
    signals: bool = False
    untried: int = 0


async def of_watcher(link: Link) -> Rights:
    """What the role that only looks may change, by trying. Raises Unreached, Denied."""
    ((role, super_, signals, strong, sees),) = await link.rows(_ROLE)
    writes: list[str] = []
    if super_:
        writes.append("everything: it is a superuser")
    if strong:
        writes.append(f"much: it is a member of {strong}")
    if signals:
        writes.append("sessions of others: it is a member of pg_signal_backend")
    untried = 0
    if not super_:
        for schema, table, column in await link.rows(_TABLES, (TABLES_MAX,)):
            may = await _may_change(link, str(schema), str(table), str(column or ""))
            untried += may is None
            if may:
                writes.append(f"{schema}.{table} ({may})")
    return Rights(str(role), tuple(writes), bool(sees or super_), bool(signals or super_), untried)


async def of_writer(link: Link, idle_pid: int) -> Rights:
    """What the writer's role is good for. idle_pid: a session of the watcher's that does nothing."""
    ((role, super_, _, _, sees),) = await link.rows(_ROLE)
    signals = True
    try:
        await link.rows("SELECT pg_cancel_backend(%s)", (idle_pid,))
    except Denied as error:
        if error.code != NOT_ALLOWED:
            raise
        signals = False
    return Rights(str(role), (), bool(sees or super_), signals)


async def _may_change(link: Link, schema: str, table: str, column: str) -> str | None:
    """Which statement it may run on a table; "" none, None when that could not be tried."""
    from psycopg import sql

    name = sql.Identifier(schema, table)
    tries = {"DELETE": sql.SQL("EXPLAIN DELETE FROM {}").format(name)}
    tries["INSERT"] = sql.SQL("EXPLAIN INSERT INTO {} DEFAULT VALUES").format(name)
    if column:
        set_ = sql.SQL("EXPLAIN UPDATE {} SET {} = {}")
        tries["UPDATE"] = set_.format(name, sql.Identifier(column), sql.Identifier(column))
    untried = False
    for verb, statement in tries.items():
        try:
            await link.rows(statement)
        except Denied as error:
            untried = untried or error.code != NOT_ALLOWED
            continue
        return verb
    return None if untried else ""
