"""Which ledger is opened for a name: a file, or an organisation's ledger in a database?"""

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from veilig.core.clock import Clock
from veilig.core.errors import LedgerError
from veilig.core.ledger import Ledger
from veilig.core.ledger_file import file_id, file_moved_to
from veilig.core.ledger_sqlite import file_snapshot
from veilig.core.ledger_store import Places, Snapshot, places_of
from veilig.core.limits import CHECKPOINT_EVENTS
from veilig.stores.address import Address


def open_ledger(
    place: Path | Address,
    *,
    anchor_dir: Path,
    clock: Clock | None = None,
    create: bool = True,
    checkpoint_events: int = CHECKPOINT_EVENTS,
) -> Ledger:
    """The ledger at `place`; as `Ledger.open`. A database is never prepared by opening it."""
    if isinstance(place, Path):
        return Ledger.open(
            place, anchor_dir=anchor_dir, clock=clock, create=create, checkpoint_events=checkpoint_events
        )
    from veilig.stores.postgres import ServerStore
    from veilig.stores.postgres_link import driver

    driver()
    return Ledger(ServerStore.open(place, anchor_dir, clock, checkpoint_events=checkpoint_events))


def snapshot_of(place: Path | Address) -> AbstractContextManager[Snapshot]:
    """A frozen look at what is stored; nothing is compared with anything. Raises LedgerError."""
    if isinstance(place, Path):
        return file_snapshot(place)
    from veilig.stores.postgres_link import driver
    from veilig.stores.postgres_look import server_snapshot

    driver()
    return server_snapshot(place)


def places_at(place: Path | Address, anchor_dir: Path) -> Places:
    """Where the anchor, checkpoints and key of the ledger at `place` are. Raises LedgerError."""
    if isinstance(place, Path):
        if gone := file_moved_to(place):
            raise LedgerError(
                f"the ledger {str(place)!r} was moved to {gone}",
                why="it went on there, and its anchor with it",
                fix=f"verify it there: veilig ledger --ledger '{gone}' verify",
            )
        return places_of(place, anchor_dir, file_id(place))
    with snapshot_of(place) as found:
        return places_of(str(place), anchor_dir, found.id)


def looks(place: Path | Address) -> "partial[AbstractContextManager[Snapshot]]":
    """`snapshot_of` for `verify_store` and `adopt_store`."""
    return partial(snapshot_of, place)


def need_file(place: Path | Address) -> Path:
    """The path. Raises LedgerError for a database."""
    if isinstance(place, Path):
        return place
    raise LedgerError(f"the ledger {place} is no file", fix="name a file")
