"""How does a tool of an MCP server act? The server runs in the session's box, or where its address is.

A server is started at its first call, inside the wall and without network, and lives until the box goes; one
with an address is asked over HTTP. Each call is one action. What a server says is data: text for the planner,
cut and counted where it is long, never an instruction to us.
Source: modelcontextprotocol.io, revision 2025-11-25, tools over stdio.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from veilig.core.action import Action, CallTool, ListTools
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.jsonrpc import members
from veilig.core.policy_model import McpServer
from veilig.core.provider import Found, Outcome, Permit, Status, must_fit
from veilig.providers.box import Box
from veilig.providers.mcp_http import Remote
from veilig.providers.mcp_server import Running
from veilig.providers.watching import Watched

TEXT_CHARS_MAX = 1 << 20  # as much as a command's output
PAGES_MAX = 20  # of a list of tools: a server that has more is not for a model
START_S = 60.0  # a server in Python or Node that imports half a world


class McpProvider:
    """Performs `mcp.list` and `mcp.call` for the servers that the operator's policy names."""

    kinds = frozenset({"mcp.list", "mcp.call"})

    def __init__(
        self,
        box: Box,
        clock: Clock,
        servers: tuple[McpServer, ...],
        watched: Watched | None,
        environment: Mapping[str, str] | None = None,
        mark: Callable[[str, str], object] | None = None,
    ) -> None:
        """environment: where `${NAME}` of a header is looked up. mark: told of each value and its name."""
        self._environment = environment or {}
        self._mark = mark
        self._box = box
        self._clock = clock
        self._servers = {server.name: server for server in servers}
        self._running: dict[str, Running | Remote] = {}
        self._watched = watched

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """The tools of a server, or what one of them said. Raises ProviderError when there is no answer."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        if not isinstance(action, ListTools | CallTool):
            raise ProviderError(
                f"the MCP provider does not perform {action.kind}", why="the gate was wired wrongly"
            )
        try:
            async with asyncio.timeout(action.timeout_s):
                server = await self._standing(action.server)
                if isinstance(action, ListTools):
                    outcome = await self._list(server)
                else:
                    outcome = await self._call(server, action, permit)
        except TimeoutError as error:
            await self._drop(action.server)
            raise ProviderError(
                f"{action.target} did not answer within {action.timeout_s:g} s",
                why="its server was stopped; the next call starts it anew",
            ) from error
        if self._watched is None:
            return outcome
        seen = await asyncio.to_thread(self._watched.seen)  # a server may change the copy
        return replace(outcome, data={**outcome.data, **seen})

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """What a tool said is its result; what it changed in the copy was looked at."""
        del action, permit
        return outcome

    async def inspect(self, action: Action) -> Found:
        """After a crash nobody can tell how far a tool came; asking for the tools harms nothing."""
        await asyncio.sleep(0)
        return Found.NOT_DONE if isinstance(action, ListTools) else Found.UNKNOWN

    async def close(self) -> None:
        """Stop every server."""
        for name in list(self._running):
            await self._drop(name)

    async def _standing(self, name: str) -> Running | Remote:
        found = self._running.get(name)
        if found is not None and found.alive:
            return found
        server = self._servers.get(name)
        if server is None:  # decided under a policy that names it, and read before it did
            raise ProviderError(
                f"this session does not know the MCP server {name!r}", fix="start a new session"
            )
        running = self._server(server)
        try:
            async with asyncio.timeout(START_S):
                await running.start()
        except TimeoutError as error:
            await running.stop()
            raise ProviderError(
                f"the MCP server {name!r} did not greet within {START_S:g} s", why=running.said()
            ) from error
        except ProviderError:
            await running.stop()
            raise
        self._running[name] = running
        return running

    def _server(self, server: McpServer) -> Running | Remote:
        if server.url:
            return Remote(server, self._environment, self._mark)
        return Running(server.name, self._box, server.argv)

    async def _drop(self, name: str) -> None:
        running = self._running.pop(name, None)
        if running is not None:
            await running.stop()

    async def _list(self, server: Running | Remote) -> Outcome:
        tools: list[JSON] = []
        cursor = ""
        for _ in range(PAGES_MAX):
            page = members(await server.ask("tools/list", {"cursor": cursor} if cursor else {})) or {}
            tools += [_tool(one) for one in cast(list[Any], page.get("tools") or []) if members(one)]
            cursor = str(page.get("nextCursor") or "")
            if not cursor:
                break
        data: dict[str, JSON] = {"tools": tools, "cut": bool(cursor)}
        return Outcome(True, f"{len(tools)} tools", data=data)

    async def _call(self, server: Running | Remote, action: CallTool, permit: Permit) -> Outcome:
        try:
            arguments: Any = json.loads(action.arguments or "{}")
        except ValueError as error:
            raise ProviderError(f"{action.target}: its arguments are no JSON", why=str(error)) from error
        if not isinstance(arguments, dict):
            raise ProviderError(f"{action.target}: its arguments are no JSON object")
        given = _expanded(cast(JSON, arguments), permit)
        answer = members(await server.ask("tools/call", {"name": action.tool, "arguments": given})) or {}
        text, left = _text(answer)
        data: dict[str, JSON] = {"left_out": [*left]}
        if answer.get("isError") is True:
            return Outcome(False, text or "the tool failed and does not say why", Status.FAILED, data)
        return Outcome(True, text, data=data)


def _tool(value: object) -> JSON:
    """What the planner needs to know of a tool; the rest (icons, hints, output forms) is not for a model."""
    given = cast(Mapping[str, Any], value)
    schema = members(given.get("inputSchema")) or {"type": "object"}
    said = str(given.get("description") or given.get("title") or "")
    return {"name": str(given.get("name", "")), "description": said, "schema": cast(JSON, schema)}


def _expanded(value: JSON, permit: Permit) -> JSON:
    """The arguments with handles turned into what this act may use; refused where it may not."""
    if isinstance(value, str):
        return permit.expand(value)
    if isinstance(value, list):
        return [_expanded(one, permit) for one in value]
    if isinstance(value, dict):
        return {name: _expanded(one, permit) for name, one in value.items()}
    return value


def _text(answer: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The words of a result, and what of it is not words."""
    parts: list[str] = []
    left: list[str] = []
    for one in cast(list[Any], answer.get("content") or []):
        block = members(one) or {}
        inner = members(block.get("resource")) or {}
        if block.get("type") == "text":
            parts.append(str(block.get("text", "")))
        elif "text" in inner:
            parts.append(f"{inner.get('uri', '')}\n{inner['text']}")
        else:
            left.append(str(block.get("type", "something")))
    if not parts and answer.get("structuredContent") is not None:
        parts.append(json.dumps(answer["structuredContent"], ensure_ascii=False))
    text = "\n".join(parts)
    if len(text) > TEXT_CHARS_MAX:
        left.append(f"{len(text) - TEXT_CHARS_MAX} characters")
    kept = text[:TEXT_CHARS_MAX]
    return (f"{kept}\n[left out: {', '.join(left)}]" if left else kept), left
