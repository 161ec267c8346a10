"""Which tables does the queue keep beside those of its library? All of them in a schema of their own."""

from typing import Final

SCHEMA: Final = "veilig_fleet"

# Additive only: workers of the version before run on while this is applied.
TABLES: Final = """
CREATE TABLE IF NOT EXISTS fleet_meta (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE IF NOT EXISTS fleet_org (
    org text PRIMARY KEY,
    at_once integer,
    per_hour integer,
    next_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS fleet_queue (
    queue text PRIMARY KEY, org text NOT NULL, kind text NOT NULL, version integer NOT NULL
);
CREATE TABLE IF NOT EXISTS fleet_session (
    session text PRIMARY KEY,
    org text NOT NULL,
    kind text NOT NULL,
    version integer NOT NULL,
    work jsonb NOT NULL,
    priority integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'queued',
    note text NOT NULL DEFAULT '',
    job bigint,
    token bigint NOT NULL DEFAULT 0,
    worker text NOT NULL DEFAULT '',
    until timestamptz,
    tree text NOT NULL DEFAULT '',
    tries integer NOT NULL DEFAULT 0,
    seq bigint NOT NULL DEFAULT 0,
    queued_at timestamptz NOT NULL DEFAULT now(),
    began_at timestamptz,
    ended_at timestamptz
);
CREATE INDEX IF NOT EXISTS fleet_session_busy ON fleet_session (org) WHERE state = 'working';
CREATE INDEX IF NOT EXISTS fleet_session_held ON fleet_session (session) WHERE state = 'held';
CREATE INDEX IF NOT EXISTS fleet_session_open ON fleet_session (kind, state, queued_at)
    WHERE state IN ('queued', 'working', 'held');
CREATE INDEX IF NOT EXISTS fleet_session_shown ON fleet_session (queued_at DESC, session);
"""

PUT_SESSIONS: Final = """
INSERT INTO fleet_session (session, org, kind, version, work, priority)
SELECT session, org, kind, version, work, priority FROM jsonb_to_recordset(%(rows)s)
    AS r(session text, org text, kind text, version int, work jsonb, priority int)
"""

# Pacing: an org with a rate gets the next free moment for each session; nobody has to wait awake.
PUT_JOBS: Final = """
SELECT procrastinate_defer_jobs_v1(array_agg(
    ROW(queue, %(task)s, priority, NULL, session, jsonb_build_object('session', session),
        CASE WHEN wait_s > 0 THEN now() + wait_s * interval '1 second' END
    )::procrastinate_job_to_defer_v1 ORDER BY n))
FROM jsonb_to_recordset(%(rows)s)
    AS r(session text, queue text, priority int, wait_s double precision, n int)
"""

PACE: Final = """
UPDATE fleet_org SET next_at = greatest(next_at, now()) + %(count)s * interval '1 hour' / per_hour
WHERE org = %(org)s AND per_hour > 0
RETURNING extract(epoch FROM next_at - now())::float8 - %(count)s * 3600.0 / per_hour, 3600.0 / per_hour
"""

# What heals has no end, and slots of its own: an org's bound is for its sessions.
QUEUES: Final = """
SELECT q.queue FROM fleet_queue q LEFT JOIN fleet_org o USING (org)
WHERE q.kind = ANY(%(kinds)s) AND q.version <= %(version)s
  AND (q.kind ~ '^heal(@|$)' OR o.at_once IS NULL OR o.at_once > (
      SELECT count(*) FROM fleet_session s
      WHERE s.org = q.org AND s.state = 'working' AND s.kind !~ '^heal(@|$)'))
"""

# One statement under row locks: what another worker has just taken over is not taken from it again.
# Of dead workers, and of living ones that never heard that they were given it: the server restarted then.
RESCUE: Final = """
WITH dead AS (
    SELECT j.id FROM procrastinate_jobs j LEFT JOIN procrastinate_workers w ON w.id = j.worker_id
    WHERE j.status = 'doing'
      AND (w.id IS NULL OR w.last_heartbeat < now() - %(silent_s)s * interval '1 second'
        OR (NOT EXISTS (SELECT FROM fleet_session s WHERE s.session = j.args->>'session' AND s.until >= now())
            AND NOT EXISTS (SELECT FROM procrastinate_events e WHERE e.job_id = j.id AND e.type = 'started'
                            AND e.at >= now() - %(silent_s)s * interval '1 second')))
    FOR UPDATE OF j SKIP LOCKED
)
SELECT dead.id, procrastinate_retry_job_v2(dead.id, now(), NULL, NULL, NULL) FROM dead
"""

# The token grows by the clock, too: where a fail-over lost who took a session, the next has another one.
TAKE: Final = """
UPDATE fleet_session s SET
    token = greatest(s.token, extract(epoch FROM clock_timestamp())::bigint * 1000) + 1,
    worker = %(worker)s, job = %(job)s, state = 'working',
    until = now() + %(lease_s)s * interval '1 second', tries = s.tries + 1,
    began_at = coalesce(s.began_at, now())
WHERE s.session = %(session)s AND s.state IN ('queued', 'working', 'held')
  AND (s.until IS NULL OR s.until < now())
RETURNING s.session, s.org, s.kind, s.version, s.work, s.token, s.tree, s.tries,
    extract(epoch FROM now() - s.queued_at)::float8
"""

RENEW: Final = """
UPDATE fleet_session s SET until = now() + %(lease_s)s * interval '1 second'
FROM unnest(%(sessions)s::text[], %(tokens)s::bigint[]) AS mine(session, token)
WHERE s.session = mine.session AND s.token = mine.token AND s.state = 'working'
RETURNING s.session
"""

# What was driven well for long has not been killed by it: the tries before it are forgotten.
CALM: Final = """
UPDATE fleet_session SET tries = 1 WHERE session = %(session)s AND token = %(token)s AND state = 'working'
RETURNING session
"""

SETTLE: Final = """
UPDATE fleet_session SET state = %(state)s, note = %(note)s, until = NULL, worker = '', seq = %(seq)s,
    tries = tries - %(free)s,
    ended_at = CASE WHEN %(state)s IN ('done', 'failed', 'cancelled') THEN now() END
WHERE session = %(session)s AND token = %(token)s AND state = 'working'
RETURNING job
"""

# After a restore: the backup does not know what was done since, so nothing goes on until a person said so.
SET_ASIDE: Final = """
WITH aside AS (
    UPDATE fleet_session SET state = 'cancelled', note = 'set aside after a restore: look, then retry',
        until = NULL, worker = '', ended_at = now(),
        token = greatest(token, extract(epoch FROM clock_timestamp())::bigint * 1000) + 1
    WHERE state IN ('queued', 'working', 'held')
    RETURNING session
), jobs AS (
    DELETE FROM procrastinate_jobs WHERE status IN ('todo', 'doing') RETURNING id
)
SELECT (SELECT count(*) FROM aside), (SELECT count(*) FROM jobs)
"""

LIVE_WORKERS: Final = """
SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - %(lease_s)s * interval '1 second'
"""

KEEP: Final = """
UPDATE fleet_session SET tree = %(tree)s WHERE session = %(session)s AND token = %(token)s
RETURNING session
"""

DEPTH: Final = """
SELECT kind, state, count(*), extract(epoch FROM now() - min(queued_at))::float8
FROM fleet_session WHERE state IN ('queued', 'working', 'held') GROUP BY 1, 2
"""

SHOW: Final = """
SELECT s.session, s.org, s.kind, s.state, s.note, s.priority, s.worker, s.tries, s.token, s.version,
    extract(epoch FROM s.queued_at)::float8, extract(epoch FROM s.began_at)::float8,
    extract(epoch FROM s.ended_at)::float8, s.work
FROM fleet_session s
"""

STANDS: Final = (
    "SELECT to_regclass('fleet_session') IS NOT NULL AND to_regclass('procrastinate_jobs') IS NOT NULL"
)

GRANTS: Final = (
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
    "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}",
)
