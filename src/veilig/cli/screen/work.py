"""What can a person at the screen do with one session? Begin it, speak to it, undo it, take its result."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from veilig.core.errors import UsageError

if TYPE_CHECKING:
    from veilig.agent.run_state import RunOptions
    from veilig.app import Ended, Setting
    from veilig.core.action import Action
    from veilig.core.provider import Approver, Outcome


class Heard:
    """The watcher of a session on the screen: the events tell the rest."""

    def __init__(self, told: Callable[[str, str], None], child: Callable[[str], None]) -> None:
        self._told = told
        self._child = child

    def began(self, session: str, law: str) -> None:
        """The session has an id and a law."""
        self._told(session, law)

    def child(self, session: str, task: str) -> "Heard":
        """The watcher of a session that this one started."""
        del task
        self._child(session)
        return self

    def wall(self, wall: object) -> None:
        """An event says so as well."""

    def proposed(self, action: "Action") -> None:
        """An event says so as well."""

    def observed(self, action: "Action", outcome: "Outcome") -> None:
        """An event says so as well."""


class Work:
    """One session, and who drives it now. `began` is told its id and law each time that it goes on."""

    def __init__(
        self,
        options: "RunOptions | None",
        setting: "Setting",
        approver: "Approver",
        began: Callable[[str, str], None],
        child: Callable[[str], None],
        session: str = "",
    ) -> None:
        self._options = options
        self._setting = setting
        self._approver = approver
        self._watcher = Heard(self._began, child)
        self._tell_began = began
        self.session = session
        self.ended: Ended | None = None
        self.driven = False  # whether anything was begun here
        self.seconds = 0.0
        self._task: asyncio.Task[Ended] | None = None

    @property
    def busy(self) -> bool:
        """Whether it is being worked on."""
        return self._task is not None and not self._task.done()

    async def words(self, text: str) -> "Ended | None":
        """A task, something more to say, or words for a model at work (None then)."""
        from veilig.app import run_task, say, tell

        if self.busy:
            await tell(self.session, text, self._setting)
            return None
        if self.session:
            return await self._drive(say(self.session, text, self._setting, self._watcher, self._approver))
        if self._options is None:
            raise UsageError("there is no session to speak to")
        return await self._drive(
            run_task(replace(self._options, task=text), self._setting, self._watcher, self._approver)
        )

    async def resume(self) -> "Ended | None":
        """Go on where it stopped."""
        from veilig.app import resume

        self._must_rest()
        return await self._drive(resume(self.session, self._setting, self._watcher, self._approver))

    async def deliver(self, how: str) -> "Ended | None":
        """Bring the proven diff to the user's tree ("apply") or a branch ("branch:NAME")."""
        from veilig.app import bring_back

        self._must_rest()
        return await self._drive(bring_back(self.session, how, self._setting, self._watcher, self._approver))

    async def undo(self, answers: int) -> "Ended | None":
        """Take back the last answers of the model, with what they did to the files; stops it first."""
        from veilig.app import moments, rewind

        await self.stop()
        self._must_rest()
        known = await asyncio.to_thread(moments, self.session, self._setting)
        to = len(known) - answers + 1
        if not 1 <= to <= len(known):
            raise UsageError(f"there are {len(known)} answers to take back, not {answers}")
        return await self._drive(rewind(self.session, to, "", self._setting, self._watcher))

    async def stop(self) -> None:
        """End what is under way; an act that it interrupts is looked at when the session goes on."""
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    def changes(self) -> str:
        """How the copy differs now."""
        from veilig.app import changes_now

        return changes_now(self.session, self._setting) if self.session else ""

    def _must_rest(self) -> None:
        if not self.session:
            raise UsageError("there is no session yet", fix="type a task")
        if self.busy:
            raise UsageError("the session is at work", fix="Ctrl-C stops it")

    def _began(self, session: str, law: str) -> None:
        self.session = session
        self._tell_began(session, law)

    async def _drive(self, work: "Coroutine[Any, Any, Ended]") -> "Ended | None":
        self._task, self.driven = asyncio.ensure_future(work), True
        begun_s = time.monotonic()
        try:
            self.ended = await asyncio.shield(self._task)
        except asyncio.CancelledError:
            if not self._task.cancelled():
                raise
            self.ended = None
        finally:
            self.seconds = round(self.seconds + time.monotonic() - begun_s, 1)
        return self.ended
