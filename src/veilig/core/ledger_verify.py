"""Is the ledger, to the last byte, what was written?"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from veilig.core.canonical import canonical_text
from veilig.core.errors import LedgerError
from veilig.core.event import EVENTS
from veilig.core.ledger_anchor import Anchored, behind, create_anchor, damaged_slots, read_anchor
from veilig.core.ledger_checkpoint import Checkpoint, check_signatures, read_checkpoints, split_by_key
from veilig.core.ledger_event import Event, Row, chain_hash, genesis, keys_of, lease_of, read_row, tampered
from veilig.core.ledger_file import file_id
from veilig.core.ledger_head import Head
from veilig.core.ledger_open import missing_anchor
from veilig.core.ledger_sqlite import file_snapshot
from veilig.core.ledger_store import Places, Snapshot, places_of
from veilig.core.ledger_tx import LEASED, ledger_time


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
class Fold:
    """What the events say, recomputed one after another."""

    head: Head
    anchors: dict[int, list[tuple[str, Anchored]]]
    vouched: int = 0
    boots: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    counters: set[tuple[str, int, int]] = field(default_factory=set[tuple[str, int, int]])
    claims: dict[str, int] = field(default_factory=dict[str, int])
    leases: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    erased: set[int] = field(default_factory=set[int])
    said_erased: set[int] = field(default_factory=set[int])
    said: list[tuple[int, object, object]] = field(default_factory=list[tuple[int, object, object]])
    first_wall_ms: int | None = None
    last_wall_ms: int | None = None

    def add(self, row: Row) -> None:
        """Check one stored row against everything before it. Raises LedgerTampered."""
        seq = self.head.size + 1
        if row[0] != seq:
            raise tampered(seq, f"the event is missing: after {seq - 1} comes {row[0]!r}")
        event = read_row(row)
        if event.erased:
            self.erased.add(seq)
        elif canonical_text(event.body) != row[8]:
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
        if event.name == LEASED:
            token = lease_of(event.name, event.body, event.seq)
            if token != self.leases.get(event.session, (0, 0))[0] + 1:
                raise tampered(event.seq, f"it leases with token {token} out of order")
            self.leases[event.session] = (token, event.seq)
        if event.name == "ledger.erased":
            for first, last in _ranges(event):
                self.said_erased.update(range(first, last + 1))


def _ranges(event: Event) -> list[tuple[int, int]]:
    found: Any = event.body.get("ranges")
    try:
        ranges = [(int(first), int(last)) for first, last in found]
    except (TypeError, ValueError) as error:
        raise tampered(event.seq, "it does not say what was erased") from error
    if any(not 1 <= first <= last < event.seq for first, last in ranges):
        raise tampered(event.seq, "it says that something was erased that was not there")
    return ranges


def verify(path: Path, anchor_dir: Path) -> Verified:
    """Recompute every hash, time, derived row, anchor and signature of the ledger file at `path`.

    Reads only; may run beside writers. Raises LedgerTampered naming the first bad event, LedgerError when
    the ledger, its anchor or its key cannot be read. What it cannot see: events appended by somebody who can
    write the ledger and its anchor, after the last checkpoint.
    """
    return verify_store(lambda: file_snapshot(path), places_of(path, anchor_dir, file_id(path)))


def verify_store(look: Callable[[], AbstractContextManager[Snapshot]], places: Places) -> Verified:
    """As `verify`, for what any store holds. `look` opens one frozen look at it."""
    anchored = read_anchor(places.anchor)  # before the snapshot, so it cannot be ahead of it
    if anchored is None:
        raise missing_anchor(places)
    identity = places.anchor.stem
    checkpoints, torn = read_checkpoints(places.checkpoints, identity)
    check_signatures(checkpoints, places.key)
    with look() as snapshot:
        shared = snapshot.checkpoints()
        ours, others = split_by_key(shared, places.key)
        check_signatures(ours, places.key)
        fold, stored = fold_snapshot(snapshot, _anchors(anchored, checkpoints + shared))
    again = read_checkpoints(places.checkpoints, identity)[0]
    _check_said(fold, checkpoints + shared + again)
    warnings = _warnings(places, anchored, fold.head.size, torn=torn)
    if others:
        warnings += (
            f"{len(others)} checkpoints are signed by other machines: their signatures are checked there",
        )
    if fold.erased:
        warnings += (f"{len(fold.erased)} bodies were erased, as the ledger says; their hashes hold",)
    return Verified(
        identity,
        stored.size,
        stored.frontier.root().hex(),
        stored.hash.hex(),
        len({(c.size, c.key) for c in checkpoints + shared}),
        fold.first_wall_ms,
        fold.last_wall_ms,
        stored.t_ms,
        warnings,
    )


def adopt(path: Path, anchor_dir: Path) -> Anchored:
    """Trust the ledger file at `path` as it is: check it in itself, then make the anchor it lacks.

    For an operator who moved a ledger here. Raises LedgerTampered, or LedgerError when an anchor exists.
    """
    return adopt_store(lambda: file_snapshot(path), places_of(path, anchor_dir, file_id(path)))


def adopt_store(look: Callable[[], AbstractContextManager[Snapshot]], places: Places) -> Anchored:
    """As `adopt`, for what any store holds."""
    if places.anchor.exists():
        raise LedgerError(
            f"the ledger {str(places.ledger)!r} has an anchor",
            why="adopting is for a ledger without one; it would overrule what vouches for it",
            fix="verify it",
        )
    checkpoints, _ = read_checkpoints(places.checkpoints, places.anchor.stem)
    check_signatures(checkpoints, places.key)
    with look() as snapshot:
        shared = snapshot.checkpoints()
        check_signatures(split_by_key(shared, places.key)[0], places.key)
        fold, _ = fold_snapshot(snapshot, _anchors(None, checkpoints + shared))
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


def fold_snapshot(snapshot: Snapshot, anchors: dict[int, list[tuple[str, Anchored]]]) -> tuple[Fold, Head]:
    """Fold all events of one look and compare with what is derived from them. Raises LedgerTampered."""
    fold = Fold(Head(genesis(snapshot.id)), anchors)
    fold.compare()
    for row in snapshot.rows():
        fold.add(row)
    stored = snapshot.head()
    _check_stored(snapshot, fold, stored)
    if damage := snapshot.damage():
        raise tampered(1, f"the file is damaged: {damage}")
    return fold, stored


def _check_stored(snapshot: Snapshot, fold: Fold, stored: Head) -> None:
    size = fold.head.size
    if fold.anchors:
        longest = max(fold.anchors)
        source, anchored = fold.anchors[longest][0]
        raise behind(anchored, size, source)
    if stored.size != size:
        raise tampered(min(stored.size, size) + 1, f"the head counts {stored.size} events, {size} are there")
    if stored != fold.head:
        raise tampered(max(size, 1), "the head row does not fit the events")
    leases = {(session, token, seq) for session, (token, seq) in fold.leases.items()}
    wrong = [row[2] for row in snapshot.counters() ^ fold.counters]
    wrong += [row[1] for row in snapshot.claims() ^ set(fold.claims.items())]
    wrong += [row[2] for row in snapshot.leases() ^ leases]
    if wrong:
        raise tampered(max(min(wrong), 1), "what is counted, claimed or leased is not what the event says")
    if silent := fold.erased - fold.said_erased:
        raise tampered(min(silent), "its body is gone, and nobody said that it was erased")


def _check_said(fold: Fold, checkpoints: Iterable[Checkpoint]) -> None:
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
