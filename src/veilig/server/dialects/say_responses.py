"""How does an answer look in the Responses API? Its events, and the whole.

Codex acts on `output_item.done` and needs `response.completed`; the SDK builds the answer from the events.
"""

import secrets
import time
from typing import Any, Final

import orjson

from veilig.monitor.reading import mapping
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

ECHOED: Final = (
    "instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "reasoning", "temperature",
    "text", "tool_choice", "tools", "top_p", "truncation",
)  # fmt: skip


class Writer:
    """Writes one answer. model: as it is called here. free: names of tools that take text."""

    def __init__(self, body: dict[str, Any], model: str, free: frozenset[str]) -> None:
        self.usage = Usage()
        self.ended = False
        self._free = free
        self._id = "resp_" + secrets.token_hex(12)
        self._output: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        self._text: list[str] = []
        self._number = 0
        self._base: dict[str, Any] = {
            "id": self._id, "object": "response", "created_at": int(time.time()), "status": "in_progress",
            "error": None, "incomplete_details": None, "model": model, "output": [], "metadata": {},
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": None,
            "top_p": None, "instructions": None, "previous_response_id": None, "store": False, "usage": None,
        } | {k: body[k] for k in ECHOED if body.get(k) is not None}  # fmt: skip

    def said(self, one: Said) -> bytes:
        """The events for it."""
        out: list[bytes] = []
        match one:
            case Begun():
                self._event(out, "response.created", response=self._base)
                self._event(out, "response.in_progress", response=self._base)
            case Spoke():
                self._begin(out, "message")
                self._piece(out, "response.output_text.delta", one.text, content_index=0, logprobs=[])
            case Thought():
                self._begin(out, "reasoning")
                self._piece(out, "response.reasoning_summary_text.delta", one.text, summary_index=0)
            case CallBegun():
                self._close(out)
                self._call(out, one)
            case CallPart():
                if self._open is not None and self._open["type"] == "function_call":
                    self._piece(out, "response.function_call_arguments.delta", one.text)
                else:
                    self._text.append(one.text)
            case CallEnd():
                self._close(out)
            case Ended():
                self._close(out)
                self._end(out, one)
            case Failed():
                failed = self._whole("failed") | {"error": {"code": one.code, "message": one.message}}
                self._event(out, "response.failed", response=failed)
                self.ended = True
        return b"".join(out)

    def whole(self) -> dict[str, Any]:
        """The answer so far, as one object."""
        return self._base

    def _event(self, out: list[bytes], kind: str, **fields: Any) -> None:
        value = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        out.append(b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n")

    def _begin(self, out: list[bytes], kind: str) -> None:
        if self._open is not None and self._open["type"] == kind:
            return
        self._close(out)
        name = "msg_" if kind == "message" else "rs_"
        item: dict[str, Any] = {"type": kind, "id": name + secrets.token_hex(8)}
        self._open = item
        if kind == "message":
            item |= {"status": "in_progress", "role": "assistant", "content": []}
            self._event(out, "response.output_item.added", output_index=len(self._output), item=item)
            self._at(out, "response.content_part.added", content_index=0, part=_text_part(""))
        else:
            item["summary"] = []
            self._event(out, "response.output_item.added", output_index=len(self._output), item=item)
            part = {"type": "summary_text", "text": ""}
            self._at(out, "response.reasoning_summary_part.added", summary_index=0, part=part)

    def _call(self, out: list[bytes], one: CallBegun) -> None:
        free = one.name in self._free
        self._open = {
            "type": "custom_tool_call" if free else "function_call",
            "id": ("ctc_" if free else "fc_") + secrets.token_hex(8),
            "call_id": one.id, "name": one.name, "status": "in_progress",
        } | ({"input": ""} if free else {"arguments": ""})  # fmt: skip
        self._event(out, "response.output_item.added", output_index=len(self._output), item=self._open)

    def _at(self, out: list[bytes], kind: str, **fields: Any) -> None:
        """An event about the open item."""
        item = mapping(self._open)
        self._event(out, kind, item_id=item["id"], output_index=len(self._output), **fields)

    def _piece(self, out: list[bytes], kind: str, text: str, **fields: Any) -> None:
        self._text.append(text)
        self._at(out, kind, delta=text, **fields)

    def _close(self, out: list[bytes]) -> None:
        if self._open is None:
            return
        item, text = self._open, "".join(self._text)
        self._text.clear()
        match item["type"]:
            case "message":
                part = _text_part(text)
                self._at(out, "response.output_text.done", content_index=0, text=text, logprobs=[])
                self._at(out, "response.content_part.done", content_index=0, part=part)
                done = {**item, "status": "completed", "content": [part]}
            case "reasoning":
                part = {"type": "summary_text", "text": text}
                self._at(out, "response.reasoning_summary_text.done", summary_index=0, text=text)
                self._at(out, "response.reasoning_summary_part.done", summary_index=0, part=part)
                done = {**item, "summary": [part]}
            case "custom_tool_call":
                given = free_text(text)
                self._at(out, "response.custom_tool_call_input.done", input=given)
                done = {**item, "status": "completed", "input": given}
            case _:
                self._at(out, "response.function_call_arguments.done", arguments=text)
                done = {**item, "status": "completed", "arguments": text or "{}"}
        self._event(out, "response.output_item.done", output_index=len(self._output), item=done)
        self._output.append(done)
        self._open = None

    def _whole(self, status: str) -> dict[str, Any]:
        self._base = self._base | {"status": status, "output": self._output}
        return self._base

    def _end(self, out: list[bytes], one: Ended) -> None:
        self.usage, self.ended = one.usage, True
        cut = {Why.LENGTH: "max_output_tokens", Why.REFUSED: "content_filter"}.get(one.why)
        whole = self._whole("incomplete" if cut else "completed")
        whole["usage"] = {
            "input_tokens": one.usage.read,
            "input_tokens_details": {"cached_tokens": one.usage.cached},
            "output_tokens": one.usage.written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": one.usage.read + one.usage.written,
        }
        if cut:
            whole["incomplete_details"] = {"reason": cut}
        self._event(out, "response.incomplete" if cut else "response.completed", response=whole)


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}
