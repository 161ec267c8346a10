"""`veilig undo SESSION`: bring files and conversation of a model's session back to an earlier moment."""

import argparse
import asyncio
import json
import sys

from veilig.cli.models import model_options, setting_of
from veilig.cli.run import common_options
from veilig.core.errors import EXIT_OK, EXIT_REFUSED, UsageError


def options(parser: argparse.ArgumentParser) -> None:
    """What `undo` takes."""
    parser.description = (
        "Bring the copy of a session, and what its model knows, back to before one of its answers. Your own "
        "files are not touched: they change only with --apply or --branch. What was undone stays in the "
        "ledger."
    )
    parser.add_argument("session", help="its id, or the beginning of it (see `veilig sessions`)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--steps", type=int, default=1, metavar="N", help="take back the last N answers (default 1)"
    )
    where.add_argument("--to", type=int, metavar="N", help="go back to before answer N")
    where.add_argument("--list", action="store_true", help="show the answers, and change nothing")
    parser.add_argument(
        "--say", default="", metavar="TEXT", help="then tell the model this, and let it go on"
    )
    model_options(parser)
    common_options(parser)


def run(given: argparse.Namespace) -> int:
    """Exit 0 brought back; with --say as `run`."""
    from veilig.app import moments, rewind
    from veilig.cli.run import drive
    from veilig.cli.run_view import RunView

    setting = setting_of(given)
    known = moments(given.session, setting)
    if given.list:
        if given.json:
            print(json.dumps([{"answer": p.number, "said": p.answer, "tree": p.tree} for p in known]))
        else:
            print("\n".join(f"{p.number:4}  {p.answer}" for p in known) or "no answers yet")
        return EXIT_OK
    wanted = given.to if given.to is not None else len(known) - given.steps + 1
    if not 1 <= wanted <= len(known):
        raise UsageError(
            f"there is no answer {wanted} to go back before",
            why=f"the session has {len(known)}",
            fix="see `veilig undo SESSION --list`",
        )
    if given.say:
        given.diff, given.apply, given.branch = False, False, None
        return drive(
            given, setting, lambda watcher, _: rewind(given.session, wanted, given.say, setting, watcher)
        )
    view = RunView(sys.stdout, quiet=True)
    ended = asyncio.run(rewind(given.session, wanted, "", setting, view))
    if ended.finish.summary != "brought back":
        print(f"veilig: {ended.finish.summary}", file=sys.stderr)
        return EXIT_REFUSED
    print(
        f"undone  answers {wanted} to {len(known)} of {ended.session}; the files are as they were before them"
    )
    print(f"next    veilig resume {ended.session}   or   veilig resume {ended.session} --say TEXT")
    return EXIT_OK
