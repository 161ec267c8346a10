"""`veilig review [REV]`: audit a change, run the tests that touch it, let a model comment; change nothing."""

import argparse
import asyncio
import os
import shlex
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilig.cli.models import model_options, named, setting_of
from veilig.core.errors import EXIT_INTERRUPTED, EXIT_OK, SessionError, UsageError

if TYPE_CHECKING:
    from veilig.app import Ended, Setting
    from veilig.cli.progress import Progress

FORMS = ("text", "json", "md", "sarif")


def options(parser: argparse.ArgumentParser) -> None:
    """What `review` takes."""
    parser.description = (
        "Review a change: weaknesses, secrets and packages that its lines bring in, the tests that touch "
        "it (those that fail are run without it, too), and with --model comments on its lines. All of it "
        "happens in a copy behind the wall."
    )
    parser.epilog = (
        "Exit code 0: nothing found. 1: a finding on an added line, a new vulnerable pin, or a test that "
        "fails because of the change. 2: wrong use. 3: nothing found, but part of it could not be looked at. "
        "4: refused. What a model says is marked and changes no exit code."
    )
    parser.add_argument(
        "revision",
        nargs="?",
        default="",
        metavar="REV",
        help="what changed since this commit, branch or tag, committed or not (default: HEAD)",
    )
    parser.add_argument(
        "--patch", metavar="FILE", help="review this unified diff instead; - reads standard input"
    )
    parser.add_argument("--folder", default=".", metavar="PATH", help="the project's folder (default: here)")
    parser.add_argument("--test", metavar="CMD", help="the command that tests the project")
    parser.add_argument("--no-tests", action="store_true", help="run no tests")
    parser.add_argument("--pattern", action="store_true", help="also what only looks like a weakness")
    parser.add_argument("--format", choices=FORMS, default="text", help="how to report (default: text)")
    parser.add_argument("--output", metavar="FILE", help="write the report there instead of printing it")
    model_options(parser)
    parser.add_argument("--python", metavar="EXE", help="the project's interpreter")
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--hide-wall", action="append", default=[], metavar="NAME", help=argparse.SUPPRESS)


def run(given: argparse.Namespace) -> int:
    """Exit codes as in the help text."""
    from veilig.agent.review import ReviewOptions
    from veilig.app import changes_since, run_review
    from veilig.audit.baseline import added_lines
    from veilig.audit.patch_apply import sections, without_binary
    from veilig.cli.audit_scope import read_input

    folder = Path(given.folder).expanduser()
    if not folder.is_dir():
        raise UsageError(f"{given.folder!r} is not a folder", fix="give the project's folder")
    if given.patch and given.revision:
        raise UsageError("a revision and --patch exclude each other", why="both say what the change is")
    if given.output and not Path(given.output).absolute().parent.is_dir():
        raise UsageError(f"cannot write {given.output!r}", why="its folder does not exist", fix="make it")
    folder = folder.resolve()
    if given.patch:
        diff = read_input(given.patch, "the patch")
    else:
        diff = changes_since(folder, given.revision or "HEAD", "")
    diff, binary = without_binary(diff)
    added_lines(diff)  # what is no diff is said before anything is copied
    if not sections(diff) and not binary:
        print(
            f"nothing has changed since {given.revision or 'HEAD'}" if not given.patch else "an empty patch"
        )
        return EXIT_OK
    model = named(given) if given.model or given.model_url else ""
    wanted = ReviewOptions(
        str(folder),
        diff,
        not given.patch,
        given.pattern,
        model,
        test_command=tuple(shlex.split(given.test or "")),
        tests=not given.no_tests,
        binary=tuple(binary),
    )
    setting = setting_of(given)
    progress = _progress(given)
    return _see(given, progress, run_review(wanted, setting, progress))


def resumed(given: argparse.Namespace, session: str, setting: "Setting") -> int:
    """The end of a review that `veilig resume` goes on with."""
    from veilig.app import resume

    given.format, given.output = ("json" if given.json else "text"), None
    progress = _progress(given)
    return _see(given, progress, resume(session, setting, progress, None))


def _progress(given: argparse.Namespace) -> "Progress":
    from veilig.cli.progress import Progress

    aside = given.format != "text" and not given.output
    return Progress(sys.stderr if aside else sys.stdout, quiet=aside)


def _see(given: argparse.Namespace, progress: "Progress", session: "Coroutine[Any, Any, Ended]") -> int:
    """Drive the session, show its report."""
    from veilig.cli.review_report import Review, exit_code, rendered

    try:
        ended = asyncio.run(session)
    except KeyboardInterrupt:
        print(f"interrupted; next: veilig resume {progress.session}", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        progress.done()
    if not ended.finish.ok:
        raise SessionError(
            f"the change was not reviewed: {ended.finish.summary}",
            why=f"`veilig sessions show {ended.session}` says what happened",
        )
    review = Review.of(ended.session, ended.wall.name if ended.wall else "", dict(ended.finish.data))
    code = exit_code(review)
    text = rendered(review, given.format, code, color=progress.style.on and not given.output)
    if not given.output:
        print(text)
        return code
    try:
        Path(given.output).write_text(f"{text.rstrip()}\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {given.output!r}", why=os.strerror(error.errno or 0)) from error
    print(f"report  {given.output}, exit code {code}", file=sys.stderr)
    return code
