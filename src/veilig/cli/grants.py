"""`veilig grants`: standing permissions for low-risk acts. See them, give one, take one back."""

import argparse
import asyncio
import sys
from typing import Any

from veilig.cli.record import (
    duration,
    find_places,
    ledger_options,
    need_ledger,
    opened,
    parse_duration,
    print_json,
    setting_of,
    table,
)
from veilig.cli.style import Style, printable
from veilig.core.errors import EXIT_OK, UsageError

EVERYWHERE = "grants"  # the ledger's session id of permissions that hold in every session


def options(parser: argparse.ArgumentParser) -> None:
    """What `grants` takes."""
    parser.description = (
        "A standing permission answers one kind of question in advance, for a session or at most a day. It "
        "never covers databases, security, destruction, spending or anything beyond the copy and your own "
        "tree, and it only answers what the policy asks: it cannot allow what the policy denies."
    )
    ledger_options(parser)
    parser.set_defaults(do=_list)
    actions = parser.add_subparsers(metavar="ACTION")
    listing = actions.add_parser("list", help="those that hold now (default)")
    ledger_options(listing, inner=True)
    listing.set_defaults(do=_list)
    give = actions.add_parser("give", help="answer a kind of question in advance")
    ledger_options(give, inner=True)
    give.add_argument("kind", metavar="KIND", help="the kind of action, such as command.run")
    give.add_argument(
        "pattern",
        nargs="+",
        metavar="PATTERN",
        help="for command.run the words of the command (`*` is one word, a last `**` any rest; put `--` "
        "before words that begin with a dash); for other kinds one path or name with `*`",
    )
    until = give.add_mutually_exclusive_group(required=True)
    until.add_argument("--for", dest="lasts", metavar="DURATION", help="90s, 30m, 2h; at most 1d")
    until.add_argument("--session", metavar="ID", help="for this session only, and at most a day")
    give.add_argument("--in", dest="directory", default="", metavar="FOLDER", help="commands: only there")
    give.add_argument("--reason", default="", metavar="TEXT", help="recorded with it")
    give.set_defaults(do=_give)
    revoke = actions.add_parser("revoke", help="take one back, now")
    ledger_options(revoke, inner=True)
    revoke.add_argument("grant", metavar="ID", help="its id, or the beginning of it")
    revoke.add_argument("--reason", default="", metavar="TEXT", help="recorded with it")
    revoke.set_defaults(do=_revoke)


def run(given: argparse.Namespace) -> int:
    """Exit code 0; 4 for a permission that may not be given."""
    return int(given.do(given))


def _list(given: argparse.Namespace) -> int:
    from veilig.app import ledger_now
    from veilig.core.grant import GRANT_EVENTS, fold

    with opened(find_places(given)) as ledger:
        known = fold(ledger.events(names=GRANT_EVENTS)).values()
        now_ms, boot = ledger_now(ledger)
    live = [g for g in known if g.live(now_ms, boot)]
    if given.json:
        print_json([_plain(g, now_ms) for g in live])
        return EXIT_OK
    if not live:
        print("no standing permission holds")
        return EXIT_OK
    cells = [("grant", "kind", "pattern", "holds for", "in", "given by", "reason")]
    for g in live:
        scope = f"{g.session}, " if g.session_only else ""
        left = f"{scope}{duration((g.expires_ms - now_ms) / 1000)}"
        cells.append(
            (g.id, g.kind, " ".join(g.pattern), left, g.directory or ".", g.actor, printable(g.reason))
        )
    header, *lines = table(cells).splitlines()
    print(Style(sys.stdout)("dim", header))
    print("\n".join(lines))
    return EXIT_OK


def _give(given: argparse.Namespace) -> int:
    from veilig.app import find_session, grant
    from veilig.core.grant import Grant
    from veilig.core.limits import GRANT_EXPIRY_S_MAX

    places = find_places(given)
    setting = setting_of(given)
    if given.directory and given.kind != "command.run":
        raise UsageError("--in is for commands", why="other kinds name their target themselves")
    if given.directory.startswith("/") or ".." in given.directory.split("/"):
        raise UsageError(f"--in {given.directory!r} leaves the project", fix="give a folder inside it")
    session, seconds = EVERYWHERE, float(GRANT_EXPIRY_S_MAX)
    if given.session:
        session = find_session(places.home, given.session, setting).id
    else:
        seconds = parse_duration(given.lasts)
        need_ledger(places)
    wanted = Grant(
        id="",
        actor="",
        session=session,
        kind=given.kind,
        pattern=tuple(given.pattern),
        directory=given.directory,
        session_only=bool(given.session),
        expires_ms=0,
        boot="",
        reason=given.reason,
    )
    made = asyncio.run(grant(wanted, seconds, setting))
    if given.json:
        print_json(_plain(made, made.expires_ms - round(seconds * 1000)))
    else:
        where = f"in {session}" if made.session_only else "in every session"
        print(f"given   {made.id}: {made.kind} {' '.join(made.pattern)}, {where}, for {duration(seconds)}")
        print(f"undo    veilig grants revoke {made.id}")
    return EXIT_OK


def _revoke(given: argparse.Namespace) -> int:
    from veilig.app import revoke

    need_ledger(find_places(given))
    gone = asyncio.run(revoke(given.grant, given.reason, setting_of(given)))
    if given.json:
        print_json({"grant": gone.id, "revoked": True})
    else:
        print(f"revoked {gone.id}: {gone.kind} {' '.join(gone.pattern)} is asked again")
    return EXIT_OK


def _plain(grant: Any, now_ms: int) -> dict[str, Any]:
    return {
        "grant": grant.id,
        "kind": grant.kind,
        "pattern": list(grant.pattern),
        "directory": grant.directory,
        "session": grant.session if grant.session_only else None,
        "expires_s": max(0, round((grant.expires_ms - now_ms) / 1000)),
        "actor": grant.actor,
        "reason": grant.reason,
    }
