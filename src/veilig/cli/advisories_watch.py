"""`veilig advisories watch` and `alerts`: whom does a new advisory concern, and what would mend it?"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from veilig.cli.style import printable
from veilig.core.errors import EXIT_FINDINGS, EXIT_INCOMPLETE, EXIT_OK, UsageError, VeiligError

if TYPE_CHECKING:
    from veilig.app import Setting
    from veilig.campaign.sboms import Alert, Sboms

NAMES_SHOWN_MAX = 5
EVERY_S = 10.0
EVERY_FAR_S = 300.0  # a server is asked less often


def watch_options(parser: argparse.ArgumentParser) -> None:
    """What `advisories watch` takes."""
    parser.description = (
        "Reads what is new in a feed and names the audited repositories it concerns, each with the lowest "
        "version that no advisory covers. What was read is remembered: a restart tells nothing twice. "
        "Nothing is changed in any repository; `veilig fix` does that."
    )
    parser.add_argument(
        "--from", dest="feed", required=True, metavar="PATH|URL",
        help="a folder or file of OSV records that somebody keeps up to date, or the https address of one",
    )  # fmt: skip
    parser.add_argument(
        "--once", action="store_true", help="read it once; exit code 1 when it concerns somebody"
    )
    parser.add_argument(
        "--every", type=float, default=0.0, metavar="SECONDS",
        help=f"how often to look (default: {EVERY_S:.0f}, for an address {EVERY_FAR_S:.0f})",
    )  # fmt: skip
    parser.add_argument("--webhook", default="", metavar="URL", help="tell this address of each advisory")
    parser.add_argument(
        "--webhook-secret-env", default="", metavar="NAME", help="the variable with the key that signs it"
    )
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each repository")
    _database_option(parser)


def _database_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database", nargs="?", const="", metavar="URL",
        help="the repositories that a fleet has audited, of the organisation that the address names (?org=); "
        "without URL: $VEILIG_DATABASE. Default: those that this machine has audited",
    )  # fmt: skip


def _database(given: argparse.Namespace) -> str:
    from veilig.cli.worker import database

    return "" if given.database is None else database(given)


def watch(given: argparse.Namespace) -> int:
    """0 nothing new, 1 somebody is concerned, 3 part of the feed could not be read."""
    from veilig.app import Setting
    from veilig.app.components import open_sboms

    every_s = given.every or (EVERY_FAR_S if "://" in given.feed else EVERY_S)
    if not 0.1 <= every_s <= 86400:
        raise UsageError(f"--every {given.every}", why="0.1 to 86400 seconds")
    secret = os.environ.get(given.webhook_secret_env, "") if given.webhook_secret_env else ""
    if given.webhook_secret_env and not secret:
        raise UsageError(f"the variable {given.webhook_secret_env} is not set", fix="set it, or leave it out")
    if given.webhook:
        from veilig.server.webhooks import Target

        Target(given.webhook, secret)  # what is wrong with it is said before anything is read
    setting = Setting(given.policy)
    with open_sboms(setting, _database(given)) as sboms:
        repositories, components = sboms.size
        about = f"{components} components of {repositories} repositories"
        print(f"watch   {given.feed}, {about}", file=sys.stderr)
        while True:
            alerts, troubles = _look(given, setting, sboms)
            _tell(given, sboms, secret)
            if given.once:
                return EXIT_FINDINGS if alerts else EXIT_INCOMPLETE if troubles else EXIT_OK
            time.sleep(every_s)


def _look(given: argparse.Namespace, setting: "Setting", sboms: "Sboms") -> tuple[int, int]:
    """One look at the feed: how many alerts and troubles. A feed that is away is said, and asked again."""
    from veilig.campaign.feed import take_in

    fetched: Path | None = None
    began_s = time.monotonic()
    try:
        if "://" in given.feed:
            from veilig.cli.advisories_fetch import fetched_file

            fetched = fetched_file(given.feed, setting)
        source = fetched or Path(given.feed).expanduser()
        alerts, troubles, read = take_in(sboms, source, given.feed if fetched else "")
    except VeiligError as error:
        if given.once:
            raise
        print(f"trouble {printable(str(error))}", file=sys.stderr)
        return 0, 1
    finally:
        if fetched is not None:
            fetched.unlink(missing_ok=True)
    for why in troubles:
        print(f"trouble {printable(why)}", file=sys.stderr)
    if read:
        took_s = time.monotonic() - began_s
        print(f"read    {read} new pages, {len(alerts)} alerts, {took_s:.2f} s", file=sys.stderr)
    show(alerts, as_json=given.json)
    return len(alerts), len(troubles)


def show(alerts: "Sequence[Alert]", *, as_json: bool) -> None:
    """One line for each bump, or one JSON object for each repository."""
    if as_json:
        for alert in alerts:
            print(alert.to_json(), flush=True)
        return
    for group in grouped(alerts):
        first = group[0]
        to = f"-> {first.clean}" if first.clean else "no clean version is known"
        names = ", ".join(printable(alert.repository) for alert in group[:NAMES_SHOWN_MAX])
        more = f" and {len(group) - NAMES_SHOWN_MAX} more" if len(group) > NAMES_SHOWN_MAX else ""
        head = f"{printable(first.advisory)}  {first.package} {first.version} {to}"
        print(
            f"{head}  {printable(first.summary)[:100]}\n        {len(group)} repositories: {names}{more}",
            flush=True,
        )


def grouped(alerts: "Sequence[Alert]") -> "list[list[Alert]]":
    """Alerts of one advisory and version together."""
    found: dict[tuple[str, str, str], list[Alert]] = {}
    for alert in alerts:
        found.setdefault((alert.advisory, alert.package, alert.version), []).append(alert)
    return list(found.values())


def _tell(given: argparse.Namespace, sboms: "Sboms", secret: str) -> None:
    """Whoever was not told yet, also before a restart; what is not taken is tried again the next time."""
    if not given.webhook:
        return
    from veilig.server.alerts import tell
    from veilig.server.webhooks import Target

    waiting = grouped(sboms.alerts(untold=True))
    for group, told in zip(waiting, asyncio.run(tell(Target(given.webhook, secret), waiting)), strict=True):
        if told:
            sboms.told(group)
        else:
            print(f"trouble the webhook does not take {printable(group[0].advisory)}", file=sys.stderr)


def alerts_options(parser: argparse.ArgumentParser) -> None:
    """What `advisories alerts` takes."""
    parser.add_argument("--state", choices=("open", "resolved", "withdrawn"), default="open")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each repository")
    _database_option(parser)


def list_alerts(given: argparse.Namespace) -> int:
    """0."""
    from veilig.app import Setting
    from veilig.app.components import open_sboms

    with open_sboms(Setting(), _database(given)) as sboms:
        show(sboms.alerts(state=given.state), as_json=given.json)
    return EXIT_OK
