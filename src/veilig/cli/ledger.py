"""`veilig ledger`: is the record what was written, what does it say, and how does one prove it?"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from veilig.cli.ledger_keep import keep_options
from veilig.cli.record import (
    find_places,
    ledger_options,
    ledger_stands,
    local_time,
    need_ledger,
    opened,
    print_json,
)
from veilig.cli.style import Style, cut, printable
from veilig.core.errors import EXIT_INTERRUPTED, EXIT_OK, LedgerError, LedgerTampered

if TYPE_CHECKING:
    from veilig.core.ledger import Event

BODY_CHARS = 140
TAIL_EVENTS = 20


def options(parser: argparse.ArgumentParser) -> None:
    """What `ledger` takes."""
    parser.description = (
        "The ledger is append-only and hash-chained; anchors and signed checkpoints outside of it vouch for "
        "its length and content. `verify` recomputes everything and names the first bad event."
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    ledger_options(parser)
    verify = actions.add_parser("verify", help="recompute every hash, time, anchor and signature")
    verify.set_defaults(do=_verify)
    show = actions.add_parser("show", help="the events, of one session or of all")
    show.add_argument("session", nargs="?", default="", help="its id, or the beginning of it")
    show.add_argument("--name", action="append", default=[], metavar="EVENT", help="only events of this name")
    show.set_defaults(do=_show)
    tail = actions.add_parser("tail", help=f"the last {TAIL_EVENTS} events")
    tail.add_argument("-f", "--follow", action="store_true", help="and every one to come, from any process")
    tail.set_defaults(do=_tail)
    export = actions.add_parser("export", help="as JSON lines that can be checked without this ledger")
    export.add_argument(
        "session", nargs="?", default="", help="its id, or the beginning of it (default: all)"
    )
    export.set_defaults(do=_export)
    prove = actions.add_parser("prove", help="that one event is in the ledger: an RFC 9162 inclusion proof")
    prove.add_argument("seq", type=int, metavar="SEQ", help="the event's number")
    prove.set_defaults(do=_prove)
    adopt = actions.add_parser("adopt", help="trust a ledger that you moved here yourself")
    adopt.set_defaults(do=_adopt)
    for action in (verify, show, tail, export, prove, adopt):
        ledger_options(action, inner=True)
    keep_options(actions)


def run(given: argparse.Namespace) -> int:
    """Exit code 0; 4 when the ledger is not what was written or cannot be read."""
    return int(given.do(given))


def _verify(given: argparse.Namespace) -> int:
    from veilig.core.ledger_verify import verify_store
    from veilig.stores.opening import looks, places_at

    places = find_places(given)
    need_ledger(places)
    try:
        found = verify_store(looks(places.ledger), places_at(places.ledger, places.anchors))
    except LedgerTampered as error:
        if given.json:
            print_json({"ok": False, "seq": error.seq, "what": error.what, "why": error.why})
        raise
    if given.json:
        print_json({"ok": True, "path": str(places.ledger), **asdict(found)})
        return EXIT_OK
    style = Style(sys.stdout)
    print(f"ledger  {places.ledger}   {style('good', 'verified')}: nothing was changed, cut or added")
    print(f"events  {found.events}, of {_span(found.first_wall_ms, found.last_wall_ms)}")
    print(f"root    {found.root}")
    print(f"signed  {found.checkpoints} checkpoints, all signatures good")
    for warning in found.warnings:
        print(f"note    {warning}")
    return EXIT_OK


def _show(given: argparse.Namespace) -> int:
    with opened(find_places(given)) as ledger:
        session = _session(given)
        for event in ledger.events(session=session, names=_names(given.name), erased=True):
            _print(event, as_json=given.json)
    return EXIT_OK


def _tail(given: argparse.Namespace) -> int:
    with opened(find_places(given)) as ledger:
        after = max(0, ledger.size() - TAIL_EVENTS)
        if not given.follow:
            for event in ledger.events(after=after):
                _print(event, as_json=given.json)
            return EXIT_OK

        async def follow() -> None:
            async for event in ledger.follow(after=after):
                _print(event, as_json=given.json)
                sys.stdout.flush()

        try:
            asyncio.run(follow())
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
    return EXIT_OK


def _export(given: argparse.Namespace) -> int:
    with opened(find_places(given)) as ledger:
        for line in ledger.export(_session(given)):
            print(line)
    return EXIT_OK


def _prove(given: argparse.Namespace) -> int:
    from veilig.core.ledger_proof import verify_inclusion

    with opened(find_places(given)) as ledger:
        proof = ledger.prove(given.seq)
    if not verify_inclusion(proof.leaf, proof.seq, proof.size, proof.path, proof.root):
        raise LedgerTampered(f"the proof of event {given.seq} does not hold", seq=given.seq)
    print_json({"format": "veilig.ledger.inclusion.v1", **asdict(proof), "verified": True})
    return EXIT_OK


def _adopt(given: argparse.Namespace) -> int:
    from veilig.core.ledger_verify import adopt_store
    from veilig.stores.opening import looks, places_at

    places = find_places(given)
    need = places.ledger
    if not ledger_stands(places):
        raise LedgerError(f"there is no ledger at {need}", fix="move it there first")
    anchored = adopt_store(looks(need), places_at(need, places.anchors))
    if given.json:
        print_json({"path": str(need), "events": anchored.size, "root": anchored.root.hex()})
    else:
        print(f"adopted {need}: {anchored.size} events, root {anchored.root.hex()}")
        print("note    what was cut off before it was moved, nobody can see any more")
    return EXIT_OK


# --- parts -------------------------------------------------------------------------------------------


def _session(given: argparse.Namespace) -> str | None:
    """The full id; the ledger's own lines (`grants`, `ledger`) have no session behind them."""
    from veilig.app import Setting, find_session
    from veilig.cli.grants import EVERYWHERE

    if not given.session or given.session in (EVERYWHERE, "ledger"):
        return given.session or None
    return find_session(find_places(given).home, given.session, Setting(given.policy)).id


def _names(given: list[str]) -> tuple[str, ...] | None:
    from veilig.core.event import EVENTS

    for name in given:
        if name not in EVENTS:
            raise LedgerError(
                f"no event is called {name!r}",
                why=f"known names are {', '.join(EVENTS)}",
                fix="use one of them",
            )
    return tuple(given) or None


def _print(event: "Event", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(event), ensure_ascii=False))
        return
    body = "(erased)" if event.erased else json.dumps(event.body, ensure_ascii=False)
    name = f"{event.name:<20}"
    print(f"{event.seq:>6}  {local_time(event.wall_ms)}  {event.session:<16} {name} {_shown(body)}")


def _shown(body: str) -> str:
    return cut(printable(body), BODY_CHARS)


def _span(first_ms: int | None, last_ms: int | None) -> str:
    if first_ms is None or last_ms is None:
        return "no time yet"
    return f"{local_time(first_ms)} to {local_time(last_ms)}"
