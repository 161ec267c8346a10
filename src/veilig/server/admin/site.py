"""How does the admin page answer? Routes, headers, sign-in, acts of forms and API, and uvicorn around it."""

import threading
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, cast
from urllib.parse import parse_qs

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from veilig.access.seats import Seat
from veilig.app.access import Office
from veilig.app.safeguards import Desk
from veilig.core.actor import Actor
from veilig.core.errors import ApprovalError, LedgerError, UsageError, VeiligError
from veilig.core.policy_safeguards import Safeguards
from veilig.server.admin import frame, look, pages
from veilig.server.admin.acts import ACTS, Act, perform
from veilig.server.admin.auth import COOKIE, HEADERS, LIFE_S, DeniedError, Door
from veilig.server.admin.frame import NAV, Page
from veilig.server.admin.html import Html, join, tag
from veilig.server.admin.state import State

BODY_BYTES_MAX = 64 << 10
STATUS: Mapping[type[Exception], int] = {ApprovalError: 403, LedgerError: 503}


class Admin:
    """The pages and the API over one ledger. redact: hides secrets in what people type."""

    def __init__(
        self, desk: Desk, rules: Safeguards, redact: Callable[[str], str], listen: str, url: str = ""
    ) -> None:
        self._desk = desk
        self._rules = rules
        self._redact = redact
        self._state = State(desk)
        self._one = threading.Lock()
        self._door = Door(desk, listen, url)
        self._style = files("veilig.server.admin").joinpath("style.css").read_bytes()

    def app(self) -> ASGIApp:
        """The ASGI application."""
        routes = [
            Route("/style.css", self._css),
            Route("/favicon.ico", _nothing),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/act/{name}", self._act, methods=["POST"]),
            Route("/api/{path:path}", self._api_get, methods=["GET"]),
            Route("/api/{name}", self._api_act, methods=["POST"]),
            Route("/{path:path}", self._page, methods=["GET"]),
        ]
        handlers = {DeniedError: _refused, VeiligError: _refused}
        return _Guarded(Starlette(routes=routes, exception_handlers=handlers), self._door)

    def _office(self, seat: Seat) -> Office:
        self._desk.catch_up()
        self._state.catch_up()
        return Office(self._desk, self._rules, Actor(seat.person), self._redact)

    # --- pages ----------------------------------------------------------------------------------------

    async def _css(self, _: Request) -> Response:
        return Response(self._style, media_type="text/css")

    async def _sign_in(self, request: Request) -> Response:
        self._door.check_change(request, "", "")
        try:
            cookie = self._door.sign_in((await _form(request)).get("key", ""))
        except DeniedError as denied:
            return _html(frame.sign_in_page(denied.why[:1].upper() + denied.why[1:]), denied.status)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, cookie, max_age=int(LIFE_S), httponly=True, samesite="strict", secure=self._door.secure
        )
        return answer

    async def _sign_out(self, request: Request) -> Response:
        if (known := self._door.who(request)) is not None:
            self._door.check_change(request, known[1].csrf, (await _form(request)).get("csrf", ""))
            self._door.sign_out(request)
        return RedirectResponse("/", 303)

    async def _page(self, request: Request) -> Response:
        return await self._in_turn(lambda: self._shown(request))

    async def _in_turn[T](self, look: Callable[[], T]) -> T:
        """A far ledger is read in a thread, by one request at a time: folds are shared."""

        def alone() -> T:
            with self._one:
                return look()

        return await self._desk.ledger.read(alone)

    def _shown(self, request: Request) -> Response:
        known = self._door.who(request)
        if known is None:
            return _html(frame.sign_in_page(""), 200 if request.url.path == "/" else 401)
        where = request.url.path
        page = Page(self._office(known[0]), self._state, *known, where)
        plain = {"/": pages.waiting, "/cases": pages.cases, "/subjects": pages.subjects}
        plain |= {"/budgets": pages.budgets, "/safeguards": pages.safeguards}
        if where in plain:
            return _html(plain[where](page))
        kind, _, name = where.strip("/").partition("/")
        if kind == "cases" and (case := self._desk.ladder.cases.get(name)) is not None:
            return _html(pages.case(page, case))
        if kind == "subjects" and name in self._desk.registry.subjects:
            return _html(pages.subject(page, name))
        return _html(page.whole("Not here", tag("p", "There is no such page, case or subject.")), 404)

    async def _act(self, request: Request) -> Response:
        known = self._door.who(request)
        if known is None:
            return _html(frame.sign_in_page("Your sign-in is over. Nothing was changed."), 401)
        seat, sign_in = known
        given = await _form(request)
        self._door.check_change(request, sign_in.csrf, given.pop("csrf", ""))
        back = _own_page(given.pop("back", "/"))
        act = _find(request.path_params["name"])
        try:
            done = await perform(act, seat, self._office(seat), given)
            sign_in.told.append(_told(act, done))
        except VeiligError as error:
            sign_in.told.append(_wrong(error))
        return RedirectResponse(back, 303)

    # --- the API --------------------------------------------------------------------------------------

    async def _api_get(self, request: Request) -> Response:
        return await self._in_turn(lambda: self._found(request))

    def _found(self, request: Request) -> Response:
        at = self._office(self._door.bearer(request))
        kind, _, name = request.path_params["path"].partition("/")
        cases, subjects = at.desk.ladder.cases, at.registry.subjects
        match kind, name:
            case "cases", "":
                return _json([look.case_facts(at, c) for c in cases.values()])
            case "cases", _ if name in cases:
                found = cases[name]
                return _json({**look.case_facts(at, found), "seen": look.signals_of(at, found.subject)})
            case "subjects", "":
                return _json([look.subject_facts(at, s) for s in subjects.values()])
            case "subjects", _ if name in subjects:
                return _json(look.subject_facts(at, subjects[name]))
            case "budgets", "":
                return _json(look.budget_facts(at))
            case "safeguards", "":
                tested = {
                    t.name: {"works": t.passed, "detail": t.detail} for t in self._state.tested.values()
                }
                return _json(
                    {
                        "gateway_runs": self._state.running,
                        "safeguards": tested,
                        "indicators": self._state.live,
                    }
                )
            case _:
                raise DeniedError(404, f"there is no {request.path_params['path'][:200]!r}")

    async def _api_act(self, request: Request) -> Response:
        seat = self._door.bearer(request)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise DeniedError(415, "send JSON, with content-type application/json")
        try:
            given: object = orjson.loads(await _body(request))
        except orjson.JSONDecodeError as error:
            raise DeniedError(400, "the body is no JSON") from error
        if not isinstance(given, dict):
            raise DeniedError(400, "the body must be a JSON object")
        try:
            act = _find(request.path_params["name"])
            return _json(await perform(act, seat, self._office(seat), cast(dict[str, Any], given)))
        except VeiligError as error:
            said = {"what": error.what, "why": error.why, "fix": error.fix}
            return _json({"error": said}, STATUS.get(type(error), 400))


class _Guarded:
    """Host before everything, and our headers on everything."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_PACKED]
            await send(message)

        try:
            self._door.check_host(Request(scope))
        except DeniedError as denied:
            await (await _refused(Request(scope), denied))(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, DeniedError) else STATUS.get(type(error), 400)
    why = error.why if isinstance(error, DeniedError) else str(error)
    if request.url.path.startswith("/api/"):
        return _json({"error": {"what": why}}, status)
    return _html(frame.document("Not done", tag("main", tag("h1", "Not done"), tag("p", why))), status)


_PACKED = [(k.encode(), v.encode()) for k, v in HEADERS.items()]


def _find(name: str) -> Act:
    if (act := ACTS.get(name)) is None:
        raise UsageError(f"there is no act {name[:100]!r}", fix=f"one of {', '.join(ACTS)}")
    return act


async def _nothing(_: Request) -> Response:
    return Response(status_code=204)


async def _body(request: Request) -> bytes:
    parts, size = list[bytes](), 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise DeniedError(413, f"a request may have {BODY_BYTES_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, each once."""
    try:
        given = parse_qs((await _body(request)).decode(), keep_blank_values=True, max_num_fields=40)
    except ValueError as error:
        raise DeniedError(400, "the form cannot be read") from error
    return {name: values[0] for name, values in given.items()}


def _own_page(where: str) -> str:
    """A path of ours, never another site."""
    known = where.startswith(tuple(f"{to}/" for to, _ in NAV if to != "/")) or where in dict(NAV)
    return where if known and "//" not in where and "\\" not in where else "/"


def _told(act: Act, done: Mapping[str, Any]) -> Html:
    said = [join((tag("dt", k.replace("_", " ")), tag("dd", str(v)))) for k, v in done.items()]
    note = tag("p", "The key is shown this once: hand it over yourself.") if "text" in done else None
    parts = tag("dl", *said)
    return tag("div", tag("p", f"Done: {act.button.lower()}"), parts, note, cls="told", role="status")


def _wrong(error: VeiligError) -> Html:
    lines = [tag("p", f"{error.what}")]
    lines += [tag("p", f"{name}: {text}") for name, text in (("why", error.why), ("do", error.fix)) if text]
    return tag("div", *lines, cls="told wrong", role="alert")


def _html(text: Html, status: int = 200) -> Response:
    return Response(text.encode(), status, media_type="text/html; charset=utf-8")


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def serve(admin: Admin, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Listen until SIGTERM or SIGINT. ready: told the address when requests can come."""
    import uvicorn

    class Server(uvicorn.Server):
        """Says where it listens."""

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready("http://{}:{}/".format(*self.servers[0].sockets[0].getsockname()[:2]))

        def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ARG002  # as uvicorn calls it
            # uvicorn would raise the signal again at the end: the ledger could not be closed any more.
            self.should_exit = True

    Server(
        uvicorn.Config(
            admin.app(),
            host=host,
            port=port,
            lifespan="off",
            access_log=False,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    ).run()
