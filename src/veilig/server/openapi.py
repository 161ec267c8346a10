"""What does the API look like to a machine? OpenAPI 3.1, made of the table of endpoints."""

import re
from typing import Any, Final

from veilig import __version__
from veilig.server.api import ENDPOINTS, Endpoint

ERROR: Final = {
    "description": "what happened, why, and what to do",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["what", "why", "fix"],
                        "properties": {name: {"type": "string"} for name in ("what", "why", "fix")},
                    }
                },
            }
        }
    },
}
KINDS: Final = {
    "/sessions/{session}/diff": "text/x-diff",
    "/sessions/{session}/export": "*/*",
    "/openapi.json": "application/json",
}
LIVE: Final = (
    "A WebSocket. Messages to the client: {t:hello,seq,role,people,control}, {t:event,e}, {t:people,people}, "
    "{t:control,holder,offered,asks}, {t:resync,after} (some were lost: fetch them from /events and go on), "
    "{t:pong}, {t:bye,why,fix}. From the client: {t:at,seq} and {t:ping}; nothing else, and "
    "none has authority."
)


def document() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    session = {"name": "session", "in": "path", "required": True, "schema": {"type": "string"}}
    after = {"name": "after", "in": "query", "schema": {"type": "integer", "minimum": 0}}
    for path, text in (("live", LIVE), ("stream", "The same messages as server-sent events; ids are seqs.")):
        paths[f"/sessions/{{session}}/{path}"] = {
            "get": {
                "summary": text, "parameters": [session, after], "x-live": True,
                "responses": {"200": {"description": "events without end"}, "default": ERROR},
            }
        }  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "veilig",
            "version": __version__,
            "description": "Watch, steer, approve and replay sessions; each person sees what their role may.",
        },
        "servers": [{"url": "/api/v1"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "cookie": {"type": "apiKey", "in": "cookie", "name": "veilig_session"},
                "token": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
            }
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    made: dict[str, Any] = {
        "summary": endpoint.title,
        "operationId": f"{endpoint.handler.__name__}_{endpoint.method.lower()}",
        "responses": {
            "2XX": {
                "description": "done",
                "content": {KINDS.get(endpoint.path, "application/json"): {"schema": {}}},
            },
            "default": ERROR,
        },
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in re.findall(r"\{(\w+)\}", endpoint.path)
        ]
        + [{"name": name, "in": "query", "schema": dict(schema)} for name, schema in endpoint.query.items()],
    }
    if endpoint.body is not None:
        made["requestBody"] = {
            "required": bool(endpoint.body["required"]),
            "content": {"application/json": {"schema": endpoint.body}},
        }
    if endpoint.raw:
        made["requestBody"] = {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    if not endpoint.free:
        made["security"] = [{"cookie": [], "token": []} if endpoint.changes else {"cookie": []}]
    return made
