"""What must a place be able to do that keeps a ledger?

Two do: a file (`ledger_sqlite`, the default) and PostgreSQL (`stores`). The law is the same on both: one
writer at a time per ledger, all or nothing, one chain, and what is durable stays.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from veilig.core.errors import LedgerError
from veilig.core.ledger_checkpoint import Checkpoint
from veilig.core.ledger_event import Row
from veilig.core.ledger_head import Head
from veilig.core.ledger_tx import Tx

LEDGER_SESSION = "ledger"  # the ledger's facts about itself


@dataclass(frozen=True, slots=True)
class Done:
    """What a request returned; it is in the ledger."""

    value: object


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a request left nothing in the ledger."""

    error: BaseException


class WriterTurn:
    """A ledger's writers go one after another, and none after `close`. `with turn:` is one turn.

    Raises LedgerError when the ledger is closed, or when whoever has the turn asks for another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._closed = False

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise LedgerError(
                "a transaction was started inside a transaction",
                why="both would wait for each other",
                fix="use the Tx at hand",
            )
        self._lock.acquire()
        if self._closed:
            self._lock.release()
            raise LedgerError("the ledger is closed", fix="open it again")
        self._owner = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._owner = 0
        self._lock.release()

    def close(self, release: Callable[[], object]) -> None:
        """Wait for the turn under way, then `release` what a writer needs. A second call does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                release()


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """What the ledger holds of one session; wall times are for people."""

    session: str
    events: int
    first_seq: int
    last_seq: int
    first_wall_ms: int
    last_wall_ms: int
    last_name: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of one ledger are: `ledger` is a path or an address without its password."""

    ledger: Path | str
    anchor: Path
    checkpoints: Path
    key: Path


def places_of(ledger: Path | str, anchor_dir: Path, ledger_id: str) -> Places:
    """The paths that belong to a ledger, by its id."""
    return Places(
        ledger,
        anchor_dir / f"{ledger_id}.head",
        anchor_dir / f"{ledger_id}.checkpoints",
        anchor_dir.parent / "keys" / "ledger.key",
    )


class Snapshot(Protocol):
    """Everything that is stored, as of one moment: for verifying and for moving."""

    id: str

    @property
    def place(self) -> Path | str: ...

    def rows(self, after: int = 0) -> Iterator[Row]:
        """All rows in the order of their numbers. Raises LedgerError."""
        ...

    def head(self) -> Head:
        """The stored head. Raises LedgerTampered."""
        ...

    def counters(self) -> set[tuple[str, int, int]]:
        """(key, t_ms, seq) of every budget key."""
        ...

    def claims(self) -> set[tuple[str, int]]:
        """(key, seq) of every claim."""
        ...

    def leases(self) -> set[tuple[str, int, int]]:
        """(session, token, seq) of every lease."""
        ...

    def checkpoints(self) -> list[Checkpoint]:
        """Those that are stored beside the events (a store of several machines keeps them for all)."""
        ...

    def damage(self) -> str:
        """What the store itself finds wrong with its files; empty for nothing."""
        ...


class LedgerStore(Protocol):
    """One open store. Every method may raise LedgerError.

    id: names the anchors and starts the chain. place: what people are shown, never with a password.
    far: whether a call may wait for a network, so that an event loop keeps away from it.
    """

    id: str
    far: bool

    @property
    def place(self) -> Path | str: ...

    @property
    def closed(self) -> bool: ...

    def run(self, requests: Sequence[Callable[[Tx], object]], *, durable: bool) -> list[Done | Failed]:
        """Run each request in one common transaction; one that fails takes only itself back.

        Nothing is returned before the commit. A request may be run again when the commit failed: it acts
        through its Tx only. Raises LedgerError when no request could be committed.
        """
        ...

    def checkpoint(self) -> Checkpoint:
        """Sign what is in the ledger now, after making it durable. Raises LedgerError for an empty one."""
        ...

    def rows(
        self, session: str | None, names: Collection[str] | None, after: int, limit: int
    ) -> tuple[list[Row], LedgerError | None]:
        """Committed rows with seq > `after`; those before the first unreadable one, and its error."""
        ...

    def newest(self, session: str) -> int:
        """The seq of a session's last event; 0 for none."""
        ...

    def sessions(self) -> list[SessionSummary]:
        """Every session, by its first event."""
        ...

    def size(self) -> int:
        """How many events are committed."""
        ...

    def leaves(self, after: int = 0) -> list[bytes]:
        """The leaf hashes of the events with seq > `after`, in order."""
        ...

    def version(self) -> object:
        """Another value after every commit by anybody."""
        ...

    def stamp(self) -> tuple[int, int] | None:
        """As `version`, too cheap to be asked: None when only a real look tells."""
        ...

    async def change(self, poll_s: float) -> None:
        """Return when there may be something new: soon after a commit, and after about `poll_s` anyway."""
        ...

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """A frozen look at everything."""
        ...

    def erase(self, seqs: Sequence[int], said: Callable[[Tx], object]) -> None:
        """Replace these bodies by their commitments and record `said`, in one durable transaction."""
        ...

    def close(self) -> None:
        """Release everything. A second call does nothing."""
        ...
