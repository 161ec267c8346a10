"""`veilig fork SESSION`: another way from a moment of a model's session, beside it."""

import argparse

from veilig.cli.models import model_options, setting_of
from veilig.cli.run import common_options, deliver_options, drive
from veilig.core.errors import UsageError


def options(parser: argparse.ArgumentParser) -> None:
    """What `fork` takes."""
    parser.description = (
        "Start a new session from a moment of another one: same files and conversation up to there, its own "
        "copy from then on. The other session stays as it is: two ways can be tried beside each other."
    )
    parser.add_argument("session", help="its id, or the beginning of it (see `veilig sessions`)")
    parser.add_argument("--to", type=int, metavar="N", help="before answer N (default: before the last one)")
    parser.add_argument("--say", required=True, metavar="TEXT", help="what to do otherwise")
    model_options(parser)
    deliver_options(parser)
    common_options(parser)


def run(given: argparse.Namespace) -> int:
    """Exit codes as `run`."""
    from veilig.app import fork, moments

    setting = setting_of(given)
    known = moments(given.session, setting)
    wanted = given.to if given.to is not None else len(known)
    if not 1 <= wanted <= len(known):
        raise UsageError(
            f"there is no answer {wanted} to fork before",
            why=f"the session has {len(known)}",
            fix="see `veilig undo SESSION --list`",
        )
    return drive(given, setting, lambda w, a: fork(given.session, wanted, given.say, setting, w, a))
