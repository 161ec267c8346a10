"""Where does the ledger end, as the next event continues it?"""

from dataclasses import dataclass

from veilig.core.ledger_event import tampered
from veilig.core.ledger_tree import EMPTY, HASH_BYTES, Frontier


@dataclass(frozen=True, slots=True)
class Head:
    """The last event's hash and times, and the tree over all leaves."""

    hash: bytes
    t_ms: int = 0
    boot: str = ""
    up_ms: int = 0
    frontier: Frontier = EMPTY

    @property
    def size(self) -> int:
        """How many events there are."""
        return self.frontier.size


def head_of(row: tuple[int, bytes, int, str, int, bytes] | None) -> Head:
    """The head of a stored row (size, hash, t_ms, boot, up_ms, peaks). Raises LedgerTampered."""
    try:
        if row is None:
            raise ValueError("no row")
        size, last, t_ms, boot, up_ms, peaks = row
        if len(last) != HASH_BYTES:
            raise ValueError("the hash has another length")
        return Head(last, t_ms, boot, up_ms, Frontier.unpack(size, peaks))
    except (TypeError, ValueError) as error:
        raise tampered(1, "the head row is missing or damaged") from error
