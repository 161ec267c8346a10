"""`veilig queue campaigns` and `report`: how far is what many machines work on, and what was found so far?"""

import argparse
import sys
from typing import TYPE_CHECKING

from veilig.cli.record import print_json, table
from veilig.cli.style import Style
from veilig.cli.worker import database
from veilig.core.errors import EXIT_OK

if TYPE_CHECKING:
    from veilig.app.campaigns import Finished


def options(campaigns: argparse.ArgumentParser, report: argparse.ArgumentParser) -> None:
    """What the two take."""
    campaigns.add_argument("--limit", type=int, default=20, metavar="N")
    report.add_argument("campaign", help="its id, or the beginning of it")
    report.add_argument("--store", default="", metavar="PLACE", help="the workers' store")
    report.add_argument(
        "--output",
        action="append",
        metavar="FILE",
        help="write it there, as the suffix says; may be repeated",
    )


def list_campaigns(given: argparse.Namespace) -> int:
    """0."""
    from veilig.app import Setting
    from veilig.app.fleet_campaigns import Far, campaigns_in

    every = campaigns_in(Far(database(given)), Setting(), max(1, given.limit))
    if given.json:
        names = ("id", "kind", "list", "began_at", "ended_at", "repositories")
        print_json([{**{name: told[name] for name in names}, "ended": ended} for told, ended in every])
        return EXIT_OK
    rows = [("campaign", "kind", "done", "of", "began", "ended", "list")] if every else []
    for told, ended in every:
        of, over = str(told["repositories"]), told["ended_at"] or "-"
        rows.append((told["id"], told["kind"], str(ended), of, told["began_at"], over, told["list"]))
    print(table(rows) or "there is no campaign")
    return EXIT_OK


def write(given: argparse.Namespace) -> int:
    """0."""
    from veilig.app import Setting
    from veilig.app.fleet_campaigns import Far, gathered
    from veilig.cli.audit_fleet import forms_of
    from veilig.cli.fleet_report import render_text, write_report

    outputs = forms_of(given.output or [])

    def use(finished: "Finished") -> None:
        for file, form in outputs.items():
            write_report(file, form, finished)
            print(
                f"report  {file}, {len(finished.results)} of {finished.heading.repositories}", file=sys.stderr
            )
        if not outputs:
            print(render_text(finished, Style(sys.stdout)))

    gathered(given.campaign, Far(database(given), given.store), Setting(), use)
    return EXIT_OK
