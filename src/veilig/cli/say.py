"""`veilig say SESSION TEXT`: tell a model something while it works in another terminal."""

import argparse
import asyncio
import sys

from veilig.core.errors import EXIT_OK, UsageError

TEXT_CHARS_MAX = 50_000


def options(parser: argparse.ArgumentParser) -> None:
    """What `say` takes."""
    parser.description = (
        "Tell the model of a session that is at work something more: it hears it with its next question. It "
        "is recorded, and it approves nothing: questions are answered with `veilig approvals`."
    )
    parser.add_argument("session", help="its id, or the beginning of it (see `veilig sessions`)")
    parser.add_argument("text", help="what to say; - reads it from standard input")
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")


def run(given: argparse.Namespace) -> int:
    """Exit 0 recorded, 4 when nobody is at work on it."""
    from veilig.app import Setting, tell

    text = sys.stdin.read() if given.text == "-" else given.text
    if not text.strip() or len(text) > TEXT_CHARS_MAX:
        raise UsageError("there is nothing to say" if not text.strip() else "this is too long to be said")
    session = asyncio.run(tell(given.session, text, Setting(given.policy)))
    print(f"said    {session} hears it with its next question")
    return EXIT_OK
