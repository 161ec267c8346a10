"""Does the end of the ledger agree with what stands outside it? The cheap check of every start.

It reads a handful of rows. `ledger_verify` recomputes everything.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from veilig.core.errors import LedgerError
from veilig.core.ledger_anchor import Anchored, behind, create_anchor, read_anchor
from veilig.core.ledger_checkpoint import Checkpoint
from veilig.core.ledger_event import COLUMNS, Row, chain_hash, genesis, read_row, tampered
from veilig.core.ledger_file import ledger_id, read_head
from veilig.core.ledger_head import Head
from veilig.core.ledger_store import Places


@dataclass(frozen=True, slots=True)
class End:
    """The end of a ledger at one moment. last: the newest two rows, newest first. hashes: at some sizes."""

    id: str
    head: Head
    last: Sequence[Row]
    hashes: Mapping[int, bytes]


def check_end(look: Callable[[set[int]], End], places: Places, checkpoints: list[Checkpoint]) -> None:
    """Check the last event, the head row, the anchor and the newest checkpoint; make a new ledger's anchor.

    look: the end, with the chain hash at the sizes it is given. `checkpoints` were read before. Raises
    LedgerTampered, or LedgerError when the anchor is missing.
    """
    anchored = read_anchor(places.anchor)  # before the ledger: another process may append meanwhile
    head, hashes = _checked(look, anchored, checkpoints)
    if anchored is None:
        if head.size or checkpoints:
            anchored = read_anchor(places.anchor)  # its maker may have been between two steps
            if anchored is None:
                raise missing_anchor(places)
            head, hashes = _checked(look, anchored, checkpoints)  # it may have gone on meanwhile
        else:
            create_anchor(places.anchor, places.ledger, Anchored(0, head.hash, head.frontier.root()))
            return
    newest = max(checkpoints, key=lambda c: c.size, default=None)
    for size, last, root, source in (
        (anchored.size, anchored.hash, anchored.root, "its anchor"),
        *(
            [(newest.size, bytes.fromhex(newest.hash), bytes.fromhex(newest.root), "a checkpoint")]
            if newest
            else []
        ),
    ):
        if size > head.size:
            raise behind(Anchored(size, last, root), head.size, source)
        if hashes.get(size, last) != last or (size == head.size and head.frontier.root() != root):
            raise tampered(max(size, 1), f"it differs from what {source} vouches for: history was rewritten")


def missing_anchor(places: Places) -> LedgerError:
    """The error for a ledger with events and nothing outside that vouches for its length."""
    return LedgerError(
        f"the anchor {str(places.anchor)!r} of the ledger {str(places.ledger)!r} is missing",
        why="without it a cut tail cannot be noticed",
        fix="restore it; or, if you moved the ledger here yourself, adopt it: `veilig ledger adopt`",
    )


def file_end(db: sqlite3.Connection, sizes: set[int]) -> End:
    """The end of a ledger file, in one snapshot."""
    db.execute("BEGIN")
    try:
        hashes: dict[int, bytes] = {}
        for size in sizes:
            row = db.execute("SELECT hash FROM events WHERE seq = ?", (size,)).fetchone()
            if row is not None:
                hashes[size] = row[0]
        rows = db.execute(f"SELECT {COLUMNS} FROM events ORDER BY seq DESC LIMIT 2").fetchall()  # noqa: S608  # constant
        return End(ledger_id(db), read_head(db), rows, hashes)
    finally:
        db.execute("COMMIT")


def _checked(
    look: Callable[[set[int]], End], anchored: Anchored | None, checkpoints: list[Checkpoint]
) -> tuple[Head, dict[int, bytes]]:
    """The head, checked against the last event, and the chain hash at each anchored size."""
    sizes = ({c.size for c in checkpoints} | ({anchored.size} if anchored else set[int]())) - {0}
    end = look(sizes)
    _check_last(end)
    for size in sorted(sizes):
        if size not in end.hashes and size <= end.head.size:
            raise tampered(size, "the event is missing")
    return end.head, {0: genesis(end.id), **end.hashes}


def _check_last(end: End) -> None:
    rows, head, start = end.last, end.head, genesis(end.id)
    if not rows:
        if head.size or head.hash != start:
            raise tampered(1, f"the head counts {head.size} events and there is none")
        return
    last = read_row(rows[0])
    if last.seq != head.size:
        raise tampered(
            min(last.seq, head.size) + 1, f"the head counts {head.size} events and the last is {last.seq}"
        )
    before = rows[1][10] if len(rows) > 1 else start
    if (len(rows) > 1 and rows[1][0] != last.seq - 1) or chain_hash(before, rows[0][9]) != rows[0][10]:
        raise tampered(last.seq, "it does not follow the event before it")
    if rows[0][10] != head.hash or (last.t_ms, last.boot, last.up_ms) != (head.t_ms, head.boot, head.up_ms):
        raise tampered(last.seq, "the head row does not fit the last event")
