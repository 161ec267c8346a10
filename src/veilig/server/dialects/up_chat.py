"""How does one ask an upstream that speaks Chat Completions only, and what did it say?

vLLM, SGLang, llama.cpp and Ollama; and any OpenAI-compatible one for a client of the Messages API.
"""

from collections.abc import Iterator
from typing import Any, Final

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
    Speaker,
    Spoke,
    Text,
    Thought,
    Turn,
    Usage,
    Why,
    count_of,
    error_of,
    url_of,
)

PATH: Final = "/chat/completions"
WHY: Final = {
    "stop": Why.STOP,
    "tool_calls": Why.CALLS,
    "function_call": Why.CALLS,
    "length": Why.LENGTH,
    "content_filter": Why.REFUSED,
}


def written(asked: Asked, tokens_max: int, *, bound: str = "max_tokens") -> bytes:
    """The request's body. bound: how this upstream calls the bound of an answer."""
    del tokens_max  # this API needs no bound
    messages: list[dict[str, Any]] = []
    if words := "\n\n".join(s for s in asked.system if s.strip()):
        messages.append({"role": "system", "content": words})  # templates of open models know no developer
    for turn in asked.turns:
        messages += _assistant(turn) if turn.speaker is Speaker.ASSISTANT else _user(turn)
    body: dict[str, Any] = {"model": asked.model, "messages": messages}
    if asked.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if asked.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": t.schema},
            }
            for t in asked.tools
        ]
        if asked.choice.startswith("tool:"):
            body["tool_choice"] = {
                "type": "function",
                "function": {"name": asked.choice.removeprefix("tool:")},
            }
        elif asked.choice in ("auto", "any", "none"):
            body["tool_choice"] = "required" if asked.choice == "any" else asked.choice
        if asked.parallel is not None:
            body["parallel_tool_calls"] = asked.parallel
    optional = {
        bound: asked.tokens_max,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "stop": asked.stop or None,
        "reasoning_effort": asked.effort or None,
        "user": asked.user or None,
        "response_format": _format(asked.schema),
    }
    return orjson.dumps(body | {k: v for k, v in optional.items() if v is not None})


def _format(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    if not schema:
        return {"type": "json_object"}
    kept = {k: schema[k] for k in ("name", "schema", "strict", "description") if schema.get(k) is not None}
    return {"type": "json_schema", "json_schema": {"name": "answer", **kept}}


def _assistant(turn: Turn) -> list[dict[str, Any]]:
    text = "".join(p.text for p in turn.parts if isinstance(p, Text))
    calls = [
        {
            "id": p.id,
            "type": "function",
            "function": {
                "name": p.name,
                "arguments": orjson.dumps({CUSTOM_INPUT: p.arguments}).decode() if p.free else p.arguments,
            },
        }
        for p in turn.parts
        if isinstance(p, Call)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    return [{**message, "tool_calls": calls} if calls else message]


def _user(turn: Turn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    shown: list[Text | Image] = []
    for part in turn.parts:
        if isinstance(part, Result):
            words = "\n".join(p.text for p in part.parts if isinstance(p, Text))
            found.append({"role": "tool", "tool_call_id": part.call, "content": words})
            # A tool's message holds text only: the pictures it made follow as the user's.
            shown += [p for p in part.parts if isinstance(p, Image)]
        elif isinstance(part, Text | Image):
            shown.append(part)
    if shown and all(isinstance(p, Text) for p in shown):
        found.append({"role": "user", "content": "\n".join(p.text for p in shown if isinstance(p, Text))})
    elif shown:
        found.append({"role": "user", "content": [_part(p) for p in shown]})
    return found


def _part(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": url_of(part)}}


# --- the answer ---------------------------------------------------------------------------------------------


def whole(value: dict[str, Any]) -> Iterator[Said]:
    """An answer that is not streamed. Raises Unreadable."""
    yield Begun(str(value.get("model") or ""))
    why = Why.STOP
    for choice in mappings(value.get("choices"))[:1]:
        message = mapping(choice.get("message"))
        yield from _pieces(message)
        for call in mappings(message.get("tool_calls")):
            made = mapping(call.get("function"))
            yield CallBegun(str(call.get("id") or ""), str(made.get("name") or ""))
            yield CallPart(str(made.get("arguments") or "{}"))
            yield CallEnd()
        why = _why(choice.get("finish_reason"), bool(message.get("tool_calls")))
    yield Ended(why, _usage(mapping(value.get("usage"))))


def _pieces(message: dict[str, Any]) -> Iterator[Said]:
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str) and message[name]:
            yield Thought(message[name])
            break
    for name in ("content", "refusal"):
        if isinstance(message.get(name), str) and message[name]:
            yield Spoke(message[name])


def _why(reason: object, called: bool) -> Why:
    found = WHY.get(str(reason), Why.STOP)
    # Some servers end an answer with calls in it on "stop".
    return Why.CALLS if called and found is Why.STOP else found


def _usage(usage: dict[str, Any]) -> Usage:
    details = mapping(usage.get("prompt_tokens_details"))
    read, cached = count_of(usage, "prompt_tokens"), count_of(details, "cached_tokens")
    return Usage(read, count_of(usage, "completion_tokens"), cached, "prompt_tokens" in usage)


class Stream:
    """The chunks of a streamed answer."""

    def __init__(self) -> None:
        self._begun = False
        self._call: object = None  # index of the call that is open
        self._id = ""
        self._called = False
        self._why: object = None
        self._usage: dict[str, Any] = {}
        self.over = False

    def event(self, data: bytes) -> Iterator[Said]:
        """What one event says. Raises Unreadable, or JSONDecodeError."""
        if data == b"[DONE]":
            if not self.over:
                yield from self._end()
            return
        value = mapping(orjson.loads(data))
        if value.get("error") is not None:
            self.over = True
            yield Failed(*error_of(data))
            return
        if not self._begun:
            self._begun = True
            yield Begun(str(value.get("model") or ""))
        self._usage = mapping(value.get("usage")) or self._usage
        for choice in mappings(value.get("choices"))[:1]:
            delta = mapping(choice.get("delta"))
            yield from self._closed(delta)
            yield from _pieces(delta)
            for call in mappings(delta.get("tool_calls")):
                yield from self._calls(call)
            self._why = choice.get("finish_reason") or self._why

    def _closed(self, delta: dict[str, Any]) -> Iterator[Said]:
        if self._call is not None and delta.get("content"):
            self._call = None
            yield CallEnd()

    def _calls(self, call: dict[str, Any]) -> Iterator[Said]:
        made, name, at = mapping(call.get("function")), str(call.get("id") or ""), call.get("index", 0)
        # Ollama gives every call the index 0: another id is another call too.
        if self._call is None or at != self._call or (name and name != self._id):
            if self._call is not None:
                yield CallEnd()
            self._call, self._called, self._id = at, True, name
            yield CallBegun(name or f"call_{at}", str(made.get("name") or ""))
        if made.get("arguments"):
            yield CallPart(str(made["arguments"]))

    def _end(self) -> Iterator[Said]:
        self.over = True
        if self._call is not None:
            self._call = None
            yield CallEnd()
        if self._why is None and not self._usage:
            yield Failed("upstream_error", "The upstream ended the answer early; try again")
        else:
            yield Ended(_why(self._why, self._called), _usage(self._usage))

    def finish(self) -> Iterator[Said]:
        """The upstream closed without [DONE]; some do."""
        if not self.over and self._why is not None:
            yield from self._end()
