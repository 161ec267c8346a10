"""How do we talk to the process inside the box? One socket, small messages, descriptors beside them."""

import array
import asyncio
import fcntl
import json
import os
import socket
import struct
import time
from typing import Any

from veilig.core.errors import ProviderError, SandboxUnavailable

Message = dict[str, Any]
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_CREDENTIALS = struct.Struct("=iII")  # pid, uid, gid: SCM_CREDENTIALS of Linux


def sealed(name: str, content: bytes) -> int:
    """A descriptor from which exactly `content` can be read, by whoever gets it, and nothing be written."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def pair() -> tuple[socket.socket, socket.socket]:
    """Our end, which learns who speaks at the other one, and theirs."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    hear(ours)
    return ours, theirs


def hear(ours: socket.socket) -> None:
    """Make a socket ready for `Channel`."""
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    ours.setblocking(False)


class Channel:
    """The outside end of the control socket. Belongs to the event loop it was made in."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._first: asyncio.Queue[tuple[Message, int]] = asyncio.Queue()
        self._number = 0
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(control.fileno(), self._hear)

    async def hello(self, *, timeout_s: float) -> int:
        """The process id of the box, as we see it. Raises SandboxUnavailable when it does not speak."""
        return (await self._greeting("hello", timeout_s))[1]

    async def configure(self, config: Message, *, timeout_s: float) -> None:
        """Hand over the configuration; returns when the box is ready. Raises SandboxUnavailable."""
        fd = sealed("veilig-config", json.dumps(config).encode())
        try:
            self._send({"op": "begin"}, [fd])
        finally:
            os.close(fd)
        await self._greeting("ready", timeout_s)

    async def _greeting(self, word: str, timeout_s: float) -> tuple[Message, int]:
        getter = asyncio.ensure_future(self._first.get())
        deadline_s = time.monotonic() + timeout_s
        try:
            waiting = {getter, self.ended}
            await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if getter.done() and getter.result()[0].get("op") == word:
                return getter.result()
        finally:
            getter.cancel()
        late = time.monotonic() >= deadline_s
        raise SandboxUnavailable(
            f"the process inside the box did not say {word!r}",
            why=f"no word within {timeout_s} s" if late else "it ended while it was being set up",
            fix="run `veilig doctor` to see which wall stands on this machine",
        )

    def run(
        self, request: Message, stdin: int, stdout: int, stderr: int
    ) -> tuple[int, asyncio.Future[Message]]:
        """Start a command; the future is its `exit` or `failed` message. Raises ProviderError when gone."""
        self._number += 1
        future: asyncio.Future[Message] = self._loop.create_future()
        fd = sealed("veilig-request", json.dumps(request).encode())
        try:
            self._send({"op": "run", "id": self._number}, [fd, stdin, stdout, stderr])
        finally:
            os.close(fd)
        self._waiting[self._number] = future
        return self._number, future

    def kill(self, number: int, reason: str) -> None:
        """Ask for the end of a command; its future still brings how it ended."""
        if not self.ended.done():
            self._send({"op": "kill", "id": number, "reason": reason}, [])

    def _send(self, message: Message, fds: list[int]) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._control.sendmsg([json.dumps(message).encode()], ancillary)
        except OSError as error:
            raise ProviderError(
                "the sandbox does not take commands any more",
                why=f"its control socket says: {error}",
                fix="stand up a new sandbox; what ran in the old one is gone",
            ) from error

    def _hear(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self._control.recvmsg(65536, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return
            except OSError:
                data, ancillary = b"", []
            if not data:
                self._end()
                return
            message: Message = json.loads(data)
            if "id" in message:
                future = self._waiting.pop(message["id"], None)
                if future is not None and not future.done():
                    future.set_result(message)
                continue
            pid = 0
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    pid = int(_CREDENTIALS.unpack_from(payload)[0])
            self._first.put_nowait((message, pid))

    def _end(self) -> None:
        if self._control.fileno() >= 0:
            self._loop.remove_reader(self._control.fileno())
        if not self.ended.done():
            self.ended.set_result(None)
        for future in self._waiting.values():
            if not future.done():
                future.set_result({"op": "lost"})
        self._waiting.clear()

    def close(self) -> None:
        """Hang up: the box ends everything in it and goes."""
        self._end()
        self._control.close()
