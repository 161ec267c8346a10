"""What do operators see of a gateway or worker? Counters and histograms in Prometheus' text form.

Source: prometheus.io, exposition formats, text format 0.0.4.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Final

BUCKETS_S: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
HELP: Final[Mapping[str, str]] = {
    "answers_stopped_total": "Answers that safeguards stopped.",
    "answers_with_indicators_total": "Answers in which something was found.",
    "first_byte_seconds": "From a request to the first byte of its answer.",
    "info": "Which version runs.",
    "judge_total": "Words of the judging model, by verdict.",
    "monitor_failed_total": "Safeguards that failed, by stage; nothing was let through unread.",
    "queue_oldest_seconds": "How long the oldest session of this kind and state has been in the queue.",
    "queue_sessions": "Sessions of the whole queue that are not over; the same at every worker.",
    "ready": "Whether requests are taken.",
    "request_seconds": "From a request to the end of its answer.",
    "requests_total": "Requests that were answered.",
    "requests_under_way": "Requests being answered now.",
    "safeguard_works": "Whether this safeguard passed its last test of itself.",
    "signals_total": "Signals that safeguards found, by kind.",
    "tokens_total": "Tokens that models were asked and answered.",
    "upstream_failed_total": "Requests that this upstream failed.",
    "upstream_requests_total": "Requests sent to this upstream.",
    "upstream_rests": "Whether this upstream is left alone for a while.",
    "worker_busy": "Sessions at work here.",
    "worker_database_trouble_total": "Attempts to reach the database that failed.",
    "worker_ready": "Whether the database heard of this worker lately and it takes sessions.",
    "worker_session_seconds": "How long sessions were at work here.",
    "worker_sessions_ended_total": "Sessions that ended or were left here, by what became of them.",
    "worker_sessions_lost_total": "Sessions whose lease this worker lost.",
    "worker_sessions_rescued_total": "Sessions of dead workers that this one put back.",
    "worker_sessions_taken_total": "Sessions that this worker took.",
    "worker_slots": "Sessions that may be at work here at once.",
    "worker_waited_seconds": "How long sessions had waited when they were taken here.",
}


class Histogram:
    """Seconds, in buckets."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS_S) + 1)
        self._sum = 0.0

    def add(self, value_s: float) -> None:
        """Count one."""
        self._sum += value_s
        for i, edge in enumerate(BUCKETS_S):
            if value_s <= edge:
                self._counts[i] += 1
                return
        self._counts[-1] += 1

    def lines(self, name: str) -> Iterator[str]:
        """In the text form."""
        yield from _head(name, "histogram")
        total = 0
        for edge, count in zip((*map(str, BUCKETS_S), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{edge}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """Counters by name and labels; no label ever holds a subject, a key or a text."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self.duration = Histogram()
        self.first_byte = Histogram()

    def count(self, name: str, by: float = 1.0, **labels: str) -> None:
        """Add to one counter."""
        key = (name, tuple(sorted(labels.items())))
        self._counts[key] = self._counts.get(key, 0.0) + by

    def text(self, gauges: dict[str, float]) -> str:
        """Everything, for a scrape."""
        found = self.counted(gauges)
        found += self.duration.lines("veilig_request_seconds")
        found += self.first_byte.lines("veilig_first_byte_seconds")
        return "\n".join(found) + "\n"

    def counted(self, gauges: dict[str, float]) -> list[str]:
        """Gauges and counters, a line each. A gauge's name may hold its labels."""
        rows = [(f"veilig_{name}", value) for name, value in gauges.items()]
        for (name, labels), value in self._counts.items():
            shown = ",".join(f'{k}="{_escaped(v)}"' for k, v in labels)
            rows.append((f"veilig_{name}{{{shown}}}" if shown else f"veilig_{name}", value))
        found = list[str]()
        rows.sort(key=lambda row: (_family(row[0]), row[0]))
        for family, samples in groupby(rows, key=lambda row: _family(row[0])):
            found += _head(family, "counter" if family.endswith("_total") else "gauge")
            found += [f"{name} {_number(value)}" for name, value in samples]
        return found


def _family(sample: str) -> str:
    return sample.partition("{")[0]


def _head(family: str, kind: str) -> Iterator[str]:
    if help_text := HELP.get(family.removeprefix("veilig_")):
        yield f"# HELP {family} {help_text}"
    yield f"# TYPE {family} {kind}"


def _number(value: float) -> str:
    """Exact: a counter that is rounded stands still, and then jumps."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")[:100]
