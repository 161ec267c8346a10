"""What leaves the server of an event: handles, masks, rows, for each role. Nothing goes around this place."""

import ast
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import veilig
from people_page import CANARY
from veilig.collab.export import FORMS, exported
from veilig.collab.roles import Role
from veilig.collab.rows import rendered
from veilig.collab.view import MASK, TEXT_CHARS_MAX, shown, view
from veilig.core.event import EVENTS
from veilig.core.redact_guess import guesses

SRC = Path(veilig.__file__).parent
TOKEN = "ghp" + "_" + "1a2B3c4D5e6F7g8H9i0J1k2L3m4N5o6P7q8R"


@dataclass
class Fact:
    name: str
    body: dict[str, Any]
    seq: int = 7
    session: str = "fix-00000001"
    t_ms: int = 0
    wall_ms: int = 1_700_000_000_000
    more: dict[str, Any] = field(default_factory=dict[str, Any])


def body_of(name: str, value: str) -> dict[str, Any]:
    """A body with this value in every field, in the shape that the gate writes."""
    body: dict[str, Any] = dict.fromkeys(EVENTS[name], f"x {value} y")
    shapes: dict[str, Any] = {
        "action": {"kind": "command.run", "argv": ["echo", value], "note": {"deep": [value]}},
        "reasons": [value], "why": [value] if name == "approval.asked" else value, "data": {"a": [value]},
        "delta": {"set": {value: value}}, "result": {"diff": value}, "options": {"task": value},
        "needs": [{"gateway": value, "roles": [value], "quorum": 1}], "wall_ms": 3, "dropped_bytes": 0,
    }  # fmt: skip
    return {**body, **{k: v for k, v in shapes.items() if k in body}}


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_event_is_viewed_and_masks_what_looks_random_from_who_only_watches(name: str) -> None:
    event = Fact(name, body_of(name, CANARY))
    for role in (Role.VIEWER, Role.COMMENTER):
        assert CANARY not in json.dumps(view(event, role))
    for role in Role:
        made = view(Fact(name, body_of(name, TOKEN)), role)
        assert TOKEN not in json.dumps(made), "a provider's token is a handle for everybody"
        assert {"seq", "at", "kind", "who", "title", "refs"} <= set(made)


def test_who_works_sees_a_suspect_marked_and_the_owner_sees_it_plain() -> None:
    event = Fact("comment.added", {"actor": "ann", "text": f"look: {CANARY} there", "anchor": 3})
    assert view(event, Role.VIEWER)["text"] == f"look: {MASK} there"
    assert view(event, Role.APPROVER)["text"] == f"look: ‹suspect:{CANARY}› there"
    assert view(event, Role.OWNER)["text"] == f"look: {CANARY} there"
    assert view(event, Role.OWNER)["anchor"] == 3


def test_a_long_text_is_cut_and_says_so() -> None:
    made = view(
        Fact("action.verified", {**body_of("action.verified", "x"), "detail": "a b " * 20_000}), Role.OWNER
    )
    assert made["outcome"]["truncated"] is True
    assert len(made["outcome"]["text"]) <= TEXT_CHARS_MAX + 100


@pytest.mark.parametrize(
    "harmless",
    [
        "commit 3f786850e387550fdab836ed7e6dc881de23001b", "sha256:" + "ab12" * 16,
        "id 123e4567-e89b-12d3-a456-426614174000", "tests/test_cart.py::test_total_with_two_items",
        "VeryLongClassNameForTheOrderControllerFactory", "some_module_name_with_many_parts_in_it_2",
        "https://docs.python.org/3/library/asyncio-task.html", "0123456789012345678901234567890",
        "‹secret:DB_PASSWORD#1a2b3c›", "-----------------------------", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ],
)  # fmt: skip
def test_what_is_no_secret_is_not_guessed_to_be_one(harmless: str) -> None:
    assert guesses(harmless) == []


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("plain\n", "plain\n"),
        ("10%\r55%\r100% done", "100% done"),
        ("abc\b\bX", "aXc"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("pass\x1b[2K\rclean", "clean"),
        ("a\x1b[3Cb", "a   b"),
        ("one\ntwo\x1b[1A!", "one!\ntwo".replace("one!", "one!")),
        ("x\u202etxt.exe", "xtxt.exe"),
        ("ze\u200bro", "zero"),
        ("\x1b[2J\x1b[Hfresh", "fresh"),
        ("\x1bPdevice\x1b\\after", "after"),
        ("tab\tstop", "tab\tstop"),
    ],
)
def test_a_terminal_is_shown_as_rows(text: str, rows: str) -> None:
    assert rendered(text).split() == rows.split()
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", rendered(text)) is None


@given(st.text(alphabet=st.sampled_from("ab \x1b[]0;31mKJHACDG\r\n\b\t\x07\\\x9b\x90"), max_size=80))
def test_nothing_that_acts_on_a_screen_is_ever_shown(text: str) -> None:
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", rendered(text)) is None
    assert rendered(rendered(text)) == rendered(text)


def test_a_word_made_to_be_searched_for_ever_is_shown_at_once() -> None:
    begun_s = process_time()
    for word in ("Aaa" + "A" * 400 + "+", "a1" * 200 + "/+", "_" * 500):
        shown(f"see {word} there", Role.VIEWER)
    assert process_time() - begun_s < 10, "each further letter doubles it"


@given(st.text(max_size=200), st.sampled_from(list(Role)))
def test_showing_again_changes_nothing(text: str, role: Role) -> None:
    once = shown(text, role)
    if role in (Role.VIEWER, Role.COMMENTER, Role.OWNER):
        assert shown(once, role) == once


@pytest.mark.parametrize("form", FORMS)
def test_an_export_is_made_of_views_and_runs_no_script(form: str) -> None:
    hostile = "<script>alert(1)</script>\x1b]0;x\x07"
    events = [
        view(Fact(name, body_of(name, hostile + CANARY), seq=i), Role.VIEWER)
        for i, name in enumerate(sorted(EVENTS))
    ]
    summary = {"id": "fix-1", "kind": "fix", "repository": hostile, "state": "done", "summary": hostile}
    data, kind, name = exported(form, summary, events, "viewer", complete=True)
    assert CANARY.encode() not in data
    assert name.startswith("fix-1.")
    if kind.startswith(b"text/html"):
        assert b"<script" not in data
        assert b"default-src 'none'" in data


# Where a ledger event's body may be read on its way out: these make views of it, or decide with it. What
# `moment` and `serving_diff` make of it is a diff, and leaves by `shown`, line by line.
MAY_READ_BODIES = {
    *("collab/view.py", "collab/room.py", "collab/board.py", "collab/moment.py"),
    *("app/serving_look.py", "app/serving_diff.py"),
}


def test_no_other_module_on_the_way_out_reads_an_events_body() -> None:
    found: list[str] = []
    places = [*SRC.glob("collab/*.py"), *SRC.glob("app/serving*.py")]
    places += [
        SRC / "server" / f"{n}.py" for n in ("api", "api_acts", "api_looks", "page", "streams", "live")
    ]
    for place in places:
        name = place.relative_to(SRC).as_posix()
        for node in ast.walk(ast.parse(place.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "body" and name not in MAY_READ_BODIES:
                owner = ast.unparse(node.value)
                if owner.startswith(("event", "e.", "fact")) or owner == "e":
                    found.append(f"{name}:{node.lineno} {owner}.body")
    # `live` looks whose account changed, `reveal` whether the session ever met the handle: neither sends it.
    allowed = {"server/live.py", "app/serving_act.py"}
    assert [f for f in found if f.partition(":")[0] not in allowed] == []
    assert len([f for f in found if f.partition(":")[0] in allowed]) == 2, found
