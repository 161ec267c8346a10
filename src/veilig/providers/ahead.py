"""How are the next candidates made while the last ones run behind the wall?"""

import queue
import threading
from collections.abc import Iterator
from typing import Self

WAIT_S = 0.2  # how soon the maker sees that nobody wants more


class Ahead[T]:
    """An iterator over `source` whose items are made in a thread, at most `most` ahead of the reader.

    Use as a context manager: leaving it stops the thread. What the source raises, the reader gets.
    """

    def __init__(self, source: Iterator[T], most: int) -> None:
        self._source = source
        self._made: queue.Queue[T | _End] = queue.Queue(most)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._make, name="candidates", daemon=True)
        self._end: _End | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        one = self._end or self._made.get()
        if not isinstance(one, _End):
            return one
        self._end = one
        if one.error is not None:
            raise one.error
        raise StopIteration

    def _make(self) -> None:
        end = _End(None)
        try:
            for one in self._source:
                if not self._put(one):
                    return
        except Exception as error:  # noqa: BLE001  # it is raised again where the candidates are read
            end = _End(error)
        self._put(end)

    def _put(self, one: "T | _End") -> bool:
        while not self._stopped.is_set():
            try:
                self._made.put(one, timeout=WAIT_S)
            except queue.Full:
                continue
            return True
        return False


class _End:
    """The source is at its end, or broke."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
