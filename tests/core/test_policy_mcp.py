"""Does the policy bound the tools of MCP servers: which server, which tool, and what a project may say?"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from veilig.core.action import CallTool, ListTools
from veilig.core.actor import Actor, ActorKind
from veilig.core.errors import InvalidAction, PolicyError
from veilig.core.policy import allows_secret, builtin_policy, decide, parse
from veilig.core.policy_examples import kindest
from veilig.law import Laws

AGENT = Actor("agent:run", ActorKind.AGENT)
LAW = """\
mcp:
  servers:
    - name: time
      argv: [mcp-server-time]
      tools: {allow: [now, both, never], ask: [both, later], deny: [never]}
    - {name: bare, argv: [bare-server]}
"""


@pytest.mark.parametrize(
    ("action", "verdict"),
    [
        pytest.param(ListTools("time"), "allow", id="its tools"),
        pytest.param(ListTools("other"), "deny", id="the tools of an unknown server"),
        pytest.param(CallTool("time", "now"), "allow", id="a tool that is allowed"),
        pytest.param(CallTool("time", "NOW"), "ask", id="another case is another tool"),
        pytest.param(CallTool("time", "both"), "ask", id="ask wins over allow"),
        pytest.param(CallTool("time", "later"), "ask", id="a tool that asks"),
        pytest.param(CallTool("time", "new"), "ask", id="a tool that nobody named"),
        pytest.param(CallTool("time", "never"), "deny", id="deny wins over allow"),
        pytest.param(CallTool("bare", "now"), "ask", id="a server without rules"),
        pytest.param(CallTool("other", "now"), "deny", id="a server that nobody named"),
        pytest.param(CallTool("time", "now", timeout_s=3600), "allow", id="the longest time"),
    ],
)
def test_a_tool_acts_only_as_its_server_rule_says(action: ListTools | CallTool, verdict: str) -> None:
    decision = decide(parse(LAW), action, AGENT, kindest(action))
    assert decision.verdict == verdict, decision.rule


def test_without_the_section_no_server_is_asked() -> None:
    for action in (ListTools("time"), CallTool("time", "now")):
        assert decide(builtin_policy(), action, AGENT, kindest(action)).verdict == "deny"
        assert decide(parse("mode: act\n"), action, AGENT, kindest(action)).verdict == "deny"


def test_an_agent_that_is_switched_off_calls_no_tool() -> None:
    action = CallTool("time", "now")
    law = parse(f"{LAW}agent: {{enabled: false}}\n")
    assert decide(law, action, AGENT, kindest(action)).verdict == "deny"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("mcp: {servers: [{name: a}]}", "argv", id="no argv"),
        pytest.param("mcp: {servers: [{name: a, argv: []}]}", "argv", id="an empty argv"),
        pytest.param("mcp: {servers: [{name: A b, argv: [x]}]}", "name", id="a name of two words"),
        pytest.param(
            f"mcp: {{servers: [{{name: {'a' * 21}, argv: [x]}}]}}", "name", id="a name that is too long"
        ),
        pytest.param(
            "mcp: {servers: [{name: a, argv: [x]}, {name: a, argv: [z]}]}", "is taken", id="one name twice"
        ),
        pytest.param("mcp: {servers: [{name: a, argv: [x], network: [h]}]}", "network", id="the network"),
        pytest.param("mcp: {servers: [{name: a, argv: [x], url: 'https://h'}]}", "single place", id="two"),
        pytest.param("mcp: {servers: [{name: a, url: 'http://h.example'}]}", "in the clear", id="no TLS"),
        pytest.param("mcp: {servers: [{name: a, url: 'ftp://h'}]}", "no address", id="another protocol"),
        pytest.param("mcp: {servers: [{name: a, argv: [x], headers: {A: b}}]}", "single", id="headers only"),
        pytest.param("mcp: {servers: [{name: a, url: 'https://h', headers: {Host: b}}]}", "Host", id="Host"),
        pytest.param(
            "mcp: {servers: [{name: a, argv: [x], tools: {allow: ['*']}}]}", "allow", id="every tool at once"
        ),
    ],
)
def test_a_section_that_cannot_be_meant_stops_the_policy(text: str, why: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse(text)
    assert why in str(caught.value)
    assert parse(f"mcp: {{servers: [{{name: {'a' * 20}, argv: [x]}}]}}").mcp.servers, "the longest name"


@pytest.mark.parametrize(
    ("project", "verdict"),
    [
        pytest.param("mode: propose\n", "allow", id="silent: as the operator says"),
        pytest.param("mcp: {servers: []}\n", "deny", id="none"),
        pytest.param("mcp: {servers: [{name: time, argv: [evil], tools: {}}]}\n", "ask", id="asks"),
        pytest.param(
            "mcp: {servers: [{name: time, argv: [evil], tools: {allow: [now]}}]}\n", "allow", id="the same"
        ),
    ],
)
def test_a_project_only_tightens_and_its_argv_is_never_used(
    tmp_path: Path, project: str, verdict: str
) -> None:
    own, theirs = tmp_path / "operator.yaml", tmp_path / "veilig.yaml"
    own.write_text(LAW)
    theirs.write_text(project)
    laws, action = Laws(own, theirs), CallTool("time", "now")
    facts = replace(kindest(action), root=str(tmp_path))
    assert laws.decide(action, AGENT, facts).verdict == verdict
    assert laws.decide(CallTool("evil", "now"), AGENT, facts).verdict == "deny"
    assert [server.argv for server in laws.operator.mcp.servers] == [("mcp-server-time",), ("bare-server",)]


@pytest.mark.parametrize("name", ["", "two words", "*", "a?", "a\x00"])
def test_an_act_names_one_server_and_one_tool(name: str) -> None:
    with pytest.raises(InvalidAction):
        CallTool(name, "now")
    with pytest.raises(InvalidAction):
        CallTool("time", name)
    with pytest.raises(InvalidAction):
        CallTool("time", "now", json.dumps({"x": "a" * (5 << 20)}))


def test_a_server_elsewhere_acts_outside_the_copy() -> None:
    law = "mcp: {servers: [{name: far, url: 'https://mcp.example.org/mcp', tools: {allow: [now]}}]}\n"
    act, ask = CallTool("far", "now"), CallTool("far", "later")
    assert decide(parse(law), act, AGENT, kindest(act)).verdict == "allow"
    assert decide(parse(f"{law}mode: observe\n"), act, AGENT, kindest(act)).verdict == "deny"
    asked = decide(parse(law), ask, AGENT, kindest(ask))
    assert (asked.verdict, asked.grantable) == ("ask", False), "no standing permission reaches the network"
    near = decide(parse(LAW), CallTool("time", "new"), AGENT, kindest(ask))
    assert (near.verdict, near.grantable) == ("ask", True)


def test_a_secret_goes_to_a_server_elsewhere_only_where_its_host_is_named() -> None:
    far = "mcp: {servers: [{name: far, url: 'https://mcp.example.org:8443/mcp'}]}\n"
    for hosts, allowed in (
        ("", False),
        (", hosts: ['mcp.example.org:8443']", True),
        (", hosts: [x.org]", False),
    ):
        rule = f"{{name: KEY, from: [mark], to: [mcp.call]{hosts}}}"
        law = parse(f"{far}agent: {{secrets: [{rule}]}}\n")
        assert allows_secret(law, "KEY", "mark", CallTool("far", "now")) is allowed
