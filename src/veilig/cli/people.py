"""`veilig people`: who has an account on the page, and as what."""

import argparse
import asyncio
import getpass
import sys
from typing import Any

from veilig.cli.record import find_places, ledger_options, print_json, setting_of, table
from veilig.core.errors import EXIT_OK, UsageError

ROLES = ("owner", "driver", "approver", "commenter", "viewer")


def options(parser: argparse.ArgumentParser) -> None:
    """What `people` takes."""
    parser.description = (
        "Accounts of the page (`veilig serve`). The role holds in every session that gives no other: a "
        "viewer watches, a commenter comments, an approver votes, a driver starts and steers, an owner "
        "does all of it, lets people in and may see secrets."
    )
    ledger_options(parser)
    parser.set_defaults(do=_list)
    verbs = parser.add_subparsers(metavar="VERB")
    listing = verbs.add_parser("list", help="everybody (default)")
    ledger_options(listing, inner=True)
    listing.set_defaults(do=_list)
    add = verbs.add_parser(
        "add", help="a new account; its password is asked for, or read from standard input"
    )
    ledger_options(add, inner=True)
    add.add_argument("name", help="letters, digits and ._-@+")
    add.add_argument("--role", choices=ROLES, default="viewer", help="default viewer")
    add.add_argument("--no-password", action="store_true", help="they sign in with a link or elsewhere")
    add.set_defaults(do=_add)
    change = verbs.add_parser("change", help="another role or password; block, let in again")
    ledger_options(change, inner=True)
    change.add_argument("name")
    change.add_argument("--role", choices=ROLES)
    change.add_argument("--password", action="store_true", help="ask for a new one; ends their sign-ins")
    active = change.add_mutually_exclusive_group()
    active.add_argument("--block", action="store_true", help="they are out at once, everywhere")
    active.add_argument("--unblock", action="store_true")
    change.set_defaults(do=_change)
    bring = verbs.add_parser("bring", help="take this machine's accounts along to the ledger's database")
    ledger_options(bring, inner=True)
    bring.set_defaults(do=_bring)


def run(given: argparse.Namespace) -> int:
    """Exit code 0; 2 for a name or a password that cannot be."""
    from veilig.cli.serve import need_extra

    need_extra()
    return int(given.do(given))


def _accounts(given: argparse.Namespace) -> Any:
    from veilig.collab.accounts import Accounts

    places = find_places(given)
    return Accounts(places.home.open_tables(places.policy))


def _list(given: argparse.Namespace) -> int:
    people = _accounts(given).people()
    if given.json:
        print_json([
            {"id": p.id, "name": p.name, "role": str(p.role or ""), "active": p.active, "subject": p.subject}
            for p in people
        ])  # fmt: skip
        return EXIT_OK
    if not people:
        print("nobody has an account yet: `veilig people add NAME --role ROLE`, or open the link of `serve`")
        return EXIT_OK
    rows = [("id", "name", "role", "state")]
    rows += [(p.id, p.name, str(p.role or "guest"), "active" if p.active else "blocked") for p in people]
    print(table(rows))
    return EXIT_OK


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("password (12 characters or more): ")
    if getpass.getpass("again: ") != first:
        raise UsageError("the two are not the same", fix="try again")
    return first


def _add(given: argparse.Namespace) -> int:
    from veilig.collab.roles import Role

    password = "" if given.no_password else _password()
    if not password and not given.no_password:
        raise UsageError("no password was given", fix="type one, or say --no-password")
    made = _accounts(given).add(given.name, given.name, Role(given.role), password=password)
    _told(given, {"person": made.id, "name": made.name, "role": given.role, "via": "terminal"}, new=True)
    print(f"added   {made.id} as {given.role}")
    return EXIT_OK


def _change(given: argparse.Namespace) -> int:
    from veilig.collab.roles import Role

    active = False if given.block else True if given.unblock else None
    role = Role(given.role) if given.role else None
    password = _password() if given.password else None
    if role is None and active is None and password is None:
        raise UsageError("nothing is to be changed", fix="--role, --password, --block or --unblock")
    made = _accounts(given).change(given.name, role=role, active=active, password=password)
    _told(given, {"person": made.id, "role": str(made.role or ""), "active": made.active}, new=False)
    print(f"changed {made.id}: {made.role or 'guest'}, {'active' if made.active else 'blocked'}")
    return EXIT_OK


def _bring(given: argparse.Namespace) -> int:
    """Passwords come along as they are: hashes. Nothing is removed here."""
    from veilig.collab.accounts import Accounts

    places = find_places(given)
    file, target = places.home.path / "people.db", places.home.open_tables(places.policy)
    if isinstance(target, type(file)):
        raise UsageError("the ledger is a file, and people stand beside it", fix="name a database: --ledger")
    if not file.exists():
        raise UsageError(f"there is no {file}", why="nobody has an account on this machine")
    came, here = Accounts(target).bring(Accounts(file))
    for one in came:
        body = {"person": one.id, "name": one.name, "role": str(one.role or ""), "via": "brought"}
        _told(given, body, new=True)
    print(f"brought {len(came)} accounts to {places.ledger}; {len(here)} were there already")
    return EXIT_OK


def _told(given: argparse.Namespace, body: dict[str, Any], *, new: bool) -> None:
    from veilig.app.people import account_told

    asyncio.run(account_told(body, setting_of(given), new=new))
