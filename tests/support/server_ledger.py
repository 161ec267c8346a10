"""A real PostgreSQL with the tables of the ledger, and a fresh organisation for each test."""

import itertools
from collections.abc import Callable
from pathlib import Path

from postgres import Cluster
from veilig.core.clock import Clock
from veilig.core.ledger import Ledger
from veilig.stores.address import Address, parse_place
from veilig.stores.opening import open_ledger
from veilig.stores.postgres_schema import prepare

SETTINGS = "max_connections = 60\nsynchronous_commit = on\n"
_numbers = itertools.count(1)


class Server:
    """`worker` records, `keeper` may also erase and move; neither owns anything."""

    def __init__(self, more: str = "") -> None:
        self.cluster = Cluster(SETTINGS + more)
        self.cluster.sql("CREATE DATABASE fleet", "CREATE ROLE worker LOGIN", database="postgres")
        self.cluster.sql("CREATE ROLE keeper LOGIN", "CREATE ROLE other LOGIN", database="postgres")

    def address(self, org: str, role: str = "worker") -> Address:
        host = str(self.cluster.folder).replace("/", "%2F")
        found = parse_place(f"postgresql://{role}@{host}:{self.cluster.port}/fleet?org={org}")
        assert isinstance(found, Address)
        return found

    def org(self) -> str:
        """A new organisation, prepared."""
        org = f"org-{next(_numbers)}"
        prepare(self.address(org, "boss"), worker="worker", keeper="keeper")
        return org

    def open(self, org: str, anchors: Path, *, clock: Clock | None = None, role: str = "worker") -> Ledger:
        return open_ledger(self.address(org, role), anchor_dir=anchors, clock=clock)

    def sql(self, *statements: str) -> None:
        """As a superuser, past every wall."""
        self.cluster.sql(*statements, database="fleet")

    def close(self) -> None:
        self.cluster.close()


type Opener = Callable[[], Ledger]
