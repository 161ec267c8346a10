"""`veilig watch URL|ID`: the timeline of one session in the terminal, live, as the page shows it."""

import argparse
import asyncio
import getpass
import json
import os
import sys
from typing import Any

from veilig.cli.style import Style, cut, printable
from veilig.core.errors import EXIT_OK, UsageError

COLOUR = {"allow": "good", "ask": "warn", "deny": "bad"}
WIDTH = 110
PASSWORD = "VEILIG_PASSWORD"


def options(parser: argparse.ArgumentParser) -> None:
    """What `watch` takes."""
    parser.description = (
        "Watch one session. With an id: of this machine, from its ledger, as its owner. With the address "
        "of a page (http://HOST/#/s/ID, or an invitation http://HOST/#/join/TOKEN): as your role "
        f"there may. A password is asked for, or taken from {PASSWORD}. Who came in through an invitation is "
        "known again under the same name: a cookie is kept."
    )
    parser.add_argument("session", help="an id (or its beginning), or an address of the page")
    parser.add_argument("--as", dest="person", default="", metavar="NAME", help="who signs in, or comes in")
    parser.add_argument("--after", type=int, default=0, metavar="SEQ", help="only what came later")
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy, which may place the ledger")
    parser.add_argument("--json", action="store_true", help="print every event as a JSON line")


def run(given: argparse.Namespace) -> int:
    """0 when the session ended."""
    if given.after < 0:
        raise UsageError(f"--after {given.after} is below zero", fix="give an event's number")
    asyncio.run(_far(given) if "://" in given.session else _here(given))
    return EXIT_OK


async def _here(given: argparse.Namespace) -> None:
    """From the ledger of this machine, through the same view that the page has."""
    from veilig.app import Setting, find_session
    from veilig.cli.record import find_places, opened
    from veilig.collab.roles import Role
    from veilig.collab.view import view

    places = find_places(given)
    session = find_session(places.home, given.session, Setting(given.policy)).id
    show = _Shown(json_lines=given.json)
    with opened(places) as ledger:
        async for event in ledger.follow(after=given.after, session=session):
            show.event(view(event, Role.OWNER))
            if event.name == "session.ended":
                return


async def _far(given: argparse.Namespace) -> None:
    """Over the network, with what a browser would do."""
    from veilig.cli.serve import need_extra

    need_extra()
    from veilig.home import find_home
    from veilig.server.watching import Far, Kept, place_of

    place = place_of(given.session)
    person = given.person or getpass.getuser()
    signs_in = bool(os.environ.get(PASSWORD)) and not place.token
    kept = None if signs_in else Kept(find_home(os.environ).path, place.server, person)
    password = ""
    if not place.token and not (kept and kept.read()):
        password = os.environ.get(PASSWORD) or (getpass.getpass() if sys.stdin.isatty() else "")
    show = _Shown(json_lines=given.json)
    async with Far(place, person, password, kept) as far:
        async for message in far.messages(given.after):
            if message["t"] == "event":
                show.event(message["e"])
                if message["e"]["kind"] == "session.ended":
                    return
            elif message["t"] == "bye":
                print(f"veilig: {message['why']}; {message['fix']}", file=sys.stderr)
                return
            elif not given.json:
                show.other(message)


class _Shown:
    """Lines of a timeline on a terminal."""

    def __init__(self, *, json_lines: bool) -> None:
        self._json = json_lines
        self._style = Style(sys.stdout)

    def event(self, event: dict[str, Any]) -> None:
        """One event, on one line; what a command said, on as many as it has."""
        if self._json:
            print(json.dumps(event, ensure_ascii=False), flush=True)
            return
        if event["kind"] in ("session.noted", "action.started"):
            return
        verdict = str(event.get("verdict", ""))
        marked = self._style(COLOUR[verdict], verdict) if verdict in COLOUR else ""
        title = cut(printable(str(event["title"]).removeprefix(f"{verdict}: ")), WIDTH)
        who = cut(printable(event["who"]["name"]), 12)
        print(f"{event['seq']:>7}  {who:<12}  {event['kind']:<18}  {marked}{' ' if marked else ''}{title}")
        if event["kind"] == "action.output":
            for line in str(event["outcome"]["text"]).splitlines():
                print(self._style("dim", f"         | {cut(printable(line), WIDTH)}"))
        sys.stdout.flush()

    def other(self, message: dict[str, Any]) -> None:
        """Who is here, and who drives."""
        if message["t"] == "hello":
            here = ", ".join(printable(p["name"]) for p in message["people"] if p.get("here"))
            print(self._style("dim", f"you are {message['role']}; here: {here}"), flush=True)
        elif message["t"] == "control":
            holder = printable(str(message["holder"])) or "nobody"
            print(self._style("dim", f"{holder} drives"), flush=True)
