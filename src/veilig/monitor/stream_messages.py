"""Which bytes of a stream of the Messages API may go on now? The same law as for the other two APIs.

A block of type `tool_use` is held from its start to its end and judged whole. Tools that the vendor runs have
run when they are shown, so they pass.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from veilig.monitor.reading import mapping
from veilig.monitor.stream import StreamWatch, ToolCall

_TEXT_EVENT = b"event: content_block_delta\ndata: "
CALLS = ("tool_use",)


@dataclass(slots=True)
class MessagesWatch(StreamWatch):
    """As its base, for `message_start` to `message_stop`."""

    _message: bool = False
    _blocks: dict[object, dict[str, Any]] = field(default_factory=dict[object, dict[str, Any]])
    _pieces: dict[object, list[str]] = field(default_factory=dict[object, list[str]])
    _shown: int = 0  # blocks whose end the client has seen

    def _is_text(self, data: bytes, at: int, end: int) -> bool:
        if not data.startswith(_TEXT_EVENT, at) or data.find(b"\n", at + len(_TEXT_EVENT), end) >= 0:
            return False
        try:
            value = orjson.loads(data[at + len(_TEXT_EVENT) : end])
            if value["type"] != "content_block_delta" or value["delta"]["type"] != "text_delta":
                return False
            text = value["delta"]["text"]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return False  # some other shape: read with care
        if isinstance(text, str):
            self._say(text)
        return isinstance(text, str)

    def _value(self, value: dict[str, Any]) -> None:
        index = value.get("index")
        match value.get("type"):
            case "message_start":
                message = mapping(value.get("message"))
                self._message = True
                self.model = str(message.get("model") or "")
                self._used(mapping(message.get("usage")))
            case "content_block_start":
                block = mapping(value.get("content_block"))
                if block.get("type") in CALLS:
                    self._open.add(index)
                    self._blocks[index], self._pieces[index] = block, []
                elif isinstance(block.get("text"), str):
                    self._say(block["text"])
            case "content_block_delta":
                delta = mapping(value.get("delta"))
                if isinstance(delta.get("text"), str):
                    self._say(delta["text"])
                elif isinstance(delta.get("partial_json"), str) and index in self._pieces:
                    self._pieces[index].append(delta["partial_json"])
            case "content_block_stop":
                if index in self._open:
                    self._check(_call(self._blocks.pop(index), "".join(self._pieces.pop(index))))
                    self._open.discard(index)
                self._shown += self.stopped is None
            case "message_delta":
                self._used(mapping(value.get("usage")))
            case "message_stop":
                self.ended = True
            case _:
                pass

    def _used(self, usage: dict[str, Any]) -> None:
        self.usage = (self.usage or {}) | {k: v for k, v in usage.items() if v is not None}

    def stop_bytes(self) -> bytes:
        """A refusal in the words of this API where the policy stopped it, else an error."""
        if self.stopped is None:
            return b""
        if not self._message or self.stopped.code != "cyber_policy":
            kind = "invalid_request_error" if self.stopped.code == "cyber_policy" else "api_error"
            error = {"type": kind, "message": self.stopped.message, "code": self.stopped.code}
            return _event({"type": "error", "error": error})
        at = {"index": self._shown}
        text = {"type": "text_delta", "text": self.stopped.message}
        end = {"stop_reason": "refusal", "stop_sequence": None}
        usage = {"output_tokens": (self.usage or {}).get("output_tokens", 0)}
        return b"".join((
            _event({"type": "content_block_start", **at, "content_block": {"type": "text", "text": ""}}),
            _event({"type": "content_block_delta", **at, "delta": text}),
            _event({"type": "content_block_stop", **at}),
            _event({"type": "message_delta", "delta": end, "usage": usage}),
            _event({"type": "message_stop"}),
        ))  # fmt: skip


def _call(block: dict[str, Any], arguments: str) -> ToolCall:
    try:  # as the client will write it when it sends the call back: then it is known
        text = orjson.dumps(orjson.loads(arguments) if arguments else block.get("input") or {}).decode()
    except orjson.JSONDecodeError:
        text = arguments
    return ToolCall(str(block.get("id") or ""), str(block.get("name") or ""), text)


def _event(value: dict[str, Any]) -> bytes:
    return b"event: " + str(value["type"]).encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"
