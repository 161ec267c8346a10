"""Which keys does veilig.yaml have, with which unit, default and reason? The whole file as data.

The loader validates against these tables and the reference page is generated from them, so that neither
can know a key the other does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from veilig.core import limits
from veilig.core import policy_match as match
from veilig.core.action import KINDS
from veilig.core.actor import ActorKind
from veilig.core.effect import Effect
from veilig.core.policy_freeze import HOURS_MAX, wrong_cron, wrong_instant, wrong_zone
from veilig.core.policy_model import Capability, Mode
from veilig.core.policy_page import PAGE
from veilig.core.policy_safeguards import ACCESS, GATEWAY, MONITOR
from veilig.core.policy_shape import (
    Choice,
    Either,
    Entry,
    Flag,
    Free,
    Many,
    MapOf,
    Real,
    Shape,
    Table,
    Text,
    Whole,
    shown,
)

MIB = 1 << 20
VERDICTS = Choice(("allow", "ask", "deny"))
TIGHTEN = Choice(("ask", "deny"))
ORIGINS = ("env", "file", "mark", "pattern")
WALLS = ("bubblewrap", "landlock", "container")
# The names of providers/sandbox/wall.py, which core may not import; tests/core holds the two lists together.
FEATURES = (
    "files_read",
    "files_write",
    "protected",
    "private_tmp",
    "network",
    "loopback",
    "unix_sockets",
    "processes",
    "memory",
    "process_memory",
    "cpu",
    "output",
    "file_size",
    "signals",
    "pid_namespace",
    "devices",
    "seccomp",
    "privileges",
    "cleanup",
)
SERVICE_ACTIONS = Choice(("restart", "stop", "rollback", "restore_config", "free_space"))
CONTAINER_ACTIONS = Choice(("scale_up", "scale_down"))

NAME = Text("a service's name", match.wrong_service_name)
PATTERN = Text("a service's name, `*` for any run of characters", match.wrong_service_pattern)
MODEL = Text("a model's name, `*` for any run of characters", match.wrong_model_pattern)
SECRET = Text("a secret's name, `*` for any run of characters", match.wrong_secret_pattern)
GLOB = Text("a path below the workspace, `*` within a level, `**` across levels", match.wrong_path_glob)
HOST = Text("a host, `*.` before it for every name below it", match.wrong_host)
ARGUMENT = Text("an argument as text", match.wrong_argument)
TOOL = Text("a tool's name, whole", match.wrong_tool)
SERVER = Text("a short name of letters, digits and -", match.wrong_server)
ROLE = Text("a role's name", match.wrong_word)
PERSON = Text("a person's id", match.wrong_person)
SERVER_URL = Text("an http address", match.wrong_server_url)
HEADER = Text("a header's name", match.wrong_header)
FOLDER = Text("a path", match.wrong_folder)
STORE = Text("the address of a PostgreSQL database, without a password", match.wrong_store)
LINE = Text("one line of text", match.wrong_line)


def _all(what: str) -> Entry:
    return Entry("all", Flag(), "", False, f"a pattern that covers every {what} must be meant")


SERVICE = Table((
    Entry("name", PATTERN, "", "", "whole name, case-sensitive; `*` alone needs `all: true`", required=True),
    _all("service"),
    Entry("actions", Many(SERVICE_ACTIONS), "", (), "restart, stop: only where listed; the others then ask"),
    Entry(
        "max_restarts_per_hour", Whole(0, 60), "restarts per service", 0,
        "absent means never, not unlimited; attempts count, failed and foreign ones too, in any 3600 s;"
        " when several rules match, the lowest holds",
    ),
    Entry(
        "max_total_restarts_per_hour", Whole(0, 600), "restarts of all matching services",
        "3 x max_restarts_per_hour, at most 10", "a storm over the whole fleet is one event, not many",
    ),
    Entry("depends_on", Many(NAME), "", (), "while one of them is unhealthy the cause is elsewhere: hold"),
    Entry("database", Flag(), "", False, "true: every change of it is also a database action, and asks"),
    Entry("max_in_flight", Whole(0, 100), "services at once", 1, "the healthy rest must carry the load"),
))  # fmt: skip
SECURITY_GROUPS = Table((
    Entry("readonly", Flag(), "", True, "true refuses even with approval; false alone grants nothing"),
))  # fmt: skip
CONTAINERS = Table((
    Entry("actions", Many(CONTAINER_ACTIONS), "", (), "scale_up does not include scale_down, which asks"),
    Entry("max_scale", Whole(0, 1000), "replicas of one group", 0, "existing ones included; absent: none"),
    Entry("scale_down_own", Flag(), "", False, "true: replicas this session made may be removed unasked"),
    Entry("cooldown_s", Whole(1, 86400), "s", 60, "one step per group, then look whether it helped"),
))  # fmt: skip
CHANNEL = Table((
    Entry("name", SERVER, "", "", "how the ledger calls it", required=True),
    Entry("url", Text("an http or https URL", match.wrong_url), "", "", "where to POST", required=True),
    Entry("form", Choice(("generic", "slack")), "", "generic", "signed JSON, or what Slack reads"),
    Entry("secret", LINE, "", "", "environment variable with the signing key; empty: unsigned"),
    Entry("messages_per_hour", Whole(0, 3600), "messages", 60, "a storm of incidents, not of mail"),
))  # fmt: skip
HEALING = Table((
    Entry("enabled", Flag(), "", False, "missing or false: nothing is healed, reading goes on"),
    Entry(
        "scope",
        Table((
            Entry("services", Many(SERVICE), "", (), "no rule, no restart"),
            Entry("security_groups", SECURITY_GROUPS, "", None, "absent: not even read"),
            Entry("containers", CONTAINERS, "", None, "absent: no scaling; only groups a service rule names"),
        )),
        "", None, "what is outside it is never touched",
    ),
    Entry("notify", Many(CHANNEL, most=20), "", (), "nobody is told outside the terminal and the page"),
))  # fmt: skip
ALWAYS = Choice(("always",))
GATEWAYS = Table((
    Entry("database_actions", ALWAYS, "", "always", "the only value: no file opens a gateway"),
    Entry("security_changes", ALWAYS, "", "always", "readonly still wins over an approval"),
    Entry("destructive_ops", ALWAYS, "", "always", "loss of data, capacity, evidence or reversibility asks"),
))  # fmt: skip
APPROVER = Table((
    Entry("roles", Many(ROLE, least=1, most=20), "", ("owner",), "any one of them; owner is the local user"),
    Entry("all_roles", Many(ROLE, most=3), "", (), "each of these must say yes, by different people"),
    Entry("quorum", Whole(1, 20), "distinct people", 1, "never the proposer, an agent or a bot"),
    Entry("expiry_minutes", Whole(1, 60), "min", 15, "from the last needed vote; the act must start before"),
))  # fmt: skip
APPROVERS = Table((
    Entry("database_actions", APPROVER, "", None, "the local owner"),
    Entry("security_changes", APPROVER, "", None, "the local owner"),
    Entry("destructive_ops", APPROVER, "", None, "the local owner"),
    Entry("changes", APPROVER, "", None, "every other question: mode propose, `ask` rules, guards"),
))  # fmt: skip
FREEZE = Table((
    Entry("name", LINE, "", "", "shown when it holds something up"),
    Entry("cron", Text("minute hour day month weekday", wrong_cron), "", "", "when the window opens"),
    Entry("hours", Real(0.01, HOURS_MAX), "h", 0.0, "how long it stays open; needed with cron"),
    Entry("start", Text("a local date or time", wrong_instant), "", "", "a single window, instead of cron"),
    Entry("end", Text("a local date or time", wrong_instant), "", "", "its first moment that is free again"),
    Entry("tz", Text("a time zone such as Europe/Amsterdam", wrong_zone), "", "UTC", "no local surprise"),
))  # fmt: skip
COMMAND = Table((
    Entry("argv", Many(ARGUMENT, least=1), "", (), "`*` one argument, last `**` the rest", required=True),
    Entry("verdict", VERDICTS, "", "allow", "the strictest matching entry wins; order means nothing"),
    _all("program"),
))  # fmt: skip
HOST_RULE = Table((
    Entry("host", HOST, "", "", "exact; `*.x` is every name below x; without a port 443", required=True),
    Entry("verdict", VERDICTS, "", "allow", "the strictest matching entry wins"),
    _all("host"),
))  # fmt: skip
SECRET_RULE = Table((
    Entry("name", SECRET, "", "", "the NAME of the handle", required=True),
    _all("secret"),
    Entry("from", Many(Choice(ORIGINS), least=1), "", (), "where it was learnt", required=True),
    Entry("to", Many(Choice(tuple(sorted(KINDS))), least=1), "", (), "kinds of action", required=True),
    Entry("hosts", Many(HOST), "", (), "a command that reaches the network may only reach these"),
))  # fmt: skip
PATHS = Table((
    Entry("read", Many(GLOB), "", ("**",), "what the copy holds and the agent reads"),
    Entry("write", Many(GLOB), "", ("**",), "what it may change, in the copy and in a patch it brings back"),
    Entry("deny", Many(GLOB), "", (), "never copied, read or changed; any spelling, and all below it"),
))  # fmt: skip
BUDGETS = Table((
    Entry("steps", Whole(1, 100_000), "actions", limits.SESSION_STEPS_MAX, "a planner without end is stuck"),
    Entry("wall_s", Whole(1, 604_800), "s", int(limits.SESSION_WALL_S_MAX), "nobody waits longer"),
    Entry("tokens", Whole(0, 10**9), "tokens", 0, "a model costs money: none unless stated"),
    Entry("cost_usd", Real(0, 10**6), "USD", 0.0, "none unless stated"),
))  # fmt: skip
DELEGATES = Table((
    Entry("verdict", VERDICTS, "", "allow", "a child may do nothing that its parent may not"),
    Entry("sessions", Whole(0, 100), "sessions", limits.DELEGATES_MAX, "started by one session"),
    Entry("depth", Whole(0, 3), "levels", 1, "a child of a child only where it is meant"),
))  # fmt: skip
HOOK = Table((
    Entry("on", Choice(("start", "after_edit", "before_finish")), "", "", "which moment", required=True),
    Entry("run", Many(ARGUMENT, least=1), "", (), "a command as in agent.commands", required=True),
    Entry(
        "timeout_s", Whole(1, int(limits.COMMAND_TIMEOUT_S_MAX)), "s", int(limits.COMMAND_TIMEOUT_S),
        "a hook that hangs must not hold the work up",
    ),
))  # fmt: skip
AGENT = Table((
    Entry("enabled", Flag(), "", True, "false stops every change by the agent, in its copy too"),
    Entry(
        "commands", Many(Either(Many(ARGUMENT, least=1), COMMAND)), "", "as in the built-in policy",
        "they run inside the wall, in a copy; stating the key replaces the built-in list",
    ),
    Entry("unlisted_commands", TIGHTEN, "", "deny", "silence means no; the built-in policy asks"),
    Entry("paths", PATHS, "", None, "the whole workspace, minus what is always protected"),
    Entry("apply", VERDICTS, "", "ask", "changing your own tree is yours to allow"),
    Entry("branch", VERDICTS, "", "ask", "a branch in your repository, too"),
    Entry("tests", VERDICTS, "", "allow", "inside the wall, no network"),
    Entry("desktop", VERDICTS, "", "deny", "what is clicked and typed there no rule of commands sees"),
    Entry("hosts", Many(Either(HOST, HOST_RULE)), "", (), "no network unless a host is named"),
    Entry(
        "secrets", Many(SECRET_RULE), "", "as in the built-in policy",
        "a secret found in a file may go back into files; nothing else may travel",
    ),
    Entry("budgets", BUDGETS, "", None, "per session, its children included"),
    Entry("hooks", Many(HOOK, most=20), "", (), "run in the copy, behind the wall; before_finish may say no"),
    Entry("project_hooks", Flag(), "", False, "true: hooks of the project's own file are run as well"),
    Entry("delegates", DELEGATES, "", None, "child sessions of a model's session"),
))  # fmt: skip
SANDBOX = Table((
    Entry("walls", Many(Choice(WALLS), least=1), "", WALLS, "the first that stands, in this order"),
    Entry("require", Many(Choice(FEATURES)), "", (), "without one of these nothing runs"),
    Entry("memory_mib", Whole(16, 1 << 20), "MiB", limits.SANDBOX_MEMORY_BYTES // MIB, "of all processes"),
    Entry("cpu_s", Whole(1, 86_400), "s", int(limits.SANDBOX_CPU_S), "CPU time of one command"),
    Entry(
        "wall_s", Whole(1, int(limits.COMMAND_TIMEOUT_S_MAX)), "s", int(limits.COMMAND_TIMEOUT_S_MAX),
        "an action that asks for longer is refused",
    ),
    Entry("processes", Whole(1, 100_000), "processes", limits.SANDBOX_PROCESSES, "a fork bomb ends here"),
    Entry("output_mib", Whole(1, 256), "MiB", limits.OUTPUT_BYTES_MAX // MIB, "kept of each stream"),
    Entry("file_mib", Whole(1, 1 << 20), "MiB", limits.SANDBOX_FILE_BYTES // MIB, "largest file written"),
    Entry("open_files", Whole(16, 1 << 20), "files", limits.SANDBOX_OPEN_FILES, "open at once"),
    Entry("tmp_mib", Whole(1, 1 << 20), "MiB", limits.SANDBOX_TMP_BYTES // MIB, "private /tmp"),
))  # fmt: skip
MODELS = Table((
    Entry("allowed", Many(MODEL), "", (), "no model unless named"),
    _all("model"),
    Entry("tokens_per_answer", Whole(1, 10**6), "tokens", 8192, "an answer longer than this is not read"),
    Entry("requests_per_hour", Whole(0, 10**6), "requests per model", 600, "a loop must not cost a fortune"),
    Entry("withhold", Many(GLOB), "", (), "kept out of the copy that a model works in"),
))  # fmt: skip
TOOLS = Table((
    Entry("allow", Many(TOOL), "", (), "may act without a question"),
    Entry("ask", Many(TOOL), "", (), "people are asked, as for every tool that is not named"),
    Entry("deny", Many(TOOL), "", (), "never; wins over the others"),
))  # fmt: skip
MCP_SERVER = Table((
    Entry("name", SERVER, "", "", "its tools are SERVER__TOOL for the model", required=True),
    Entry("argv", Many(ARGUMENT, least=1), "", (), "started inside the wall, without network, in the copy"),
    Entry("url", SERVER_URL, "", "", "instead of argv: asked over HTTP, from outside the wall; TLS or local"),
    Entry("headers", MapOf(HEADER, LINE), "", None, "sent to url; ${NAME} is a variable of your environment"),
    Entry("tools", TOOLS, "", None, "every tool is asked about"),
))  # fmt: skip
MCP = Table((
    Entry("servers", Many(MCP_SERVER, most=20), "", (), "no server unless named"),
))  # fmt: skip
AUDIT = Table((
    Entry("exclude", Many(GLOB), "", (), "not audited; counted in every report"),
    Entry("advisories", FOLDER, "", "", "an advisory database on this machine; empty: the one shipped"),
    Entry("download", VERDICTS, "", "ask", "advisories from an address that a person gives"),
    Entry("hosts", Many(HOST), "", (), "where a fleet's repositories may be fetched; empty: nowhere"),
))  # fmt: skip
LEDGER = Table((
    Entry("path", FOLDER, "", "", "empty: the user's state folder"),
    Entry("store", STORE, "", "", "empty: the file at `path`; VEILIG_LEDGER names another"),
    Entry("anchor_dir", FOLDER, "", "", "signed checkpoints; better on another disk than the ledger"),
))  # fmt: skip
COLLABORATION = Table((
    Entry("roles", MapOf(ROLE, Many(PERSON, least=1)), "", None, "who has a role; one voice per person"),
    Entry("page", PAGE, "", None, "`veilig serve`: sign-in, folders, rates"),
))  # fmt: skip
TEST = Table((
    Entry("name", LINE, "", "", "shown in the report; empty: kind and target"),
    Entry("action", Free(), "", None, "kind and fields, as in the ledger", required=True),
    Entry(
        "actor",
        Table((
            Entry("id", PERSON, "", "agent:test", "who proposes"),
            Entry("kind", Choice(tuple(ActorKind)), "", "agent", "what stands behind the account"),
            Entry("roles", Many(ROLE), "", (), "its roles"),
        )),
        "", None, "an agent",
    ),
    Entry(
        "facts",
        Table((
            Entry("now", Text("a UTC date or time", wrong_instant), "", "", "for freeze windows"),
            Entry("capability", Choice(tuple(Capability)), "", "read_write", "what the provider holds"),
            Entry("managed", Flag(), "", True, "carries the veilig.managed label"),
            Entry("known", Flag(), "", True, "was there when the policy was loaded"),
            Entry("last_healthy", Flag(), "", False, "takes the last healthy capacity"),
            Entry("replicas", Whole(0, 10**6), "replicas", None, "absent: what the action says"),
            Entry("own_replicas", Whole(0, 10**6), "replicas", 0, "made by this session"),
            Entry("classes", Many(Choice(tuple(Effect))), "", (), "effects only the provider knows"),
            Entry("foreign_starts", Whole(0, 10**6), "starts", 0, "by others, in the last hour"),
            Entry("last_good", Flag(), "", True, "the state to go back to is the recorded last-good"),
            Entry("regenerable", Flag(), "", True, "every file to remove can be made again"),
            Entry("unhealthy", Many(NAME), "", (), "services that are down"),
            Entry("in_flight", Many(NAME), "", (), "services being healed now"),
            Entry("children", Whole(0, 1000), "sessions", 0, "started by this session"),
            Entry("depth", Whole(0, 100), "levels", 0, "sessions above this one"),
        )),
        "", None, "the kindest moment, so that the rules themselves are tested",
    ),
    Entry("expect", VERDICTS, "", "", "the verdict", required=True),
    Entry("rule", LINE, "", "", "path of the rule that must decide, such as agent.commands[2]"),
))  # fmt: skip
ROOT = Table((
    Entry(
        "mode", Choice(tuple(Mode)), "", "propose",
        "observe changes nothing outside the copy, propose asks for each change, act does what rules grant",
    ),
    Entry("autonomous_healing", HEALING, "", None, "absent: nothing is healed"),
    Entry("approval_gateways", GATEWAYS, "", None, "absent: always"),
    Entry("approvers", APPROVERS, "", None, "absent: the local owner"),
    Entry("freeze", Many(FREEZE), "", (), "no change of services, containers, databases or clouds meanwhile"),
    Entry("agent", AGENT, "", None, "absent: as in the built-in policy"),
    Entry("sandbox", SANDBOX, "", None, "the bounds of core/limits.py"),
    Entry("models", MODELS, "", None, "absent: none is asked; in a project's file: as the operator says"),
    Entry("mcp", MCP, "", None, "absent: none; a project's file starts no server, it only tightens"),
    Entry("audit", AUDIT, "", None, "everything is audited"),
    Entry("ledger", LEDGER, "", None, "in the user's state folder"),
    Entry("collaboration", COLLABORATION, "", None, "one person, the owner"),
    Entry("access", ACCESS, "", None, "who may do what before the act"),
    Entry("monitor", MONITOR, "", None, "watching what passes the gateway"),
    Entry("gateway", GATEWAY, "", None, "the model API"),
    Entry("tests", Many(TEST), "", (), "`veilig policy test` runs them; they change no verdict"),
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """One key for the reference page."""

    path: str
    type: str
    unit: str
    default: str
    reason: str


def describe() -> list[Key]:
    """Every key of veilig.yaml in the order of the file."""
    return list(_describe(ROOT, ""))


def _describe(table: Table, path: str) -> Iterator[Key]:
    for entry in table.entries:
        where = f"{path}.{entry.name}" if path else entry.name
        yield Key(where, shown(entry.shape), entry.unit, _default(entry), entry.reason)
        inner, suffix = _inner(entry.shape)
        if inner is not None:
            yield from _describe(inner, where + suffix)


def _inner(shape: Shape) -> tuple[Table | None, str]:
    if isinstance(shape, Many):
        inner, suffix = _inner(shape.item)
        return inner, "[]" + suffix
    if isinstance(shape, Either):
        return shape.long, ""
    return (shape, "") if isinstance(shape, Table) else (None, "")


def _default(entry: Entry) -> str:
    if entry.required:
        return "required"
    value = entry.default
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"  # pyright: ignore[reportUnknownArgumentType]  # tuples of text
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
