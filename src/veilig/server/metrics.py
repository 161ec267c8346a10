"""What do operators see of the gateway? Counters and histograms in Prometheus' text form."""

from collections.abc import Iterator
from typing import Final

BUCKETS_S: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


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
        """Gauges and counters, a line each."""
        found = [f"veilig_{name} {value:g}" for name, value in sorted(gauges.items())]
        for (name, labels), value in sorted(self._counts.items()):
            shown = ",".join(f'{k}="{_escaped(v)}"' for k, v in labels)
            found.append(f"veilig_{name}{{{shown}}} {value:g}" if shown else f"veilig_{name} {value:g}")
        return found


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")[:100]
