"""`veilig access`: who may use which model. Subjects, keys, vetting, grants, budgets and scopes."""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from veilig.cli.record import parse_duration, print_json, table
from veilig.core.actor import Tier
from veilig.core.errors import EXIT_OK, UsageError

YEAR = "365d"


def options(parser: argparse.ArgumentParser) -> None:
    """What `access` takes."""
    parser.description = (
        "Each act is one event in the ledger, in the name of the person at this machine, and holds from the "
        "next request on. Keys and evidence are kept as hashes."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, line: str, do: Any) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=line, description=line)
        made.add_argument("--policy", metavar="FILE", help="the operator's policy")
        made.add_argument("--json", action="store_true", help="print JSON")
        made.set_defaults(do=do)
        return made

    show = verb("show", "who is known, with tier, keys, grants and budgets", _show)
    show.add_argument("subject", nargs="?", metavar="SUBJECT")
    add = verb("add", "make a person or a service known", _add)
    add.add_argument("subject", metavar="SUBJECT")
    add.add_argument("--org", required=True, metavar="ORG")
    add.add_argument("--service", action="store_true", help="not a person")
    key = verb("key", "new, list or revoke API keys", _key)
    key.add_argument("what", choices=("new", "list", "revoke"))
    key.add_argument("name", nargs="?", metavar="SUBJECT|KEY")
    key.add_argument("--for", dest="lasts", default="90d", metavar="DURATION", help="default 90d")
    key.add_argument("--from-stdin", action="store_true", help="take over a key that was made elsewhere")
    key.add_argument("--reason", default="", metavar="TEXT")
    seat = verb("seat", "new, list or revoke seats at the admin page (`veilig gateway admin`)", _seat)
    seat.add_argument("what", choices=("new", "list", "revoke"))
    seat.add_argument("name", nargs="?", metavar="PERSON|SEAT")
    seat.add_argument("--duty", default="admin", choices=("admin", "reviewer"), help="default admin")
    seat.add_argument("--for", dest="lasts", default="30d", metavar="DURATION", help="default 30d")
    seat.add_argument("--reason", default="", metavar="TEXT")
    vouch = verb("vouch", "vouch for a subject's tier; above standard several people must", _vouch)
    vouch.add_argument("subject", metavar="SUBJECT")
    vouch.add_argument("tier", choices=tuple(map(str, Tier)))
    vouch.add_argument("--for", dest="lasts", default=YEAR, metavar="DURATION")
    vouch.add_argument("--reason", default="", metavar="TEXT", help="what you know; it is evidence")
    attest = verb("attest", "raise a tier by a signed attestation or an identity token", _attest)
    attest.add_argument("subject", metavar="SUBJECT")
    attest.add_argument("--file", metavar="FILE", help="an attestation signed by one of access.attesters")
    attest.add_argument("--token", metavar="FILE", help="an ID token of one of access.issuers")
    grant = verb("grant", "let a subject use a class of models on a surface until a date", _grant)
    grant.add_argument("subject", metavar="SUBJECT")
    grant.add_argument("model_class", metavar="CLASS")
    grant.add_argument("--on", dest="surface", default="*", choices=("*", "responses", "chat", "embeddings"))
    grant.add_argument("--for", dest="lasts", required=True, metavar="DURATION")
    grant.add_argument("--credit-usd", type=float, metavar="N", help="what it may cost in all")
    grant.add_argument("--reason", default="", metavar="TEXT")
    withdraw = verb("withdraw", "take a grant back", _withdraw)
    withdraw.add_argument("grant", metavar="GRANT")
    withdraw.add_argument("--reason", default="", metavar="TEXT")
    budget = verb("budget", "bound what a key, a subject or an organisation spends", _budget)
    budget.add_argument("account", metavar="key:ID|subject:NAME|org:NAME")
    budget.add_argument("--per", default="month", choices=("day", "month", "total"))
    budget.add_argument("--tokens", type=int, default=-1, metavar="N")
    budget.add_argument("--usd", type=float, default=-1.0, metavar="N")
    scope = verb("scope", "say which hosts and repositories a subject is authorised to test", _scope)
    scope.add_argument("subject", metavar="SUBJECT")
    scope.add_argument("file", metavar="FILE", help="YAML: hosts: [...], repositories: [...]")
    scope.add_argument("--for", dest="lasts", default="90d", metavar="DURATION")


def run(given: argparse.Namespace) -> int:
    """0 done; 4 for what may not be done."""
    from veilig.cli.gateway import need_extra

    need_extra()
    return int(given.do(given))


def _office(given: argparse.Namespace) -> Any:
    from veilig.app import Setting
    from veilig.app.access import office

    return office(Setting(given.policy))


def day(expires_s: float) -> str:
    """A date, for people."""
    return datetime.fromtimestamp(expires_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _say(given: argparse.Namespace, facts: dict[str, Any], line: str) -> int:
    if given.json:
        print_json(facts)
    else:
        print(line)
    return EXIT_OK


def _add(given: argparse.Namespace) -> int:
    from veilig.app import access

    with _office(given) as at:
        made = access.add_subject(at, given.subject, given.org, "service" if given.service else "person")
        tier = made.tier(at.desk.now_s(), at.rules.access.default_tier)
    facts = {"subject": made.id, "org": made.org, "kind": made.kind, "tier": str(tier)}
    return _say(
        given, facts, f"added   {made.id} of {made.org}, tier {tier}\nnext    veilig access key new {made.id}"
    )


def _key(given: argparse.Namespace) -> int:
    from veilig.app import access

    with _office(given) as at:
        if given.what == "list":
            now = at.desk.now_s()
            keys = [k for k in at.registry.keys.values() if given.name in (None, k.subject)]
            if given.json:
                print_json([{"key": k.id, "subject": k.subject, "live": k.live(now)} for k in keys])
                return EXIT_OK
            rows = [("key", "subject", "begins", "state", "until")]
            for k in keys:
                state = "live" if k.live(now) else "revoked" if k.revoked else "expired"
                rows.append((k.id, k.subject, k.hint, state, day(k.expires_s)))
            print(table(rows) if keys else "no key was issued")
            return EXIT_OK
        if not given.name:
            raise UsageError(f"`key {given.what}` needs a name", fix="give the subject, or the key to revoke")
        if given.what == "revoke":
            gone = access.revoke_key(at, given.name, given.reason)
            return _say(given, {"key": gone.id, "revoked": True}, f"revoked {gone.id} of {gone.subject}")
        brought = sys.stdin.readline().strip() if given.from_stdin else None
        made, text = access.issue_key(at, given.name, parse_duration(given.lasts), brought)
    facts = {"key": made.id, "subject": made.subject, "expires_s": made.expires_s, "text": text}
    shown = "as you gave it" if brought is not None else text
    return _say(
        given,
        facts,
        f"key     {made.id} until {day(made.expires_s)}\nvalue   {shown}\n        shown this once",
    )


def _seat(given: argparse.Namespace) -> int:
    from veilig.access.seats import Duty
    from veilig.app import seats

    with _office(given) as at:
        if given.what == "list":
            known, now = list(seats.seats_of(at).known.values()), at.desk.now_s()
            if given.json:
                print_json([{"seat": s.id, "person": s.person, "live": s.live(now)} for s in known])
                return EXIT_OK
            rows = [("seat", "person", "duty", "given by", "state", "until")]
            for s in known:
                state = "live" if s.live(now) else "revoked" if s.taken else "expired"
                rows.append((s.id, s.person, s.duty, s.giver, state, day(s.expires_s)))
            print(table(rows) if known else "nobody has a seat: veilig access seat new PERSON")
            return EXIT_OK
        if not given.name:
            raise UsageError(
                f"`seat {given.what}` needs a name", fix="give the person, or the seat to revoke"
            )
        if given.what == "revoke":
            gone = seats.take(at, given.name, given.reason)
            return _say(given, {"seat": gone.id, "live": False}, f"revoked {gone.id} of {gone.person}")
        made, text = seats.give(at, given.name, Duty(given.duty), parse_duration(given.lasts))
    facts = {"seat": made.id, "person": made.person, "text": text}
    line = f"seat    {made.id} for {made.person}, {made.duty}, until {day(made.expires_s)}"
    return _say(given, facts, f"{line}\nkey     {text}\n        shown this once: hand it over yourself")


def _vouch(given: argparse.Namespace) -> int:
    from veilig.app import access

    with _office(given) as at:
        found = access.vouch(at, given.subject, Tier(given.tier), parse_duration(given.lasts), given.reason)
    if isinstance(found, int):
        facts: dict[str, Any] = {"subject": given.subject, "tier": given.tier, "missing": found}
        line = f"noted   {found} more must vouch before {given.subject} has tier {given.tier}"
        how = "another person does, here or with a seat: veilig access seat new PERSON --duty reviewer"
        return _say(given, facts, f"{line}\nnext    {how}")
    return _vetted(given, found)


def _vetted(given: argparse.Namespace, found: Any) -> int:
    facts = {
        "subject": given.subject,
        "tier": str(found.tier),
        "verifier": found.verifier,
        "expires_s": found.expires_s,
        "missing": 0,
    }
    return _say(given, facts, f"vetted  {given.subject} has tier {found.tier} until {day(found.expires_s)}")


def _attest(given: argparse.Namespace) -> int:
    from veilig.app import access

    if (given.file is None) == (given.token is None):
        raise UsageError("give --file or --token", why="one piece of evidence at a time")
    data = _read(given.file or given.token)
    with _office(given) as at:
        if given.file is not None:
            return _vetted(given, access.attest(at, given.subject, data))
        return _vetted(given, access.believe(at, given.subject, data.decode("ascii", "replace")))


def _grant(given: argparse.Namespace) -> int:
    from veilig.app import access

    with _office(given) as at:
        made = access.grant(
            at, given.subject, given.model_class, given.surface, parse_duration(given.lasts),
            given.credit_usd, given.reason,
        )  # fmt: skip
    facts = {
        "grant": made.id,
        "subject": made.subject,
        "class": made.model_class,
        "expires_s": made.expires_s,
    }
    line = f"granted {made.id}: {made.subject} may use class {made.model_class} on {made.surface}"
    return _say(given, facts, f"{line} until {day(made.expires_s)}\nundo    veilig access withdraw {made.id}")


def _withdraw(given: argparse.Namespace) -> int:
    from veilig.app import access

    with _office(given) as at:
        gone = access.withdraw(at, given.grant, given.reason)
    return _say(given, {"grant": gone.id, "withdrawn": True}, f"withdrawn {gone.id} of {gone.subject}")


def _budget(given: argparse.Namespace) -> int:
    from veilig.app import access

    if given.tokens < 0 and given.usd < 0:
        raise UsageError("a budget needs --tokens or --usd")
    with _office(given) as at:
        period = access.set_budget(at, given.account, given.per, given.tokens, given.usd)
        spent, _ = at.desk.spent(given.account)
    used = {"spent_tokens": spent.tokens, "spent_usd": spent.micro_usd / 1e6}
    facts = {"account": given.account, "period": period, **used}
    so_far = f"{spent.tokens} tokens, {spent.micro_usd / 1e6:.2f} USD"
    return _say(given, facts, f"budget  {given.account} per {given.per}; spent in {period}: {so_far}")


def _scope(given: argparse.Namespace) -> int:
    import yaml

    from veilig.app import access

    data = _read(given.file)
    try:
        value: object = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise UsageError(f"{given.file} is not YAML", why=str(error).split("\n")[0]) from error
    if not isinstance(value, dict) or not set(cast(dict[object, object], value)) <= {"hosts", "repositories"}:
        raise UsageError(f"{given.file} does not say hosts and repositories", fix="hosts: [shop.example]")
    said = cast(dict[str, object], value)
    hosts = _texts(given.file, said.get("hosts"))
    repositories = _texts(given.file, said.get("repositories"))
    with _office(given) as at:
        access.set_scope(at, given.subject, hosts, repositories, data, parse_duration(given.lasts))
    facts = {"subject": given.subject, "hosts": hosts, "repositories": repositories}
    return _say(
        given, facts, f"scope   {given.subject} may test {len(hosts)} hosts, {len(repositories)} repositories"
    )


def _texts(file: str, value: object) -> list[str]:
    items = cast(list[object], value) if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, str) for item in items) or isinstance(value, str):
        raise UsageError(f"{file}: hosts and repositories are lists of text")
    return [str(item) for item in items]


def _show(given: argparse.Namespace) -> int:
    with _office(given) as at:
        now = at.desk.now_s()
        known = [s for s in at.registry.subjects.values() if given.subject in (None, s.id)]
        if given.subject and not known:
            at.subject(given.subject)
        facts: list[dict[str, Any]] = []
        for s in known:
            grants = [g for g in at.registry.grants.values() if g.subject == s.id and not g.withdrawn]
            facts.append({
                "subject": s.id,
                "org": s.org,
                "tier": str(s.tier(now, at.rules.access.default_tier)),
                "keys": sum(k.subject == s.id and k.live(now) for k in at.registry.keys.values()),
                "grants": [g.model_class for g in grants if g.expires_s > now],
                "level": str(at.desk.ladder.standing(f"subject:{s.id}").level),
                "vetted_by": [f"{v.method}:{v.verifier}" for v in s.vettings if v.expires_s > now],
            })  # fmt: skip
        if given.subject and not given.json:
            from veilig.server.admin.look import subject_facts

            return _show_one(subject_facts(at, known[0]))
    if given.json:
        print_json(facts)
        return EXIT_OK
    rows = [("subject", "org", "tier", "live keys", "grants", "vetted by")]
    for f in facts:
        cells = (f["subject"], f["org"], f["tier"], str(f["keys"]), ",".join(f["grants"]) or "-")
        rows.append((*cells, ",".join(f["vetted_by"]) or "-"))
    print(table(rows) if facts else "nobody is known yet: veilig access add SUBJECT --org ORG")
    return EXIT_OK


def _show_one(f: dict[str, Any]) -> int:
    """One subject with all it holds, and the ids to change it by."""
    print(f"subject {f['subject']}, {f['kind']} of {f['org']}, tier {f['tier']}, level {f['level']}")
    for v in f["vetted"]:
        print(f"vetted  {v['tier']} by {v['verifier']} ({v['method']}) until {day(v['expires_s'])}")
    for v in f["vouches"]:
        print(f"vouched {v['tier']} by {v['person']} until {day(v['expires_s'])}")
    for k in f["keys"]:
        grown = f"{k['share']:.0%} of its limits, {k['clean_days']} clean days, level {k['level']}"
        print(f"key     {k['key']} {k['state']} until {day(k['expires_s'])}: {grown}")
    for g in f["grants"]:
        left = "" if g["credit_usd"] is None else f", {g['left_usd']:.2f} of {g['credit_usd']:.2f} USD left"
        what = f"{g['grant']} {g['class']} on {g['surface']} {g['state']}"
        print(f"grant   {what} until {day(g['expires_s'])}{left}")
    if f["hosts"] or f["repositories"]:
        print(f"scope   {', '.join((*f['hosts'], *f['repositories']))}")
    return EXIT_OK


def _read(name: str) -> bytes:
    if name == "-":
        return os.fsencode(sys.stdin.read())
    try:
        return Path(name).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read", why=str(error)) from error
