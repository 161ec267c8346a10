"""`veilig run "TASK" [PATH]`: a model works on a task, behind the wall; what it made is checked."""

import argparse
import asyncio
import json
import shlex
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilig.cli.models import model_options, named, setting_of
from veilig.cli.screen.start import interactive_option, on_screen, wants_screen
from veilig.core.errors import (
    EXIT_FINDINGS,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_REFUSED,
    UsageError,
)

if TYPE_CHECKING:
    from veilig.app import Ended, Setting
    from veilig.cli.asking import TerminalApprover
    from veilig.cli.run_view import RunView

TASK_CHARS_MAX = 200_000
WINDOW_MIN = 4000


def options(parser: argparse.ArgumentParser) -> None:
    """What `run` takes."""
    parser.description = (
        "Let a model work on a task in a copy of the project, behind the wall; test, check and audit what "
        "it made. Your own files change only with --apply or --branch. Without a model it does what the "
        "embedded planner can, and says first what needs one."
    )
    parser.add_argument(
        "task", nargs="?", help="what to do; - reads it from standard input (none: it is typed on the screen)"
    )
    parser.add_argument("path", nargs="?", default=".", help="the project's folder (default: here)")
    model_options(parser)
    deliver_options(parser)
    parser.add_argument("--test", metavar="CMD", help="the command that tests the project")
    parser.add_argument(
        "--check", metavar="CMD", help="the task is done when this command, too, exits with 0"
    )
    parser.add_argument("--no-verify", action="store_true", help="skip tests and audit of what was made")
    parser.add_argument(
        "--image", action="append", default=[], metavar="FILE", help="a picture of the project to begin with"
    )
    parser.add_argument(
        "--desktop", action="store_true", help="give it a desktop in the box, with mouse and keyboard"
    )
    parser.add_argument(
        "--window", type=int, default=0, metavar="TOKENS", help="the model's window, if not known"
    )
    parser.add_argument("--output-schema", metavar="FILE", help="JSON schema that the result must have")
    parser.add_argument("--budget", type=float, default=300.0, metavar="SECONDS", help=argparse.SUPPRESS)
    interactive_option(parser)
    common_options(parser)


def deliver_options(parser: argparse.ArgumentParser) -> None:
    """What becomes of the result."""
    deliver = parser.add_mutually_exclusive_group()
    deliver.add_argument("--apply", action="store_true", help="write the proven change to your tree")
    deliver.add_argument("--branch", metavar="NAME", help="commit it on a new branch; your work tree stays")
    deliver.add_argument("--diff", action="store_true", help="print the diff and nothing else")


def common_options(parser: argparse.ArgumentParser) -> None:
    """Interpreter, policy and form of the output."""
    parser.add_argument("--python", metavar="EXE", help="the project's interpreter")
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument(
        "--patience", type=float, default=0.0, metavar="SECONDS", help="wait so long for votes at a question"
    )
    parser.add_argument("--json", action="store_true", help="print every event and the result as JSON lines")
    parser.add_argument("--hide-wall", action="append", default=[], metavar="NAME", help=argparse.SUPPRESS)


def run(given: argparse.Namespace) -> int:
    """Exit 0 done and proven, 1 something is left, 4 refused or not reached, 130 interrupted."""
    from veilig.agent.run_state import RunOptions
    from veilig.app import run_task

    if given.interactive and given.task and given.path == "." and Path(given.task).expanduser().is_dir():
        given.task, given.path = None, given.task  # `run -i FOLDER`: the task is typed there
    source = Path(given.path).expanduser()
    if not source.is_dir():
        raise UsageError(
            f"{given.path!r} is not a folder", why="run works on a project", fix="give the folder"
        )
    screen = wants_screen(given, unasked=given.task is None)
    task = _task(given, screen=screen)
    if screen and not given.model and not given.model_url:
        raise UsageError(
            "the screen is for work with a model, and none is named",
            fix="give --model (openai:NAME, anthropic:NAME, google:NAME or --model-url) or use `veilig fix`",
        )
    if not given.model and not given.model_url:
        return _embedded(given, task)
    if given.window and given.window < WINDOW_MIN:
        raise UsageError(f"--window {given.window} is too small", why=f"work needs {WINDOW_MIN} tokens")
    wanted = RunOptions(
        str(source.resolve()),
        task,
        named(given),
        tuple(shlex.split(given.test or "")),
        tuple(shlex.split(given.check or "")),
        deliver_of(given),
        given.window,
        verify=not given.no_verify,
        schema=_schema(given.output_schema),
        images=tuple(given.image),
        desktop="with" if given.desktop else "",
    )
    setting = setting_of(given)
    if screen:
        return on_screen(setting, wanted, begin=task)
    return drive(given, setting, lambda watcher, approver: run_task(wanted, setting, watcher, approver))


def _task(given: argparse.Namespace, *, screen: bool) -> str:
    """What is to be done. Raises UsageError for nothing, save where the screen asks for it."""
    task = sys.stdin.read() if given.task == "-" else given.task or ""
    if not task.strip() and not screen and given.task is None and sys.stdin.isatty():
        print("task > ", end="", file=sys.stderr, flush=True)
        task = sys.stdin.readline()
    if (not task.strip() and not screen) or len(task) > TASK_CHARS_MAX:
        why = "there is no task" if not task.strip() else "the task is too long to be sent"
        raise UsageError(why, fix='say what is to be done: veilig run "TASK"')
    return task


def deliver_of(given: argparse.Namespace) -> str:
    """Where the result goes: nowhere, "apply" or "branch:NAME"."""
    return "apply" if given.apply else f"branch:{given.branch}" if given.branch else ""


def _schema(file: str | None) -> str:
    if not file:
        return ""
    from veilig.agent.schema import read_schema

    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file!r}", why=str(error)) from error
    read_schema(text)
    return text


def _embedded(given: argparse.Namespace, task: str) -> int:
    """What the planner without a model can do of it, said before it starts."""
    from veilig.agent.intent import intent
    from veilig.cli import fix

    meant = intent(task)
    if meant is None:
        raise UsageError(
            "this task needs a model, and none is named",
            why="without one, run makes failing tests pass, mends configuration, fixes weaknesses and "
            "vulnerable pins, finds the change that broke the tests, and explains why a command in `quotes` "
            "fails, and since which change",
            fix="give --model (openai:NAME, anthropic:NAME, google:NAME or --model-url) or use `veilig fix`",
        )
    print(f"model   none: the embedded planner {meant.says}", file=sys.stderr)
    if meant.command:
        from veilig.cli import explain

        return explain.run(given, meant.command, bisect=meant.bisect)
    given.only, given.explain, given.markdown, given.fleet = meant.only, True, None, None
    given.database, given.store, given.priority, given.detach, given.git_token = None, "", 0, False, ""
    return fix.run(given)


type Start = Callable[[RunView, TerminalApprover], Coroutine[Any, Any, Ended]]


def drive(given: argparse.Namespace, setting: "Setting", start: "Start") -> int:
    """Run a session with its acts on the terminal, then print its end."""
    from veilig.cli.asking import TerminalApprover, answered_elsewhere, remember
    from veilig.cli.run_view import RunView, render

    quiet = given.diff
    view = RunView(sys.stdout if not quiet else sys.stderr, quiet=quiet, events=given.json)
    ask = sys.stdin.isatty() and sys.stderr.isatty() and not given.json
    approver = TerminalApprover(
        delivers=bool(deliver_of(given)),
        ask=ask,
        remember=lambda request: remember(request, view.session, setting),
        answered=answered_elsewhere(setting),
    )
    begun_s = time.monotonic()
    try:
        ended = asyncio.run(start(view, approver))
    except KeyboardInterrupt:
        next_step = f"veilig resume {view.session}" if view.session else "nothing was done"
        print(f"\ninterrupted; next: {next_step}", file=sys.stderr)
        return EXIT_INTERRUPTED
    result = {
        "session": ended.session,
        "ok": ended.finish.ok,
        "summary": ended.finish.summary,
        "seconds": round(time.monotonic() - begun_s, 1),
        "events": ended.events,
        "wall": ended.wall.name if ended.wall else "",
        **dict(ended.finish.data),
    }
    if given.json:
        print(json.dumps({"event": "result", **result}, ensure_ascii=False))
    elif quiet:
        sys.stdout.write(str(result.get("diff", "")))
    else:
        print(render(result, view.style))
    if ended.finish.ok:
        return EXIT_INCOMPLETE if result.get("missed") else EXIT_OK
    return EXIT_REFUSED if ended.finish.resumable else EXIT_FINDINGS
