"""What does a PostgreSQL server say of itself? Questions to its statistics, and what their answers mean.

Everything here is a SELECT that a role with pg_monitor may ask. Source of the views: PostgreSQL's manual,
"The Cumulative Statistics System" and "System Catalogs"; versions 12 and newer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from veilig.core.signal import Backend, Gauge

WRAPAROUND = 1_500_000_000.0  # of 2,147 million; at 1,600 million vacuum drops everything else
LAG_BYTES = float(1 << 30)
LAG_S = 300.0
DEAD_ROWS = 100_000  # fewer are nobody's trouble
DEAD_SHARE = 1.0  # as many dead rows as live ones
STALE_SHARE = 1.0  # as many rows changed since the last ANALYZE as there are
BACKENDS_MAX = 8

STATE = """
SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
       extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8,
       (SELECT setting::int FROM pg_settings WHERE name = 'max_connections')
         - (SELECT coalesce(sum(setting::int), 0)::int FROM pg_settings
             WHERE name IN ('superuser_reserved_connections', 'reserved_connections')),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int,
       (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
          FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
       (SELECT max(age(datfrozenxid)) FROM pg_database)::float8,
       CASE WHEN NOT pg_is_in_recovery()
            THEN (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::float8
                    FROM pg_stat_replication)
       END,
       CASE WHEN pg_is_in_recovery() AND pg_last_wal_receive_lsn() IS DISTINCT FROM pg_last_wal_replay_lsn()
            THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
       END,
       (SELECT sum(pg_database_size(oid)) FROM pg_database WHERE datallowconn)::float8
"""

# Roots only: a session that itself waits for a lock is a victim, not the cause.
BACKENDS = """
WITH waiting AS (
  SELECT w.pid, b.by, extract(epoch FROM clock_timestamp() - w.query_start)::float8 AS waits_s
    FROM pg_stat_activity w, LATERAL unnest(pg_blocking_pids(w.pid)) AS b(by)
   WHERE w.wait_event_type = 'Lock'
), holders AS (
  SELECT by, count(DISTINCT pid)::int AS blocks, max(waits_s) AS waits_s FROM waiting GROUP BY by
)
SELECT a.pid || '@' || (extract(epoch FROM a.backend_start) * 1000000)::bigint,
       coalesce(a.state, ''), coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
       left(a.query, 1000), extract(epoch FROM clock_timestamp() - a.xact_start)::float8,
       extract(epoch FROM clock_timestamp() - a.state_change)::float8,
       coalesce(h.blocks, 0), coalesce(h.waits_s, 0), a.backend_xid IS NOT NULL
  FROM pg_stat_activity a LEFT JOIN holders h ON h.by = a.pid
 WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
   AND coalesce(a.wait_event_type, '') <> 'Lock' AND (h.blocks > 0 OR a.state LIKE 'idle in transaction%%')
 ORDER BY coalesce(h.blocks, 0) DESC, a.xact_start LIMIT %s
"""

TABLES = """
SELECT schemaname::text, relname::text, n_dead_tup::float8, n_live_tup::float8, n_mod_since_analyze::float8
  FROM pg_stat_user_tables
 WHERE n_dead_tup >= %s OR n_mod_since_analyze >= %s ORDER BY n_dead_tup DESC LIMIT 20
"""

OLDEST = """
SELECT n.nspname::text, c.relname::text, age(c.relfrozenxid)::float8
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_(toast|temp)' ORDER BY age(c.relfrozenxid) DESC LIMIT 1
"""

# An index that somebody builds right now is not valid either; REINDEX's own leftovers are for people.
INVALID = """
SELECT n.nspname::text, c.relname::text
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname !~ '^pg_' AND c.relname !~ '_cc(new|old)[0-9]*$'
   AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
 ORDER BY 1, 2 LIMIT 5
"""

TABLE = """
SELECT coalesce(s.n_dead_tup, 0)::float8, coalesce(s.n_live_tup, 0)::float8,
       pg_size_pretty(pg_total_relation_size(c.oid)),
       coalesce((extract(epoch FROM greatest(s.last_vacuum, s.last_autovacuum)) * 1000000)::bigint, 0),
       coalesce((extract(epoch FROM greatest(s.last_analyze, s.last_autoanalyze)) * 1000000)::bigint, 0)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
 WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'm', 'p')
"""

INDEX = """
SELECT i.indisvalid, pg_size_pretty(pg_relation_size(c.oid)), i.indrelid::regclass::text
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s AND c.relkind = 'i'
"""

SESSION = """
SELECT a.state, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
       coalesce(host(a.client_addr), 'a local socket'), left(a.query, 1000),
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8,
       extract(epoch FROM clock_timestamp() - a.state_change)::float8, a.backend_xid IS NOT NULL,
       (SELECT string_agg(DISTINCT l.mode || ' on ' || l.relation::regclass::text, ', ')
          FROM pg_locks l WHERE l.pid = a.pid AND l.relation IS NOT NULL AND l.granted
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())),
       (SELECT count(*)::int FROM pg_stat_activity w WHERE a.pid = ANY (pg_blocking_pids(w.pid)))
  FROM pg_stat_activity a
 WHERE a.pid = %s AND (extract(epoch FROM a.backend_start) * 1000000)::bigint = %s
"""

SESSIONS = """
SELECT coalesce(usename::text, ''), coalesce(application_name, ''), count(*)::int,
       count(*) FILTER (WHERE state = 'active')::int
  FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
 GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 5
"""


@dataclass(frozen=True, slots=True)
class State:
    """One answer to STATE. started_us: since 1970, the server's start; our name for its incarnation."""

    started_us: int
    up_s: float
    gauges: tuple[Gauge, ...]


def state(row: Sequence[Any]) -> State:
    """The server as a whole."""
    started_us, up_s, most, used, longest_s, age, lag_bytes, lag_s, size = row
    gauges = [
        Gauge("connections", float(used), float(max(most, 1)), "connections"),
        Gauge("longest transaction", round(float(longest_s), 1), 0.0, "s"),
        Gauge("transactions since the last freeze", float(age or 0), WRAPAROUND, "transactions"),
        Gauge("size", float(size or 0), 0.0, "bytes"),
    ]
    if lag_bytes is not None:
        gauges.append(Gauge("a standby lags", float(lag_bytes), LAG_BYTES, "bytes"))
    if lag_s is not None:
        gauges.append(Gauge("replay lags", round(float(lag_s), 1), LAG_S, "s"))
    return State(int(started_us), float(up_s), tuple(gauges))


def backends(rows: Sequence[Sequence[Any]]) -> tuple[Backend, ...]:
    """Sessions that others wait for first."""
    return tuple(
        Backend(
            id=str(name),
            state=str(now),
            user=str(user)[:60],
            program=str(program)[:60],
            query=" ".join(str(query or "").split()),
            open_s=round(float(open_s or 0), 1),
            state_s=round(float(state_s or 0), 1),
            blocks=int(blocks),
            waits_s=round(float(waits_s or 0), 1),
            wrote=bool(wrote),
        )
        for name, now, user, program, query, open_s, state_s, blocks, waits_s, wrote in rows
    )


def tables(
    rows: Sequence[Sequence[Any]], oldest: Sequence[Sequence[Any]], invalid: Sequence[Sequence[Any]]
) -> tuple[Gauge, ...]:
    """What VACUUM, ANALYZE or REINDEX could help: only what is at its bound."""
    found: list[Gauge] = []
    for schema, name, dead, live, modified in rows:
        subject, live = f"{schema}.{name}", max(float(live), 1.0)
        if float(dead) >= max(DEAD_ROWS, DEAD_SHARE * live):
            found.append(Gauge("dead rows", float(dead), DEAD_SHARE * live, "rows", subject))
        elif float(modified) >= max(DEAD_ROWS, STALE_SHARE * live):
            found.append(Gauge("rows since the last ANALYZE", float(modified), live, "rows", subject))
    for schema, name, age in oldest:
        if float(age) >= WRAPAROUND:
            found.append(Gauge("age of a table", float(age), WRAPAROUND, "transactions", f"{schema}.{name}"))
    found += [Gauge("an index is not valid", 1.0, 1.0, "", f"{schema}.{name}") for schema, name in invalid]
    return tuple(found)
