"""What need not be asked again? Scoped, expiring, listable grants for low-risk classes only.

A grant turns one kind of question into an allow. It never covers what an approval gateway
guards (database, security, destructive, spend) nor anything outside the throw-away copy and the user's own
tree, and it ends with the session or the day.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from veilig.core.action import Action, Effect, RunCommand, Scope
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
        """Does this grant answer for exactly this action?"""
        if (
            action.kind != self.kind
            or not grantable(action)
            or (self.session_only and session != self.session)
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
    return len(pattern) == len(argv) and all(
        p in ("*", a) for p, a in zip(pattern, argv, strict=True)
    )


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
