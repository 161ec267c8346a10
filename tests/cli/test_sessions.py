"""`veilig sessions` and `veilig resume`: what is shown, what goes on, and what is removed."""

import json
from collections.abc import Callable

import pytest

from terminal import Said, Terminal

LAW = "agent: {tests: ask}\n"
SOURCE = "def add(a, b):\n    return a - b\n"
TEST = "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"


@pytest.fixture
def held(veilig: Terminal) -> tuple[Terminal, str]:
    """A fix session that waits for a person before it runs the tests."""
    veilig.project("calc", calc=SOURCE, test_calc=TEST)
    (veilig.folder / "law.yaml").write_text(LAW)
    said = veilig("fix", "calc", "--policy", "law.yaml", "--json")
    assert said.code == 4, said.err
    return veilig, str(json.loads(said.out)["session"])


@pytest.mark.slow
def test_a_held_session_is_listed_shown_approved_and_resumed_to_its_end(held: tuple[Terminal, str]) -> None:
    veilig, session = held
    listed = veilig("sessions", "--json").json
    assert [(s["session"], s["kind"], s["state"]) for s in listed] == [(session, "fix", "held")]
    shown = veilig("sessions", "show", session[:8])
    assert shown.code == 0
    for part in ("workspace.open", "audit.scan", "tests.run", "ask", "held", f"veilig resume {session}"):
        assert part in shown.out
    law = ("--policy", "law.yaml")
    said = veilig("resume", session, *law, "--json")
    for _ in range(30):  # each test run asks once
        waiting = veilig("approvals", "--json").json
        if waiting:
            assert veilig("approvals", "approve", waiting[0]["approval"]).code == 0
        said = veilig("resume", session, *law, "--json")
        if said.code != 4:
            break
    assert said.code == 0, said.out
    assert [p["status"] for p in said.json["problems"]] == ["fixed"]
    assert veilig("sessions", "--json").json[0]["state"] == "done"
    assert veilig("resume", session, *law).code == 4, "what has ended for good does not go on"
    assert veilig("ledger", "verify").code == 0


def test_only_copies_of_ended_sessions_are_removed(held: tuple[Terminal, str]) -> None:
    veilig, session = held
    copy = veilig.home / "sessions" / session / "work"
    assert copy.is_dir()
    said = veilig("sessions", "clean", "--json")
    assert said.json == {"removed": [], "kept": [{"session": session, "why": "it is held: it can go on"}]}
    veilig.project("clean", app="x = 1\n")
    assert veilig("audit", "clean").code == 0
    (veilig.home / "sessions" / "fix-unknown").mkdir()
    assert veilig("sessions", "clean", "--json").json["removed"] == []
    assert copy.is_dir()


@pytest.mark.slow
def test_ended_sessions_lose_their_copy_when_they_are_old_enough(veilig: Terminal) -> None:
    veilig.project("fine", calc=SOURCE.replace("-", "+"), test_calc=TEST)
    assert veilig("fix", "fine").code == 0
    (session,) = [s["session"] for s in veilig("sessions", "--json").json]
    copy = veilig.home / "sessions" / session
    copy.mkdir(exist_ok=True)
    assert veilig("sessions", "clean", "--older-than", "1", "--json").json["removed"] == []
    before = veilig("ledger", "verify", "--json").json["events"]
    assert veilig("sessions", "clean", "--older-than", "0", "--json").json["removed"] == [session]
    assert not copy.exists()
    assert veilig("ledger", "verify", "--json").json["events"] == before
    assert veilig("sessions", "show", session).code == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("sessions", "--limit", "0"), 2),
        (("sessions", "list", "--limit", "0"), 2),
        (("sessions", "clean", "--older-than", "-1"), 2),
        (("sessions", "clean", "--older-than", "nan"), 2),
        (("resume", "fix-0", "--patience", "-1"), 2),
        (("resume", "fix-0", "--patience", "86401"), 2),
        (("resume", "fix-0", "--patience", "nan"), 2),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else str(v),
)
def test_what_is_out_of_bounds_is_refused(
    inside: Callable[..., Said], words: tuple[str, ...], code: int
) -> None:
    assert inside(*words).code == code


def test_a_session_that_is_not_there_is_refused(veilig: Terminal, inside: Callable[..., Said]) -> None:
    veilig.project("clean", app="x = 1\n")
    assert veilig("audit", "clean").code == 0
    for words in (
        ("resume", "fix-0"),
        ("resume", ""),
        ("sessions", "show", "fix-0"),
        ("sessions", "show", ""),
    ):
        assert inside(*words).code == 4, words
