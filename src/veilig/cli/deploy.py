"""`veilig deploy`: may a model be reached, on whose word, and does all stand that the word asked for?"""

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from veilig.core.errors import EXIT_OK, EXIT_REFUSED, UsageError

if TYPE_CHECKING:
    from veilig.app import Setting

DAYS_DEFAULT, DAYS_MAX = 90.0, 400.0


def options(parser: argparse.ArgumentParser) -> None:
    """What `deploy` takes."""
    parser.description = (
        "A model of a class that lists the safeguard deployment_signed is unreachable through the gateway "
        "until a person has signed a capability report on it, and every safeguard the report requires works."
    )
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    checked = parts.add_parser(
        "check", help="exit 0 when the model may be deployed, 4 with the reasons when not"
    )
    checked.add_argument("model", help="as gateway.models names it")
    checked.add_argument("--json", action="store_true", help="print JSON")
    checked.set_defaults(do=_check)
    signed = parts.add_parser("sign", help="take responsibility for a capability report")
    signed.add_argument("report", help="a file of `veilig eval capability --out`")
    signed.add_argument("--reason", required=True, metavar="TEXT", help="why the level is acceptable there")
    signed.add_argument("--days", type=float, default=DAYS_DEFAULT, help="how long it holds (default 90)")
    signed.set_defaults(do=_sign)
    taken = parts.add_parser("withdraw", help="take a signature back, at once")
    taken.add_argument("model", help="as it was signed")
    taken.add_argument("--reason", required=True, metavar="TEXT", help="why")
    taken.set_defaults(do=_withdraw)
    for part in (checked, signed, taken):
        part.add_argument(
            "--class", dest="capability_class", required=True, metavar="NAME", help="of access.classes"
        )
        part.add_argument(
            "--policy", metavar="FILE", help="the operator's policy (default: see the reference)"
        )


def run(given: argparse.Namespace) -> int:
    """Exit 0 it may (or it was recorded), 2 wrong use, 4 it may not."""
    code: int = given.do(given)
    return code


def _setting(given: argparse.Namespace) -> "Setting":
    from veilig.app import Setting

    return Setting(given.policy, environment=dict(os.environ))


def _check(given: argparse.Namespace) -> int:
    from veilig.app.deployment import check

    why, tried = check(given.model, given.capability_class, _setting(given))
    if given.json:
        print(json.dumps({"may": not why, "why_not": why, "tried": list(tried)}, indent=2))
    else:
        for line in tried:
            print(f"tried   {line}")
        for line in why:
            print(f"refused {line}")
        if not why:
            print(f"ok      {given.model} may be deployed in class {given.capability_class}")
    return EXIT_REFUSED if why else EXIT_OK


def _sign(given: argparse.Namespace) -> int:
    from veilig.app.deployment import sign
    from veilig.evals.capability import digest_of, read_report, told

    if not 0 < given.days <= DAYS_MAX:
        raise UsageError(f"--days {given.days} is outside 0 to {DAYS_MAX:.0f}", why="a signature must end")
    if not given.reason.strip():
        raise UsageError("--reason is empty", why="whoever asks later must learn why it was acceptable")
    report = read_report(Path(given.report))
    digest = digest_of(report)
    asyncio.run(
        sign(report, digest, given.capability_class, given.reason, given.days * 86400, _setting(given))
    )
    print(told(report))
    print(f"signed   {digest[:16]} for class {given.capability_class}, {given.days:g} days")
    return EXIT_OK


def _withdraw(given: argparse.Namespace) -> int:
    from veilig.app.deployment import withdraw

    asyncio.run(withdraw(given.model, given.capability_class, given.reason, _setting(given)))
    print(f"withdrawn: {given.model} in class {given.capability_class}")
    return EXIT_OK
