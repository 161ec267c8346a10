"""Does a policy decide its own examples as its author expects? The `tests` section of veilig.yaml."""

from dataclasses import dataclass, replace
from typing import ClassVar

from veilig.core.action import (
    Action,
    FreeSpace,
    OpenWorkspace,
    RollBack,
    ScaleDown,
    ScaleUp,
    StartSession,
)
from veilig.core.action_json import from_json
from veilig.core.actor import Actor, ActorKind
from veilig.core.effect import Effect, OnTree
from veilig.core.errors import InvalidAction
from veilig.core.policy import decide
from veilig.core.policy_freeze import UTC, read_instant
from veilig.core.policy_load import Fields
from veilig.core.policy_model import Capability, Decision, Example, Facts, Policy
from veilig.core.policy_schema import TEST
from veilig.core.policy_shape import Section, plain
from veilig.core.provider import Verdict


@dataclass(frozen=True, slots=True)
class TestResult:
    """How one example came out; `why` is empty when it holds. decision: None when the action cannot exist."""

    __test__: ClassVar[bool] = False  # pytest must not take it for a test

    rule: str
    name: str
    ok: bool
    expected: Verdict
    decision: Decision | None
    why: str


def run_tests(policy: Policy) -> list[TestResult]:
    """Every example of the policy's `tests`, in order, with what the policy says of it; none is skipped."""
    return [_run(policy, example) for example in policy.examples]


def kindest(action: Action) -> Facts:
    """The moment in which nothing but the policy's own rules stands against this action."""
    facts = Facts(
        now_wall_s=0.0,
        capability=Capability.READ_WRITE,
        managed=True,
        known=True,
        last_healthy=False,
        foreign_starts=0,
    )
    if isinstance(action, RollBack):
        return replace(facts, last_good=action.to)
    if isinstance(action, FreeSpace):
        return replace(facts, regenerable=frozenset(path for path, *_ in action.files))
    if isinstance(action, StartSession):
        return replace(facts, children=0, depth=0)
    if isinstance(action, OpenWorkspace):
        return replace(facts, root=action.source)
    if isinstance(action, OnTree):
        return replace(facts, root=action.root)
    if isinstance(action, ScaleUp | ScaleDown):
        return replace(facts, replicas=action.current)
    return facts


def _run(policy: Policy, example: Example) -> TestResult:
    section = Section(example.node, TEST, policy.file, "")
    expected = Verdict(section.text("expect"))
    node = section.value("action")
    try:
        action = from_json(plain(node) if isinstance(node, Fields) else None)
    except InvalidAction as error:
        name = example.name or "an action that cannot exist"
        return TestResult(example.rule, name, ok=False, expected=expected, decision=None, why=str(error))
    who = section.section("actor")
    actor = Actor(who.text("id"), ActorKind(who.text("kind")), frozenset(who.texts("roles")))
    decision = decide(policy, action, actor, _facts(section.section("facts"), action))
    why, rule = "", section.text("rule")
    if decision.verdict is not expected:
        why = f"expected {expected}, got {decision.verdict} from {decision.rule}: {decision.reasons[-1]}"
    elif rule and rule not in decision.rule.split(" "):
        why = f"expected {rule} to decide, but {decision.rule} did"
    name = example.name or f"{action.kind} {action.target}"
    return TestResult(example.rule, name, not why, expected, decision, why)


def _facts(section: Section, action: Action) -> Facts:
    facts = kindest(action)
    now = section.text("now")
    return replace(
        facts,
        now_wall_s=read_instant(now, UTC, last=False) if now else facts.now_wall_s,
        capability=Capability(section.text("capability")),
        managed=section.flag("managed"),
        known=section.flag("known"),
        last_healthy=section.flag("last_healthy"),
        replicas=section.whole("replicas") if section.has("replicas") else facts.replicas,
        own_replicas=section.whole("own_replicas"),
        classes=frozenset(Effect(word) for word in section.texts("classes")),
        unhealthy=frozenset(section.texts("unhealthy")),
        in_flight=frozenset(section.texts("in_flight")),
        foreign_starts=section.whole("foreign_starts"),
        last_good="" if not section.flag("last_good") else facts.last_good,
        regenerable=frozenset() if not section.flag("regenerable") else facts.regenerable,
        children=section.whole("children"),
        depth=section.whole("depth"),
    )
