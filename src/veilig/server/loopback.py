"""What does a model say that is none? An upstream on loopback for `veilig gateway check`: it does as told.

A user text `run: COMMAND` makes it call the first tool that takes a command; anything else makes it say one
sentence. After a tool's output it says the sentence too.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, cast

import orjson

from veilig.monitor.items import Source, items_of
from veilig.server.dialects import say_chat, say_responses
from veilig.server.dialects.turns import (
    Begun,
    CallBegun,
    CallEnd,
    CallPart,
    Ended,
    Said,
    Spoke,
    Usage,
    Why,
)

type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TEXT: Final = "The loopback model says hello."
PREFIX: Final = "/upstream/v1"
COMMANDS: Final = ("cmd", "command")
_RUN: Final = re.compile(r"^run: (.+)$", re.MULTILINE)


async def answer(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """One request to it, as ASGI."""
    raw = b""
    more = True
    while more:
        message = await receive()
        raw += message.get("body", b"")
        more = bool(message.get("more_body"))
    body = cast(dict[str, Any], orjson.loads(raw))
    surface = str(scope["path"]).removeprefix(PREFIX)
    if surface == "/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.0, 1.0]}]
        made: dict[str, Any] = {"object": "list", "model": body["model"], "data": data}
        await _send(send, orjson.dumps({**made, "usage": {"prompt_tokens": 1, "total_tokens": 1}}), "json")
        return
    model, none = str(body["model"]), frozenset[str]()
    writer = (
        say_responses.Writer(body, model, none)
        if surface == "/responses"
        else say_chat.Writer(model, none, usage_wanted=True)
    )
    out = b"".join(map(writer.said, script(body)))
    if body.get("stream"):
        await _send(send, out, "stream")
    else:
        await _send(send, orjson.dumps(writer.whole()), "json")


def script(body: dict[str, Any]) -> list[Said]:
    """What it says to a request."""
    items = items_of(body)
    last = items[-1] if items else None
    asked = _RUN.findall(last.text) if last is not None and last.source is Source.USER else []
    tool = _tool(body) if asked else None
    used = Usage(10, 5, 0, known=True)
    if tool is None:
        return [Begun(str(body["model"])), Spoke(TEXT), Ended(Why.STOP, used)]
    name, parameter = tool
    arguments = orjson.dumps({parameter: asked[-1]}).decode()
    made: list[Said] = [CallBegun("call_check", name), CallPart(arguments), CallEnd()]
    return [Begun(str(body["model"])), *made, Ended(Why.CALLS, used)]


def _tool(body: dict[str, Any]) -> tuple[str, str] | None:
    """The first tool that takes a command, and how its parameter is called."""
    for given in cast(list[dict[str, Any]], body.get("tools") or []):
        made = cast(dict[str, Any], given.get("function") or given)
        known = cast(dict[str, Any], made.get("parameters") or {}).get("properties")
        for parameter in COMMANDS:
            if isinstance(known, dict) and parameter in known:
                return str(made["name"]), parameter
    return None


async def _send(send: Send, body: bytes, kind: str) -> None:
    content = b"application/json" if kind == "json" else b"text/event-stream"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content)]})
    await send({"type": "http.response.body", "body": body})
