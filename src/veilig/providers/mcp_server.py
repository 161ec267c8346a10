"""How is one MCP server run in the box and talked to? A process with pipes, and one call at a time."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from veilig.core.errors import ProviderError
from veilig.core.jsonrpc import (
    LINE_BYTES_MAX,
    NO_SUCH_METHOD,
    BadLine,
    Call,
    Notice,
    Reply,
    RpcError,
    call_line,
    error_line,
    parse,
    result_line,
)
from veilig.providers.box import Box

VERSION = "2025-11-25"
LIFE_S = 3600.0  # the policy's wall_s may be shorter; a server that ended is started again
SAID_BYTES = 4000  # of its error output, for the message when it fails
STOP_S = 5.0  # after the end of its input, before it is killed


class Running:
    """One server from its start to its end."""

    def __init__(self, name: str, box: Box, argv: tuple[str, ...]) -> None:
        self._name = name
        self._box = box
        self._argv = argv
        self._task: asyncio.Task[None] | None = None
        self._pipe: asyncio.WriteTransport | None = None
        self._heard = bytearray()
        self._errors = bytearray()
        self._waiting: dict[int | str, asyncio.Future[Any]] = {}
        self._number = 0
        self._ended = ""

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._task is not None and not self._task.done()

    def said(self) -> str:
        """The end of its error output, and how it ended."""
        text = bytes(self._errors).decode("utf-8", "replace").strip()
        return "; ".join(part for part in (self._ended, text) if part) or "it said nothing"

    async def start(self) -> None:
        """Start it and greet it. Raises ProviderError when it does not answer as a server would."""
        read, write = os.pipe2(os.O_CLOEXEC)
        transport, _ = await asyncio.get_running_loop().connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(write, "wb", 0)
        )
        self._pipe = transport
        self._task = asyncio.create_task(self._run(read))
        params = {
            "protocolVersion": VERSION,
            "capabilities": {},
            "clientInfo": {"name": "veilig", "version": "1"},
        }
        await self.ask("initialize", params)
        self._send(call_line(Notice("notifications/initialized")))

    async def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """Its answer. Raises ProviderError when it answers with an error or ends."""
        if not self.alive:
            raise self._gone()
        self._number += 1
        number = self._number
        waits: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waits
        try:
            self._send(call_line(Call(number, method, params)))
            return await waits
        except asyncio.CancelledError:
            self._send(call_line(Notice("notifications/cancelled", {"requestId": number})))
            raise
        except RpcError as error:
            raise ProviderError(f"the MCP server {self._name!r} refuses {method}", why=error.what) from error
        finally:
            self._waiting.pop(number, None)

    async def stop(self) -> None:
        """End its input, then end it."""
        if self._pipe is not None:
            self._pipe.close()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=STOP_S)
            if not done:
                self._task.cancel()
                await asyncio.wait({self._task})

    async def _run(self, read: int) -> None:
        try:
            done = await self._box.run(self._argv, stdin=read, timeout_s=LIFE_S, on_output=self._hear)
            self._ended = f"it ended with {done.exit_code if done.exit_code is not None else done.reason}"
        except ProviderError as error:
            self._ended = error.what + (f" ({error.why})" if error.why else "")
        finally:
            os.close(read)
            if self._pipe is not None:
                self._pipe.close()
            for waits in self._waiting.values():
                if not waits.done():
                    waits.set_exception(self._gone())

    def _gone(self) -> ProviderError:
        return ProviderError(
            f"the MCP server {self._name!r} is not there",
            why=self.said(),
            fix="its program must be visible inside the wall: a system folder or the project's interpreter",
        )

    def _hear(self, stream: int, data: bytes) -> None:
        if stream == 2:
            self._errors += data
            del self._errors[:-SAID_BYTES]
            return
        self._heard += data
        *lines, rest = self._heard.split(b"\n")
        self._heard = bytearray(rest)
        if len(rest) > LINE_BYTES_MAX:
            raise ProviderError(f"the MCP server {self._name!r} sends a line without end")
        for line in lines:
            if line.strip():
                self._take(bytes(line))

    def _take(self, line: bytes) -> None:
        try:
            message = parse(line)
        except BadLine:
            return  # servers print what is no message; the call that waits has its own bound
        match message:
            case Reply():
                waits = self._waiting.get(message.id)
                if waits is not None and not waits.done():
                    if message.error is None:
                        waits.set_result(message.result)
                    else:
                        waits.set_exception(RpcError(message.error[1], code=message.error[0]))
            case Call(method="ping"):
                self._send(result_line(message.id, {}))
            case Call():  # sampling, roots, questions to people: nothing of it is offered
                refusal = RpcError("this client offers no such thing", code=NO_SUCH_METHOD)
                self._send(error_line(message.id, refusal))
            case Notice():
                pass

    def _send(self, line: bytes) -> None:
        if self._pipe is not None and not self._pipe.is_closing():
            self._pipe.write(line)
