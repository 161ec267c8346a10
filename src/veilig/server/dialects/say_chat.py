"""How does an answer look in the Chat Completions API? Its chunks, and the whole."""

import secrets
import time
from typing import Any

import orjson

from veilig.server.dialects.turns import (
    Begun,
    CallBegun,
    CallEnd,
    CallPart,
    Ended,
    Failed,
    Said,
    Spoke,
    Thought,
    Usage,
    Why,
    free_text,
)

FINISH = {Why.STOP: "stop", Why.LENGTH: "length", Why.CALLS: "tool_calls", Why.REFUSED: "content_filter"}


class Writer:
    """Writes one answer. model: as it is called here. free: names of tools that take text."""

    def __init__(self, model: str, free: frozenset[str], *, usage_wanted: bool) -> None:
        self.usage = Usage()
        self.ended = False
        self._free = free
        self._usage_wanted = usage_wanted
        self._base: dict[str, Any] = {
            "id": "chatcmpl-" + secrets.token_hex(12),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._text: list[str] = []
        self._thought: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._arguments: list[str] = []
        self._finish = "stop"

    def said(self, one: Said) -> bytes:
        """The chunks for it."""
        match one:
            case Begun():
                return self._chunk({"role": "assistant", "content": ""})
            case Spoke():
                self._text.append(one.text)
                return self._chunk({"content": one.text})
            case Thought():
                self._thought.append(one.text)
                return self._chunk({"reasoning_content": one.text})
            case CallBegun():
                return self._begin(one)
            case CallPart():
                self._arguments.append(one.text)
                return b"" if self._open_is_free() else self._part({"function": {"arguments": one.text}})
            case CallEnd():
                return self._end_call()
            case Ended():
                return self._end(one)
            case Failed():
                self.ended = True
                error = {"message": one.message, "type": "server_error", "param": None, "code": one.code}
                return b"data: " + orjson.dumps({"error": error}) + b"\n\n"

    def _begin(self, one: CallBegun) -> bytes:
        kind, field = ("custom", "input") if one.name in self._free else ("function", "arguments")
        self._calls.append({"id": one.id, "type": kind, kind: {"name": one.name, field: ""}})
        self._arguments = []
        return self._part(self._calls[-1])

    def _open_is_free(self) -> bool:
        return bool(self._calls) and self._calls[-1]["type"] == "custom"

    def _end_call(self) -> bytes:
        text = "".join(self._arguments)
        if self._open_is_free():
            given = free_text(text)
            self._calls[-1] = self._calls[-1] | {"custom": {**self._calls[-1]["custom"], "input": given}}
            return self._part({"custom": {"input": given}})
        made = {**self._calls[-1]["function"], "arguments": text or "{}"}
        self._calls[-1] = self._calls[-1] | {"function": made}
        return b""

    def _part(self, call: dict[str, Any]) -> bytes:
        return self._chunk({"tool_calls": [{"index": len(self._calls) - 1, **call}]})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: " + orjson.dumps({**self._base, "choices": [choice]}) + b"\n\n"

    def _end(self, one: Ended) -> bytes:
        self.usage, self.ended, self._finish = one.usage, True, FINISH[one.why]
        out = self._chunk({}, self._finish)
        if self._usage_wanted:
            last: dict[str, Any] = {**self._base, "choices": [], "usage": self._counted()}
            out += b"data: " + orjson.dumps(last) + b"\n\n"
        return out + b"data: [DONE]\n\n"

    def _counted(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.usage.read,
            "completion_tokens": self.usage.written,
            "total_tokens": self.usage.read + self.usage.written,
            "prompt_tokens_details": {"cached_tokens": self.usage.cached},
        }

    def whole(self) -> dict[str, Any]:
        """The answer as one object."""
        text = "".join(self._text)
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not self._calls else None}
        if self._thought:
            message["reasoning_content"] = "".join(self._thought)
        if self._calls:
            message["tool_calls"] = self._calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish}
        return {**self._base, "object": "chat.completion", "choices": [choice], "usage": self._counted()}
