"""How do many requests share one look at a far ledger? Each waits for a look that began after it asked.

So what another process recorded before a request came is known to that request, and a hundred requests at
once cost the database two looks. Where the database is away, nobody waits for long: LOOK_S, and then not at
all until a look has come back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from veilig.core.errors import LedgerError

LOOK_S: Final = 5.0  # a request that has to wait for longer is refused


class SharedLook:
    """Runs `look` for all who wait, one at a time. look: raises LedgerError."""

    def __init__(self, look: Callable[[], Awaitable[None]], wait_s: float = LOOK_S) -> None:
        self._look = look
        self._wait_s = wait_s
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._began_s = 0.0

    async def fresh(self) -> None:
        """Return once a look that began after this call has ended. Raises LedgerError, also after LOOK_S."""
        if self._running is not None and time.monotonic() - self._began_s > self._wait_s:
            raise _away(self._wait_s)
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        await in_time(self._next, self._wait_s)

    async def _after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next, self._began_s = asyncio.current_task(), None, time.monotonic()
        try:
            await self._look()
        finally:
            self._running = None


async def in_time[T](task: asyncio.Task[T], wait_s: float = LOOK_S) -> T:
    """What the task returns. It goes on when `wait_s` is over. Raises LedgerError then."""
    task.add_done_callback(_seen)
    try:
        async with asyncio.timeout(wait_s):
            return await asyncio.shield(task)
    except TimeoutError as error:
        raise _away(wait_s) from error


def _seen(task: asyncio.Task[Any]) -> None:
    """An error of a task for which nobody waits any more is nobody's."""
    if not task.cancelled():
        task.exception()


def _away(wait_s: float) -> LedgerError:
    return LedgerError(
        "the record cannot be reached",
        why=f"its database has not answered for {wait_s:.0f} s",
        fix="look at the database; nothing is let through meanwhile",
        retry_after_s=wait_s,
    )
