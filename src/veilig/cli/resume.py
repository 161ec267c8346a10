"""`veilig resume SESSION`: go on where a crash, a question or a budget stopped a session."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from veilig.cli.models import model_options, setting_of
from veilig.cli.run import deliver_of, deliver_options
from veilig.cli.screen.start import interactive_option, on_screen, wants_screen
from veilig.core.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from veilig.app import Setting
    from veilig.core.session import View

PATIENCE_S_MAX = 24 * 3600.0


def options(parser: argparse.ArgumentParser) -> None:
    """What `resume` takes."""
    parser.description = (
        "Go on with a session from the last thing its ledger knows. An act that a crash interrupted is "
        "looked at, never repeated blindly. A session that was started with --apply or --branch still "
        "delivers: resuming it is your yes to that, and to nothing else."
    )
    parser.add_argument("session", help="its id, or the beginning of it (see `veilig sessions`)")
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait this long at a question for votes from other terminals (default 0: stop and say so)",
    )
    parser.add_argument(
        "--explain", action="store_true", help="show flows, suspected lines and what was tried"
    )
    parser.add_argument(
        "--say",
        default="",
        metavar="TEXT",
        help="tell the model of a `run` session this; also when it had ended",
    )
    deliver_options(parser)
    interactive_option(parser)
    model_options(parser)
    parser.add_argument("--python", metavar="EXE", help="the project's interpreter")
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--markdown", metavar="FILE", help="also write the report as Markdown")
    parser.add_argument("--hide-wall", action="append", default=[], metavar="NAME", help=argparse.SUPPRESS)


def run(given: argparse.Namespace) -> int:
    """Exit codes as `fix` (or `audit`, for an audit)."""
    from veilig.app import find_session, resume
    from veilig.cli import audit, explain, fix, review
    from veilig.home import find_home

    if not 0 <= given.patience <= PATIENCE_S_MAX:
        raise UsageError(
            f"--patience {given.patience:g} is outside 0 to {PATIENCE_S_MAX:.0f} seconds", fix="give seconds"
        )
    setting = setting_of(given)
    view = find_session(find_home(os.environ), given.session, setting)
    given.path = view.source
    if view.kind == "run":
        return _run(given, view, setting)
    if given.say or deliver_of(given) or given.diff:
        raise UsageError(
            "--say, --apply, --branch and --diff are for sessions of `veilig run`",
            why=f"{view.id} is of kind {view.kind!r}, and delivers what it was started to deliver",
        )
    if view.kind == "audit":
        return audit.resumed(given, view.id, setting)
    if view.kind == "explain":
        return explain.resumed(given, view.id, setting)
    if view.kind == "review":
        return review.resumed(given, view.id, setting)
    delivers = bool(view.options.get("deliver"))
    return fix.drive(
        given, lambda watcher, approver: resume(view.id, setting, watcher, approver), delivers=delivers
    )


def _run(given: argparse.Namespace, view: "View", setting: "Setting") -> int:
    """Go on with a model's session, tell it something, or bring back what it made."""
    from veilig.app import bring_back, resume, say
    from veilig.cli.run import drive

    session, deliver = view.id, deliver_of(given)
    if wants_screen(given, unasked=False):
        return on_screen(setting, None, begin=given.say, session=session)
    if given.say:
        return drive(given, setting, lambda w, a: say(session, given.say, setting, w, a))
    if deliver and view.ended:
        return drive(given, setting, lambda w, a: bring_back(session, deliver, setting, w, a))
    if given.diff and view.ended:
        sys.stdout.write(str(view.result.get("diff", "")))
        return EXIT_OK
    return drive(given, setting, lambda w, a: resume(session, setting, w, a))
