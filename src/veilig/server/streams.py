"""How are events sent to a browser as they happen? A WebSocket, and server-sent events where there is none.

What a socket receives carries no authority: `{t: "at", seq}` says where somebody looks, `{t: "ping"}` asks
for a sign of life, and anything else ends it. All changes are requests of their own, with a token against
forgery.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, Final, cast

import orjson

from veilig.collab.accounts import Login
from veilig.collab.roles import Refused
from veilig.server.frames import Door
from veilig.server.live import Hub, Watching, dumped, taken

SAID_BYTES_MAX: Final = 1024  # of one message from a browser
SAID_EVERY_S: Final = 0.02  # on average; looking around makes a few a second
BURST: Final = 100
BEAT_S: Final = 15.0  # a proxy closes what is silent for a minute

NORMAL, GOING_AWAY, POLICY, TRY_LATER = 1000, 1001, 1008, 1013

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def socket(
    hub: Hub, login: Login, session: str, after: int, receive: Receive, send: Send, door: Door | None = None
) -> None:
    """One WebSocket from its opening to its end. Raises Refused before it was accepted."""
    await receive()
    one = hub.enter(session, login)
    opening = hub.first(one, after)
    try:
        await send({"type": "websocket.accept", "headers": []})
        one.task = asyncio.create_task(_speak(one, opening, send, door))
        listening = asyncio.create_task(_listen(hub, one, receive))
        await asyncio.wait({one.task, listening}, return_when=asyncio.FIRST_COMPLETED)
        for task in (one.task, listening):
            task.cancel()
        await asyncio.gather(one.task, listening, return_exceptions=True)
        code = POLICY if one.gone and not hub.stopping else GOING_AWAY if hub.stopping else NORMAL
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):  # the other side may be gone
            async with asyncio.timeout(1.0):
                await send({"type": "websocket.close", "code": code})
    finally:
        hub.leave(one)


async def _speak(one: Watching, opening: list[str], send: Send, door: Door | None) -> None:
    for message in opening:
        await _send(one, send, message)
    one.door = door
    while True:
        await one.wake.wait()
        for message in taken(one):
            await _send(one, send, message)
        if one.gone is not None:
            await _send(one, send, dumped(one.gone))
            return


async def _send(one: Watching, send: Send, message: str) -> None:
    one.sending_since = time.monotonic()
    await send({"type": "websocket.send", "text": message})
    one.sending_since = 0.0


async def _listen(hub: Hub, one: Watching, receive: Receive) -> None:
    budget, last = float(BURST), time.monotonic()
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        now = time.monotonic()
        budget, last = min(BURST, budget + (now - last) / SAID_EVERY_S) - 1, now
        said = _said(message)
        if said is None or budget < 0:
            one.end("this is not what a page says", "reload the page")
            return
        if said["t"] == "at":
            hub.looks_at(one, int(said["seq"]))
        else:
            one.put('{"t":"pong"}')


def _said(message: MutableMapping[str, Any]) -> dict[str, Any] | None:
    """What a browser said, when it is one of the two things that it may say."""
    raw = message.get("text") or message.get("bytes") or b""
    if len(raw) > SAID_BYTES_MAX:
        return None
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict):
        return None
    said = cast("dict[str, Any]", value)
    if said == {"t": "ping"}:
        return said
    seq = said.get("seq")
    fine = set(said) == {"t", "seq"} and said["t"] == "at" and type(seq) is int and 0 <= seq < 1 << 53
    return said if fine else None


async def sent_events(hub: Hub, login: Login, session: str, after: int) -> AsyncGenerator[bytes]:
    """The same messages as server-sent events; each event carries its seq as id, for Last-Event-ID."""
    one = hub.enter(session, login)
    try:
        for message in hub.first(one, after):
            yield _framed(message)
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    await one.wake.wait()
            except TimeoutError:
                yield b": here\n\n"
                continue
            for message in taken(one):
                yield _framed(message)
            if one.gone is not None:
                yield _framed(dumped(one.gone))
                return
    finally:
        hub.leave(one)


def _framed(message: str) -> bytes:
    """One server-sent event; JSON has no line feeds of its own."""
    ident = b""
    if message.startswith('{"t":"event","e":{"seq":'):
        seq = message[24 : message.index(",", 24)]
        ident = b"id: " + seq.encode() + b"\n"
    return ident + b"data: " + message.encode() + b"\n\n"


def refused(error: Refused) -> int:
    """The close code of a socket that is not accepted."""
    return TRY_LATER if error.status in (429, 503) else POLICY
