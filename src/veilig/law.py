"""Which law holds here? The operator's policy decides; a project's own veilig.yaml may only tighten it.

A policy file that comes with a repository is text from whoever wrote the repository: data. So it
can take permissions away and never give any. The files are read again when they change, and a
file that cannot be read stops every change.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from veilig.core.action import Action, AskModel, CallTool, ListTools
from veilig.core.actor import Actor
from veilig.core.clock import Clock
from veilig.core.errors import PolicyError
from veilig.core.gate_case import Law
from veilig.core.policy import (
    Decision,
    Facts,
    Mode,
    Policy,
    allows_secret,
    builtin_policy,
    decide,
    in_copy,
    load,
    withheld,
)
from veilig.core.provider import Verdict, strictness
from veilig.core.redact import Handle

FILE = "veilig.yaml"
SYSTEM = Path("/etc/veilig/veilig.yaml")


def _stands(path: Path) -> bool:
    """Whether a policy is here, however broken. Raises PolicyError for one whose name is not read."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        other = path.with_suffix(".yml")
        if other.is_file():
            raise PolicyError(
                f"{str(other)!r} is not read",
                why=f"a policy is called {FILE}; one that nobody reads would protect nothing",
                fix=f"rename it to {FILE}, or to something else when it is no policy",
            ) from None
        return False
    except OSError:
        return True  # loading it says what is wrong
    return True


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


@dataclass(slots=True)
class _File:
    """One policy file, read again when its identity changes."""

    path: Path
    seen: tuple[int, int, int] = (0, 0, 0)
    policy: Policy | None = None

    def now(self) -> Policy:
        try:
            info = self.path.stat()
            stamp = (info.st_mtime_ns, info.st_size, info.st_ino)
        except OSError:
            stamp = (-1, -1, -1)  # gone: load says so
        if self.policy is None or stamp != self.seen:
            self.policy = None  # never the last good one
            self.policy = load(self.path)
            self.seen = stamp
        return self.policy


class Laws:
    """The operator's policy and, when there is one, the project's."""

    def __init__(self, operator: Path | None, project: Path | None, *, act: bool = False) -> None:
        """act: the person at the terminal lets it act where the operator's file states no mode."""
        self._act = act
        self._operator = _File(operator) if operator else None
        self._project = _File(project) if project else None

    @property
    def operator(self) -> Policy:
        """What the operator wrote, or the built-in policy."""
        policy = self._operator.now() if self._operator else builtin_policy()
        if self._act and self._operator and not policy.mode_stated:
            return replace(policy, mode=Mode.ACT, mode_rule="--act at the terminal")
        return policy

    @property
    def project(self) -> Policy | None:
        """What the project itself adds: restrictions."""
        return self._project.now() if self._project else None

    def digest(self) -> str:
        """Identifies what is in force now."""
        project, operator = self.project, self.operator
        acts = "+act" if operator.mode is Mode.ACT and not operator.mode_stated else ""
        return operator.digest + acts + (f"+{project.digest}" if project else "")

    def names(self) -> str:
        """For people: which files hold, and the mode."""
        operator, project = self.operator, self.project
        source = "built-in policy" if self._operator is None else operator.source
        also = f", tightened by {project.source}" if project else ""
        return f"{source}, mode {operator.mode.value}{also}"

    def decide(self, action: Action, actor: Actor, facts: Facts) -> Decision:
        """The stricter of both decisions; questions and budgets of both count."""
        first = decide(self.operator, action, actor, facts)
        project = self.project
        if project is None or _says_nothing_of(project, action):
            return first  # a project that says nothing of models or MCP servers takes nothing away
        return strictest(first, decide(project, action, actor, facts))

    def allows_secret(self, handle: Handle, action: Action) -> bool:
        """Both must let the secret go there."""
        return all(allows_secret(p, handle.name, str(handle.origin), action) for p in self._all())

    def _all(self) -> list[Policy]:
        project = self.project
        return [self.operator, project] if project else [self.operator]

    def in_copy(self, path: str) -> bool:
        """Both must let the file into the copy."""
        return all(in_copy(p, path) for p in self._all())

    def shown_to_models(self, path: str) -> bool:
        """In the copy that a model works in: what neither file withholds."""
        return self.in_copy(path) and not any(withheld(p, path) for p in self._all())

    def law(self, clock: Clock, facts: Callable[[Action], Facts]) -> Law:
        """As functions for the gate."""

        def decided(action: Action, actor: Actor) -> Decision:
            return self.decide(action, actor, replace(facts(action), now_wall_s=clock.wall_s()))

        return Law(decided, self.digest, self.allows_secret)


def _says_nothing_of(project: Policy, action: Action) -> bool:
    if isinstance(action, AskModel):
        return project.models.silent
    return isinstance(action, ListTools | CallTool) and project.mcp.silent


def strictest(first: Decision, second: Decision) -> Decision:
    """One decision that is at least as strict as either."""
    worse = second if strictness(second.verdict) > strictness(first.verdict) else first
    if worse.verdict is Verdict.DENY:
        return replace(worse, findings=first.findings + second.findings)
    return replace(
        worse,
        findings=first.findings + second.findings,
        needs=tuple(dict.fromkeys((*first.needs, *second.needs))),
        budgets=tuple(dict.fromkeys((*first.budgets, *second.budgets))),
        grantable=first.grantable and second.grantable,
        otherwise=tuple(dict.fromkeys((*first.otherwise, *second.otherwise))),
    )


def find_laws(source: Path, given: str | None, environment: Mapping[str, str], *, act: bool = False) -> Laws:
    """Operator: --policy, $VEILIG_POLICY, ~/.config/veilig/veilig.yaml, /etc/veilig/veilig.yaml, or built-in.

    Raises PolicyError at once when one of the files does not validate, or when one stands there that is not
    readable: a link to a volume that is not mounted must not mean that there is no law.
    """
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    named = given or environment.get("VEILIG_POLICY")
    usual = [Path(base).expanduser() / "veilig" / FILE, SYSTEM]
    operator = Path(named).absolute() if named else next((p for p in usual if _stands(p)), None)
    project = source / FILE
    own = project if _stands(project) and (operator is None or not _same(project, operator)) else None
    laws = Laws(operator, own, act=act)
    laws.digest()
    return laws
