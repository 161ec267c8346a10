"""Who may do what in a room, and who drives: the allowed, the refused, and laws over all moves."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.collab.roles import MAY, May, Refused, Role, need, role_of
from veilig.collab.room import Room, handed, must_hold


@dataclass(frozen=True)
class Fact:
    name: str
    body: dict[str, Any]
    seq: int = 1
    session: str = "fix-00000001"
    t_ms: int = 0
    wall_ms: int = 0


def room_of(**people: Role) -> Room:
    room = Room("fix-00000001")
    for person, role in people.items():
        room.take(Fact("room.assigned", {"person": person, "name": person, "role": str(role), "actor": "x"}))
    return room


@pytest.mark.parametrize(
    ("role", "acts"),
    [
        (Role.VIEWER, {May.WATCH}),
        (Role.COMMENTER, {May.WATCH, May.COMMENT}),
        (Role.APPROVER, {May.WATCH, May.COMMENT, May.VOTE}),
        (Role.DRIVER, {May.WATCH, May.COMMENT, May.STEER, May.START}),
        (Role.OWNER, set(May)),
    ],
)
def test_a_role_allows_exactly_its_acts(role: Role, acts: set[May]) -> None:
    for act in May:
        if act in acts:
            assert need(role, act) is role
        else:
            with pytest.raises(Refused) as error:
                need(role, act)
            assert error.value.status == 403


def test_a_stranger_hears_that_there_is_no_such_session() -> None:
    with pytest.raises(Refused) as error:
        need(None, May.WATCH)
    assert error.value.status == 404


def test_an_unknown_role_is_refused() -> None:
    assert role_of("driver") is Role.DRIVER
    with pytest.raises(Refused):
        role_of("root")


def test_a_room_says_who_is_what_and_an_account_answers_for_the_rest() -> None:
    room = room_of(ann=Role.DRIVER)
    assert room.role("ann", Role.VIEWER) is Role.DRIVER
    assert room.role("bob", Role.VIEWER) is Role.VIEWER
    assert room.role("cat", None) is None
    room.take(Fact("room.assigned", {"person": "ann", "name": "ann", "role": "", "actor": "x"}))
    assert room.role("ann", Role.VIEWER) is None, "put out of the room means out, whatever the account says"
    assert room.role("ann", Role.OWNER) is Role.OWNER, "an owner of the server cannot be put out"


def test_control_passes_only_with_consent() -> None:
    room = room_of(ann=Role.DRIVER, bob=Role.DRIVER)

    def move(actor: str, act: str, to: str = "") -> None:
        name, body = handed(room, actor, Role.DRIVER, act, to)
        room.take(Fact(name, body))

    move("ann", "ask")
    assert room.holder == "ann", "free control goes to who asks"
    move("bob", "ask")
    assert (room.holder, room.asks) == ("ann", ["bob"])
    with pytest.raises(Refused):
        move("bob", "take")
    with pytest.raises(Refused):
        move("bob", "accept")
    move("ann", "accept", "bob")
    assert (room.holder, room.asks) == ("bob", [])
    move("bob", "offer", "ann")
    assert (room.holder, room.offered) == ("bob", "ann"), "an offer alone moves nothing"
    move("ann", "decline")
    assert (room.holder, room.offered) == ("bob", "")
    move("bob", "offer", "ann")
    move("ann", "accept")
    assert room.holder == "ann"
    move("ann", "release")
    assert room.holder == ""


def test_an_owner_takes_control_and_a_viewer_never_has_it() -> None:
    room = room_of(ann=Role.DRIVER)
    room.take(Fact("control.passed", {"holder": "ann", "before": "", "actor": "ann", "how": "free"}))
    name, body = handed(room, "own", Role.OWNER, "take", "")
    room.take(Fact(name, body))
    assert room.holder == "own"
    for role in (Role.VIEWER, Role.COMMENTER, Role.APPROVER):
        with pytest.raises(Refused):
            handed(room, "vic", role, "ask", "")
        with pytest.raises(Refused):
            must_hold(room, "vic", role)


def test_whoever_loses_the_role_loses_control() -> None:
    room = room_of(ann=Role.DRIVER)
    room.take(Fact("control.passed", {"holder": "ann", "before": "", "actor": "ann", "how": "free"}))
    room.take(Fact("room.assigned", {"person": "ann", "name": "ann", "role": "viewer", "actor": "own"}))
    assert room.holder == ""


@pytest.mark.parametrize(
    ("t_ms", "wall_ms", "live"),
    [(0, 0, True), (59_999, 59_999, True), (60_000, 0, False), (0, 60_000, False), (0, -1, False)],
)
def test_an_invitation_ends_by_whichever_clock_comes_first(t_ms: int, wall_ms: int, *, live: bool) -> None:
    room = Room("fix-00000001")
    body = {"invite": "i1", "role": "viewer", "hash": "h", "expires_s": 60, "actor": "own"}
    room.take(Fact("room.invited", body))
    assert room.invites["i1"].live(t_ms, wall_ms) is live
    room.take(Fact("room.uninvited", {"invite": "i1", "actor": "own"}))
    assert not room.invites["i1"].live(0, 0)


PEOPLE = {"own": Role.OWNER, "ann": Role.DRIVER, "bob": Role.DRIVER, "vic": Role.VIEWER}
MOVES = st.tuples(
    st.sampled_from(sorted(PEOPLE)),
    st.sampled_from(["ask", "offer", "accept", "decline", "release", "take", "sing", "demote"]),
    st.sampled_from(["", *sorted(PEOPLE)]),
)


@given(st.lists(MOVES, max_size=30))
def test_no_sequence_of_moves_gives_control_to_who_may_not_hold_it_or_takes_it_unasked(
    moves: list[tuple[str, str, str]],
) -> None:
    room, roles = room_of(**PEOPLE), dict(PEOPLE)
    for actor, act, to in moves:
        before, consents = room.holder, {room.offered, *room.asks}
        if act == "demote":
            if to:
                roles[to] = Role.VIEWER
                body = {"person": to, "name": to, "role": "viewer", "actor": "own"}
                room.take(Fact("room.assigned", body))
            continue
        if to and May.STEER not in MAY[roles[to]]:
            continue  # the serving refuses that before it asks for a move
        try:
            name, body = handed(room, actor, roles[actor], act, to)
        except Refused:
            assert room.holder == before
            continue
        room.take(Fact(name, body))
        if room.holder != before:
            assert room.holder == "" or May.STEER in MAY[roles[room.holder]]
            took = roles[actor] is Role.OWNER
            assert actor == before or not before or took or actor in consents
            assert not room.holder or room.holder == actor or room.holder in consents
