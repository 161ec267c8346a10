"""What need not be asked again? Scoped, expiring, listable grants for low-risk classes only.

A grant turns one kind of question into an allow. It never covers what an approval gateway
guards (database, security, destructive, spend) nor anything outside the throw-away copy and the user's own
tree, and it ends with the session or the day.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from veilig.core.action import KINDS, Action, Effect, RunCommand, Scope
from veilig.core.approval import Recorded
from veilig.core.errors import ApprovalError
from veilig.core.limits import GRANT_EXPIRY_S_MAX

NEVER = frozenset({Effect.DATABASE, Effect.SECURITY, Effect.DESTRUCTIVE, Effect.SPEND})
GRANT_EVENTS = ("grant.given", "grant.revoked")


@dataclass(frozen=True, slots=True)
class Grant:
    """`kind` exactly; `pattern`: argv words for commands, a path glob for files, the target otherwise."""

    id: str
    actor: str
    session: str
    kind: str
    pattern: tuple[str, ...]
    directory: str
    session_only: bool
    expires_ms: int
    boot: str
    reason: str

    def live(self, now_ms: int, boot: str) -> bool:
        """Not expired; a reboot ends it like an approval."""
        return now_ms < self.expires_ms and boot == self.boot

    def covers(self, action: Action, session: str) -> bool:
        """Does this grant answer for exactly this action? One for a session holds for those it starts."""
        if (
            action.kind != self.kind
            or not grantable(action)
            or (self.session_only and session.partition(".")[0] != self.session)
        ):
            return False
        if isinstance(action, RunCommand):
            inside = PurePosixPath(action.cwd).is_relative_to(self.directory or ".")
            return inside and not action.hosts and argv_fits(self.pattern, action.argv)
        return len(self.pattern) == 1 and fnmatchcase(action.target, self.pattern[0])


def grantable(action: Action) -> bool:
    """Low-risk only: no gateway class, nothing of the world."""
    return action.scope is not Scope.WORLD and not (action.effects & NEVER)


def argv_fits(pattern: tuple[str, ...], argv: tuple[str, ...]) -> bool:
    """Word by word; `*` is any one word, a last `**` any rest; everything else exact."""
    if pattern and pattern[-1] == "**":
        head = pattern[:-1]
        return len(argv) >= len(head) and argv_fits(head, argv[: len(head)])
    return len(pattern) == len(argv) and all(p in ("*", a) for p, a in zip(pattern, argv, strict=True))


def fold(events: Iterable[Recorded]) -> dict[str, Grant]:
    """Every grant not revoked, by id."""
    found: dict[str, Grant] = {}
    for event in events:
        body = event.body
        if event.name == "grant.given":
            found[body["grant"]] = Grant(
                id=body["grant"],
                actor=body["actor"],
                session=event.session,
                kind=body["kind"],
                pattern=tuple(body["pattern"]),
                directory=body["directory"],
                session_only=body["session_only"],
                expires_ms=body["expires_ms"],
                boot=event.boot,
                reason=body["reason"],
            )
        elif event.name == "grant.revoked":
            found.pop(body["grant"], None)
    return found


def given(grant: Grant) -> dict[str, Any]:
    """The body of `grant.given`."""
    return {
        "grant": grant.id,
        "actor": grant.actor,
        "kind": grant.kind,
        "pattern": list(grant.pattern),
        "directory": grant.directory,
        "session_only": grant.session_only,
        "expires_ms": grant.expires_ms,
        "reason": grant.reason,
    }


def need_known(found: dict[str, Grant], prefix: str) -> Grant:
    """The grant whose id starts with `prefix`. Raises ApprovalError when none or several do."""
    fit = [g for g in found.values() if prefix and g.id.startswith(prefix)]
    if len(fit) != 1:
        raise ApprovalError(
            f"{'no' if not fit else 'more than one'} standing permission starts with {prefix!r}",
            why="only one that was given and not revoked can be revoked",
            fix="see `veilig grants list`",
        )
    return fit[0]


def need_low_risk(kind: str, pattern: tuple[str, ...]) -> None:
    """Raises ApprovalError for a kind that is asked each time, or a pattern that could never be a grant's."""
    cls = KINDS.get(kind)
    if cls is None:
        raise ApprovalError(
            f"unknown kind of action {kind!r}",
            why=f"known kinds are {', '.join(sorted(KINDS))}",
            fix="use one of them",
        )
    effects = cls.effects if isinstance(cls.effects, frozenset) else frozenset[Effect]()
    if cls.scope is Scope.WORLD or effects & NEVER:
        classes = ", ".join(sorted(effects & NEVER)) or "it reaches beyond the copy and your own tree"
        raise ApprovalError(
            f"no standing permission covers {kind}",
            why=f"it is asked each time: {classes}",
            fix="approve each act: `veilig approvals list`",
        )
    if kind == "command.run":
        if pattern and not pattern[0].strip("*"):
            raise ApprovalError(
                f"the pattern {' '.join(pattern)!r} names no program",
                why="whatever is installed could run",
                fix="name the program first, such as 'git status **'",
            )
    elif len(pattern) != 1 or not re.sub(r"[*?]|\[[^]]*\]", "", pattern[0]).strip("./"):
        raise ApprovalError(
            f"a grant for {kind} takes one pattern that names something, not {' '.join(pattern)!r}",
            why="it is compared with the one target of the action",
            fix="give a path or name, with `*` for a part of it, such as 'docs/*.md'",
        )


def need_grant(kind: str, pattern: tuple[str, ...], seconds: float) -> None:
    """Raises ApprovalError for a grant that would be too broad or too long."""
    if not pattern or all(word in ("*", "**") for word in pattern):
        raise ApprovalError(
            f"a grant for {kind} with pattern {' '.join(pattern)!r} covers everything",
            why="a grant names the shape of what it allows",
            fix="name at least the program and its sub-command, such as 'git status **'",
        )
    if not 0 < seconds <= GRANT_EXPIRY_S_MAX:
        raise ApprovalError(
            f"a grant of {seconds:.0f} s is not within (0, {GRANT_EXPIRY_S_MAX}]",
            why="permissions that nobody remembers are the dangerous ones",
            fix="give it for this session or this day",
        )
