"""What can somebody check who has only a piece of the ledger and its root?"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import cast

from veilig.core.canonical import JSON, canonical_text, parse
from veilig.core.errors import LedgerError, LedgerTampered
from veilig.core.ledger_event import ERASED, Event, Row, read_row, tampered
from veilig.core.ledger_tree import HASH_BYTES, Tree, verify_consistency_path, verify_inclusion_path

_EXPORT_FORMAT = "veilig.ledger.export.v1"


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That the event `seq` with this leaf is among the `size` events under `root`. All hashes are hex."""

    seq: int
    size: int
    leaf: str
    path: tuple[str, ...]
    root: str


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That the `size1` events under `root1` are the first of the `size2` under `root2`. Hashes are hex."""

    size1: int
    size2: int
    root1: str
    root2: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds, all checked. Compare `root` with a signed checkpoint of `size` to trust it."""

    ledger: str
    size: int
    root: str
    events: tuple[Event, ...]


class Prover:
    """Proofs about a ledger that grows; it remembers the tree, so that each costs its path and no more.

    leaves: those after the first n, in order. It may be called from several threads.
    """

    def __init__(self, leaves: Callable[[int], list[bytes]]) -> None:
        self._leaves = leaves
        self._tree = Tree()
        self._lock = threading.Lock()

    def inclusion(self, seqs: Sequence[int]) -> list[InclusionProof]:
        """That these events are in the ledger, all under one root. Raises LedgerError when one is not."""
        with self._lock:
            tree = self._grown()
            for seq in seqs:
                if not 1 <= seq <= tree.size:
                    raise LedgerError(
                        f"there is no event {seq}", why=f"the ledger holds events 1 to {tree.size}"
                    )
            root = tree.root().hex()
            paths = [tuple(h.hex() for h in tree.inclusion(seq - 1, tree.size)) for seq in seqs]
            return [
                InclusionProof(seq, tree.size, tree.leaf(seq - 1).hex(), path, root)
                for seq, path in zip(seqs, paths, strict=True)
            ]

    def consistency(self, size1: int, size2: int) -> ConsistencyProof:
        """Raises LedgerError when the sizes do not fit."""
        with self._lock:
            tree = self._grown()
            if not 1 <= size1 <= size2 <= tree.size:
                raise LedgerError(
                    f"there is no consistency proof from {size1} to {size2} events",
                    why=f"sizes go up and stay within 1 to {tree.size}",
                )
            path = tuple(h.hex() for h in tree.consistency(size1, size2))
            return ConsistencyProof(size1, size2, tree.root(size1).hex(), tree.root(size2).hex(), path)

    def _grown(self) -> Tree:
        self._tree.extend(self._leaves(self._tree.size))
        return self._tree


def verify_inclusion(leaf: str, seq: int, size: int, path: Sequence[str], root: str) -> bool:
    """Is `leaf` (hex) the event `seq` (1-based) of the ledger with this size and root? Bad hex: no."""
    hashes = _unhex([leaf, root, *path])
    return hashes is not None and verify_inclusion_path(hashes[0], seq - 1, size, hashes[2:], hashes[1])


def verify_consistency(size1: int, size2: int, root1: str, root2: str, path: Sequence[str]) -> bool:
    """Are the first `size1` events under `root2` exactly those under `root1`? Bad hex: no."""
    hashes = _unhex([root1, root2, *path])
    return hashes is not None and verify_consistency_path(size1, size2, hashes[0], hashes[1], hashes[2:])


def export_lines(ledger: str, leaves: Sequence[bytes], events: Sequence[Event]) -> Iterator[str]:
    """A header (ledger, size, root, number of events), then one line per event with its audit path."""
    tree = Tree(leaves)
    yield canonical_text(
        {
            "format": _EXPORT_FORMAT,
            "ledger": ledger,
            "size": tree.size,
            "root": tree.root().hex(),
            "events": len(events),
        }
    )
    for event in events:
        path: list[JSON] = [h.hex() for h in tree.inclusion(event.seq - 1, tree.size)]
        yield canonical_text({**asdict(event), "path": path})


def verify_export(lines: Iterable[str]) -> Exported:
    """The exported events, each proved to be under the header's root.

    Raises LedgerTampered naming the first bad event (seq 0: the header) for a changed, missing, added or
    reordered line. That nothing was changed is proved; that the session is complete is the exporter's word.
    """
    source = iter(lines)
    try:
        header = _object(next(source, ""), 0)
        count, size, root, ledger = (header[k] for k in ("events", "size", "root", "ledger"))
        if header.get("format") != _EXPORT_FORMAT or type(count) is not int or type(size) is not int:
            raise tampered(0, "the header is not that of an export")
        if not isinstance(root, str) or not isinstance(ledger, str):
            raise tampered(0, "the header names no root or no ledger")
        events: list[Event] = []
        for line in source:
            events.append(_exported(line, after=events[-1].seq if events else 0, size=size, root=root))
    except KeyError as error:
        raise tampered(0, f"a field is missing: {error}") from error
    if len(events) != count:
        raise tampered(
            events[-1].seq + 1 if events else 1,
            f"the header counts {count} events and {len(events)} are there",
        )
    return Exported(ledger, size, root, tuple(events))


def _exported(line: str, *, after: int, size: int, root: str) -> Event:
    value = _object(line, after + 1)
    seq = value.get("seq")
    where = seq if type(seq) is int and seq > 0 else after + 1
    try:
        path = [item for item in cast(list[object], value["path"]) if isinstance(item, str)]
        raw = [value[k] for k in ("seq", "session", "name", "v", "t_ms", "boot", "up_ms", "wall_ms")]
        leaf, last = bytes.fromhex(cast(str, value["leaf"])), bytes.fromhex(cast(str, value["hash"]))
        salt = bytes.fromhex(cast(str, value.get("salt", "")))
        body = ERASED if len(salt) == HASH_BYTES else canonical_text(value["body"])
        event = read_row(cast(Row, (*raw, body, leaf, last, salt)))
    except LedgerTampered:
        raise
    except (KeyError, TypeError, ValueError, LedgerError) as error:
        raise tampered(where, "its line is not that of an exported event") from error
    if event.seq <= after or not verify_inclusion(event.leaf, event.seq, size, path, root):
        raise tampered(where, "it is not under the header's root")
    return event


def _object(line: str, seq: int) -> dict[str, JSON]:
    try:
        value = parse(line)
    except ValueError as error:
        raise tampered(seq, "a line is not JSON") from error
    if not isinstance(value, dict):
        raise tampered(seq, "a line is not a JSON object")
    return value


def _unhex(texts: Sequence[str]) -> list[bytes] | None:
    try:
        return [bytes.fromhex(text) for text in texts]
    except (ValueError, TypeError):
        return None
