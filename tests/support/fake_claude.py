"""A scripted upstream with the Messages API on loopback, as strict about requests as the real one."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from fake_models import TEXT

USAGE = {"input_tokens": 20, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 6}
KEY = "key-there"


def blocks(command: str, tool: str, text: str = TEXT) -> list[dict[str, Any]]:
    """What it answers: a text, or a few words and a tool call."""
    if not command:
        return [{"type": "text", "text": text}]
    call = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": {"cmd": command}}
    return [{"type": "text", "text": "Let me see."}, call]


def sse(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


def events(model: str, content: list[dict[str, Any]], reason: str) -> list[bytes]:
    """The stream of an answer."""
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [],
             "stop_reason": None, "stop_sequence": None, "usage": {**USAGE, "output_tokens": 1}}  # fmt: skip
    found = [sse({"type": "message_start", "message": start}), sse({"type": "ping"})]
    for at, block in enumerate(content):
        if block["type"] == "text":
            empty: dict[str, Any] = {"type": "text", "text": ""}
            words = block["text"].split(" ")
            pieces = [w + " " * (i + 1 < len(words)) for i, w in enumerate(words)]
            deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": p} for p in pieces]
        else:
            empty = {**block, "input": {}}
            text = json.dumps(block["input"])
            cut = len(text) // 2
            deltas = [{"type": "input_json_delta", "partial_json": p} for p in ("", text[:cut], text[cut:])]
        found.append(sse({"type": "content_block_start", "index": at, "content_block": empty}))
        found += [sse({"type": "content_block_delta", "index": at, "delta": d}) for d in deltas]
        found.append(sse({"type": "content_block_stop", "index": at}))
    end = {"stop_reason": reason, "stop_sequence": None}
    found.append(sse({"type": "message_delta", "delta": end, "usage": {"output_tokens": 12}}))
    return [*found, sse({"type": "message_stop"})]


def wrong(body: dict[str, Any]) -> str:
    """What the API refuses in a request, as far as it is known."""
    if not isinstance(body.get("max_tokens"), int):
        return "max_tokens: Field required"
    said: list[dict[str, Any]] = body.get("messages") or []
    if not said or said[0]["role"] != "user":
        return "messages: first message must use the user role"
    waiting: list[str] = []
    for before, message in zip([{}, *said], said, strict=False):
        if message["role"] == before.get("role"):
            return "messages: roles must alternate"
        content = message["content"]
        content = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results = [p["tool_use_id"] for p in content if p["type"] == "tool_result"]
        if sorted(results) != sorted(waiting):
            return "tool_use ids were found without tool_result blocks immediately after"
        if any(p["type"] == "text" and not p["text"] for p in content):
            return "messages: text content blocks must be non-empty"
        waiting = [p["id"] for p in content if p["type"] == "tool_use"]
    return ""


@dataclass
class FakeClaude:
    """command: what its tool calls run ("" for a text). error: (status, type, message), no answer."""

    command: str = ""
    tool: str = "exec_command"
    text: str = TEXT
    reason: str = ""
    error: tuple[int, str, str] | None = None
    cut: int = 0  # so many events, and then the connection ends
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    sent: bytes = b""
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.headers.append({k.lower(): v for k, v in request.headers.items()})
        if self.error is None and request.headers.get("x-api-key") != KEY:
            self.error = (401, "authentication_error", "invalid x-api-key")
        if self.error is None and (why := wrong(body)):
            self.error = (400, "invalid_request_error", why)
        if self.error is not None:
            status, kind, message = self.error
            error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
            return web.json_response(error, status=status, headers={"retry-after": "7"})
        done = any(
            p["type"] == "tool_result" for m in body["messages"] for p in m["content"] if isinstance(p, dict)
        )
        command = "" if done else self.command
        content = blocks(command, self.tool, self.text)
        reason = self.reason or ("tool_use" if command else "end_turn")
        model = body["model"]
        if body.get("stream"):
            return await self.stream(request, events(model, content, reason))
        whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": content,
                 "stop_reason": reason, "usage": {**USAGE, "output_tokens": 12}}  # fmt: skip
        return web.json_response(whole)

    async def stream(self, request: web.Request, parts: list[bytes]) -> web.StreamResponse:
        if self.cut:
            parts = parts[: self.cut]
        self.sent = b"".join(parts)
        answer = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await answer.prepare(request)
        for part in parts:
            await answer.write(part)
        await answer.write_eof()
        return answer


@asynccontextmanager
async def fake_claude(**fields: Any) -> AsyncGenerator[FakeClaude]:
    """One upstream while the block runs; `url` ends with /v1."""
    fake = FakeClaude(**fields)
    app = web.Application(client_max_size=1 << 27)
    app.router.add_post("/v1/messages", fake.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield fake
    finally:
        await runner.cleanup()
