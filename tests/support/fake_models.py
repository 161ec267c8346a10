"""A scripted upstream with the OpenAI API on loopback: it answers as told, counts and remembers."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

USAGE = {"input_tokens": 30, "output_tokens": 12, "total_tokens": 42}
CHAT_USAGE = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
TEXT = "hello there, all is well"


def call_item(command: str, name: str = "exec_command") -> dict[str, Any]:
    arguments = json.dumps({"cmd": command})
    return {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name, "arguments": arguments}


def message_item(text: str = TEXT) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}


def response(model: str, output: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": model,
        "output": output, "error": None, "incomplete_details": None, "instructions": None,
        "parallel_tool_calls": False,
        "tool_choice": "auto", "tools": [], "temperature": 1.0, "top_p": 1.0, "metadata": {},
        "usage": USAGE if status == "completed" else None,
    }  # fmt: skip


def events(model: str, item: dict[str, Any]) -> list[bytes]:
    """The Responses stream of one output item."""
    found: list[bytes] = []

    def add(kind: str, **fields: Any) -> None:
        value = {"type": kind, "sequence_number": len(found), **fields}
        found.append(f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode())

    at = {"item_id": item["id"], "output_index": 0}
    add("response.created", response=response(model, [], "in_progress"))
    if item["type"] == "message":
        part = {"type": "output_text", "text": "", "annotations": []}
        add(
            "response.output_item.added",
            output_index=0,
            item={**item, "content": [], "status": "in_progress"},
        )
        add("response.content_part.added", content_index=0, part=part, **at)
        text = item["content"][0]["text"]
        for word in text.split(" "):
            add("response.output_text.delta", content_index=0, delta=word + " ", **at)
        add("response.output_text.done", content_index=0, text=text, **at)
        add("response.content_part.done", content_index=0, part=item["content"][0], **at)
    else:
        add("response.output_item.added", output_index=0, item={**item, "arguments": ""})
        add("response.function_call_arguments.delta", delta=item["arguments"], **at)
        add("response.function_call_arguments.done", arguments=item["arguments"], **at)
    add("response.output_item.done", output_index=0, item=item)
    add("response.completed", response=response(model, [item]))
    return found


def chunks(model: str, command: str = "") -> list[bytes]:
    """The Chat Completions stream of a text, or of one tool call."""

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model,
                 "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}  # fmt: skip
        return b"data: " + json.dumps(value).encode() + b"\n\n"

    found = [chunk({"role": "assistant", "content": ""})]
    if command:
        made = {"name": "exec_command", "arguments": json.dumps({"cmd": command})}
        found.append(
            chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": made}]})
        )
    else:
        found += [chunk({"content": word + " "}) for word in TEXT.split(" ")]
    return [*found, chunk({}, "tool_calls" if command else "stop", usage=CHAT_USAGE), b"data: [DONE]\n\n"]


@dataclass
class FakeModels:
    """command: what its tool calls run ("" for a text). status: not 200 to fail."""

    command: str = ""
    status: int = 200
    pause_s: float = 0.0
    raw: bytes | None = None  # instead of a stream
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    paths: list[str] = field(default_factory=list[str])
    sent: bytes = b""
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.paths.append(request.path_qs)
        self.headers.append({k.lower(): v for k, v in request.headers.items()})
        if self.status != 200:
            return web.json_response({"error": {"message": "no", "code": "no"}}, status=self.status)
        model, kind = body["model"], request.path.rsplit("/", 1)[1]
        given = body.get("input") if isinstance(body.get("input"), list) else []
        done = any(str(i.get("type", "")).endswith("_output") for i in given if isinstance(i, dict))
        done = done or any(m.get("role") == "tool" for m in body.get("messages", []))
        item = message_item() if done or not self.command else call_item(self.command)
        if kind == "embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.1] * 8}]
            return web.json_response({"object": "list", "model": model, "data": data, "usage": CHAT_USAGE})
        if body.get("stream"):
            parts = (
                events(model, item) if kind == "responses" else chunks(model, "" if done else self.command)
            )
            return await self.stream(request, [self.raw] if self.raw is not None else parts)
        if kind == "responses":
            return web.json_response(response(model, [item]))
        message: dict[str, Any] = {"role": "assistant", "content": TEXT}
        if self.command and not done:
            made = {"name": "exec_command", "arguments": json.dumps({"cmd": self.command})}
            message["tool_calls"] = [{"id": "call_1", "type": "function", "function": made}]
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        value = {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
        return web.json_response({**value, "usage": CHAT_USAGE})

    async def stream(self, request: web.Request, parts: list[bytes]) -> web.StreamResponse:
        import asyncio

        self.sent = b"".join(parts)
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for part in parts:
            await answer.write(part)
            if self.pause_s:
                await asyncio.sleep(self.pause_s)
        await answer.write_eof()
        return answer


@asynccontextmanager
async def fake_models(**fields: Any) -> AsyncGenerator[FakeModels]:
    """One upstream while the block runs; `url` ends with /v1."""
    fake = FakeModels(**fields)
    app = web.Application(client_max_size=1 << 27)
    app.router.add_post("/v1/{kind:.*}", fake.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield fake
    finally:
        await runner.cleanup()
