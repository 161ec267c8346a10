"""How does a small endpoint take one bounded HTTP request and answer it? For metrics out and alerts in.

One request per connection, a few at a time, each with a deadline; nothing of it is interpreted here.
"""

import asyncio
import contextlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from veilig.core.errors import UsageError

HEAD_BYTES = 8 << 10
REQUEST_S = 5.0  # who needs longer to say what he wants is not served
AT_ONCE = 16
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request. headers: names in lower case. local: it came from this machine."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    local: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


type Answer = Callable[[Request], Awaitable[Reply]]


class _Bad(Exception):
    """This is no request that is answered; the reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body)
        self.reply = reply


def address(text: str) -> tuple[str, int]:
    """HOST:PORT of an endpoint. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{text!r} is no address", fix="write HOST:PORT, such as 127.0.0.1:9468")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Only this machine can reach an endpoint there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def serve(host: str, port: int, answer: Answer, *, body_bytes: int = 0) -> asyncio.Server:
    """Listen; `answer` gets each whole request. Raises UsageError when the address cannot be had."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply = Reply(503, "too many requests at once\n")
        try:
            if not slots.locked():
                async with slots, asyncio.timeout(REQUEST_S):
                    reply = await _answered(reader, writer, answer, body_bytes)
            writer.write(_bytes(reply))
            await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # who asked is gone, or never finished: there is nobody to tell
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    try:
        return await asyncio.start_server(talk, host, port, limit=HEAD_BYTES)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}", why=error.strerror or str(error)) from error


async def _answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer, body_bytes: int
) -> Reply:
    try:
        return await answer(await _request(reader, writer, body_bytes))
    except _Bad as bad:
        return bad.reply


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body_bytes: int) -> Request:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError as error:
        raise _Bad(Reply(413, "the head is too large\n")) from error
    first, *lines = head.split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _Bad(Reply(400, "this is no HTTP request\n"))
    headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()) or "transfer-encoding" in headers:
        raise _Bad(Reply(400, "say the length of the body\n"))
    if int(length) > body_bytes:
        raise _Bad(Reply(413, f"at most {body_bytes} bytes\n"))
    body = await reader.readexactly(int(length))
    peer = writer.get_extra_info("peername") or ("",)
    return Request(words[0], words[1].partition("?")[0], headers, body, is_loopback(str(peer[0])))


def _bytes(reply: Reply) -> bytes:
    body = reply.body.encode()
    head = (
        f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'No')}\r\n"
        f"Content-Type: {reply.content_type}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def bearer(request: Request, token: str) -> bool:
    """Does it carry this token? Compared in constant time; an empty token is carried by nobody."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return bool(token) and scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())
