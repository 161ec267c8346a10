"""`veilig ledger`: good ledgers verify, touched ones name the first bad event."""

import asyncio
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from terminal import Terminal
from veilig.core.ledger import Draft, Ledger
from veilig.core.ledger_proof import verify_export, verify_inclusion

EVENTS = 6


def write(home: Path, count: int = EVENTS, start: int = 0) -> None:
    home.mkdir(exist_ok=True)
    body = {
        "kind": "audit",
        "actor": "agent:audit",
        "source": "/",
        "options": {},
        "policy": "p",
        "veilig": "0",
    }
    with Ledger.open(home / "ledger.db", anchor_dir=home / "anchors") as ledger:
        for n in range(start, start + count):
            ledger.append([Draft("session.started", f"audit-{n}", dict(body))])


@pytest.fixture
def filled(veilig: Terminal) -> Terminal:
    write(veilig.home)
    return veilig


def damage(home: Path, sql: str) -> None:
    with sqlite3.connect(home / "ledger.db") as db:
        db.execute(sql)
    db.close()


def test_an_untouched_ledger_verifies(filled: Terminal) -> None:
    said = filled("ledger", "verify")
    assert said.code == 0, said.err
    assert "verified" in said.out
    assert filled("ledger", "verify", "--json").json["events"] == EVENTS


@pytest.mark.parametrize("seq", [1, 3, EVENTS])
def test_one_changed_event_is_named_and_ends_with_4(filled: Terminal, seq: int) -> None:
    damage(filled.home, f"UPDATE events SET body = replace(body, 'audit', 'adios') WHERE seq = {seq}")
    said = filled("ledger", "verify")
    assert said.code == 4
    assert f"event {seq}" in said.err
    told = filled("ledger", "verify", "--json")
    assert (told.code, told.json["ok"], told.json["seq"]) == (4, False, seq)


def test_a_cut_tail_is_noticed_by_every_command(filled: Terminal) -> None:
    damage(filled.home, f"DELETE FROM events WHERE seq = {EVENTS}")
    assert filled("ledger", "verify").code == 4
    assert filled("sessions").code == 4
    assert filled("ledger", "show").code == 4


def test_a_ledger_that_is_no_ledger_is_refused(veilig: Terminal) -> None:
    veilig.home.mkdir()
    (veilig.home / "ledger.db").write_bytes(b"not a database at all" * 100)
    assert veilig("ledger", "verify").code == 4


def test_a_lost_ledger_is_told_from_one_that_never_was(filled: Terminal) -> None:
    (filled.home / "ledger.db").unlink()
    said = filled("ledger", "verify")
    assert said.code == 4
    assert "moved or deleted" in said.err


def test_show_filters_by_session_and_name(filled: Terminal) -> None:
    assert len(filled("ledger", "show").out.splitlines()) == EVENTS
    shown = filled("ledger", "show", "audit-2", "--json").out.splitlines()
    assert [json.loads(line)["seq"] for line in shown] == [3]
    assert filled("ledger", "show", "--name", "session.ended").out == ""
    assert filled("ledger", "show", "--name", "session.finished").code == 4
    assert filled("ledger", "show", "audit").code == 4  # more than one begins so
    assert filled("ledger", "show", "nobody").code == 4


def test_an_export_is_checked_without_the_ledger(filled: Terminal) -> None:
    exported = verify_export(filled("ledger", "export").out.splitlines())
    assert len(exported.events) == EVENTS
    assert exported.root == filled("ledger", "verify", "--json").json["root"]
    assert len(verify_export(filled("ledger", "export", "audit-4").out.splitlines()).events) == 1


@pytest.mark.parametrize(("seq", "code"), [("0", 4), ("1", 0), (str(EVENTS), 0), (str(EVENTS + 1), 4)])
def test_an_event_that_is_there_can_be_proved_and_no_other(filled: Terminal, seq: str, code: int) -> None:
    said = filled("ledger", "prove", seq)
    assert said.code == code
    if code == 0:
        p = said.json
        assert verify_inclusion(p["leaf"], p["seq"], p["size"], p["path"], p["root"])


def test_a_ledger_that_was_moved_is_adopted_once(filled: Terminal) -> None:
    shutil.move(filled.home / "anchors", filled.folder / "old-anchors")
    assert filled("sessions").code == 4
    assert filled("ledger", "adopt").code == 0
    assert filled("ledger", "verify").code == 0
    assert filled("ledger", "adopt").code == 4


def test_a_damaged_ledger_is_not_adopted(filled: Terminal) -> None:
    shutil.rmtree(filled.home / "anchors")
    damage(filled.home, "UPDATE events SET body = replace(body, 'audit', 'adios') WHERE seq = 2")
    assert filled("ledger", "adopt").code == 4
    assert not list(filled.home.glob("anchors/*.head"))


async def test_tail_follows_what_another_process_writes(filled: Terminal) -> None:
    process = await asyncio.create_subprocess_exec(
        *filled.argv("ledger", "tail", "-f", "--json"),
        env=filled.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        async with asyncio.timeout(30):
            for seq in range(1, EVENTS + 1):
                assert json.loads(await process.stdout.readline())["seq"] == seq
            await asyncio.to_thread(write, filled.home, 1, EVENTS)
            assert json.loads(await process.stdout.readline())["seq"] == EVENTS + 1
    finally:
        process.terminate()
        await process.communicate()


def test_the_policy_may_place_the_ledger_elsewhere(filled: Terminal) -> None:
    other = filled.folder / "elsewhere"
    write(other, 2)
    law = filled.folder / "law.yaml"
    law.write_text(f"ledger: {{path: '{other}/ledger.db', anchor_dir: '{other}/anchors'}}\n")
    said = filled("ledger", "verify", "--json", "--policy", str(law))
    assert said.json["events"] == 2
    assert filled("--help").code == 0
    assert filled("ledger", "--policy", str(law), "show").out.count("session.started") == 2
