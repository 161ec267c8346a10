"""`veilig incidents`: what was wrong with services, what was done about it, and did it help?"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from veilig.cli.record import duration, find_places, ledger_options, local_time, opened, print_json, table
from veilig.cli.style import Style, cut, printable
from veilig.core.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from veilig.heal.record import Told


def options(parser: argparse.ArgumentParser) -> None:
    """What `incidents` takes."""
    parser.description = "List the incidents that `veilig heal` recorded, or tell one in full."
    ledger_options(parser)
    parser.set_defaults(do=_list, limit=50, open=False)
    actions = parser.add_subparsers(metavar="ACTION")
    listing = actions.add_parser("list", help="the newest last (default)")
    ledger_options(listing, inner=True)
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="the newest N (default 50)")
    listing.add_argument("--open", action="store_true", help="only those that are not over")
    listing.set_defaults(do=_list)
    show = actions.add_parser("show", help="one incident: evidence, causes, acts and what came of them")
    ledger_options(show, inner=True)
    show.add_argument("incident", help="its id, or the beginning of it; - for the newest")
    show.add_argument("--markdown", metavar="FILE", help="write the report there")
    show.add_argument("--svg", metavar="FILE", help="write the timeline as a picture")
    show.add_argument("--html", metavar="FILE", help="write report and timeline as one page")
    show.set_defaults(do=_show)


def run(given: argparse.Namespace) -> int:
    """Exit code 0; 2 for an incident that is not there."""
    return int(given.do(given))


def _told(given: argparse.Namespace) -> "list[Told]":
    from veilig.heal.record import incidents

    with opened(find_places(given)) as ledger:
        return incidents(ledger.events(names=("session.started", "session.noted")))


def _list(given: argparse.Namespace) -> int:
    found = [told for told in _told(given) if not (given.open and told.incident.closed_s)][-given.limit :]
    if given.json:
        print_json([told.to_json() for told in found])
        return EXIT_OK
    if not found:
        print("no incidents" if given.open else "no incidents were recorded here")
        return EXIT_OK
    rows: list[tuple[str, ...]] = [("incident", "began", "lasted", "cause", "acts", "")]
    for told in found:
        one = told.incident
        cause = told.cause.replace("_", " ") + (f": {printable(one.subject)}" if one.subject else "")
        acts = ", ".join(f"{d.kind.rpartition('.')[2]} {d.status}" for d in one.acts) or "-"
        lasted = duration((one.closed_s or one.updated_s) - one.opened_s)
        state = one.ended if one.closed_s else f"open, {one.stage}: {one.why}"
        rows.append(
            (
                one.id,
                local_time(told.opened_ms),
                lasted,
                cut(cause, 44),
                cut(acts, 50),
                cut(printable(state), 60),
            )
        )
    print(table(rows))
    return EXIT_OK


def _show(given: argparse.Namespace) -> int:
    from veilig.heal.report import markdown

    known = _told(given)
    found = known[-1:] if given.incident == "-" else [t for t in known if t.incident.id == given.incident]
    if not found:
        found = [t for t in known if t.incident.id.startswith(given.incident)][-1:]
    if not found:
        raise UsageError(f"there is no incident {given.incident!r}", fix="veilig incidents list")
    told = found[-1]  # the same name in an older watch is another incident: the newest is meant
    if given.json:
        print_json(told.to_json())
        return EXIT_OK
    text = markdown(told.incident, told.wall_offset_s, {"session": told.session})
    written = _write(given, told, text)
    if not written:
        style = Style(sys.stdout)
        for line in text.splitlines():
            shown = printable(line) if line else ""
            print(style("bold", shown) if line.startswith("#") else shown)
    for line in written:
        print(line)
    return EXIT_OK


def _write(given: argparse.Namespace, told: "Told", text: str) -> list[str]:
    """The files that were asked for, written; a line for each."""
    from veilig.heal.timeline import html, svg

    made = {
        given.markdown: lambda: text,
        given.svg: lambda: svg(told.incident, told.wall_offset_s),
        given.html: lambda: html(told.incident, told.wall_offset_s, {"session": told.session}),
    }
    lines: list[str] = []
    for place, make in made.items():
        if not place:
            continue
        try:
            Path(place).write_text(make(), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {place!r}", why=error.strerror or str(error)) from error
        lines.append(f"wrote   {place}")
    return lines
