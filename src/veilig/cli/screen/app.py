"""What stands on the screen, and what does each key do? Timeline, diff, plan, question, a line to type."""

import asyncio
import shlex
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.events import Resize
from textual.widgets import ContentSwitcher, DataTable, Footer, Input, Static

from veilig.cli.screen.question import Question, ScreenApprover, diff_text
from veilig.cli.screen.shown import Row, Shown
from veilig.cli.screen.work import Work
from veilig.cli.style import cut, printable
from veilig.core.errors import VeiligError
from veilig.core.provider import Request

if TYPE_CHECKING:
    from veilig.agent.run_state import RunOptions
    from veilig.app import Setting
    from veilig.home import Home

COLUMNS = {"": 4, "act": 10, "what": 29, "verdict": 8, "rule": 18, "end": 9}  # 78: a scroll bar takes two
DRAW_S = 0.1
HELP = """\
Type a task, or something more to say: a model at work hears it with its next question; it approves nothing.

/undo [N]       take back the model's last N answers, with what they did to the files (Ctrl-Z: one)
/resume         go on where it stopped            /stop      stop what is under way (Ctrl-C)
/apply          bring the proven diff to your tree; you are asked first, with the diff
/branch NAME    the same as a commit on a new branch
/quit           leave (Ctrl-Q); the session stays, `veilig resume SESSION` goes on with it

F1 this help   F2 timeline   F3 diff   F4 plan   Tab between the line, the timeline and a question
A question has its own keys: a allow once, s allow this command shape in this session for 1 h, d deny.
"""
_COLOURS = {
    "allow": "green", "ask": "yellow", "deny": "red",
    "ok": "green", "done": "green", "refused": "red",
    "failed": "yellow", "waits": "yellow", "in doubt": "yellow",
}  # fmt: skip


class WorkScreen(App[None]):
    """A session on the screen. `begin`: a first task; `start` says what a typed task becomes."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "veilig"
    CSS = """
    #status { height: 1; background: $panel; }
    #views { height: 1fr; }
    #acts { height: 2fr; }
    #detail { height: 1fr; min-height: 4; border-top: solid $panel; }
    #question { display: none; height: auto; max-height: 60%; overflow-y: auto; border: round $warning; }
    #question:focus { border: heavy $warning; }
    #note { height: auto; max-height: 3; }
    #line { height: 1; border: none; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "stop", "stop", priority=True),
        Binding("ctrl+q", "leave", "leave", priority=True),
        Binding("ctrl+z", "undo", "undo", priority=True),
        Binding("f1", "view('help')", "help"),
        Binding("f2", "view('timeline')", "timeline"),
        Binding("f3", "view('diff')", "diff"),
        Binding("f4", "view('plan')", "plan"),
    ]

    def __init__(
        self,
        setting: "Setting",
        home: "Home",
        options: "RunOptions | None",
        *,
        begin: str = "",
        session: str = "",
    ) -> None:
        super().__init__()
        self.shown = Shown()
        self._home = home
        self._setting = setting
        self._begin = begin
        self._law = ""
        self._widths = dict(COLUMNS)
        self._followed: asyncio.Task[None] | None = None
        self._children: dict[str, asyncio.Task[None]] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._denying = False
        self._leaving = False
        self._table: DataTable[Text] = DataTable(id="acts", cursor_type="row", cell_padding=0)
        self.question = Question(decide=self._decide)
        self.approver = ScreenApprover(setting, self._ask)
        self.work = Work(options, setting, self.approver, self._began, self._child, session)

    def compose(self) -> ComposeResult:
        """One column, so that it reads at 80 by 24."""
        yield Static("", markup=False, id="status")
        with ContentSwitcher(initial="timeline", id="views"):
            with Vertical(id="timeline"):
                yield self._table
                with VerticalScroll(id="detail"):
                    yield Static("", markup=False, id="text")
            with VerticalScroll(id="diff"):
                yield Static("", markup=False, id="diff-text")
            with VerticalScroll(id="plan"):
                yield Static("", markup=False, id="plan-text")
            with VerticalScroll(id="help"):
                yield Static(HELP, markup=False)
        yield self.question
        yield Static("", markup=False, id="note")
        yield Input(placeholder="a task, something to say, or /help", id="line", select_on_focus=False)
        yield Footer()

    def on_mount(self) -> None:
        """Follow a session that is there already, begin the task that was given."""
        for name, width in self._widths.items():
            self._table.add_column(name, width=width, key=name)
        self.query_one("#line", Input).focus()
        self.set_interval(DRAW_S, self._draw)
        self.set_interval(10.0, self.question.redraw)
        if self.work.session:
            self._follow(self.work.session)
        if self._begin:
            self._do(self.work.words(self._begin))

    def on_resize(self, event: Resize) -> None:
        """A wider terminal shows more of what was done, and by which rule."""
        more = max(0, event.size.width - sum(COLUMNS.values()) - 2)
        self._widths |= {
            "what": COLUMNS["what"] + more * 2 // 3,
            "rule": COLUMNS["rule"] + more - more * 2 // 3,
        }
        for column in self._table.columns.values():
            column.width = self._widths[str(column.key.value)]
        self.shown.changed |= set(range(len(self.shown.rows)))
        self._table.refresh(layout=True)

    # --- what the person does --------------------------------------------------------------------------

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Words, a command, or the reason of a no."""
        text = event.value.strip()
        event.input.value = ""
        if self._denying:
            self._denying = False
            event.input.placeholder = "a task, something to say, or /help"
            self.approver.answer("d", text)
        elif text.startswith("/"):
            self._command(text)
        elif text:
            self._do(self.work.words(text))

    def _command(self, text: str) -> None:
        try:
            name, *rest = shlex.split(text[1:]) or [""]
        except ValueError as error:
            self._note(f"this command cannot be read: {error}")
            return
        match name, rest:
            case "undo", []:
                self._do(self.work.undo(1))
            case "undo", [count] if count.isdecimal():
                self._do(self.work.undo(int(count)))
            case "apply", []:
                self._do(self.work.deliver("apply"))
            case "branch", [branch]:
                self._do(self.work.deliver(f"branch:{branch}"))
            case "resume", []:
                self._do(self.work.resume())
            case "stop", []:
                self.action_stop()
            case "quit", []:
                self.action_leave()
            case "help" | "diff" | "plan" | "timeline", []:
                self.action_view(name)
            case _:
                self._note(f"there is no command {text!r:.60}: F1 lists them")

    def action_view(self, name: str) -> None:
        """Show the timeline, the diff, the plan or the help."""
        if name == "diff":
            try:
                diff = self.shown.diff or self.work.changes()
            except VeiligError as error:
                diff = str(error)
            self.query_one("#diff-text", Static).update(diff_text(diff or "nothing was changed"))
        self.query_one("#views", ContentSwitcher).current = name

    def action_undo(self) -> None:
        """Take back the last answer."""
        self._do(self.work.undo(1))

    def action_stop(self) -> None:
        """Stop what is under way; where nothing is, leave."""
        if self.work.busy:
            self._do(self._stopped())
        else:
            self.action_leave()

    async def _stopped(self) -> None:
        await self.work.stop()
        self._note("stopped; type to say something and go on, /resume to go on, Ctrl-C again to leave")

    def action_leave(self) -> None:
        """Stop everything and give the terminal back."""
        if not self._leaving:
            self._leaving = True
            self._do(self._left())

    async def _left(self) -> None:
        await self.work.stop()
        for task in (self._followed, *self._children.values()):
            if task is not None:
                task.cancel()
        self.exit()

    def _do(self, work: Coroutine[Any, Any, object]) -> None:
        """Let it run; what it has to say against it stands above the line."""
        self._note("")
        job = asyncio.ensure_future(self._done(work))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _done(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except VeiligError as error:
            self._note(str(error))

    # --- questions -------------------------------------------------------------------------------------

    def _ask(self, request: Request | None) -> None:
        self.question.put(request)
        if not self.query("#line"):
            return  # the screen is being taken down
        line = self.query_one("#line", Input)
        if request is None:
            self._denying = False
            line.focus()
        elif not line.value:  # never under the fingers of somebody who types
            self.question.focus()
        else:
            self._note("a question waits: Tab goes to it")

    def _decide(self, key: str) -> None:
        if key != "d":
            self.approver.answer(key)
            return
        self._denying = True
        line = self.query_one("#line", Input)
        line.placeholder = "why not? (Enter: no reason)"
        line.focus()

    # --- drawing ---------------------------------------------------------------------------------------

    def _began(self, session: str, law: str) -> None:
        self._law, self.approver.session = law, session
        if self._followed is None:
            self._follow(session)

    def _follow(self, session: str) -> None:
        self._followed = asyncio.ensure_future(self._take(session, self.shown))

    def _child(self, session: str) -> None:
        if session not in self._children:
            work = self._take(session, self.shown.child(session))
            self._children[session] = asyncio.ensure_future(work)

    async def _take(self, session: str, shown: Shown) -> None:
        from veilig.app import operator_policy

        with self._home.open_ledger(operator_policy(self._home, self._setting), create=False) as ledger:
            async for event in ledger.follow(session=session):
                voting, asked = event.name == "approval.voted", self.question.request
                if voting and asked is not None and event.body["approval"] == asked.approval:
                    self.approver.answer("")  # somebody answered elsewhere: the gate looks at it
                shown.take(event)

    def _note(self, text: str) -> None:
        if self.query("#note"):
            self.query_one("#note", Static).update(text)

    def _draw(self) -> None:
        if not self.query("#status"):
            return  # the screen is being taken down
        self.query_one("#status", Static).update(self._status())
        table = self._table
        follows = table.cursor_row >= table.row_count - 1
        for number in sorted(self.shown.changed):
            cells = _cells(self.shown.rows[number], self._widths)
            if number >= table.row_count:
                table.add_row(*cells, key=str(number))
                continue
            for name, cell in zip(COLUMNS, cells, strict=True):
                table.update_cell(str(number), name, cell)
        if self.shown.changed and follows:
            table.move_cursor(row=table.row_count - 1)
        self.shown.changed.clear()
        self.query_one("#plan-text", Static).update(self.shown.plan())
        self.query_one("#text", Static).update(self._detail(table.cursor_row, follows=follows))

    def _status(self) -> str:
        shown = self.shown
        if self.work.busy:
            state = "asks you" if self.question.request else "waits for people" if shown.asked else "works"
        else:
            state = shown.ended or ("stopped" if shown.session else "ready")
        parts = [shown.session or "no session yet", state, shown.meter(), shown.wall, self._law]
        return "  ".join(part for part in parts if part)

    def _detail(self, number: int, *, follows: bool) -> Text:
        """What there is to say of the line under the cursor; or what the model is saying, at the end."""
        if follows and self.shown.live:
            return Text("\n".join(printable(line) for line in self.shown.live.splitlines()[-8:]))
        if not 0 <= number < len(self.shown.rows):
            return Text("F1 help. The wall, the policy and the ledger hold here as everywhere.", style="dim")
        row = self.shown.rows[number]
        text = Text(f"{row.word} {row.what}\n", style="bold")
        if row.verdict:
            text.append(f"{row.verdict}: {row.rule}", style=_COLOURS.get(row.verdict, ""))
            text.append(f"  {row.seconds:.1f} s\n")
        for reason in row.reasons:
            text.append(f"{printable(reason)}\n")
        text.append("\n".join(printable(line) for line in row.text.splitlines()))
        return text


def _cells(row: Row, widths: dict[str, int]) -> tuple[Text, ...]:
    """One line of the timeline; foreign text is text, never markup."""
    end = row.end or ("" if not row.verdict else "...")
    words = (row.mark, row.word, row.what, row.verdict, row.rule, end)
    styles = ("dim", "", "", _COLOURS.get(row.verdict, ""), "", _COLOURS.get(row.end, ""))
    return tuple(
        Text(cut(word, width - 1), style=style)
        for word, width, style in zip(words, widths.values(), styles, strict=True)
    )
