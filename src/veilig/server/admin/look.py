"""What is known of subjects, cases and budgets, as plain facts? For the page, and as they are for the API.

No prompt is among them, and of an indicator only its id: what a feed marks as not to be passed on stays here.
"""

from itertools import islice
from typing import Any, Final

from veilig.access.registry import Subject, clean_days
from veilig.access.tiers import share
from veilig.app.access import Office
from veilig.app.cases import owner_of
from veilig.core.actor import Tier
from veilig.core.canonical import JSON
from veilig.monitor import ladder
from veilig.monitor.actions import RULES
from veilig.monitor.attack import described
from veilig.monitor.ladder import Case

SIGNALS_MAX: Final = 200
_RULES: Final = {f"rule:{rule.id}": rule.what for rule in RULES}

type Facts = dict[str, Any]


def evidence_of(value: JSON) -> list[str]:
    """Evidence ids with what they mean: rules and techniques by name."""
    said = [e for e in value if isinstance(e, str)] if isinstance(value, list) else []
    return [f"{e} ({_RULES[e]})" if e in _RULES else described(e) for e in said]


def subject_facts(at: Office, subject: Subject) -> Facts:
    """One subject with what it holds."""
    now, known = at.desk.now_s(), at.registry
    tier = subject.tier(now, at.rules.access.default_tier)
    standing = at.desk.ladder.standing(f"subject:{subject.id}")
    scope = subject.scope
    return {
        "subject": subject.id,
        "kind": subject.kind,
        "org": subject.org,
        "tier": str(tier),
        "level": str(standing.level),
        "vetted": [
            {"tier": str(v.tier), "method": v.method, "verifier": v.verifier, "expires_s": v.expires_s}
            for v in subject.vettings
            if v.expires_s > now
        ],
        "vouches": [
            {"person": person, "tier": tier, "expires_s": until}
            for (person, tier), until in sorted(subject.vouches.items())
            if until > now
        ],
        "hosts": list(scope.hosts) if scope and scope.expires_s > now else [],
        "repositories": list(scope.repositories) if scope and scope.expires_s > now else [],
        "keys": [_key(at, k.id, tier, now) for k in known.keys.values() if k.subject == subject.id],
        "grants": [_grant(at, g.id, now) for g in known.grants.values() if g.subject == subject.id],
    }


def _key(at: Office, name: str, tier: Tier, now: float) -> Facts:
    key = at.registry.keys[name]
    standing = at.desk.ladder.standing(f"key:{name}")
    days = clean_days(key, standing.signal_wall_s, now)
    return {
        "key": name,
        "begins": key.hint,
        "state": "live" if key.live(now) else "revoked" if key.revoked else "expired",
        "expires_s": key.expires_s,
        "clean_days": days,
        "share": share(tier, days),
        "level": str(standing.level),
    }


def _grant(at: Office, name: str, now: float) -> Facts:
    one = at.registry.grants[name]
    spent = at.desk.spent(f"grant:{name}")[0].micro_usd if one.micro_usd >= 0 else 0
    return {
        "grant": name,
        "class": one.model_class,
        "surface": one.surface,
        "state": "withdrawn" if one.withdrawn else "expired" if one.expires_s <= now else "live",
        "expires_s": one.expires_s,
        "credit_usd": one.micro_usd / 1e6 if one.micro_usd >= 0 else None,
        "left_usd": (one.micro_usd - spent) / 1e6 if one.micro_usd >= 0 else None,
    }


def missing_vouches(at: Office) -> list[Facts]:
    """Tiers that somebody vouched for and that still lack people."""
    now, found = at.desk.now_s(), list[Facts]()
    for subject in at.registry.subjects.values():
        held = subject.tier(now, at.rules.access.default_tier)
        for tier in {Tier(t) for (_, t), until in subject.vouches.items() if until > now}:
            people = sorted(subject.vouchers(tier, now))
            if tuple(Tier).index(tier) > tuple(Tier).index(held) and len(people) < at.rules.access.vouchers:
                found.append({"subject": subject.id, "tier": str(tier), "people": people})
    return found


def case_facts(at: Office, case: Case) -> Facts:
    """One case; who reads it learns no prompt."""
    now = at.desk.ladder.standing(case.subject)
    return {
        "case": case.id,
        "subject": case.subject,
        "holder": owner_of(at, case.subject),
        "level": str(now.level),
        "score": round(now.score_at(at.desk.t_ms()), 2),
        "opened_s": case.opened_wall_s,
        "owner": case.owner or "the ladder",
        "appeal": case.decided or ("open" if case.appeal else "none"),
        "appellant": case.appellant,
        "said": case.appeal,
        "decision": case.decision,
        "moves": list(case.moves),
    }


def signals_of(at: Office, subject: str) -> list[Facts]:
    """The newest signals about a subject and the moves of its level, newest first."""
    names = ("signal.raised", "ladder.moved")
    events = at.desk.ledger.events(session=ladder.SESSION, names=names)
    mine = [e for e in events if e.body["subject"] == subject][-SIGNALS_MAX:]
    found: list[Facts] = []
    for event in reversed(mine):
        body = event.body
        moved = event.name == "ladder.moved"
        what = f"{body['before']} -> {body['after']}" if moved else f"{body['kind']}"
        found.append(
            {
                "at_s": event.wall_ms // 1000,
                "what": what,
                "severity": None if moved else body["severity"],
                "confidence": None if moved else body["confidence"],
                "evidence": evidence_of(body["evidence"]),
                "by": str(body["actor"]) if moved else str(body["request"]),
                "reason": str(body["reason"]) if moved else "",
            }
        )
    return found


def budget_facts(at: Office) -> list[Facts]:
    """Every budget with what counts as spent in its period, open leases included."""
    found: list[Facts] = []
    for account, limit in islice(sorted(at.registry.budgets.items()), 1000):
        spent, period = at.desk.spent(account)
        found.append(
            {
                "account": account,
                "per": limit.period,
                "period": period,
                "tokens": limit.most.tokens,
                "spent_tokens": spent.tokens,
                "usd": limit.most.micro_usd / 1e6 if limit.most.micro_usd >= 0 else -1,
                "spent_usd": spent.micro_usd / 1e6,
            }
        )
    return found
