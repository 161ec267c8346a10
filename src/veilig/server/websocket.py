"""How does one ask over a WebSocket? The Responses API's own way: each `response.create` is one request.

Nothing is decided here: every message takes the road of an HTTP request, with its checks, its budgets and its
watch, and each event of the answer becomes one message. What a client may leave out because it said it before
on the same connection (`previous_response_id`) is put back from memory, so upstreams need no WebSocket.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import orjson

from veilig.monitor.reading import Unreadable, mapping, mappings
from veilig.server.dialects.sse import Events
from veilig.server.wire import Answer, error

type Message = MutableMapping[str, Any]
type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Ask = Callable[[Scope, Receive, Send], Awaitable[None]]

WAITING_MAX: Final = 4  # messages that a client may send ahead of their answers
TOLD: Final = {
    b"openai-model": "OpenAI-Model",
    b"x-veilig-warning": "x-veilig-warning",
    b"x-veilig-case": "x-veilig-case",
}


@dataclass(slots=True)
class _Known:
    """The conversation as far as this connection said it."""

    id: str = ""
    items: list[Any] = field(default_factory=list[Any])


async def converse(scope: Scope, receive: Receive, send: Send, no: Answer | None, ask: Ask) -> None:
    """One connection. no: why it may not begin. ask: the road of an HTTP request."""
    if (await receive())["type"] != "websocket.connect":
        return
    if no is not None:
        await _deny(scope, send, no)
        return
    await send({"type": "websocket.accept"})
    inbox: asyncio.Queue[Message] = asyncio.Queue(WAITING_MAX)
    gone = asyncio.Event()
    reading = asyncio.create_task(_read(receive, inbox, gone))
    known = _Known()
    try:
        while True:
            message = await inbox.get()
            if message["type"] == "websocket.disconnect":
                return
            await _Turn(scope, send, gone, known).take(message, ask)
    finally:
        reading.cancel()


async def _read(receive: Receive, inbox: asyncio.Queue[Message], gone: asyncio.Event) -> None:
    while not gone.is_set():
        message = await receive()
        if message["type"] == "websocket.disconnect":
            gone.set()
        await inbox.put(message)


async def _deny(scope: Scope, send: Send, no: Answer) -> None:
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    start = {"type": "websocket.http.response.start", "status": no.status, "headers": list(no.headers)}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": no.body})


class _Turn:
    """One `response.create` and its answer."""

    def __init__(self, scope: Scope, send: Send, gone: asyncio.Event, known: _Known) -> None:
        self._scope = scope
        self._send = send
        self._gone = gone
        self._known = known
        self._events = Events()
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._stream = False
        self._body: list[bytes] = []
        self._output: list[Any] = []
        self._input: list[Any] = []

    async def take(self, message: Message, ask: Ask) -> None:
        """Answer one message, whatever it is."""
        try:
            body = self._request(message)
        except (Unreadable, orjson.JSONDecodeError) as wrong:
            await self._error(error(400, "invalid_json", f"This is no `response.create`: {wrong}"))
            return
        if isinstance(body, Answer):
            await self._error(body)
        elif body.pop("generate", None) is False:
            await self._remembered(body)
        else:
            raw = orjson.dumps(body)
            headers = [h for h in self._scope["headers"] if h[0] not in (b"content-type", b"upgrade")]
            headers += [(b"content-type", b"application/json")]
            inner = {"type": "http", "method": "POST", "path": self._scope["path"], "headers": headers}
            await ask(inner, self._receiver(raw), self._sent)

    def _request(self, message: Message) -> dict[str, Any] | Answer:
        """The whole request that a message stands for."""
        given = message.get("text")
        body = mapping(orjson.loads(given if given is not None else message.get("bytes") or b""))
        if body.pop("type", None) != "response.create":
            raise Unreadable("its type is another")
        said = body.get("input")
        self._input = [{"role": "user", "content": said}] if isinstance(said, str) else list(mappings(said))
        before = body.pop("previous_response_id", None)
        if before is not None:
            if before != self._known.id:
                text = f"This connection does not know {before!r}; send the whole conversation in `input`"
                return error(400, "previous_response_not_found", text)
            self._input = [*self._known.items, *self._input]
        return {**body, "input": self._input, "stream": True}

    async def _remembered(self, body: dict[str, Any]) -> None:
        """The client sends its instructions ahead: nothing is asked, nothing is paid."""
        name = "resp_" + secrets.token_hex(12)
        self._known.id, self._known.items = name, self._input
        base: dict[str, Any] = {
            "id": name, "object": "response", "model": body.get("model"), "output": [], "error": None,
        }  # fmt: skip
        used = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        done = {**base, "status": "completed", "usage": used}
        await self._say({"type": "response.created", "response": {**base, "status": "in_progress"}})
        await self._say({"type": "response.completed", "response": done})

    def _receiver(self, raw: bytes) -> Receive:
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": raw, "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}

        return receive

    async def _sent(self, message: Message) -> None:
        """A piece of the HTTP answer."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
            kind = next((v for k, v in self._headers if k == b"content-type"), b"")
            self._stream = kind.startswith(b"text/event-stream")
            return
        if self._stream:
            for data in self._events.feed(message.get("body", b"")):
                await self._event(data)
            return
        self._body.append(message.get("body", b""))
        if not message.get("more_body"):
            await self._whole(b"".join(self._body))

    async def _event(self, data: bytes) -> None:
        if data == b"[DONE]" or self._gone.is_set():
            return
        if data.startswith(b'{"error"'):  # before an answer began
            await self._error(Answer(self._status if self._status >= 400 else 502, data))
            return
        if b'"response.created"' in data:
            value = mapping(orjson.loads(data))
            told = {TOLD[k]: v.decode("latin-1") for k, v in self._headers if k in TOLD}
            value["response"] = {**mapping(value.get("response")), "headers": told}
            await self._say(value)
            return
        if b'"response.output_item.done"' in data:
            self._output.append(mapping(orjson.loads(data)).get("item"))
        elif b'"response.completed"' in data or b'"response.incomplete"' in data:
            made = mapping(mapping(orjson.loads(data)).get("response"))
            self._known.id = str(made.get("id") or "")
            self._known.items = [*self._input, *(self._output or mappings(made.get("output")))]
        await self._send({"type": "websocket.send", "text": data.decode()})

    async def _whole(self, body: bytes) -> None:
        if self._status >= 400:
            await self._error(Answer(self._status, body, tuple(self._headers)))
            return
        value = mapping(orjson.loads(body))  # an upstream that does not stream
        await self._say({"type": "response.completed", "response": value})

    async def _error(self, no: Answer) -> None:
        try:
            given = mapping(orjson.loads(no.body)).get("error")
        except (orjson.JSONDecodeError, Unreadable):
            given = {"message": no.body[:500].decode("utf-8", "replace"), "type": "server_error"}
        told = {
            k.decode("latin-1"): v.decode("latin-1")
            for k, v in no.headers
            if k == b"retry-after" or k in TOLD
        }
        await self._say({"type": "error", "status": no.status, "error": cast(Any, given), "headers": told})

    async def _say(self, value: dict[str, Any]) -> None:
        if not self._gone.is_set():
            await self._send({"type": "websocket.send", "text": orjson.dumps(value).decode()})
