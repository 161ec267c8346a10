"""`veilig sessions export`: one session for a viewer: spans (OTLP), a trajectory (ATIF) or its events."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, cast

from veilig.cli.record import find_places, ledger_options, opened, print_json
from veilig.core.errors import EXIT_OK, UsageError

FORMATS = ("otlp", "atif", "json")


def export_options(parser: argparse.ArgumentParser) -> None:
    """What `sessions export` takes."""
    ledger_options(parser, inner=True)
    parser.add_argument("session", help="its id, or the beginning of it")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="json",
        help="otlp: OpenTelemetry spans as JSON; atif: a trajectory; json: every event (default)",
    )
    parser.add_argument(
        "--content", action="store_true", help="otlp: also what was said and done, not only that it was"
    )
    parser.add_argument("--out", metavar="FILE", help="write it there (default: standard output)")
    parser.set_defaults(do=export)


def export(given: argparse.Namespace) -> int:
    """Print the session in the wanted form; secrets are handles, as in the ledger."""
    from veilig import __version__
    from veilig.agent.spans import otlp, spans_of
    from veilig.agent.trajectory import trajectory
    from veilig.agent.trajectory_acts import acts_trajectory
    from veilig.app import Setting, find_session

    if given.content and given.format != "otlp":
        raise UsageError(f"--content has no meaning for {given.format}", why="it always holds everything")
    places = find_places(given)
    with opened(places) as ledger:
        session = find_session(places.home, given.session, Setting(given.policy)).id
        events = list(ledger.events(session=session))
    found: Any
    match given.format:
        case "otlp":
            found = otlp(spans_of(session, events, content=given.content), __version__)
        case "atif":
            started = next((e.body for e in events if e.name == "session.started"), None)
            options = cast(dict[str, Any], started["options"] if started else {})
            if options.get("model"):
                found = trajectory(session, events)
            else:
                found = acts_trajectory(session, events, str(options.get("task") or f"veilig {session}"))
        case _:
            told = [{"seq": e.seq, "name": e.name, "wall_ms": e.wall_ms, "body": e.body} for e in events]
            found = {"session": session, "veilig": __version__, "events": told}
    if not given.out:
        print_json(found)
        return EXIT_OK
    try:
        Path(given.out).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {given.out!r}", why=str(error)) from error
    print(f"written {given.out}", file=sys.stderr)
    return EXIT_OK
