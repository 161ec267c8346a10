"""What does the policy say of one action? Each kind has its judge; the strictest finding wins.

A judge may grant (allow or ask) or refuse; what holds for every kind (the switch, the mode, gateways,
freezes, the provider's capability) can only tighten what a judge granted.
"""

import re
from collections.abc import Callable, Mapping

from veilig.core import policy_match as match
from veilig.core.action import (
    Action,
    ApplyPatch,
    CommitBranch,
    DeleteFile,
    EditPolicy,
    ListSkills,
    OpenWorkspace,
    PatchFile,
    ReadFile,
    ReadHistory,
    ReadOutput,
    ReadSkill,
    RestoreTree,
    RunCommand,
    RunTests,
    ScanCode,
    ViewImage,
    WriteFile,
)
from veilig.core.action_desktop import DESKTOP_KINDS, LaunchProgram
from veilig.core.actor import Actor
from veilig.core.effect import READ, Effect, Effects, InWall, Scope
from veilig.core.grant import grantable
from veilig.core.policy_model import (
    GATEWAY_OF,
    ApprovalNeed,
    BudgetClaim,
    Capability,
    Decision,
    Facts,
    Finding,
    Gateway,
    GlobRule,
    Mode,
    Policy,
)
from veilig.core.provider import Verdict, strictness

HOUR_S = 3600.0
_DIFF_NAMES = re.compile(
    r"^(--- |\+\+\+ |rename (?:from|to) |copy (?:from|to) |diff --git )(.*)$", re.MULTILINE
)
_GIT_NAMES = re.compile(r"a/(.+) b/\1", re.DOTALL)  # both names equal: no other way to read it
_LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")


class Case:
    """One action before the policy: what was found so far."""

    __slots__ = ("action", "actor", "budgets", "effects", "facts", "findings", "granted", "policy")

    def __init__(self, policy: Policy, action: Action, actor: Actor, facts: Facts) -> None:
        self.policy = policy
        self.action = action
        self.actor = actor
        self.facts = facts
        self.effects: Effects = action.effects | facts.classes if facts.classes else action.effects
        self.findings: list[Finding] = []
        self.budgets: list[BudgetClaim] = []
        self.granted = False

    def grant(self, verdict: Verdict, rule: str, why: str, gateway: Gateway | None = None) -> None:
        """A rule that names this action says allow, ask or deny."""
        self.granted = True
        self.findings.append(Finding(verdict, rule, why, gateway))

    def deny(self, rule: str, why: str) -> None:
        self.findings.append(Finding(Verdict.DENY, rule, why))

    def ask(self, rule: str, why: str, gateway: Gateway = Gateway.CHANGES) -> None:
        """People decide, if something else grants it at all."""
        self.findings.append(Finding(Verdict.ASK, rule, why, gateway))

    def decision(self) -> Decision:
        """The strictest finding; with no grant among them, deny."""
        if not self.granted and not any(f.verdict is Verdict.DENY for f in self.findings):
            self.deny(
                f"{self.policy.file} (no rule)", f"no rule speaks of {self.action.kind}; silence means no"
            )
        decisive = max(self.findings, key=lambda f: strictness(f.verdict))
        verdict = decisive.verdict
        needs: tuple[ApprovalNeed, ...] = ()
        if verdict is Verdict.ASK:
            asked = {f.gateway or Gateway.CHANGES for f in self.findings if f.verdict is Verdict.ASK}
            needs = tuple(n for g in Gateway if g in asked for n in self.policy.approvers[g])
        return Decision(
            verdict=verdict,
            rule=decisive.rule,
            findings=tuple(self.findings),
            needs=needs,
            budgets=() if verdict is Verdict.DENY else tuple(self.budgets),
            grantable=verdict is Verdict.ASK
            and Effect.NETWORK not in self.effects
            and grantable(self.action),
            otherwise=self.policy.approvers[Gateway.CHANGES],
        )


type Judge = Callable[[Case], None]


# --- for every kind -----------------------------------------------------------------------------------


def tighten(case: Case) -> None:
    """What holds whatever the kind: the agent's switch, bounds of the wall, mode, gateways, freezes."""
    policy, action, effects = case.policy, case.action, case.effects
    changes = not effects <= READ
    if action.scope is Scope.COPY:
        if changes and not policy.agent.enabled:
            case.deny(policy.agent.rule, "the agent is switched off")
        if isinstance(action, InWall) and action.timeout_s > policy.sandbox.wall_s:
            why = f"asks for {action.timeout_s:g} s of wall time, the bound is {policy.sandbox.wall_s:g} s"
            case.deny(policy.sandbox.rule, why)
        return
    if Effect.WRITE in effects:
        if policy.mode is Mode.OBSERVE:
            case.deny(policy.mode_rule, "mode observe changes nothing outside the copy")
        elif policy.mode is Mode.PROPOSE:
            case.ask(policy.mode_rule, "mode propose asks before each change outside the copy")
    for effect, gateway in GATEWAY_OF.items():
        if effect in effects:
            case.ask(policy.gateway_rules[gateway], f"{effect} changes always ask", gateway)
    if action.scope is Scope.WORLD and Effect.WRITE in effects:
        _hold(case)


def _hold(case: Case) -> None:
    """What keeps a change of the world waiting, and what its provider cannot do."""
    facts = case.facts
    if facts.capability is not Capability.READ_WRITE:
        why = f"the provider is {facts.capability}: no approval overrides that"
        case.deny("provider capability", why)
    for hold in facts.holds:
        case.deny("incident rule", f"on hold: {hold}")
    for freeze in case.policy.freezes:
        if facts.now_wall_s is None:
            case.deny(freeze.rule, "the wall clock is unknown, so a freeze cannot be excluded")
        elif freeze.open_at(facts.now_wall_s):
            case.deny(freeze.rule, f"freeze {freeze.name!r} is open" if freeze.name else "a freeze is open")


# --- files and commands in the copy --------------------------------------------------------------------


def _first(rules: tuple[GlobRule, ...], path: str) -> GlobRule | None:
    return next((r for r in rules if r.glob.matches(path)), None)


def _path(case: Case, path: str, *, write: bool) -> bool:
    """Refuse this path if a rule does or none allows it; True when it may pass."""
    agent, path = case.policy.agent, match.clean_path(path)
    folded = match.fold_path(path)
    if write and match.protected(path):
        case.deny("protected path", f"{path!r} belongs to the repository or the law: no patch changes it")
        return False
    refused = next((r for r in agent.deny if r.glob.matches_any_spelling(folded)), None)
    if refused is not None:
        case.deny(refused.rule, f"{path!r} is covered by deny {refused.glob.text!r}")
        return False
    rules, word = (agent.write, "write") if write else (agent.read, "read")
    if _first(rules, path) is None:
        case.deny(f"{case.policy.file} agent.paths.{word}", f"no glob of agent.paths.{word} covers {path!r}")
        return False
    return True


def _read_file(case: Case) -> None:
    action = case.action
    if isinstance(action, ReadFile | ViewImage) and _path(case, action.path, write=False):
        rule = _first(case.policy.agent.read, match.clean_path(action.path))
        case.grant(Verdict.ALLOW, rule.rule if rule else "", f"reads {action.path!r} in the copy")


def _change_file(case: Case) -> None:
    action = case.action
    if isinstance(action, WriteFile | PatchFile | DeleteFile) and _path(case, action.path, write=True):
        rule = _first(case.policy.agent.write, match.clean_path(action.path))
        case.grant(Verdict.ALLOW, rule.rule if rule else "", f"changes {action.path!r} in the copy")


def _look(case: Case) -> None:
    """Reading the copy as a whole: it holds only what agent.paths lets in."""
    action = case.action
    paths = action.paths if isinstance(action, ScanCode) else ()
    if all(_path(case, path, write=False) for path in paths):
        case.grant(Verdict.ALLOW, "reading the copy", "reads only what the copy holds, inside the wall")


def _own_past(case: Case) -> None:
    """What this session said or made before, and skills: nothing that it may not read anyway."""
    if isinstance(case.action, ReadOutput | RestoreTree):
        case.grant(Verdict.ALLOW, "the session's own past", "in the copy, and of this session only")
    elif isinstance(case.action, ListSkills | ReadSkill):
        case.grant(Verdict.ALLOW, "skills", "texts of the copy and the operator's own; they grant nothing")


def _same_root(case: Case, root: str) -> bool:
    mine = case.facts.root.rstrip("/")
    if not mine or root.rstrip("/") != mine:
        why = f"works on {case.facts.root!r}" if mine else "has no folder of its own (Facts.root is empty)"
        case.deny("session root", f"{root!r} is not this session's folder: it {why}")
        return False
    return True


def _open(case: Case) -> None:
    action = case.action
    if isinstance(action, OpenWorkspace) and _same_root(case, action.source):
        case.grant(Verdict.ALLOW, "reading the copy", "copies the folder this session was started for")


def _history(case: Case) -> None:
    action = case.action
    if isinstance(action, ReadHistory) and _same_root(case, action.source):
        case.grant(Verdict.ALLOW, "reading the copy", "reads older states of the files in the copy")


def _command(case: Case) -> None:
    action = case.action
    if not isinstance(action, RunCommand):
        return
    _argv(case, action.argv)
    for host in action.hosts:
        rules = [r for r in case.policy.agent.hosts if match.host_matches(r.host, host)]
        for rule in rules:
            case.findings.append(Finding(rule.verdict, rule.rule, f"reaches {host!r}", Gateway.CHANGES))
        if not rules:
            case.deny(f"{case.policy.file} agent.hosts", f"no entry of agent.hosts names {host!r}")


def _argv(case: Case, argv: tuple[str, ...]) -> None:
    agent = case.policy.agent
    spoke = False
    for rules in (agent.by_program.get(argv[0], ()), agent.any_program):
        for rule in rules:
            if match.argv_matches(rule.argv, argv):
                spoke = True
                case.grant(rule.verdict, rule.rule, f"matches {' '.join(rule.argv)!r}")
    if not spoke:
        why = f"no entry of agent.commands matches {' '.join(argv)[:120]!r}"
        case.grant(agent.unlisted, agent.unlisted_rule, why)


def _tests(case: Case) -> None:
    agent, action = case.policy.agent, case.action
    case.grant(agent.tests, agent.tests_rule, "runs the project's tests inside the wall")
    if isinstance(action, RunTests) and action.command:
        _argv(case, action.command)


def _desktop(case: Case) -> None:
    """Mouse and keys reach every program there, a terminal too: one verdict for all that is done by them."""
    agent, action = case.policy.agent, case.action
    case.grant(agent.desktop, agent.desktop_rule, "on the session's own desktop, inside the wall")
    if isinstance(action, LaunchProgram):
        _argv(case, action.argv)


# --- the user's own tree ---------------------------------------------------------------------------------


def diff_paths(diff: str) -> frozenset[str] | None:
    """Every path a unified diff may touch, or None when one cannot be read with certainty.

    A line of content that looks like a header counts as one: too many paths are the safe error.
    """
    found: set[str] = set()
    for header, rest in _DIFF_NAMES.findall(diff):
        text = str(rest).split("\t")[0].rstrip()
        if text.startswith('"') or _LINE_ENDS.search(text):
            return None
        if header == "diff --git ":
            both = _GIT_NAMES.fullmatch(text)
            if both is not None:
                found.add(both.group(1))
            elif "\nrename to " not in diff and "\ncopy to " not in diff:
                return None
        elif text != "/dev/null":
            found.add(text[2:] if text[:2] in ("a/", "b/") else text)
    return frozenset(found)


def _patch(case: Case) -> None:
    action, agent = case.action, case.policy.agent
    if not isinstance(action, ApplyPatch | CommitBranch) or not _same_root(case, action.root):
        return
    named = diff_paths(action.diff)
    touched = {path for path, _ in action.base} | (named or frozenset())
    if named is None or not touched:
        why = "names no file" if named is not None else "names a file in a way that can be read as two"
        case.deny("patch paths", f"the diff {why}")
        return
    if all(_path(case, path, write=True) for path in sorted(touched)):
        verdict, rule = (
            (agent.apply, agent.apply_rule)
            if isinstance(action, ApplyPatch)
            else (agent.branch, agent.branch_rule)
        )
        many = f"{len(touched)} file{'s' if len(touched) != 1 else ''}"
        case.grant(verdict, rule, f"changes {many} in {action.root!r}", Gateway.CHANGES)


def _edit_policy(case: Case) -> None:
    action = case.action
    if isinstance(action, EditPolicy) and _same_root(case, action.root):
        rule = case.policy.gateway_rules[Gateway.SECURITY]
        case.grant(Verdict.ASK, rule, "a change of the policy is a security change", Gateway.SECURITY)


JUDGES: Mapping[str, Judge] = {
    "file.read": _read_file,
    "file.view": _read_file,
    "output.read": _own_past,
    "skills.list": _own_past,
    "skill.read": _own_past,
    "workspace.restore": _own_past,
    "file.write": _change_file,
    "file.patch": _change_file,
    "file.delete": _change_file,
    "workspace.open": _open,
    "workspace.diff": _look,
    "history.read": _history,
    "workspace.apply": _patch,
    "git.branch": _patch,
    "policy.edit": _edit_policy,
    "command.run": _command,
    "tests.run": _tests,
    "audit.scan": _look,
    "repair.propose": _look,
    "repair.search": _tests,
    **dict.fromkeys(DESKTOP_KINDS, _desktop),
}
