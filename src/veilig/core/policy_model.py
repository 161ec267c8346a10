"""What does a policy say, as values? Policy and its sections, the Facts beside it, and the Decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from veilig.core.effect import Effect
from veilig.core.limits import APPROVAL_EXPIRY_S
from veilig.core.policy_freeze import Freeze
from veilig.core.policy_load import Node
from veilig.core.policy_match import NamePattern, PathGlob
from veilig.core.policy_page import PageRules
from veilig.core.policy_safeguards import Safeguards
from veilig.core.provider import Verdict


class Mode(StrEnum):
    """How far the system goes outside its copy: look, ask for each change, or do what rules grant."""

    OBSERVE = "observe"
    PROPOSE = "propose"
    ACT = "act"


class Gateway(StrEnum):
    """The classes of change that people decide; `changes` is every question of no other class."""

    DATABASE = "database_actions"
    SECURITY = "security_changes"
    DESTRUCTIVE = "destructive_ops"
    CHANGES = "changes"


GATEWAY_OF: Mapping[Effect, Gateway] = {
    Effect.DATABASE: Gateway.DATABASE,
    Effect.SECURITY: Gateway.SECURITY,
    Effect.DESTRUCTIVE: Gateway.DESTRUCTIVE,
}
OWNER = frozenset({"owner"})  # the person at the machine veilig runs on


class Capability(StrEnum):
    """What a provider was found to hold for this target, by trying."""

    READ_WRITE = "read_write"
    READONLY = "readonly"
    NOT_ENFORCED = "not_enforced"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ApprovalNeed:
    """`quorum` distinct people, each with one of `roles`, within `expiry_s` seconds of the last vote."""

    gateway: str
    roles: frozenset[str] = OWNER
    quorum: int = 1
    expiry_s: float = APPROVAL_EXPIRY_S


@dataclass(frozen=True, slots=True)
class BudgetClaim:
    """At most `limit` attempts under `key` in a sliding window of `window_s` seconds."""

    key: str
    limit: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that spoke: what it wants, where it stands, and why."""

    verdict: Verdict
    rule: str
    why: str
    gateway: Gateway | None = None

    def __str__(self) -> str:
        return f"{self.verdict} {self.rule}: {self.why}"


@dataclass(frozen=True, slots=True)
class Decision:
    """The strictest verdict, the rule that gave it, and what must happen before the act.

    needs: approvals that an `ask` waits for. budgets: claims the gate reserves. grantable: a standing
    permission may answer this question. otherwise: who is asked when a guard turns an allow into a question.
    """

    verdict: Verdict
    rule: str
    findings: tuple[Finding, ...]
    needs: tuple[ApprovalNeed, ...] = ()
    budgets: tuple[BudgetClaim, ...] = ()
    grantable: bool = False
    otherwise: tuple[ApprovalNeed, ...] = (ApprovalNeed(Gateway.CHANGES),)

    @property
    def reasons(self) -> tuple[str, ...]:
        """All rules that spoke, in words."""
        return tuple(str(f) for f in self.findings)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of this moment and this target. Every default is the strict reading of "not known".

    now_wall_s: seconds since 1970, for freeze windows only. root: the user's folder this session works on.
    replicas: of the group, in total; own_replicas: of these, made by this session. known: the target was
    there when the policy was loaded, or somebody confirmed it. managed: it carries the veilig.managed label.
    last_healthy: acting on it takes the last healthy capacity. classes: effects only the provider knows
    of (this service is a database). holds: incident rules that say "not now". unhealthy, in_flight, live:
    canonical names of services; live None means nobody listed them. foreign_starts: of this service in the
    last hour, not by us; None: nobody counted. last_good: digest of the recorded state it was last well in.
    regenerable: files of it that can be removed without loss. children: sessions that this one has
    started; depth: sessions above it, 0 for one that a person started; None: not known.
    """

    now_wall_s: float | None = None
    root: str = ""
    capability: Capability = Capability.UNKNOWN
    managed: bool = False
    known: bool = False
    last_healthy: bool = True
    replicas: int | None = None
    own_replicas: int = 0
    classes: frozenset[Effect] = field(default_factory=frozenset[Effect])
    holds: tuple[str, ...] = ()
    unhealthy: frozenset[str] = field(default_factory=frozenset[str])
    in_flight: frozenset[str] = field(default_factory=frozenset[str])
    live: frozenset[str] | None = None
    foreign_starts: int | None = None
    last_good: str = ""
    regenerable: frozenset[str] = field(default_factory=frozenset[str])
    children: int | None = None
    depth: int | None = None


# --- sections --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServiceRule:
    """One entry of autonomous_healing.scope.services."""

    rule: str
    pattern: NamePattern
    actions: frozenset[str]
    restarts_per_hour: int
    restarts_total_per_hour: int
    depends_on: tuple[str, ...]
    database: bool
    in_flight_max: int


@dataclass(frozen=True, slots=True)
class Channel:
    """Where people are told of incidents: a URL, in which form, and the name of the secret that signs it."""

    rule: str
    name: str
    url: str
    form: str
    secret: str
    messages_per_hour: int


@dataclass(frozen=True, slots=True)
class Healing:
    """autonomous_healing: what may be healed without asking, and how often. Absent: nothing."""

    rule: str
    enabled: bool
    services: tuple[ServiceRule, ...]
    security_groups: str  # the rule's place, "" when the section is absent
    security_readonly: bool
    containers: str
    container_actions: frozenset[str]
    max_scale: int
    scale_down_own: bool
    cooldown_s: int
    channels: tuple[Channel, ...]
    # Exact names first: a decision looks at few rules however many there are.
    exact: Mapping[str, tuple[ServiceRule, ...]]
    wide: tuple[ServiceRule, ...]


@dataclass(frozen=True, slots=True)
class CommandRule:
    """One shape of argv and what becomes of it."""

    rule: str
    argv: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class GlobRule:
    """One path glob, and where it stands."""

    rule: str
    glob: PathGlob


@dataclass(frozen=True, slots=True)
class HostRule:
    """One host, and what becomes of a command that wants it."""

    rule: str
    host: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class SecretRule:
    """Secrets named `name` and learnt from one of `origins` may go into actions of `kinds`."""

    rule: str
    name: NamePattern
    origins: frozenset[str]
    kinds: frozenset[str]
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Budgets:
    """Bounds of one session; 0 tokens or 0 cost means no model is paid."""

    steps: int
    wall_s: int
    tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class DelegateRules:
    """May a session start others, how many, and how deep below the one that a person started?"""

    rule: str
    verdict: Verdict
    sessions: int
    depth: int


@dataclass(frozen=True, slots=True)
class HookRule:
    """A command that is run at one moment of each session of a model. No verdict depends on it."""

    rule: str
    on: str
    argv: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class AgentRules:
    """What the coding agent may do in its copy, and what it may bring back."""

    rule: str
    enabled: bool
    commands: tuple[CommandRule, ...]
    by_program: Mapping[str, tuple[CommandRule, ...]]
    any_program: tuple[CommandRule, ...]
    unlisted: Verdict
    unlisted_rule: str
    read: tuple[GlobRule, ...]
    write: tuple[GlobRule, ...]
    deny: tuple[GlobRule, ...]
    apply: Verdict
    apply_rule: str
    branch: Verdict
    branch_rule: str
    tests: Verdict
    tests_rule: str
    desktop: Verdict
    desktop_rule: str
    hosts: tuple[HostRule, ...]
    secrets: tuple[SecretRule, ...]
    budgets: Budgets
    delegates: DelegateRules
    hooks: tuple[HookRule, ...]
    project_hooks: bool


@dataclass(frozen=True, slots=True)
class SandboxBounds:
    """Which walls may stand, what they must hold, and the bounds of one command."""

    rule: str
    walls: tuple[str, ...]
    require: frozenset[str]
    memory_bytes: int
    cpu_s: float
    wall_s: float
    processes: int
    output_bytes: int
    file_bytes: int
    open_files: int
    tmp_bytes: int


@dataclass(frozen=True, slots=True)
class ModelRules:
    """Which models may be asked, how long an answer may be and how often, and what they are never shown.

    silent: the file says nothing of models.
    """

    rule: str
    silent: bool
    allowed: tuple[NamePattern, ...]
    tokens_per_answer: int
    requests_per_hour: int
    withhold: tuple[GlobRule, ...]


@dataclass(frozen=True, slots=True)
class McpServer:
    """One MCP server: how it is started or where it is, and which of its tools may act unasked, or never.

    argv: started inside the wall. url: asked over HTTP from outside of it, with `headers`; `${NAME}` in one
    stands for a variable of the operator's environment.
    """

    rule: str
    name: str
    argv: tuple[str, ...]
    allow: frozenset[str]
    deny: frozenset[str]
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class McpRules:
    """Which MCP servers there are. silent: the file says nothing of them."""

    rule: str
    silent: bool
    servers: tuple[McpServer, ...]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Keys that other capabilities read; only `audit_download` and `audit_hosts` bear on a verdict."""

    audit_exclude: tuple[str, ...]
    audit_advisories: str
    audit_download: Verdict
    audit_rule: str
    audit_hosts: tuple[str, ...]
    audit_hosts_rule: str
    ledger_path: str
    ledger_store: str
    ledger_anchor_dir: str
    roles: Mapping[str, frozenset[str]]  # role -> people
    safeguards: Safeguards
    page: PageRules


@dataclass(frozen=True, slots=True)
class Example:
    """One entry of `tests`: an action as JSON, and the verdict its author expects."""

    rule: str
    name: str
    node: Node


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything veilig.yaml says. `digest`: SHA-256 of its text; equal digests are equal law."""

    source: str
    digest: str
    mode: Mode
    mode_rule: str
    mode_stated: bool
    healing: Healing
    gateway_rules: Mapping[Gateway, str]
    approvers: Mapping[Gateway, tuple[ApprovalNeed, ...]]
    freezes: tuple[Freeze, ...]
    agent: AgentRules
    sandbox: SandboxBounds
    models: ModelRules
    mcp: McpRules
    elsewhere: Elsewhere
    examples: tuple[Example, ...]

    @property
    def file(self) -> str:
        """The file's name without its folder, as rules cite it."""
        return self.source.rsplit("/", 1)[-1]
