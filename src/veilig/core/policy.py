"""May this actor do this action now? veilig.yaml -> Policy; decide(policy, action, actor, facts) -> Decision.

`decide` is pure. The strictest rule wins, their order means nothing, silence means deny. A file that does not
validate raises PolicyError and stops every change: never the last good one, never "empty means allow".
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from veilig.core import policy_foreign, policy_rules, policy_world
from veilig.core.action import Action, CallTool, EditPolicy, RunCommand
from veilig.core.actor import Actor
from veilig.core.errors import PolicyError
from veilig.core.policy_build import build
from veilig.core.policy_builtin import NAME, TEXT
from veilig.core.policy_load import PolicyFileError, Problem, open_source, read_nodes
from veilig.core.policy_match import clean_path, fold_path, host_matches
from veilig.core.policy_model import (
    ApprovalNeed,
    BudgetClaim,
    Capability,
    Decision,
    Facts,
    Finding,
    Gateway,
    Mode,
    Policy,
)
from veilig.core.policy_rules import Case, Judge
from veilig.core.policy_schema import ROOT, Key, describe
from veilig.core.policy_shape import validate
from veilig.core.provider import Opinion, Verdict, strictness

__all__ = [
    "ApprovalNeed", "BudgetClaim", "Capability", "Decision", "Facts", "Finding", "Gateway", "PolicyFileError",
    "Key", "Mode", "Policy", "Problem", "Verdict", "allows_secret", "builtin_policy", "check", "combine",
    "decide", "describe", "in_copy", "load", "parse", "roles_of",
]  # fmt: skip

JUDGES: Mapping[str, Judge] = {**policy_rules.JUDGES, **policy_world.JUDGES, **policy_foreign.JUDGES}


def parse(data: bytes | str, source: str = "veilig.yaml") -> Policy:
    """The policy this text stands for. Raises PolicyFileError with every problem, its line and a caret."""
    return _parse(data, source, builtin_policy())


def load(path: Path) -> Policy:
    """The policy in the file `path`. Raises PolicyError when it cannot be read or does not validate."""
    return parse(_read(path), str(path))


def check(path: Path) -> list[Problem]:
    """Everything wrong with the file `path`, in its order; raises PolicyError when it cannot be read."""
    data = _read(path)
    try:
        parse(data, str(path))
    except PolicyFileError as error:
        return list(error.problems)
    return []


@cache
def builtin_policy() -> Policy:
    """What holds without a veilig.yaml: work in the copy, questions before anything leaves it, no network."""
    return _parse(TEXT, NAME, None)


def _parse(data: bytes | str, source: str, base: Policy | None) -> Policy:
    text = open_source(data, source)
    node = read_nodes(text)
    validate(node, ROOT, "", text)
    text.stop_if_invalid()
    return build(node, text, base)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file() and path.exists():  # a pipe would be waited for without end
            raise IsADirectoryError("not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise PolicyError(
            f"cannot read the policy {str(path)!r}",
            why=f"{error.strerror or error}; without its law nothing is changed",
            fix="restore the file or its permissions, or remove it to work under the built-in policy",
        ) from error


def decide(policy: Policy, action: Action, actor: Actor, facts: Facts | None = None) -> Decision:
    """The verdict on `action`, which rule gave it, who must be asked and which budgets it claims.

    Pure: the same arguments give the same answer. Without facts each is taken as not known, strictly.
    Never raises for a valid action; an action of a kind nobody judges is denied.
    """
    case = judged(policy, action, actor, facts)
    return case.decision()


def judged(policy: Policy, action: Action, actor: Actor, facts: Facts | None) -> Case:
    """The case behind `decide`, for explaining it."""
    case = Case(policy, action, actor, facts if facts is not None else _NO_FACTS)
    judge = JUDGES.get(action.kind)
    if judge is not None:
        judge(case)
    policy_rules.tighten(case)
    if isinstance(action, EditPolicy) and not _valid(action.content):
        case.deny("policy check", "the new policy does not validate: it would stop every change")
    return case


_NO_FACTS = Facts()


def _valid(content: str) -> bool:
    try:
        parse(content)
    except PolicyError:
        return False
    return True


def combine(decision: Decision, *opinions: Opinion) -> Decision:
    """The decision with what guards think of it: looser opinions change nothing.

    A guard that turns an allow into a question is answered by the policy's approvers of `changes`, and
    no standing permission answers it.
    """
    stricter = [o for o in opinions if strictness(o.verdict) > strictness(decision.verdict)]
    if not stricter:
        return decision
    worst = max(stricter, key=lambda o: strictness(o.verdict))
    spoke = tuple(Finding(o.verdict, f"guard {o.guard}", o.why, Gateway.CHANGES) for o in stricter)
    denied = worst.verdict is Verdict.DENY
    return replace(
        decision,
        verdict=worst.verdict,
        rule=f"guard {worst.guard}",
        findings=decision.findings + spoke,
        needs=() if denied else decision.needs or decision.otherwise,
        budgets=() if denied else decision.budgets,
        grantable=False,
    )


def allows_secret(policy: Policy, name: str, origin: str, action: Action) -> bool:
    """May the secret behind the handle called `name` be expanded in `action`?

    origin: where it was learnt, `env:...`, `file:...`, `mark` or `pattern` (what stands before the colon
    counts). A command or a tool that reaches hosts needs a rule that names all of them.
    """
    learnt = origin.partition(":")[0]
    hosts = _hosts_of(policy, action)
    return any(
        action.kind in rule.kinds
        and learnt in rule.origins
        and rule.name.matches(name)
        and all(any(host_matches(h, host) for h in rule.hosts) for host in hosts)
        for rule in policy.agent.secrets
    )


def _hosts_of(policy: Policy, action: Action) -> tuple[str, ...]:
    if isinstance(action, CallTool):
        url = next((one.url for one in policy.mcp.servers if one.name == action.server), "")
        return (urlsplit(url).netloc,) if url else ()
    return action.hosts if isinstance(action, RunCommand) else ()


def in_copy(policy: Policy, path: str) -> bool:
    """May the throw-away copy hold this file? What it does not hold, no command and no test can read."""
    agent, path = policy.agent, clean_path(path)
    folded = fold_path(path)
    return any(r.glob.matches(path) for r in agent.read) and not any(
        r.glob.matches_any_spelling(folded) for r in agent.deny
    )


def withheld(policy: Policy, path: str) -> bool:
    """Is this file kept from every model? In any spelling: a file system may not tell cases apart."""
    folded = fold_path(clean_path(path))
    return any(r.glob.matches_any_spelling(folded) for r in policy.models.withhold)


def roles_of(policy: Policy, person: str) -> frozenset[str]:
    """The roles collaboration.roles gives this person."""
    return frozenset(role for role, people in policy.elsewhere.roles.items() if person in people)
