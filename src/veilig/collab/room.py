"""Who is in a room, as what, and who drives? A fold of its events, and the rules of control.

Nothing here is remembered elsewhere: whoever reads the ledger of a session knows its room.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from veilig.collab.roles import MAY, May, Refused, Role

INVITE_S_MAX: Final = 30 * 24 * 3600  # a link that outlives a month is an account that nobody gave
INVITE_S: Final = 24 * 3600
ASKS_MAX: Final = 32  # people that ask for control at once
NOTICED: Final = ("room.", "control.", "session.started")


class Recorded(Protocol):
    """What this fold reads of a ledger event."""

    @property
    def seq(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def t_ms(self) -> int: ...
    @property
    def wall_ms(self) -> int: ...
    @property
    def body(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody with a role of their own in this room."""

    id: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Invite:
    """A link into the room: what it gives, until when; the ledger holds its hash, never the link."""

    id: str
    role: Role
    hash: str
    by: str
    asked_t_ms: int
    asked_wall_ms: int
    expires_s: int
    revoked: bool = False
    used_by: tuple[str, ...] = ()

    def live(self, t_ms: int, wall_ms: int) -> bool:
        """By both clocks: the ledger's, which stands still while nobody writes, and the wall's."""
        most = self.expires_s * 1000
        fresh = t_ms - self.asked_t_ms < most and 0 <= wall_ms - self.asked_wall_ms < most
        return fresh and not self.revoked


@dataclass(slots=True)
class Room:
    """One session's people. holder: who drives; asks: who would like to; offered: to whom it was offered."""

    id: str
    members: dict[str, Member] = field(default_factory=dict[str, Member])
    barred: set[str] = field(default_factory=set[str])
    names: dict[str, str] = field(default_factory=dict[str, str])
    invites: dict[str, Invite] = field(default_factory=dict[str, Invite])
    holder: str = ""
    offered: str = ""
    asks: list[str] = field(default_factory=list[str])

    def take(self, event: Recorded) -> bool:
        """Count one event of this session in; whether it changed the room."""
        body = event.body
        match event.name:
            case "room.opened":
                self._join(str(body["person"]), str(body["name"]), Role.OWNER)
                self.holder = str(body["person"])
            case "room.invited":
                self.invites[str(body["invite"])] = Invite(
                    str(body["invite"]), Role(body["role"]), str(body["hash"]), str(body["actor"]),
                    event.t_ms, event.wall_ms, int(body["expires_s"]),
                )  # fmt: skip
            case "room.uninvited" if (old := self.invites.get(str(body["invite"]))) is not None:
                self.invites[old.id] = _revoked(old)
            case "room.joined":
                self._join(str(body["person"]), str(body["name"]), Role(body["role"]))
                if (old := self.invites.get(str(body["invite"]))) is not None:
                    self.invites[old.id] = _used(old, str(body["person"]))
            case "room.assigned" if body["role"]:
                self._join(str(body["person"]), str(body["name"]), Role(body["role"]))
            case "room.assigned":
                self._leave(str(body["person"]))
            case name if name.startswith("control."):
                self._control(name, body)
            case _:
                return False
        return True

    def _join(self, person: str, name: str, role: Role) -> None:
        self.members[person] = Member(person, name, role)
        self.names[person] = name
        self.barred.discard(person)
        if May.STEER not in MAY[role]:
            self._let_go(person)

    def _leave(self, person: str) -> None:
        self.members.pop(person, None)
        self.barred.add(person)
        self._let_go(person)

    def _let_go(self, person: str) -> None:
        self.holder = "" if self.holder == person else self.holder
        self.offered = "" if self.offered == person else self.offered
        self.asks = [p for p in self.asks if p != person]

    def _control(self, name: str, body: Mapping[str, Any]) -> None:
        match name:
            case "control.asked":
                self.asks = [*(p for p in self.asks if p != body["actor"]), str(body["actor"])][-ASKS_MAX:]
            case "control.offered":
                self.offered = str(body["to"])
            case "control.declined":
                self.offered = "" if self.offered in (body["actor"], body["to"]) else self.offered
                self.asks = [p for p in self.asks if p != body["to"]]
            case _:
                self.holder, self.offered = str(body["holder"]), ""
                self.asks = [p for p in self.asks if p != self.holder]

    def role(self, person: str, account: Role | None) -> Role | None:
        """What this person is here: their role in the room, else that of their account; None: nobody.

        Whoever was put out of the room stays out, save an owner of the whole server.
        """
        if account is Role.OWNER:
            return account
        if person in self.barred:
            return None
        member = self.members.get(person)
        return member.role if member is not None else account

    def control(self) -> dict[str, Any]:
        """{holder, offered, asks} for the page."""
        return {"holder": self.holder, "offered": self.offered, "asks": [*self.asks]}


def _revoked(invite: Invite) -> Invite:
    return Invite(
        invite.id, invite.role, invite.hash, invite.by, invite.asked_t_ms, invite.asked_wall_ms,
        invite.expires_s, revoked=True, used_by=invite.used_by,
    )  # fmt: skip


def _used(invite: Invite, person: str) -> Invite:
    return Invite(
        invite.id, invite.role, invite.hash, invite.by, invite.asked_t_ms, invite.asked_wall_ms,
        invite.expires_s, revoked=invite.revoked, used_by=(*invite.used_by, person),
    )  # fmt: skip


type Draft = tuple[str, dict[str, Any]]


def handed(room: Room, actor: str, role: Role, act: str, to: str) -> Draft:
    """The event that this move makes of who drives. Raises Refused for one that may not be made.

    ask: I would like to. offer: to somebody (the holder, or an owner). accept, decline: what was offered, or
    (by the holder) what was asked. release: nobody drives. take: an owner takes it.
    """
    holds = room.holder == actor or (not room.holder and role is Role.OWNER)
    if May.STEER not in MAY[role]:
        raise Refused(f"a {role} may not hold control", fix="ask the owner for the role driver")
    match act:
        case "ask" if not room.holder:
            return "control.passed", _passed(room, actor, actor, "free")
        case "ask" if room.holder != actor:
            return "control.asked", {"actor": actor}
        case "offer" | "accept" if to and to != actor and holds:
            # Who was asked says yes (accept TO), or the holder offers: the other must say yes, too.
            if act == "accept" and to in room.asks:
                return "control.passed", _passed(room, to, actor, "asked")
            return "control.offered", {"actor": actor, "to": to}
        case "accept" if room.offered == actor:
            return "control.passed", _passed(room, actor, actor, "offered")
        case "decline" if room.offered == actor or (holds and to in room.asks):
            return "control.declined", {"actor": actor, "to": to or actor}
        case "release" if room.holder == actor:
            return "control.passed", _passed(room, "", actor, "released")
        case "take" if role is Role.OWNER and room.holder != actor:
            return "control.passed", _passed(room, actor, actor, "taken")
        case "ask" | "offer" | "accept" | "decline" | "release" | "take":
            holder = room.names.get(room.holder, room.holder) or "nobody"
            raise Refused(f"{act} makes no sense now", status=409, why=f"control is held by {holder}")
        case _:
            raise Refused(
                f"{act!r} is no move"[:100], status=400, fix="ask, offer, accept, decline, release or take"
            )


def must_hold(room: Room, actor: str, role: Role) -> Draft | None:
    """Whoever steers drives: None when they do, the event that gives it to them when nobody does.

    Raises Refused (409) when somebody else drives.
    """
    if May.STEER not in MAY[role]:
        raise Refused(f"a {role} may not steer", fix="ask the owner for the role driver")
    if room.holder == actor:
        return None
    if not room.holder:
        return "control.passed", _passed(room, actor, actor, "free")
    holder = room.names.get(room.holder, room.holder)
    raise Refused(
        f"{holder} drives", status=409, why="one person steers at a time", fix="ask for control, or comment"
    )


def _passed(room: Room, holder: str, actor: str, how: str) -> dict[str, Any]:
    return {"holder": holder, "before": room.holder, "actor": actor, "how": how}
