"""Who runs things behind the wall? Commands, tests, the audit, and the search for a patch."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from veilig.core.action import Action, ProposePatch, RunCommand, RunTests, ScanCode, SearchPatch
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.provider import Found, Outcome, Permit, Status, must_fit
from veilig.providers.box import Box
from veilig.providers.sandbox.wall import Reason
from veilig.providers.scanning import Scanner
from veilig.providers.searching import Searcher
from veilig.providers.testing import Tests, emitting, told
from veilig.providers.watching import Watched
from veilig.providers.workspace import Workspace


class WorkProvider:
    """Performs commands, tests, the audit, known repairs and the search for one, in the session's box.

    After a crash the box is gone with everything in it: a look (scan, propose) has changed
    nothing, what ran project code is in doubt.
    """

    def __init__(
        self,
        workspace: Workspace,
        box: Box,
        clock: Clock,
        advisories: Path | None,
        watched: Watched | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._watched = watched
        self._clock = clock
        self._box = box
        tests = Tests(box)
        scanner = Scanner(workspace, box, advisories)
        searcher = Searcher(workspace, tests, tell)
        self._tests, self._scanner, self._searcher = tests, scanner, searcher
        self.kinds = frozenset({"command.run", "tests.run", "audit.scan", "repair.propose", "repair.search"})

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """What came of it; a test that fails or a finding is a result, not a failure."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        match action:
            case RunCommand():
                outcome = await self._run(action, permit)
                if self._watched is None:
                    return outcome
                return replace(outcome, data={**outcome.data, **await asyncio.to_thread(self._watched.seen)})
            case RunTests():
                return await self._run_tests(action, permit)
            case ScanCode():
                return await self._scanner.scan(action, permit)
            case ProposePatch():
                return await self._scanner.propose(action, permit)
            case SearchPatch():
                return await self._searcher.run(action, permit)
            case _:
                raise ProviderError(
                    f"the work provider does not perform {action.kind}", why="the gate was wired wrongly"
                )

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """What a command did is its result: the wall measured it from outside."""
        del action, permit
        return outcome

    async def inspect(self, action: Action) -> Found:
        """Looks are repeated without harm; nobody can tell how far project code came."""
        await asyncio.sleep(0)
        return Found.NOT_DONE if isinstance(action, ScanCode | ProposePatch) else Found.UNKNOWN

    async def _run(self, action: RunCommand, permit: Permit) -> Outcome:
        if action.hosts:
            raise ProviderError(
                f"this wall gives no way to {', '.join(action.hosts)}",
                why="network per host is not built yet; without it a command has no network at all",
                fix="fetch what the command needs before the session",
            )
        done = await self._box.run(
            [permit.expand(word) for word in action.argv],
            cwd=action.cwd,
            env={name: permit.expand(value) for name, value in action.env},
            stdin=permit.expand(action.stdin).encode() if action.stdin else None,
            timeout_s=action.timeout_s,
            on_output=emitting(permit),
        )
        data: dict[str, JSON] = {
            "exit_code": done.exit_code if done.exit_code is not None else -1,
            "signal": done.signal or 0,
            "reason": done.reason.value,
            "wall_s": round(done.wall_s, 3),
            "cpu_s": round(done.cpu_s, 3),
            "stderr": done.stderr.decode("utf-8", "replace"),
        }
        text = done.stdout.decode("utf-8", "replace")
        if done.ok:
            return Outcome(True, text, data=data)
        why = (
            told(done)
            if done.reason is not Reason.EXITED
            else f"exit code {done.exit_code}, signal {done.signal}"
        )
        return Outcome(False, f"{text}\n{why}" if text else why, Status.FAILED, data)

    async def _run_tests(self, action: RunTests, permit: Permit) -> Outcome:
        if self._watched is None:
            return await self._tests.run(action, permit)
        before = str((await asyncio.to_thread(self._watched.seen))["tree"])
        try:
            return await self._tests.run(action, permit)
        finally:
            await asyncio.to_thread(self._watched.tidy, before)

    async def close(self) -> None:
        """Take the box down."""
        await self._box.close()
