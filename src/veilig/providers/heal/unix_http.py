"""How does one ask a daemon that speaks HTTP on a Unix socket? One request, one bounded answer."""

import asyncio
import contextlib
from dataclasses import dataclass

from veilig.core.errors import ProviderError

ANSWER_BYTES_MAX = 8 << 20  # the list of some thousand containers
HEAD_BYTES_MAX = 64 << 10


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body, headers dropped."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The first line or so, for people."""
        return self.body[:300].decode("utf-8", "replace").strip()


async def ask(
    path: str, method: str, target: str, body: bytes = b"", kind: str = "", timeout_s: float = 30.0
) -> Answer:
    """Send one request to the socket at `path`. Raises ProviderError when nobody answers it whole."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _ask(path, method, target, body, kind)
    except (OSError, EOFError, ValueError, IndexError, TimeoutError) as error:
        why = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
        raise ProviderError(f"{path} does not answer {method} {target.partition('?')[0]}", why=why) from error


async def _ask(path: str, method: str, target: str, body: bytes, kind: str) -> Answer:
    reader, writer = await asyncio.open_unix_connection(path, limit=HEAD_BYTES_MAX)
    try:
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        if body or method == "POST":
            head += f"Content-Type: {kind or 'application/json'}\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"\r\n" + body)
        await writer.drain()
        status = int((await reader.readline()).split(b" ", 2)[1])
        headers: dict[str, str] = {}
        while (line := (await reader.readline()).strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip().lower()
        return Answer(status, await _body(reader, headers, status))
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str], status: int) -> bytes:
    if status in (204, 304):
        return b""
    if "chunked" in headers.get("transfer-encoding", ""):
        parts: list[bytes] = []
        size = 0
        while length := int((await reader.readline()).split(b";")[0], 16):
            size += length
            if size > ANSWER_BYTES_MAX:
                raise ValueError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
            parts.append(await reader.readexactly(length))
            await reader.readline()
        return b"".join(parts)
    if "content-length" in headers:
        length = int(headers["content-length"])
        if length > ANSWER_BYTES_MAX:
            raise ValueError(f"an answer of {length} bytes")
        return await reader.readexactly(length)
    data = await reader.read(ANSWER_BYTES_MAX + 1)
    if len(data) > ANSWER_BYTES_MAX:
        raise ValueError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
    return data
