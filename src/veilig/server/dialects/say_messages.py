"""How does an answer look in the Messages API? Its events, and the whole."""

import secrets
from typing import Any, cast

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
)

REASON = {
    Why.STOP: "end_turn",
    Why.LENGTH: "max_tokens",
    Why.CALLS: "tool_use",
    Why.REFUSED: "refusal",
}


class Writer:
    """Writes one answer. model: as it is called here."""

    def __init__(self, model: str) -> None:
        self.usage = Usage()
        self.ended = False
        self._message: dict[str, Any] = {
            "id": "msg_" + secrets.token_hex(12), "type": "message", "role": "assistant", "model": model,
            "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }  # fmt: skip
        self._blocks: list[dict[str, Any]] = []
        self._open = ""
        self._text: list[str] = []

    def said(self, one: Said) -> bytes:
        """The events for it."""
        out: list[bytes] = []
        match one:
            case Begun():
                self._event(out, "message_start", message=self._message)
            case Spoke():
                if self._open != "text":
                    self._close(out)
                    self._begin(out, {"type": "text", "text": ""})
                self._delta(out, one.text, {"type": "text_delta", "text": one.text})
            case Thought():
                pass  # unsigned, so that no client of this API could send it back
            case CallBegun():
                self._close(out)
                self._begin(out, {"type": "tool_use", "id": one.id, "name": one.name, "input": {}})
            case CallPart():
                self._delta(out, one.text, {"type": "input_json_delta", "partial_json": one.text})
            case CallEnd():
                self._close(out)
            case Ended():
                self._close(out)
                self._end(out, one)
            case Failed():
                self.ended = True
                self._event(
                    out, "error", error={"type": "api_error", "message": one.message, "code": one.code}
                )
        return b"".join(out)

    def whole(self) -> dict[str, Any]:
        """The answer as one object."""
        return self._message

    def _event(self, out: list[bytes], kind: str, **fields: Any) -> None:
        out.append(
            b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"
        )

    def _begin(self, out: list[bytes], block: dict[str, Any]) -> None:
        self._open = block["type"]
        self._text.clear()
        self._event(out, "content_block_start", index=len(self._blocks), content_block=block)
        self._blocks.append(block)

    def _delta(self, out: list[bytes], text: str, delta: dict[str, Any]) -> None:
        self._text.append(text)
        self._event(out, "content_block_delta", index=len(self._blocks) - 1, delta=delta)

    def _close(self, out: list[bytes]) -> None:
        if not self._open:
            return
        text = "".join(self._text)
        if self._open == "text":
            self._blocks[-1] = {"type": "text", "text": text}
        else:
            self._blocks[-1] = {**self._blocks[-1], "input": _object(text)}
        self._open = ""
        self._event(out, "content_block_stop", index=len(self._blocks) - 1)

    def _end(self, out: list[bytes], one: Ended) -> None:
        self.usage, self.ended = one.usage, True
        used = {
            "input_tokens": one.usage.read - one.usage.cached,
            "cache_read_input_tokens": one.usage.cached,
            "output_tokens": one.usage.written,
        }
        self._message = self._message | {
            "content": self._blocks, "stop_reason": REASON[one.why], "usage": used,
        }  # fmt: skip
        delta = {"stop_reason": REASON[one.why], "stop_sequence": None}
        self._event(out, "message_delta", delta=delta, usage=used)
        self._event(out, "message_stop")


def _object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {"arguments": text}
    return cast(dict[str, Any], value) if isinstance(value, dict) else {"arguments": text}
