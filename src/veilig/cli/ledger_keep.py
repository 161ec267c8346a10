"""`veilig ledger prepare|move|erase`: make tables for it, bring it elsewhere, let old bodies go."""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilig.cli.record import find_places, ledger_options, need_ledger, parse_duration, print_json
from veilig.cli.style import printable
from veilig.core.errors import EXIT_OK, EXIT_REFUSED, UsageError

if TYPE_CHECKING:
    from veilig.stores.address import Address


def keep_options(actions: "argparse._SubParsersAction[Any]") -> None:  # pyright: ignore[reportPrivateUsage]  # argparse has no other name for it
    """Add the three to the actions of `veilig ledger`."""
    prepare = actions.add_parser("prepare", help="make or bring on the tables of a PostgreSQL database")
    prepare.add_argument("place", metavar="ADDRESS", help="postgresql://owner@host/database?org=NAME")
    prepare.add_argument("--worker", default="", metavar="ROLE", help="a role that records and reads")
    prepare.add_argument("--keeper", default="", metavar="ROLE", help="a role that may also erase and move")
    said = "a worker that serves the gateway or the page: it also keeps people and speeds"
    prepare.add_argument("--server", default="", metavar="ROLE", help=said)
    prepare.add_argument(
        "--bound", action="store_true", help="only members of these roles may name this organisation"
    )
    prepare.set_defaults(do=_prepare)
    move = actions.add_parser("move", help="bring the whole ledger to another place, byte for byte")
    move.add_argument("source", metavar="FROM", help="a path, or postgresql://...")
    move.add_argument("target", metavar="TO", help="a path, or postgresql://...")
    move.set_defaults(do=_move)
    erase = actions.add_parser("erase", help="erase bodies of sessions that are over; every proof stays")
    what = erase.add_mutually_exclusive_group(required=True)
    what.add_argument("--session", default="", metavar="ID", help="one session, or the beginning of its id")
    what.add_argument("--before", default="", metavar="AGE", help="all that are older than this, as 90d")
    erase.add_argument("--reason", required=True, help="why; it is recorded")
    erase.set_defaults(do=_erase)
    for action in (prepare, move, erase):
        ledger_options(action, inner=True)


def _prepare(given: argparse.Namespace) -> int:
    from veilig.stores.address import parse_place
    from veilig.stores.postgres_link import driver
    from veilig.stores.postgres_schema import prepare

    place = parse_place(given.place)
    if isinstance(place, Path):
        raise UsageError(f"{place} is a path", why="a file needs no preparing", fix="postgresql://...")
    driver()
    roles = {"worker": given.worker, "keeper": given.keeper, "server": given.server}
    done = prepare(place, **roles, bound=given.bound)
    if given.json:
        print_json({"place": str(place), "done": done})
    for line in () if given.json else done or ["nothing was missing"]:
        print(f"{place}: {printable(line)}")
    return EXIT_OK


def _move(given: argparse.Namespace) -> int:
    from veilig.app.keeping import move_ledger
    from veilig.stores.address import parse_place

    places = find_places(given)
    source, target = _absolute(parse_place(given.source)), _absolute(parse_place(given.target))
    moved = move_ledger(source, target, places.anchors, places.policy)
    if given.json:
        print_json({"from": str(source), "to": str(target), **asdict(moved)})
        return EXIT_OK
    print(f"moved   {moved.events} events, byte for byte, root {moved.root}")
    print(f"from    {source}   (kept; it is not written again)")
    print(f"to      {target}   verified")
    print("next    name the new place: VEILIG_LEDGER, or ledger.store or ledger.path in veilig.yaml")
    return EXIT_OK


def _erase(given: argparse.Namespace) -> int:
    from veilig.app import Setting, find_session
    from veilig.app.keeping import erase_bodies

    places = find_places(given)
    need_ledger(places)
    session = find_session(places.home, given.session, Setting(given.policy)).id if given.session else ""
    before = int((time.time() - parse_duration(given.before)) * 1000) if given.before else 0
    done, left = erase_bodies(
        places.home, places.policy, session=session, before_wall_ms=before, reason=given.reason
    )
    if given.json:
        kept = [{"session": one.session, "why": one.why or "nothing in it may go"} for one in left]
        print_json({"erased": [asdict(one) for one in done], "left": kept})
    else:
        for one in done:
            print(f"erased  {one.session}: {one.bodies} bodies; {one.kept} stay, which the law needs")
        for one in left:
            print(f"left    {one.session}: {one.why or 'nothing in it may go'}")
        print("note    backups, replicas and copies of the disk are not reached")
    return EXIT_REFUSED if session and left and left[0].why else EXIT_OK


def _absolute(place: "Path | Address") -> "Path | Address":
    return place.absolute() if isinstance(place, Path) else place
