"""What is seen of all services, from one moment to the next? Sampler: looks, probes, counts, makes samples.

Three rhythms run side by side, so that none waits for another: each service is probed by itself, its needs
are asked by themselves, and a look (its keeper's word, /proc, logs, files, disks) takes all services at once.
The end of a process wakes the look. Nothing here judges, and nothing here changes anything but the record of
good states.
"""

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from veilig.core.clock import Clock
from veilig.core.errors import VeiligError
from veilig.core.service import Inventory
from veilig.core.signal import Answer, LogKind, Run, Sample
from veilig.providers.heal import proc
from veilig.providers.heal.disk import disks, fullness
from veilig.providers.heal.good import GoodStates
from veilig.providers.heal.logs import Log
from veilig.providers.heal.probes import Probe, Seal, probe
from veilig.providers.heal.sampler_life import Life
from veilig.providers.heal.sampler_needs import Needs
from veilig.providers.heal.sampler_ports import Ports
from veilig.providers.heal.substrate import Seen

CALM_S = 1.0  # between two looks, and two probes of one service
TROUBLE_S = 0.25  # while any service is in trouble
STAGGER_S = 0.75  # without an answer for so long, it is asked a second time meanwhile
PROBES_MAX = 3  # questions to one service at a time
NEEDS_S = 0.25  # between two looks at the needs of one in trouble
LONG_TROUBLE = ((60.0, 1.0), (10.0, 0.5))  # trouble that lasts is looked at less often
SLOW_LOOK_S = 5.0  # files, sockets, disks and needs of a service that is well
QUICK_LOOK_S = 1.0  # the same of one in trouble
FRESH_S = 2.0  # trouble so young is looked at as closely as can be
QUERY_CHARS = 200  # of a statement, for people
LOOK_TIMEOUT_S = 5.0  # for the keepers; one that takes longer cannot be seen

log = logging.getLogger(__name__)


class Looked(Protocol):
    """What a look of the keepers gives. starts, own: boot times by service, where somebody counts them."""

    @property
    def seen(self) -> Sequence[Seen]: ...
    @property
    def starts(self) -> Mapping[str, tuple[float, ...]]: ...
    @property
    def own(self) -> Mapping[str, tuple[float, ...]]: ...


type Look = Callable[[], Awaitable[Looked]]
type Alerts = Callable[[str], tuple[str, ...]]


async def _either(event: asyncio.Event, timeout_s: float) -> None:
    """Until the event is set, or so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


class Sampler:
    """Samples of all services of one inventory, kept up to date by tasks of its own until `close`.

    look: asks the keepers, in the inventory's order. good: where good states are recorded (None: nowhere).
    alerts: fingerprints of alerts that name a service. news: called after each look.
    """

    def __init__(
        self,
        inventory: Inventory,
        look: Look,
        clock: Clock,
        *,
        good: GoodStates | None = None,
        seal: Seal = str,
        alerts: Alerts = lambda _name: (),
        news: Callable[[], None] = lambda: None,
    ) -> None:
        self.inventory = inventory
        self.samples: dict[str, Sample] = {}
        self.notes: dict[str, str] = {}
        self.more_notes: Callable[[], Sequence[str]] = tuple  # of those who feed it from outside
        self.ready = asyncio.Event()
        self._look, self._clock, self._good, self._alerts, self._news = look, clock, good, alerts, news
        self._seal = seal
        self._lives = {
            one.name: Life(one, Log(one.log, seal), Seen(one.name, Run.UNKNOWN)) for one in inventory.services
        }
        self._needs = Needs(inventory, self._state_of)
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._looked: Looked | None = None
        self._error: BaseException | None = None
        self._ports = Ports(seal)
        self._exits: dict[str, tuple[str, int]] = {}

    async def start(self) -> None:
        """Begin to look. Calling it again does nothing."""
        if self._tasks:
            return
        looking = asyncio.create_task(self._looking())
        looking.add_done_callback(lambda _: self.ready.set())  # who waits for a look must not wait in vain
        self._tasks.append(looking)
        for life in self._lives.values():
            if life.asks:
                self._tasks.append(asyncio.create_task(self._probing(life)))
            self._tasks.append(asyncio.create_task(self._asking(life)))

    async def close(self) -> None:
        """Stop looking; services go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for _, descriptor in self._exits.values():
            self._let_go(descriptor)
        self._exits.clear()

    def failure(self) -> BaseException | None:
        """Why looking ended, when it did; who waits for news must be told."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        return next((error for task in ended if (error := task.exception()) is not None), self._error)

    def slow(self, name: str) -> bool:
        """It answers well, but takes much longer than usual."""
        return name in self._lives and self._lives[name].slow

    def all_notes(self) -> list[str]:
        """What could not be seen, read or kept, and why."""
        found = [*self.inventory.notes, *self.notes.values(), *self.more_notes()]
        for name, life in self._lives.items():
            found += [f"{name}: {note}" for note in life.log.notes.values()]
            if life.log.skipped_bytes:
                found.append(f"{name}: {life.log.skipped_bytes} bytes of its log came too fast to be read")
        if self._good is not None:
            found += [*self._good.notes.values(), *self._good.files.notes.values()]
        return found

    def look_again(self) -> None:
        """Look now: something happened."""
        self._wake.set()

    def note_own(self, service: str, incarnation: str) -> None:
        """This incarnation was started by us."""
        if service in self._lives:
            self._lives[service].own.add(incarnation)
        self.look_again()

    # --- rhythms ------------------------------------------------------------------------------------

    async def _looking(self) -> None:
        while True:
            self._wake.clear()
            await self.look()
            await _either(self._wake, self._pause_s())

    async def _probing(self, life: Life) -> None:
        """Ask one service for ever. While it does not answer it is asked again beside the first question.

        Each question gets its full time; three that hang tell in half the time that three in a row need.
        """
        flying: set[asyncio.Task[None]] = set()
        try:
            await asyncio.sleep(random.uniform(0, 0.1))
            while True:
                life.again.clear()
                asked = asyncio.create_task(self._probe(life))
                flying.add(asked)
                asked.add_done_callback(flying.discard)
                asked.add_done_callback(self._probed)
                await asyncio.wait((asked,), timeout=STAGGER_S)
                if not asked.done():
                    if len(flying) >= PROBES_MAX:
                        await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                    continue
                pause_s = max(TROUBLE_S if life.fails or life.slow else CALM_S, self._trouble_s(life))
                await _either(life.again, pause_s * random.uniform(0.9, 1.1))
        finally:
            for task in flying:
                task.cancel()

    def _probed(self, asked: asyncio.Task[None]) -> None:
        if not asked.cancelled() and (error := asked.exception()) is not None:
            self._error = error

    async def _probe(self, life: Life) -> None:
        begun_s = self._clock.boottime_s()
        alive = life.seen.incarnation
        result = await probe(life.service, self._seal)
        if life.seen.incarnation != alive and result.answer != Answer.OK:
            life.again.set()  # a former life was asked
        elif life.answered(result, begun_s) or life.fails == 2 or life.slow:
            self.look_again()

    async def _asking(self, life: Life) -> None:
        """The needs of one service: each some seconds, and soon again while it is in trouble."""
        while True:
            found = await self._needs.look(life.service)
            if [(one.name, one.up) for one in found] != [(one.name, one.up) for one in life.needs]:
                self.look_again()
            life.needs = found
            if life.bad.is_set():
                await asyncio.sleep(max(NEEDS_S, self._trouble_s(life)))
            else:
                await _either(life.bad, SLOW_LOOK_S)

    def _pause_s(self) -> float:
        waits = [self._trouble_s(life) for life in self._lives.values() if life.trouble_since_s is not None]
        return min(waits, default=CALM_S) * random.uniform(0.9, 1.1)

    def _trouble_s(self, life: Life) -> float:
        """How long to wait between two looks at a service in trouble: longer when the trouble is old."""
        since_s = life.trouble_since_s
        for_s = self._clock.boottime_s() - since_s if since_s is not None else 0.0
        return next((pause_s for after_s, pause_s in LONG_TROUBLE if for_s >= after_s), TROUBLE_S)

    # --- one look -----------------------------------------------------------------------------------

    async def look(self) -> None:
        """Look at all services once and make their samples anew."""
        seen = await self._ask_keepers()
        now_s = self._clock.boottime_s()
        table = proc.table()
        for life in self._lives.values():
            self._measure(life, seen[life.service.name], table, now_s)
            self._watch_exit(life)
        for life in self._lives.values():
            self.samples[life.service.name] = self._sample(life, now_s)
        if all(life.asked or not life.asks for life in self._lives.values()):
            self.ready.set()
        self._news()

    async def _ask_keepers(self) -> dict[str, Seen]:
        """The keepers' word on each service; where they say nothing it cannot be seen."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                self._looked = await self._look()
            self.notes.pop("keepers", None)
            found = {seen.service: seen for seen in self._looked.seen}
        except (VeiligError, TimeoutError) as error:
            why = str(error) or f"no answer within {LOOK_TIMEOUT_S:g} s"
            self.notes["keepers"] = f"services cannot be seen: {why}"
            found = {}
        missing = self.notes.get("keepers", "its keeper does not name it")
        return {
            name: found.get(name) or Seen(name, Run.UNKNOWN, missing, incarnation=life.seen.incarnation)
            for name, life in self._lives.items()
        }

    def _measure(self, life: Life, seen: Seen, table: proc.Table, now_s: float) -> None:
        before = life.seen
        fresh = life.see(seen, now_s)
        if fresh:
            life.log.begin()
        life.log.read(now_s, history=not self.samples and seen.run in (Run.DOWN, Run.UNKNOWN))
        if before.incarnation and not seen.incarnation:
            life.log.close_line(now_s)
        life.weigh(table.tree(seen.pids), now_s)
        changed = fresh or before.run != seen.run
        bad = not life.well
        life.trouble_since_s = (life.trouble_since_s or now_s) if bad else None
        (life.bad.set if bad else life.bad.clear)()
        due_s = QUICK_LOOK_S if bad or life.growth or life.slow else SLOW_LOOK_S
        if life.trouble_since_s is not None and now_s - life.trouble_since_s < FRESH_S:
            due_s = TROUBLE_S  # what caused it is still happening: whoever took its port, a file half written
        if changed or now_s - life.looked_at_s >= due_s:
            life.looked_at_s = now_s - random.uniform(0, 0.2) * due_s
            self._slow_look(life, now_s)
        # Before its first answer nobody knows how it is.
        if self._good is not None and seen.run is not Run.UNKNOWN and (life.asked or not life.asks):
            self._good.note(
                life.service,
                incarnation=seen.incarnation,
                started_s=seen.started_s,
                now_s=now_s,
                well=life.well,
            )

    def _slow_look(self, life: Life, now_s: float) -> None:
        """What costs more: changed files, disks, open files, sockets."""
        if self._good is not None:
            life.changes, life.changes_at_s = self._good.changes(life.service), self._clock.boottime_s()
        told = any(hit.kind == LogKind.DISK for hit in life.log.hits(now_s))
        written = replace(life.service, log=life.log.paths)
        life.disks = disks(written)
        if max(map(fullness, life.disks), default=0) >= (1 if told or not life.well else 2):
            life.disks = disks(written, deep=True)
        self._ports.look(life, now_s)
        if life.well:
            self._needs.connected(life.service, life.connections)

    # --- the end of a process -----------------------------------------------------------------------

    def _watch_exit(self, life: Life) -> None:
        """Be woken when the main process ends, where the kernel tells (a pidfd is readable then)."""
        name, seen = life.service.name, life.seen
        known = self._exits.get(name)
        if known is not None and known[0] == seen.incarnation:
            return
        if known is not None:
            self._let_go(known[1])
            del self._exits[name]
        if not seen.pids or not seen.incarnation:
            return
        try:
            descriptor = os.pidfd_open(seen.pids[0])
        except OSError:
            return  # it ended already, or runs where we cannot look: the next look says so
        self._exits[name] = (seen.incarnation, descriptor)
        asyncio.get_running_loop().add_reader(descriptor, self._ended, name)

    def _ended(self, name: str) -> None:
        known = self._exits.pop(name, None)
        if known is not None:
            self._let_go(known[1])
        self.look_again()

    @staticmethod
    def _let_go(descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)

    # --- samples ------------------------------------------------------------------------------------

    def _state_of(self, name: str) -> tuple[bool, str]:
        """Is this service there for those who need it? One failed probe is not enough to say no."""
        sample, life = self.samples.get(name), self._lives[name]
        if sample is None:
            return True, ""
        if not sample.alive:
            return False, f"{name} is {sample.run}"
        if sample.failing and life.fails >= 2:
            return False, f"{name} answers with {sample.status or sample.answer}"
        return True, ""

    def _sample(self, life: Life, now_s: float) -> Sample:
        service, seen, looked = life.service, life.seen, self._looked
        answer = life.probe or Probe(Answer.NONE)
        counted = tuple(looked.starts.get(service.name, ())) if looked else ()
        own = tuple(looked.own.get(service.name, ())) if looked else ()
        starts = counted or tuple(life.starts)
        if not own and seen.incarnation in life.own:
            own = (seen.started_s,)
        return Sample(
            service=service.name,
            t_s=round(now_s, 3),
            run=life.run,
            why=self._seal(seen.why or seen.text),
            incarnation=seen.incarnation,
            up_s=round(max(now_s - seen.started_s, 0.0), 2) if seen.incarnation and seen.started_s else 0.0,
            exit=seen.exit,
            starts=starts,
            own_starts=own,
            answer=answer.answer,
            status=answer.status,
            said=answer.said,
            answer_for_s=round(now_s - life.answer_since_s, 2) if life.probe else 0.0,
            fails=life.fails,
            latency_ms=life.latency_ms,
            port_holder=life.port_holder,
            backlog=life.backlog,
            rss_bytes=life.rss_bytes,
            rss_slope=life.slope,
            rss_base_bytes=life.base_bytes,
            cpu=life.cpu_share(now_s),
            fds=life.fds[0],
            fds_max=life.fds[1],
            threads=life.threads,
            log=life.log.hits(now_s),
            changes=seen.changes
            or tuple(
                replace(one, age_s=round(one.age_s + now_s - life.changes_at_s, 2)) for one in life.changes
            ),
            good=seen.good or (self._good.digest(service) if self._good is not None else ""),
            needs=life.needs,
            disks=life.disks,
            held_by=seen.held_by,
            replicas=seen.replicas,
            replicas_own=seen.replicas_own,
            alerts=self._alerts(service.name),
            gauges=seen.gauges,
            backends=tuple(replace(one, query=self._seal(one.query)[:QUERY_CHARS]) for one in seen.backends),
        )
