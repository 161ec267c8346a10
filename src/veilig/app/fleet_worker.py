"""How does one machine take its share of a fleet's sessions? Take, drive, tell, and renew the leases.

One loop asks the queue and keeps the leases; each session has a thread and a loop of its own, so that a long
thought of one planner does not cost the others their leases.
"""

import asyncio
import logging
import os
import platform
import time
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from veilig.app.fleet_heal import is_healing, kinds_here
from veilig.app.fleet_hold import Held
from veilig.app.fleet_joining import must_record_as_others, one_of_a_kind
from veilig.app.fleet_session import (
    Came,
    Handler,
    Ledgers,
    Site,
    default_sources,
    drive,
    key_print,
    need_kind,
)
from veilig.app.wiring import Setting
from veilig.core.clock import SystemClock
from veilig.core.errors import Fenced, LedgerError, ProviderError, UsageError, VeiligError
from veilig.home import find_home
from veilig.providers.fleet.copies import Copies
from veilig.providers.fleet.entries import LeaseLost, State, Taken
from veilig.providers.fleet.store import open_store
from veilig.providers.fleet.taking import BEAT_S, LEASE_S, Desk

log = logging.getLogger(__name__)

POLL_S: Final = 1.0  # a new session is usually told of; this is for what was not, and for paced ones
RESCUE_S: Final = 2.0
LOOK_S: Final = 0.5
COUNT_S: Final = 10.0
ASKED_S: Final = 90.0  # whoever scrapes does it more often
TRIES_MAX: Final = 8  # workers that died of one session before it is given up
SLOTS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker was told. database: where queue and ledger are. store: a folder or an address.

    drain: end when nothing is left to take. sources: where trees of the store are laid out. heal_slots:
    shards of services that are healed at once, beside the sessions in `slots`.
    """

    database: str
    setting: Setting
    slots: int = 2
    kinds: tuple[str, ...] = ("audit", "explain", "fix", "review", "run")
    store: str = ""
    sources: Path = field(default_factory=default_sources)
    drain: bool = False
    handlers: Mapping[str, Handler] = field(default_factory=dict[str, Handler])
    heal_slots: int = 0


@dataclass(slots=True)
class Seen:
    """What a worker counts; times in seconds."""

    taken: int = 0
    ended: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    waited_s: list[float] = field(default_factory=list[float])  # since the last look at it
    lasted_s: list[float] = field(default_factory=list[float])
    rescued: int = 0
    lost: int = 0
    trouble: int = 0  # attempts to reach the database that failed


class Worker:
    """One process of a fleet. `run` ends after `stop`, when every session was left between two acts."""

    def __init__(self, plan: Plan) -> None:
        if not 1 <= plan.slots <= SLOTS_MAX:
            raise UsageError(f"{plan.slots} slots", why=f"a worker has from 1 to {SLOTS_MAX}")
        if not 0 <= plan.heal_slots <= SLOTS_MAX:
            raise UsageError(f"{plan.heal_slots} heal slots", why=f"a worker has from 0 to {SLOTS_MAX}")
        for kind in plan.kinds:
            need_kind(kind, plan.handlers)
        self.plan = plan
        self.seen = Seen()
        self.name = f"{platform.node()}:{os.getpid()}"
        self._clock = SystemClock()
        self._held: dict[str, Held] = {}
        self._driven: dict[str, Held] = {}  # until the queue has been told
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._id = 0
        self._beat_s = 0.0
        self._asked_s = -ASKED_S
        self._queue: dict[tuple[str, str], tuple[int, float]] = {}

    @property
    def busy(self) -> int:
        """Sessions at work now."""
        return len(self._tasks)

    def ready(self) -> bool:
        """Whether it was heard of by the database lately and takes sessions."""
        fresh = self._clock.boottime_s() - self._beat_s < LEASE_S
        return bool(self._id) and fresh and not self._stopping

    def asked(self) -> dict[tuple[str, str], tuple[int, float]]:
        """(kind, state) of the queue -> how many, and the oldest's age in s, as last seen; empty at first.

        It is looked at while somebody asks: counting 10^5 sessions takes a busy database 40 ms.
        """
        self._asked_s = self._clock.boottime_s()
        return self._queue

    def stop(self) -> None:
        """Take nothing more, leave each session before its next act, then end."""
        self._stopping = True
        for held in self._held.values():
            held.leave()
        self._wake.set()

    async def run(self) -> None:
        """Until stopped, or drained. Raises UsageError, LedgerError, ProviderError before it begins."""
        setting = replace(self.plan.setting, patience_s=0.0)
        environment = setting.environment
        home = find_home(environment)
        store = await asyncio.to_thread(open_store, self.plan.store or str(home.path / "store"))
        identity = await asyncio.to_thread(store.identity)
        async with Desk.open(self.plan.database) as desk:
            await one_of_a_kind(desk, "store", identity, "give --store the same place everywhere")
            await one_of_a_kind(
                desk, "redact-key", key_print(home, environment), f"copy {home.path}/keys/redact.key"
            )
            ledgers = await asyncio.to_thread(Ledgers, setting, self.plan.database)
            await must_record_as_others(desk, ledgers, self.plan.database)
            site = Site(home, store, self.plan.sources, ledgers, self.plan.handlers)
            try:
                await self._work(desk, site)
            finally:
                await asyncio.to_thread(ledgers.close)

    async def _work(self, desk: Desk, site: Site) -> None:
        self._id = await desk.register()
        self._beat_s = self._clock.boottime_s()
        log.info("worker.began", extra={"worker": self.name, "slots": self.plan.slots})
        side = [
            asyncio.create_task(self._every(BEAT_S, lambda: self._beat(desk))),
            asyncio.create_task(self._every(RESCUE_S, lambda: self._rescue(desk, site.ledgers))),
            asyncio.create_task(self._every(COUNT_S, lambda: self._count(desk))),
            asyncio.create_task(self._every(0.0, lambda: desk.listen(self._wake.set))),
            asyncio.create_task(self._watch()),
        ]
        threads = ThreadPoolExecutor(self.plan.slots + self.plan.heal_slots, thread_name_prefix="session")
        try:
            await self._take_all(desk, site, threads)
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in side:
                task.cancel()
            await asyncio.gather(*side, return_exceptions=True)
            threads.shutdown(wait=False)
            if not self._tasks:
                await self._quietly(desk.unregister(self._id))
            log.info("worker.ended", extra={"worker": self.name})

    async def _take_all(self, desk: Desk, site: Site, threads: ThreadPoolExecutor) -> None:
        while not self._stopping:
            self._wake.clear()
            taken: Taken | None = None
            if kinds := self._wanted():
                sent_s = self._clock.boottime_s()
                try:
                    taken = await desk.take(self._id, self.name, kinds)
                except ProviderError as error:
                    self._troubled(error)
                    await asyncio.sleep(POLL_S)
                    continue
                if taken is not None:
                    self._begin(desk, site, threads, taken, sent_s)
                    continue
                if self.plan.drain and not self._tasks and not await self._waiting(desk):
                    return
            wake = asyncio.create_task(self._wake.wait())
            done = list(self._tasks)
            await asyncio.wait([wake, *done], timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
            wake.cancel()

    def _wanted(self) -> tuple[str, ...]:
        """The kinds for which a slot is free: what heals has slots of its own, for it has no end."""
        healing = sum(is_healing(one.taken.kind) for one in self._driven.values())
        kinds = self.plan.kinds if len(self._driven) - healing < self.plan.slots else ()
        return (*kinds, *kinds_here()) if healing < self.plan.heal_slots and not self.plan.drain else kinds

    async def _waiting(self, desk: Desk) -> bool:
        counts = await desk.counts()
        wanted = (State.QUEUED, State.WORKING)
        return any(kind in self.plan.kinds and state in wanted for kind, state in counts)

    def _begin(
        self, desk: Desk, site: Site, threads: ThreadPoolExecutor, taken: Taken, sent_s: float
    ) -> None:
        loop = asyncio.get_running_loop()

        def keep(tree: str) -> "Future[None]":
            return asyncio.run_coroutine_threadsafe(desk.keep(taken.session, taken.token, tree), loop)

        copies = Copies(site.store, site.home.session(taken.session))
        held = Held(taken, self.name, copies, keep, sent_s)
        self._held[taken.session] = self._driven[taken.session] = held
        self.seen.taken += 1
        self.seen.waited_s.append(taken.waited_s)
        task = asyncio.create_task(self._one(desk, site, threads, held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._driven.pop(taken.session, None))
        if self._stopping:
            held.leave()

    async def _one(self, desk: Desk, site: Site, threads: ThreadPoolExecutor, held: Held) -> None:
        """One session from taken to told."""
        taken, begun_s = held.taken, time.monotonic()
        told = {"session": taken.session, "kind": taken.kind, "org": taken.org, "token": taken.token}
        log.info("session.taken", extra={**told, "waited_s": round(taken.waited_s, 3), "tries": taken.tries})
        try:
            came = await self._drive(site, threads, held)
        finally:
            self._held.pop(taken.session, None)
        lasted_s = time.monotonic() - begun_s
        state = "lost" if came is None else str(came.state)
        if came is not None:
            self._held[taken.session] = held  # the lease is renewed until the queue has been told
            try:
                await self._tell(desk, site.ledgers, held, came)
            except LeaseLost:
                state = "lost"
            finally:
                self._held.pop(taken.session, None)
        self.seen.lost += state == "lost"
        self.seen.lasted_s.append(lasted_s)
        key = (taken.kind, state)
        self.seen.ended[key] = self.seen.ended.get(key, 0) + 1
        note = came.note if came else ""
        log.info("session.left", extra={**told, "state": state, "lasted_s": round(lasted_s, 3), "note": note})
        self._wake.set()

    async def _drive(self, site: Site, threads: ThreadPoolExecutor, held: Held) -> Came | None:
        """What became of it; None when the lease was lost."""
        if held.taken.tries > TRIES_MAX:
            return Came(State.FAILED, f"{TRIES_MAX} workers died while they drove it")

        def thread() -> Came:
            try:
                return asyncio.run(drive(held, site))  # its threads have ended when it returns
            finally:
                held.over()

        try:
            return await asyncio.get_running_loop().run_in_executor(threads, thread)
        except (LeaseLost, asyncio.CancelledError):
            if not held.gone:
                raise
            return None
        except Fenced as error:  # by one who held the lease before, and is stopped by now
            log.warning("session.fenced", extra={"session": held.taken.session, "why": error.what})
            return None if held.gone else Came(State.QUEUED, error.what, LEASE_S)
        except Exception as error:
            log.exception("session.broke", extra={"session": held.taken.session})
            return Came(State.FAILED, f"a fault of veilig: {type(error).__name__}: {error}"[:300])

    async def _tell(self, desk: Desk, ledgers: Ledgers, held: Held, came: Came) -> None:
        """Tell the queue, for as long as the lease stands. Raises LeaseLost."""
        org, seq = held.taken.org, 0
        if came.state is State.HELD:
            seq = await asyncio.to_thread(lambda: ledgers.of(org).size())
        # veilig: ignore[CWE-835] reason=it ends with the lease: must_hold raises then
        while True:
            held.must_hold()
            try:
                return await desk.settle(
                    held.taken, came.state, came.note, seq=seq, delay_s=came.delay_s, free=came.free
                )
            except ProviderError as error:
                self._troubled(error)
            await asyncio.sleep(LOOK_S)

    # --- beside the sessions ------------------------------------------------------------------------

    async def _every(self, pause_s: float, act: Any) -> None:
        while True:
            await asyncio.sleep(pause_s)
            if not await self._quietly(act()):
                await asyncio.sleep(POLL_S)

    async def _quietly(self, act: Coroutine[Any, Any, Any]) -> bool:
        """Whether it succeeded; a database that is away is counted and tried again."""
        try:
            await act
        except (ProviderError, LedgerError) as error:
            self._troubled(error)
            return False
        return True

    def _troubled(self, error: VeiligError) -> None:
        self.seen.trouble += 1
        log.warning("database.away", extra={"worker": self.name, "why": error.why or error.what})

    async def _beat(self, desk: Desk) -> None:
        held, sent_s = dict(self._held), self._clock.boottime_s()
        mine = await desk.beat(self._id, {name: one.taken.token for name, one in held.items()})
        self._beat_s = sent_s
        for name, one in held.items():
            if name in mine:
                one.renewed(sent_s)
            elif self._held.get(name) is one:
                one.lose()
        for name in await desk.cancelled(list(held)) if held else ():
            held[name].leave(cancelled=True)
        for name, one in held.items():
            if name in mine and one.taken.tries > 1 and one.calm():
                await desk.calm(name, one.taken.token)

    async def _count(self, desk: Desk) -> None:
        if self._clock.boottime_s() - self._asked_s < ASKED_S:
            none = {(kind, str(State.QUEUED)): (0, 0.0) for kind in self.plan.kinds}
            self._queue = none | await desk.depth()

    async def _watch(self) -> None:
        while True:
            now_s = self._clock.boottime_s()
            left_s = [one.until_s() - now_s for one in self._held.values() if not one.gone]
            await asyncio.sleep(max(0.01, min([LOOK_S, *left_s])))
            for one in list(self._held.values()):
                one.look()

    async def _rescue(self, desk: Desk, ledgers: Ledgers) -> None:
        """Put back what dead workers had, and what people have answered."""
        self.seen.rescued += await desk.rescue()
        if held := await desk.held():
            for session in await asyncio.to_thread(_answered, ledgers, held):
                await desk.again(session)


def _answered(ledgers: Ledgers, held: Mapping[str, tuple[str, int]]) -> list[str]:
    """Those of the held sessions (-> org, size of the ledger then) to which people said something since.

    An org whose ledger cannot be read keeps nobody else waiting: it is said, and asked again next time.
    """
    names = ("approval.voted", "session.told")
    found: list[str] = []
    unread: set[str] = set()
    for session, (org, seq) in held.items():
        if org in unread:
            continue
        try:
            said = ledgers.of(org).events(session=session, after=seq, names=names)
            found += [session] if next(said, None) is not None else []
        except LedgerError as error:
            unread.add(org)
            log.warning("ledger.unread", extra={"org": org, "why": error.why or error.what})
    return found
