"""Which tables of a fleet hold what was found: campaigns, and which repository has which components?

Every row belongs to one organisation. As in the ledger, row-level security shows a transaction only the rows
of the one it names (`SET LOCAL veilig.org`), and only when its role may name it.
"""

from typing import Final, LiteralString, cast

from veilig.providers.fleet.tables import SCHEMA

SBOMS: Final = "veilig_sboms"
_CAMPAIGNS: Final = ("fleet_campaign", "fleet_repository", "fleet_content")
_INDEX: Final = ("repository", "component", "advisory", "affected", "alert", "feed")

_THIS_ORG: Final = """
CREATE TABLE IF NOT EXISTS fleet_bound (org text PRIMARY KEY, role text NOT NULL);
CREATE OR REPLACE FUNCTION fleet_this_org() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog AS $$
    SELECT current_setting('veilig.org', true) WHERE NOT EXISTS (
        SELECT 1 FROM veilig_fleet.fleet_bound b WHERE b.org = current_setting('veilig.org', true)
        AND NOT pg_has_role(session_user, b.role, 'MEMBER')) $$;
"""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS fleet_campaign (
    org text DEFAULT current_setting('veilig.org'), id text,
    kind text NOT NULL, list text NOT NULL, about text NOT NULL, terms text NOT NULL,
    repositories integer NOT NULL, began_at text NOT NULL, ended_at text NOT NULL DEFAULT '',
    asked text NOT NULL,
    PRIMARY KEY (org, id)
);
CREATE INDEX IF NOT EXISTS fleet_campaign_about ON fleet_campaign (org, about, id);
CREATE TABLE IF NOT EXISTS fleet_repository (
    org text DEFAULT current_setting('veilig.org'), campaign text, number integer,
    label text NOT NULL, session text NOT NULL, pinned text NOT NULL DEFAULT '',
    result text, report text NOT NULL DEFAULT '', ended_at timestamptz,
    PRIMARY KEY (org, campaign, number)
);
CREATE INDEX IF NOT EXISTS fleet_repository_open ON fleet_repository (org, campaign, number)
    WHERE result IS NULL;
CREATE INDEX IF NOT EXISTS fleet_repository_ended ON fleet_repository (org, campaign, ended_at);
CREATE TABLE IF NOT EXISTS fleet_content (
    org text DEFAULT current_setting('veilig.org'), key text,
    session text NOT NULL, campaign text NOT NULL, label text NOT NULL,
    result text NOT NULL DEFAULT '', report text NOT NULL DEFAULT '',
    used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, key)
);
"""

_SBOMS: Final = f"""
CREATE SCHEMA IF NOT EXISTS {SBOMS};
CREATE TABLE IF NOT EXISTS {SBOMS}.repository (
    org text DEFAULT current_setting('veilig.org'), id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    place text NOT NULL, ref text NOT NULL, label text NOT NULL, revision text NOT NULL,
    seen_at text NOT NULL, UNIQUE (org, place, ref)
);
CREATE TABLE IF NOT EXISTS {SBOMS}.component (
    org text DEFAULT current_setting('veilig.org'), package text, version text, repository bigint, path text,
    PRIMARY KEY (org, package, version, repository, path)
);
CREATE INDEX IF NOT EXISTS component_repository ON {SBOMS}.component (org, repository);
CREATE TABLE IF NOT EXISTS {SBOMS}.advisory (
    org text DEFAULT current_setting('veilig.org'), id text, modified text NOT NULL,
    withdrawn integer NOT NULL, summary text NOT NULL, PRIMARY KEY (org, id)
);
CREATE TABLE IF NOT EXISTS {SBOMS}.affected (
    org text DEFAULT current_setting('veilig.org'), package text NOT NULL, advisory text NOT NULL,
    ranges text NOT NULL, versions text NOT NULL
);
CREATE INDEX IF NOT EXISTS affected_package ON {SBOMS}.affected (org, package);
CREATE INDEX IF NOT EXISTS affected_advisory ON {SBOMS}.affected (org, advisory);
CREATE TABLE IF NOT EXISTS {SBOMS}.alert (
    org text DEFAULT current_setting('veilig.org'), id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    advisory text NOT NULL, package text NOT NULL, version text NOT NULL, repository bigint NOT NULL,
    clean text, state text NOT NULL, found_at text NOT NULL, told_at text,
    UNIQUE (org, advisory, package, version, repository)
);
CREATE INDEX IF NOT EXISTS alert_repository ON {SBOMS}.alert (org, repository);
CREATE TABLE IF NOT EXISTS {SBOMS}.feed (
    org text DEFAULT current_setting('veilig.org'), place text, stamp text NOT NULL, read_at text NOT NULL,
    PRIMARY KEY (org, place)
);
"""

# Twice does no harm, and none of it needs a moment without workers.
_WALLS: Final = "".join(
    f"""
ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.{table} FORCE ROW LEVEL SECURITY;
DO $$ BEGIN
    CREATE POLICY own ON {schema}.{table} USING (org = (SELECT {SCHEMA}.fleet_this_org()));
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
"""
    for schema, tables in ((SCHEMA, _CAMPAIGNS), (SBOMS, _INDEX))
    for table in tables
)

TABLES: Final = cast(LiteralString, _THIS_ORG + _TABLES + _SBOMS + _WALLS)  # nothing of others is in it

STANDS: Final = f"SELECT to_regclass('{SBOMS}.feed') IS NOT NULL"

# fleet_bound says which role may name an organisation: whoever takes sessions must not change that.
GRANTS: Final = (
    f"REVOKE ALL ON {SCHEMA}.fleet_bound FROM {{role}}",
    f"GRANT USAGE ON SCHEMA {SBOMS} TO {{role}}",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SBOMS} TO {{role}}",
    f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {SBOMS} TO {{role}}",
)
BIND: Final = "INSERT INTO fleet_bound VALUES (%s, %s) ON CONFLICT (org) DO UPDATE SET role = excluded.role"
