"""Which ledgers are opened, and which are refused untouched?"""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from veilig.core.errors import LedgerError
from veilig.core.ledger import Draft, Ledger
from veilig.core.ledger_anchor import Anchored, create_anchor, read_anchor
from veilig.core.ledger_file import APPLICATION_ID
from veilig.core.ledger_verify import verify


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db", anchor_dir=tmp_path / "state" / "anchors") as opened:
        yield opened


def anchors(ledger: Ledger) -> Path:
    return ledger.path.parent / "state" / "anchors"


def note(n: int) -> Draft:
    return Draft("action.proposed", "s1", {"n": n})


def test_a_reopened_ledger_goes_on_where_it_was(tmp_path: Path):
    for n in range(1, 4):
        with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as ledger:
            assert ledger.append([note(n)])[0].seq == n
    assert verify(tmp_path / "l.db", tmp_path / "anchors").events == 3


def test_ledger_and_anchor_belong_to_their_user_alone(ledger: Ledger):
    ledger.append([note(1)])
    ledger.checkpoint()
    files = [ledger.path, *anchors(ledger).iterdir(), anchors(ledger).parent / "keys" / "ledger.key"]
    assert {oct(f.stat().st_mode & 0o777) for f in files} == {"0o600"}


def foreign_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (a)")
    db.close()


def newer_ledger(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 3")
    db.close()


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda p: None, "there is no ledger"),
        (lambda p: p.mkdir(), "cannot be used"),
        (lambda p: p.write_bytes(b""), "not a veilig ledger"),
        (lambda p: p.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000), r"cannot be used|not what"),
        (foreign_sqlite, "not a veilig ledger"),
        (newer_ledger, "schema 3"),
    ],
    ids=["missing", "folder", "empty", "damaged header", "foreign", "newer"],
)  # fmt: skip
def test_what_is_no_ledger_is_refused_and_not_touched(tmp_path: Path, make: Any, what: str):
    path = tmp_path / "l.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LedgerError, match=what):
        Ledger.open(path, anchor_dir=tmp_path / "anchors", create=False)
    with pytest.raises(LedgerError):
        verify(path, tmp_path / "anchors")
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path):
    for path in (Path("/proc/veilig/l.db"), Path("/dev/null/l.db")):
        with pytest.raises(LedgerError, match="cannot be used"):
            Ledger.open(path, anchor_dir=tmp_path / "anchors")
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger.open(tmp_path / "l.db", anchor_dir=Path("/dev/null/anchors"))


def test_a_ledger_that_vanished_is_not_started_anew(tmp_path: Path):
    path, anchor_dir = tmp_path / "l.db", tmp_path / "anchors"
    with Ledger.open(path, anchor_dir=anchor_dir):
        pass
    path.unlink()
    with Ledger.open(path, anchor_dir=anchor_dir) as ledger:  # it held nothing: nothing is forgotten
        ledger.append([note(1)])
    path.unlink()
    with pytest.raises(LedgerError, match="is gone"):
        Ledger.open(path, anchor_dir=anchor_dir)


def test_a_ledger_replaced_while_open_is_not_written(ledger: Ledger):
    ledger.append([note(1)])
    ledger.path.rename(ledger.path.with_suffix(".away"))
    with pytest.raises(LedgerError, match="cannot be used"):
        ledger.append([note(2)])
    ledger.path.write_bytes(b"other")
    with pytest.raises(LedgerError, match="replaced"):
        ledger.append([note(2)])


def test_a_busy_ledger_says_when_to_try_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("veilig.core.ledger_file.LEDGER_BUSY_S", 0.05)
    with Ledger.open(ledger.path, anchor_dir=anchors(ledger)) as other:
        blocker = sqlite3.connect(ledger.path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="busy") as caught:
            other.append([note(1)])
        blocker.execute("ROLLBACK")
        blocker.close()
        assert caught.value.retry_after_s == 1.0
        assert other.append([note(1)])[0].seq == 1


def test_threads_that_vouch_for_a_ledger_at_the_same_time_make_one_whole_anchor(tmp_path: Path):
    """As the slots of a worker do in a new home."""
    for n in range(20):
        place, at_once = tmp_path / str(n) / "one.head", threading.Barrier(4)
        seen = Anchored(n, bytes([n]) * 32, bytes(32))

        def vouch(place: Path = place, at_once: threading.Barrier = at_once, seen: Anchored = seen) -> None:
            at_once.wait(60)
            create_anchor(place, "a place", seen)

        with ThreadPoolExecutor(4) as threads:
            for each in [threads.submit(vouch) for _ in range(4)]:
                each.result()
        assert read_anchor(place) == seen
        assert [one.name for one in place.parent.iterdir()] == ["one.head"]
