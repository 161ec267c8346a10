"""How does a message of ours become one of the model library, and an answer one of ours?

Both ways go through the same values: the history a model sees is built from what the ledger keeps, so that a
resumed session sends the bytes that an uninterrupted one would have sent.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from veilig.core.canonical import parse
from veilig.core.errors import InvalidAction, ProviderError
from veilig.core.message import Message, Role, ToolCall

if TYPE_CHECKING:
    from pydantic_ai.messages import (
        ModelMessage,
        ModelRequestPart,
        ModelResponse,
        ModelResponsePart,
        UserContent,
    )
    from pydantic_ai.models import ModelRequestParameters

type ReadImage = Callable[[str], bytes]

IMAGE_BYTES_MAX = 10 << 20  # the smallest bound among the vendors; a screenshot has 1 MiB
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_SUM_CHARS = 16


def read_prompt(prompt: str) -> list[Message]:
    """The messages of an action's prompt. Raises InvalidAction."""
    try:
        items = parse(prompt)
    except ValueError as error:
        raise InvalidAction("the prompt is no JSON", why=str(error)) from error
    if not isinstance(items, list) or not items:
        raise InvalidAction("the prompt is no list of messages", fix="send at least one message")
    return [Message.from_json(item) for item in items]


def read_tools(tools: str) -> "ModelRequestParameters":
    """What the model may call, from an action's list of tools. Raises InvalidAction."""
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.tools import ToolDefinition

    try:
        items: list[dict[str, Any]] = cast(Any, parse(tools)) if tools else []
        found = [
            ToolDefinition(
                name=str(item["name"]),
                description=str(item["description"]),
                parameters_json_schema=dict(item["parameters"]),
                strict=False,  # a schema stays what its author wrote
            )
            for item in items
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidAction(
            "the tools are no list of tools", why=f"{type(error).__name__}: {error}"
        ) from error
    return ModelRequestParameters(function_tools=found)


def to_library(
    messages: Iterable[Message], names: Mapping[str, str], read_image: ReadImage
) -> "list[ModelMessage]":
    """The library's messages: neighbours of one side become one request.

    names: which tool each known call named, for answers that do not say it.
    """
    from pydantic_ai.messages import ModelRequest

    found: list[ModelMessage] = []
    waiting: list[ModelRequestPart] = []
    known = dict(names)
    for message in messages:
        if message.role is Role.ASSISTANT:
            if waiting:
                found.append(ModelRequest(parts=waiting))
                waiting = []
            found.append(to_response(message))
            known.update({call.id: call.name for call in message.calls})
        else:
            waiting.append(_request_part(message, known, read_image))
    if waiting:
        found.append(ModelRequest(parts=waiting))
    return found


def _request_part(message: Message, names: Mapping[str, str], read_image: ReadImage) -> "ModelRequestPart":
    from pydantic_ai.messages import SystemPromptPart, ToolReturnPart, UserPromptPart

    if message.role is Role.SYSTEM:
        return SystemPromptPart(message.text)
    content: str | list[UserContent] = message.text
    if message.images:
        content = [message.text] if message.text else []
        content += [_image(path, read_image) for path in message.images]
    if message.role is Role.USER:
        return UserPromptPart(content)
    name = message.name or names.get(message.call, "tool")
    return ToolReturnPart(name, content, tool_call_id=message.call)


def _image(path: str, read_image: ReadImage) -> "UserContent":
    from pydantic_ai.messages import BinaryContent

    try:
        data = read_image(path)
    except OSError as error:
        raise ProviderError(f"image {path!r} cannot be read", why=str(error)) from error
    kind = next((kind for magic, kind in _MAGIC if data.startswith(magic)), "")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "image/webp"
    if not kind:
        raise ProviderError(
            f"{path!r} is no image that a model takes",
            why="its first bytes are not those of PNG, JPEG, GIF or WebP",
            fix="convert it first",
        )
    if len(data) > IMAGE_BYTES_MAX:
        raise ProviderError(
            f"image {path!r} has {len(data)} bytes",
            why=f"models take at most {IMAGE_BYTES_MAX}",
            fix="make it smaller first",
        )
    return BinaryContent(data=data, media_type=kind)


def to_response(message: Message) -> "ModelResponse":
    """An assistant's message as the library keeps it, with what its vendor wants back if intact."""
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart

    kept = _opened(message.opaque, message)
    if kept is not None:
        parts, by, system = kept
        return ModelResponse(parts=parts, provider_name=by, canonical_system=system)
    plain: list[ModelResponsePart] = [TextPart(message.text)] if message.text else []
    plain += [ToolCallPart(call.name, call.arguments, tool_call_id=call.id) for call in message.calls]
    return ModelResponse(parts=plain)


def to_message(response: "ModelResponse", seal: Callable[[str], str]) -> Message:
    """An answer as a message of ours; `seal` turns secrets in its text and arguments into handles."""
    from pydantic_ai.messages import TextPart, ToolCallPart

    texts: list[str] = []
    calls: list[ToolCall] = []
    for part in response.parts:
        if isinstance(part, TextPart):
            texts.append(seal(part.content))
        elif isinstance(part, ToolCallPart):
            arguments = part.args if isinstance(part.args, str) else json.dumps(part.args or {})
            calls.append(ToolCall(part.tool_call_id, part.tool_name, seal(arguments)))
    return Message(Role.ASSISTANT, "".join(texts), tuple(calls), opaque=_closed(response, texts))


def _closed(response: "ModelResponse", texts: Sequence[str]) -> str:
    """What the vendor wants back, as `sum{json}`; empty where the plain message says everything."""
    from pydantic_ai.messages import TextPart, ThinkingPart, ToolCallPart

    parts: list[dict[str, Any]] = []
    lengths = iter(len(text) for text in texts)
    worth = False
    for part in response.parts:
        kept: dict[str, Any]
        if isinstance(part, TextPart):
            kept = {"p": "t", "n": next(lengths), "id": part.id}
        elif isinstance(part, ToolCallPart):
            kept = {"p": "c", "id": part.id}
        elif isinstance(part, ThinkingPart):
            kept = {"p": "k", "text": part.content, "id": part.id, "sig": part.signature}
            worth = True
        else:
            continue
        kept |= {"more": part.provider_details, "by": part.provider_name}
        worth = worth or bool(part.provider_details)
        parts.append({key: value for key, value in kept.items() if value is not None})
    if not worth:
        return ""
    body = {"parts": parts, "by": response.provider_name, "system": response.canonical_system}
    try:
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError):
        return ""  # details that are no JSON were never meant to travel
    return _sum(text) + text


def _opened(opaque: str, message: Message) -> "tuple[list[ModelResponsePart], str | None, str | None] | None":
    """The parts that `_closed` kept; None when there are none, or a secret's handle or a hand changed them.

    A signature that is not exactly what the vendor gave makes it refuse the whole conversation: better to go
    on without it.
    """
    if _sum(text := opaque[_SUM_CHARS:]) != opaque[:_SUM_CHARS]:
        return None
    from pydantic_ai.messages import TextPart, ThinkingPart, ToolCallPart

    body = cast(dict[str, Any], json.loads(text))  # the sum says that it is what `_closed` wrote
    rest, calls = message.text, list(message.calls)
    parts: list[ModelResponsePart] = []
    for kept in body["parts"]:
        more = {"id": kept.get("id"), "provider_name": kept.get("by"), "provider_details": kept.get("more")}
        if kept["p"] == "t":
            parts.append(TextPart(rest[: kept["n"]], **more))
            rest = rest[kept["n"] :]
        elif kept["p"] == "c":
            if not calls:
                return None
            call = calls.pop(0)
            parts.append(ToolCallPart(call.name, call.arguments, tool_call_id=call.id, **more))
        else:
            parts.append(ThinkingPart(kept["text"], signature=kept.get("sig"), **more))
    return None if rest or calls else (parts, body.get("by"), body.get("system"))


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_SUM_CHARS]
