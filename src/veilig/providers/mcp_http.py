"""How is an MCP server on another machine talked to? Over streamable HTTP, one call at a time.

Each message is a POST; the answer comes as JSON or as a stream of events. The request leaves from outside
the wall: the operator's policy names the address, and nobody else can. No redirect is followed, certificates
are checked, the bounds are ours.
Source: modelcontextprotocol.io, revision 2025-11-25, streamable HTTP.
"""

import asyncio
import http.client
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from veilig.core.errors import ProviderError, UsageError
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
    members,
    parse,
    result_line,
)
from veilig.core.policy_model import McpServer
from veilig.providers.mcp_server import VERSION

CONNECT_S = 20.0
READ_S = 600.0  # between two parts of an answer; the act's own bound ends it before
SAID_CHARS = 300
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Remote:
    """One server, from its greeting to its end; the same methods as a server that runs in the box."""

    def __init__(
        self, server: McpServer, environment: Mapping[str, str], mark: Callable[[str, str], object] | None
    ) -> None:
        self._name = server.name
        self._place = urlsplit(server.url)
        self._headers = _headers(server, environment, mark)
        self._session = ""
        self._version = ""
        self._number = 0
        self._standing = False
        self._one = asyncio.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._standing

    def said(self) -> str:
        """It has no error output of its own."""
        return "it said nothing"

    async def start(self) -> None:
        """Greet it. Raises ProviderError when it does not answer as a server would."""
        self._standing = True
        params = {
            "protocolVersion": VERSION,
            "capabilities": {},
            "clientInfo": {"name": "veilig", "version": "1"},
        }
        try:
            greeting = members(await self.ask("initialize", params)) or {}
            self._version = str(greeting.get("protocolVersion") or VERSION)
            await asyncio.to_thread(self._send, call_line(Notice("notifications/initialized")))
        except ProviderError:
            self._standing = False
            raise

    async def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """Its answer. Raises ProviderError when it answers with an error, or not at all."""
        async with self._one:
            self._number += 1
            number = self._number
            try:
                return await asyncio.to_thread(self._send, call_line(Call(number, method, params)), number)
            except asyncio.CancelledError:
                self._hang_up()
                raise
            except RpcError as error:
                raise ProviderError(
                    f"the MCP server {self._name!r} refuses {method}", why=error.what
                ) from error

    async def stop(self) -> None:
        """Say good-bye, as far as it listens."""
        self._hang_up()
        if self._session:
            await asyncio.to_thread(self._forget)
        self._standing = False

    # --- in a thread ---------------------------------------------------------------------------------

    def _send(self, line: bytes, number: int = 0) -> Any:
        """POST one message; for a call (its number given) the result of its answer."""
        connection = self._connect()
        try:
            connection.request("POST", self._target(), line.rstrip(b"\n"), self._all_headers())
            response = connection.getresponse()
            self._session = response.getheader("Mcp-Session-Id") or self._session
            if response.status >= 300:
                raise self._refused(response)
            if not number:
                return None
            for message in _messages(response):
                if isinstance(message, Reply) and message.id == number:
                    if message.error is not None:
                        raise RpcError(message.error[1], code=message.error[0])
                    return message.result
                if isinstance(message, Call):
                    self._answer(message)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ProviderError(
                f"the MCP server {self._name!r} does not answer",
                why=f"{self._place.netloc}: {type(error).__name__}: {error}",
            ) from error
        finally:
            self._close(connection)
        raise ProviderError(f"the MCP server {self._name!r} closed the connection before its answer")

    def _answer(self, call: Call) -> None:
        """Its own questions (sampling, roots) are declined; a ping is answered."""
        refusal = RpcError("this client offers no such thing", code=NO_SUCH_METHOD)
        self._send(result_line(call.id, {}) if call.method == "ping" else error_line(call.id, refusal))

    def _refused(self, response: http.client.HTTPResponse) -> ProviderError:
        text = " ".join(response.read(4000).decode("utf-8", "replace").split())[:SAID_CHARS]
        if response.status == 404 and self._session:  # the server has forgotten us: the next call greets anew
            self._session, self._standing = "", False
        fix = "see mcp.servers[].headers in your veilig.yaml" if response.status in (401, 403) else ""
        return ProviderError(
            f"the MCP server {self._name!r} answers with HTTP {response.status}", why=text, fix=fix
        )

    def _forget(self) -> None:
        connection = self._connect(5.0)
        try:
            connection.request("DELETE", self._target(), headers=self._all_headers())
            connection.getresponse().read(0)
        except (OSError, http.client.HTTPException):
            return  # it is gone, or keeps no sessions: there is nothing to end
        finally:
            self._close(connection)

    def _connect(self, read_s: float = READ_S) -> http.client.HTTPConnection:
        host, port = str(self._place.hostname), self._place.port
        if self._place.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_S)
        with self._lock:
            self._open.add(connection)
        try:
            connection.connect()
        except OSError as error:
            self._close(connection)
            raise ProviderError(
                f"the MCP server {self._name!r} cannot be reached",
                why=f"{self._place.netloc}: {error}",
            ) from error
        connection.sock.settimeout(read_s)
        return connection

    def _close(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()

    def _hang_up(self) -> None:
        """Wake a thread that waits for an answer nobody wants any more."""
        with self._lock:
            waiting = [*self._open]
        for connection in waiting:
            if connection.sock is not None:
                try:
                    connection.sock.shutdown(2)
                except OSError:
                    continue  # closed meanwhile

    def _target(self) -> str:
        return (self._place.path or "/") + (f"?{self._place.query}" if self._place.query else "")

    def _all_headers(self) -> dict[str, str]:
        own = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self._session:
            own["Mcp-Session-Id"] = self._session
        if self._version:
            own["MCP-Protocol-Version"] = self._version
        return {**self._headers, **own}


def _headers(
    server: McpServer, environment: Mapping[str, str], mark: Callable[[str, str], object] | None
) -> dict[str, str]:
    """The headers with variables put in; their values are secrets from now on. Raises ProviderError."""
    found: dict[str, str] = {}
    for header, text in server.headers:
        for variable in _VARIABLE.findall(text):
            value = environment.get(variable, "")
            if not value or "\n" in value or "\r" in value:
                raise ProviderError(
                    f"the header {header} of the MCP server {server.name!r} has no value",
                    why=f"the variable {variable} is not set, or is no single line",
                    fix=f"export {variable}=...",
                )
            try:
                if mark is not None:
                    mark(value, variable)
            except UsageError as error:
                raise ProviderError(f"{variable} is no secret", why=error.what, fix=error.fix) from error
        found[header] = _VARIABLE.sub(lambda m: environment[m[1]], text)
    return found


def _messages(response: http.client.HTTPResponse) -> Iterator[Call | Notice | Reply]:
    """The messages of an answer, as JSON or as events; what is none is passed over."""
    if not (response.getheader("Content-Type") or "").startswith("text/event-stream"):
        data = response.read(LINE_BYTES_MAX + 1)
        if len(data) > LINE_BYTES_MAX:
            raise ValueError(f"more than {LINE_BYTES_MAX} bytes")
        yield from _parsed(data)
        return
    total, data_lines = 0, list[bytes]()
    while line := response.readline(LINE_BYTES_MAX):
        total += len(line)
        if total > LINE_BYTES_MAX:
            raise ValueError(f"more than {LINE_BYTES_MAX} bytes")
        bare = line.rstrip(b"\r\n")
        if bare.startswith(b"data:"):
            data_lines.append(bare[5:].removeprefix(b" "))
        elif not bare and data_lines:
            yield from _parsed(b"\n".join(data_lines))
            data_lines = []


def _parsed(data: bytes) -> Iterator[Call | Notice | Reply]:
    try:
        json.loads(data)
        yield parse(data)
    except (BadLine, ValueError):
        return  # the call that waits ends with the stream, and says so
