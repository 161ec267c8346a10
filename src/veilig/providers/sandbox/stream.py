"""What does a command say, how much of it is kept, and what if a daemon goes on talking? The output pipes."""

import asyncio
import os
from collections import deque
from collections.abc import Callable

READ_BYTES = 1 << 16  # what a pipe holds


class Kept:
    """Head and tail of a stream, at most `size` bytes together; the rest is counted."""

    def __init__(self, size: int) -> None:
        self._head_size = size // 2
        self._tail_size = size - self._head_size
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_held = 0
        self.total = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self.total += len(data)
        room = self._head_size - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail.append(data)
            self._tail_held += len(data)
            while self._tail_held - len(self._tail[0]) >= self._tail_size:
                self._tail_held -= len(self._tail.popleft())

    def content(self) -> bytes:
        """All of it, or head and tail with one line between them that says how many bytes are left out."""
        if self.total <= self._head_size + self._tail_size:
            return bytes(self._head) + b"".join(self._tail)
        tail = b"".join(self._tail)[-self._tail_size :]
        left_out = self.total - len(self._head) - len(tail)
        return bytes(self._head) + f"\n[veilig: {left_out} bytes left out]\n".encode() + tail


class Stream:
    """The read end of one pipe, read by the event loop until the command is done.

    A daemon may hold the write end for longer than its command lives. Closing the read end would kill the
    daemon at its next word (SIGPIPE), so after `release` what it says is read and dropped until it ends.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fd: int, kept: Kept, taken: Callable[[bytes], None]
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._kept = kept
        self._taken = taken
        self.released = False
        os.set_blocking(fd, False)
        loop.add_reader(fd, self._read)

    @property
    def closed(self) -> bool:
        """True once the last writer is gone or we hung up."""
        return self._fd < 0

    def _read(self) -> bool:
        """One read; False when there is nothing more for now."""
        if self._fd < 0:
            return False
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        if not self.released:
            self._kept.add(data)
            self._taken(data)
        return True

    def release(self, *, patience: int) -> None:
        """The command is done: take what is in the pipe now (at most `patience` bytes), then only drain."""
        for _ in range(patience // READ_BYTES + 1):
            if not self._read():
                break
        self.released = True

    def close(self) -> None:
        """Hang up."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
