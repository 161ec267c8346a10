"""How are plain processes seen, stopped and started? The keeper of services that nobody else keeps.

A service is what its pidfile names, or what its command line and folder show, and only while that holds: a
bystander with an old number is never signalled. What was started here outlives this process.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal import processes_match as match
from veilig.providers.heal import processes_start as starting
from veilig.providers.heal import processes_table as kernel
from veilig.providers.heal.processes_match import Belief, Judged
from veilig.providers.heal.processes_table import Proc
from veilig.providers.heal.substrate import Done, Seen

STOP_S = 2.0  # a polite end: flush and close; a service that needs longer says so to its own supervisor
KILL_S = 3.0  # the kernel ends what it may end at once; the rest waits for a disk that does not answer
PORT_S = 1.0  # the kernel lets go of a listening socket with its last owner
POLL_S = 0.02
SEARCH_S = 1.0  # a look at every process of the machine costs milliseconds
MARKS_S = 2.0
PIDFILE_SLACK_S = 2.0  # a program may be written down by its starter or by itself, clocks are coarse


@dataclass(slots=True)
class _Kept:
    """What is remembered of one service between looks."""

    marks: match.Home
    marked_s: float = -1e9
    child: int = 0
    exit: str = ""
    ours: set[str] = field(default_factory=set[str])
    believed: str = ""
    main: Proc | None = None
    last: starting.Manner = field(default_factory=starting.Manner)
    searched_s: float = -1e9
    missed: str = ""  # the incarnation whose end was followed by a search at once
    found: Judged = field(default_factory=lambda: Judged(Belief.NO))


class ProcessSubstrate:
    """Plain processes of one services file. ours: incarnations that an earlier broker started, asked once.

    base: the folder of the services file. logs: where output goes of a service that names no log.
    """

    name = "process"

    def __init__(
        self,
        services: Sequence[Service],
        *,
        base: Path,
        logs: Path,
        ours: Callable[[], Mapping[str, Iterable[str]]] = dict[str, Iterable[str]],
        stop_s: float = STOP_S,
    ) -> None:
        kept = [s for s in services if s.provider == self.name]
        self._services = tuple(services)
        self._kept = {s.name: _Kept(match.home(s, services, base)) for s in kept}
        self._base, self._logs, self._stop_s = base, logs, stop_s
        self._ours: Callable[[], Mapping[str, Iterable[str]]] | None = ours

    async def capability(self, service: Service) -> tuple[Capability, str]:
        """May what runs be signalled? Tried with signal 0, which does nothing."""
        seen = self._seen(service, {})
        for pid in seen.pids:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                continue
            except PermissionError:
                return Capability.READONLY, f"pid {pid} belongs to another user and may not be signalled"
        return Capability.READ_WRITE, "limits of memory and CPU are not enforced for plain processes"

    async def look(self, services: Sequence[Service]) -> list[Seen]:
        """Each service as /proc shows it."""
        if self._ours is not None:
            for name, incarnations in self._ours().items():
                if name in self._kept:
                    self._kept[name].ours.update(incarnations)
            self._ours = None
        processes: dict[int, Proc] = {}  # filled by the first service that needs a search
        return [self._seen(service, processes) for service in services]

    async def restart(self, service: Service, incarnation: str) -> Done:
        """TERM and KILL to everything of it, then one start, once its port is free."""
        await self._end(service, incarnation)
        self._may_start(service)
        return await self._start(service)

    async def stop(self, service: Service, incarnation: str) -> Done:
        """TERM, then KILL, to everything of it."""
        if not incarnation:
            raise ProviderError(f"{service.name} does not run", why="nothing was done")
        await self._end(service, incarnation)
        return Done(True, f"{service.name} is stopped")

    async def scale(self, group: str, current: int, replicas: int) -> Done:
        """Never: nobody said how to start a second one."""
        del current, replicas
        raise ProviderError(f"{group} cannot be scaled", why="it is a plain process", fix="use containers")

    async def close(self) -> None:
        """Services go on."""

    def main(self, service: Service) -> Proc | None:
        """The main process as last seen."""
        return self._kept[service.name].main

    # --- seeing -----------------------------------------------------------------------------------

    def _seen(self, service: Service, processes: dict[int, Proc]) -> Seen:
        kept = self._kept.get(service.name)
        if kept is None:
            return Seen(service.name, Run.UNKNOWN, "not in the services file this broker has read")
        held_by = held(service)
        self._reap(kept)
        proc, why = self._find(service, kept, processes)
        if why and proc is None and kept.found.belief is Belief.DOUBT:
            return Seen(service.name, Run.UNKNOWN, why, held_by=held_by, managed=True)
        kept.main = proc or kept.main
        if proc is None:
            run = Run.STOPPED if held_by else Run.DOWN
            return Seen(service.name, run, why, exit=kept.exit, held_by=held_by, managed=True, text=kept.exit)
        if proc.incarnation != kept.believed:
            kept.believed, kept.last = proc.incarnation, starting.manner_of(proc.pid, kept.last)
        return Seen(
            service.name,
            Run.FROZEN if proc.frozen else Run.RUNNING,
            why,
            proc.incarnation,
            proc.started_s,
            kept.exit,
            kernel.family(proc.pid),
            held_by,
            managed=True,
        )

    @staticmethod
    def _reap(kept: _Kept) -> None:
        if not kept.child:
            return
        try:
            pid, status = os.waitpid(kept.child, os.WNOHANG)
        except ChildProcessError:
            pid, status = kept.child, -1  # somebody else has waited for it
        if pid:
            code = os.waitstatus_to_exitcode(status) if status >= 0 else 0
            kept.exit = "" if status < 0 else f"signal {-code}" if code < 0 else f"exit {code}"
            kept.child = 0

    def _find(self, service: Service, kept: _Kept, processes: dict[int, Proc]) -> tuple[Proc | None, str]:
        """The service's main process and a remark; or None and why it is down or in doubt."""
        kept.found = Judged(Belief.NO)
        pid, written_s = _pidfile(service)
        named = kernel.read(pid) if pid else None
        why = f"the pid {pid} of its pidfile is gone" if pid else "no pidfile"
        if named is not None and named.alive:
            if named.incarnation == kept.believed or named.incarnation in kept.ours:
                return named, ""
            timely = written_s is None or named.started_s <= written_s + PIDFILE_SLACK_S
            kept.found = match.judge(self._marks(kept), named, self._sockets(service), named=timely)
            if kept.found.belief is Belief.YES:
                return named, ""
            why = f"its pidfile names {named.name}, which is not this service: {kept.found.why}"
            if kept.found.belief is Belief.DOUBT:
                return None, kept.found.why
        if kept.main is not None and kept.main.incarnation == kept.believed:
            again = kernel.read(kept.main.pid)
            if again is not None and again.alive and again.incarnation == kept.believed:
                return again, "" if pid == 0 else why
            if kept.missed != kept.believed:
                kept.missed, kept.searched_s = kept.believed, -1e9
        return self._search(service, kept, processes, why)

    def _marks(self, kept: _Kept) -> match.Home:
        """Fresh enough: a deploy may have changed the start script."""
        now_s = time.monotonic()
        if now_s - kept.marked_s > MARKS_S:
            kept.marks = match.home(kept.marks.service, self._services, self._base)
            kept.marked_s = now_s
        return kept.marks

    def _search(
        self, service: Service, kept: _Kept, processes: dict[int, Proc], why: str
    ) -> tuple[Proc | None, str]:
        """An instance that no pidfile names: it must not be started twice."""
        now_s = time.monotonic()
        if now_s - kept.searched_s < SEARCH_S and not kept.child:
            return None, why
        if not processes:
            processes.update(kernel.table())
        sockets = self._sockets(service)
        others = [kept for name, kept in self._kept.items() if name != service.name]
        claimed = {k.main.pid for k in others if k.main and k.believed}
        claimed |= {_pidfile(k.marks.service)[0] for k in others}
        marks, likely = self._marks(kept), list[Proc]()
        for proc in processes.values():
            if proc.pid in claimed or proc.pid == os.getpid() or not proc.argv:
                continue
            if proc.incarnation in kept.ours:
                likely.append(proc)
                continue
            if not match.plausible(marks, proc):
                continue
            found = match.judge(marks, proc, sockets, named=False)
            if found.belief is Belief.YES:
                likely.append(proc)
            elif found.belief is Belief.DOUBT:
                kept.found = found
        pids = {p.pid for p in likely}
        roots = [p for p in likely if p.ppid not in pids]
        if len(roots) > 1:
            roots = [p for p in roots if kernel.listens((p.pid,), sockets)] or roots
        if len(roots) == 1:
            kept.found = Judged(Belief.YES)
            return roots[0], f"{why}; found by its command line and folder"
        if roots:
            kept.found = Judged(Belief.DOUBT, f"{len(roots)} processes look like {service.name}")
        if kept.found.belief is Belief.DOUBT:
            return None, kept.found.why
        kept.searched_s = now_s
        return None, why

    @staticmethod
    def _sockets(service: Service) -> frozenset[str]:
        return kernel.listening(service.port) if service.port else frozenset()

    # --- stopping and starting -----------------------------------------------------------------------

    async def _end(self, service: Service, incarnation: str) -> None:
        """Nothing of the service runs any more when this returns. Raises ProviderError."""
        kept = self._kept[service.name]
        kept.searched_s = -1e9  # the fence is a fresh look
        seen = self._seen(service, {})
        if seen.run is Run.UNKNOWN:
            raise ProviderError(f"{service.name} is not touched", why=seen.why)
        if seen.incarnation != incarnation:
            raise ProviderError(
                f"{service.name} is not the one that was meant",
                why=f"{seen.incarnation or 'nothing'} runs now, the act names {incarnation or 'nothing'}",
                fix="propose it again",
            )
        await self._signal_all(kept, signal.SIGTERM, self._stop_s)
        left = await self._signal_all(kept, signal.SIGKILL, KILL_S)
        self._reap(kept)
        if left:
            raise ProviderError(
                f"{service.name} did not end", why=f"{left[0].name} survives SIGKILL (state {left[0].state})"
            )

    async def _signal_all(self, kept: _Kept, number: int, wait_s: float) -> list[Proc]:
        """Send it to each process of the service that is left; who still lives after `wait_s`."""
        until = time.monotonic() + wait_s
        sent: set[str] = set()
        while True:
            self._reap(kept)
            left = self._all_of(kept)
            for proc in left:
                if proc.incarnation not in sent:
                    _send(proc, number)
                    sent.add(proc.incarnation)
            if not left or time.monotonic() >= until:
                return left
            await asyncio.sleep(POLL_S)

    @staticmethod
    def _all_of(kept: _Kept) -> list[Proc]:
        """The main process with all that it started; what is left of its group when it is gone."""
        main = kept.main
        if main is None or main.incarnation != kept.believed:
            return []
        processes = kernel.table()
        now = processes.get(main.pid)
        if now is not None and now.ticks != main.ticks:
            return []  # the number is somebody else's now, so no group of that name is left
        return [p for p in kernel.tree(now or main, processes) if p.pid in processes]

    def _may_start(self, service: Service) -> None:
        if place := held(service):
            raise ProviderError(f"{service.name} is not started", why=f"a person stopped it: {place}")

    async def _start(self, service: Service) -> Done:
        kept = self._kept[service.name]
        until = time.monotonic() + PORT_S
        while service.port and (sockets := kernel.listening(service.port, here=True)):
            if time.monotonic() >= until:
                other = kernel.holder(sockets, kernel.table())
                who = other.name if other else "somebody who cannot be seen"
                raise ProviderError(
                    f"{service.name} is not started", why=f"port {service.port} is held by {who}"
                )
            await asyncio.sleep(POLL_S)
        self._may_start(service)
        _forget_pidfile(service)
        pid = starting.start(service, kept.last, self._base, self._logs)
        kept.child, kept.exit = pid, ""
        proc = kernel.read(pid)
        if proc is None:
            raise ProviderError(f"{service.name} ended at once", why="its process cannot be found")
        kept.ours.add(proc.incarnation)
        kept.main, kept.believed = proc, proc.incarnation
        note = await starting.write_pidfile(service, pid)
        return Done(True, f"{service.name} was started as pid {pid}{note}", proc.incarnation)


def held(service: Service) -> str:
    """The file by which a person keeps the service down; "" when there is none."""
    return next((place for place in service.hold if os.path.lexists(place)), "")


def _pidfile(service: Service) -> tuple[int, float | None]:
    """(pid, boot clock of the writing); 0 when there is no usable one."""
    if not service.pidfile:
        return 0, None
    try:
        with Path(service.pidfile).open("rb") as file:
            text = file.read(64).split()
            written = os.fstat(file.fileno()).st_mtime
    except OSError:
        return 0, None
    pid = int(text[0]) if text and text[0].isdigit() and len(text[0]) < 10 else 0
    age_s = time.time() - written
    return (pid if pid > 1 else 0), time.clock_gettime(time.CLOCK_BOOTTIME) - age_s


def _forget_pidfile(service: Service) -> None:
    """Many programs refuse to start while an old one lies there."""
    if service.pidfile:
        with contextlib.suppress(OSError):
            Path(service.pidfile).unlink()


def _send(proc: Proc, number: int) -> None:
    """The signal, to this very process or nobody: the descriptor is pinned before its start is compared."""
    try:
        descriptor = os.pidfd_open(proc.pid)
    except OSError:
        return
    try:
        now = kernel.read(proc.pid, argv=False)
        if now is not None and now.ticks == proc.ticks:
            signal.pidfd_send_signal(descriptor, number)
            if proc.frozen and number != signal.SIGKILL:
                signal.pidfd_send_signal(descriptor, signal.SIGCONT)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise ProviderError(
            f"{proc.name} may not be signalled",
            why="it belongs to another user",
            fix="run the broker as that user",
        ) from error
    finally:
        os.close(descriptor)
