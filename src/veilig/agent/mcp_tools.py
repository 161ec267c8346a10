"""Which tools of MCP servers is a model told of, and which act does a call of one become?

Vendors take names of letters, digits, `_` and `-` only, and every word is sent with the first request and
paid for: so SERVER.tool is told as SERVER__tool, long texts are cut, what does not fit is left out and said.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from veilig.agent.run_state import Json, shown
from veilig.agent.tools import Wish
from veilig.core.action import CallTool
from veilig.core.canonical import JSON
from veilig.core.jsonrpc import members
from veilig.core.message import ToolSpec
from veilig.core.provider import Outcome

TOTAL_CHARS_MAX = 12_000  # of all declarations: about 3,400 tokens, twice our own tools and more
SCHEMA_CHARS_MAX = 1500
TEXT_CHARS_MAX = 300
NAME_CHARS_MAX = 64
_ODD = re.compile(r"[^A-Za-z0-9_-]")


def told_tools(known: Mapping[str, JSON], server: str, outcome: Outcome) -> tuple[Json, list[JSON]]:
    """The tools known so far and those of one more server, and what was left out, with the reason."""
    found: Json = dict(known)
    left: list[JSON] = []
    used = sum(len(json.dumps(one)) for one in known.values())
    for given in cast(list[dict[str, Any]], outcome.data.get("tools", [])):
        tool = str(given.get("name", ""))
        name = _ODD.sub("_", f"{server}__{tool}")[:NAME_CHARS_MAX]
        spec = _spec(name, given)
        size = len(json.dumps(spec))
        if not tool:
            left.append(f"{server}: a tool without a name")
        elif name in found:
            left.append(f"{server}.{tool}: another tool has this name")
        elif used + size > TOTAL_CHARS_MAX:
            left.append(f"{server}.{tool}: the declarations are {TOTAL_CHARS_MAX} characters already")
        else:
            used += size
            found[name] = {"server": server, "tool": tool, "spec": spec}
    if outcome.data.get("cut"):
        left.append(f"{server}: it has more tools than were asked for")
    return found, left


def specs(state: Mapping[str, JSON]) -> dict[str, ToolSpec]:
    """The declarations of the tools that a session knows, by the name a model uses."""
    found: dict[str, ToolSpec] = {}
    for name, one in cast(Mapping[str, Any], state.get("mcp_tools") or {}).items():
        spec = one["spec"]
        found[name] = ToolSpec(name, spec["description"], spec["parameters"])
    return found


def act_of(state: Mapping[str, JSON], wish: Wish) -> CallTool | None:
    """The act that a call becomes; None when it names no tool of a server."""
    one = cast(Mapping[str, Any], state.get("mcp_tools") or {}).get(wish.tool)
    if one is None:
        return None
    arguments = json.dumps(wish.arguments, ensure_ascii=False, sort_keys=True)
    return CallTool(str(one["server"]), str(one["tool"]), arguments)


def told(outcome: Outcome) -> str:
    """What the model hears of a tool: its words, as data."""
    text = shown(outcome.detail, outcome.ref) or "[it says nothing]"
    return text if outcome.ok else f"error: {text}"


def _spec(name: str, given: Mapping[str, Any]) -> Json:
    text = " ".join(str(given.get("description", "")).split())
    schema = cast(Json, _lean(given.get("schema") or {}))
    if schema.get("type") != "object" or len(json.dumps(schema)) > SCHEMA_CHARS_MAX:
        names = ", ".join(members(schema.get("properties")) or ()) or "unknown"
        text, schema = f"Arguments: {names}. {text}", cast(Json, {"type": "object"})
    cut = text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}..."
    return {"name": name, "description": cut, "parameters": schema}


def _lean(value: Any) -> JSON:
    """A schema without what no call needs: titles, examples, other documents' names."""
    if isinstance(value, dict):
        given = cast(dict[str, Any], value)
        properties = {"properties", "$defs", "definitions"}
        found: Json = {}
        for name, one in given.items():
            if name in properties and isinstance(one, dict):
                found[name] = {key: _lean(inner) for key, inner in cast(dict[str, Any], one).items()}
            elif name not in ("title", "examples", "$schema", "$id"):
                found[name] = _lean(one)
        return found
    if isinstance(value, list):
        return [_lean(one) for one in cast(list[Any], value)]
    return cast(JSON, value)
