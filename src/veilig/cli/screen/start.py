"""When does a session get the whole screen, and what is said when the person has left it?"""

import argparse
import importlib.util
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from veilig.core.errors import (
    EXIT_FINDINGS,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_REFUSED,
    UsageError,
)
from veilig.core.limits import PROPOSAL_EXPIRY_S

if TYPE_CHECKING:
    from veilig.agent.run_state import RunOptions
    from veilig.app import Setting


def interactive_option(parser: argparse.ArgumentParser) -> None:
    """`--interactive`, which `run` and `resume` take."""
    parser.add_argument(
        "-i",
        "--interactive",
        action="store_true",
        help="work on a full screen: timeline, questions, diff, plan, a line to speak (extra: veilig[tui])",
    )


def wants_screen(given: argparse.Namespace, *, unasked: bool) -> bool:
    """Whether the screen is wanted and can be had. unasked: nothing else was asked for.

    Without the extra it says so, and the plain view is used. Raises UsageError where there is no terminal.
    """
    here = sys.stdin.isatty() and sys.stdout.isatty()
    if not given.interactive and not (unasked and here):
        return False
    if not here:
        raise UsageError(
            "--interactive needs a terminal", why="there is nobody at the keys", fix="leave it out"
        )
    if given.json or given.diff:
        raise UsageError("--interactive prints nothing for a script", fix="leave --json and --diff out")
    if os.environ.get("TERM", "dumb") == "dumb":
        print("screen  none: this terminal cannot show one; the plain view is used", file=sys.stderr)
        return False
    if importlib.util.find_spec("textual") is None:
        why = "none: it needs the extra, pip install 'veilig[tui]'; the plain view is used"
        print(f"screen  {why}", file=sys.stderr)
        return False
    return True


def on_screen(setting: "Setting", options: "RunOptions | None", *, begin: str = "", session: str = "") -> int:
    """Let a person work there until they leave; the exit code says how the session stands then."""
    from veilig.cli.run_view import render
    from veilig.cli.screen.app import WorkScreen
    from veilig.cli.style import Style
    from veilig.home import find_home

    # People elsewhere may answer as well, as long as a question lives.
    setting = replace(setting, patience_s=max(setting.patience_s, PROPOSAL_EXPIRY_S))
    screen = WorkScreen(setting, find_home(setting.environment), options, begin=begin, session=session)
    screen.run()
    work = screen.work
    if not work.session:
        print("nothing was done")
        return EXIT_OK
    if work.ended is None:
        print(f"session {work.session}\ninterrupted; next: veilig resume {work.session}")
        return EXIT_INTERRUPTED if work.driven else EXIT_OK
    finish = work.ended.finish
    result = {"session": work.session, "ok": finish.ok, "summary": finish.summary, "seconds": work.seconds}
    print(f"session {work.session}{render({**result, **dict(finish.data)}, Style(sys.stdout))}")
    if finish.ok:
        return EXIT_INCOMPLETE if finish.data.get("missed") else EXIT_OK
    return EXIT_REFUSED if finish.resumable else EXIT_FINDINGS
