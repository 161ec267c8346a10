"""`veilig approvals`: what waits for people, and the vote of the person at this terminal."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any

from veilig.cli.record import duration, find_places, fleet_too, ledger_options, opened, print_json, table
from veilig.cli.style import Style, cut, printable
from veilig.core.errors import EXIT_OK

if TYPE_CHECKING:
    from veilig.core.approval import Approval
    from veilig.core.ledger import Ledger

COLOUR = {"open": "warn", "approved": "good", "denied": "bad", "expired": "dim", "spent": "dim"}


def options(parser: argparse.ArgumentParser) -> None:
    """What `approvals` takes."""
    parser.description = (
        "See what waits for people and vote, from any terminal of this machine. A vote counts for exactly "
        "the act that was shown, once, until it expires; the proposer, agents and bots never approve."
    )
    ledger_options(parser)
    fleet_too(parser)
    parser.set_defaults(do=_list, every=False)
    actions = parser.add_subparsers(metavar="ACTION")
    listing = actions.add_parser("list", help="what waits now (default)")
    ledger_options(listing, inner=True)
    listing.add_argument("--all", dest="every", action="store_true", help="also what was answered or expired")
    listing.set_defaults(do=_list)
    show = actions.add_parser("show", help="one question: what exactly, why, who must say yes, until when")
    ledger_options(show, inner=True)
    show.add_argument("approval", help="its id, or the beginning of it")
    show.set_defaults(do=_show)
    for word, said in (("approve", "say yes to one act"), ("deny", "say no; it is final for an hour")):
        voting = actions.add_parser(word, help=said)
        ledger_options(voting, inner=True)
        voting.add_argument("approval", help="its id, or the beginning of it")
        voting.add_argument("--reason", default="", metavar="TEXT", help="recorded with the vote")
        voting.set_defaults(do=_vote, approve=word == "approve")


def run(given: argparse.Namespace) -> int:
    """Exit code 0; 4 for a vote that may not count."""
    return int(given.do(given))


def known_approvals(ledger: "Ledger") -> "tuple[dict[str, Approval], dict[str, list[str]], int, str]":
    """Approvals by id, the reasons each question gave, and the ledger's time and boot."""
    from veilig.app import ledger_now
    from veilig.core.approval import APPROVAL_EVENTS, fold

    events = list(ledger.events(names=APPROVAL_EVENTS))
    why = {str(e.body["approval"]): _texts(e.body["why"]) for e in events if e.name == "approval.asked"}
    return fold(events), why, *ledger_now(ledger)


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value]


def left_s(asked: "Approval", now_ms: int) -> float:
    """Seconds until it expires: for the votes while it is open, for the act once it is approved."""
    from veilig.core.limits import APPROVAL_EXPIRY_S, PROPOSAL_EXPIRY_S

    if asked.missing():
        return PROPOSAL_EXPIRY_S - (now_ms - asked.asked_ms) / 1000
    last = max((b.t_ms for b in asked.ballots), default=asked.asked_ms)
    return min((n.expiry_s for n in asked.needs), default=APPROVAL_EXPIRY_S) - (now_ms - last) / 1000


def _list(given: argparse.Namespace) -> int:
    from veilig.core.approval import State, explain_missing

    with opened(find_places(given)) as ledger:
        known, _, now_ms, boot = known_approvals(ledger)
    live = (State.OPEN, State.APPROVED)
    shown = [(a, a.state(now_ms, boot)) for a in known.values()]
    shown = [(a, state) for a, state in shown if given.every or state in live]
    if given.json:
        print_json([{**approval_json(a, str(s), now_ms), "preview": a.preview} for a, s in shown])
        return EXIT_OK
    if not shown:
        print("nothing waits for people")
        return EXIT_OK
    style = Style(sys.stdout)
    cells = [("approval", "state", "expires", "session", "needs", "what")]
    for asked, state in shown:
        until = duration(left_s(asked, now_ms)) if state in live else "-"
        what = cut(printable(asked.preview.partition("\n")[0]), 60)
        cells.append((asked.id, state.value, until, asked.session, explain_missing(asked.missing()), what))
    header, *lines = table(cells).splitlines()
    print(style("dim", header))
    for (_, state), line in zip(shown, lines, strict=True):
        print(line.replace(state.value, style(COLOUR[state], state.value), 1))
    print("next    veilig approvals show ID")
    return EXIT_OK


def _show(given: argparse.Namespace) -> int:
    from veilig.core.approval import State, explain_missing, need_known
    from veilig.home import local_person

    places = find_places(given)
    with opened(places) as ledger:
        known, why, now_ms, boot = known_approvals(ledger)
    asked = need_known(known, given.approval)
    state = asked.state(now_ms, boot)
    if given.json:
        print_json(
            {**approval_json(asked, str(state), now_ms), "why": why[asked.id], "preview": asked.preview}
        )
        return EXIT_OK
    style = Style(sys.stdout)
    live = state in (State.OPEN, State.APPROVED)
    until = f", expires in {duration(left_s(asked, now_ms))}" if live else ""
    print(f"{asked.id}  {style(COLOUR[state], state.value)}{until}      session {asked.session}")
    print(f"from    {printable(asked.proposer)}")
    for reason in why[asked.id]:
        print(f"why     {printable(reason)}")
    print(f"needs   {explain_missing(asked.needs)}; never the proposer")
    for ballot in asked.ballots:
        said = "yes" if ballot.approve else "no"
        print(f"vote    {printable(ballot.actor)}: {said}")
    person = local_person(places.policy)
    voted = any(b.person == person.person for b in asked.ballots)
    print(f"you     {person.id}, {'voted' if voted else 'not yet voted'}")
    print("exactly this:")
    for line in asked.preview.splitlines() or [""]:
        print(f"    {_kept(line)}")
    if state is State.OPEN:
        print(f"next    veilig approvals approve {asked.id}   or   deny {asked.id} --reason TEXT")
    return EXIT_OK


def _vote(given: argparse.Namespace) -> int:
    from veilig.app import vote
    from veilig.cli.record import need_ledger, setting_of
    from veilig.core.approval import explain_missing

    need_ledger(find_places(given))
    asked = asyncio.run(vote(given.approval, given.approve, given.reason, setting_of(given)))
    missing = explain_missing(asked.missing())
    if given.json:
        print_json({"approval": asked.id, "approve": given.approve, "missing": missing})
    elif not given.approve:
        print(f"denied  {asked.id}: this act cannot be asked again for an hour")
    elif asked.missing():
        print(f"noted   {asked.id}: still needs {missing}")
    else:
        print(f"approved {asked.id}: a waiting session goes on; else `veilig resume {asked.session}`")
    return EXIT_OK


def _kept(line: str) -> str:
    """A line of a preview with its indentation, without what could act on a terminal."""
    indent = len(line) - len(line.lstrip(" "))
    return " " * indent + printable(line)


def approval_json(asked: "Approval", state: str, now_ms: int) -> dict[str, Any]:
    """One question for a script."""
    from veilig.core.approval import need_to_json

    return {
        "approval": asked.id,
        "state": state,
        "session": asked.session,
        "ref": asked.ref,
        "digest": asked.digest,
        "proposer": asked.proposer,
        "needs": [need_to_json(n) for n in asked.needs],
        "missing": [need_to_json(n) for n in asked.missing()],
        "votes": [{"actor": b.actor, "approve": b.approve} for b in asked.ballots],
        "expires_s": max(0, round(left_s(asked, now_ms))),
    }
