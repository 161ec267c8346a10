"""What stands on each page? Facts as tables, and below them the acts that one may take. No script."""

from datetime import UTC, datetime
from typing import Final

from veilig.monitor.ladder import RANK, Case, Level
from veilig.server.admin import look
from veilig.server.admin.frame import Page
from veilig.server.admin.html import Html, Part, badge, facts, join, link, table, tag
from veilig.server.admin.state import feed_facts

SOON_S: Final = 7 * 86_400


def when(at_s: float) -> str:
    """A moment, for people."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M") if at_s else "-"


def waiting(page: Page) -> Html:
    """What wants a person now."""
    at, now = page.at, page.at.desk.now_s()
    appeals = [c for c in at.desk.ladder.cases.values() if c.appeal and not c.decided]
    soon = [
        (link(f"/subjects/{g.subject}", g.subject), g.id, g.model_class, when(g.expires_s))
        for g in at.registry.grants.values()
        if not g.withdrawn and now < g.expires_s < now + SOON_S
    ]
    broken = [(t.name, badge("fails"), t.detail) for t in page.state.tested.values() if not t.passed]
    lacking = [
        (link(f"/subjects/{v['subject']}", v["subject"]), v["tier"], ", ".join(v["people"]))
        for v in look.missing_vouches(at)
    ]
    trouble = [(when(at_ms / 1000), what, why) for at_ms, what, why in page.state.trouble]
    return page.whole(
        "Waiting",
        tag("h2", "Appeals that nobody has decided"),
        _cases(page, appeals, "no appeal waits"),
        tag("h2", "Vouched for, and more people needed"),
        table(("subject", "tier", "who vouched"), lacking, "nobody waits for a second voucher"),
        tag("h2", "Safeguards that fail their self-test"),
        table(
            ("safeguard", "state", "seen"),
            broken,
            "none" if page.state.tested else "no gateway has tried one",
        ),
        tag("h2", "Grants that end within a week"),
        table(("subject", "grant", "class", "until, UTC"), soon, "none"),
        tag("h2", "Trouble"),
        table(("when, UTC", "where", "what"), trouble, "none was recorded"),
    )


def _cases(page: Page, cases: list[Case], empty: str) -> Html:
    rows: list[tuple[Part, ...]] = []
    for case in sorted(cases, key=lambda c: -c.opened_wall_s):
        f = look.case_facts(page.at, case)
        last = f["moves"][-1] if f["moves"] else "an answer was stopped"
        rows.append(
            (
                link(f"/cases/{case.id}", case.id),
                f["subject"],
                badge(f["level"]),
                badge(_appeal(f["appeal"])),
                when(f["opened_s"]),
                last,
            )
        )
    return table(("case", "subject", "level", "appeal", "opened, UTC", "last reason"), rows, empty)


def _appeal(word: str) -> str:
    return "waits" if word == "open" else word


def cases(page: Page) -> Html:
    """All cases, and setting a level by hand."""
    known = list(page.at.desk.ladder.cases.values())
    return page.whole(
        "Cases",
        _cases(page, known, "no case was opened"),
        tag("h2", "Set a level by hand"),
        tag("p", "Only people move an organisation. A level set by hand holds until its days are over."),
        page.form("level.set", {}),
    )


def case(page: Page, case: Case) -> Html:
    """One case: what is held, why, what was said, and the decision."""
    f = look.case_facts(page.at, case)
    about = facts(
        (
            ("subject", f["subject"]),
            ("holder", link(f"/subjects/{f['holder']}", f["holder"]) if f["holder"] else None),
            ("level", badge(f["level"])),
            ("score", str(f["score"])),
            ("opened", f"{when(f['opened_s'])} UTC, by {f['owner']}"),
            ("appeal", badge(_appeal(f["appeal"]))),
            ("they say", f"{f['said']} ({f['appellant']})" if f["said"] else None),
            ("decision", f["decision"] or None),
        )
    )
    rows = [
        (
            when(s["at_s"]),
            s["what"],
            "-" if s["severity"] is None else f"{s['severity']:g}",
            "-" if s["confidence"] is None else str(s["confidence"]),
            join(s["evidence"], "; ") or s["reason"] or "-",
            s["by"] or "-",
        )
        for s in look.signals_of(page.at, case.subject)
    ]
    head = ("when, UTC", "what", "severity", "confidence", "evidence or reason", "request or person")
    return page.whole(
        case.id,
        about,
        _ending(page, case),
        tag("h2", "What was seen"),
        table(head, rows, "no signal is kept"),
    )


def _ending(page: Page, case: Case) -> Html:
    me = page.seat.person
    if case.appeal and not case.decided:
        if me in (case.owner, case.appellant, look.owner_of(page.at, case.subject)):
            why = "You opened this case, appealed in it, or it is about you: somebody else decides."
            return tag("p", why, cls="told")
        note = "Grant: level observe, score 0, and a day in which nothing moves it."
        return join((tag("h2", "Decide the appeal"), page.form("appeal.decide", {"case": case.id}, note)))
    if case.decided == "granted":
        return tag("p", "This case is closed: the appeal was granted.", cls="told")
    filed = page.form("appeal.file", {"case": case.id})
    return tag("details", tag("summary", "Appeal in their name"), filed)


def subjects(page: Page) -> Html:
    """Everybody who is known."""
    rows: list[tuple[Part, ...]] = []
    for subject in sorted(page.at.registry.subjects.values(), key=lambda s: s.id):
        f = look.subject_facts(page.at, subject)
        live = [g["class"] for g in f["grants"] if g["state"] == "live"]
        keys = sum(k["state"] == "live" for k in f["keys"])
        rows.append(
            (
                link(f"/subjects/{subject.id}", subject.id),
                f["kind"],
                f["org"],
                f["tier"],
                str(keys),
                ", ".join(live) or "-",
                badge(max((k["level"] for k in f["keys"]), key=_rank, default=f["level"])),
            )
        )
    head = ("subject", "kind", "organisation", "tier", "live keys", "grants", "level")
    return page.whole(
        "Subjects",
        table(head, rows, "nobody is known yet"),
        tag("h2", "Make somebody known"),
        page.form("subject.add", {}),
    )


def _rank(level: str) -> int:
    return RANK[Level(level)]


def subject(page: Page, name: str) -> Html:
    """One subject with all it holds, and what may be changed."""
    f = look.subject_facts(page.at, page.at.subject(name))
    given = {"subject": name}
    vetted = [(v["tier"], v["method"], v["verifier"], when(v["expires_s"])) for v in f["vetted"]]
    vouches = [(v["tier"], v["person"], when(v["expires_s"])) for v in f["vouches"]]
    keys = [
        (k["key"], k["begins"], badge(k["state"]), f"{k['share']:.0%}, {k['clean_days']} clean days",
         badge(k["level"]), when(k["expires_s"]), _undo(page, "key.revoke", {"key": k["key"]}, k["state"]))
        for k in f["keys"]
    ]  # fmt: skip
    grants = [
        (g["grant"], g["class"], g["surface"], badge(g["state"]), _usd(g), when(g["expires_s"]),
         _undo(page, "access.withdraw", {"grant": g["grant"]}, g["state"]))
        for g in f["grants"]
    ]  # fmt: skip
    classes = {"class": tuple(c.name for c in page.at.rules.access.classes)}
    about = facts(
        (
            ("organisation", f"{f['org']} ({f['kind']})"),
            ("tier", f["tier"]),
            ("may test", ", ".join((*f["hosts"], *f["repositories"])) or "nothing beyond its own"),
        )
    )
    return page.whole(
        name,
        about,
        tag("h2", "Why this tier"),
        table(("tier", "how", "by", "until, UTC"), vetted, "nothing vouches for a higher tier"),
        table(("vouched for tier", "by", "until, UTC"), vouches, "nobody vouched"),
        page.form("subject.vouch", given),
        tag("h2", "Keys"),
        table(("key", "begins", "state", "share of limits", "level", "until, UTC", ""), keys, "none"),
        page.form("key.new", given),
        tag("h2", "Grants"),
        table(("grant", "class", "surface", "state", "credit left", "until, UTC", ""), grants, "none"),
        page.form("access.grant", given, known=classes),
    )


def _usd(grant: look.Facts) -> str:
    return "-" if grant["credit_usd"] is None else f"{grant['left_usd']:.2f} of {grant['credit_usd']:.2f} USD"


def _undo(page: Page, act: str, given: dict[str, str], state: str) -> Part:
    return page.form(act, given) if state == "live" else None


def budgets(page: Page) -> Html:
    """Every budget and what is left of it."""
    rows = [
        (b["account"], b["per"], b["period"], *_of(b["spent_tokens"], b["tokens"], "{:,}"),
         *_of(b["spent_usd"], b["usd"], "{:,.2f}"))
        for b in look.budget_facts(page.at)
    ]  # fmt: skip
    head = ("account", "per", "period", "tokens spent", "of", "USD spent", "of")
    return page.whole(
        "Budgets",
        table(head, rows, "nothing is bounded yet"),
        tag("p", "What a gateway holds on lease counts as spent until it returns it."),
        tag("h2", "Set a budget"),
        page.form("budget.set", {}),
    )


def _of(spent: float, most: float, form: str) -> tuple[str, str]:
    return form.format(spent), form.format(most) if most >= 0 else "no bound"


def safeguards(page: Page) -> Html:
    """Self-tests, feeds, classes and the gateway itself."""
    state, rules = page.state, page.at.rules
    tests = [
        (t.name, badge("works" if t.passed else "fails"), t.detail or "-", when(t.at_ms / 1000))
        for t in sorted(state.tested.values(), key=lambda t: t.name)
    ]
    found = [feed_facts(f) for f in rules.monitor.feeds]
    feeds = [
        (str(f["feed"]), str(f["from"]), str(f["files"]), when(float(str(f["newest_s"])))) for f in found
    ]
    classes = [
        (c.name, str(c.least_tier), "yes" if c.grant else "no", ", ".join(c.safeguards) or "none",
         _open(page, c.safeguards))
        for c in rules.access.classes
    ]  # fmt: skip
    refused = "; ".join(f"{n} {why}" for why, n in sorted(state.refused.items())) or "none"
    about = facts(
        (
            ("gateway", join((badge("runs" if state.running else "stopped"), f" {state.listen}"))),
            ("since", f"{when(state.started_ms / 1000)} UTC"),
            (
                "indicators",
                f"{state.live:,} live, loaded {when(state.loaded_ms / 1000)} UTC; refused: {refused}",
            ),
        )
    )
    return page.whole(
        "Safeguards",
        about,
        tag("h2", "Self-tests"),
        table(("safeguard", "state", "seen", "since, UTC"), tests, "no gateway has tried them yet"),
        tag("h2", "Classes of models"),
        table(("class", "least tier", "grant", "stands on", "state"), classes, "only `general`"),
        tag("h2", "Feeds"),
        table(("feed", "from", "files", "newest, UTC"), feeds, "no feed is named in monitor.feeds"),
    )


def _open(page: Page, needed: tuple[str, ...]) -> Html:
    tested = page.state.tested
    return badge("open" if all(s in tested and tested[s].passed for s in needed) else "closed")
