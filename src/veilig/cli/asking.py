"""How is the person at the terminal asked? In place: what would happen, and for how long a yes holds."""

import asyncio
import select
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TextIO

from veilig.cli.style import Style, printable
from veilig.core.action import ApplyPatch, CommitBranch, RunCommand
from veilig.core.action_json import to_json
from veilig.core.provider import Request, Vote

if TYPE_CHECKING:
    from veilig.app import Setting

GRANT_S = 3600.0
LOOK_S = 0.5  # a vote from another terminal is noticed within this
_WORDS = {"y": True, "yes": True, "n": False, "no": False, "a": True}


class TerminalApprover:
    """Asks at the terminal; a delivery that the command line asked for is answered by it.

    delivers: --apply or --branch was given. remember: gives a standing grant for this session.
    answered: whether people elsewhere have voted on an approval meanwhile.
    """

    def __init__(
        self,
        *,
        delivers: bool,
        ask: bool,
        remember: Callable[[Request], Awaitable[None]],
        answered: Callable[[str], bool] = lambda _: False,
        stream: TextIO = sys.stderr,
    ) -> None:
        self._answered = answered
        self._delivers = delivers
        self._ask = ask
        self._remember = remember
        self._stream = stream
        self._style = Style(stream)

    async def ask(self, request: Request) -> Vote | None:
        """A vote of the person at this terminal, None when nobody can be asked here."""
        from veilig.core.policy import builtin_policy
        from veilig.home import local_person

        person = local_person(builtin_policy())
        if self._delivers and isinstance(request.action, ApplyPatch | CommitBranch):
            return Vote(person, True, "command line", " ".join(sys.argv[1:]))
        if not self._ask:
            return None
        word = await self._word(request)
        if word is None:
            return None
        if word == "a":
            await self._remember(request)
        return Vote(person, _WORDS[word], "terminal")

    async def _word(self, request: Request) -> str | None:
        """What the person types; None at the end of input, or when somebody elsewhere has answered."""
        over = threading.Event()
        typed = asyncio.create_task(asyncio.to_thread(self._question, request, over))
        try:
            while not typed.done():
                await asyncio.wait({typed}, timeout=LOOK_S)
                if not typed.done() and await asyncio.to_thread(self._answered, request.approval):
                    print("\n        answered elsewhere", file=self._stream)
                    over.set()
            return await typed
        finally:
            over.set()  # a reader that is left behind would keep the process alive

    def _question(self, request: Request, over: threading.Event) -> str | None:
        action = request.action
        what = " ".join(action.argv) if isinstance(action, RunCommand) else str(to_json(action))
        always = (
            ", [a]lways for this command shape in this session, 1 h" if isinstance(action, RunCommand) else ""
        )
        print(
            f"\n{self._style('warn', 'asks')}    {action.kind}  {printable(what)[:1000]}", file=self._stream
        )
        for line in request.why:
            print(f"        {printable(line)}", file=self._stream)
        minutes = round(request.expires_s / 60)
        while True:
            print(f"        [y]es, [n]o{always}  (expires in {minutes} min) > ", end="", file=self._stream)
            self._stream.flush()
            line = _line(over)
            if not line:
                return None
            word = line.strip().lower()
            if word in _WORDS and (word != "a" or always):
                return word


def _line(over: threading.Event) -> str:
    """The next line that is typed; empty at the end of input or when it is over."""
    while not over.is_set():
        if select.select([sys.stdin], [], [], 0.2)[0]:
            return sys.stdin.readline()
    return ""


def answered_elsewhere(setting: "Setting") -> Callable[[str], bool]:
    """Whether anybody has voted on an approval, from the ledger."""
    from veilig.app import votes_on

    return lambda approval: votes_on(approval, setting) > 0


async def remember(request: Request, session: str, setting: "Setting") -> None:
    """A standing grant for commands of this shape, in this session, for an hour."""
    from veilig.app import grant
    from veilig.core.grant import Grant

    action = request.action
    if isinstance(action, RunCommand):
        shape = action.argv if action.argv[0] in ("bash", "sh") else (action.argv[0], "**")
        why = "said always at the terminal"
        await grant(Grant("", "", session, action.kind, shape, "", True, 0, "", why), GRANT_S, setting)
