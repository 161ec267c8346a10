"""What does a request to the Responses API ask for? Into the form between dialects."""

from typing import Any, Final

from veilig.monitor.reading import Unreadable, mapping, mappings
from veilig.server.dialects.turns import (
    Asked,
    Call,
    Image,
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
    whole_of,
)

# Fields that change where or how fast it runs, or what is kept, and not what it is asked.
HARMLESS: Final = frozenset({
    "store", "include", "metadata", "prompt_cache_key", "prompt_cache_retention", "client_metadata",
    "service_tier", "safety_identifier", "user", "stream", "stream_options", "model", "input", "instructions",
    "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens", "temperature", "top_p", "reasoning",
    "text", "truncation", "background",
})  # fmt: skip
CONTENT: Final = frozenset({"input_text", "output_text", "text", "summary_text", "refusal"})


def asked(body: dict[str, Any]) -> Asked:
    """The request. Raises Untranslatable, or Unreadable for a shape that is none of this API."""
    for name in ("previous_response_id", "conversation", "prompt"):
        if body.get(name) is not None:
            raise refuse(name, "send the whole conversation in `input`")
    if body.get("background"):
        raise refuse("background", "ask for a stream")
    found = Asked(str(body["model"]), bool(body.get("stream")))
    for name in sorted(set(body) - HARMLESS):
        if body[name] is not None:
            found.leave_out(name)
    if isinstance(body.get("instructions"), str):
        found.system.append(body["instructions"])
    given = body.get("input")
    if isinstance(given, str):
        found.say(Speaker.USER, Text(given))
    else:
        for item in mappings(given):
            _item(found, item)
    _tools(found, mappings(body.get("tools")))
    found.choice = _choice(body.get("tool_choice"))
    parallel = body.get("parallel_tool_calls")
    found.parallel = parallel if isinstance(parallel, bool) else None
    found.tokens_max = whole_of(body.get("max_output_tokens"))
    found.temperature, found.top_p = number_of(body.get("temperature")), number_of(body.get("top_p"))
    found.effort = str(mapping(body.get("reasoning")).get("effort") or "")
    form = mapping(mapping(body.get("text")).get("format"))
    if form.get("type") == "json_schema":
        found.schema = form
    elif form.get("type") == "json_object":
        found.schema = {}
    found.user = str(body.get("safety_identifier") or body.get("user") or "")
    return found


def _item(found: Asked, item: dict[str, Any]) -> None:
    kind = item.get("type") or "message"
    if kind == "message":
        _message(found, item)
    elif kind in ("function_call", "custom_tool_call"):
        free = kind == "custom_tool_call"
        text = str(item.get("input" if free else "arguments") or "")
        if item.get("namespace"):
            found.leave_out("input.function_call.namespace")
        found.say(
            Speaker.ASSISTANT, Call(str(item.get("call_id") or ""), str(item.get("name") or ""), text, free)
        )
    elif kind in ("function_call_output", "custom_tool_call_output"):
        found.say(Speaker.USER, Result(str(item.get("call_id") or ""), _content(item.get("output"))))
    elif kind == "reasoning":
        # What the vendor encrypted, only the vendor's models can read.
        found.leave_out("input.reasoning")
    elif kind == "item_reference":
        raise refuse("an item_reference in the input", "send the item itself")
    else:
        raise refuse(f"an input item of type {kind!r}", "leave it out")


def _message(found: Asked, item: dict[str, Any]) -> None:
    role = item.get("role")
    content = _content(item.get("content"))
    if role in ("system", "developer"):
        words = "\n".join(p.text for p in content if isinstance(p, Text))
        if found.turns:  # later on, none of the others has a place for it but the user's
            found.say(Speaker.USER, Text(words))
        else:
            found.system.append(words)
    elif role == "assistant":
        found.say(Speaker.ASSISTANT, *content)
    elif role == "user":
        found.say(Speaker.USER, *content)
    else:
        raise Unreadable(f"a message of role {role!r}")


def _content(content: object) -> tuple[Text | Image, ...]:
    parts: list[Text | Image] = []
    for part in parts_of(content):
        kind = part.get("type")
        if kind in CONTENT:
            parts.append(Text(str(part.get("text") or part.get("refusal") or "")))
        elif kind == "input_image" and isinstance(part.get("image_url"), str):
            parts.append(image_of(part["image_url"]))
        else:
            raise refuse(f"content of type {kind!r}", "send text, or an image as image_url")
    return tuple(parts)


def _tools(found: Asked, tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        kind, name = tool.get("type"), str(tool.get("name") or "")
        about = str(tool.get("description") or "")
        if kind == "function":
            found.tools.append(Tool(name, about, schema_of(tool.get("parameters"))))
        elif kind == "custom":
            grammar = mapping(tool.get("format")).get("definition")
            more = f"\nThe input follows this grammar:\n{grammar}" if isinstance(grammar, str) else ""
            found.tools.append(Tool(name, about + more, free_schema(), free=True))
        else:
            found.leave_out(f"tools.{name or kind}")  # tools that the vendor runs, or that only it knows


def _choice(value: object) -> str:
    if isinstance(value, str):
        return {"required": "any"}.get(value, value)
    given = mapping(value)
    if given.get("type") in ("function", "custom"):
        return f"tool:{given.get('name')}"
    if given:
        raise refuse(f"tool_choice of type {given.get('type')!r}", "use auto, required, none or a function")
    return ""
