"""Does each reading of the contract hold: allowed, refused, and the value that turns one into the other?"""

from dataclasses import replace

import pytest

from veilig.core.action import KINDS, Action
from veilig.core.action_json import from_json
from veilig.core.actor import Actor, ActorKind
from veilig.core.effect import Effect
from veilig.core.policy import (
    JUDGES,
    ApprovalNeed,
    BudgetClaim,
    Capability,
    Decision,
    Facts,
    Policy,
    combine,
    decide,
    parse,
    roles_of,
)
from veilig.core.policy_examples import kindest
from veilig.core.provider import Opinion, Verdict

AGENT = Actor("agent:heal", ActorKind.AGENT)

HEAL = """
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "worker-*", actions: [restart, stop], max_restarts_per_hour: 3, depends_on: [db]}
    security_groups: {readonly: true}
    containers: {actions: [scale_up], max_scale: 10}
"""


def act(kind: str, **fields: object) -> Action:
    return from_json({"kind": kind, **fields})


RESTART = act("service.restart", service="worker-1")


def ruled(policy: Policy | str, action: Action, **facts: object) -> Decision:
    """The decision in the kindest moment, with these facts changed."""
    policy = parse(policy) if isinstance(policy, str) else policy
    return decide(policy, action, AGENT, replace(kindest(action), **facts))


def test_every_kind_of_action_has_a_judge_and_no_judge_is_idle():
    assert set(JUDGES) == set(KINDS)


# --- switch, mode, capability ----------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "verdict"), [("act", "allow"), ("propose", "ask"), ("observe", "deny")])
def test_the_mode_turns_a_granted_restart(mode: str, verdict: str):
    assert ruled(HEAL.replace("mode: act", f"mode: {mode}"), RESTART).verdict == verdict


def test_a_missing_mode_is_propose():
    assert ruled(HEAL.replace("mode: act", ""), RESTART).verdict == "ask"


@pytest.mark.parametrize("enabled", ["enabled: false", "scope: {}\n  enabled: false"])
def test_switched_off_healing_denies_even_what_is_in_scope(enabled: str):
    text = HEAL.replace("enabled: true", "enabled: false")
    decision = ruled(text, RESTART)
    assert (decision.verdict, decision.rule) == ("deny", "veilig.yaml:4 autonomous_healing.enabled")


def test_a_missing_switch_is_off():
    assert ruled(HEAL.replace("enabled: true", ""), RESTART).verdict == "deny"


@pytest.mark.parametrize("capability", [c for c in Capability if c is not Capability.READ_WRITE])
def test_a_provider_that_cannot_write_denies_whatever_the_rules_say(capability: Capability):
    decision = ruled(HEAL, RESTART, capability=capability)
    assert (decision.verdict, decision.rule, decision.needs) == ("deny", "provider capability", ())


def test_without_any_facts_nothing_in_the_world_is_changed():
    policy = parse(HEAL)
    world = [
        RESTART,
        act("service.stop", service="worker-1"),
        act("database.change", database="db", verb="vacuum"),
    ]
    assert [decide(policy, a, AGENT).verdict for a in world] == ["deny"] * 3


# --- services --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("worker-1", "allow"),
        ("worker-", "allow"),
        ("worker", "deny"),
        ("xworker-1", "deny"),
        ("Worker-1", "deny"),
        ("worker-1\u200b", "deny"),
        ("w\u043erker-1", "deny"),
    ],
)
def test_a_pattern_is_anchored_and_case_sensitive_ascii(name: str, verdict: str):
    try:
        action = act("service.restart", service=name)
    except Exception as error:  # an unprintable name is refused where the action is born
        assert type(error).__name__ == "InvalidAction"
        return
    assert ruled(HEAL, action).verdict == verdict


def test_a_restart_claims_the_service_budget_and_the_rule_total():
    assert ruled(HEAL, RESTART).budgets == (
        BudgetClaim("service.restart/service:worker-1", 3, 3600.0),
        BudgetClaim("service.restart/rule:worker-*", 9, 3600.0),
    )


@pytest.mark.parametrize(("each", "total"), [(1, 3), (3, 9), (4, 10), (60, 10)])
def test_the_rule_total_is_three_times_the_limit_and_at_most_ten(each: int, total: int):
    text = HEAL.replace("max_restarts_per_hour: 3", f"max_restarts_per_hour: {each}")
    assert ruled(text, RESTART).budgets[1].limit == total


def test_several_matching_rules_grant_if_one_grants_and_the_lowest_limit_holds():
    more = "      - {name: worker-1, actions: [], max_restarts_per_hour: 1}\n    security_groups:"
    decision = ruled(HEAL.replace("    security_groups:", more), RESTART)
    assert (decision.verdict, decision.budgets[0].limit) == ("allow", 1)
    other = ruled(HEAL.replace("    security_groups:", more), act("service.restart", service="worker-2"))
    assert other.budgets[0].limit == 3


def test_the_same_pattern_twice_is_one_group_with_the_lower_total():
    more = '      - {name: "worker-*", max_restarts_per_hour: 1}\n    security_groups:'
    keys = [(b.key, b.limit) for b in ruled(HEAL.replace("    security_groups:", more), RESTART).budgets]
    assert keys == [("service.restart/service:worker-1", 1), ("service.restart/rule:worker-*", 3)]


@pytest.mark.parametrize("limit", ["", ", max_restarts_per_hour: 0"])
def test_an_absent_or_zero_limit_means_never(limit: str):
    assert ruled(HEAL.replace(", max_restarts_per_hour: 3", limit), RESTART).verdict == "deny"


def test_an_unlisted_verb_is_denied_and_a_listed_destructive_one_asks():
    stop = act("service.stop", service="worker-1")
    decision = ruled(HEAL, stop)
    assert (decision.verdict, decision.rule) == (
        "ask",
        "veilig.yaml approval_gateways.destructive_ops (default)",
    )
    assert ruled(HEAL.replace("[restart, stop]", "[restart]"), stop).verdict == "deny"


def test_a_database_and_the_last_healthy_replica_ask_although_the_restart_is_granted():
    assert ruled(HEAL, RESTART, last_healthy=True).needs[0].gateway == "destructive_ops"
    assert ruled(HEAL, RESTART, classes=frozenset({Effect.DATABASE})).needs[0].gateway == "database_actions"
    own = HEAL.replace("depends_on: [db]", "database: true")
    assert ruled(own, RESTART).needs[0].gateway == "database_actions"


def test_a_target_first_seen_after_the_policy_asks_unless_it_is_labelled():
    assert ruled(HEAL, RESTART, known=False, managed=False).verdict == "ask"
    assert ruled(HEAL, RESTART, known=False, managed=True).verdict == "allow"


def test_a_sick_dependency_an_incident_rule_or_a_busy_group_holds():
    assert "depends on db" in str(ruled(HEAL, RESTART, unhealthy=frozenset({"db"})).findings)
    assert ruled(HEAL, RESTART, unhealthy=frozenset({"db"})).verdict == "deny"
    assert ruled(HEAL, RESTART, unhealthy=frozenset({"cache"})).verdict == "allow"
    assert ruled(HEAL, RESTART, holds=("stopped by its operator",)).rule == "incident rule"
    assert ruled(HEAL, RESTART, in_flight=frozenset({"worker-2"})).verdict == "deny"
    assert ruled(HEAL, RESTART, in_flight=frozenset({"api-2"})).verdict == "allow"
    assert ruled(HEAL, RESTART, in_flight=frozenset({"worker-1"})).verdict == "deny"


def test_a_target_the_provider_does_not_know_is_denied():
    assert ruled(HEAL, RESTART, live=frozenset({"worker-2"})).verdict == "deny"


# --- containers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "replicas", "verdict"),
    [
        (4, 6, "allow"),
        (4, 7, "deny"),
        (1, 2, "allow"),
        (0, 1, "allow"),
        (0, 2, "deny"),
        (9, 10, "allow"),
        (10, 11, "deny"),
    ],
)
def test_scaling_up_is_bounded_by_max_scale_and_half_a_step(current: int, replicas: int, verdict: str):
    action = act("container.scale_up", group="worker-a", current=current, replicas=replicas)
    assert ruled(HEAL, action).verdict == verdict


def test_scaling_needs_a_label_a_name_in_scope_and_the_live_number():
    action = act("container.scale_up", group="worker-a", current=4, replicas=5)
    assert ruled(HEAL, action).budgets == (BudgetClaim("container.scale_up/group:worker-a", 1, 60.0),)
    assert ruled(HEAL, action, managed=False).verdict == "deny"
    assert ruled(HEAL, action, replicas=5).verdict == "deny"
    assert ruled(HEAL, action, replicas=None).verdict == "deny"
    assert ruled(HEAL, act("container.scale_up", group="api", current=4, replicas=5)).verdict == "deny"


def test_shrinking_is_denied_asks_where_listed_and_is_free_for_own_replicas():
    action = act("container.scale_down", group="worker-a", current=4, replicas=3)
    zero = act("container.scale_down", group="worker-a", current=1, replicas=0)
    listed = HEAL.replace("[scale_up]", "[scale_up, scale_down]")
    own = HEAL.replace("max_scale: 10", "max_scale: 10, scale_down_own: true")
    assert ruled(HEAL, action).verdict == "deny"
    assert ruled(listed, action).needs[0].gateway == "destructive_ops"
    assert ruled(own, action, own_replicas=1).verdict == "allow"
    assert ruled(own, action, own_replicas=0).verdict == "deny"
    assert ruled(own, zero, own_replicas=1).verdict == "deny"


# --- security groups, databases --------------------------------------------------------------------


def test_readonly_wins_over_any_approval_and_false_alone_grants_nothing():
    change = act("security_group.change", group="web", verb="authorize", rule="tcp/22")
    look = act("security_group.describe", group="web")
    assert ruled(HEAL, change).verdict == "deny"
    assert (
        ruled(HEAL.replace("readonly: true", "readonly: false"), change).needs[0].gateway
        == "security_changes"
    )
    assert ruled(HEAL.replace("{readonly: true}", "{}"), change).verdict == "deny"
    assert ruled(HEAL.replace("    security_groups: {readonly: true}\n", ""), change).verdict == "deny"
    assert ruled(HEAL, look, capability=Capability.READONLY).verdict == "allow"
    assert ruled(HEAL.replace("    security_groups: {readonly: true}\n", ""), look).verdict == "deny"


def test_a_database_change_needs_both_gateways_and_a_broker_that_can_write():
    change = act("database.change", database="db", verb="vacuum")
    decision = ruled(HEAL, change)
    assert [n.gateway for n in decision.needs] == ["database_actions", "destructive_ops"]
    assert ruled(HEAL, change, capability=Capability.READONLY).verdict == "deny"
    assert ruled(HEAL, change, live=frozenset({"db"})).verdict == "ask"
    assert ruled(HEAL, change, live=frozenset({"other"})).rule == "live targets"


# --- approvers -------------------------------------------------------------------------------------


def test_absent_approvers_are_the_local_owner():
    need = ApprovalNeed("destructive_ops", frozenset({"owner"}), 1, 900.0)
    assert ruled(HEAL, act("service.stop", service="worker-1")).needs == (need,)


def test_all_roles_become_needs_that_only_different_people_meet():
    text = HEAL + "approvers: {destructive_ops: {all_roles: [dba, oncall], expiry_minutes: 10}}\n"
    needs = ruled(text, act("service.stop", service="worker-1")).needs
    assert [(sorted(n.roles), n.quorum, n.expiry_s) for n in needs] == [
        (["dba"], 1, 600.0),
        (["oncall"], 1, 600.0),
        (["dba", "oncall"], 2, 600.0),
    ]


def test_roles_come_from_the_collaboration_section():
    policy = parse("collaboration: {roles: {dba: [ann], oncall: [ann, ben]}}")
    assert roles_of(policy, "ann") == {"dba", "oncall"}
    assert roles_of(policy, "cem") == frozenset()


# --- freezes ---------------------------------------------------------------------------------------


def test_a_freeze_stops_the_world_and_not_the_copy():
    text = HEAL + "freeze: [{start: 2026-12-24, end: 2026-12-27, tz: Europe/Amsterdam}]\n"
    opens = 1_798_066_800.0  # 2026-12-23T23:00Z
    closes = 1_798_326_000.0  # 2026-12-26T23:00Z
    assert ruled(text, RESTART, now_wall_s=opens - 1).verdict == "allow"
    assert ruled(text, RESTART, now_wall_s=opens).rule == "veilig.yaml:10 freeze[0]"
    assert ruled(text, RESTART, now_wall_s=closes - 1).verdict == "deny"
    assert ruled(text, RESTART, now_wall_s=closes).verdict == "allow"
    assert ruled(text, RESTART, now_wall_s=None).verdict == "deny"
    assert ruled(text, act("tests.run"), now_wall_s=opens).verdict == "allow"


# --- guards ----------------------------------------------------------------------------------------


def test_a_guard_turns_an_allow_into_a_question_for_the_approvers_of_changes():
    base = ruled(HEAL, RESTART)
    asked = combine(base, Opinion("rate", Verdict.ASK, "odd hour"))
    assert (asked.verdict, asked.rule, asked.budgets) == ("ask", "guard rate", base.budgets)
    assert asked.needs == base.otherwise
    assert combine(base, Opinion("rate", Verdict.ALLOW, "fine")) == base
    denied = combine(base, Opinion("a", Verdict.ASK, ""), Opinion("b", Verdict.DENY, "no"))
    assert (denied.verdict, denied.rule, denied.needs, denied.budgets) == ("deny", "guard b", (), ())
    assert Facts() == Facts()
