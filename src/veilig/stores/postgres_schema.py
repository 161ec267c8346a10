"""Which tables hold the ledgers of a database, who may touch what, and how is an older database brought on?

Every row belongs to one organisation. Row-level security shows a transaction only the rows of the one it
names (`SET LOCAL veilig.org`), and only when its role may name it. Migrations only add: workers of the
version before go on while they run.
"""

import uuid
from typing import TYPE_CHECKING, Any, LiteralString

from veilig.core.errors import LedgerError
from veilig.core.ledger_event import genesis
from veilig.stores.address import Address
from veilig.stores.postgres_link import connect, translated

if TYPE_CHECKING:
    from psycopg import Connection

VERSION = 2  # of the tables; a migration adds one
TABLES = ("head", "events", "counters", "claims", "leases", "checkpoints")
SERVED = ("states", "people", "logins", "guesses", "passes")  # what gateways and pages share
_LOCK = 0x7665_696C  # one migration at a time

_FIRST: tuple[LiteralString, ...] = (
    "CREATE SCHEMA veilig",
    # oldest: the lowest version of the code that may still write these tables.
    "CREATE TABLE veilig.schema (version int PRIMARY KEY, oldest int NOT NULL, at timestamptz DEFAULT now())",
    (
        "CREATE TABLE veilig.orgs (org text PRIMARY KEY, id text NOT NULL UNIQUE, role text,"
        " state text NOT NULL DEFAULT 'open', moved_to text)"
    ),
    (
        "CREATE TABLE veilig.head (org text PRIMARY KEY, size bigint NOT NULL, hash bytea NOT NULL,"
        " t_ms bigint NOT NULL, boot text NOT NULL, up_ms bigint NOT NULL, peaks bytea NOT NULL,"
        " signed bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50)"
    ),
    (
        "CREATE TABLE veilig.events (org text, seq bigint, session text NOT NULL, name text NOT NULL,"
        " v int NOT NULL, t_ms bigint NOT NULL, boot text NOT NULL, up_ms bigint NOT NULL,"
        " wall_ms bigint NOT NULL, body text NOT NULL, leaf bytea NOT NULL, hash bytea NOT NULL, salt bytea,"
        " PRIMARY KEY (org, seq))"
    ),
    "CREATE INDEX events_session ON veilig.events (org, session, seq)",
    "CREATE INDEX events_name ON veilig.events (org, name, seq)",
    "CREATE INDEX events_boot ON veilig.events (org, boot, seq)",
    (
        "CREATE TABLE veilig.counters (org text, key text, t_ms bigint, seq bigint,"
        " PRIMARY KEY (org, key, t_ms, seq))"
    ),
    "CREATE TABLE veilig.claims (org text, key text, seq bigint NOT NULL, PRIMARY KEY (org, key))",
    (
        "CREATE TABLE veilig.leases (org text, session text, token bigint NOT NULL, seq bigint NOT NULL,"
        " PRIMARY KEY (org, session))"
    ),
    (
        "CREATE TABLE veilig.checkpoints (org text, size bigint, key text, line bytea NOT NULL,"
        " PRIMARY KEY (org, size, key))"
    ),
    # An organisation with a role of its own is shown to that role's members only, whatever they SET.
    (
        "CREATE FUNCTION veilig.this_org() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER"
        " SET search_path = pg_catalog AS $$ SELECT o.org FROM veilig.orgs AS o"
        " WHERE o.org = current_setting('veilig.org', true)"
        " AND (o.role IS NULL OR pg_has_role(session_user, o.role, 'MEMBER')) $$"
    ),
    "ALTER TABLE veilig.orgs ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON veilig.orgs USING (org = (SELECT veilig.this_org()))",
    *(
        statement
        for table in TABLES
        for statement in (
            f"ALTER TABLE veilig.{table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE veilig.{table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY own ON veilig.{table} USING (org = (SELECT veilig.this_org()))",
        )
    ),
)
# A row names its organisation by itself: who may not name it sees and writes nothing.
_ORG_COLUMN: LiteralString = "org text NOT NULL DEFAULT current_setting('veilig.org')"
_SECOND: tuple[LiteralString, ...] = (
    (
        f"CREATE TABLE veilig.states ({_ORG_COLUMN}, key text, state text NOT NULL, PRIMARY KEY (org, key))"
        " WITH (fillfactor = 50)"
    ),
    (
        f"CREATE TABLE veilig.people ({_ORG_COLUMN}, id text, name text NOT NULL, role text NOT NULL,"
        " password text NOT NULL, subject text, active int NOT NULL, made float8 NOT NULL,"
        " PRIMARY KEY (org, id), UNIQUE (org, subject))"
    ),
    (
        f"CREATE TABLE veilig.logins ({_ORG_COLUMN}, token text, person text NOT NULL, csrf text NOT NULL,"
        " until float8 NOT NULL, via text NOT NULL, PRIMARY KEY (org, token))"
    ),
    f"CREATE TABLE veilig.guesses ({_ORG_COLUMN}, key text NOT NULL, at float8 NOT NULL)",
    "CREATE INDEX guesses_key ON veilig.guesses (org, key)",
    (
        f"CREATE TABLE veilig.passes ({_ORG_COLUMN}, key text, value text NOT NULL, until float8 NOT NULL,"
        " PRIMARY KEY (org, key))"
    ),
    *(
        statement
        for table in SERVED
        for statement in (
            f"ALTER TABLE veilig.{table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE veilig.{table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY own ON veilig.{table} USING (org = (SELECT veilig.this_org()))",
        )
    ),
)
MIGRATIONS: dict[int, tuple[LiteralString, ...]] = {1: _FIRST, 2: _SECOND}
OLDEST: dict[int, int] = {1: 1, 2: 1}  # per version: the oldest code that still writes it

_WORKER: tuple[LiteralString, ...] = (
    "GRANT USAGE ON SCHEMA veilig TO {role}",
    "GRANT SELECT ON veilig.schema, veilig.orgs TO {role}",
    *(f"GRANT SELECT ON veilig.{table} TO {{role}}" for table in TABLES),
    "GRANT INSERT ON veilig.events, veilig.counters, veilig.claims TO {role}",
    "GRANT INSERT ON veilig.leases, veilig.checkpoints TO {role}",
    "GRANT UPDATE ON veilig.head, veilig.leases TO {role}",
)
_KEEPER: tuple[LiteralString, ...] = (
    *_WORKER,
    "GRANT UPDATE (body, salt) ON veilig.events TO {role}",  # erasing
    "GRANT UPDATE (id, state, moved_to) ON veilig.orgs TO {role}",  # moving a ledger in and out
)
_SERVER: tuple[LiteralString, ...] = (
    *_WORKER,
    *(f"GRANT SELECT, INSERT, UPDATE, DELETE ON veilig.{table} TO {{role}}" for table in SERVED),
)


def prepare(
    address: Address, *, worker: str = "", keeper: str = "", server: str = "", bound: bool = False
) -> list[str]:
    """Make or bring on the tables, the address's organisation, and the rights of three roles; what was done.

    worker: a role that records and reads, and cannot change what stands. keeper: it may also erase bodies
    and move ledgers. server: a worker that also keeps what gateways and pages share (people, speeds).
    bound: only members of `worker` (or the others) may name this organisation. The roles must exist.
    Run as the owner of the tables; twice does no harm. Raises LedgerError.
    """
    import psycopg
    from psycopg import sql

    done: list[str] = []
    with connect(address) as db:
        try:
            with db.transaction():
                db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                done += _migrate(db)
                done += _add_org(db, address.org, (worker or None) if bound else None)
                for role, rights in ((worker, _WORKER), (keeper, _KEEPER), (server, _SERVER)):
                    for right in rights if role else ():
                        db.execute(sql.SQL(right).format(role=sql.Identifier(role)))
                    done += [f"role {role} may use it"] if role else []
                for other in (keeper, server) if worker and bound else ():
                    grant = sql.SQL("GRANT {} TO {}")
                    if other and other != worker:
                        db.execute(grant.format(sql.Identifier(worker), sql.Identifier(other)))
            row = db.execute("SHOW fsync").fetchone()
            if row and row[0] != "on":
                done.append("WARNING: fsync is off: what is called recorded is lost in a power cut")
        except psycopg.Error as error:
            raise translated(error, address) from error
    return done


def check_schema(db: "Connection[Any]", address: Address) -> None:
    """Raises LedgerError when the tables are missing, too old for this code, or too new."""
    row = db.execute("SELECT to_regclass('veilig.schema') IS NOT NULL").fetchone()
    if not row or not row[0]:
        raise LedgerError(
            f"there is no ledger at {address}",
            why="the database has none of its tables",
            fix=f"veilig ledger prepare {address} (as the owner of the database)",
        )
    row = db.execute("SELECT version, oldest FROM veilig.schema ORDER BY version DESC LIMIT 1").fetchone()
    version, oldest = row or (0, 0)
    if version < VERSION:
        raise LedgerError(
            f"the tables at {address} have version {version}; this veilig needs {VERSION}",
            why="migrations run while older workers go on, and are started by an operator",
            fix=f"veilig ledger prepare {address}",
        )
    if oldest > VERSION:
        raise LedgerError(
            f"the tables at {address} have version {version}; this veilig knows {VERSION}",
            why="a newer veilig wrote them",
            fix="upgrade veilig; nothing was changed",
        )


def check_role(db: "Connection[Any]") -> None:
    """Raises LedgerError for a role that row-level security does not hold."""
    query = "SELECT rolname FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)"
    if row := db.execute(query).fetchone():
        raise LedgerError(
            f"the role {row[0]!r} walks through the walls between organisations",
            why="it is a superuser or has BYPASSRLS",
            fix="use a plain role: CREATE ROLE worker LOGIN; veilig ledger prepare ADDRESS --worker worker",
        )


def _migrate(db: "Connection[Any]") -> list[str]:
    row = db.execute("SELECT to_regclass('veilig.schema') IS NOT NULL").fetchone()
    version = 0
    if row and row[0]:
        found = db.execute("SELECT max(version) FROM veilig.schema").fetchone()
        version = int(found[0]) if found else 0
    for number in range(version + 1, VERSION + 1):
        for statement in MIGRATIONS[number]:
            db.execute(statement)
        db.execute("INSERT INTO veilig.schema VALUES (%s, %s)", (number, OLDEST[number]))
    return [f"tables brought from version {version} to {VERSION}"] if version < VERSION else []


def _add_org(db: "Connection[Any]", org: str, role: str | None) -> list[str]:
    identity = uuid.uuid4().hex
    db.execute("SELECT set_config('veilig.org', %s, true)", (org,))
    query = "INSERT INTO veilig.orgs (org, id) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING 1"
    made = db.execute(query, (org, identity)).fetchone()
    if made:
        first = (org, genesis(identity))
        db.execute("INSERT INTO veilig.head VALUES (%s, 0, %s, 0, %s, 0, %s)", (*first, "", b""))
    if role is not None:  # last: the owner need not be a member of the role
        db.execute("UPDATE veilig.orgs SET role = %s WHERE org = %s", (role, org))
    return [f"organisation {org} has an empty ledger, id {identity}"] if made else []
