"""How do many waiting callers share one commit?"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from veilig.core.errors import LedgerError
from veilig.core.ledger_store import Done, LedgerStore
from veilig.core.ledger_tx import Tx

BATCH_MAX = 256  # one transaction holds other processes up for no longer than this many requests


@dataclass(frozen=True, slots=True)
class _Request:
    fn: Callable[[Tx], object]
    durable: bool
    future: Future[object] = field(default_factory=Future[object])


class GroupCommit:
    """One thread that takes whatever waits and commits it together; started by the first request.

    A request that its caller cancelled before its turn is not run. After its turn it is in the
    ledger, whether the caller still waits or not.
    """

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def submit(self, fn: Callable[[Tx], object], *, durable: bool) -> object:
        """What `fn` returned, after its commit. `fn` runs in the writer's thread. Raises what it raised."""
        request = _Request(fn, durable)
        with self._lock:
            if self._closed:
                raise _closed()
            if self._thread is None:
                # A daemon: a program that forgets to close still ends; nobody was told the rest is recorded.
                self._thread = threading.Thread(target=self._work, name="veilig-ledger", daemon=True)
                self._thread.start()
            self._waiting.put(request)
        return await asyncio.wrap_future(request.future)

    def close(self) -> None:
        """Let the running commit end, give LedgerError to everyone behind it, and join the thread."""
        with self._lock:
            self._closed = True
            thread = self._thread
            for request in self._drain():
                if request.future.set_running_or_notify_cancel():
                    request.future.set_exception(_closed())
            self._waiting.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [r for r in (first, *self._drain()) if r.future.set_running_or_notify_cancel()]
            if batch:
                self._commit(batch)

    def _drain(self) -> list[_Request]:
        found: list[_Request] = []
        while len(found) < BATCH_MAX - 1 or self._closed:
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                break
            if request is None:
                self._waiting.put(None)  # the end, for the thread to see
                break
            found.append(request)
        return found

    def _commit(self, batch: list[_Request]) -> None:
        try:
            results = self._store.run([r.fn for r in batch], durable=any(r.durable for r in batch))
        except BaseException as error:  # noqa: BLE001  # handed to the callers who wait
            for request in batch:
                request.future.set_exception(error)
            return
        for request, result in zip(batch, results, strict=True):
            if isinstance(result, Done):
                request.future.set_result(result.value)
            else:
                request.future.set_exception(result.error)


def _closed() -> LedgerError:
    return LedgerError(
        "the ledger is closed", why="this request was not recorded", fix="open it again and repeat it"
    )
