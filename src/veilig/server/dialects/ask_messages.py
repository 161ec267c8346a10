"""What does a request to the Messages API ask for? Into the form between dialects."""

from typing import Any, Final

import orjson

from veilig.monitor.reading import Unreadable, mapping, mappings
from veilig.server.dialects.turns import (
    Asked,
    Call,
    Image,
    Part,
    Result,
    Speaker,
    Text,
    Tool,
    number_of,
    parts_of,
    refuse,
    schema_of,
    texts_of,
    whole_of,
)

HARMLESS: Final = frozenset({
    "model", "messages", "system", "stream", "max_tokens", "stop_sequences", "temperature", "top_p", "tools",
    "tool_choice", "metadata", "service_tier", "output_config",
})  # fmt: skip


def asked(body: dict[str, Any]) -> Asked:
    """The request. Raises Untranslatable, or Unreadable for a shape that is none of this API."""
    if body.get("mcp_servers") or body.get("container"):
        raise refuse("mcp_servers and container", "connect the client to them instead")
    found = Asked(str(body["model"]), bool(body.get("stream")))
    for name in sorted(set(body) - HARMLESS):
        if body[name] is not None and not (name == "thinking" and _off(body[name])):
            found.leave_out(name)
    found.system = [str(p.get("text") or "") for p in parts_of(body.get("system"))]
    for message in mappings(body.get("messages")):
        role = message.get("role")
        if role not in ("user", "assistant"):
            raise Unreadable(f"a message of role {role!r}")
        found.say(Speaker(role), *_parts(found, message.get("content")))
    for tool in mappings(body.get("tools")):
        if tool.get("type") in (None, "custom"):
            about = str(tool.get("description") or "")
            found.tools.append(Tool(str(tool.get("name") or ""), about, schema_of(tool.get("input_schema"))))
        else:
            found.leave_out(f"tools.{tool.get('name') or tool.get('type')}")
    choice = mapping(body.get("tool_choice"))
    kind = str(choice.get("type") or "")
    found.choice = f"tool:{choice.get('name')}" if kind == "tool" else kind
    if choice.get("disable_parallel_tool_use"):
        found.parallel = False
    found.tokens_max = whole_of(body.get("max_tokens"))
    found.temperature, found.top_p = number_of(body.get("temperature")), number_of(body.get("top_p"))
    found.stop = texts_of(body.get("stop_sequences"))
    config = mapping(body.get("output_config"))
    found.effort = str(config.get("effort") or "")
    form = mapping(config.get("format"))
    if form.get("type") == "json_schema":
        found.schema = {"name": "answer", "schema": form.get("schema"), "strict": True}
    found.user = str(mapping(body.get("metadata")).get("user_id") or "")
    return found


def _off(thinking: object) -> bool:
    return mapping(thinking).get("type") == "disabled"


def _parts(found: Asked, content: object) -> list[Part]:
    parts: list[Part] = []
    for part in parts_of(content):
        kind = part.get("type")
        if kind == "tool_use":
            text = orjson.dumps(part.get("input") or {}).decode()
            parts.append(Call(str(part.get("id") or ""), str(part.get("name") or ""), text))
        elif kind == "tool_result":
            answer = tuple(_shown(p) for p in parts_of(part.get("content")))
            parts.append(Result(str(part.get("tool_use_id") or ""), answer, bool(part.get("is_error"))))
        elif kind in ("thinking", "redacted_thinking"):
            found.leave_out("messages.thinking")  # signed for the vendor's models only
        else:
            parts.append(_shown(part))
    return parts


def _shown(part: dict[str, Any]) -> Text | Image:
    if part.get("type") == "text":
        return Text(str(part.get("text") or ""))
    source = mapping(part.get("source"))
    if part.get("type") == "image" and source.get("type") == "base64":
        return Image(str(source.get("media_type") or ""), str(source.get("data") or ""))
    if part.get("type") == "image" and source.get("type") == "url":
        return Image(url=str(source.get("url") or ""))
    raise refuse(f"content of type {part.get('type')!r}", "send text or an image")
