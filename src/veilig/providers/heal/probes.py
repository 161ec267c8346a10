"""Is a service well, when it is asked itself? One HTTP, TCP or command probe, with how long it took."""

import asyncio
import base64
import contextlib
import os
import signal
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from io import FileIO
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from veilig.core.service import Service
from veilig.core.signal import Answer

BODY_BYTES = 512  # of an answer: the reason a service gives stands in its first line
SAID_CHARS = 200
HEAD_BYTES = 16 << 10  # a status line and headers; more is no health answer
REDIRECTS = 3  # /health -> /health/ and the like; never to another host
_SETTLE_S = 0.2  # for a body that announces no length, after its head
_CLEAN = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")

type Seal = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Probe:
    """How one probe ended. said: by the service or the system, cut and sealed."""

    answer: Answer
    status: int = 0
    said: str = ""
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    location: str
    body: bytes


class _BrokenReply(Exception):
    """What came back is no HTTP, or only half of it."""


async def probe(service: Service, seal: Seal = str) -> Probe:
    """Ask a service once: its health URL and its health command, else whether its port takes a connection.

    All that are named must be well. Never raises for what a service does; Answer.NONE when there is
    nothing to ask. `seal` takes secrets out of what was said.
    """
    begun = time.monotonic()
    limit_s = service.health_timeout_s
    result = Probe(Answer.NONE)
    if service.health:
        result = await _timed(_http(service.health, service.port), limit_s)
    elif service.port and not service.health_cmd:
        result = await _timed(_tcp("127.0.0.1", service.port), limit_s)
    if service.health_cmd and result.answer in (Answer.OK, Answer.NONE):
        result = await _command(service.health_cmd, service, limit_s)
    took_ms = round((time.monotonic() - begun) * 1000, 1)
    return Probe(result.answer, result.status, seal(result.said)[:SAID_CHARS], took_ms)


async def reachable(host: str, port: int, timeout_s: float = 1.0) -> Probe:
    """Does anybody take a connection at `host:port`? Says nothing to whoever does."""
    return await _timed(_tcp(host, port), timeout_s)


async def _timed(asked: Coroutine[Any, Any, Probe], limit_s: float) -> Probe:
    try:
        async with asyncio.timeout(limit_s):
            return await asked
    except TimeoutError:
        return Probe(Answer.TIMEOUT, said=f"no answer within {limit_s:g} s")
    except (OSError, ExceptionGroup, _BrokenReply, ssl.SSLError, ValueError, EOFError) as error:
        return _failed(error)


def _failed(error: Exception) -> Probe:
    """The answer an error stands for. Several addresses of one name end in a group of errors."""
    leaves: list[Exception] = _leaves(error)
    said = str(leaves[-1]) or type(leaves[-1]).__name__
    if all(isinstance(leaf, ConnectionRefusedError) for leaf in leaves):
        return Probe(Answer.REFUSED, said="connection refused")
    if any(isinstance(leaf, TimeoutError) for leaf in leaves):
        return Probe(Answer.TIMEOUT, said=said)
    return Probe(Answer.BROKEN, said=said)


def _leaves(error: Exception) -> list[Exception]:
    if not isinstance(error, ExceptionGroup):
        return [error]
    inside = cast(ExceptionGroup[Exception], error)
    return [leaf for part in inside.exceptions for leaf in _leaves(part)]


async def _tcp(host: str, port: int) -> Probe:
    _, writer = await asyncio.open_connection(host, port, all_errors=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Probe(Answer.OK, said="takes connections")


# --- HTTP -------------------------------------------------------------------------------------------


async def _http(url: str, port: int) -> Probe:
    parts = urlsplit(url)
    if parts.scheme == "tcp":
        return await _tcp(parts.hostname or "127.0.0.1", parts.port or port)
    if parts.scheme not in ("http", "https"):
        return Probe(Answer.BROKEN, said=f"a health address is http, https or tcp, not {parts.scheme!r}")
    reply = await _get(parts)
    for _ in range(REDIRECTS):
        there = urlsplit(urljoin(parts.geturl(), reply.location)) if reply.location else parts
        if not reply.location or (there.scheme, there.netloc) != (parts.scheme, parts.netloc):
            break
        parts = there
        reply = await _get(parts)
    said = " ".join(reply.body.decode("utf-8", "replace").split())
    answer = Answer.ERROR if reply.status >= 400 else Answer.OK
    return Probe(answer, reply.status, said or f"HTTP {reply.status}")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _tls(host: str) -> ssl.SSLContext:
    """Verified, except on this machine.

    A service on loopback shows a certificate for the name the world knows it by, or one of its own making.
    Nobody stands between us and it, and the question is only whether it answers.
    """
    context = ssl.create_default_context()
    if _loopback(host):
        # veilig: ignore[CWE-295] reason=loopback only: nobody stands between, see above
        context.check_hostname = False
        # veilig: ignore[CWE-295] reason=loopback only: nobody stands between, see above
        context.verify_mode = ssl.CERT_NONE
    return context


async def _get(parts: SplitResult) -> _Reply:
    host = parts.hostname or "127.0.0.1"
    tls = _tls(host) if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=HEAD_BYTES, all_errors=True)
    try:
        writer.write(_request(parts))
        await writer.drain()
        return await _reply(reader)
    finally:
        writer.close()  # the end of the connection is not waited for: a hung peer would hold us


def _request(parts: SplitResult) -> bytes:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {parts.netloc.rpartition('@')[2]}",
        "User-Agent: veilig-probe",
        "Accept: */*",
        "Connection: close",
    ]
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append("Authorization: Basic " + base64.b64encode(pair.encode()).decode())
    if any("\r" in line or "\n" in line for line in lines):
        raise _BrokenReply("a health address holds no line ends")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "replace")


async def _reply(reader: asyncio.StreamReader) -> _Reply:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise _BrokenReply("closed without an answer" if not error.partial else "half an answer") from error
    except asyncio.LimitOverrunError as error:
        raise _BrokenReply(f"more than {HEAD_BYTES} bytes before the answer begins") from error
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not first.startswith("HTTP/") or len(words) < 2 or not words[1].isascii() or not words[1].isdigit():
        raise _BrokenReply("what answers does not speak HTTP")
    headers = {name.strip().lower(): value.strip() for name, _, value in (r.partition(":") for r in rest)}
    status = int(words[1])
    location = headers.get("location", "") if 300 <= status < 400 else ""
    return _Reply(status, location, await _body(reader, headers))


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """The first bytes of the body; one that is shorter than announced is half an answer."""
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit():
        wanted = min(int(length), BODY_BYTES)
        try:
            return await reader.readexactly(wanted)
        except asyncio.IncompleteReadError as error:
            raise _BrokenReply(f"half an answer: {len(error.partial)} of {length} bytes") from error
    body = b""
    with contextlib.suppress(TimeoutError):  # without a length the head was the answer
        async with asyncio.timeout(_SETTLE_S):
            while len(body) < BODY_BYTES and (more := await reader.read(BODY_BYTES)):
                body += more
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = body.partition(b"\r\n")[2].partition(b"\r\n")[0]
    return body[:BODY_BYTES]


# --- a command --------------------------------------------------------------------------------------


def clean_environment(service: Service) -> dict[str, str]:
    """What a health command gets: where programs are, the language, and what the services file says."""
    kept = {name: os.environ[name] for name in _CLEAN if name in os.environ}
    return {"PATH": os.defpath} | kept | dict(service.env)


async def _command(argv: tuple[str, ...], service: Service, limit_s: float) -> Probe:
    ours, theirs = os.pipe()  # not the pipe of asyncio: that one cannot be let go while a grandchild holds it
    said = bytearray()
    pipe = os.fdopen(ours, "rb", buffering=0)
    reading = asyncio.create_task(_drain(pipe, said))
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            cwd=service.folder or "/",
            env=clean_environment(service),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reading.cancel()
        await asyncio.wait((reading,))
        pipe.close()
        return Probe(Answer.BROKEN, said=f"{argv[0]} cannot be started: {error}")
    finally:
        os.close(theirs)
    try:
        async with asyncio.timeout(limit_s):
            code = await child.wait()
        await asyncio.wait((reading,), timeout=_SETTLE_S)  # what it left behind may hold the pipe open
    except TimeoutError:
        return Probe(Answer.TIMEOUT, said=f"{argv[0]}: no end within {limit_s:g} s")
    finally:
        reading.cancel()
        await asyncio.wait((reading,))
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    text = " ".join(said.decode("utf-8", "replace").split())
    if code == 0:
        return Probe(Answer.OK, said=text)
    ended = f"exit {code}" if code > 0 else f"signal {-code}"
    return Probe(Answer.ERROR, status=max(code, 0), said=f"{ended}: {text}" if text else ended)


async def _drain(pipe: FileIO, kept: bytearray) -> None:
    """The first bytes of what is printed; the rest is read and dropped, so that the printer can end."""
    stream = asyncio.StreamReader()
    transport = None
    try:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), pipe
        )
        while more := await stream.read(4096):
            kept += more[: BODY_BYTES - len(kept)]
    finally:
        if transport is not None:
            transport.close()
