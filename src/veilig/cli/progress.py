"""What does a person see while a session runs? First the wall and the law, then what it is doing."""

import sys
import time
from typing import TextIO

from veilig.cli.style import Style, cut, printable
from veilig.core.action import Action, ApplyPatch, CommitBranch
from veilig.core.provider import Outcome, Request, Vote

WORDS = {
    "workspace.open": "copying",
    "audit.scan": "reading the code",
    "tests.run": "running the tests",
    "repair.propose": "looking for known repairs",
    "repair.search": "searching for an edit",
    "history.read": "reading the history",
    "model.ask": "asking the model",
    "file.patch": "trying an edit",
    "file.write": "trying an edit",
    "file.delete": "taking a file back",
    "workspace.diff": "making the diff",
    "workspace.apply": "writing to your tree",
    "git.branch": "committing the branch",
}


class Progress:
    """Prints the header once and keeps one live line on a terminal."""

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        self.stream = stream
        self.style = Style(stream)
        self.quiet = quiet
        self.law = ""
        self.session = ""
        self._begun_s = time.monotonic()
        self._wall_shown = False

    def began(self, session: str, law: str) -> None:
        """The session has an id and a law."""
        self.law = law
        self.session = session

    def wall(self, wall: object) -> None:
        """A wall stands: say which, what it does not hold, and the law."""
        name = str(getattr(wall, "name", ""))
        missing = getattr(wall, "missing", ())
        if self.quiet:
            return
        self._clear()
        lacks = f", not held: {', '.join(str(f) for f, _ in missing)}" if missing else ""
        print(f"wall    {name}, no network{lacks}      law  {self.law}", file=self.stream)

    def proposed(self, action: Action) -> None:
        """An action is on its way."""
        if self.quiet or not self.style.live:
            return
        word = WORDS.get(action.kind, action.kind)
        title = str(getattr(action, "title", ""))
        elapsed_s = time.monotonic() - self._begun_s
        line = cut(f"  {elapsed_s:5.1f} s  {word}  {printable(title)}", 110)
        self.stream.write(f"\r\x1b[K{self.style('dim', line)}")
        self.stream.flush()

    def told(self, text: str) -> None:
        """How the running action goes, in a line that replaces the last one."""
        if self.quiet or not self.style.live:
            return
        elapsed_s = time.monotonic() - self._begun_s
        line = cut(f"  {elapsed_s:5.1f} s  {WORDS['repair.search']}  {printable(text)}", 110)
        self.stream.write(f"\r\x1b[K{self.style('dim', line)}")
        self.stream.flush()

    def noticed(self, text: str) -> None:
        """What the enforcement ladder says of this person and model."""
        self._clear()
        print(f"ladder  {printable(text)}", file=self.stream)

    def observed(self, action: Action, outcome: Outcome) -> None:
        """An action came to an end."""
        if action.kind == "tests.run" and outcome.ok and not self.quiet and not self._wall_shown:
            self._wall_shown = True
            self._clear()
            print(f"tests   {outcome.detail} in {outcome.data.get('wall_s', 0)} s", file=self.stream)

    def done(self) -> None:
        """The session is over: leave a clean line."""
        self._clear()

    def _clear(self) -> None:
        if self.style.live and not self.quiet:
            self.stream.write("\r\x1b[K")


class FlagApprover:
    """The person at the terminal gave --apply or --branch: their vote for bringing the diff back, no more."""

    async def ask(self, request: Request) -> Vote | None:
        """A yes for the delivery, nothing for any other question."""
        from veilig.core.policy import builtin_policy
        from veilig.home import local_person

        if not isinstance(request.action, ApplyPatch | CommitBranch):
            return None
        return Vote(local_person(builtin_policy()), True, "command line", " ".join(sys.argv[1:]))
