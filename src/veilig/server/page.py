"""What is served to people? The page's files, the API, and live streams, behind one doorway. ASGI.

The order is the order of the checks: our own name, the same origin, a rate, who asks, the token of a change,
the shape of what is asked; then the handler. What goes wrong is answered in one shape, and only in that.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qsl

from veilig.collab.accounts import Login
from veilig.collab.roles import Refused
from veilig.core.errors import VeiligError
from veilig.server.api import ENDPOINTS, Endpoint
from veilig.server.asked import BODY_BYTES_MAX, SESSION, Asked, parsed
from veilig.server.doorway import address
from veilig.server.frames import door_of
from veilig.server.live import Hub
from veilig.server.openapi import document
from veilig.server.replies import Reply, refused, told
from veilig.server.streams import Receive, Scope, Send, sent_events, socket
from veilig.server.streams import refused as close_code

log = logging.getLogger(__name__)
API: Final = "/api/v1"
TYPES: Final = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
    ".woff2": b"font/woff2",
    ".webmanifest": b"application/manifest+json",
    ".txt": b"text/plain; charset=utf-8",
}
NO_PAGE: Final = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><title>veilig</title><h1>veilig</h1>'
    b"<p>The page is not part of this installation; the API is at /api/v1/openapi.json.</p>"
)
_LIVE = re.compile(rf"{API}/sessions/({SESSION.pattern})/(live|stream)")


@dataclass(frozen=True, slots=True)
class _Route:
    pattern: re.Pattern[str]
    methods: Mapping[str, Endpoint]


def _routes() -> tuple[_Route, ...]:
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return tuple(
        _Route(re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]{1,300})", path)), methods)
        for path, methods in by_path.items()
    )


class Page:
    """The ASGI application for people."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.doorway = hub.doorway
        self._routes = _routes()
        self._assets = load_assets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or socket."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        try:
            reply = await self._reply(scope, receive)
        except VeiligError as error:
            reply = refused(error)
        except Exception:  # our own defect: the log has it, the page hears that it was ours
            log.exception("%s %s failed", scope["method"], scope["path"])
            reply = told(
                {"error": {"what": "this is a defect of ours", "why": "", "fix": "see the log"}}, 500
            )
        await self._answer(scope, receive, send, reply)

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        path, method = scope["path"], scope["method"]
        if path == "/healthz":
            return Reply(body=b'{"status":"ok"}')
        if path == "/readyz":  # as above for whatever watches over servers: it says nothing of sessions
            broken = bool(self.hub.serving.broken)
            return told({"ready": not broken}, 503 if broken else 200)
        self.doorway.check_host(scope)
        if not path.startswith(f"{API}/"):
            return self._asset(path, method)
        if path == f"{API}/openapi.json":
            return told(document())
        if (live := _LIVE.fullmatch(path)) is not None and live[2] == "stream":
            return await self._stream(scope, live[1])
        return await self._endpoint(scope, receive, path.removeprefix(API), method)

    async def _endpoint(self, scope: Scope, receive: Receive, path: str, method: str) -> Reply:
        endpoint, parts = self._find(path, method)
        self.hub.serving.must_work()
        if path != "/auth/oidc/callback":  # the one request that another site sends; its state is checked
            self.doorway.check_origin(scope)
        login = await self.doorway.login(scope)
        who = f"person:{login.person.id}" if login is not None else f"from:{address(scope)}"
        self.doorway.check_rate(who, endpoint.cost)
        if not endpoint.free and login is None:
            await self.doorway.need_login(scope)
        if endpoint.changes and login is not None:
            self.doorway.check_token(scope, login)
        asked = Asked(parts, _query(scope), login, address(scope), headers=_headers(scope))
        if endpoint.raw:
            asked.raw = receive
        elif method in ("POST", "DELETE"):
            raw = await _read(receive)
            if raw and endpoint.body is not None and not _is_json(asked.headers):
                raise Refused("the body is not application/json", status=415)
            asked.body = parsed(raw, endpoint.body or {"properties": {}})
        return await endpoint.handler(self.hub, asked)

    def _find(self, path: str, method: str) -> tuple[Endpoint, dict[str, str]]:
        for route in self._routes:
            if (found := route.pattern.fullmatch(path)) is not None:
                endpoint = route.methods.get(method)
                if endpoint is None:
                    known = ", ".join(sorted(route.methods))
                    raise Refused(f"{method[:20]} is not for this path", status=405, fix=known)
                return endpoint, found.groupdict()
        raise Refused("there is nothing here", status=404, fix="see /api/v1/openapi.json")

    async def _stream(self, scope: Scope, session: str) -> Reply:
        self.doorway.check_origin(scope)
        login = await self.doorway.need_login(scope)
        self.doorway.check_rate(f"person:{login.person.id}", 2)
        last = _headers(scope).get("last-event-id", "")
        after = _after(last) if last else _after(_query(scope).get("after", "0"))
        self.hub.may_enter(session, login)
        reply = Reply(kind=b"text/event-stream", stream=sent_events(self.hub, login, session, after))
        reply.headers.append((b"x-accel-buffering", b"no"))
        return reply

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self.doorway.check_host(scope)
            self.doorway.check_origin(scope)
            live = _LIVE.fullmatch(scope["path"])
            if live is None or live[2] != "live":
                raise Refused("there is nothing here", status=404)
            login: Login = await self.doorway.need_login(scope)
            self.doorway.check_rate(f"person:{login.person.id}", 2)
            after = _after(_query(scope).get("after", "0"))
            await socket(self.hub, login, live[1], after, receive, send, door_of(scope))
        except Refused as error:
            await send({"type": "websocket.close", "code": close_code(error), "reason": error.what[:100]})

    def _asset(self, path: str, method: str) -> Reply:
        if method not in ("GET", "HEAD"):
            raise Refused(f"{method[:20]} is not for this path", status=405, fix="GET")
        if path == "/":
            return Reply(body=self._assets.get("/index.html", NO_PAGE), kind=TYPES[".html"])
        body = self._assets.get(path)
        if body is None:
            raise Refused("there is nothing here", status=404)
        return Reply(body=body, kind=TYPES[path[path.rindex(".") :]])

    async def _answer(self, scope: Scope, receive: Receive, send: Send, reply: Reply) -> None:
        headers = [(b"content-type", reply.kind), *self.doorway.headers(), *reply.headers]
        headers.append((b"cache-control", b"no-store" if scope["path"].startswith(API) else b"no-cache"))
        if reply.stream is not None:
            await _streamed(receive, send, reply, headers)
            return
        headers.append((b"content-length", str(len(reply.body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": body})


async def _streamed(receive: Receive, send: Send, reply: Reply, headers: list[tuple[bytes, bytes]]) -> None:
    """Send until the stream ends or the browser goes."""

    async def speak() -> None:
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        if reply.stream is not None:
            async for part in reply.stream:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = {asyncio.ensure_future(speak()), asyncio.ensure_future(gone())}
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def load_assets() -> dict[str, bytes]:
    """Every file of the page by its path; only what was there at the start is ever served."""
    found: dict[str, bytes] = {}
    root = files("veilig.server").joinpath("web")
    pending: list[tuple[str, Any]] = [("", root)] if root.is_dir() else []
    while pending:
        path, place = pending.pop()
        for inner in place.iterdir():
            name = f"{path}/{inner.name}"
            if inner.is_dir():
                pending.append((name, inner))
            elif name[name.rfind(".") :] in TYPES:
                found[name] = inner.read_bytes()
    return found


def _headers(scope: Scope) -> dict[str, str]:
    return {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}


def _query(scope: Scope) -> dict[str, str]:
    try:
        pairs = parse_qsl(scope["query_string"].decode("ascii", "replace"), max_num_fields=20)
    except ValueError as error:
        raise Refused("the query cannot be read", status=400, why=str(error)[:100]) from error
    return dict(pairs)


def _after(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 16:
        raise Refused("after is not an event's number", status=400)
    return int(text)


def _is_json(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("the request broke off", status=400)
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise Refused("the body is too large", status=413, fix=f"at most {BODY_BYTES_MAX} bytes")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
