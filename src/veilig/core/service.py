"""What is a service, as the operator's services file describes it? Service, Dependency, Inventory.

The file is the operator's word on what runs where; nothing in it allows anything (veilig.yaml does).
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import cast

WARMUP_S = 10.0  # from a start until a service that does not answer counts as failing
HEALTH_TIMEOUT_S = 2.0  # slower than this is no answer
PROMETHEUS = "http://127.0.0.1:9090"  # where its server listens unless the file says another
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
class MetricBound:
    """A PromQL expression and where it leaves what is usual: above or below (None: not bounded there)."""

    expr: str
    above: float | None = None
    below: float | None = None
    server: str = PROMETHEUS


def metric_bounds(value: object) -> tuple[MetricBound, ...]:
    """The bounds a file writes: {expr, above or below, server}, one or a list. Raises ValueError."""
    found: list[MetricBound] = []
    for item in cast(list[object], value) if isinstance(value, list) else [value] if value else []:
        inner = cast(Mapping[str, object], item) if isinstance(item, Mapping) else dict[str, object]()
        expr, server = inner.get("expr"), inner.get("server", PROMETHEUS)
        above, below = (_number(inner.get(key)) for key in ("above", "below"))
        if not isinstance(expr, str) or not expr or above is below is None:
            raise ValueError("a list of {expr, above or below, server}")
        if inner.keys() - {"expr", "above", "below", "server"}:
            raise ValueError("nothing but expr, above, below and server")
        if not isinstance(server, str) or not server.startswith(("http://", "https://")):
            raise ValueError("the server's http or https URL")
        found.append(MetricBound(expr, above, below, server))
    return tuple(found)


def _number(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError("numbers above and below")
    return float(value)


@dataclass(frozen=True, slots=True)
class Service:
    """One service. Paths are absolute; what the file does not say is empty.

    provider: who keeps it: process, supervisord, container, systemd, postgres, aws, kubernetes.
    unit: the provider's own name for it; of a database, the connection string of a role that only looks.
    writer: that of one that may act. cmd: argv that starts it (a process), or restarts it (a database).
    folder: where its files are, a hold file too. health: a URL. health_cmd: argv that exits with 0 while
    all is well. port: what it listens on, 0 when unknown. tracked: files whose change is a deploy
    (besides config and what cmd names).
    memory_max_bytes: above it the service counts as failing; 0: judged by its growth. warmup_s: from a start
    until silence counts. group: services that carry the same load; empty: it alone. database: changes of it
    are database actions. hold: files each of which says that a person wants it down. promql: what Prometheus
    is asked about it.
    """

    name: str
    provider: str = "process"
    unit: str = ""
    writer: str = ""
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
    promql: tuple[MetricBound, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """A services file, read: `digest` is the SHA-256 of its bytes; `notes` says what in it was not used.

    part: the name of a share of the file, where several healers divide it between them; "" for all of it.
    """

    path: str
    digest: str
    services: tuple[Service, ...]
    notes: tuple[str, ...] = ()
    part: str = ""

    def only(self, names: Collection[str], part: str) -> "Inventory":
        """The share of these services; names that the file does not have (any more) are left out."""
        return replace(self, services=tuple(s for s in self.services if s.name in names), part=part)

    def get(self, name: str) -> Service | None:
        """The service of this name."""
        return next((s for s in self.services if s.name == name), None)
