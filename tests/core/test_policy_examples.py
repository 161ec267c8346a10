"""Do the shipped example policies load, and decide their own examples as they say?"""

from pathlib import Path

import pytest

from veilig.core.action import RestartService, RunCommand
from veilig.core.actor import Actor, ActorKind
from veilig.core.policy import Capability, Facts, check, describe, load, parse
from veilig.core.policy_examples import run_tests
from veilig.core.policy_explain import explain

POLICIES = sorted((Path(__file__).parents[2] / "examples" / "policies").glob("*.yaml"))
AGENT = Actor("agent:heal", ActorKind.AGENT)


def test_there_are_example_policies():
    assert [p.stem for p in POLICIES] == ["agent", "contract", "healing", "observe"]


@pytest.mark.parametrize("path", POLICIES, ids=lambda p: p.stem)
def test_an_example_policy_is_valid_and_decides_as_it_says(path: Path):
    assert check(path) == []
    assert [f"{r.rule} {r.name}: {r.why}" for r in run_tests(load(path)) if not r.ok] == []


def test_a_wrong_expectation_says_what_was_decided_instead():
    policy = parse("tests:\n  - {action: {kind: tests.run}, expect: deny}\n")
    (result,) = run_tests(policy)
    assert not result.ok
    assert result.rule == "veilig.yaml:2 tests[0]"
    assert result.why.startswith("expected deny, got allow from veilig.yaml agent.tests (default)")


def test_a_right_verdict_by_another_rule_is_no_pass():
    text = "tests:\n  - {action: {kind: tests.run}, expect: allow, rule: agent.apply}\n"
    (result,) = run_tests(parse(text))
    assert (result.ok, "expected agent.apply to decide" in result.why) == (False, True)


def test_an_example_action_that_cannot_exist_is_a_failure_not_a_skip():
    (result,) = run_tests(parse("tests:\n  - {action: {kind: service.restat}, expect: deny}\n"))
    assert not result.ok
    assert "unknown kind of action 'service.restat'" in result.why


def test_explain_names_the_deciding_rule_the_silent_ones_and_the_live_targets():
    policy = load(next(p for p in POLICIES if p.stem == "healing"))
    facts = Facts(
        now_wall_s=0.0,
        capability=Capability.READ_WRITE,
        known=True,
        last_healthy=False,
        foreign_starts=0,
        live=frozenset({"worker-1", "worker-2", "api-1", "db"}),
    )
    text = explain(policy, RestartService("worker-1"), AGENT, facts)
    assert text.splitlines()[0] == "allow  service.restart worker-1  proposed by agent:heal (agent)"
    assert "decided by  healing.yaml:7 autonomous_healing.scope.services[0]" in text
    assert "healing.yaml:11 autonomous_healing.scope.services[1]: 'db' does not cover 'worker-1'" in text
    assert "budget  service.restart/service:worker-1: at most 3 in 3600 s" in text
    assert "'worker-*' covers worker-1, worker-2" in text


def test_explain_of_a_question_says_who_is_asked():
    policy = parse("mode: act\nagent: {commands: [], unlisted_commands: ask}\n", "p.yaml")
    text = explain(policy, RunCommand(("rm", "-r", "build")), AGENT)
    assert "decided by  p.yaml:2 agent.unlisted_commands" in text
    assert "needs  1 of role owner (changes), within 15 min; never the proposer" in text
    assert "a standing permission may answer this" in text


def test_every_key_is_described_with_a_reason_and_none_twice():
    keys = describe()
    assert [k.path for k in keys if not k.reason] == []
    assert len({k.path for k in keys}) == len(keys)
    by_path = {k.path: k for k in keys}
    key = by_path["autonomous_healing.scope.services[].max_restarts_per_hour"]
    assert (key.type, key.unit, key.default) == ("a whole number from 0 to 60", "restarts per service", "0")
    assert by_path["agent.commands[].argv"].default == "required"
