"""`veilig fix PATH`: options, live progress, report."""

import argparse
import asyncio
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilig.cli import fix_fleet
from veilig.cli.audit_fleet import need_fleet
from veilig.cli.models import model_options, named, setting_of
from veilig.core.errors import (
    EXIT_FINDINGS,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_REFUSED,
    UsageError,
)

if TYPE_CHECKING:
    from veilig.app import Ended
    from veilig.cli.progress import FlagApprover, Progress


def options(parser: argparse.ArgumentParser) -> None:
    """What `fix` takes."""
    parser.add_argument("path", nargs="?", default="", help="the project's folder")
    model_options(parser)
    deliver = parser.add_mutually_exclusive_group()
    deliver.add_argument("--apply", action="store_true", help="write the proven changes to your tree")
    deliver.add_argument("--branch", metavar="NAME", help="commit them on a new branch; your work tree stays")
    deliver.add_argument("--diff", action="store_true", help="print the diff and nothing else")
    parser.add_argument(
        "--test",
        metavar="CMD",
        help="the command that tests the project (judged by its exit code; pytest PATH... test by test)",
    )
    parser.add_argument(
        "--only", choices=("tests", "audit", "config"), default="", help="work on these problems only"
    )
    parser.add_argument(
        "--budget", type=float, default=300.0, metavar="SECONDS", help="time for repairs (default 300)"
    )
    parser.add_argument(
        "--explain", action="store_true", help="show flows, suspected lines and what was tried"
    )
    fix_fleet.options(parser)
    _common(parser)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--python", metavar="EXE", help="the project's interpreter (default: its .venv, else ours)"
    )
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--markdown", metavar="FILE", help="also write the report as Markdown")
    parser.add_argument("--hide-wall", action="append", default=[], metavar="NAME", help=argparse.SUPPRESS)


def run(given: argparse.Namespace) -> int:
    """Exit 0 nothing left, 1 something is left for a person, 3 part was not looked at, 4 refused."""
    from veilig.agent.fix_state import FixOptions
    from veilig.app import run_fix

    if not 1 <= given.budget <= 24 * 3600:
        raise UsageError(f"--budget {given.budget} is outside 1 to 86400 seconds", fix="give seconds")
    if given.fleet:
        return fix_fleet.run(given)
    need_fleet(given)
    if not given.path:
        raise UsageError("nothing to fix", why="no folder is given", fix="`veilig fix .` (see --help)")
    source = Path(given.path).expanduser()
    if not source.is_dir():
        raise UsageError(
            f"{given.path!r} is not a folder", why="fix works on a project", fix="give the folder"
        )
    deliver = "apply" if given.apply else f"branch:{given.branch}" if given.branch else ""
    options = FixOptions(
        str(source.resolve()),
        tuple(shlex.split(given.test or "")),
        given.only,
        given.budget,
        deliver,
        named(given) if given.model or given.model_url else "",
    )
    setting = setting_of(given)
    return drive(
        given, lambda watcher, approver: run_fix(options, setting, watcher, approver), delivers=bool(deliver)
    )


type Start = Callable[[Progress, FlagApprover | None], Coroutine[Any, Any, Ended]]


def drive(given: argparse.Namespace, start: "Start", *, delivers: bool) -> int:
    """Run a session with progress on the terminal, then print its report."""
    from veilig.cli.progress import FlagApprover, Progress
    from veilig.cli.report import exit_code, markdown, render

    quiet = given.json or getattr(given, "diff", False)
    progress = Progress(sys.stderr if quiet else sys.stdout, quiet=quiet)
    begun_s = time.monotonic()
    try:
        ended = asyncio.run(start(progress, FlagApprover() if delivers else None))
    except KeyboardInterrupt:
        progress.done()
        print(_so_far(progress), file=sys.stderr)
        return EXIT_INTERRUPTED
    progress.done()
    result = {
        "session": ended.session,
        "ok": ended.finish.ok,
        "summary": ended.finish.summary,
        "seconds": round(time.monotonic() - begun_s, 1),
        "events": ended.events,
        "wall": ended.wall.name if ended.wall else "",
        "law": progress.law,
        "source": given.path if hasattr(given, "path") else "",
        **dict(ended.finish.data),
    }
    if given.markdown:
        Path(given.markdown).write_text(markdown(result), encoding="utf-8")
    if given.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    elif getattr(given, "diff", False):
        sys.stdout.write(str(result.get("diff", "")))
    else:
        print(render(result, progress.style, explain=getattr(given, "explain", False)))
    codes = {"ok": EXIT_OK, "left": EXIT_FINDINGS, "incomplete": EXIT_INCOMPLETE, "refused": EXIT_REFUSED}
    return codes[exit_code(result)]


def _so_far(progress: "Progress") -> str:
    """What an interrupted session has done: its problems so far, and how to go on."""
    from veilig.app import find_session
    from veilig.cli.report import render
    from veilig.home import find_home

    if not progress.session:
        return "interrupted before the session began: nothing was done"
    view = find_session(find_home(os.environ), progress.session)
    steps = {"events": view.steps, "seconds": round(view.used_s, 1), "session": view.id}
    text = render({**view.state, **steps, "ok": False, "summary": "interrupted"}, progress.style)
    return f"{text}\nnext    veilig resume {view.id}"
