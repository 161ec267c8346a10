"""How does one ask an upstream that speaks the Messages API, and what did it say?

Source: Anthropic's API reference (Messages, streaming events, structured outputs), as the types of its Python
SDK 2.12 have it.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, cast

import orjson

from veilig.monitor.reading import mapping, mappings
from veilig.server.dialects.turns import (
    CUSTOM_INPUT,
    Asked,
    Begun,
    Call,
    CallBegun,
    CallEnd,
    CallPart,
    Ended,
    Failed,
    Image,
    Result,
    Said,
    Spoke,
    Text,
    Thought,
    Turn,
    Usage,
    Why,
    count_of,
    refuse,
)

PATH: Final = "/messages"
_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")
WHY: Final = {
    "end_turn": Why.STOP,
    "stop_sequence": Why.STOP,
    "pause_turn": Why.STOP,
    "tool_use": Why.CALLS,
    "max_tokens": Why.LENGTH,
    "model_context_window_exceeded": Why.LENGTH,
    "refusal": Why.REFUSED,
}


def written(asked: Asked, tokens_max: int) -> bytes:
    """The request's body. tokens_max: where it states no bound, which this API demands."""
    body: dict[str, Any] = {
        "model": asked.model,
        "max_tokens": max(1, asked.tokens_max or tokens_max),
        "messages": [_turn(turn) for turn in asked.turns],
    }
    if asked.stream:
        body["stream"] = True
    if words := "\n\n".join(s for s in asked.system if s.strip()):
        body["system"] = words
    if asked.tools:
        body["tools"] = [
            {"name": t.name, "input_schema": t.schema}
            | ({"description": t.description} if t.description else {})
            for t in asked.tools
        ]
        if choice := _choice(asked):
            body["tool_choice"] = choice
    if asked.temperature is not None:
        body["temperature"] = min(1.0, asked.temperature)
        if asked.temperature > 1:
            asked.leave_out("temperature above 1")
        if asked.top_p is not None:
            asked.leave_out("top_p")  # this API takes one of the two
    elif asked.top_p is not None:
        body["top_p"] = asked.top_p
    if asked.stop:
        body["stop_sequences"] = [s for s in asked.stop if s.strip()]
    if asked.schema is not None:
        if not asked.schema:
            raise refuse("a format of json_object", "give a json_schema")
        body["output_config"] = {
            "format": {"type": "json_schema", "schema": mapping(asked.schema.get("schema"))}
        }
    if asked.user:
        body["metadata"] = {"user_id": asked.user[:256]}
    if asked.effort:
        asked.leave_out("reasoning.effort")
    return orjson.dumps(body)


def _choice(asked: Asked) -> dict[str, Any] | None:
    choice: dict[str, Any] | None = None
    if asked.choice.startswith("tool:"):
        choice = {"type": "tool", "name": asked.choice.removeprefix("tool:")}
    elif asked.choice in ("auto", "any", "none"):
        choice = {"type": asked.choice}
    if asked.parallel is False and asked.choice != "none":
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return choice


def _turn(turn: Turn) -> dict[str, Any]:
    # What tools answered comes first: this API refuses anything between a call and its result.
    parts = sorted(turn.parts, key=lambda p: not isinstance(p, Result))
    return {"role": str(turn.speaker), "content": [_part(p) for p in parts]}


def _part(part: Text | Image | Call | Result) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            if part.url:
                return {"type": "image", "source": {"type": "url", "url": part.url}}
            source = {"type": "base64", "media_type": part.media_type, "data": part.data}
            return {"type": "image", "source": source}
        case Call():
            return {"type": "tool_use", "id": _id(part.id), "name": part.name, "input": _input(part)}
        case Result():
            content = [_part(p) for p in part.parts if not isinstance(p, Text) or p.text]
            found: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(part.call), "content": content}
            return {**found, "is_error": True} if part.failed else found


def _id(text: str) -> str:
    return _ID.sub("_", text) or "call"


def _input(call: Call) -> dict[str, Any]:
    if call.free:
        return {CUSTOM_INPUT: call.arguments}
    try:
        value = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        return {"arguments": call.arguments}  # as the model wrote it; this API takes objects only
    return cast(dict[str, Any], value) if isinstance(value, dict) else {"arguments": call.arguments}


# --- the answer ---------------------------------------------------------------------------------------------


def whole(value: dict[str, Any]) -> Iterator[Said]:
    """An answer that is not streamed. Raises Unreadable."""
    yield Begun(str(value.get("model") or ""))
    for block in mappings(value.get("content")):
        match block.get("type"):
            case "text":
                yield Spoke(str(block.get("text") or ""))
            case "thinking":
                yield Thought(str(block.get("thinking") or ""))
            case "tool_use":
                yield CallBegun(str(block.get("id") or ""), str(block.get("name") or ""))
                yield CallPart(orjson.dumps(block.get("input") or {}).decode())
                yield CallEnd()
            case _:
                pass  # encrypted reasoning, and what the vendor's own tools did
    yield Ended(_why(value.get("stop_reason")), _usage(mapping(value.get("usage"))))


def _why(reason: object) -> Why:
    return WHY.get(str(reason), Why.STOP)


def _usage(usage: dict[str, Any]) -> Usage:
    cached = count_of(usage, "cache_read_input_tokens")
    read = count_of(usage, "input_tokens") + cached + count_of(usage, "cache_creation_input_tokens")
    return Usage(read, count_of(usage, "output_tokens"), cached, "output_tokens" in usage)


class Stream:
    """The events of a streamed answer."""

    def __init__(self) -> None:
        self._in_call = False
        self._given = ""  # arguments that stood in the start of a block
        self._parts = False
        self._usage: dict[str, Any] = {}
        self._why = Why.STOP
        self.over = False

    def event(self, data: bytes) -> Iterator[Said]:
        """What one event says. Raises Unreadable, or JSONDecodeError."""
        value = mapping(orjson.loads(data))
        match value.get("type"):
            case "message_start":
                message = mapping(value.get("message"))
                self._usage |= {k: v for k, v in mapping(message.get("usage")).items() if v is not None}
                yield Begun(str(message.get("model") or ""))
            case "content_block_start":
                yield from self._start(mapping(value.get("content_block")))
            case "content_block_delta":
                yield from self._delta(mapping(value.get("delta")))
            case "content_block_stop":
                yield from self._stop()
            case "message_delta":
                reason = mapping(value.get("delta")).get("stop_reason")
                self._why = _why(reason) if reason else self._why
                self._usage |= {k: v for k, v in mapping(value.get("usage")).items() if v is not None}
            case "message_stop":
                self.over = True
                yield Ended(self._why, _usage(self._usage))
            case "error":
                self.over = True
                error = mapping(value.get("error"))
                yield Failed(str(error.get("type") or "upstream_error"), str(error.get("message") or ""))
            case _:
                pass  # ping, and events that are yet to be invented, which the API asks clients to pass over

    def _start(self, block: dict[str, Any]) -> Iterator[Said]:
        if block.get("type") == "tool_use":
            self._in_call, self._parts = True, False
            self._given = orjson.dumps(block["input"]).decode() if block.get("input") else ""
            yield CallBegun(str(block.get("id") or ""), str(block.get("name") or ""))
        elif block.get("type") == "text" and block.get("text"):
            yield Spoke(str(block["text"]))

    def _delta(self, delta: dict[str, Any]) -> Iterator[Said]:
        match delta.get("type"):
            case "text_delta":
                yield Spoke(str(delta.get("text") or ""))
            case "thinking_delta":
                yield Thought(str(delta.get("thinking") or ""))
            case "input_json_delta" if self._in_call:
                self._parts = self._parts or bool(delta.get("partial_json"))
                yield CallPart(str(delta.get("partial_json") or ""))
            case _:
                pass

    def _stop(self) -> Iterator[Said]:
        if self._in_call:
            self._in_call = False
            if not self._parts:
                yield CallPart(self._given or "{}")
            yield CallEnd()
