"""What does the policy say of work that others do: models, tools of MCP servers, child sessions?"""

from collections.abc import Mapping

from veilig.core.action import AskModel, CallTool, ListTools, StartSession
from veilig.core.effect import Effect
from veilig.core.policy_model import BudgetClaim, McpServer, Mode
from veilig.core.policy_rules import HOUR_S, Case, Judge
from veilig.core.provider import Verdict


def _ask_model(case: Case) -> None:
    action, models = case.action, case.policy.models
    if not isinstance(action, AskModel):
        return
    if not any(p.matches(action.model) for p in models.allowed):
        case.deny(models.rule, f"models.allowed does not name {action.model!r}")
    elif action.tokens_max > models.tokens_per_answer:
        case.deny(
            models.rule, f"asks for {action.tokens_max} tokens, the bound is {models.tokens_per_answer}"
        )
    elif models.requests_per_hour == 0:
        case.deny(models.rule, "models.requests_per_hour is 0")
    else:
        case.grant(Verdict.ALLOW, models.rule, f"{action.model!r} may be asked")
        case.budgets.append(BudgetClaim(f"model.ask/{action.model}", models.requests_per_hour, HOUR_S))


def _mcp(case: Case) -> None:
    """A tool that is not named is asked about; a server that is not named is refused."""
    action, mcp = case.action, case.policy.mcp
    if not isinstance(action, ListTools | CallTool):
        return
    server = next((one for one in mcp.servers if one.name == action.server), None)
    if server is None:
        case.deny(mcp.rule, f"mcp.servers does not name {action.server!r}")
        return
    if server.url:
        case.effects = case.effects | {Effect.NETWORK}
        if case.policy.mode is Mode.OBSERVE and isinstance(action, CallTool):
            case.deny(case.policy.mode_rule, f"mode observe: {action.server!r} acts outside the copy")
    if isinstance(action, ListTools):
        case.grant(Verdict.ALLOW, server.rule, f"asks {action.server!r} for its tools, {_where(server)}")
    elif action.tool in server.deny:
        case.deny(server.rule, f"tools.deny names {action.tool!r}")
    elif action.tool in server.allow:
        case.grant(Verdict.ALLOW, server.rule, f"tools.allow names {action.tool!r}")
    else:
        case.grant(Verdict.ASK, server.rule, f"tools.allow does not name {action.tool!r}")


def _where(server: McpServer) -> str:
    return f"at {server.url}" if server.url else "inside the wall"


def _delegate(case: Case) -> None:
    """A child has the same copy, wall and law; what is bounded is how many there are."""
    rules, facts = case.policy.agent.delegates, case.facts
    if not isinstance(case.action, StartSession):
        return
    if facts.depth is None or facts.depth >= rules.depth:
        case.deny(rules.rule, f"a session {facts.depth} levels down starts none: the bound is {rules.depth}")
    elif facts.children is None or facts.children >= rules.sessions:
        case.deny(rules.rule, f"{facts.children} were started, the bound is {rules.sessions}")
    else:
        case.grant(rules.verdict, rules.rule, "a child session in the same copy, under the same law")


JUDGES: Mapping[str, Judge] = {
    "model.ask": _ask_model,
    "mcp.list": _mcp,
    "mcp.call": _mcp,
    "session.start": _delegate,
}
