"""What was seen last of a service that answers slowly, and when is it asked again?"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from veilig.providers.heal.substrate import Seen


@dataclass(frozen=True, slots=True)
class Pace:
    """every_s: between questions. answer_s: who waits longer is told what was seen last, for stale_s."""

    every_s: float
    answer_s: float
    stale_s: float


@dataclass(slots=True)
class Latest:
    """The last sight of one service, and the question under way."""

    seen: Seen | None = None
    at_s: float = -1e9
    asked_s: float = -1e9
    looking: asyncio.Task[Seen] | None = None

    async def look(
        self, ask: Callable[[], Coroutine[Any, Any, Seen]], pace: Pace, unknown: Seen, *, now: bool = False
    ) -> Seen:
        """What was seen at most `pace.every_s` ago; `unknown` where nothing was for `pace.stale_s`.

        now: what `ask`, begun after this call, says: a question from before an act says nothing about it.
        """
        if now and self.looking is not None:
            await asyncio.wait({self.looking})
            self.looking = None
        if self.looking is None and (now or time.monotonic() - self.asked_s >= pace.every_s):
            self.asked_s = time.monotonic()
            self.looking = asyncio.create_task(ask())
        task = self.looking
        if task is not None:
            await asyncio.wait({task}, timeout=None if now else pace.answer_s)
            if task.done() and self.looking is task:
                self.seen, self.at_s, self.looking = task.result(), time.monotonic(), None
        if self.seen is None or time.monotonic() - self.at_s > pace.stale_s:
            return unknown
        return self.seen

    async def close(self) -> None:
        """End the question under way."""
        if self.looking is not None:
            self.looking.cancel()
            await asyncio.wait({self.looking})
