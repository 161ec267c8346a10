"""How is a person at the screen asked? With exactly what would happen, and keys not hit by accident."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import Static

from veilig.cli.run_view import what_of
from veilig.cli.style import printable
from veilig.core.action import RunCommand
from veilig.core.provider import Request, Vote

if TYPE_CHECKING:
    from veilig.app import Setting

ARMED_AFTER_S = 0.5  # what was typed for something else while the question came up answers nothing
PREVIEW_LINES = 200


class Question(Static, can_focus=True):
    """The question on the screen; its keys count when it has the focus and stood for a moment."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "answer('a')", "allow once"),
        Binding("s", "answer('s')", "allow this shape, here, 1 h"),
        Binding("d", "answer('d')", "deny"),
    ]

    def __init__(self, *, decide: Callable[[str], None]) -> None:
        super().__init__("", markup=False, id="question")
        self._decide = decide
        self._asked_s = 0.0
        self.request: Request | None = None

    def put(self, request: Request | None) -> None:
        """Show this question; None: there is none."""
        self.request = request
        self._asked_s = time.monotonic()
        self.display = request is not None
        if request is not None:
            self.update(self._text(request))

    def redraw(self) -> None:
        """Count the time down."""
        if self.request is not None:
            self.update(self._text(self.request))

    def action_answer(self, key: str) -> None:
        """A key was pressed."""
        if self.request is None or time.monotonic() - self._asked_s < ARMED_AFTER_S:
            return
        if key == "s" and not grantable(self.request):
            return
        self._decide(key)

    def _text(self, request: Request) -> Text:
        left_s = max(0.0, request.expires_s - (time.monotonic() - self._asked_s))
        text = Text(f"asks    {request.action.kind}  ", style="bold yellow")
        text.append(printable(what_of(request.action)), style="bold")
        for reason in request.why:
            text.append(f"\nwhy     {printable(reason)}")
        text.append("\nscope   exactly this act, once; ")
        text.append(f"expires in {left_s / 60:.0f} min  (approval {request.approval})")
        keys = "a allow once   d deny (with a reason)"
        if grantable(request):
            keys += "   s allow this command shape in this session for 1 h"
        text.append(f"\nkeys    {keys}   Tab: to the line and back", style="bold")
        lines = request.preview.splitlines()
        for line in lines[:PREVIEW_LINES]:
            indent = len(line) - len(line.lstrip(" "))
            text.append(f"\n    {' ' * indent}{printable(line)}", style=_diff_style(line))
        if len(lines) > PREVIEW_LINES:
            left = f"{len(lines) - PREVIEW_LINES} more lines"
            text.append(f"\n    ... {left}: veilig approvals show {request.approval}")
        return text


def grantable(request: Request) -> bool:
    """Whether a standing permission of this session can answer the same question."""
    return isinstance(request.action, RunCommand)


def diff_text(diff: str) -> Text:
    """A diff whose lines keep their signs; colour only repeats them."""
    text = Text(no_wrap=True)
    for line in diff.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        text.append(f"{' ' * indent}{printable(line)}\n", style=_diff_style(line))
    return text


def _diff_style(line: str) -> str:
    if line.startswith(("+++", "---", "diff ")):
        return "bold"
    return "green" if line.startswith("+") else "red" if line.startswith("-") else ""


class ScreenApprover:
    """Asks on the screen; an answer that comes from elsewhere meanwhile counts as well."""

    def __init__(self, setting: "Setting", show: Callable[[Request | None], None]) -> None:
        self._setting = setting
        self._show = show
        self._waits: asyncio.Future[tuple[str, str]] | None = None
        self.session = ""

    async def ask(self, request: Request) -> Vote | None:
        """The vote of the person here; None when the question was settled elsewhere or expired."""
        from veilig.app import operator_policy
        from veilig.cli.asking import remember
        from veilig.home import find_home, local_person

        self._waits = asyncio.get_running_loop().create_future()
        self._show(request)
        try:
            async with asyncio.timeout(max(1.0, request.expires_s - 5)):
                key, reason = await self._waits
        except TimeoutError:
            return None
        finally:
            self._waits = None
            self._show(None)
        if not key:
            return None
        if key == "s":
            await remember(request, self.session, self._setting)
        home = find_home(self._setting.environment)
        person = local_person(operator_policy(home, self._setting))
        sealed = home.redactor(self._setting.environment).seal(reason)
        return Vote(person, key != "d", "screen", sealed)

    def answer(self, key: str, reason: str = "") -> None:
        """`a`, `s` or `d`; empty: it was settled elsewhere."""
        if self._waits is not None and not self._waits.done():
            self._waits.set_result((key, reason))
