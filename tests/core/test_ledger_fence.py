"""Does a driver that lost the lease of its session record anything more?"""

from pathlib import Path

import pytest

from veilig.core.errors import Fenced, LedgerError, LedgerTampered
from veilig.core.ledger import Draft, Ledger
from veilig.core.ledger_verify import verify


def note(session: str = "s1") -> Draft:
    return Draft("action.proposed", session, {"n": 1})


async def test_a_driver_whose_session_was_taken_over_records_nothing(tmp_path: Path):
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as ledger:
        first = ledger.fenced("s1", ledger.lease("s1", "worker-1"))
        first.append([note()])
        await first.submit(lambda tx: tx.append("action.proposed", "s1.1", {}))  # a child of it
        second = ledger.fenced("s1", ledger.lease("s1", "worker-2"))
        size = ledger.size()
        for late in (lambda: first.append([note()]), lambda: first.append([note("s1.1")])):
            with pytest.raises(Fenced, match="taken over"):
                late()
        with pytest.raises(Fenced, match="taken over"):
            await first.submit(lambda tx: tx.append("action.proposed", "s1", {}))
        assert ledger.size() == size
        second.append([note()])
        ledger.append([note()])  # a person who votes or speaks holds no lease
        assert [e.body for e in ledger.events(names=["session.leased"])] == [
            {"token": 1, "holder": "worker-1"},
            {"token": 2, "holder": "worker-2"},
        ]
    assert verify(tmp_path / "l.db", tmp_path / "anchors").events == 6


def test_a_token_cannot_be_skipped_or_given_twice(tmp_path: Path):
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as ledger:
        assert [ledger.lease("s1", "a"), ledger.lease("s1", "b"), ledger.lease("s2", "a")] == [1, 2, 1]
        for token in (0, 2, 4, "3", None):
            with pytest.raises(LedgerError, match=r"token"):
                ledger.append([Draft("session.leased", "s1", {"token": token, "holder": "c"})])
        assert ledger.transact(lambda tx: [tx.leased("s1"), tx.leased("s3")]) == [2, 0]


def test_a_lease_changed_in_the_file_is_found(tmp_path: Path):
    import sqlite3

    path = tmp_path / "l.db"
    with Ledger.open(path, anchor_dir=tmp_path / "anchors") as ledger:
        ledger.lease("s1", "a")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE leases SET token = 7")
    db.close()
    with pytest.raises(LedgerTampered, match="event 1"):
        verify(path, tmp_path / "anchors")
