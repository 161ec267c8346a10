"""Why did the policy decide this? Which rule decided, what the others said, and why the rest kept silent."""

from collections.abc import Iterator

from veilig.core.action import Action, RunCommand, RunTests
from veilig.core.actor import Actor
from veilig.core.policy import decide
from veilig.core.policy_match import argv_matches
from veilig.core.policy_model import Facts, Policy
from veilig.core.provider import Verdict

SILENT_SHOWN = 12  # rules that kept silent; a page of them helps nobody


def explain(policy: Policy, action: Action, actor: Actor, facts: Facts | None = None) -> str:
    """The decision in words: verdict, deciding rule, all rules that spoke, and why the others did not."""
    decision = decide(policy, action, actor, facts)
    lines = [f"{decision.verdict}  {action.kind} {action.target}  proposed by {actor.id} ({actor.kind})"]
    lines.append(f"decided by  {decision.rule}")
    lines += [f"  {'*' if f.rule == decision.rule else ' '} {f}" for f in decision.findings]
    silent = list(_silent(policy, action))
    if silent:
        lines.append("did not match")
        lines += [f"    {line}" for line in silent[:SILENT_SHOWN]]
        if len(silent) > SILENT_SHOWN:
            lines.append(f"    and {len(silent) - SILENT_SHOWN} more")
    for need in decision.needs:
        who = f"{need.quorum} of role {' or '.join(sorted(need.roles))}"
        lines.append(f"needs  {who} ({need.gateway}), within {need.expiry_s / 60:g} min; never the proposer")
    for budget in decision.budgets:
        lines.append(f"budget  {budget.key}: at most {budget.limit} in {budget.window_s:g} s")
    if decision.verdict is Verdict.ASK:
        lines.append("a standing permission may answer this" if decision.grantable else "asked each time")
    lines += _targets(policy, action, facts)
    return "\n".join([*lines, f"policy  {policy.source} {policy.digest[:12]}, mode {policy.mode}"])


def _silent(policy: Policy, action: Action) -> Iterator[str]:
    """Rules of this action's kind that did not match, and why."""
    argv = action.argv if isinstance(action, RunCommand) else ()
    argv = action.command if isinstance(action, RunTests) else argv
    for rule in policy.agent.commands if argv else ():
        if not argv_matches(rule.argv, argv):
            yield f"{rule.rule}: {' '.join(rule.argv)!r} is another command"
    if action.kind.startswith(("service.", "container.")):
        for rule in policy.healing.services:
            if not rule.pattern.matches(action.target):
                yield f"{rule.rule}: {rule.pattern.text!r} does not cover {action.target!r}"


def _targets(policy: Policy, action: Action, facts: Facts | None) -> list[str]:
    """What each service pattern means right now, where somebody listed the live names."""
    if facts is None or facts.live is None or not action.kind.startswith(("service.", "container.")):
        return []
    lines = ["live targets"]
    for rule in policy.healing.services:
        names = sorted(n for n in facts.live if rule.pattern.matches(n))
        lines.append(f"    {rule.pattern.text!r} covers {', '.join(names) or 'nothing'}")
    return lines
