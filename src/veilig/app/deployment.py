"""May a model of this class be deployed? A person signed a report on it, and every safeguard in it works.

What was signed stands in the ledger: model, class, level, the report's digest, the safeguards it requires. It
ends by itself, is withdrawn by a person, and a later signature takes the place of an earlier one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from veilig.app.wiring import Setting, operator_policy
from veilig.core.canonical import JSON
from veilig.core.ledger import Ledger
from veilig.core.policy_safeguards import Safeguards
from veilig.home import find_home, local_person

SIGNED_S_MAX: Final = 400 * 86400.0
SESSION: Final = "deployments"
NAME: Final = "deployment_signed"


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature that still holds."""

    model: str
    capability_class: str
    level: str
    report: str
    requires: tuple[str, ...]
    person: str
    expires_ms: int


type Signatures = Mapping[tuple[str, str], Signed]  # by model and class


def signatures(ledger: Ledger) -> dict[tuple[str, str], Signed]:
    """The live signatures by model and class."""
    now_ms = ledger.transact(lambda tx: tx.now_ms(), durable=False)
    found: dict[tuple[str, str], Signed] = {}
    for event in ledger.events(names=("deployment.signed", "deployment.withdrawn")):
        body = cast(Mapping[str, Any], event.body)
        key = (str(body["model"]), str(body["class"]))
        if event.name == "deployment.withdrawn":
            found.pop(key, None)
            continue
        requires = tuple(map(str, body["requires"]))
        found[key] = Signed(
            *key,
            str(body["level"]),
            str(body["report"]),
            requires,
            str(body["actor"]),
            int(body["expires_ms"]),
        )
    return {key: one for key, one in found.items() if one.expires_ms > now_ms}


def missing(
    model: str,
    capability_class: str,
    signed: Signatures,
    rules: Safeguards,
    working: Mapping[str, tuple[bool, str]],
) -> list[str]:
    """Why a model of the class may not be deployed; empty when it may."""
    why: list[str] = []
    one = signed.get((model, capability_class))
    if one is None:
        return [f"nobody signed a capability report on {model} for the class {capability_class}"]
    wanted = next((c for c in rules.access.classes if c.name == capability_class), None)
    if wanted is None:
        return [f"access.classes does not define {capability_class}"]
    why += [
        f"the report requires {name}, which the class {capability_class} does not list"
        for name in one.requires
        if name not in wanted.safeguards
    ]
    for name in dict.fromkeys((*one.requires, *wanted.safeguards)):
        if name == NAME:
            continue
        passed, detail = working.get(name, (False, "it was never tried"))
        if not passed:
            why.append(f"safeguard {name} fails its self-test: {detail}")
    return why


def needed(ledger: Ledger, rules: Safeguards) -> Signatures:
    """`signatures`, where some class asks for one."""
    return signatures(ledger) if _strict(rules) else {}


def _strict(rules: Safeguards) -> set[str]:
    return {c.name for c in rules.access.classes if NAME in c.safeguards}


def tried(signed: Signatures, rules: Safeguards, working: Mapping[str, tuple[bool, str]]) -> tuple[bool, str]:
    """The self-test of `deployment_signed`: every served model of a class that lists it may be deployed."""
    strict = _strict(rules)
    for served in rules.gateway.models:
        if served.capability_class in strict:
            why = missing(served.name, served.capability_class, signed, rules, working)
            if why:
                return False, why[0]
    return True, ""


async def sign(
    report: Mapping[str, Any],
    digest: str,
    capability_class: str,
    reason: str,
    seconds: float,
    setting: Setting,
) -> None:
    """Record that the person at this machine takes responsibility for a model in a class."""
    body: dict[str, JSON] = {
        "model": str(report["subject"]),
        "class": capability_class,
        "level": str(report["level"]),
        "report": digest,
        "requires": [*map(str, report["requires"])],
        "reason": reason,
    }
    await _say("deployment.signed", body, setting, seconds)


async def withdraw(model: str, capability_class: str, reason: str, setting: Setting) -> None:
    """Take a signature back, at once."""
    await _say(
        "deployment.withdrawn", {"model": model, "class": capability_class, "reason": reason}, setting, 0.0
    )


async def _say(name: str, body: dict[str, JSON], setting: Setting, seconds: float) -> None:
    home = find_home(setting.environment)
    policy = operator_policy(home, setting)
    seal = home.redactor(setting.environment).seal
    body = {**body, "reason": seal(str(body["reason"])), "actor": local_person(policy).id}
    with home.open_ledger(policy) as ledger:
        if seconds:
            now_ms = ledger.transact(lambda tx: tx.now_ms(), durable=False)
            body["expires_ms"] = now_ms + round(seconds * 1000)
        await ledger.submit(lambda tx: tx.append(name, SESSION, body))


def check(model: str, capability_class: str, setting: Setting) -> tuple[list[str], Sequence[str]]:
    """(why not, what was tried) for one model, with the safeguards tried now."""
    from veilig.app.selftest import try_all
    from veilig.app.watching import load_indicators, make_engine, placed

    home = find_home(setting.environment)
    policy = operator_policy(home, setting)
    rules = policy.elsewhere.safeguards
    engine = None
    if rules.monitor.enabled:
        watched = placed(rules.monitor, home)
        engine = make_engine(watched, load_indicators(watched, home.path / "cache"))
    working = try_all(engine)
    with home.open_ledger(policy) as ledger:
        why = missing(model, capability_class, signatures(ledger), rules, working)
    return why, [f"{name}: {'works' if ok else detail}" for name, (ok, detail) in working.items()]
