"""Is the ledger, to the last byte, what was written?"""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from veilig.core.canonical import canonical_text
from veilig.core.errors import LedgerError
from veilig.core.event import EVENTS
from veilig.core.ledger_anchor import Anchored, behind, create_anchor, damaged_slots, read_anchor
from veilig.core.ledger_checkpoint import Checkpoint, check_signatures, read_checkpoints
from veilig.core.ledger_commit import Places, places_of
from veilig.core.ledger_event import (
    COLUMNS,
    Event,
    Row,
    chain_hash,
    genesis,
    keys_of,
    read_row,
    tampered,
)
from veilig.core.ledger_file import Head, connect, ledger_id, read_head, translated
from veilig.core.ledger_open import missing_anchor
from veilig.core.ledger_tx import ledger_time


@dataclass(frozen=True, slots=True)
class Verified:
    """A ledger in which nothing was found wrong. root, head: hex. Times are None for an empty ledger.

    warnings: what was not wrong but is worth knowing (an anchor that lags after a crash).
    """

    ledger: str
    events: int
    root: str
    head: str
    checkpoints: int
    first_wall_ms: int | None
    last_wall_ms: int | None
    t_ms: int
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Fold:
    """What the events say, recomputed one after another."""

    head: Head
    anchors: dict[int, list[tuple[str, Anchored]]]
    vouched: int = 0
    boots: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    counters: set[tuple[str, int, int]] = field(default_factory=set[tuple[str, int, int]])
    claims: dict[str, int] = field(default_factory=dict[str, int])
    said: list[tuple[int, object, object]] = field(default_factory=list[tuple[int, object, object]])
    first_wall_ms: int | None = None
    last_wall_ms: int | None = None

    def add(self, row: Row) -> None:
        """Check one stored row against everything before it. Raises LedgerTampered."""
        seq = self.head.size + 1
        if row[0] != seq:
            raise tampered(seq, f"the event is missing: after {seq - 1} comes {row[0]!r}")
        event = read_row(row)
        if canonical_text(event.body) != row[8]:
            raise tampered(seq, "its body is not in canonical form")
        if event.name not in EVENTS:
            raise tampered(seq, f"no veilig writes events called {event.name!r}; or a newer one did")
        if chain_hash(self.head.hash, row[9]) != row[10]:
            raise tampered(seq, "it does not follow the event before it")
        t_ms, up_ms = ledger_time(self.head, self.boots.get(event.boot), event.up_ms)
        if (t_ms, up_ms) != (event.t_ms, event.up_ms):
            raise tampered(seq, f"its ledger time is {event.t_ms} ms where {t_ms} ms is possible")
        self.boots[event.boot] = (t_ms, up_ms)
        self._derive(event)
        if self.first_wall_ms is None:
            self.first_wall_ms = event.wall_ms
        self.last_wall_ms = event.wall_ms
        self.head = Head(row[10], t_ms, event.boot, up_ms, self.head.frontier.push(row[9]))
        self.compare()

    def compare(self) -> None:
        """Check the anchors of exactly this size. Raises LedgerTampered."""
        found = self.anchors.pop(self.head.size, [])
        for source, anchored in found:
            if (anchored.hash, anchored.root) != (self.head.hash, self.head.frontier.root()):
                raise tampered(
                    self.vouched + 1,
                    f"the events {self.vouched + 1} to {max(self.head.size, 1)} are consistent and yet not "
                    f"those that {source} vouches for: history was rewritten",
                )
        if found:
            self.vouched = self.head.size

    def _derive(self, event: Event) -> None:
        for key in keys_of(event.body, "budget_keys", event.seq):
            self.counters.add((key, event.t_ms, event.seq))
        for key in keys_of(event.body, "claims", event.seq):
            if key in self.claims:
                raise tampered(event.seq, f"it claims {key!r}, which event {self.claims[key]} had claimed")
            self.claims[key] = event.seq
        if event.name == "ledger.checkpointed":
            self.said.append((event.seq, event.body.get("size"), event.body.get("root")))


def verify(path: Path, anchor_dir: Path) -> Verified:
    """Recompute every hash, time, derived row, anchor and signature of the ledger at `path`.

    Reads only; may run beside writers. Raises LedgerTampered naming the first bad event, LedgerError when
    the ledger, its anchor or its key cannot be read. What it cannot see: events appended by somebody who can
    write the ledger and its anchor, after the last checkpoint.
    """
    db = connect(path, write=False)
    try:
        identity = ledger_id(db)
        places = places_of(path, anchor_dir, identity)
        anchored = read_anchor(places.anchor)  # before the snapshot, so it cannot be ahead of it
        if anchored is None:
            raise missing_anchor(places)
        checkpoints, torn = read_checkpoints(places.checkpoints, identity)
        check_signatures(checkpoints, places.key)
        fold, stored = _pass(db, path, identity, _anchors(anchored, checkpoints))
        _check_said(fold, checkpoints + read_checkpoints(places.checkpoints, identity)[0])
        warnings = _warnings(places, anchored, fold.head.size, torn=torn)
    except sqlite3.Error as error:
        raise translated(error, path) from error
    finally:
        db.close()
    return Verified(
        identity,
        stored.size,
        stored.frontier.root().hex(),
        stored.hash.hex(),
        len(checkpoints),
        fold.first_wall_ms,
        fold.last_wall_ms,
        stored.t_ms,
        warnings,
    )


def adopt(path: Path, anchor_dir: Path) -> Anchored:
    """Trust the ledger at `path` as it is: check it in itself, then make the anchor it lacks.

    For an operator who moved a ledger here. Raises LedgerTampered, or LedgerError when an anchor exists.
    """
    db = connect(path, write=False)
    try:
        identity = ledger_id(db)
        places = places_of(path, anchor_dir, identity)
        if places.anchor.exists():
            raise LedgerError(
                f"the ledger {str(path)!r} has an anchor",
                why="adopting is for a ledger without one; it would overrule what vouches for it",
                fix="verify it",
            )
        checkpoints, _ = read_checkpoints(places.checkpoints, identity)
        check_signatures(checkpoints, places.key)
        fold, _ = _pass(db, path, identity, _anchors(None, checkpoints))
    except sqlite3.Error as error:
        raise translated(error, path) from error
    finally:
        db.close()
    anchored = Anchored(fold.head.size, fold.head.hash, fold.head.frontier.root())
    create_anchor(places.anchor, places.ledger, anchored)
    return anchored


def _anchors(
    anchored: Anchored | None, checkpoints: Iterable[Checkpoint]
) -> dict[int, list[tuple[str, Anchored]]]:
    found: dict[int, list[tuple[str, Anchored]]] = {}
    if anchored is not None:
        found.setdefault(anchored.size, []).append(("its anchor", anchored))
    for c in checkpoints:
        one = Anchored(c.size, bytes.fromhex(c.hash), bytes.fromhex(c.root))
        found.setdefault(c.size, []).append((f"the checkpoint of {c.size} events", one))
    return found


def _pass(
    db: sqlite3.Connection, path: Path, identity: str, anchors: dict[int, list[tuple[str, Anchored]]]
) -> tuple[_Fold, Head]:
    """Fold all events in one snapshot and compare with what is derived from them."""
    fold = _Fold(Head(genesis(identity)), anchors)
    fold.compare()
    try:
        db.execute("BEGIN")
        for row in _rows(db):
            fold.add(row)
        stored = read_head(db)
        _check_stored(db, fold, stored)
        damage = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if damage != "ok":
            raise tampered(1, f"the file is damaged: {damage}")
        db.execute("COMMIT")
    except sqlite3.Error as error:
        raise translated(error, path, seq=fold.head.size + 1) from error
    return fold, stored


def _rows(db: sqlite3.Connection) -> Iterator[Row]:
    # NOT INDEXED: the order is that of the table itself, whatever an index says.
    query = f"SELECT {COLUMNS} FROM events NOT INDEXED ORDER BY seq"  # noqa: S608  # constant
    return cast(Iterator[Row], db.execute(query))


def _check_stored(db: sqlite3.Connection, fold: _Fold, stored: Head) -> None:
    size = fold.head.size
    if fold.anchors:
        longest = max(fold.anchors)
        source, anchored = fold.anchors[longest][0]
        raise behind(anchored, size, source)
    if stored.size != size:
        raise tampered(min(stored.size, size) + 1, f"the head counts {stored.size} events, {size} are there")
    if stored != fold.head:
        raise tampered(max(size, 1), "the head row does not fit the events")
    counters = cast(set[tuple[str, int, int]], set(db.execute("SELECT key, t_ms, seq FROM counters")))
    claims = cast(set[tuple[str, int]], set(db.execute("SELECT key, seq FROM claims")))
    wrong = [row[2] for row in counters ^ fold.counters] + [
        row[1] for row in claims ^ set(fold.claims.items())
    ]
    if wrong:
        raise tampered(max(min(wrong), 1), "what is counted or claimed is not what the event says")


def _check_said(fold: _Fold, checkpoints: Iterable[Checkpoint]) -> None:
    known = {(c.size, c.root) for c in checkpoints}
    for seq, size, root in fold.said:
        if (size, root) not in known:
            raise tampered(
                seq, f"it announces a checkpoint of {size} events that is not in the checkpoint file"
            )


def _warnings(places: Places, anchored: Anchored, size: int, *, torn: bool) -> tuple[str, ...]:
    found: list[str] = []
    if size > anchored.size:
        found.append(
            f"{size - anchored.size} events after the anchored {anchored.size}: not yet durable, or a crash"
            " came between the commit and the anchor"
        )
    if torn:
        found.append("the last line of the checkpoint file was half-written by a crash and was left out")
    if damaged_slots(places.anchor):
        found.append("one of the anchor's two slots is damaged (a power cut while it was written?)")
    return tuple(found)
