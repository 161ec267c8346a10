"""What happens to one request at the gateway? Who asks, may they, how fast, who pays, what does it say.

The order is the order of the checks; the first that says no answers, in the shape of the API, with what
happened, why, and what to do. Nothing of a request is kept but hashes and numbers. Bare ASGI: frameworks cost
two to twelve times as much here.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, cast

import orjson

from veilig.access.budgets import Amount
from veilig.access.rates import throttled
from veilig.access.rules import Models, No, find_class, may_reach
from veilig.app.safeguards import Caller, Desk
from veilig.app.speeds import Speeds
from veilig.core.errors import LedgerError
from veilig.core.policy_safeguards import GatewayRules
from veilig.monitor.ladder import Level
from veilig.server import questions, websocket, wire
from veilig.server.metrics import Metrics
from veilig.server.reading import Reader
from veilig.server.relay import Relay, Sent
from veilig.server.ticket import Ticket, price
from veilig.server.upstream import Pool
from veilig.server.wire import Answer, Appeals, Told

MODEL_CHARS_MAX: Final = 200
BODY_S: Final = 60.0  # for a whole request to arrive: 10 MB take that long at 1.3 Mbit/s

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SURFACES: Final = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
}
BYTES_PER_TOKEN: Final = (
    2  # a bound for reserving: text has three to five, so that more is set aside than used
)


class Gateway:
    """The ASGI application. working: which safeguards passed their last self-test."""

    def __init__(
        self,
        desk: Desk,
        rules: GatewayRules,
        pool: Pool,
        reader: Reader | None,
        working: dict[str, bool],
        speeds: Speeds,
    ) -> None:
        self.desk = desk
        self.rules = rules
        self.models = Models.of(rules.models)
        self.pool = pool
        self.reader = reader
        self.working = working
        self.speeds = speeds
        self.appeals = Appeals(rules.appeal_url)
        self.metrics = reader.metrics if reader is not None else Metrics()
        self.relay = Relay(rules, desk, reader, self.metrics, self.appeals)
        self.ready = False
        self.draining = False
        self.under_way = 0
        self._explained: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket with many."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await self._websocket(scope, receive, send)
            return
        self.under_way += 1
        try:
            surface = SURFACES.get(scope["path"])
            if surface is not None and scope["method"] == "POST":
                await self._model_request(scope, receive, send, surface)
            elif scope["method"] == "POST" and (case := questions.appealed(scope["path"])):
                raw = await _read(receive, questions.APPEAL_BYTES_MAX)
                found = await questions.appeal(self, case, _bearer(scope["headers"]), raw)
                await _answer(send, found, Told(request=_request_id()))
            else:
                key = _bearer(scope["headers"])
                found = await questions.answer(self, scope["method"], scope["path"], key)
                await _answer(send, found, Told(request=_request_id()))
        finally:
            self.under_way -= 1

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.under_way += 1
        try:
            no: Answer | None = None
            if scope["path"] != "/v1/responses":
                no = wire.error(404, "not_found", f"{scope['path']} is not served over a WebSocket")
            else:
                no = await self._refused(scope)
            await websocket.converse(scope, receive, send, no, self)
        finally:
            self.under_way -= 1

    async def _refused(self, scope: Scope) -> Answer | None:
        try:
            caller = await self.desk.identify(_bearer(scope["headers"]), "")
        except LedgerError as error:
            return wire.unrecorded(error)
        return wire.refuse(caller) if isinstance(caller, No) else None

    # --- questions about models -----------------------------------------------------------------------

    async def _model_request(self, scope: Scope, receive: Receive, send: Send, surface: str) -> None:
        began_s, told = time.monotonic(), Told(request=_request_id())
        ticket: Ticket | Answer
        try:
            ticket = await self._admit(scope, receive, surface, told, began_s)
        except LedgerError as error:
            ticket = wire.unrecorded(error)
        if isinstance(ticket, Answer):
            self.metrics.count("requests_total", surface=surface, status=str(ticket.status), code=ticket.code)
            await _answer(send, wire.for_messages(ticket) if surface == "messages" else ticket, told)
            return
        sent = Sent()
        try:
            await self.relay.forward(ticket, self.pool.order(ticket.served, surface), receive, send, sent)
        finally:
            self._settle(ticket, sent)

    async def _admit(
        self, scope: Scope, receive: Receive, surface: str, told: Told, began_s: float
    ) -> Ticket | Answer:
        if self.draining:
            return wire.error(503, "shutting_down", "The gateway is stopping; try again in a moment")
        try:
            async with asyncio.timeout(BODY_S):
                raw = await _read(receive, self.rules.request_bytes)
        except TimeoutError:
            text = f"The request did not arrive within {BODY_S:.0f} s; nothing was charged. Try again"
            return wire.error(408, "request_timeout", text)
        if raw is None:
            most = self.rules.request_bytes >> 20
            return wire.error(413, "request_too_large", f"A request may have {most} MiB; send less history")
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            return wire.error(400, "invalid_json", "The body must be a JSON object")
        body = cast(dict[str, Any], body)
        name = body.get("model")
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MODEL_CHARS_MAX:
            # The name comes back in a header: a line break in it would write headers of its own.
            return wire.error(400, "model_missing", "The body needs a `model`; GET /v1/models lists them")
        caller = await self.desk.identify(_bearer(scope["headers"]), _end_user(body))
        if isinstance(caller, No):
            return wire.refuse(caller)
        told.case = caller.standing.case
        if caller.standing.level is Level.SUSPEND:
            return wire.suspended(caller.standing, self.appeals)
        ticket = self._model(scope, surface, body, raw, caller, told, began_s)
        if isinstance(ticket, Answer):
            return ticket
        return await self._afford(ticket)

    def _model(
        self,
        scope: Scope,
        surface: str,
        body: dict[str, Any],
        raw: bytes,
        caller: Caller,
        told: Told,
        began_s: float,
    ) -> Ticket | Answer:
        """Which model is served: the one asked for, or at level reroute its fallback, never in silence."""
        model = asked_for = body["model"]
        asked = self.models.find(model)
        if asked is None:
            return wire.error(
                404, "model_not_found", f"There is no model {model!r} here; GET /v1/models lists them"
            )
        served = asked
        if caller.standing.level is Level.REROUTE and asked.fallback != model:
            fallback = self.models.find(asked.fallback) if asked.fallback else None
            if fallback is None:
                return wire.suspended(caller.standing, self.appeals)
            body["model"] = model = asked.fallback
            served, raw = fallback, orjson.dumps(body)
        told.model = model
        told.warning = wire.notice(caller.standing, self.appeals)
        wanted = find_class(served.capability_class, self.desk.rules.access.classes)
        if wanted is None:
            text = f"The class {served.capability_class!r} of {model} is not defined, so nobody may use it"
            return wire.error(503, "class_undefined", text)
        may = may_reach(
            self.desk.registry,
            caller.subject,
            model,
            wanted,
            surface,
            default=self.desk.rules.access.default_tier,
            working=self.working,
            now_s=self.desk.now_s(),
        )
        if isinstance(may, No):
            return wire.refuse(may)
        grant = may.grant.id if may.grant is not None and may.grant.micro_usd >= 0 else ""
        return Ticket(
            told.request, scope["path"], surface, body, raw, scope["headers"], caller, asked_for, served,
            model, grant, told, began_s,
        )  # fmt: skip

    async def _afford(self, ticket: Ticket) -> Ticket | Answer:
        """Speed, money, and what the monitor says of the text; in this order, the cheapest first."""
        caller = ticket.caller
        limits = caller.limits
        slow = caller.standing.level is Level.THROTTLE
        if slow:
            limits = throttled(limits)
        why, wait_s = await self.speeds.enter(caller.key.id, limits, ticket.tokens_in)
        if why:
            return self._too_fast(ticket, why, wait_s, slow)
        entered = ticket
        try:
            usd = price(ticket.served, ticket.tokens_in, ticket.tokens_out)
            held = await self.desk.reserve(ticket.accounts, Amount(ticket.tokens_in + ticket.tokens_out, usd))
            if isinstance(held, No):
                return wire.refuse(held)
            ticket.reserved = held
            if self.reader is not None:
                no = await self.reader.read(ticket)
                if no is not None:
                    return no
            entered = None
            return ticket
        finally:
            if entered is not None:
                self.speeds.leave(caller.key.id, 0)
                if ticket.reserved is not None:
                    ticket.reserved.settle(Amount())

    def _too_fast(self, ticket: Ticket, why: str, wait_s: float, slow: bool) -> Answer:
        no = No(429, "rate_limit_exceeded", "this is too fast", f"the limit is {why}", f"wait {wait_s:.0f} s")
        key = ticket.caller.key.id
        if not slow:
            self._explained.discard(key)
            return wire.refuse(no, retry_after_s=wait_s)
        if key in self._explained:
            return wire.refuse(no, retry_after_s=wait_s)
        # Clients swallow the message of a 429: the first refusal of a throttled key is one that they show.
        self._explained.add(key)
        text = f"You are slowed down. {wire.notice(ticket.caller.standing, self.appeals)} The limit is {why}"
        return wire.error(400, "throttled", text)

    def _settle(self, ticket: Ticket, sent: Sent) -> None:
        used = Amount(sent.tokens_in + sent.tokens_out, price(ticket.served, sent.tokens_in, sent.tokens_out))
        if ticket.reserved is not None:
            ticket.reserved.settle(used)
        self.speeds.leave(ticket.caller.key.id, used.tokens - ticket.tokens_in)
        took_s = time.monotonic() - ticket.began_s
        self.metrics.duration.add(took_s)
        status = str(sent.status)
        self.metrics.count("requests_total", surface=ticket.surface, status=status, code=sent.code)
        self.metrics.count("tokens_total", used.tokens, model=ticket.served.name)
        row = orjson.dumps(
            {
                "request": ticket.id,
                "key": ticket.caller.key.id,
                "user": ticket.caller.user,
                "level": str(ticket.caller.standing.level),
                "surface": ticket.surface,
                "asked": ticket.asked,
                "served": ticket.model,
                "said": sent.model,
                "upstream": sent.upstream,
                "status": sent.status,
                "code": sent.code,
                "tokens_in": sent.tokens_in,
                "tokens_out": sent.tokens_out,
                "micro_usd": used.micro_usd,
                "ms": round(took_s * 1000),
                "prompt": hashlib.sha256(ticket.raw).hexdigest(),
                "score": round(ticket.score, 3),
            }
        )
        self.desk.record(row.decode())


async def _read(receive: Receive, most: int) -> bytes | None:
    """The whole body; None when it is larger than `most` bytes."""
    message = await receive()
    body = message.get("body", b"")
    if not message.get("more_body"):
        return body if len(body) <= most else None
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            return None
    return b"".join(parts)


async def _answer(send: Send, answer: Answer, told: Told) -> None:
    headers = [*answer.headers, *told.headers(), (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _end_user(body: dict[str, Any]) -> str:
    """Whom the key's owner names as the person behind the request, or "".

    Claude Code names the session too: whoever starts another one is still the same, so that is no name.
    """
    who = body.get("safety_identifier") or body.get("user")
    if not who and isinstance(metadata := body.get("metadata"), dict):
        named = cast(dict[str, Any], metadata).get("user_id")
        who = named if isinstance(named, str) and "session" not in named else ""
    return who if isinstance(who, str) else ""


def _bearer(headers: list[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
        if name in (b"x-api-key", b"api-key"):
            return value
    return b""


def _request_id() -> str:
    return "req_" + secrets.token_hex(12)
