"""What binds a session to the worker that drives it? Its lease: no act, record or kept copy without it.

The lease is a promise of the database until a moment; here that moment is known by this machine's own clock,
counted from before the question. Whoever cannot renew it in time stops before anybody else may begin: by
itself while it runs, by the kernel when it does not, for as long as an act is under way.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from veilig.core.action import Action
from veilig.core.clock import Clock, SystemClock
from veilig.core.errors import ProviderError, VeiligError
from veilig.core.gate import ACTING
from veilig.core.ledger import Ledger
from veilig.core.lock import SessionLock
from veilig.core.provider import Found, Outcome, Permit, Provider, Shows
from veilig.providers.fleet.copies import Copies
from veilig.providers.fleet.deadline import Deadline
from veilig.providers.fleet.entries import LeaseLost, Taken
from veilig.providers.fleet.taking import LEASE_S, lost

log = logging.getLogger(__name__)

MARGIN_S: Final = 1.0  # of the lease: what a cancelled act takes to notice
KILL_S: Final = 0.9  # of that margin: an act that has not ended then ends with its process
CALM_S: Final = 600.0
AGAIN_S: Final = 1.0  # between two attempts to keep a copy
KEEP_S: Final = 60.0  # so long is tried to keep what an act changed; then somebody else verifies it

type Keep = Callable[[str], "Future[None]"]


class Threads(ThreadPoolExecutor):
    """The threads of a session's loop: which of them has an act begun, and a cancelled one left behind?"""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="act")
        self._of_acts: set[Future[Any]] = set()

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """As every executor."""
        future = super().submit(fn, *args, **kwargs)
        if ACTING.get():
            self._of_acts.add(future)
            future.add_done_callback(self._of_acts.discard)
        return future

    @property
    def acting(self) -> bool:
        """Whether a thread that an act began is at work still."""
        return bool(self._of_acts)


class Held:
    """A session in the hands of this worker; its own thread drives it, the worker's loop renews the lease."""

    def __init__(
        self, taken: Taken, worker: str, copies: Copies, keep: Keep, sent_s: float, clock: Clock | None = None
    ) -> None:
        """keep: tells the database which tree of the store the copy is. sent_s: when the lease was asked."""
        self.taken = taken
        self._worker = worker
        self.copies = copies
        self._keep = keep
        self._clock: Clock = clock or SystemClock()
        self._until_s = sent_s + LEASE_S - MARGIN_S
        self._calm_s = sent_s + CALM_S
        self._leave = threading.Event()
        self._gone = threading.Event()
        self._guard = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._tree = taken.tree
        self._acting = 0
        self._threads = Threads()
        self._deadline: Deadline | None = None
        self.cancelled = False
        self.acts = 0

    # --- the worker's side --------------------------------------------------------------------------

    def renewed(self, sent_s: float) -> None:
        """The lease stands: it was asked for at `sent_s` of the boot clock."""
        with self._guard:
            self._until_s = sent_s + LEASE_S - MARGIN_S
            if self._deadline is not None and self._acting and not self._gone.is_set():
                self._deadline.at(self._until_s + KILL_S)

    def look(self) -> bool:
        """Whether the lease stands still; the session is stopped where it is when not."""
        if not self._gone.is_set() and self._clock.boottime_s() >= self._until_s:
            self.lose()
        return not self._gone.is_set()

    def calm(self) -> bool:
        """True once, when it has been driven for so long that nobody who died before died of it."""
        if self._calm_s and self._clock.boottime_s() > self._calm_s:
            self._calm_s = 0.0
            return True
        return False

    def lose(self) -> None:
        """Stop at once, even inside an act: it is in doubt then, and whoever goes on verifies it."""
        if not self._gone.is_set():
            log.warning("lease.lost", extra={"session": self.taken.session, "token": self.taken.token})
        self._gone.set()
        with self._guard:
            if self._running is not None:
                loop, task = self._running
                if not loop.is_closed():
                    loop.call_soon_threadsafe(task.cancel)

    def leave(self, *, cancelled: bool = False) -> None:
        """Stop before the next act."""
        self.cancelled = self.cancelled or cancelled
        self._leave.set()

    @property
    def gone(self) -> bool:
        """Whether the lease is lost."""
        return self._gone.is_set()

    def over(self) -> None:
        """Nothing of the session runs any more on this machine, no thread of an act either."""
        with self._guard:
            if self._deadline is not None:
                self._deadline.close()
                self._deadline = None

    # --- the session's side -------------------------------------------------------------------------

    def begin(self) -> None:
        """This task drives the session from now on. Raises LeaseLost."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        loop.set_default_executor(self._threads)
        with self._guard:
            if task is not None:
                self._running = (loop, task)
        self.must_hold()

    def end(self) -> None:
        """Nothing is left to be stopped."""
        with self._guard:
            self._running = None

    def bring(self) -> None:
        """Bring the session's folder to this machine, as it was kept; empty when nothing was.

        Raises LeaseLost, ProviderError, and SessionError (later) while a process of this machine drives it.
        """
        with SessionLock(self.copies.folder):
            self.must_hold()
            if self._tree:
                self.copies.restore(self._tree)
            else:
                self.copies.empty()

    def must_hold(self) -> None:
        """Raises LeaseLost once the lease may be another's."""
        if not self.look():
            raise lost(self.taken.session)

    def until_s(self) -> float:
        """When the lease ends, in seconds of the boot clock, if it is not renewed."""
        return self._until_s

    def acts_now(self) -> None:
        """From now on the process does not outlive the lease. Raises LeaseLost, ProviderError."""
        self.must_hold()
        with self._guard:
            if self._deadline is None:
                self._deadline = Deadline()
            self._acting += 1
            self._deadline.at(self._until_s + KILL_S)

    def acted(self, *, cancelled: bool = False) -> None:
        """An act has ended. One that was cancelled may have left a thread: then only `over` tells."""
        if cancelled and self._threads.acting:
            return
        with self._guard:
            self._acting -= 1
            if self._deadline is not None and not self._acting:
                self._deadline.clear()

    def fence(self, ledger: Ledger) -> Ledger:
        """The ledger for nobody but this holder. Raises LeaseLost when the lease ended meanwhile."""
        token = ledger.transact(lambda tx: tx.lease(self.taken.session, self._worker))
        self.must_hold()  # whoever slept before that line may have fenced off the rightful one
        return ledger.fenced(self.taken.session, token)

    def around(self, provider: Provider) -> Provider:
        """The same provider under the lease."""
        return _LeasedShowing(provider, self) if isinstance(provider, Shows) else _Leased(provider, self)

    def leaving(self) -> bool:
        """Whether the session is to be left before its next act."""
        return self._leave.is_set() or not self.look()

    async def kept(self) -> None:
        """Bring what the last act changed into the store, and say so. Raises LeaseLost, ProviderError."""
        self.acts += 1
        end = time.monotonic() + KEEP_S
        while True:
            try:
                saved = await asyncio.to_thread(self.copies.save)
                if saved.tree != self._tree:
                    await asyncio.wrap_future(self._keep(saved.tree))
                    self._tree = saved.tree
                return
            except LeaseLost:
                self.lose()
                raise
            except ProviderError as error:
                if error.retry_after_s is None or time.monotonic() >= end:
                    raise
            await asyncio.sleep(AGAIN_S)


class _Leased:
    """A provider that acts under a lease, and whose changes are kept before they are told."""

    def __init__(self, inner: Provider, held: Held) -> None:
        self._inner = inner
        self._held = held

    @property
    def kinds(self) -> frozenset[str]:
        """Those of the provider inside."""
        return self._inner.kinds

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """As the provider inside does it, not later than the lease lasts."""
        await self._still()
        self._held.acts_now()
        deadline_s = min(permit.deadline_s, self._held.until_s())
        try:
            outcome = await self._inner.perform(action, replace(permit, deadline_s=deadline_s))
        except asyncio.CancelledError:
            self._held.acted(cancelled=True)
            raise
        except VeiligError:
            self._held.acted()
            await self._keep()  # it failed, and what it did until then is there
            raise
        self._held.acted()
        return outcome

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """As the provider inside sees it; then the copy is kept."""
        outcome = await self._inner.verify(action, outcome, permit)
        await self._keep()
        return outcome

    async def inspect(self, action: Action) -> Found:
        """As the provider inside."""
        await self._still()
        return await self._inner.inspect(action)

    async def _still(self) -> None:
        if not self._held.look():
            await _stop()

    async def _keep(self) -> None:
        try:
            await self._held.kept()
        except VeiligError:
            # Not told as a result: the act stays in doubt, and whoever goes on finds out what came of it.
            self._held.lose()
            await _stop()


class _LeasedShowing(_Leased):
    async def show(self, action: Action) -> str:
        """As the provider inside."""
        if not isinstance(self._inner, Shows):
            return ""
        return await self._inner.show(action)


async def _stop() -> None:
    """End the task that runs this, as if somebody else had cancelled it: no outcome is recorded."""
    task = asyncio.current_task()
    if task is not None:
        task.cancel()
    await asyncio.sleep(0)
    raise asyncio.CancelledError
