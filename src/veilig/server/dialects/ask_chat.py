"""What does a request to the Chat Completions API ask for? Into the form between dialects."""

from typing import Any, Final

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
    free_schema,
    image_of,
    number_of,
    parts_of,
    refuse,
    schema_of,
    texts_of,
    whole_of,
)

HARMLESS: Final = frozenset({
    "model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "response_format",
    "reasoning_effort", "user", "safety_identifier", "store", "metadata", "service_tier", "prompt_cache_key",
    "n",
})  # fmt: skip


def asked(body: dict[str, Any]) -> Asked:
    """The request. Raises Untranslatable, or Unreadable for a shape that is none of this API."""
    if body.get("n") not in (None, 1):
        raise refuse("n above 1", "ask once for each answer")
    for name in ("functions", "audio", "web_search_options"):
        if body.get(name):
            raise refuse(name, "use `tools`" if name == "functions" else "leave it out")
    if body.get("logprobs"):
        raise refuse("logprobs", "leave it out")
    found = Asked(str(body["model"]), bool(body.get("stream")))
    for name in sorted(set(body) - HARMLESS):
        if body[name] not in (None, False, [], {}, 0):
            found.leave_out(name)
    for message in mappings(body.get("messages")):
        _message(found, message)
    for tool in mappings(body.get("tools")):
        _tool(found, tool)
    found.choice = _choice(body.get("tool_choice"))
    parallel = body.get("parallel_tool_calls")
    found.parallel = parallel if isinstance(parallel, bool) else None
    most = body.get("max_completion_tokens")
    found.tokens_max = whole_of(body.get("max_tokens") if most is None else most)
    found.temperature, found.top_p = number_of(body.get("temperature")), number_of(body.get("top_p"))
    found.stop = texts_of(body.get("stop"))
    found.effort = str(body.get("reasoning_effort") or "")
    form = mapping(body.get("response_format"))
    if form.get("type") == "json_schema":
        found.schema = mapping(form.get("json_schema"))
    elif form.get("type") == "json_object":
        found.schema = {}
    found.user = str(body.get("safety_identifier") or body.get("user") or "")
    found.usage_wanted = bool(mapping(body.get("stream_options")).get("include_usage"))
    return found


def _message(found: Asked, message: dict[str, Any]) -> None:
    role = message.get("role")
    if role in ("system", "developer"):
        words = "\n".join(p.text for p in _content(message.get("content")) if isinstance(p, Text))
        if found.turns:
            found.say(Speaker.USER, Text(words))
        else:
            found.system.append(words)
    elif role == "user":
        found.say(Speaker.USER, *_content(message.get("content")))
    elif role == "assistant":
        parts: list[Part] = [*_content(message.get("content"))]
        if isinstance(message.get("refusal"), str):
            parts.append(Text(message["refusal"]))
        for call in mappings(message.get("tool_calls")):
            free = call.get("type") == "custom"
            made = mapping(call.get("custom" if free else "function"))
            text = str(made.get("input" if free else "arguments") or "")
            parts.append(Call(str(call.get("id") or ""), str(made.get("name") or ""), text, free))
        found.say(Speaker.ASSISTANT, *parts)
    elif role == "tool":
        call = str(message.get("tool_call_id") or "")
        found.say(Speaker.USER, Result(call, _content(message.get("content"))))
    else:
        raise Unreadable(f"a message of role {role!r}")


def _content(content: object) -> tuple[Text | Image, ...]:
    parts: list[Text | Image] = []
    for part in parts_of(content):
        kind = part.get("type")
        if kind in ("text", "refusal"):
            parts.append(Text(str(part.get(kind) or "")))
        elif kind == "image_url":
            parts.append(image_of(str(mapping(part.get("image_url")).get("url") or "")))
        else:
            raise refuse(f"content of type {kind!r}", "send text or image_url")
    return tuple(parts)


def _tool(found: Asked, tool: dict[str, Any]) -> None:
    if tool.get("type") == "function":
        made = mapping(tool.get("function"))
        about = str(made.get("description") or "")
        found.tools.append(Tool(str(made.get("name") or ""), about, schema_of(made.get("parameters"))))
    elif tool.get("type") == "custom":
        made = mapping(tool.get("custom"))
        about = str(made.get("description") or "")
        found.tools.append(Tool(str(made.get("name") or ""), about, free_schema(), free=True))
    else:
        found.leave_out(f"tools.{tool.get('type')}")


def _choice(value: object) -> str:
    if isinstance(value, str):
        return {"required": "any"}.get(value, value)
    given = mapping(value)
    kind = given.get("type")
    if kind in ("function", "custom"):
        return f"tool:{mapping(given.get(str(kind))).get('name')}"
    if given:
        raise refuse(f"tool_choice of type {kind!r}", "use auto, required, none or a function")
    return ""
