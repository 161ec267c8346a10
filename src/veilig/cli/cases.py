"""`veilig cases`: what the enforcement ladder holds against whom, appeals, and decisions by people."""

import argparse
import asyncio
from typing import Any

from veilig.cli.record import local_time, parse_duration, print_json, table
from veilig.cli.style import printable
from veilig.core.errors import EXIT_OK, UsageError

LEVELS = ("observe", "warn", "throttle", "reroute", "suspend")


def options(parser: argparse.ArgumentParser) -> None:
    """What `cases` takes."""
    parser.description = (
        "A case opens when a subject is throttled, rerouted or suspended, or an answer was stopped. Who is "
        "concerned may appeal; somebody else than who opened the case decides, and says why."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, line: str, do: Any) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=line, description=line)
        made.add_argument("--policy", metavar="FILE", help="the operator's policy")
        made.add_argument("--json", action="store_true", help="print JSON")
        made.set_defaults(do=do)
        return made

    listing = verb("list", "cases, those that wait for a decision first", _list)
    listing.add_argument("--open", action="store_true", help="only appeals that wait")
    verb("show", "one case with its reasons", _show).add_argument("case", metavar="CASE")
    objecting = verb("appeal", "object to a case", _appeal)
    objecting.add_argument("case", metavar="CASE")
    objecting.add_argument("--reason", required=True, metavar="TEXT")
    deciding = verb("decide", "end an appeal", _decide)
    deciding.add_argument("case", metavar="CASE")
    deciding.add_argument("decision", choices=("grant", "deny"))
    deciding.add_argument("--reason", required=True, metavar="TEXT", help="the subject is told it")
    level = verb("level", "set a subject's level by hand, until its time is over", _level)
    level.add_argument(
        "subject", metavar="SUBJECT", help="user:ID, key:ID, subject:NAME, org:NAME or agent:WHO"
    )
    level.add_argument("level", choices=LEVELS)
    level.add_argument("--for", dest="lasts", default="7d", metavar="DURATION", help="default 7d")
    level.add_argument("--reason", required=True, metavar="TEXT", help="the subject is told it")


def run(given: argparse.Namespace) -> int:
    """0 done; 4 for a decision that this person may not take."""
    from veilig.cli.gateway import need_extra

    need_extra()
    return int(given.do(given))


def _office(given: argparse.Namespace) -> Any:
    from veilig.app import Setting
    from veilig.app.access import office

    return office(Setting(given.policy))


def _plain(case: Any, standing: Any) -> dict[str, Any]:
    return {
        "case": case.id,
        "subject": case.subject,
        "level": str(standing.level),
        "opened": local_time(case.opened_wall_s * 1000),
        "owner": case.owner or "the ladder",
        "moves": list(case.moves),
        "appeal": case.decided or ("open" if case.appeal else "none"),
        "said": case.appeal,
        "decision": case.decision,
    }


def _list(given: argparse.Namespace) -> int:
    with _office(given) as at:
        ladder = at.desk.ladder
        facts = [_plain(c, ladder.standing(c.subject)) for c in ladder.cases.values()]
    if given.open:
        facts = [f for f in facts if f["appeal"] == "open"]
    facts.sort(key=lambda f: f["appeal"] != "open")
    if given.json:
        print_json(facts)
        return EXIT_OK
    rows = [("case", "subject", "level", "appeal", "opened", "last reason")]
    for f in facts:
        last = printable(f["moves"][-1]) if f["moves"] else "an answer was stopped"
        rows.append((f["case"], f["subject"], f["level"], f["appeal"], f["opened"], last))
    print(table(rows) if facts else "no case" + (" waits for a decision" if given.open else " was opened"))
    return EXIT_OK


def _show(given: argparse.Namespace) -> int:
    with _office(given) as at:
        case = at.desk.ladder.cases.get(given.case)
        if case is None:
            raise UsageError(f"there is no case {given.case!r}", fix="`veilig cases list` lists them")
        facts = _plain(case, at.desk.ladder.standing(case.subject))
    if given.json:
        print_json(facts)
        return EXIT_OK
    for name in ("case", "subject", "level", "opened", "owner"):
        print(f"{name:<9}{facts[name]}")
    for move in facts["moves"]:
        print(f"moved    {printable(move)}")
    print(f"appeal   {facts['appeal']}" + (f": {printable(facts['said'])}" if facts["said"] else ""))
    if facts["decision"]:
        print(f"decided  {printable(facts['decision'])}")
    return EXIT_OK


def _appeal(given: argparse.Namespace) -> int:
    from veilig.app import cases

    with _office(given) as at:
        case = asyncio.run(cases.appeal(at, given.case, given.reason))
    if given.json:
        print_json({"case": case.id, "appeal": "open"})
    else:
        print(f"appeal  {case.id}: somebody else decides, with `veilig cases decide {case.id} grant|deny`")
    return EXIT_OK


def _decide(given: argparse.Namespace) -> int:
    from veilig.app import cases

    with _office(given) as at:
        case = asyncio.run(cases.decide(at, given.case, given.decision == "grant", given.reason))
        standing = at.desk.ladder.standing(case.subject)
    if given.json:
        print_json(_plain(case, standing))
    else:
        print(f"decided {case.id}: {case.decided}; {case.subject} stands at {standing.level}")
    return EXIT_OK


def _level(given: argparse.Namespace) -> int:
    from veilig.app import cases
    from veilig.monitor.ladder import Level

    with _office(given) as at:
        lasts_s = parse_duration(given.lasts)
        standing = asyncio.run(cases.set_level(at, given.subject, Level(given.level), lasts_s, given.reason))
    if given.json:
        print_json({"subject": standing.subject, "level": str(standing.level), "case": standing.case})
    else:
        print(f"level   {standing.subject} stands at {standing.level}, case {standing.case or '-'}")
    return EXIT_OK
