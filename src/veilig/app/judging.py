"""May somebody else's agent make this call? Our gate says it; the call itself is made by whoever asked.

Proposal, decision and intent stand in the ledger before the answer is given, as for an act of our own.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from veilig.agent.tools import argv_of
from veilig.app.wiring import Setting
from veilig.core.action import Action, CallTool, RunCommand
from veilig.core.action_json import digest
from veilig.core.actor import Actor, ActorKind
from veilig.core.canonical import JSON, canonical_text
from veilig.core.clock import Clock, SystemClock
from veilig.core.errors import InvalidAction
from veilig.core.gate import Gate
from veilig.core.policy import Facts
from veilig.core.provider import Found, Outcome, Permit, Status, must_fit
from veilig.home import find_home
from veilig.law import find_laws

__all__ = ["Judge", "Status"]

SHELLS = frozenset({"bash", "shell", "bash_session", "exec_command"})
LINES = ("command", "cmd", "input")  # what the tools of various harnesses call a command line


class _Elsewhere:
    """Performs nothing: the call that was allowed is made by whoever asked about it."""

    kinds = frozenset({"command.run", "mcp.call"})

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """Says that it may be made."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        return Outcome(True, "allowed; made by the agent that asked")

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """There is nothing here to look at."""
        del action, permit
        return outcome

    async def inspect(self, action: Action) -> Found:
        """Nobody here knows whether the call was made."""
        del action
        return Found.UNKNOWN


class Judge:
    """The gate for calls of tools that another program makes. `close` it at the end."""

    def __init__(self, setting: Setting, who: str) -> None:
        """who: what the ledger calls the agent. Raises PolicyError, LedgerError."""
        self._clock = SystemClock()
        home = find_home(setting.environment)
        laws = find_laws(Path(home.path), setting.policy, setting.environment)
        self.session = f"judge-{os.urandom(4).hex()}"
        self._ledger = home.open_ledger(laws.operator)
        facts = Facts(root=str(home.path))
        self._gate = Gate(
            session=self.session,
            ledger=self._ledger,
            law=laws.law(self._clock, lambda _: facts),
            providers=[_Elsewhere(self._clock)],
            redactor=home.redactor(setting.environment),
            clock=self._clock,
        )
        self._actor = Actor(f"agent:{who}", ActorKind.AGENT)

    async def ask(self, tool: str, arguments: Mapping[str, JSON]) -> Outcome:
        """DONE: it may be made; HELD: people are asked; REFUSED or FAILED: it may not, and why.

        A call that no action of ours can stand for is refused.
        """
        try:
            action = call_of(tool, arguments)
        except InvalidAction as error:
            return Outcome(False, str(error), Status.REFUSED)
        return await self._gate.submit(action, self._actor)

    async def close(self) -> None:
        """Let go of the ledger."""
        await asyncio.to_thread(self._ledger.close)


def call_of(tool: str, arguments: Mapping[str, JSON]) -> Action:
    """A command where the tool is a shell or Python, else the call of a tool. Raises InvalidAction."""
    command = next((arguments[name] for name in LINES if name in arguments), None)
    if tool in SHELLS and isinstance(command, str) and command.strip() and len(arguments) == 1:
        return RunCommand(argv_of(command))
    code = arguments.get("code") if tool == "python" else None
    if isinstance(code, str) and len(arguments) == 1:
        return RunCommand(("python3", "-c", code))
    return CallTool("inspect", tool, canonical_text(dict(arguments)))
