"""What can a person type? The command line: parse, call, print, exit code."""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, cast

from veilig.core.errors import EXIT_INTERRUPTED, EXIT_USAGE, VeiligError

# command -> (module, one line); a module is imported when its command is used
COMMANDS = {
    "fix": ("veilig.cli.fix", "find what is broken or unsafe in a project, mend it in a sandbox, prove it"),
    "run": ("veilig.cli.run", "let a model work on a task behind the wall; check what it made"),
    "say": ("veilig.cli.say", "tell a model something while it works in another terminal"),
    "undo": ("veilig.cli.undo", "bring a model's session back to an earlier moment, files and conversation"),
    "fork": ("veilig.cli.fork", "go on from a moment of a model's session in a new one"),
    "resume": ("veilig.cli.resume", "go on with a session that a crash or a question stopped"),
    "sessions": ("veilig.cli.sessions", "list sessions, or show one"),
    "audit": ("veilig.cli.audit", "report weaknesses in code and pins; change nothing"),
    "review": ("veilig.cli.review", "audit a change, run the tests that touch it, let a model comment"),
    "advisories": (
        "veilig.cli.advisories",
        "make the offline database of known vulnerabilities; say its age",
    ),
    "heal": ("veilig.cli.heal", "watch services, name what is wrong, act only inside the policy"),
    "broker": ("veilig.cli.broker", "act for healers of other users, and believe none of them"),
    "incidents": ("veilig.cli.incidents", "what was wrong with services, what was done, and did it help"),
    "policy": ("veilig.cli.policy", "check, explain and test veilig.yaml"),
    "approvals": ("veilig.cli.approvals", "see what waits for people; approve or deny it"),
    "grants": ("veilig.cli.grants", "see, give and revoke standing permissions"),
    "ledger": ("veilig.cli.ledger", "verify, show, follow, export and prove the record"),
    "serve": ("veilig.cli.serve", "a page and an API for several people: watch, steer, approve, replay"),
    "watch": ("veilig.cli.watch", "see one session live, of this machine or of a page"),
    "worker": ("veilig.cli.worker", "take sessions from a fleet's queue and drive them"),
    "queue": ("veilig.cli.queue", "what waits for a fleet's workers; queue, cancel, try again"),
    "people": ("veilig.cli.people", "who has an account on the page, and as what"),
    "mcp": ("veilig.cli.mcp", "let another agent fix and audit these folders, over MCP; people still decide"),
    "acp": ("veilig.cli.acp", "work from inside an editor, over the Agent Client Protocol"),
    "gateway": (
        "veilig.cli.gateway",
        "serve models to whoever may use them, watched, with reasons and appeals",
    ),
    "access": ("veilig.cli.access", "say who may use which model: keys, tiers, grants, budgets"),
    "cases": ("veilig.cli.cases", "see what was enforced against whom; appeal, decide"),
    "monitor": ("veilig.cli.monitor", "score texts and tool calls; count the indicators of feeds"),
    "eval": (
        "veilig.cli.evaluate",
        "run benchmark suites against any agent and model, with honest intervals",
    ),
    "deploy": ("veilig.cli.deploy", "sign, check or withdraw that a model may be deployed in a class"),
    "doctor": ("veilig.cli.doctor", "say which walls stand here and what they hold"),
    "redact": ("veilig.cli.redact_cmd", "copy text with its secrets replaced by handles"),
}


class Parser(argparse.ArgumentParser):
    """Errors say what to do next, and exit with 2."""

    def error(self, message: str) -> NoReturn:
        """Print usage and the error, exit 2."""
        from veilig.core.suggest import nearest

        self.print_usage(sys.stderr)
        wrong = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        meant = nearest(wrong[1], re.findall(r"[\w-]+", wrong[2])) if wrong else None
        fix = f"did you mean {meant!r}? " if meant else ""
        self.exit(
            EXIT_USAGE, f"{self.prog}: {message}\n  fix: {fix}`{self.prog} --help` lists what can be given\n"
        )


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser with every command, or with the one that is used (so that the others are not imported)."""
    from veilig import __version__

    parser = Parser(prog="veilig", description="An agent for code and infrastructure that asks first.")
    parser.add_argument("--version", action="version", version=f"veilig {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, (module, line) in COMMANDS.items():
        command = commands.add_parser(name, help=line, description=line)
        if only in (None, name):
            importlib.import_module(module).options(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 done, 1 something is left for a person, 2 wrong use, 3 incomplete, 4 refused."""
    given = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in given if not word.startswith("-")), "")
    if name not in COMMANDS:
        name = ""
    options = build_parser(name).parse_args(given)
    if not options.command:
        build_parser("").print_help()
        return EXIT_USAGE
    run = cast(Callable[[argparse.Namespace], int], importlib.import_module(COMMANDS[options.command][0]).run)
    try:
        return run(options)
    except VeiligError as error:
        print(f"veilig: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("veilig: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader is gone (`veilig ... | head`): nothing more to say, and nothing to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
