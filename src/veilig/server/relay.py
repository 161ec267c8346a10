"""How does an answer travel back? Bytes as they came, unless the policy acts; of the first that answers.

A streamed answer passes the watch, which keeps tool calls until they are judged. An answer that is not
streamed is judged whole before its first byte leaves.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson

from veilig.app.safeguards import Desk
from veilig.core.policy_safeguards import GatewayRules
from veilig.monitor.reading import Unreadable, mapping
from veilig.monitor.stream import Stop, StreamWatch, judge_whole
from veilig.monitor.stream_messages import MessagesWatch
from veilig.server import wire
from veilig.server.dialects.translate import Translation, error_of
from veilig.server.metrics import Metrics
from veilig.server.outgoing import Outgoing, Untranslatable, outgoing, told
from veilig.server.reading import Judged, Reader
from veilig.server.ticket import Ticket
from veilig.server.upstream import PASSING, Upstream
from veilig.server.wire import Answer, Appeals

type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WHOLE_BYTES_MAX: Final = 64 << 20  # of an answer that is judged whole
WATCH_AFTER_S: Final = 0.25
CONNECT_S: Final = 10.0
CHARS_PER_TOKEN: Final = 3  # where an upstream says no usage: more is charged than was used
# Of one connection, or ours to say.
NOT_RETURNED: Final = frozenset({
    "content-length", "transfer-encoding", "connection", "keep-alive", "content-encoding", "set-cookie",
    "server", "date", "x-request-id", "trailer", "upgrade",
})  # fmt: skip


@dataclass(slots=True)
class Sent:
    """What became of a request, for the record and the bill."""

    status: int = 0
    code: str = ""
    upstream: str = ""
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class Back:
    """One answer on its way."""

    ticket: Ticket
    answer: aiohttp.ClientResponse
    translation: Translation | None
    sent: Sent

    @property
    def usage(self) -> dict[str, Any] | None:
        """As the upstream counted, where the client does not see it."""
        return None if self.translation is None else self.translation.usage


class Relay:
    """Sends requests on and answers back."""

    def __init__(
        self, rules: GatewayRules, desk: Desk, reader: Reader | None, metrics: Metrics, appeals: Appeals
    ) -> None:
        self._rules = rules
        self._desk = desk
        self._reader = reader
        self._metrics = metrics
        self._appeals = appeals
        self._client: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Make the client; in the running loop."""
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(
                total=self._rules.answer_s, sock_connect=CONNECT_S, sock_read=self._rules.first_byte_s
            ),
            auto_decompress=True,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.close()

    async def forward(
        self, ticket: Ticket, order: Sequence[Upstream], receive: Receive, send: Send, sent: Sent
    ) -> None:
        """Ask the upstreams in order until one answers, and bring its answer back."""
        last, unfit = "no upstream has this model", None
        for at, upstream in enumerate(order):
            try:
                going = outgoing(ticket, upstream)
            except Untranslatable as error:
                unfit = error
                continue
            try:
                answer = await self._ask(going)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                upstream.went(False, time.monotonic())
                last, unfit = f"{upstream.name}: {type(error).__name__}", None
                continue
            async with answer:
                passes_on = answer.status == 401 or (answer.status in PASSING and at + 1 < len(order))
                upstream.went(answer.status < 500 and answer.status != 401, time.monotonic())
                if passes_on:
                    last, unfit = f"{upstream.name} answered {answer.status}", None
                    continue
                sent.upstream = upstream.name
                ticket.told.more += told(ticket, upstream, going)
                await self._back(Back(ticket, answer, going.translation, sent), receive, send)
                return
        if unfit is not None:
            text = f"{unfit.what}: {unfit.why}. {unfit.fix}" if unfit.why else unfit.what
            await self._ours(send, wire.error(400, "unsupported_by_upstream", text), ticket, sent)
            return
        text = f"No upstream could answer ({last}); nothing was charged. Try again in a moment"
        await self._ours(send, wire.error(502, "upstream_unavailable", text), ticket, sent)

    async def _ask(self, going: Outgoing) -> aiohttp.ClientResponse:
        if self._client is None:
            raise RuntimeError("the relay was not opened")  # our own bug
        return await self._client.post(
            going.url, data=going.raw, headers=going.headers, allow_redirects=False
        )

    async def _back(self, back: Back, receive: Receive, send: Send) -> None:
        ticket, answer, sent = back.ticket, back.answer, back.sent
        sent.status = answer.status
        kind = answer.headers.get("content-type", "")
        if kind.startswith("text/event-stream"):
            await self._stream(back, receive, send)
            return
        body = await _whole(answer)
        if body is None:
            text = "The answer was too large"
            await self._ours(send, wire.error(502, "answer_too_large", text), ticket, sent)
            return
        if back.translation is not None:
            if answer.status >= 400:
                await self._failed(back, body, send)
                return
            try:
                body = back.translation.whole(body)
            except Unreadable as error:
                text = f"The upstream's answer could not be read: {error}"
                await self._ours(send, wire.error(502, "upstream_error", text), ticket, sent)
                return
        stop = await self._judge_whole(back, body)
        self._metrics.first_byte.add(time.monotonic() - ticket.began_s)
        if stop is not None:
            await self._ours(send, wire.error(400, stop.code, stop.message), ticket, sent)
            return
        headers = _returned(back, str(len(body)))
        sent.bytes_out = len(body)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _failed(self, back: Back, body: bytes, send: Send) -> None:
        """An upstream's refusal, in the client's own shape, with what it said."""
        code, message = error_of(body)
        status = 503 if back.answer.status == 529 else back.answer.status
        headers: tuple[tuple[bytes, bytes], ...] = (wire.JSON_TYPE,)
        if (later := back.answer.headers.get("retry-after")) is not None:
            headers = (*headers, (b"retry-after", later.encode("latin-1")))
        await self._ours(send, wire.error(status, code, message, headers), back.ticket, back.sent)

    async def _judge_whole(self, back: Back, body: bytes) -> Stop | None:
        ticket, status, sent, reader = back.ticket, back.answer.status, back.sent, self._reader
        try:
            value = mapping(orjson.loads(body)) if body else {}
            usage = mapping(value.get("usage"))
        except (orjson.JSONDecodeError, Unreadable) as error:
            if status >= 400 or reader is None:
                return None
            return await reader.broken(ticket, "answer", error)
        sent.model = str(value.get("model") or "")
        _charge(sent, back.usage or usage, len(ticket.raw), len(body) if status < 400 else 0)
        if reader is None or status >= 400:
            return None
        watch = reader.watch(ticket)
        try:
            stop = judge_whole(value, watch.judge, watch.heard)
        except Exception as error:  # noqa: BLE001  # a monitor that breaks is not one that found nothing
            return await reader.broken(ticket, "answer", error)
        return await reader.told(ticket, watch, stop)

    async def _stream(self, back: Back, receive: Receive, send: Send) -> None:
        ticket, answer, sent, translation = back.ticket, back.answer, back.sent, back.translation
        headers = _returned(back, "")
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        judged = self._reader.watch(ticket) if self._reader is not None else None
        watch = judged.stream(ticket.surface) if judged is not None else _unwatched(ticket.surface)
        gone = _Gone(receive, answer)
        readable = True
        try:
            async for part in answer.content.iter_any():
                if sent.bytes_out == 0:
                    self._metrics.first_byte.add(time.monotonic() - ticket.began_s)
                sent.bytes_out += len(part)
                given = part if translation is None else translation.feed(part)
                if readable:
                    try:
                        out = watch.feed(given)
                    except Exception as error:  # noqa: BLE001  # as above: what follows is the policy's to say
                        readable, out = False, await self._unread(ticket, watch, error)
                else:
                    out = given
                if out:
                    await send({"type": "http.response.body", "body": out, "more_body": True})
                if watch.stopped is not None:
                    break
            last = translation.finish() if translation is not None and watch.stopped is None else b""
            out = watch.feed(last) + watch.finish() if readable and watch.stopped is None else b""
            if out:
                await send({"type": "http.response.body", "body": out, "more_body": True})
        except (aiohttp.ClientError, TimeoutError, OSError, Unreadable) as error:
            if not gone.left:
                text = f"The upstream ended the answer early ({type(error).__name__}); try again"
                watch.stopped = watch.stopped or Stop(text, "upstream_error")
        finally:
            gone.cancel()
        await self._end(back, watch, judged, send)

    async def _end(self, back: Back, watch: StreamWatch, judged: Judged | None, send: Send) -> None:
        """Tell why it ended early, where it did, and count what it used."""
        ticket, sent = back.ticket, back.sent
        sent.model = watch.model
        try:
            usage = mapping(watch.usage)
        except Unreadable:
            usage = {}
        _charge(sent, back.usage or usage, len(ticket.raw), sent.bytes_out)
        if judged is not None and self._reader is not None:
            watch.stopped = await self._reader.told(ticket, judged, watch.stopped)
        if watch.stopped is not None:
            sent.code = watch.stopped.code
            await send({"type": "http.response.body", "body": watch.stop_bytes(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _unread(self, ticket: Ticket, watch: StreamWatch, error: Exception) -> bytes:
        """An event that cannot be read: the rest passes unread, or nothing more does."""
        watch.stopped = None
        if self._reader is not None:
            watch.stopped = await self._reader.broken(ticket, "stream", error)
        return b"" if watch.stopped is not None else watch.unsent()

    async def _ours(self, send: Send, answer: Answer, ticket: Ticket, sent: Sent) -> None:
        sent.status, sent.code = answer.status, answer.code
        if ticket.surface == "messages":
            answer = wire.for_messages(answer)
        headers = [
            *answer.headers,
            *ticket.told.headers(),
            (b"content-length", str(len(answer.body)).encode()),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def _unwatched(surface: str) -> StreamWatch:
    """Without a monitor: it reads model and usage, and stops nothing."""
    return (MessagesWatch if surface == "messages" else StreamWatch)(_pass_call, _pass_text)


def _pass_call(_: object) -> Stop | None:
    return None


def _pass_text(_: str) -> Stop | None:
    return None


class _Gone:
    """When the client is gone, nobody waits for the rest of the answer: stop paying for it.

    Looks only after a moment: most answers to a test or a cache are over by then, and a task costs time.
    """

    def __init__(self, receive: Receive, answer: aiohttp.ClientResponse) -> None:
        self.left = False
        self._receive = receive
        self._answer = answer
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._start)

    def _start(self) -> None:
        self._task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._answer.close()

    def cancel(self) -> None:
        """The answer is over."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


async def _whole(answer: aiohttp.ClientResponse) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > WHOLE_BYTES_MAX:
            return None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _returned(back: Back, length: str) -> list[tuple[bytes, bytes]]:
    """The upstream's headers and ours. Where it names the model itself, its word stands."""
    answer, ticket = back.answer, back.ticket
    if back.translation is not None:  # its headers speak of another API than the client's
        kind = b"application/json" if length else b"text/event-stream"
        found = [(b"content-type", kind), *ticket.told.headers()]
        return [*found, (b"content-length", length.encode())] if length else found
    found = [
        (k.lower().encode("latin-1"), v.encode("latin-1"))
        for k, v in answer.headers.items()
        if k.lower() not in NOT_RETURNED
    ]
    ours = ticket.told.headers()
    names = {k for k, _ in found}
    found += [(k, v) for k, v in ours if k != b"openai-model" or k not in names]
    if length:
        found.append((b"content-length", length.encode()))
    return found


def _charge(sent: Sent, usage: dict[str, Any], bytes_in: int, bytes_out: int) -> None:
    """Tokens as the upstream counted them, else a guess that is not too low."""
    tokens_in = usage.get("input_tokens", usage.get("prompt_tokens"))
    for name in (
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
    ):  # the Messages API counts them apart
        if isinstance(tokens_in, int) and isinstance(more := usage.get(name), int):
            tokens_in += max(0, more)
    tokens_out = usage.get(
        "output_tokens", usage.get("completion_tokens", 0 if tokens_in is not None else None)
    )
    if isinstance(tokens_in, int) and isinstance(tokens_out, int) and tokens_in >= 0 and tokens_out >= 0:
        sent.tokens_in, sent.tokens_out = tokens_in, tokens_out
    elif bytes_out:
        sent.tokens_in, sent.tokens_out = bytes_in // CHARS_PER_TOKEN, bytes_out // CHARS_PER_TOKEN
