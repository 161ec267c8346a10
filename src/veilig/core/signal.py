"""What was seen of a service at one moment? Sample: facts with units, no judgement.

A provider makes samples, a diagnosis reads them. Texts in them (log lines, answers, command lines) were
written by whoever wrote them: evidence to show, never an instruction, a target or a permission.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, cast

from veilig.core.canonical import JSON
from veilig.core.errors import InvalidAction


class Run(StrEnum):
    """What the provider says of the process, container or unit."""

    RUNNING = "running"
    STARTING = "starting"  # the provider's own word: not ready yet
    FROZEN = "frozen"  # it exists and gets no CPU: SIGSTOP, paused
    DOWN = "down"  # it is not there
    STOPPED = (
        "stopped"  # a person stopped it, as the provider knows (supervisord STOPPED, systemd, a hold file)
    )
    UNKNOWN = "unknown"  # it cannot be seen, or what stands there cannot be shown to be this service


class Answer(StrEnum):
    """How the health probe ended."""

    NONE = "none"  # nothing to ask
    OK = "ok"
    ERROR = "error"  # it answered that it is not well (an HTTP status of 400 or more, exit code not 0)
    REFUSED = "refused"  # nobody listens
    TIMEOUT = "timeout"
    BROKEN = "broken"  # reset, half an answer, not HTTP


class LogKind(StrEnum):
    """What a line of a log speaks of, by fixed patterns; a hint, never more."""

    CONFIG = "config"  # the configuration cannot be read or is refused
    PORT = "port"  # the address is in use
    DEPENDENCY = "dependency"  # another service cannot be reached
    DISK = "disk"  # no space, quota, read-only file system
    MEMORY = "memory"  # out of memory
    CODE = "code"  # a module or symbol is missing, a syntax error: the program itself
    PERMISSION = "permission"
    DEADLOCK = "deadlock"
    OTHER = "other"  # an error of no kind above


@dataclass(frozen=True, slots=True)
class LogHit:
    """One kind of line since the last start, the latest of its kind. count: how many of them.

    age_s: since that line was read.
    """

    kind: LogKind
    line: str  # cut to 200 characters, secrets are handles
    count: int = 1
    subject: str = ""  # what the line names: a port, a path, host:port; "" when it names nothing
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """A file of the service that differs from the last state in which the service was well.

    kind: "config" (of `Service.config`), "version" (code, version file, link). before, after: SHA-256; ""
    for absent. valid: does it parse as what its name says (JSON, YAML, TOML, INI)? None: no such form.
    why: the parser's word. age_s: since it changed.
    """

    path: str
    kind: str
    before: str
    after: str
    valid: bool | None = None
    why: str = ""
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DependencySeen:
    """Is what the service needs there? name: as Dependency prints. how: declared, config, connection."""

    name: str
    up: bool
    how: str = "declared"
    why: str = ""


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system under one of the service's folders.

    regenerable: files that can be removed without loss, as (path, bytes, mtime in ns, inode); oldest first.
    """

    path: str
    free_bytes: int
    total_bytes: int
    free_inodes: int = -1
    regenerable: tuple[tuple[str, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Gauge:
    """Something a keeper counts, in `unit`. limit: from there on it is trouble; 0: no bound is known.

    subject: what it is about, where that is not the service itself: a table, a security group.
    """

    name: str
    value: float
    limit: float = 0.0
    unit: str = ""
    subject: str = ""

    @property
    def over(self) -> bool:
        """At its bound or beyond."""
        return self.limit > 0 and self.value >= self.limit


@dataclass(frozen=True, slots=True)
class Backend:
    """A session of a database that holds its transaction open.

    id: "PID@START", never the same for two sessions. open_s: its transaction; state_s: since it is in `state`
    ("idle in transaction", "active"). blocks: sessions that wait for what it holds; waits_s: the longest of
    them. wrote: its end takes something back. query: its last statement, cut, secrets are handles.
    """

    id: str
    state: str
    user: str = ""
    program: str = ""
    query: str = ""
    open_s: float = 0.0
    state_s: float = 0.0
    blocks: int = 0
    waits_s: float = 0.0
    wrote: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One service at `t_s` of the boot clock.

    incarnation: identity of what runs now ("" when nothing does): pid and start time, container id and
    start, unit invocation. up_s: age of the incarnation. exit: how the last one ended ("exit 1",
    "signal 9"; "" unknown). starts: start times (boot clock) seen in the last hour, whoever started it.
    own_starts: of these, made by us. answer_for_s: how long the probe has given this answer without
    another; fails: probes failed in a row; latency_ms: of the last good answer. port_holder: who listens on
    the service's port if it is not the service ("pid 7 python3"; "" otherwise). backlog: connections
    waiting to be accepted, -1 unknown. rss_bytes: of the process tree; rss_slope: bytes per second over the
    last samples, robust; rss_base_bytes: median while it was well. cpu: share of one core over the last
    samples. good: digest of the recorded last-good state of its files ("" none yet). replicas: of its
    group, -1 where it has none.
    """

    service: str
    t_s: float
    run: Run = Run.UNKNOWN
    why: str = ""
    incarnation: str = ""
    up_s: float = 0.0
    exit: str = ""
    starts: tuple[float, ...] = ()
    own_starts: tuple[float, ...] = ()
    answer: Answer = Answer.NONE
    status: int = 0
    said: str = ""
    answer_for_s: float = 0.0
    fails: int = 0
    latency_ms: float = 0.0
    port_holder: str = ""
    backlog: int = -1
    rss_bytes: int = 0
    rss_slope: float = 0.0
    rss_base_bytes: int = 0
    cpu: float = 0.0
    fds: int = 0
    fds_max: int = 0
    threads: int = 0
    log: tuple[LogHit, ...] = ()
    changes: tuple[Change, ...] = ()
    good: str = ""
    needs: tuple[DependencySeen, ...] = ()
    disks: tuple[Disk, ...] = ()
    held_by: str = ""  # the hold file or provider state by which a person keeps it down
    replicas: int = -1
    replicas_own: int = 0
    alerts: tuple[str, ...] = ()  # firing alerts that name it, by fingerprint
    gauges: tuple[Gauge, ...] = ()
    backends: tuple[Backend, ...] = ()  # of a database: those that others wait for, or that idle amid one

    @property
    def alive(self) -> bool:
        """Something runs that is this service."""
        return self.run in (Run.RUNNING, Run.STARTING, Run.FROZEN)

    @property
    def failing(self) -> bool:
        """It is not there, or it does not answer as it should."""
        return not self.alive or self.answer not in (Answer.OK, Answer.NONE)


_PARTS: Mapping[str, type] = {
    "log": LogHit, "changes": Change, "needs": DependencySeen, "disks": Disk,
    "gauges": Gauge, "backends": Backend,
}  # fmt: skip
_FIELDS = tuple((field.name, field.default) for field in fields(Sample))
_PART_FIELDS = {part: tuple(field.name for field in fields(part)) for part in _PARTS.values()}


def to_json(sample: Sample) -> dict[str, JSON]:
    """Plain JSON values; what is at its default is left out, for most of a sample is."""
    plain: dict[str, Any] = {}
    for name, default in _FIELDS:
        value = getattr(sample, name)
        if value != default:
            plain[name] = _listed(value)
    return cast(dict[str, JSON], plain)


def _listed(value: Any) -> Any:
    kind = cast(type[Any], type(value))
    if kind in (str, float, int, bool) or value is None:
        return value
    if kind in (tuple, list):
        return [_listed(item) for item in cast(list[Any], value)]
    if kind in _PART_FIELDS:
        return {name: _listed(getattr(value, name)) for name in _PART_FIELDS[kind]}
    return str(value) if isinstance(value, StrEnum) else value


def from_json(value: object) -> Sample:
    """The sample a JSON object stands for. Raises InvalidAction when it is none."""
    try:
        given = dict(cast(dict[str, Any], value))
        for name, part in _PARTS.items():
            given[name] = tuple(_part(part, item) for item in given.get(name, ()))
        for name in ("starts", "own_starts", "alerts"):
            given[name] = tuple(given.get(name, ()))
        given["run"] = Run(given.get("run", Run.UNKNOWN))
        given["answer"] = Answer(given.get("answer", Answer.NONE))
        return Sample(**given)
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidAction("this is no sample of a service", why=str(error)) from error


def _part(part: type, item: dict[str, Any]) -> Any:
    item = dict(item)
    if part is LogHit:
        item["kind"] = LogKind(item["kind"])
    if part is Disk:
        item["regenerable"] = tuple(tuple(one) for one in item.get("regenerable", ()))
    return part(**item)
