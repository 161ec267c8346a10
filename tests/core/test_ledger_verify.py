"""Is every change of the ledger found, and the first bad event named?"""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from veilig.core.errors import LedgerError, LedgerTampered
from veilig.core.ledger import Draft, Ledger
from veilig.core.ledger_event import COLUMNS, chain_hash, event_line, genesis
from veilig.core.ledger_file import read_head, write_head
from veilig.core.ledger_tree import EMPTY, leaf_hash
from veilig.core.ledger_verify import adopt, verify

EVENTS = 20


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A closed ledger of 20 events; 12 of them under a checkpoint, which is event 13."""
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as ledger:
        add(ledger, range(1, 13))
        ledger.checkpoint()
        add(ledger, range(14, EVENTS + 1))
    return tmp_path


def add(ledger: Ledger, numbers: range) -> None:
    for n in numbers:
        body: Any = {"n": n, "budget_keys": [f"k{n % 3}"], "claims": [f"c{n}"]}
        ledger.append([Draft("action.started", "s1", body)])


def change(place: Path, *statements: str) -> None:
    db = sqlite3.connect(place / "l.db", isolation_level=None)
    db.execute("BEGIN")
    for statement in statements:
        db.execute(statement)
    db.execute("COMMIT")
    db.close()


def first_bad(place: Path) -> int:
    with pytest.raises(LedgerTampered) as caught:
        verify(place / "l.db", place / "anchors")
    return caught.value.seq


def forge(place: Path, upto: int, edit: Callable[[list[Any]], None]) -> None:
    """Rewrite history with new, consistent hashes, head row included."""
    db = sqlite3.connect(place / "l.db", isolation_level=None)
    identity = db.execute("SELECT value FROM meta").fetchone()[0]
    rows = [list(r) for r in db.execute(f"SELECT {COLUMNS} FROM events WHERE seq <= ? ORDER BY seq", (upto,))]
    edit(rows)
    last, frontier = genesis(identity), EMPTY
    head = read_head(db)
    db.execute("DELETE FROM events")
    for seq, row in enumerate(rows, 1):
        row[0] = seq
        row[9] = leaf_hash(event_line(tuple(row)))
        last = row[10] = chain_hash(last, row[9])
        frontier = frontier.push(row[9])
        db.execute(f"INSERT INTO events ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", row)
    final = rows[-1]
    write_head(db, type(head)(last, final[4], final[5], final[6], frontier))
    db.execute("DELETE FROM counters WHERE seq > ?", (len(rows),))
    db.execute("DELETE FROM claims WHERE seq > ?", (len(rows),))
    db.close()


def test_an_untouched_ledger_verifies_with_all_it_holds(place: Path):
    found = verify(place / "l.db", place / "anchors")
    assert (found.events, found.checkpoints, found.warnings) == (EVENTS, 1, ())
    assert found.first_wall_ms is not None
    assert found.last_wall_ms is not None


def test_an_empty_ledger_verifies(tmp_path: Path):
    ledger = Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors")
    with ledger, pytest.raises(LedgerError, match="nothing to sign"):
        ledger.checkpoint()
    assert verify(tmp_path / "l.db", tmp_path / "anchors").events == 0


@pytest.mark.parametrize(
    ("statements", "seq"),
    [
        (["DELETE FROM events WHERE seq = 7"], 7),
        (["DELETE FROM events WHERE seq = 1"], 1),
        (["DELETE FROM events WHERE seq = 7", "UPDATE events SET seq = seq - 1 WHERE seq > 7"], 7),
        (["UPDATE events SET seq = -1 WHERE seq = 3", "UPDATE events SET seq = 3 WHERE seq = 9",
          "UPDATE events SET seq = 9 WHERE seq = -1"], 3),
        ([f"INSERT INTO events SELECT 21, {COLUMNS[5:]} FROM events WHERE seq = 20"], 21),
        (["UPDATE events SET body = replace(body, '\"n\":5', '\"n\":6') WHERE seq = 5"], 5),
        (["UPDATE events SET body = '[]' WHERE seq = 5"], 5),
        (["UPDATE events SET body = 'no json' WHERE seq = 5"], 5),
        (["UPDATE events SET body = CAST(x'7bff7d' AS TEXT) WHERE seq = 5"], 5),
        (["UPDATE events SET session = 's2' WHERE seq = 5"], 5),
        (["UPDATE events SET name = 'action.decided' WHERE seq = 5"], 5),
        (["UPDATE events SET v = 3 WHERE seq = 5"], 5),
        (["UPDATE events SET t_ms = t_ms + 1 WHERE seq = 5"], 5),
        (["UPDATE events SET boot = '' WHERE seq = 5"], 5),
        (["UPDATE events SET up_ms = up_ms - 1 WHERE seq = 5"], 5),
        (["UPDATE events SET wall_ms = 0 WHERE seq = 5"], 5),
        (["UPDATE events SET leaf = hash WHERE seq = 5"], 5),
        (["UPDATE events SET leaf = x'' WHERE seq = 5"], 5),
        (["UPDATE events SET hash = leaf WHERE seq = 5"], 5),
        (["UPDATE events SET hash = x'00' WHERE seq = 5"], 5),
        (["UPDATE head SET size = 18"], 19),
        (["UPDATE head SET size = 19"], 1),
        (["UPDATE head SET t_ms = t_ms + 1"], 20),
        (["UPDATE head SET peaks = x''"], 1),
        (["DELETE FROM head"], 1),
        (["DELETE FROM counters WHERE seq = 6"], 6),
        (["INSERT INTO counters VALUES ('k9', 0, 4)"], 4),
        (["UPDATE counters SET t_ms = t_ms + 1 WHERE seq = 8"], 8),
        (["DELETE FROM claims WHERE seq = 6"], 6),
        (["UPDATE claims SET key = 'c99' WHERE seq = 6"], 6),
        (["UPDATE meta SET value = '0123456789abcdef0123456789abcdef'"], 0),
        (["CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM counters; END"], 1),
        (["DROP INDEX events_session"], 1),
    ],
    ids=lambda v: v[0][:60] if isinstance(v, list) else "",
)  # fmt: skip
def test_a_changed_row_is_found_and_the_first_bad_event_named(place: Path, statements: list[str], seq: int):
    change(place, *statements)
    if not seq:  # another id has other anchors: nothing vouches for it
        with pytest.raises(LedgerError, match="anchor"):
            verify(place / "l.db", place / "anchors")
    else:
        assert first_bad(place) == seq


@pytest.mark.parametrize("kept", [19, 13, 12, 5])
def test_a_cut_tail_is_found_by_verify_and_by_opening(place: Path, kept: int):
    forge(place, kept, lambda rows: None)
    assert first_bad(place) == kept + 1
    with pytest.raises(LedgerTampered, match=r"cut|old"):
        Ledger.open(place / "l.db", anchor_dir=place / "anchors")


def test_an_old_copy_put_back_is_found_even_when_it_grew(place: Path):
    old = place / "old.db"
    shutil.copy(place / "l.db", old)
    with Ledger.open(place / "l.db", anchor_dir=place / "anchors") as ledger:
        add(ledger, range(21, 23))
    shutil.copy(old, place / "l.db")
    for side in ("-wal", "-shm"):
        Path(f"{place / 'l.db'}{side}").unlink(missing_ok=True)
    assert first_bad(place) == 21
    grown = forge_growth(place, 5)
    assert grown == 25
    assert first_bad(place) == 13  # consistent, and not what was anchored after the checkpoint of 12
    with pytest.raises(LedgerTampered, match="rewritten"):
        Ledger.open(place / "l.db", anchor_dir=place / "anchors")


def forge_growth(place: Path, more: int) -> int:
    def grow(rows: list[Any]) -> None:
        for n in range(more):
            row = list(rows[-1])
            row[8] = f'{{"forged":{n}}}'
            rows.append(row)

    forge(place, EVENTS, grow)
    return EVENTS + more


@pytest.mark.parametrize(("edited", "seq"), [(3, 1), (15, 13)], ids=["before the checkpoint", "after it"])
def test_history_rewritten_with_fresh_hashes_is_found(place: Path, edited: int, seq: int):
    def edit(rows: list[Any]) -> None:
        rows[edited - 1][8] = rows[edited - 1][8].replace(f'"n":{edited}', '"n":99')

    forge(place, EVENTS, edit)
    assert first_bad(place) == seq  # the first event that nothing vouches for any more
    with pytest.raises(LedgerTampered, match="rewritten"):
        Ledger.open(place / "l.db", anchor_dir=place / "anchors")


def test_a_missing_anchor_stops_everything_until_an_operator_adopts_the_ledger(place: Path):
    anchor = next((place / "anchors").glob("*.head"))
    before = anchor.read_bytes()
    with pytest.raises(LedgerError, match="has an anchor"):
        adopt(place / "l.db", place / "anchors")
    anchor.unlink()
    for use in (
        lambda: verify(place / "l.db", place / "anchors"),
        lambda: Ledger.open(place / "l.db", anchor_dir=place / "anchors"),
    ):
        with pytest.raises(LedgerError, match="missing"):
            use()
    assert adopt(place / "l.db", place / "anchors").size == EVENTS
    assert anchor.read_bytes() != before
    assert verify(place / "l.db", place / "anchors").events == EVENTS


def test_a_damaged_anchor_is_found_and_one_torn_slot_only_said(place: Path):
    anchor = next((place / "anchors").glob("*.head"))
    whole = anchor.read_bytes()
    newest = 0 if whole[8] == EVENTS else 512
    for slot, works in [(512 - newest, True), (newest, True)]:
        flipped = bytes([whole[slot + 20] ^ 0xFF])
        anchor.write_bytes(whole[: slot + 20] + flipped + whole[slot + 21 :])
        assert any("slot" in w for w in verify(place / "l.db", place / "anchors").warnings) is works
    anchor.write_bytes(b"\xff" * len(whole))
    assert first_bad(place) == 1
    anchor.write_bytes(b"")
    assert first_bad(place) == 1


def test_checkpoints_removed_changed_or_signed_by_another_key_are_found(place: Path):
    file = next((place / "anchors").glob("*.checkpoints"))
    line = file.read_bytes()
    file.write_bytes(line + line[:40])
    assert any("half-written" in w for w in verify(place / "l.db", place / "anchors").warnings)
    file.write_bytes(b"")
    assert first_bad(place) == 13  # the event that announced it
    other_size = line.replace(b'"size":12', b'"size":11')
    for bad in (other_size, line.replace(b"0", b"1"), b"{}\n", b"no json\n", b"\xff\n"):
        file.write_bytes(bad)
        with pytest.raises(LedgerTampered):
            verify(place / "l.db", place / "anchors")
    file.write_bytes(line)
    key = place / "keys" / "ledger.key"
    key.write_bytes(b"\x07" * 32)
    with pytest.raises(LedgerTampered, match="event 1") as caught:
        verify(place / "l.db", place / "anchors")
    assert "not signed" in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda key: key.unlink(), "cannot be read"),
        (lambda key: key.chmod(0o640), "used by others"),
        (lambda key: key.write_bytes(b"short"), "not a ledger key"),
    ],
    ids=["gone", "readable by others", "short"],
)  # fmt: skip
def test_without_a_usable_key_nothing_is_called_verified(place: Path, spoil: Any, what: str):
    spoil(place / "keys" / "ledger.key")
    with pytest.raises(LedgerError, match=what):
        verify(place / "l.db", place / "anchors")


def test_a_checkpoint_that_cannot_be_signed_in_time_stops_new_events(tmp_path: Path):
    key = tmp_path / "keys" / "ledger.key"
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors", checkpoint_events=3) as ledger:
        key.mkdir(parents=True)
        add(ledger, range(1, 4))
        with pytest.raises(LedgerError, match="key"):
            add(ledger, range(4, 5))
        assert ledger.size() == 3
        key.rmdir()
        add(ledger, range(5, 6))  # event 4 says that it was signed
        assert [e.name for e in ledger.events(after=3)] == ["ledger.checkpointed", "action.started"]
    assert verify(tmp_path / "l.db", tmp_path / "anchors").checkpoints == 1


def test_every_flipped_byte_of_an_event_is_found(place: Path):
    """Flips each byte of event 9's row where it lies in the file."""
    path = place / "l.db"
    whole = path.read_bytes()
    body = b'{"budget_keys":["k0"],"claims":["c9"],"n":9}'
    at = whole.index(body)
    start, end = at - 70, at + len(body) + 64  # columns before the body, then leaf and hash
    for where in range(start, end, 3):
        path.write_bytes(whole[:where] + bytes([whole[where] ^ 0x01]) + whole[where + 1 :])
        assert first_bad(place) in (1, 8, 9, 10), where  # a broken cell can hide or shift its neighbour
    for where in range(at, end, 3):
        path.write_bytes(whole[:where] + bytes([whole[where] ^ 0x20]) + whole[where + 1 :])
        assert first_bad(place) == 9, where


@pytest.mark.parametrize("page", range(1, 12))
def test_a_damaged_page_is_our_error(place: Path, page: int):
    path = place / "l.db"
    whole = path.read_bytes()
    size = 4096
    if len(whole) < (page + 1) * size:
        return
    path.write_bytes(whole[: page * size] + b"\xa5" * size + whole[(page + 1) * size :])
    with pytest.raises(LedgerTampered):
        verify(path, place / "anchors")


def test_reading_names_the_damaged_event_after_the_good_ones(place: Path):
    change(place, "UPDATE events SET body = CAST(x'7bff7d' AS TEXT) WHERE seq = 5")
    with Ledger.open(place / "l.db", anchor_dir=place / "anchors") as ledger:
        seen: list[int] = []
        with pytest.raises(LedgerTampered) as caught:
            seen.extend(e.seq for e in ledger.events())
        assert (seen, caught.value.seq) == ([1, 2, 3, 4], 5)
        assert [e.seq for e in ledger.events(after=5, limit=2)] == [6, 7]
