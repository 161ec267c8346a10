"""How does a reader hear of a commit on another machine? By NOTIFY; a look every second catches the rest."""

import asyncio
import hashlib
import threading
from typing import TYPE_CHECKING, Any

from veilig.core.errors import LedgerError
from veilig.stores.address import Address
from veilig.stores.postgres_link import connect
from veilig.stores.postgres_look import ledger_row

if TYPE_CHECKING:
    from psycopg import Connection

FALLBACK_S = 1.0  # a notification can be lost (a fail-over, a pooler in between): look anyway
_WAIT_S = 0.5  # how long the thread takes to see that it shall end


def channel_of(ledger_id: str) -> str:
    """The channel's name tells nobody whose ledger it is."""
    return "veilig_" + hashlib.sha256(ledger_id.encode()).hexdigest()[:32]


class Listener:
    """One connection and one thread per open ledger, from the first time that somebody waits."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._told = 0
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._thread: threading.Thread | None = None
        self._end = threading.Event()

    async def change(self, looked: int, poll_s: float) -> None:
        """Return once the ledger has more than `looked` events as far as is known, or after a while."""
        one = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if self._thread is None and not self._end.is_set():
                self._thread = threading.Thread(target=self._listen, name="veilig-listen", daemon=True)
                self._thread.start()
            if self._told > looked:
                return
            self._waiting.add(one)
        try:
            await asyncio.wait_for(one[1].wait(), max(poll_s, FALLBACK_S))
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard(one)

    def close(self) -> None:
        """End the thread; nobody waits any longer."""
        self._end.set()
        self._wake(0)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _listen(self) -> None:
        import psycopg

        while not self._end.is_set():
            try:
                with connect(self._address) as db:
                    self._hear(db)
            except (LedgerError, psycopg.Error):
                self._end.wait(FALLBACK_S)  # the readers look by themselves meanwhile

    def _hear(self, db: "Connection[Any]") -> None:
        from psycopg import sql

        identity = ledger_row(db, self._address)[0]
        db.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel_of(identity))))
        while not self._end.is_set():
            for told in db.notifies(timeout=_WAIT_S, stop_after=1):
                self._wake(int(told.payload) if told.payload.isdigit() else 0)

    def _wake(self, size: int) -> None:
        with self._lock:
            self._told = max(self._told, size)
            for loop, event in self._waiting:
                try:
                    loop.call_soon_threadsafe(event.set)
                except RuntimeError:  # its loop has ended: nobody waits there
                    continue
