"""What is a service, as the operator's services file describes it? Service, Dependency, Inventory.

The file is the operator's word on what runs where; nothing in it allows anything (veilig.yaml does).
"""

from dataclasses import dataclass

WARMUP_S = 10.0  # from a start until a service that does not answer counts as failing
HEALTH_TIMEOUT_S = 2.0  # slower than this is no answer
HOLD_FILE = "STOPPED_BY_OPERATOR"  # beside the service: a person stopped it and wants it down


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a service needs: another service of the file (`service`), or an address (`host`, `port`)."""

    service: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return self.service or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Service:
    """One service. Paths are absolute; what the file does not say is empty.

    provider: who keeps it: process, supervisord, container, systemd, postgres, kubernetes.
    unit: the provider's own name for it. cmd: argv that starts it (process only). folder: where its files
    are, a hold file too. health: a URL. health_cmd: argv that exits with 0 while all is well. port: what it
    listens on, 0 when unknown. tracked: files whose change is a deploy (besides config and what cmd names).
    memory_max_bytes: above it the service counts as failing; 0: judged by its growth. warmup_s: from a start
    until silence counts. group: services that carry the same load; empty: it alone. database: changes of it
    are database actions. hold: files each of which says that a person wants it down.
    """

    name: str
    provider: str = "process"
    unit: str = ""
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    pidfile: str = ""
    health: str = ""
    health_cmd: tuple[str, ...] = ()
    health_timeout_s: float = HEALTH_TIMEOUT_S
    port: int = 0
    log: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    tracked: tuple[str, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    memory_max_bytes: int = 0
    warmup_s: float = WARMUP_S
    group: str = ""
    database: bool = False
    hold: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """A services file, read: `digest` is the SHA-256 of its bytes; `notes` says what in it was not used."""

    path: str
    digest: str
    services: tuple[Service, ...]
    notes: tuple[str, ...] = ()

    def get(self, name: str) -> Service | None:
        """The service of this name."""
        return next((s for s in self.services if s.name == name), None)
