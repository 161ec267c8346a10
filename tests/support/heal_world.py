"""A world of services in simulated time: graph, faults of all kinds, people, deploys. One seed is one replay.

Everything is an event at a time; between events nothing changes, and a sample is computed for any moment.
"""

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from veilig.core.service import Dependency, Inventory, Service
from veilig.core.signal import (
    Answer,
    Change,
    DependencySeen,
    Disk,
    LogHit,
    LogKind,
    Run,
    Sample,
)

HOUR_S = 3600.0
NEWS_FOR_S = 120.0
PROBE_S = 0.25  # between probes of a service in trouble
TIMEOUT_S = 2.0
MIB = 1 << 20
DISK_BYTES = 100 * MIB


@dataclass
class File:
    kind: str
    now: str = "a0"
    good: str = "a0"
    valid: bool = True
    changed_s: float = -1e6


@dataclass
class Sim:
    """One service: what runs, what is wrong with it, and what the world around it is like."""

    spec: Service
    running: bool = True
    started_s: float = -10000.0
    down_s: float = 0.0
    count: int = 1
    exit: str = ""
    starts: list[float] = field(default_factory=list[float])
    start_takes_s: float = 0.3
    stuck: str = ""  # "", frozen, deadlock, hang, error: until its process ends
    doomed: bool = False  # every start dies, and nothing says why
    port_by: str = ""
    held: bool = False
    unseen: bool = False
    disk_full: bool = False
    trash: int = 0  # regenerable files of 20 MiB
    dep_mode: str = "503"  # what it does without its needs: exit, 503, bear
    leak_s: float = 0.0  # since when it leaks
    load_s: float = 0.0  # since when it is overloaded
    flaps: bool = False
    replicas: int = -1
    bad_version: str = ""  # how a bad version shows: crash, 500
    said: str = ""
    files: dict[str, File] = field(default_factory=dict[str, File])
    log: list[LogHit] = field(default_factory=list[LogHit])
    answer: tuple[Answer, int] = (Answer.OK, 200)
    answer_s: float = 0.0  # since when it would answer so
    well_s: float = 0.0
    news_s: float = 0.0  # when it last changed
    lacked: list[str] = field(default_factory=list[str])

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def incarnation(self) -> str:
        return f"{self.count}:{self.started_s:.3f}" if self.running else ""


class World:
    """All services, what happens next, and the seconds since the start."""

    def __init__(self, services: list[Service]) -> None:
        self.now = 1000.0
        self.zero = 0.0  # where the boot clock began
        self.sims = {s.name: Sim(s) for s in services}
        self.outside: dict[str, bool] = {}
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.dirty: set[str] = set(self.sims)
        self.healed_with: dict[str, float] = {}
        for sim in self.sims.values():
            folder = sim.spec.folder
            sim.files = {f"{folder}/config.json": File("config"), f"{folder}/version": File("version")}
            sim.starts = [sim.started_s]
            sim.well_s = sim.answer_s = sim.started_s + 1
            for need in sim.spec.depends_on:
                if not need.service:
                    self.outside[str(need)] = True

    @property
    def boot_s(self) -> float:
        return self.now - self.zero

    def at(self, after_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + after_s, next(self.numbers), what))

    def run_until(self, t: float) -> None:
        """Let everything up to `t` happen."""
        while self.queue and self.queue[0][0] <= t:
            self.now, _, what = heapq.heappop(self.queue)
            what()
            self.settle()
        self.now = max(self.now, t)

    # --- state ------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """After a change: who answers how now? Twice, for one service leans on another."""
        for _ in range(3):
            changed = False
            for sim in self.sims.values():
                answer = self._answer(sim)
                if answer == sim.answer:
                    continue
                changed = True
                sim.answer, sim.answer_s = answer, self.now
                self.dirty.add(sim.name)
                if answer[0] is Answer.TIMEOUT:
                    self.at(TIMEOUT_S + 0.01, self._mark(sim))
                if answer[0] is Answer.OK:
                    sim.well_s = self.now
                    self.at(2.0, self._good(sim, sim.count))
                elif sim.running and answer == (Answer.ERROR, 503) and not sim.stuck:
                    self.at(0.2, self._exit_without_needs(sim, sim.count))
            for sim in self.sims.values() if changed else ():
                if sim.spec.depends_on and (lacks := self.lacks(sim)) != sim.lacked:
                    sim.lacked = lacks
                    self.dirty.add(sim.name)  # signals see needs come and go
            if not changed:
                return

    def _mark(self, sim: Sim) -> Callable[[], None]:
        return lambda: self.dirty.add(sim.name)

    def _good(self, sim: Sim, count: int) -> Callable[[], None]:
        def record() -> None:
            if sim.running and sim.count == count and sim.answer[0] is Answer.OK:
                for file in sim.files.values():
                    if file.changed_s <= sim.started_s:
                        file.good = file.now

        return record

    def _exit_without_needs(self, sim: Sim, count: int) -> Callable[[], None]:
        def leave() -> None:
            if sim.running and sim.count == count and sim.dep_mode == "exit" and self.lacks(sim):
                self.die(sim, "exit 1", LogKind.DEPENDENCY)

        return leave

    def lacks(self, sim: Sim) -> list[str]:
        """Needs that are not there."""
        return [str(need) for need in sim.spec.depends_on if not self.need_up(need)]

    def need_up(self, need: Dependency) -> bool:
        if need.service:
            other = self.sims[need.service]
            return other.running and other.answer[0] is Answer.OK
        return self.outside.get(str(need), True)

    def _answer(self, sim: Sim) -> tuple[Answer, int]:
        if not sim.running:
            return Answer.REFUSED, 0
        if sim.stuck in ("frozen", "deadlock", "hang"):
            return Answer.TIMEOUT, 0
        if self.now < sim.started_s + sim.start_takes_s - 1e-9:
            return Answer.REFUSED, 0
        if sim.stuck == "error" or (sim.bad_version == "500" and self._loaded(sim, "version")):
            return Answer.ERROR, 500
        if sim.disk_full:
            return Answer.ERROR, 500
        if sim.dep_mode != "bear" and self.lacks(sim):
            return Answer.ERROR, 503
        if sim.load_s and self.now - sim.load_s > 4.0:
            return Answer.TIMEOUT, 0
        if sim.flaps and int(self.now * 2) % 11 == 0:
            return Answer.ERROR, 500
        return Answer.OK, 200

    def _loaded(self, sim: Sim, kind: str) -> bool:
        return any(
            f.kind == kind and f.now != "a0" and f.changed_s <= sim.started_s for f in sim.files.values()
        )

    def well(self, sim: Sim) -> bool:
        """The truth: it serves, and nothing is wrong with it."""
        return sim.running and sim.answer[0] is Answer.OK and not sim.leak_s and not sim.load_s

    # --- acts and faults ----------------------------------------------------------------------------------

    def die(self, sim: Sim, how: str, kind: LogKind | None = None, line: str = "") -> None:
        if not sim.running:
            return
        sim.running, sim.down_s, sim.exit = False, self.now, how
        sim.stuck, sim.leak_s = "", 0.0
        if kind is not None:
            sim.log = [LogHit(kind, line or f"{kind} {sim.said}", 1)]
        self.dirty.add(sim.name)

    def start(self, sim: Sim) -> None:
        """A new process, whoever starts it; its fate lies in the world around it."""
        sim.running, sim.started_s, sim.count = True, self.now, sim.count + 1
        sim.starts = [t for t in sim.starts if self.now - t < HOUR_S] + [self.now]
        sim.stuck, sim.leak_s, sim.log = "", 0.0, []
        count = sim.count
        self.dirty.add(sim.name)
        fate = self._fate(sim)
        if fate is not None:
            kind, line = fate
            self.at(0.2, lambda: self.die(sim, "exit 1", kind, line) if sim.count == count else None)
        else:
            self.at(sim.start_takes_s, lambda: None)
        if sim.load_s:
            self.load(sim)
        self.settle()

    def _fate(self, sim: Sim) -> tuple[LogKind | None, str] | None:
        config = next(f for f in sim.files.values() if f.kind == "config")
        if not config.valid or config.now.startswith("bad"):
            return LogKind.CONFIG, f"cannot read the configuration {sim.said}"
        if sim.bad_version == "crash" and self._loaded(sim, "version"):
            return LogKind.CODE, f"no module {sim.said}"
        if sim.port_by:
            return LogKind.PORT, f"address already in use {sim.said}"
        if sim.dep_mode == "exit" and self.lacks(sim):
            return LogKind.DEPENDENCY, f"connection refused {sim.said}"
        return (None, "") if sim.doomed else None

    def restart(self, name: str) -> float:
        """Stop and start; the seconds it takes."""
        sim = self.sims[name]
        takes = 2.0 if sim.stuck == "frozen" else 0.2
        if sim.running:
            sim.running, sim.down_s, sim.exit = False, self.now, "signal 15"
        self.start(sim)
        return takes

    def change(self, sim: Sim, kind: str, to: str, valid: bool = True) -> None:
        """Somebody writes a file of the service."""
        file = next(f for f in sim.files.values() if f.kind == kind)
        file.now, file.valid, file.changed_s = to, valid, self.now
        self.dirty.add(sim.name)

    def restore(self, name: str, files: Sequence[tuple[str, str, str]]) -> bool:
        """The recorded files again, when every file is what it was believed to be."""
        sim = self.sims[name]
        if any(sim.files[path].now != now for path, now, _ in files):
            return False
        for path, _, then in files:
            file = sim.files[path]
            file.now, file.valid, file.changed_s = then, True, self.now
        if not self._loaded(sim, "version") and all(
            f.now == "a0" for f in sim.files.values() if f.kind == "version"
        ):
            sim.bad_version = ""
        return True

    def roll_back(self, name: str, files: tuple[tuple[str, str, str], ...]) -> bool:
        """The recorded state again, running."""
        if not self.restore(name, files):
            return False
        self.restart(name)
        return True

    def scale(self, sim: Sim, replicas: int) -> None:
        """So many replicas; enough of them carry any load."""
        sim.replicas = replicas
        if replicas >= 4:
            sim.load_s = 0.0
            self.settle()

    def free(self, name: str, files: int) -> None:
        sim = self.sims[name]
        sim.trash = max(0, sim.trash - files)
        if files:
            sim.disk_full = False
        self.dirty.add(name)
        self.settle()

    def load(self, sim: Sim) -> None:
        """More work than it can do, from now on."""
        sim.load_s = self.now
        for at in (0.6, 1.3, 2.0, 2.7, 3.4, 4.05):
            self.at(at, self._mark(sim))

    # --- what is seen ---------------------------------------------------------------------------------------

    def trouble(self) -> set[str]:
        """Who is reported at every return of a watch; what has not changed for long is no news."""
        recent = self.now - NEWS_FOR_S
        return {
            s.name
            for s in self.sims.values()
            if s.news_s > recent and (not self.well(s) or s.unseen or s.flaps or s.disk_full or s.port_by)
        }

    def sample(self, name: str) -> Sample:
        """One service as signals would show it now."""
        sim, now = self.sims[name], self.now
        answer, status = sim.answer
        for_s = now - sim.answer_s
        fails = 0
        if answer is Answer.TIMEOUT:
            fails = int(for_s // (TIMEOUT_S + PROBE_S)) + (for_s % (TIMEOUT_S + PROBE_S) >= TIMEOUT_S)
            if not fails:
                answer, status = Answer.OK, 200  # the probe that will fail is still out
        elif answer is not Answer.OK:
            fails = 1 + int(for_s // PROBE_S)
        latency = 20.0 if not sim.load_s else 20.0 + 600.0 * (now - sim.load_s)
        rss = 30 * MIB + (int(33 * MIB * (now - sim.leak_s)) if sim.leak_s else 0)
        return Sample(
            service=name,
            t_s=self.boot_s,
            run=self._run(sim),
            why="its pidfile names a stranger" if sim.unseen else "",
            incarnation=sim.incarnation,
            up_s=now - sim.started_s if sim.running else 0.0,
            exit="" if sim.running else sim.exit,
            starts=tuple(t - self.zero for t in sim.starts if now - t < HOUR_S and t >= self.zero),
            answer=answer,
            status=status,
            said=sim.said,
            answer_for_s=for_s if fails or answer is Answer.OK else 0.0,
            fails=fails,
            latency_ms=latency,
            port_holder=sim.port_by if not sim.running else "",
            backlog=5 if sim.stuck == "hang" else 0,
            rss_bytes=rss if sim.running else 0,
            rss_slope=33.0 * MIB if sim.leak_s else 0.0,
            rss_base_bytes=30 * MIB,
            cpu=0.0 if sim.stuck else 0.1,
            threads=(4 + fails if sim.stuck == "deadlock" else 4) if sim.running else 0,
            log=tuple(sim.log) + ((LogHit(LogKind.DISK, f"no space {sim.said}"),) if sim.disk_full else ()),
            changes=tuple(
                Change(
                    p,
                    f.kind,
                    f.good,
                    f.now,
                    f.valid,
                    "" if f.valid else f"line 1 {sim.said}",
                    now - f.changed_s,
                )
                for p, f in sim.files.items()
                if f.now != f.good
            ),
            good="g" + "".join(f.good for f in sim.files.values()),
            needs=tuple(DependencySeen(str(n), self.need_up(n)) for n in sim.spec.depends_on),
            disks=(self._disk(sim),),
            held_by="STOPPED_BY_OPERATOR" if sim.held else "",
            replicas=sim.replicas,
        )

    def _run(self, sim: Sim) -> Run:
        if sim.unseen:
            return Run.UNKNOWN
        if not sim.running:
            return Run.STOPPED if sim.held else Run.DOWN
        return Run.FROZEN if sim.stuck == "frozen" else Run.RUNNING

    def _disk(self, sim: Sim) -> Disk:
        folder = sim.spec.folder
        files = tuple((f"{folder}/logs/app.log.{n}", 20 * MIB, n, n) for n in range(sim.trash, 0, -1))
        return Disk(folder, 0 if sim.disk_full else DISK_BYTES // 2, DISK_BYTES, 1000, files)


def service(name: str, *needs: str, folder: str = "", group: str = "") -> Service:
    """A service of a simulated file; a need with a colon is an address."""
    deps = tuple(
        Dependency(host=n.split(":")[0], port=int(n.split(":")[1])) if ":" in n else Dependency(service=n)
        for n in needs
    )
    return Service(
        name, folder=folder or f"/srv/{name}", depends_on=deps, health="http://127.0.0.1/", group=group
    )


def inventory(services: list[Service]) -> Inventory:
    """The services as if a file had been read."""
    return Inventory("/srv/services.json", "0" * 64, tuple(services))
