"""How do validated nodes become a Policy? Values with their rule's place, and what no single key can see."""

import hashlib
from collections.abc import Sequence
from itertools import combinations

from veilig.core import policy_model as model
from veilig.core.policy_freeze import Freeze, find_zone, read_cron, read_instant
from veilig.core.policy_load import Fields, Items, Mark, Node, Scalar, Source
from veilig.core.policy_match import NamePattern, PathGlob
from veilig.core.policy_model import OWNER, ApprovalNeed, Gateway, Mode
from veilig.core.policy_page import build_page
from veilig.core.policy_safeguards import build_safeguards
from veilig.core.policy_schema import MIB, ROOT
from veilig.core.policy_shape import Section
from veilig.core.provider import Verdict

RULE_TOTAL_MAX = 10  # restarts per hour over all services of one rule, where the rule states no total


def build(node: Node, source: Source, base: model.Policy | None) -> model.Policy:
    """The policy a valid document stands for; `base` answers where the agent section is silent.

    Raises PolicyFileError for what only shows when keys are seen together.
    """
    root = Section(node, ROOT, source.name.rsplit("/", 1)[-1], "")
    people = root.section("collaboration")
    roles = _roles(people)
    freezes = tuple(f for s in root.tables("freeze") if (f := _freeze(s, source)) is not None)
    built = model.Policy(
        source=source.name,
        digest=hashlib.sha256(b"veilig.policy.v1\0" + source.text.encode()).hexdigest(),
        mode=Mode(root.text("mode")),
        mode_rule=root.rule("mode"),
        mode_stated=root.has("mode"),
        healing=_healing(root.section("autonomous_healing"), source),
        gateway_rules=_gateways(root.section("approval_gateways"), root.section("approvers")),
        approvers=_approvers(root.section("approvers"), roles, source),
        freezes=freezes,
        agent=_agent(root.section("agent"), source, base.agent if base else None),
        sandbox=_sandbox(root.section("sandbox")),
        models=_models(root.section("models"), source, silent=not root.has("models")),
        mcp=_mcp(root.section("mcp"), source, silent=not root.has("mcp")),
        elsewhere=_elsewhere(root, roles, source),
        examples=_examples(root),
    )
    source.stop_if_invalid()
    return built


def _need_all(section: Section, key: str, pattern: str, what: str, source: Source) -> None:
    """A pattern of nothing but stars covers everything: only where the author says so."""
    if not pattern.strip("*.:/-_") and "*" in pattern and not section.flag("all"):
        mark = _value_mark(section, key)
        fix = "name what you mean, or add `all: true` beside it"
        source.report(
            mark, f"{section.path}.{key} {pattern!r} covers every {what}", "a narrower pattern", fix
        )


def _value_mark(section: Section, key: str) -> Mark:
    node = section.value(key)
    return node.mark if node is not None else section.mark()


# --- healing -----------------------------------------------------------------------------------------


def _healing(section: Section, source: Source) -> model.Healing:
    scope = section.section("scope")
    groups, containers = scope.section("security_groups"), scope.section("containers")
    services = tuple(_service(s, source) for s in scope.tables("services"))
    exact: dict[str, tuple[model.ServiceRule, ...]] = {}
    wide: list[model.ServiceRule] = []
    for rule in services:
        text = rule.pattern.text
        if "*" in text:
            wide.append(rule)
        else:
            exact[text] = (*exact.get(text, ()), rule)
    return model.Healing(
        rule=section.rule("enabled"),
        enabled=section.flag("enabled"),
        services=services,
        security_groups=scope.rule("security_groups") if scope.has("security_groups") else "",
        security_readonly=groups.flag("readonly"),
        containers=scope.rule("containers") if scope.has("containers") else "",
        container_actions=frozenset(containers.texts("actions")),
        max_scale=containers.whole("max_scale"),
        scale_down_own=containers.flag("scale_down_own"),
        cooldown_s=containers.whole("cooldown_s"),
        channels=tuple(_channel(s) for s in section.tables("notify")),
        exact=exact,
        wide=tuple(wide),
    )


def _channel(section: Section) -> model.Channel:
    return model.Channel(
        rule=section.rule(),
        name=section.text("name"),
        url=section.text("url"),
        form=section.text("form"),
        secret=section.text("secret"),
        messages_per_hour=section.whole("messages_per_hour"),
    )


def _service(section: Section, source: Source) -> model.ServiceRule:
    pattern = section.text("name")
    _need_all(section, "name", pattern, "service", source)
    each = section.whole("max_restarts_per_hour")
    stated = section.has("max_total_restarts_per_hour")
    total = section.whole("max_total_restarts_per_hour") if stated else min(3 * each, RULE_TOTAL_MAX)
    return model.ServiceRule(
        rule=section.rule(),
        pattern=NamePattern(pattern),
        actions=frozenset(section.texts("actions")),
        restarts_per_hour=each,
        restarts_total_per_hour=total,
        depends_on=section.texts("depends_on"),
        database=section.flag("database"),
        in_flight_max=section.whole("max_in_flight"),
    )


# --- people and time ---------------------------------------------------------------------------------


def _roles(section: Section) -> dict[str, frozenset[str]]:
    node = section.value("roles")
    found: dict[str, frozenset[str]] = {}
    if isinstance(node, Fields):
        for role, (_, people) in node.fields.items():
            found[role] = frozenset(_words(people))
    return found


def _words(node: Node) -> tuple[str, ...]:
    return tuple(str(n.value) for n in node.items if isinstance(n, Scalar)) if isinstance(node, Items) else ()


def _gateways(gateways: Section, approvers: Section) -> dict[Gateway, str]:
    rules = {g: gateways.rule(g.value) for g in Gateway if g is not Gateway.CHANGES}
    return {**rules, Gateway.CHANGES: approvers.rule("changes")}


def _approvers(
    section: Section, roles: dict[str, frozenset[str]], source: Source
) -> dict[Gateway, tuple[ApprovalNeed, ...]]:
    return {g: _needs(g, section.section(g.value), roles, source) for g in Gateway}


def _needs(
    gateway: Gateway, section: Section, roles: dict[str, frozenset[str]], source: Source
) -> tuple[ApprovalNeed, ...]:
    """The approvals of one gateway.

    `all_roles` must be met by different people. By Hall's theorem that is so exactly when every subset of
    n roles has n distinct people, so each subset becomes one need and nobody has to solve a matching.
    """
    quorum, expiry_s = section.whole("quorum"), section.whole("expiry_minutes") * 60.0
    every = section.texts("all_roles")
    needs: list[ApprovalNeed] = []
    for size in range(1, len(every) + 1):
        for subset in combinations(every, size):
            needs.append(ApprovalNeed(gateway, frozenset(subset), size, expiry_s))
    if not every or section.has("roles") or quorum > len(every):
        any_of = frozenset(section.texts("roles")) if section.has("roles") or not every else frozenset(every)
        needs.append(ApprovalNeed(gateway, any_of or OWNER, quorum, expiry_s))
    for need in needs:
        if all(role in roles for role in need.roles):
            people = frozenset[str]().union(*(roles[role] for role in need.roles))
            if len(people) < need.quorum:
                who = " or ".join(sorted(need.roles))
                what = f"approvers.{gateway} needs {need.quorum} people of role {who}"
                fix = "lower the quorum, or give more people the role in collaboration.roles"
                source.report(section.mark(), what, f"at most {len(people)}, as many as there are", fix)
                break
    return tuple(needs)


def _freeze(section: Section, source: Source) -> Freeze | None:
    zone = find_zone(section.text("tz"))
    by_cron, single = section.has("cron"), section.has("start") or section.has("end")
    if zone is None or by_cron == single or by_cron != section.has("hours"):
        what = f"{section.path} is no window"
        source.report(section.mark(), what, "cron and hours, or start and end", "write one of the two pairs")
        return None
    rule, name = section.rule(), section.text("name")
    if by_cron:
        return Freeze(rule, name, zone, read_cron(section.text("cron")), section.real("hours"))
    start, end = section.text("start"), section.text("end")
    if not start or not end:
        source.report(section.mark(), f"{section.path} has only one end", "start and end", "add the other")
        return None
    start_s, end_s = read_instant(start, zone, last=False), read_instant(end, zone, last=True)
    if start_s >= end_s:
        fix = "swap them, or correct one"
        source.report(
            _value_mark(section, "end"), f"{section.path} ends before it starts", "a later end", fix
        )
    return Freeze(rule, name, zone, start_s=start_s, end_s=end_s)


# --- the agent ---------------------------------------------------------------------------------------


def _agent(section: Section, source: Source, base: model.AgentRules | None) -> model.AgentRules:
    commands = _commands(section, source)
    if base is not None and not section.has("commands"):
        commands = base.commands
    paths, budgets = section.section("paths"), section.section("budgets")
    silent = base is not None and section.node is None
    by_program: dict[str, tuple[model.CommandRule, ...]] = {}
    for rule in commands:
        if rule.argv[0] not in ("*", "**"):
            by_program[rule.argv[0]] = (*by_program.get(rule.argv[0], ()), rule)
    return model.AgentRules(
        rule=section.rule("enabled"),
        enabled=section.flag("enabled"),
        commands=commands,
        by_program=by_program,
        any_program=tuple(r for r in commands if r.argv[0] in ("*", "**")),
        unlisted=base.unlisted if silent and base else Verdict(section.text("unlisted_commands")),
        unlisted_rule=base.unlisted_rule if silent and base else section.rule("unlisted_commands"),
        read=_globs(paths, "read"),
        write=_globs(paths, "write"),
        deny=_globs(paths, "deny"),
        apply=Verdict(section.text("apply")),
        apply_rule=section.rule("apply"),
        branch=Verdict(section.text("branch")),
        branch_rule=section.rule("branch"),
        tests=Verdict(section.text("tests")),
        tests_rule=section.rule("tests"),
        desktop=base.desktop if silent and base else Verdict(section.text("desktop")),
        desktop_rule=base.desktop_rule if silent and base else section.rule("desktop"),
        hosts=_hosts(section, source),
        secrets=base.secrets if base and not section.has("secrets") else _secrets(section, source),
        budgets=model.Budgets(
            budgets.whole("steps"), budgets.whole("wall_s"), budgets.whole("tokens"), budgets.real("cost_usd")
        ),
        delegates=_delegates(section.section("delegates")),
        hooks=tuple(
            model.HookRule(s.rule(), s.text("on"), s.texts("run"), float(s.whole("timeout_s")))
            for s in section.tables("hooks")
        ),
        project_hooks=section.flag("project_hooks"),
    )


def _delegates(section: Section) -> model.DelegateRules:
    verdict = Verdict(section.text("verdict"))
    return model.DelegateRules(section.rule(), verdict, section.whole("sessions"), section.whole("depth"))


def _commands(section: Section, source: Source) -> tuple[model.CommandRule, ...]:
    found: list[model.CommandRule] = []
    for i, entry in enumerate(section.sections("commands") if section.has("commands") else ()):
        if isinstance(entry, Section):
            argv, mark, meant = entry.texts("argv"), entry.mark(), entry.flag("all")
            verdict = Verdict(entry.text("verdict"))
        else:
            argv, mark, meant, verdict = _words(entry), entry.mark, False, Verdict.ALLOW
        if "**" in argv[:-1]:
            where = f"agent.commands[{i}] has `**` before its last argument"
            source.report(mark, where, "`**` last, for the rest", "use `*` for one argument")
        if argv[0] in ("*", "**") and not meant and verdict is not Verdict.DENY:
            fix = "name the program, or write {argv: [...], all: true}"
            source.report(mark, f"agent.commands[{i}] covers every program", "a program's name", fix)
        found.append(model.CommandRule(section.rule("commands", i), argv, verdict))
    return tuple(found)


def _globs(paths: Section, key: str) -> tuple[model.GlobRule, ...]:
    if not paths.has(key):
        return tuple(model.GlobRule(paths.rule(key), PathGlob(g)) for g in paths.texts(key))
    return tuple(model.GlobRule(paths.rule(key, i), PathGlob(g)) for i, g in enumerate(paths.texts(key)))


def _hosts(section: Section, source: Source) -> tuple[model.HostRule, ...]:
    found: list[model.HostRule] = []
    for i, entry in enumerate(section.sections("hosts") if section.has("hosts") else ()):
        if isinstance(entry, Section):
            host, verdict = entry.text("host"), Verdict(entry.text("verdict"))
            if verdict is not Verdict.DENY:
                _need_all(entry, "host", host, "host", source)
        else:
            host = str(entry.value) if isinstance(entry, Scalar) else ""
            verdict = Verdict.ALLOW
            if host == "*":
                fix = "name the host, or write {host: '*', all: true}"
                source.report(entry.mark, "agent.hosts '*' covers every host", "a host", fix)
        found.append(model.HostRule(section.rule("hosts", i), host, verdict))
    return tuple(found)


def _secrets(section: Section, source: Source) -> tuple[model.SecretRule, ...]:
    found: list[model.SecretRule] = []
    for entry in section.tables("secrets"):
        _need_all(entry, "name", entry.text("name"), "secret", source)
        found.append(
            model.SecretRule(
                entry.rule(),
                NamePattern(entry.text("name")),
                frozenset(entry.texts("from")),
                frozenset(entry.texts("to")),
                entry.texts("hosts"),
            )
        )
    return tuple(found)


# --- the rest ----------------------------------------------------------------------------------------


def _sandbox(section: Section) -> model.SandboxBounds:
    return model.SandboxBounds(
        rule=section.rule("wall_s"),
        walls=_distinct(section.texts("walls")),
        require=frozenset(section.texts("require")),
        memory_bytes=section.whole("memory_mib") * MIB,
        cpu_s=float(section.whole("cpu_s")),
        wall_s=float(section.whole("wall_s")),
        processes=section.whole("processes"),
        output_bytes=section.whole("output_mib") * MIB,
        file_bytes=section.whole("file_mib") * MIB,
        open_files=section.whole("open_files"),
        tmp_bytes=section.whole("tmp_mib") * MIB,
    )


def _distinct(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _models(section: Section, source: Source, *, silent: bool) -> model.ModelRules:
    for pattern in section.texts("allowed"):
        _need_all(section, "allowed", pattern, "model", source)
    return model.ModelRules(
        rule=section.rule("allowed"),
        silent=silent,
        allowed=tuple(NamePattern(p) for p in section.texts("allowed")),
        tokens_per_answer=section.whole("tokens_per_answer"),
        requests_per_hour=section.whole("requests_per_hour"),
        withhold=_globs(section, "withhold"),
    )


def _mcp(section: Section, source: Source, *, silent: bool) -> model.McpRules:
    servers: list[model.McpServer] = []
    for entry in section.tables("servers"):
        name, tools = entry.text("name"), entry.section("tools")
        if any(name == one.name for one in servers):
            what, fix = f"{entry.path}.name {name!r} is taken", "give each server its own"
            source.report(_value_mark(entry, "name"), what, "another name", fix)
        allow, deny = frozenset(tools.texts("allow")), frozenset(tools.texts("deny"))
        asked = frozenset(tools.texts("ask"))
        argv, url, headers = entry.texts("argv"), entry.text("url"), _headers(entry)
        if bool(argv) == bool(url) or (headers and not url):
            source.report(entry.mark(), f"{entry.path} has no single place", "argv, or url with headers")
        servers.append(model.McpServer(entry.rule(), name, argv, allow - asked, deny, url, headers))
    return model.McpRules(section.rule("servers"), silent, tuple(servers))


def _headers(section: Section) -> tuple[tuple[str, str], ...]:
    node = section.value("headers")
    given = node.fields.items() if isinstance(node, Fields) else ()
    return tuple((name, str(one.value)) for name, (_, one) in given if isinstance(one, Scalar))


def _elsewhere(root: Section, roles: dict[str, frozenset[str]], source: Source) -> model.Elsewhere:
    audit, ledger = root.section("audit"), root.section("ledger")
    return model.Elsewhere(
        audit_exclude=audit.texts("exclude"),
        audit_advisories=audit.text("advisories"),
        audit_download=Verdict(audit.text("download")),
        audit_rule=audit.rule("download"),
        audit_hosts=audit.texts("hosts"),
        audit_hosts_rule=audit.rule("hosts"),
        ledger_path=ledger.text("path"),
        ledger_store=ledger.text("store"),
        ledger_anchor_dir=ledger.text("anchor_dir"),
        roles=roles,
        safeguards=build_safeguards(root, source),
        page=build_page(root.section("collaboration").section("page")),
    )


def _examples(root: Section) -> tuple[model.Example, ...]:
    found: list[model.Example] = []
    for section in root.tables("tests"):
        if section.node is not None:
            found.append(model.Example(section.rule(), section.text("name"), section.node))
    return tuple(found)
