"""What has been counted of one service since it is watched? Life: the memory between two looks at it."""

import asyncio
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from veilig.core.service import Service
from veilig.core.signal import Answer, Change, DependencySeen, Disk, Run
from veilig.providers.heal.logs import Log
from veilig.providers.heal.probes import Probe
from veilig.providers.heal.proc import Process
from veilig.providers.heal.substrate import Seen

HOUR_S = 3600.0
RSS_POINTS = 12  # one a second: a leak of some seconds shows, a garbage collector's saw does not
BASE_POINTS = 60
BASE_GROWTH = 1.25  # memory that grew by more is not what it usually needs
CPU_WINDOW_S = 5.0
_POINT_S = 0.9


@dataclass(slots=True)
class Life:
    """Counters of one service. Times are of the boot clock."""

    service: Service
    log: Log
    seen: Seen
    probe: Probe | None = None
    asked: bool = False
    well_asked_s: float = 0.0
    answer_since_s: float = 0.0
    fails: int = 0
    latency_ms: float = 0.0
    usual_ms: float = 0.0
    starts: list[float] = field(default_factory=list[float])
    restarts: int = -1
    own: set[str] = field(default_factory=set[str])
    rss: deque[tuple[float, int]] = field(default_factory=lambda: deque[tuple[float, int]](maxlen=RSS_POINTS))
    base: deque[tuple[float, int]] = field(
        default_factory=lambda: deque[tuple[float, int]](maxlen=BASE_POINTS)
    )
    cpu: deque[tuple[float, float]] = field(default_factory=lambda: deque[tuple[float, float]](maxlen=64))
    growth: int = 0
    threads: int = 0
    stopped: bool = False
    fds: tuple[int, int] = (0, 0)
    port_holder: str = ""
    fronted: bool = False  # somebody else listens for it on its port; so it is with most containers
    connections: tuple[tuple[str, int], ...] = ()  # to others, at the last look at its sockets
    backlog: int = -1
    disks: tuple[Disk, ...] = ()
    looked_at_s: float = -HOUR_S
    needs: tuple[DependencySeen, ...] = ()
    changes: tuple[Change, ...] = ()
    changes_at_s: float = 0.0  # when they, and their ages, were read
    again: asyncio.Event = field(default_factory=asyncio.Event)  # ask it now
    bad: asyncio.Event = field(default_factory=asyncio.Event)  # set while it is not well
    trouble_since_s: float | None = None

    def __post_init__(self) -> None:
        self.fronted = self.service.provider == "container"

    @property
    def asks(self) -> bool:
        """Is there anything to probe?"""
        return bool(self.service.health or self.service.health_cmd or self.service.port)

    @property
    def well(self) -> bool:
        """It runs and answers, as far as it can be asked."""
        answered = self.probe.answer if self.probe else Answer.NONE
        return self.run is Run.RUNNING and answered in (
            (Answer.OK,) if self.asks else (Answer.NONE, Answer.OK)
        )

    @property
    def run(self) -> Run:
        """As its keeper says; a main process that gets no CPU is frozen whoever keeps it."""
        if self.stopped and self.seen.run in (Run.RUNNING, Run.STARTING):
            return Run.FROZEN
        return self.seen.run

    def see(self, seen: Seen, now_s: float) -> bool:
        """The keeper's word of this look. True when something else runs than at the last look."""
        before, self.seen = self.seen, seen
        fresh = bool(seen.incarnation) and seen.incarnation != before.incarnation
        if fresh:
            self.rss.clear()
            self.cpu.clear()
            self.growth = 0
            if self.asks:  # what its former life answered says nothing of this one
                self.probe = Probe(Answer.REFUSED, said="not asked since its start")
                self.answer_since_s, self.fails = now_s, 0
            if before.service and (before.incarnation or before.run is not Run.UNKNOWN):
                self.starts.append(seen.started_s or now_s)
        missed = (
            seen.restarts - self.restarts - int(fresh) if self.restarts >= 0 and seen.restarts >= 0 else 0
        )
        self.starts += [now_s] * min(max(missed, 0), 100)  # between two looks: the keeper counted them
        self.restarts = seen.restarts
        if fresh or before.run != seen.run:
            self.again.set()
        self.starts = sorted(t for t in self.starts if now_s - t < HOUR_S)
        return fresh

    def answered(self, probe: Probe, begun_s: float) -> bool:
        """One more probe, begun at `begun_s`. True when it says something else than the last one."""
        well = probe.answer in (Answer.OK, Answer.NONE)
        if not well and begun_s < self.well_asked_s:
            return False  # it was asked before one that was answered well
        changed = self.probe is None or self.probe.answer != probe.answer
        if changed:
            self.answer_since_s = begun_s
        if well:
            self.fails, self.well_asked_s = 0, max(begun_s, self.well_asked_s)
            self.latency_ms = probe.latency_ms
            usual = self.usual_ms or probe.latency_ms
            if not self.slow:
                self.usual_ms = usual + 0.2 * (probe.latency_ms - usual)
        else:
            self.fails += 1
        self.probe, self.asked = probe, True
        return changed

    @property
    def slow(self) -> bool:
        """Good answers take four times as long as usual, and long enough for a person to notice."""
        return bool(self.usual_ms) and self.latency_ms >= max(250.0, 4 * self.usual_ms)

    def weigh(self, tree: Sequence[Process], now_s: float) -> None:
        """The processes of it, as the kernel counts them; nothing when it runs where we cannot look."""
        self.stopped = bool(tree) and tree[0].stopped
        self.threads = sum(row.threads for row in tree)
        if not tree:
            return
        self.cpu.append((now_s, sum(row.cpu_s for row in tree)))
        rss = sum(row.rss_bytes for row in tree)
        if not self.rss or now_s - self.rss[-1][0] >= _POINT_S:
            self.rss.append((now_s, rss))
            base = self.base_bytes
            if self.well and (len(self.base) < 3 or rss <= BASE_GROWTH * base):
                self.base.append((now_s, rss))
        if self.base_bytes and rss > 0:
            self.growth = max(self.growth, (rss // self.base_bytes).bit_length() - 1)

    @property
    def rss_bytes(self) -> int:
        """Of the process tree, at the last weighing."""
        return self.rss[-1][1] if self.rss else 0

    @property
    def base_bytes(self) -> int:
        """Median while it was well and did not grow."""
        return int(statistics.median(rss for _, rss in self.base)) if self.base else 0

    @property
    def slope(self) -> float:
        """Bytes a second over the last samples: the median of the slopes between all pairs (Theil-Sen)."""
        points = list(self.rss)
        slopes = [
            (b - a) / (t1 - t0) for at, (t0, a) in enumerate(points) for t1, b in points[at + 1 :] if t1 > t0
        ]
        return round(statistics.median(slopes), 1) if slopes else 0.0

    def cpu_share(self, now_s: float) -> float:
        """Share of one core over the last seconds; processes that ended take their time with them."""
        window = [point for point in self.cpu if now_s - point[0] <= CPU_WINDOW_S]
        if len(window) < 2 or window[-1][0] <= window[0][0]:
            return 0.0
        return round(max((window[-1][1] - window[0][1]) / (window[-1][0] - window[0][0]), 0.0), 3)
