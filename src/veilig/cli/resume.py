"""`veilig resume SESSION`: go on where a crash, a question or a budget stopped a session."""

import argparse
import os

from veilig.core.errors import UsageError

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
    parser.add_argument("--python", metavar="EXE", help="the project's interpreter")
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--markdown", metavar="FILE", help="also write the report as Markdown")
    parser.add_argument("--hide-wall", action="append", default=[], metavar="NAME", help=argparse.SUPPRESS)


def run(given: argparse.Namespace) -> int:
    """Exit codes as `fix` (or `audit`, for an audit)."""
    from veilig.app import Setting, find_session, resume
    from veilig.cli import audit, fix
    from veilig.home import find_home

    if not 0 <= given.patience <= PATIENCE_S_MAX:
        raise UsageError(
            f"--patience {given.patience:g} is outside 0 to {PATIENCE_S_MAX:.0f} seconds", fix="give seconds"
        )
    setting = Setting(given.policy, given.python, given.patience, hide=frozenset(given.hide_wall))
    view = find_session(find_home(os.environ), given.session, setting)
    given.path = view.source
    if view.kind == "audit":
        return audit.resumed(given, view.id, setting)
    delivers = bool(view.options.get("deliver"))
    return fix.drive(
        given, lambda watcher, approver: resume(view.id, setting, watcher, approver), delivers=delivers
    )
