"""How does a planner read again what it was shown the ends of only? From the ledger, as it stands there."""

import asyncio
from collections.abc import Callable

from veilig.core.action import Action, ReadOutput
from veilig.core.action_json import digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.provider import Found, Outcome, Permit, Status, must_fit


class OutputsProvider:
    """Performs output.read. `said`: what an act of this session said, None for an unknown one."""

    kinds = frozenset({"output.read"})

    def __init__(self, clock: Clock, said: Callable[[str], str | None]) -> None:
        self._clock = clock
        self._said = said

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """The whole text."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        if not isinstance(action, ReadOutput):
            raise ProviderError(
                f"output.read does not perform {action.kind}", why="the gate was wired wrongly"
            )
        text = await asyncio.to_thread(self._said, action.ref)
        if text is None:
            return Outcome(False, f"this session has no act {action.ref!r}", Status.FAILED)
        return Outcome(True, text)

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """A look changes nothing."""
        del action, permit
        return outcome

    async def inspect(self, action: Action) -> Found:
        """A look may be repeated."""
        del action
        return Found.NOT_DONE
