"""A real PostgreSQL with the tables of the ledger, and a fresh organisation for each test."""

import itertools
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, LiteralString, cast

from postgres import Cluster
from veilig.core.clock import Clock
from veilig.core.ledger import Ledger
from veilig.stores.address import Address, parse_place
from veilig.stores.opening import open_ledger
from veilig.stores.postgres_schema import prepare

SETTINGS = "max_connections = 60\nsynchronous_commit = on\n"
_numbers = itertools.count(1)


class Server:
    """`worker` records, `keeper` may also erase and move, `server` keeps people; none owns anything."""

    def __init__(self, more: str = "", **how: Any) -> None:
        self.cluster = Cluster(SETTINGS + more, **how)
        self.cluster.sql("CREATE DATABASE fleet", "CREATE ROLE worker LOGIN", database="postgres")
        roles = ("keeper", "server", "other")
        self.cluster.sql(*(f"CREATE ROLE {role} LOGIN" for role in roles), database="postgres")

    def address(self, org: str, role: str = "worker") -> Address:
        host = str(self.cluster.folder).replace("/", "%2F")
        found = parse_place(f"postgresql://{role}@{host}:{self.cluster.port}/fleet?org={org}")
        assert isinstance(found, Address)
        return found

    def org(self) -> str:
        """A new organisation, prepared."""
        org = f"org-{next(_numbers)}"
        prepare(self.address(org, "boss"), worker="worker", keeper="keeper", server="server")
        return org

    def open(self, org: str, anchors: Path, *, clock: Clock | None = None, role: str = "worker") -> Ledger:
        return open_ledger(self.address(org, role), anchor_dir=anchors, clock=clock)

    def sql(self, *statements: str) -> None:
        """As a superuser, past every wall."""
        self.cluster.sql(*statements, database="fleet")

    def sql_one(self, query: str) -> tuple[Any, ...]:
        import psycopg

        with psycopg.connect(self.cluster.conninfo("boss", "fleet")) as db:
            row = db.execute(cast(LiteralString, query)).fetchone()
        assert row is not None
        return row

    def restore(self, org: str, size: int, head: tuple[Any, ...]) -> None:
        """Bring the tables back to `size` events with this head row."""
        import psycopg

        with psycopg.connect(self.cluster.conninfo("boss", "fleet")) as db:
            db.execute("DELETE FROM veilig.events WHERE org = %s AND seq > %s", (org, size))
            db.execute(
                "UPDATE veilig.head SET size = %s, hash = %s, t_ms = %s, boot = %s, up_ms = %s, peaks = %s"
                " WHERE org = %s",
                (*head, org),
            )

    def close(self) -> None:
        self.cluster.close()


class Replica:
    """A streaming replica of a server, named as its synchronous standby once it follows."""

    def __init__(self, server: Server) -> None:
        self.cluster = cluster = Cluster.__new__(Cluster)
        mine = server.cluster
        cluster.bin, cluster._user, cluster.port = mine.bin, mine._user, mine.port + 1
        cluster.within = mine.within
        cluster.folder = Path(tempfile.mkdtemp(prefix="vr-"))
        cluster.data, cluster.log = cluster.folder / "data", cluster.folder / "log"
        if cluster._user is not None:
            shutil.chown(cluster.folder, cluster._user)
        cluster.folder.chmod(0o755)
        source = f"host={mine.folder} port={mine.port} user=boss application_name=standby"
        cluster._tool("pg_basebackup", "-D", str(cluster.data), "-d", source, "-R", "-c", "fast", "--no-sync")
        with (cluster.data / "postgresql.conf").open("a") as conf:
            conf.write(f"unix_socket_directories = '{cluster.folder}'\nport = {cluster.port}\n")
        cluster.start()
        server.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
        for _ in range(600):
            query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
            if server.sql_one(query) == (1,):
                return
            time.sleep(0.1)
        raise AssertionError("the replica never followed")

    def promote(self) -> None:
        self.cluster._tool("pg_ctl", "promote", "-D", str(self.cluster.data), "-w")

    def close(self) -> None:
        self.cluster.close()
