"""What does the replay server say, and what was it asked? The values of its scripts and its tests."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

type Form = Literal["responses", "chat", "anthropic", "google"]

PIECES = 3  # a text is streamed in so many pieces


@dataclass(frozen=True)
class Call:
    """A tool the model wants; `arguments` as text is sent as it stands, JSON or not."""

    name: str
    arguments: dict[str, Any] | str
    id: str = ""

    @property
    def written(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True)
class Answer:
    """What the model says, or what goes wrong.

    reasoning: text whose signature is `sig:` and that text. stop: "length" for an answer cut by its bound.
    cut_after: events after which the connection closes. delay_s: before the answer; pause_s: between events.
    error: with a status, before the stream; without, in the middle of it.
    raw: a body that is no model's answer.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    reasoning: str = ""
    refusal: str = ""
    stop: Literal["", "length"] = ""
    status: int = 200
    error: str = ""
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cut_after: int | None = None
    delay_s: float = 0.0
    pause_s: float = 0.0
    raw: bytes | None = None
    tokens_in: int = 100
    tokens_cached: int = 40
    tokens_out: int = 10


@dataclass
class Request:
    """One request as it came. `answered`: what it got."""

    form: Form
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    size_bytes: int
    answered: Answer | None = None

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream")) or ":streamGenerateContent" in self.path

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation, in the vendor's form."""
        return self.body.get("input") or self.body.get("messages") or self.body.get("contents") or []

    @property
    def tools(self) -> list[str]:
        """The names of what the model may call."""
        found: list[str] = []
        for tool in self.body.get("tools") or []:
            inner = tool.get("functionDeclarations") or [tool.get("function") or tool]
            found += [item["name"] for item in inner]
        return found

    @property
    def results(self) -> list[tuple[str, str]]:
        """(call id, text) of every tool result in the conversation."""
        found: list[tuple[str, str]] = []
        for item in self.messages:
            if item.get("type") == "function_call_output":
                found.append((item["call_id"], _text(item["output"])))
            elif item.get("role") == "tool":
                found.append((item["tool_call_id"], _text(item["content"])))
            content: Any = item.get("content")
            for part in content if isinstance(content, list) else []:
                if part.get("type") == "tool_result":
                    found.append((part["tool_use_id"], _text(part.get("content", ""))))
            for part in item.get("parts") or []:
                if answer := part.get("functionResponse"):
                    found.append((answer.get("id", ""), _text(answer["response"])))
        return found

    @property
    def text(self) -> str:
        """Everything that was sent, as one text to look for words in."""
        return json.dumps(self.body, ensure_ascii=False)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(_text(item) for item in value)
    if isinstance(value, dict):
        return str(value.get("text", value.get("return_value", value.get("output", ""))))
    return str(value)


def event(data: Any, kind: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return f"{f'event: {kind}\n' if kind else ''}data: {text}\n\n".encode()


def pieces(text: str) -> list[str]:
    size = max(1, -(-len(text) // PIECES))
    return [text[i : i + size] for i in range(0, len(text), size)]
