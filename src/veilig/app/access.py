"""How does the person at this machine say who may use which model? Each act is one event in their name."""

import hashlib
import secrets
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from veilig.access import keys
from veilig.access.budgets import PERIODS, Amount, period_id
from veilig.access.registry import Grant, Key, Registry, Subject, Vetting
from veilig.access.rules import find_class
from veilig.access.tiers import DAY_S, REQUIRES, rank
from veilig.access.vetting import VETTING_S_MAX, read_attestation, read_token
from veilig.app.safeguards import Desk
from veilig.app.wiring import Setting, operator_policy
from veilig.core.actor import Actor, Tier
from veilig.core.canonical import JSON
from veilig.core.clock import SystemClock
from veilig.core.errors import ApprovalError, UsageError
from veilig.core.ledger_event import Draft
from veilig.core.policy_match import wrong_host, wrong_person
from veilig.core.policy_safeguards import Safeguards
from veilig.home import find_home, local_person

SESSION = "access"  # the ledger's session id of these events
KINDS = ("person", "service")
SURFACES = ("*", "responses", "chat", "embeddings", "messages")


@dataclass(frozen=True, slots=True)
class Office:
    """The desk, who sits at it, and what hides secrets in what they type."""

    desk: Desk
    rules: Safeguards
    person: Actor
    redact: Callable[[str], str]

    @property
    def registry(self) -> Registry:
        return self.desk.registry

    def write(self, name: str, body: dict[str, JSON]) -> None:
        """Append one event, on disk when this returns."""
        self.desk.ledger.append([Draft(name, SESSION, body)])
        self.desk.catch_up()

    def subject(self, name: str) -> Subject:
        """A known subject. Raises UsageError."""
        found = self.registry.subjects.get(name)
        if found is None:
            raise UsageError(f"there is no subject {name!r}", fix=f"`veilig access add {name} --org ORG`")
        return found


@contextmanager
def office(setting: Setting) -> Generator[Office]:
    """The desk of this machine's ledger. Raises LedgerError, PolicyError."""
    home = find_home(setting.environment)
    policy = operator_policy(home, setting)
    with home.open_ledger(policy) as ledger:
        rules = policy.elsewhere.safeguards
        seal = home.redactor(setting.environment).seal
        yield Office(Desk(ledger, rules, SystemClock()), rules, local_person(policy), seal)


def not_oneself(at: Office, subject: str, what: str) -> None:
    """Raises ApprovalError where the person at the desk is who the act is about."""
    if at.person.person == subject:
        raise ApprovalError(
            f"{subject} may not {what} themselves", why="it takes somebody else", fix="ask another person"
        )


def add_subject(at: Office, name: str, org: str, kind: str) -> Subject:
    """A person or service in an organisation. Raises UsageError."""
    for text in (name, org):
        if (why := wrong_person(text)) or ":" in text:
            raise UsageError(f"{text!r} cannot name anybody", why=why or "it holds a colon")
    if name in at.registry.subjects:
        raise UsageError(f"{name!r} is known already", fix="`veilig access show` lists them")
    at.write("subject.added", {"subject": name, "kind": kind, "org": org, "actor": at.person.id})
    return at.subject(name)


def issue_key(at: Office, subject: str, lasts_s: float, brought: str | None = None) -> tuple[Key, str]:
    """A key and, this once, its text. Raises UsageError."""
    at.subject(subject)
    text = keys.check_brought(brought) if brought is not None else keys.new_key()
    digest = keys.key_hash(text.encode())
    if digest in at.registry.by_hash:
        raise UsageError("this key is in use already", why="a key stands for one subject", fix="make another")
    name = f"key-{secrets.token_hex(4)}"
    at.write(
        "key.issued",
        {
            "key": name,
            "subject": subject,
            "hash": digest.hex(),
            "hint": keys.hint(text),
            "expires_s": int(at.desk.now_s() + lasts_s),
            "actor": at.person.id,
        },
    )
    return at.registry.keys[name], text


def revoke_key(at: Office, name: str, reason: str) -> Key:
    """The key holds no longer, from the next request on. Raises UsageError."""
    if name not in at.registry.keys:
        raise UsageError(f"there is no key {name!r}", fix="`veilig access key list` lists them")
    at.write("key.revoked", {"key": name, "reason": at.redact(reason), "actor": at.person.id})
    return at.registry.keys[name]


def vouch(at: Office, subject: str, tier: Tier, lasts_s: float, reason: str) -> Vetting | int:
    """The person at this machine vouches. The vetting when enough people do, else how many are missing.

    Raises ApprovalError for vouching for oneself or without a reason.
    """
    at.subject(subject)
    not_oneself(at, subject, "vouch for")
    if not reason.strip():
        raise ApprovalError("a voucher says why", why="it is evidence", fix="give --reason")
    until = int(at.desk.now_s() + min(lasts_s, VETTING_S_MAX))
    body: dict[str, JSON] = {
        "subject": subject,
        "tier": str(tier),
        "person": at.person.person,
        "expires_s": until,
        "reason": at.redact(reason),
    }
    at.write("subject.vouched", body)
    needed = at.rules.access.vouchers if rank(tier) > rank(Tier.STANDARD) else 1
    people = at.subject(subject).vouchers(tier, at.desk.now_s())
    if len(people) < needed:
        return needed - len(people)
    shortest = min(
        until for (p, t), until in at.subject(subject).vouches.items() if t == tier and p in people
    )
    digest = hashlib.sha256(repr(sorted(people)).encode()).hexdigest()
    return _vetted(at, subject, Vetting(tier, "vouched", "+".join(sorted(people)), digest, shortest))


def attest(at: Office, subject: str, data: bytes) -> Vetting:
    """A signed attestation raises the tier. Raises ApprovalError."""
    at.subject(subject)
    found = read_attestation(data, subject, at.rules.access.attesters, at.desk.now_s())
    return _vetted(at, subject, found)


def believe(at: Office, subject: str, token: str) -> Vetting:
    """An identity token raises the tier. Raises ApprovalError."""
    at.subject(subject)
    return _vetted(at, subject, read_token(token, subject, at.rules.access.issuers, at.desk.now_s()))


def _vetted(at: Office, subject: str, vetting: Vetting) -> Vetting:
    at.write(
        "subject.vetted",
        {
            "subject": subject,
            "tier": str(vetting.tier),
            "method": vetting.method,
            "verifier": vetting.verifier,
            "evidence": vetting.evidence,
            "expires_s": vetting.expires_s,
            "actor": at.person.id,
        },
    )
    return vetting


def grant(
    at: Office, subject: str, model_class: str, surface: str, lasts_s: float, usd: float | None, reason: str
) -> Grant:
    """Subject x class x surface until an expiry, with a credit where `usd` is given. Raises UsageError."""
    known = find_class(model_class, at.rules.access.classes)
    if known is None:
        raise UsageError(f"there is no class {model_class!r}", fix="name it in access.classes of veilig.yaml")
    tier = at.subject(subject).tier(at.desk.now_s(), at.rules.access.default_tier)
    if rank(tier) < rank(known.least_tier):
        raise ApprovalError(
            f"{subject} has tier {tier}, and class {model_class!r} needs {known.least_tier}",
            why="a grant does not replace vetting",
            fix=f"tier {known.least_tier} takes {REQUIRES[known.least_tier]}",
        )
    not_oneself(at, subject, "give a grant to")
    name = f"grant-{secrets.token_hex(4)}"
    at.write(
        "access.granted",
        {
            "grant": name,
            "subject": subject,
            "class": model_class,
            "surface": surface,
            "expires_s": int(at.desk.now_s() + min(lasts_s, 366 * DAY_S)),
            "micro_usd": -1 if usd is None else round(usd * 1e6),
            "reason": at.redact(reason),
            "actor": at.person.id,
        },
    )
    return at.registry.grants[name]


def withdraw(at: Office, name: str, reason: str) -> Grant:
    """The grant holds no longer, from the next request on. Raises UsageError."""
    if name not in at.registry.grants:
        raise UsageError(f"there is no grant {name!r}", fix="`veilig access show` lists them")
    at.write("access.withdrawn", {"grant": name, "reason": at.redact(reason), "actor": at.person.id})
    return at.registry.grants[name]


def set_budget(at: Office, account: str, period: str, tokens: int, usd: float) -> str:
    """What key:, subject: or org:NAME may spend; -1 unlimited. The period it is in. Raises UsageError."""
    kind, _, name = account.partition(":")
    known: dict[str, Sequence[str]] = {
        "key": list(at.registry.keys),
        "subject": list(at.registry.subjects),
        "org": [s.org for s in at.registry.subjects.values()],
    }
    if name not in known.get(kind, ()):
        raise UsageError(f"there is no account {account!r}", fix="write key:ID, subject:NAME or org:NAME")
    if period not in PERIODS:
        raise UsageError(f"{period!r} is no period", fix=f"one of {', '.join(PERIODS)}")
    owner = at.registry.keys[name].subject if kind == "key" else name
    if kind != "org":
        not_oneself(at, owner, "set a budget for")
    most = Amount(tokens, -1 if usd < 0 else round(usd * 1e6))
    at.write(
        "budget.set",
        {
            "account": account,
            "period": period,
            "tokens": most.tokens,
            "micro_usd": most.micro_usd,
            "actor": at.person.id,
        },
    )
    return period_id(period, at.desk.now_s())


def set_scope(
    at: Office, subject: str, hosts: Sequence[str], repositories: Sequence[str], data: bytes, lasts_s: float
) -> None:
    """What the subject may test; the file itself is kept as a hash. Raises UsageError."""
    at.subject(subject)
    not_oneself(at, subject, "authorise")
    for host in hosts:
        if why := wrong_host(host):
            raise UsageError(f"{host!r} is no host", why=why, fix="write shop.example or *.shop.example")
    at.write(
        "subject.scoped",
        {
            "subject": subject,
            "hosts": [*hosts],
            "repositories": [*repositories],
            "evidence": hashlib.sha256(data).hexdigest(),
            "expires_s": int(at.desk.now_s() + min(lasts_s, VETTING_S_MAX)),
            "actor": at.person.id,
        },
    )
