"""What may be done to services, containers, security groups and databases, or fetched? The contract, read."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from veilig.core.action import (
    ChangeDatabase,
    ChangeSecurityGroup,
    DescribeSecurityGroup,
    FetchAdvisories,
    FetchFeed,
    FetchRepository,
    FreeSpace,
    Notify,
    RestartService,
    RollBack,
    ScaleDown,
    ScaleUp,
    StopService,
    WatchSignals,
)
from veilig.core.effect import Effect
from veilig.core.policy_match import SERVICE_NAME, host_matches
from veilig.core.policy_model import BudgetClaim, Gateway, Healing, ServiceRule
from veilig.core.policy_rules import HOUR_S, Case, Judge
from veilig.core.provider import Verdict


def matching(healing: Healing, name: str) -> tuple[ServiceRule, ...]:
    """Every service rule that covers this canonical name, in no particular order."""
    if not SERVICE_NAME.fullmatch(name):
        return ()  # a name outside the alphabet could look like another one to a person
    wide = tuple(rule for rule in healing.wide if rule.pattern.matches(name))
    return healing.exact.get(name, ()) + wide


def _in_scope(case: Case, name: str) -> tuple[ServiceRule, ...]:
    """The rules for this target, or none after saying why."""
    healing, facts = case.policy.healing, case.facts
    if not healing.enabled:
        case.deny(healing.rule, "autonomous healing is not enabled")
        return ()
    rules = matching(healing, name)
    if not rules:
        where = f"{case.policy.file} autonomous_healing.scope.services"
        case.deny(where, f"no rule covers the name {name!r}")
        return ()
    if facts.live is not None and name not in facts.live:
        case.deny("live targets", f"the provider knows no {name!r}")
    if any(rule.database for rule in rules):
        case.effects = case.effects | {Effect.DATABASE}
    return rules


def _verb(case: Case, rules: tuple[ServiceRule, ...], verb: str, name: str) -> bool:
    granting = [rule for rule in rules if verb in rule.actions]
    for rule in granting:
        case.grant(Verdict.ALLOW, rule.rule, f"{rule.pattern.text!r} covers {name!r} and lists {verb}")
    if not granting:
        case.deny(rules[0].rule, f"no rule that covers {name!r} lists {verb}")
        return False
    return True


def _restart(case: Case) -> None:
    action, facts = case.action, case.facts
    if not isinstance(action, RestartService):
        return
    name = action.service
    rules = _in_scope(case, name)
    if not rules or not _verb(case, rules, "restart", name):
        return
    _wait(case, rules, name)
    _starts(case, rules, name)
    if facts.last_healthy:
        why = "takes the last healthy capacity, or nobody showed that it does not"
        case.ask(case.policy.gateway_rules[Gateway.DESTRUCTIVE], why, Gateway.DESTRUCTIVE)
    if not facts.known and not facts.managed:
        rule = min(rules, key=lambda r: r.restarts_per_hour).rule
        case.ask(rule, "first seen after the policy was loaded, and without the veilig.managed label")


def _starts(case: Case, rules: tuple[ServiceRule, ...], name: str) -> None:
    """A start of this service is claimed from its budget and from those of its rules."""
    lowest = min(rules, key=lambda r: r.restarts_per_hour)
    if lowest.restarts_per_hour == 0:
        case.deny(
            lowest.rule, "max_restarts_per_hour is 0 or absent, and the lowest of all matching rules holds"
        )
    foreign = case.facts.foreign_starts
    left = max(0, lowest.restarts_per_hour - foreign) if foreign is not None else 0
    if foreign is None:
        case.deny(lowest.rule, "nobody counted how often others started it, and those starts count too")
    elif lowest.restarts_per_hour > 0 and not left:
        why = f"others started it {foreign} times in the last hour: nothing is left of"
        case.deny(lowest.rule, f"{why} max_restarts_per_hour {lowest.restarts_per_hour}")
    case.budgets.append(BudgetClaim(f"service.restart/service:{name}", left, HOUR_S))
    totals: dict[str, int] = {}
    for rule in rules:
        key, total = f"service.restart/rule:{rule.pattern.text}", rule.restarts_total_per_hour
        if total == 0:
            case.deny(rule.rule, "the rule's total of restarts per hour is 0")
        totals[key] = min(total, totals.get(key, total))  # the same pattern twice is one group
    case.budgets += [BudgetClaim(key, total, HOUR_S) for key, total in totals.items()]


def _wait(case: Case, rules: tuple[ServiceRule, ...], name: str) -> None:
    """Hold while the cause is elsewhere, or while enough of the group is being healed already."""
    facts = case.facts
    for rule in rules:
        down = sorted(facts.unhealthy.intersection(rule.depends_on))
        if down:
            case.deny(rule.rule, f"on hold: depends on {', '.join(down)}, which is not healthy")
        busy = sorted(n for n in facts.in_flight if n != name and rule.pattern.matches(n))
        if name in facts.in_flight or len(busy) >= rule.in_flight_max:
            others = ", ".join(busy[:3]) or name
            case.deny(
                rule.rule,
                f"on hold: {others} of this group is being healed, the bound is {rule.in_flight_max}",
            )


def _stop(case: Case) -> None:
    action = case.action
    if isinstance(action, StopService):
        rules = _in_scope(case, action.service)
        if rules and _verb(case, rules, "stop", action.service):
            _wait(case, rules, action.service)


def _roll_back(case: Case) -> None:
    """To the recorded last-good state: granted by its verb, else people decide. It is a start too."""
    action, facts = case.action, case.facts
    if not isinstance(action, RollBack):
        return
    name = action.service
    rules = _in_scope(case, name)
    if not rules:
        return
    _wait(case, rules, name)
    _starts(case, rules, name)
    verb = "restore_config" if action.what == "config" else "rollback"
    granting = [rule for rule in rules if verb in rule.actions]
    if granting and facts.last_good == action.to:
        case.effects = case.effects - {Effect.DESTRUCTIVE}  # what it was well with is recorded, and kept
        case.grant(Verdict.ALLOW, granting[0].rule, f"lists {verb}, and the target is the recorded last-good")
        return
    why = f"no rule that covers {name!r} lists {verb}" if not granting else "not the recorded last-good state"
    case.grant(Verdict.ASK, rules[0].rule, f"{why}: people decide", Gateway.DESTRUCTIVE)


def _free_space(case: Case) -> None:
    """Only what can be made again is removed unasked."""
    action, facts = case.action, case.facts
    if not isinstance(action, FreeSpace):
        return
    rules = _in_scope(case, action.service)
    if not rules:
        return
    _wait(case, rules, action.service)
    granting = [rule for rule in rules if "free_space" in rule.actions]
    if granting and all(path in facts.regenerable for path, *_ in action.files):
        case.effects = case.effects - {Effect.DESTRUCTIVE}
        case.grant(Verdict.ALLOW, granting[0].rule, "lists free_space, and every file can be made again")
        return
    why = "no rule lists free_space" if not granting else "not every file can be made again"
    case.grant(Verdict.ASK, rules[0].rule, f"{why}: people decide", Gateway.DESTRUCTIVE)


def _watch(case: Case) -> None:
    if isinstance(case.action, WatchSignals):
        case.grant(Verdict.ALLOW, "reading signals", "reading goes on, whatever is switched off")


def _notify(case: Case) -> None:
    action, channels = case.action, case.policy.healing.channels
    if not isinstance(action, Notify):
        return
    found = next((one for one in channels if one.name == action.channel), None)
    if found is None:
        where = f"{case.policy.file} autonomous_healing.notify"
        case.deny(where, f"no channel is named {action.channel!r}")
        return
    case.grant(Verdict.ALLOW, found.rule, f"tells people through {action.channel!r}")
    key = f"people.notify/{action.channel}"
    case.budgets.append(BudgetClaim(key, found.messages_per_hour, HOUR_S))


def _group(case: Case, name: str, current: int) -> bool:
    """Is this container group in scope, managed, and as large as the action believes?"""
    healing, facts = case.policy.healing, case.facts
    rules = _in_scope(case, name)
    if not rules:
        return False
    if not healing.containers:
        case.deny(f"{case.policy.file} autonomous_healing.scope.containers", "the scope names no containers")
        return False
    if not facts.managed:
        case.deny(healing.containers, f"{name!r} does not carry the veilig.managed label")
    if facts.replicas is None or facts.replicas != current:
        live = "unknown" if facts.replicas is None else str(facts.replicas)
        case.deny(healing.containers, f"the action believes in {current} replicas, the live number is {live}")
    _wait(case, rules, name)
    return True


def _scale_up(case: Case) -> None:
    action, healing = case.action, case.policy.healing
    if not isinstance(action, ScaleUp) or not _group(case, action.group, action.current):
        return
    rule = healing.containers
    if "scale_up" not in healing.container_actions:
        case.deny(rule, "containers.actions does not list scale_up")
        return
    if action.replicas > healing.max_scale:
        case.deny(rule, f"{action.replicas} replicas are above max_scale {healing.max_scale}")
    step = max(1, action.current // 2)
    if action.replicas - action.current > step:
        why = f"adds {action.replicas - action.current} at once, the bound is {step} (half, or one)"
        case.deny(rule, why)
    case.grant(Verdict.ALLOW, rule, f"scale_up to {action.replicas} of at most {healing.max_scale}")
    case.budgets.append(BudgetClaim(f"container.scale_up/group:{action.group}", 1, float(healing.cooldown_s)))


def _scale_down(case: Case) -> None:
    action, healing, facts = case.action, case.policy.healing, case.facts
    if not isinstance(action, ScaleDown) or not _group(case, action.group, action.current):
        return
    rule = healing.containers
    own = action.current - action.replicas <= facts.own_replicas
    if healing.scale_down_own and own and action.replicas > 0:
        # Taking back what this session added loses nothing that was there before it.
        case.effects = case.effects - {Effect.DESTRUCTIVE}
        case.grant(Verdict.ALLOW, rule, "removes only replicas this session made (scale_down_own)")
    elif "scale_down" in healing.container_actions:
        case.grant(Verdict.ALLOW, rule, "containers.actions lists scale_down")
    else:
        case.deny(rule, "containers.actions does not list scale_down, and scale_up does not include it")


def _describe_group(case: Case) -> None:
    healing = case.policy.healing
    if not isinstance(case.action, DescribeSecurityGroup):
        return
    if healing.security_groups:
        case.grant(Verdict.ALLOW, healing.security_groups, "reading goes on, whatever is switched off")
    else:
        where = f"{case.policy.file} autonomous_healing.scope.security_groups"
        case.deny(where, "the scope names no security groups")


def _change_group(case: Case) -> None:
    healing = case.policy.healing
    if not isinstance(case.action, ChangeSecurityGroup):
        return
    if not healing.enabled:
        case.deny(healing.rule, "autonomous healing is not enabled")
    elif not healing.security_groups:
        where = f"{case.policy.file} autonomous_healing.scope.security_groups"
        case.deny(where, "the scope names no security groups")
    elif healing.security_readonly:
        case.deny(healing.security_groups, "readonly: true; no approval overrides that")
    else:
        rule = case.policy.gateway_rules[Gateway.SECURITY]
        case.grant(Verdict.ASK, rule, "readonly: false alone grants nothing; people do", Gateway.SECURITY)


def _change_database(case: Case) -> None:
    if not isinstance(case.action, ChangeDatabase):
        return
    healing = case.policy.healing
    if not healing.enabled:
        case.deny(healing.rule, "autonomous healing is not enabled")
        return
    name, live = case.action.database, case.facts.live
    if live is not None and name not in live:
        case.deny("live targets", f"the provider knows no {name!r}")
    rule = case.policy.gateway_rules[Gateway.DATABASE]
    case.grant(Verdict.ASK, rule, "no rule grants it; the approval is the one-time grant", Gateway.DATABASE)


def _fetch(case: Case) -> None:
    if isinstance(case.action, FetchAdvisories):
        found = case.policy.elsewhere
        case.grant(found.audit_download, found.audit_rule, f"fetches advisories from {case.action.url!r}")


def _fetch_repository(case: Case) -> None:
    """From a host that the operator named, and from no other: `*` alone names none."""
    action = case.action
    if not isinstance(action, FetchRepository):
        return
    found, parts = case.policy.elsewhere, urlsplit(action.url)
    host = parts.netloc if parts.port else f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"
    named = next((h for h in found.audit_hosts if h != "*" and host_matches(h, host)), "")
    if named:
        case.grant(Verdict.ALLOW, found.audit_hosts_rule, f"{named!r} is named")
    else:
        case.deny(found.audit_hosts_rule, f"audit.hosts does not name {host!r}")


def _fetch_feed(case: Case) -> None:
    """A feed of the policy is fetched as it stands there, with its key; anything else is a person's wish."""
    action = case.action
    if not isinstance(action, FetchFeed):
        return
    asked = (action.feed, action.url, action.key_env)
    feeds = case.policy.elsewhere.safeguards.monitor.feeds
    named = next((f for f in feeds if (f.name, f.taxii, f.key_env) == asked), None)
    if action.feed and named is not None:
        case.grant(Verdict.ALLOW, named.rule, f"feed {named.name!r} is named with this address")
    elif action.feed:
        case.deny("monitor.feeds", f"no feed {action.feed!r} with this address and key is named")
    else:
        case.grant(Verdict.ASK, "monitor.feeds", f"asks {action.url!r} which collections it has")


JUDGES: Mapping[str, Judge] = {
    "advisories.fetch": _fetch,
    "feed.fetch": _fetch_feed,
    "repository.fetch": _fetch_repository,
    "service.restart": _restart,
    "service.stop": _stop,
    "service.rollback": _roll_back,
    "space.free": _free_space,
    "signals.watch": _watch,
    "people.notify": _notify,
    "container.scale_up": _scale_up,
    "container.scale_down": _scale_down,
    "security_group.describe": _describe_group,
    "security_group.change": _change_group,
    "database.change": _change_database,
}
