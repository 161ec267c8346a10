"""`veilig queue prune`: clear queue and store of what nobody needs any more; shown first."""

import argparse
from dataclasses import asdict

from veilig.cli.record import parse_duration, print_json
from veilig.cli.worker import database
from veilig.core.errors import EXIT_OK

SHOWN_MAX = 20


def options(parser: argparse.ArgumentParser) -> None:
    """What it takes."""
    parser.description = (
        "Sessions that ended, campaigns but the last of each list, and pieces of the store that nothing left "
        "names. What waits, works or could be resumed stays, and so does what is younger than a day there. "
        "The ledger is not touched: see `veilig ledger erase`."
    )
    parser.add_argument(
        "--older-than", required=True, metavar="TIME", help="ended so long ago, as 30d or 12h; at least 1h"
    )
    parser.add_argument("--store", required=True, metavar="PLACE", help="the workers' store")
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--apply", action="store_true", help="remove it; without this it is only shown")


def run(given: argparse.Namespace) -> int:
    """0."""
    from veilig.app import Setting
    from veilig.app.fleet_pruning import prune

    older_s = parse_duration(given.older_than)
    told = prune(database(given), given.store, older_s, Setting(given.policy), apply=given.apply)
    if given.json:
        print_json({**asdict(told), "sessions": dict(told.sessions), "applied": given.apply})
        return EXIT_OK
    does = "gone    " if given.apply else "would go"
    sessions = ", ".join(f"{n} {state}" for state, n in sorted(told.sessions.items())) or "none"
    print(f"{does}  sessions: {sessions}; {told.campaigns} campaigns; {told.contents} known contents")
    print(f"{does}  {told.pieces} pieces of the store, {told.size_bytes / (1 << 20):.1f} MiB")
    for session, why in told.left[:SHOWN_MAX]:
        print(f"stays     {session}: {why}")
    if len(told.left) > SHOWN_MAX:
        print(f"stays     {len(told.left) - SHOWN_MAX} more that could be resumed")
    if not given.apply:
        print("next      the same command with --apply")
    return EXIT_OK
