"""An MCP server over streamable HTTP, made with the official SDK: a process that prints its port.

    python mcp_far.py TOKEN [--json]

Every request must carry `Authorization: Bearer TOKEN`. --json: answers come as JSON and not as events.
"""

import asyncio
import json
import socket
import sys
from typing import Any

import uvicorn
from mcp.server import MCPServer

TOKEN = sys.argv[1]
far = MCPServer("far")


@far.tool()
def add(left: int, right: int) -> str:
    """Add two numbers."""
    return str(left + right)


@far.tool()
def leak() -> str:
    """Say the token."""
    return f"the token is {TOKEN}"


@far.tool()
async def wait() -> str:
    """Wait for long."""
    await asyncio.sleep(600)
    return "late"


@far.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("it went wrong")


app = far.streamable_http_app(json_response="--json" in sys.argv)


async def guarded(scope: Any, receive: Any, send: Any) -> None:
    """Refuse whoever has no token; send a redirect for another path."""
    if scope["type"] != "http":
        await app(scope, receive, send)
        return
    given = dict(scope["headers"]).get(b"authorization", b"").decode()
    if scope["path"] == "/moved":
        await send({"type": "http.response.start", "status": 307, "headers": [(b"location", b"/mcp")]})
        await send({"type": "http.response.body", "body": b"moved"})
    elif given != f"Bearer {TOKEN}":
        body = json.dumps({"error": "who are you?"}).encode()
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": body})
    else:
        await app(scope, receive, send)


async def main() -> None:
    """Serve until killed."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    server = uvicorn.Server(uvicorn.Config(guarded, log_level="error", lifespan="on"))
    print(sock.getsockname()[1], flush=True)
    await server.serve(sockets=[sock])


asyncio.run(main())
