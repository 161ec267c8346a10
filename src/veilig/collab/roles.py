"""Who may do what in a room? Five roles, and one table."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from veilig.core.errors import EXIT_REFUSED, VeiligError


class Role(StrEnum):
    """What somebody is in a room, or on the whole server."""

    OWNER = "owner"
    DRIVER = "driver"
    APPROVER = "approver"
    COMMENTER = "commenter"
    VIEWER = "viewer"


class May(StrEnum):
    """What a role may allow."""

    WATCH = "watch"
    COMMENT = "comment"
    VOTE = "vote"
    STEER = "steer"  # speak to the planner, stop it, hold control
    START = "start"
    INVITE = "invite"  # and give roles, and take them
    REVEAL = "reveal"


MAY: Final[Mapping[Role, frozenset[May]]] = {
    Role.VIEWER: frozenset({May.WATCH}),
    Role.COMMENTER: frozenset({May.WATCH, May.COMMENT}),
    Role.APPROVER: frozenset({May.WATCH, May.COMMENT, May.VOTE}),
    # Who steers does not decide about what was steered: a driver has no vote.
    Role.DRIVER: frozenset({May.WATCH, May.COMMENT, May.STEER, May.START}),
    Role.OWNER: frozenset(May),
}


class Refused(VeiligError):
    """Somebody may not do this, or it cannot be done; `status` is HTTP's word for it."""

    exit_code = EXIT_REFUSED

    def __init__(
        self,
        what: str,
        *,
        status: int = 403,
        why: str = "",
        fix: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(what, why=why, fix=fix, retry_after_s=retry_after_s)
        self.status = status


def need(role: Role | None, act: May) -> Role:
    """The role, when it allows the act. Raises Refused; a stranger hears that there is no such session."""
    if role is None:
        raise Refused("there is no such session", status=404, why="or nobody let you in", fix="ask its owner")
    if act not in MAY[role]:
        able = ", ".join(r for r in Role if act in MAY[r])
        raise Refused(
            f"a {role} may not {act}", why=f"it takes one of: {able}", fix="ask the owner of this session"
        )
    return role


def role_of(text: object) -> Role:
    """The role of this name. Raises Refused (400)."""
    try:
        return Role(text)
    except ValueError as error:
        raise Refused(f"{text!r} is not a role"[:200], status=400, fix=f"one of {', '.join(Role)}") from error
