"""How does another program talk with us over standard input and output? Calls both ways, side by side."""

import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from veilig.core.errors import EXIT_OK, UsageError, VeiligError
from veilig.core.jsonrpc import (
    INVALID_REQUEST,
    LINE_BYTES_MAX,
    BadLine,
    Call,
    Id,
    Notice,
    Reply,
    RpcError,
    call_line,
    error_line,
    parse,
    result_line,
)


class Handler(Protocol):
    """Who answers. `handle` may take its time; `notice` must not."""

    async def handle(self, peer: "Peer", call: Call) -> Mapping[str, Any]: ...

    def notice(self, peer: "Peer", notice: Notice) -> None: ...


class Peer:
    """One conversation, from the first line to the end of input."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._tasks: dict[Id, asyncio.Task[None]] = {}
        self._dropped: set[Id] = set()
        self._waiting: dict[Id, asyncio.Future[Any]] = {}
        self._number = 0

    async def serve(self) -> None:
        """Answer until the other side closes; what still runs is then stopped."""
        try:
            while True:
                try:
                    line = await self._reader.readuntil(b"\n")
                except asyncio.IncompleteReadError as error:
                    line = error.partial  # the last line may lack its end
                    if not line.strip():
                        return
                except asyncio.LimitOverrunError:
                    self._write(
                        error_line(None, BadLine("this line is too long to be read", code=INVALID_REQUEST))
                    )
                    return  # where the next message begins is not known
                if line.strip():
                    self._take(line)
                await self._writer.drain()
        except ConnectionError:
            return  # the other side is gone: there is nobody to tell
        finally:
            await self._close()

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Say something that wants no answer."""
        self._write(call_line(Notice(method, params)))

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Ask the other side. Raises RpcError when it answers with an error or goes away."""
        self._number += 1
        waits = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = waits
        try:
            self._write(call_line(Call(self._number, method, params)))
            return await waits
        finally:
            self._waiting.pop(self._number, None)

    def drop(self, call: object) -> None:
        """Stop answering a call that the other side does not want answered any more."""
        task = self._tasks.get(call) if isinstance(call, str | int) else None
        if task is not None and isinstance(call, str | int):
            self._dropped.add(call)
            task.cancel()

    def _take(self, line: bytes) -> None:
        try:
            message = parse(line)
        except BadLine as error:
            self._write(error_line(error.id, error))
            return
        match message:
            case Call() if message.id in self._tasks:
                self._write(error_line(message.id, RpcError("this id is in use", code=INVALID_REQUEST)))
            case Call():
                self._tasks[message.id] = asyncio.create_task(self._answer(message))
            case Notice():
                self._handler.notice(self, message)
            case Reply():
                waits = self._waiting.get(message.id)
                if waits is not None and not waits.done():
                    if message.error is None:
                        waits.set_result(message.result)
                    else:
                        waits.set_exception(RpcError(message.error[1], code=message.error[0]))

    async def _answer(self, call: Call) -> None:
        try:
            line = result_line(call.id, dict(await self._handler.handle(self, call)))
        except VeiligError as error:
            line = error_line(call.id, error)
        except asyncio.CancelledError:
            if call.id in self._dropped:
                return
            raise
        except Exception as error:  # our own bug: whoever waits is told, the log has the rest
            logging.getLogger(__name__).exception("%s failed", call.method)
            line = error_line(call.id, RpcError(f"{call.method} failed: {type(error).__name__}"))
        finally:
            self._tasks.pop(call.id, None)
            self._dropped.discard(call.id)
        self._write(line)

    def _write(self, line: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(line)

    async def _close(self) -> None:
        for waits in self._waiting.values():
            if not waits.done():
                waits.set_exception(RpcError("the other side is gone"))
        running = list(self._tasks.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._writer.close()


def serve_stdio(handler: Handler, what: str) -> int:
    """Serve over standard input and output until the input ends. What else would print goes to the errors.

    Raises UsageError when they are no pipes.
    """
    wire = os.dup(sys.stdout.fileno())
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # one stray word on the wire would end the talk
    asyncio.run(_serve(handler, wire, what))
    return EXIT_OK


async def _serve(handler: Handler, wire: int, what: str) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    try:
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(wire, "wb", 0)
        )
    except ValueError as error:
        raise UsageError(
            f"{what} talks with another program over pipes", why=str(error), fix="let that program start it"
        ) from error
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    await Peer(reader, writer, handler).serve()
