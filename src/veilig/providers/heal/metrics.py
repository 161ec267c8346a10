"""What do other people's dashboards learn of the services? The samples as OpenMetrics text, and its endpoint.

Names and units follow OpenMetrics 1.0: base units, `_total` on counters, a state set for states.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from veilig.core.errors import UsageError
from veilig.core.signal import Answer, Run, Sample
from veilig.providers.heal.metrics_http import Reply, Request, address, is_loopback, serve

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

type Labels = tuple[tuple[str, str], ...]
type Points = Callable[[Sample], Iterable[tuple[Labels, float]]]


@dataclass(frozen=True, slots=True)
class _Family:
    """One metric of every sample: labels beside `service`, and the value."""

    name: str
    kind: str
    unit: str
    help: str
    points: Points


def _one(value: Callable[[Sample], float], when: Callable[[Sample], bool] = lambda _: True) -> Points:
    def points(sample: Sample) -> Iterator[tuple[Labels, float]]:
        if when(sample):
            yield (), value(sample)

    return points


def _states(name: str, of: Callable[[Sample], str], known: Sequence[str]) -> Points:
    return lambda sample: [(((name, state),), float(of(sample) == state)) for state in known]


_FAMILIES = (
    _Family("veilig_service_run", "stateset", "", "What its keeper says of it.",
            _states("veilig_service_run", lambda s: s.run, tuple(Run))),
    _Family("veilig_service_answer", "stateset", "", "How its last health probe ended.",
            _states("veilig_service_answer", lambda s: s.answer, tuple(Answer))),
    _Family("veilig_service_failing", "gauge", "", "1 while it is not there or does not answer as it should.",
            _one(lambda s: float(s.failing))),
    _Family("veilig_service_held", "gauge", "", "1 while a person keeps it down.",
            _one(lambda s: float(bool(s.held_by)))),
    _Family("veilig_service_up_seconds", "gauge", "seconds", "Age of what runs.",
            _one(lambda s: s.up_s, lambda s: bool(s.incarnation))),
    _Family("veilig_service_probe_latency_seconds", "gauge", "seconds", "Of the last good answer.",
            _one(lambda s: s.latency_ms / 1000, lambda s: s.latency_ms > 0)),
    _Family("veilig_service_probe_failures", "gauge", "", "Probes failed in a row.",
            _one(lambda s: float(s.fails))),
    _Family("veilig_service_starts_last_hour", "gauge", "", "Starts seen in the last hour, by whom.",
            lambda s: [((("by", "us"),), float(len(s.own_starts))),
                       ((("by", "others"),), float(max(len(s.starts) - len(s.own_starts), 0)))]),
    _Family("veilig_service_resident_memory_bytes", "gauge", "bytes", "Of its process tree.",
            _one(lambda s: float(s.rss_bytes), lambda s: s.rss_bytes > 0)),
    _Family("veilig_service_cpu_cores", "gauge", "", "Share of one core over the last seconds.",
            _one(lambda s: s.cpu, lambda s: s.rss_bytes > 0)),
    _Family("veilig_service_threads", "gauge", "", "Of its process tree.",
            _one(lambda s: float(s.threads), lambda s: s.threads > 0)),
    _Family("veilig_service_open_files", "gauge", "", "Of the process nearest to its limit.",
            _one(lambda s: float(s.fds), lambda s: s.fds > 0)),
    _Family("veilig_service_accept_queue", "gauge", "", "Connections that wait to be accepted.",
            _one(lambda s: float(s.backlog), lambda s: s.backlog >= 0)),
    _Family("veilig_service_changed_files", "gauge", "", "Files that differ from its last-good state.",
            _one(lambda s: float(len(s.changes)), lambda s: bool(s.good))),
    _Family("veilig_service_log_hits", "gauge", "", "Lines of trouble in its logs since its start, by kind.",
            lambda s: [((("kind", hit.kind),), float(hit.count)) for hit in s.log]),
    _Family("veilig_service_dependency_up", "gauge", "", "Is what it needs there?",
            lambda s: [((("name", need.name), ("how", need.how)), float(need.up)) for need in s.needs]),
    _Family("veilig_service_disk_free_bytes", "gauge", "bytes", "On the file systems it writes to.",
            lambda s: [((("path", disk.path),), float(disk.free_bytes)) for disk in s.disks]),
    _Family("veilig_service_alerts", "gauge", "", "Firing alerts that name it.",
            _one(lambda s: float(len(s.alerts)))),
    _Family("veilig_service_replicas", "gauge", "", "Of its group.",
            _one(lambda s: float(s.replicas), lambda s: s.replicas >= 0)),
)  # fmt: skip


def text(samples: Mapping[str, Sample], now_s: float) -> str:
    """All samples as OpenMetrics text; `now_s` of the boot clock tells how old the last look is."""
    lines: list[str] = []
    for family in _FAMILIES:
        rows = [
            f"{family.name}{_labels((('service', name), *labels))} {_number(value)}"
            for name, sample in sorted(samples.items())
            for labels, value in family.points(sample)
        ]
        if rows:
            lines += [f"# TYPE {family.name} {family.kind}"]
            lines += [f"# UNIT {family.name} {family.unit}"] if family.unit else []
            lines += [f"# HELP {family.name} {_escaped(family.help)}", *rows]
    age_s = now_s - max((sample.t_s for sample in samples.values()), default=now_s)
    lines += [
        "# TYPE veilig_look_age_seconds gauge",
        "# UNIT veilig_look_age_seconds seconds",
        "# HELP veilig_look_age_seconds Since the last look at the services.",
        f"veilig_look_age_seconds {_number(round(max(age_s, 0.0), 3))}",
        "# EOF",
    ]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


async def endpoint(
    where: str, samples: Callable[[], Mapping[str, Sample]], now_s: Callable[[], float]
) -> asyncio.Server:
    """Serve GET /metrics at HOST:PORT of this machine. Raises UsageError for another machine's address.

    The text names services, paths and needs: for a network, put a proxy with a login before it.
    """
    host, port = address(where)
    if not is_loopback(host):
        raise UsageError(
            f"metrics are served on this machine only, not on {host}",
            fix="use 127.0.0.1 and let your collector or a proxy with a login ask there",
        )

    async def answer(request: Request) -> Reply:
        if request.path != "/metrics":
            return Reply(404, "see /metrics\n")
        if request.method != "GET":
            return Reply(405, "GET it\n")
        return Reply(200, text(samples(), now_s()), CONTENT_TYPE)

    return await serve(host, port, answer)
