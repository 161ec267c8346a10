"""`veilig audit PATH...`: report weaknesses in code and vulnerable pins; change nothing."""

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilig.core.errors import EXIT_INTERRUPTED, SessionError, UsageError

if TYPE_CHECKING:
    from veilig.app import Ended, Setting
    from veilig.cli.audit_report import Root
    from veilig.cli.progress import Progress


def options(parser: argparse.ArgumentParser) -> None:
    """What `audit` takes."""
    parser.description = (
        "Report weaknesses in Python code and vulnerable pinned dependencies. Each folder is copied and "
        "read behind the wall, without network; nothing of it is imported, run or changed."
    )
    parser.epilog = (
        "Exit code 0: clean. 1: a finding at or above --fail-at. 2: wrong use. "
        "3: nothing found, but part of the input could not be looked at. 4: refused, nothing was read."
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a project's folder")
    parser.add_argument("--format", choices=("text", "json", "sarif"), default="text", help="how to report")
    parser.add_argument("--output", metavar="FILE", help="write the report there instead of printing it")
    parser.add_argument(
        "--pattern", action="store_true", help="also what only looks like a weakness (more false alarms)"
    )
    parser.add_argument(
        "--fail-at",
        choices=("low", "medium", "high", "critical"),
        default="low",
        help="the lowest severity that gives exit code 1",
    )
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--hide-wall", action="append", default=[], metavar="NAME", help=argparse.SUPPRESS)


def run(given: argparse.Namespace) -> int:
    """Exit codes as in the help text."""
    from veilig.agent.audit_plan import AuditOptions
    from veilig.app import Setting, run_audit

    folders = [_folder(path) for path in given.paths]
    _need_writable(given.output)
    setting = Setting(given.policy, hide=frozenset(given.hide_wall))
    roots: list[Root] = []
    progress = _progress(given.format, given.output)
    for path, folder in zip(given.paths, folders, strict=True):
        wanted = AuditOptions(str(folder), given.pattern)
        ended = _see(progress, run_audit(wanted, setting, progress))
        if ended is None:
            return EXIT_INTERRUPTED
        roots.append(_root(path, ended))
    return _report(given, roots)


def resumed(given: argparse.Namespace, session: str, setting: "Setting") -> int:
    """The end of an audit that `veilig resume` goes on with."""
    from veilig.app import resume

    given.format, given.output, given.fail_at = ("json" if given.json else "text"), None, "low"
    progress = _progress(given.format, None)
    ended = _see(progress, resume(session, setting, progress, None))
    return EXIT_INTERRUPTED if ended is None else _report(given, [_root(given.path, ended)])


def _folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if folder.is_file():
        raise UsageError(
            f"{path!r} is a file",
            why="what a value can do is seen only with the modules around it",
            fix=f"give its folder: `veilig audit {folder.parent}`",
        )
    if not folder.is_dir():
        raise UsageError(f"{path!r} is not a folder", why="there is nothing to read", fix="give a folder")
    return folder.resolve()


def _need_writable(output: str | None) -> None:
    """Better now than after minutes of reading."""
    if output and not Path(output).absolute().parent.is_dir():
        raise UsageError(f"cannot write {output!r}", why="its folder does not exist", fix="make it first")


def _progress(form: str, output: str | None) -> "Progress":
    from veilig.cli.progress import Progress

    aside = form != "text" and not output
    return Progress(sys.stderr if aside else sys.stdout, quiet=aside)


def _see(progress: "Progress", session: "Coroutine[Any, Any, Ended]") -> "Ended | None":
    """The session's end; None when the person interrupted it."""
    try:
        return asyncio.run(session)
    except KeyboardInterrupt:
        print("interrupted: nothing was changed", file=sys.stderr)
        return None
    finally:
        progress.done()


def _root(path: str, ended: "Ended") -> "Root":
    from veilig.cli.audit_report import root_of

    if not ended.finish.ok:
        raise SessionError(
            f"{path} was not audited: {ended.finish.summary}",
            why=f"session {ended.session} ended without a report",
            fix=f"`veilig sessions show {ended.session}` says what happened",
        )
    wall = ended.wall.name if ended.wall else ""
    return root_of(path, ended.session, wall, dict(ended.finish.data))


def _report(given: argparse.Namespace, roots: "list[Root]") -> int:
    from veilig import __version__
    from veilig.audit.finding import Severity
    from veilig.cli import audit_report as shown
    from veilig.cli.style import Style

    code = shown.exit_code(roots, Severity(given.fail_at))
    if given.format == "json":
        text = shown.render_json(roots, code)
    elif given.format == "sarif":
        text = shown.render_sarif(roots, __version__)
    else:
        text = shown.render_text(roots, color=not given.output and Style(sys.stdout).on)
    if not given.output:
        print(text)
        return code
    try:
        Path(given.output).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {given.output!r}", why=error.strerror or str(error), fix="choose another file"
        ) from error
    print(f"report  {given.output}, exit code {code}", file=sys.stderr)
    return code
