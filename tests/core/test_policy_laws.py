"""Do the laws hold for any policy: tightening never enables, guards only tighten, strangers change nothing?

A policy is generated as a plain document and written as JSON, which is YAML. `TIGHTER` has one operator for
every value of the schema that a verdict depends on; a test holds that list and the schema together.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_draws import (
    CONTAINERS,
    GLOBS,
    MODES,
    SERVICE,
    VERDICTS,
    Doc,
    act,
    actions,
    facts_for,
    moments,
    policies,
    read,
)
from veilig.core.action import Action
from veilig.core.actor import Actor, ActorKind
from veilig.core.policy import Facts, combine, decide, describe
from veilig.core.provider import Opinion, Verdict, strictness

AGENT = Actor("agent:any", ActorKind.AGENT)
# --- P10: one tightening operator for every value ----------------------------------------------------------


def lower(doc: Doc, key: str, by: int, least: int = 0) -> None:
    if key in doc:
        doc[key] = max(least, doc[key] - by)


def stricter(doc: Doc, key: str, words: list[str], by: int) -> None:
    doc[key] = words[min(len(words) - 1, words.index(doc[key]) + by)]


def shorter(items: list[Any], at: int) -> None:
    if items:
        items.pop(at % len(items))


def entry(items: list[Any], at: int) -> Doc:
    return items[at % len(items)] if items else {}


def _services(doc: Doc) -> list[Any]:
    return doc["autonomous_healing"]["scope"]["services"]


def _containers(doc: Doc) -> Doc:
    return doc["autonomous_healing"]["scope"]["containers"]


def _freeze_longer(doc: Doc, n: int) -> None:
    window = entry(doc["freeze"], n)
    if window:
        window["end"] = f"2026-12-{min(31, int(window['end'][-2:]) + n):02}"


def _set(doc: Doc, key: str, value: Any) -> None:
    if doc:
        doc[key] = value


def _item(items: list[Any], n: int, key: str) -> None:
    if items:
        stricter(entry(items, n), key, VERDICTS, 1)


def _tool(doc: Doc, n: int, source: str, target: str) -> None:
    """One tool of one server moves to the stricter list."""
    tools = entry(doc["mcp"]["servers"], n).get("tools", {})
    if tools.get(source):
        tools[target].append(tools[source].pop(n % len(tools[source])))


def _repeat_stricter(doc: Doc, n: int) -> None:
    """The same shape once more, asking or denied: the strictest matching entry wins."""
    commands = doc["agent"]["commands"]
    if commands:
        commands.append({"argv": entry(commands, n)["argv"], "verdict": VERDICTS[1 + n % 2]})


TIGHTER: dict[str, Callable[[Doc, int], None]] = {
    "mode": lambda d, n: stricter(d, "mode", MODES, n),
    "autonomous_healing.enabled": lambda d, n: _set(d["autonomous_healing"], "enabled", False),
    SERVICE + "actions": lambda d, n: shorter(entry(_services(d), n).get("actions", []), n),
    SERVICE + "max_restarts_per_hour": lambda d, n: lower(entry(_services(d), n), "max_restarts_per_hour", n),
    SERVICE + "max_total_restarts_per_hour": lambda d, n: lower(
        entry(_services(d), n), "max_total_restarts_per_hour", n
    ),
    SERVICE + "depends_on": lambda d, n: entry(_services(d), n).setdefault("depends_on", []).append("db"),
    SERVICE + "database": lambda d, n: _set(entry(_services(d), n), "database", True),
    SERVICE + "max_in_flight": lambda d, n: lower(entry(_services(d), n), "max_in_flight", n),
    "autonomous_healing.notify": lambda d, n: shorter(d["autonomous_healing"]["notify"], n),
    "autonomous_healing.notify[].messages_per_hour": lambda d, n: lower(
        entry(d["autonomous_healing"]["notify"], n), "messages_per_hour", n
    ),
    "autonomous_healing.scope.security_groups.readonly": lambda d, n: _set(
        d["autonomous_healing"]["scope"]["security_groups"], "readonly", True
    ),
    CONTAINERS + "actions": lambda d, n: shorter(_containers(d)["actions"], n),
    CONTAINERS + "max_scale": lambda d, n: lower(_containers(d), "max_scale", n),
    CONTAINERS + "scale_down_own": lambda d, n: _set(_containers(d), "scale_down_own", False),
    CONTAINERS + "cooldown_s": lambda d, n: _set(
        _containers(d), "cooldown_s", _containers(d)["cooldown_s"] + n
    ),
    "freeze": lambda d, n: d["freeze"].append({"start": "2026-12-01", "end": f"2026-12-{n + 2:02}"}),
    "freeze[].end": _freeze_longer,
    "agent.enabled": lambda d, n: _set(d["agent"], "enabled", False),
    "agent.commands": _repeat_stricter,
    "agent.commands[].verdict": lambda d, n: _item(d["agent"]["commands"], n, "verdict"),
    "agent.unlisted_commands": lambda d, n: _set(d["agent"], "unlisted_commands", "deny"),
    "agent.paths.read": lambda d, n: shorter(d["agent"]["paths"]["read"], n),
    "agent.paths.write": lambda d, n: shorter(d["agent"]["paths"]["write"], n),
    "agent.paths.deny": lambda d, n: d["agent"]["paths"]["deny"].append(GLOBS[n % 6]),
    "agent.apply": lambda d, n: stricter(d["agent"], "apply", VERDICTS, n),
    "agent.branch": lambda d, n: stricter(d["agent"], "branch", VERDICTS, n),
    "agent.tests": lambda d, n: stricter(d["agent"], "tests", VERDICTS, n),
    "agent.desktop": lambda d, n: stricter(d["agent"], "desktop", VERDICTS, n),
    "agent.hosts[].verdict": lambda d, n: _item(d["agent"]["hosts"], n, "verdict"),
    "agent.delegates.verdict": lambda d, n: stricter(d["agent"]["delegates"], "verdict", VERDICTS, n),
    "agent.delegates.sessions": lambda d, n: lower(d["agent"]["delegates"], "sessions", n),
    "agent.delegates.depth": lambda d, n: lower(d["agent"]["delegates"], "depth", n),
    "sandbox.wall_s": lambda d, n: lower(d["sandbox"], "wall_s", 20 * n, 1),
    "models.allowed": lambda d, n: shorter(d["models"]["allowed"], n),
    "models.tokens_per_answer": lambda d, n: lower(d["models"], "tokens_per_answer", n, 1),
    "models.requests_per_hour": lambda d, n: lower(d["models"], "requests_per_hour", n),
    "audit.download": lambda d, n: stricter(d["audit"], "download", VERDICTS, n),
    "audit.hosts": lambda d, n: shorter(d["audit"]["hosts"], n),
    "mcp.servers": lambda d, n: shorter(d["mcp"]["servers"], n),
    "monitor.feeds": lambda d, n: shorter(d["monitor"]["feeds"], n),
    "mcp.servers[].tools.allow": lambda d, n: _tool(d, n, "allow", "ask"),
    "mcp.servers[].tools.ask": lambda d, n: _tool(d, n, "ask", "deny"),
    "mcp.servers[].tools.deny": lambda d, n: _tool(d, n, "allow", "deny"),
}

# Keys no verdict depends on; and values that have no order: a name, a pattern (a rule that matches less also
# limits less), the shapes of a window other than its end.
NO_VERDICT = (
    "models.withhold",
    *("approval_gateways", "approvers", "collaboration", "access", "monitor", "gateway", "ledger"),
    *("audit.exclude", "audit.advisories"),
    *("tests", "agent.secrets", "agent.hooks", "agent.project_hooks", "agent.budgets", "sandbox."),
)
NO_ORDER = {
    SERVICE + "name",
    SERVICE + "all",
    "autonomous_healing.notify[].name",
    "autonomous_healing.notify[].url",
    "autonomous_healing.notify[].form",
    "autonomous_healing.notify[].secret",
    "agent.commands[].all",
    "agent.hosts[].all",
    "models.all",
    "freeze[].name",
    "freeze[].cron",
    "freeze[].hours",
    "freeze[].start",
    "freeze[].tz",
    "agent.commands[].argv",
    "agent.hosts[].host",
    "agent.hosts",
    "mcp.servers[].name",
    "mcp.servers[].argv",
    "mcp.servers[].url",
    "mcp.servers[].headers",
}


def test_every_key_a_verdict_depends_on_has_a_tightening_operator():
    keys = {k.path for k in describe()}
    parents = {p for p in keys if any(q.startswith((p + ".", p + "[].")) for q in keys)}
    needed = {k for k in keys if k not in parents and not k.startswith(NO_VERDICT)} - NO_ORDER
    assert needed - set(TIGHTER) == set()
    assert set(TIGHTER) - keys == set()


@pytest.mark.parametrize("key", TIGHTER)
@settings(max_examples=15, deadline=None)
@given(doc=policies, action=actions, facts=moments, n=st.integers(1, 9))
def test_tightening_a_value_never_enables_an_action(key: str, doc: Doc, action: Action, facts: Facts, n: int):
    tight = copy.deepcopy(doc)
    TIGHTER[key](tight, n)
    facts = facts_for(action, facts)
    before, after = (decide(read(d), action, AGENT, facts) for d in (doc, tight))
    assert strictness(after.verdict) >= strictness(before.verdict)
    if after.verdict is before.verdict:
        assert set(before.needs) <= set(after.needs)
    limits = {b.key: b.limit for b in before.budgets}
    assert all(b.limit <= limits.get(b.key, b.limit) for b in after.budgets)


def test_the_generated_policies_allow_ask_and_deny():
    """A law over policies that refuse everything would say nothing."""
    seen: set[Verdict] = set()

    @settings(max_examples=600, deadline=None, database=None, derandomize=True)
    @given(policies, actions, moments)
    def collect(doc: Doc, action: Action, facts: Facts) -> None:
        seen.add(decide(read(doc), action, AGENT, facts_for(action, facts)).verdict)

    collect()
    assert seen == set(Verdict)


# --- P9, guards, purity --------------------------------------------------------------------------------


@given(policies, actions, moments)
@settings(max_examples=40, deadline=None)
def test_a_rule_for_another_service_changes_nothing(doc: Doc, action: Action, facts: Facts):
    more = copy.deepcopy(doc)
    _services(more).insert(0, {"name": "stranger", "actions": ["restart", "stop"]})
    facts = facts_for(action, facts)
    before, after = (decide(read(d), action, AGENT, facts) for d in (doc, more))
    assert (before.verdict, before.needs, before.budgets) == (after.verdict, after.needs, after.budgets)


@given(policies, st.text(alphabet="abwork-1.*\u00e9", min_size=1, max_size=8), moments)
@settings(max_examples=50, deadline=None)
def test_a_name_out_of_scope_is_never_allowed_nor_asked(doc: Doc, service: str, facts: Facts):
    from fnmatch import fnmatchcase

    if "*" in service or any(fnmatchcase(service, s["name"]) for s in _services(doc)):
        return
    decision = decide(read(doc), act(kind="service.restart", service=service), AGENT, facts)
    assert decision.verdict is Verdict.DENY


opinions = st.builds(Opinion, st.just("g"), st.sampled_from(list(Verdict)), st.just("why"))


@given(policies, actions, moments, st.lists(opinions, max_size=4))
@settings(max_examples=40, deadline=None)
def test_guards_only_tighten(doc: Doc, action: Action, facts: Facts, said: list[Opinion]):
    base = decide(read(doc), action, AGENT, facts_for(action, facts))
    after = combine(base, *said)
    assert strictness(after.verdict) == max(strictness(v) for v in [base.verdict, *(o.verdict for o in said)])
    assert set(after.budgets) <= set(base.budgets)
    assert bool(after.needs) == (after.verdict is Verdict.ASK)
    assert after == base or not after.grantable


@given(policies, actions, moments)
@settings(max_examples=40, deadline=None)
def test_a_decision_is_pure_and_carries_what_its_verdict_needs(doc: Doc, action: Action, facts: Facts):
    policy = read(doc)
    decision = decide(policy, action, AGENT, facts)
    assert decision == decide(policy, action, AGENT, facts)
    assert bool(decision.needs) == (decision.verdict is Verdict.ASK)
    assert decision.verdict is not Verdict.DENY or not decision.budgets
    assert decision.rule in {f.rule for f in decision.findings}
    assert decision.reasons
    assert all(b.limit > 0 for b in decision.budgets)
