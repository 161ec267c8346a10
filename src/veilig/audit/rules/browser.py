"""Rules for what browsers are told: forged requests, frames, origins, cookies, protective headers."""

import ast
import re
from collections.abc import Callable, Iterator
from itertools import chain

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import children, constant
from veilig.audit.engine.value import Ref, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import first_of, keyword_is, text_of
from veilig.audit.rules.rule import AssignCheck, Check, Rule, Sink
from veilig.audit.rules.sketch import Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]


def setting(*names: str) -> Callable[[str], bool]:
    """A setting of this name, in a settings module, a class or app.config[...]."""
    pattern = re.compile(rf"(^|\[|\.)({'|'.join(names)})\]?$")
    return lambda name: pattern.search(name) is not None


def is_value(*values: object) -> Callable[[Frame, str, Value], bool]:
    """The setting has one of these constants."""

    def test(frame: Frame, name: str, value: Value) -> bool:
        del frame, name
        known = constant(value)
        return any(type(known) is type(item) and known == item for item in values)

    return test


def _names(frame: Frame, value: Value) -> list[str] | None:
    held = frame.state.get(value) if isinstance(value, Ref) else None
    return [text_of(item) for item in children(held)] if held is not None else None


def _without_middleware(name: str) -> Callable[[Frame, str, Value], bool]:
    def test(frame: Frame, _name: str, value: Value) -> bool:
        names = _names(frame, value)
        return (
            names is not None
            and any("SessionMiddleware" in item or "CommonMiddleware" in item for item in names)
            and not any(name in item for item in names)
        )

    return test


def _exempt(sketch: Sketch) -> Marks:
    if "csrf" not in sketch.text:
        return
    for node in sketch.module.decorated:
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for decorator in node.decorator_list:
            text = ast.unparse(decorator)
            if re.search(r"\bcsrf_exempt\b|csrf\.exempt\b", text):
                yield decorator, Confidence.CERTAIN
    for node in sketch.each(ast.Call, ast.ClassDef):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if name.rpartition(".")[2] == "csrf_exempt" or name.endswith("csrf.exempt"):
                yield node, Confidence.CERTAIN
        elif isinstance(node, ast.ClassDef) and node.name == "Meta":
            for item in node.body:
                if isinstance(item, ast.Assign) and ast.unparse(item) == "csrf = False":
                    yield item, Confidence.CERTAIN


def _framed(sketch: Sketch) -> Marks:
    for node in sketch.module.decorated:
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for decorator in node.decorator_list:
            if "xframe_options_exempt" in ast.unparse(decorator):
                yield decorator, Confidence.CERTAIN
    for function in sketch.functions:
        for name, decorator in zip(function.decorators, function.node.decorator_list, strict=True):
            if name.endswith("xframe_options_exempt"):
                yield decorator, Confidence.CERTAIN


def _any_websocket(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        last = function.node.body[-1]
        if (
            function.name == "check_origin" and isinstance(last, ast.Return) and len(function.node.body) <= 2
        ) and (isinstance(last.value, ast.Constant) and last.value.value is True):
            yield function.node, Confidence.CERTAIN


def _cross_site_cookie(frame: Frame, site: CallSite) -> bool:
    del frame
    given = site.arg(99, "samesite")
    name = text_of(site.arg(0, "key"))
    private = re.search(r"(?i)sess|token|auth|sid|csrf|remember|user", name) is not None
    if given is None:
        return not site.splat and private
    return constant(given) is None or (str(constant(given)).lower() == "none" and private)


def _any_origin(frame: Frame, site: CallSite) -> bool:
    for key in ("allow_origins", "origins", "resources", "cors_allowed_origins"):
        value = site.kwargs.get(key)
        if value is None:
            continue
        if text_of(value) == "*" or text_of(first_of(frame, value)) == "*":
            return True
    return text_of(site.kwargs.get("allow_origin_regex")) in (".*", "https?://.*", "http.*")


def _star_and_credentials(frame: Frame, site: CallSite) -> bool:
    open_to_all = _any_origin(frame, site)
    if (
        constant(site.arg(99, "allow_credentials")) is True
        or constant(site.arg(99, "supports_credentials")) is True
    ):
        listed = any(
            key in site.kwargs for key in ("allow_origins", "origins", "resources", "allow_origin_regex")
        )
        return open_to_all or not listed
    return site.name in ("SocketIO", "AsyncServer", "Server") and open_to_all


_CHANGES = re.compile(
    r"(?i)^(transfer|delete|remove|pay|send_money|change|update|create|withdraw|unsubscribe|promote|"
    r"buy|order_)\w*"
)


def _changing_get(sketch: Sketch) -> Marks:
    """A route for GET alone that changes something for the logged-in user: a link or image is enough."""
    for function in sketch.functions:
        above = function.text[: len(function.text) - len(function.body)]
        got = re.search(r"methods=\[['\"]GET['\"]\]|\.get\(['\"]/|require_GET", above)
        if (got and _CHANGES.match(function.name) and sketch.is_view(function)) and search(
            r"session\[|session\.get|current_user|request\.user|login_required", function.text
        ):
            yield function.node, Confidence.POSSIBLE


CSRF_OFF = Rule(
    id="csrf-disabled",
    cwe=352,
    title="CSRF protection off",
    severity=Severity.MEDIUM,
    what="the protection against forged requests is switched off",
    why="CWE-352: a foreign page sends requests with the user's session",
    advice="leave it on; exempt only endpoints that authenticate by token",
    silent="protected forms",
    fix_id="csrf-on",
    shape=lambda sketch: chain(_exempt(sketch), _changing_get(sketch)),
    assigns=(
        AssignCheck(
            setting("WTF_CSRF_ENABLED", "WTF_CSRF_CHECK_DEFAULT", "JWT_COOKIE_CSRF_PROTECT"), is_value(False)
        ),
        AssignCheck(setting("MIDDLEWARE", "MIDDLEWARE_CLASSES"), _without_middleware("CsrfViewMiddleware")),
    ),
    checks=(Check(("tornado.web.Application",), keyword_is(99, "xsrf_cookies", False)),),
    bad="from django.views.decorators.csrf import csrf_exempt\n@csrf_exempt\ndef pay(request):\n"
    "    return None\n",
    good="def pay(request):\n    return None\n",
)


def _without_frames(frame: Frame, name: str, value: Value) -> bool:
    """No middleware says who may frame a page, and no header of the program does."""
    program = frame.engine.project.programs.get(frame.module.path)
    if program is not None and program.has(r"(?i)frame-ancestors|X-Frame-Options"):
        return False
    return _without_middleware("XFrameOptionsMiddleware")(frame, name, value)


FRAMES = Rule(
    id="framing-allowed",
    cwe=1021,
    title="page may be framed",
    severity=Severity.LOW,
    what="any site may show this page in a frame",
    why="CWE-1021: clicks meant for another page land here",
    advice="X-Frame-Options: DENY, or frame-ancestors in the content security policy",
    silent="DENY and SAMEORIGIN",
    shape=_framed,
    assigns=(
        AssignCheck(setting("X_FRAME_OPTIONS", "X-Frame-Options"), is_value("ALLOWALL", "ALLOW", "", "*")),
        AssignCheck(setting("MIDDLEWARE", "MIDDLEWARE_CLASSES"), _without_frames),
        AssignCheck(
            setting("Content-Security-Policy"),
            lambda _frame, _name, value: re.search(r"frame-ancestors \*", text_of(value)) is not None,
        ),
    ),
    checks=(Check(("flask_talisman.Talisman",), keyword_is(99, "frame_options", None, "ALLOWALL")),),
    bad="X_FRAME_OPTIONS = 'ALLOWALL'\n",
    good="X_FRAME_OPTIONS = 'DENY'\n",
)

HEADERS = Rule(
    id="protective-header-off",
    cwe=693,
    title="protective header switched off",
    severity=Severity.LOW,
    what="a protection of the browser is switched off",
    why="CWE-693: the browser would stop part of an attack, and is told not to",
    advice="leave nosniff, HSTS and a content security policy on",
    silent="values that protect",
    assigns=(
        AssignCheck(setting("SECURE_CONTENT_TYPE_NOSNIFF", "SECURE_BROWSER_XSS_FILTER"), is_value(False)),
        AssignCheck(
            setting("Content-Security-Policy", "CSP_SCRIPT_SRC", "CSP_DEFAULT_SRC"),
            lambda frame, _name, value: any(
                re.search(r"unsafe-inline|unsafe-eval|(?:default|script)-src[^;]*\s\*|^\*$", text) is not None
                for text in (text_of(value), *(_names(frame, value) or []))
            ),
        ),
        AssignCheck(setting("X-XSS-Protection", "X-Content-Type-Options"), is_value("", "none")),
    ),
    checks=(Check(("flask_talisman.Talisman",), keyword_is(99, "content_security_policy", None, False)),),
    bad="SECURE_CONTENT_TYPE_NOSNIFF = False\n",
    good="SECURE_CONTENT_TYPE_NOSNIFF = True\n",
)

SAMESITE = Rule(
    id="cookie-samesite",
    cwe=1275,
    title="session cookie sent from other sites",
    severity=Severity.LOW,
    what="a session cookie goes with requests that other sites start",
    why="CWE-1275: the browser's own protection against forged requests is off",
    advice="samesite='Lax' or 'Strict'",
    silent="Lax and Strict, cookies that are not a session",
    fix_id="cookie-flags",
    checks=(Check((".set_cookie",), _cross_site_cookie),),
    assigns=(
        AssignCheck(
            setting("SESSION_COOKIE_SAMESITE", "CSRF_COOKIE_SAMESITE", "REMEMBER_COOKIE_SAMESITE"),
            is_value(None, False, "None", "none"),
        ),
    ),
    bad="SESSION_COOKIE_SAMESITE = None\n",
    good="SESSION_COOKIE_SAMESITE = 'Lax'\n",
)

REFLECTED = Rule(
    id="cors-reflected-origin",
    cwe=942,
    title="whoever asks is an allowed origin",
    severity=Severity.MEDIUM,
    what="the origin of the request is allowed unseen",
    why="CWE-942: a foreign page reads answers meant for the user",
    advice="compare with a list of origins first",
    silent="origins from a list",
    kind="cors",
    sinks=(
        Sink(
            ("flask.make_response().headers.__setitem__", ".__setitem__"),
            (1,),
            lambda _frame, site: text_of(site.arg(0)).lower() == "access-control-allow-origin",
        ),
        Sink(
            (".add_header", ".set_header", ".send_header", ".set"),
            (1,),
            lambda _frame, site: text_of(site.arg(0)).lower() == "access-control-allow-origin",
        ),
    ),
    checks=(
        Check(
            (
                "flask_cors.CORS",
                ".add_middleware",
                "starlette.middleware.cors.CORSMiddleware",
                "starlette.middleware.Middleware",
                "flask_socketio.SocketIO",
                "socketio.AsyncServer",
                "socketio.Server",
                "flask_cors.cross_origin",
            ),
            _star_and_credentials,
        ),
    ),
    assigns=(AssignCheck(setting("CORS_ALLOW_ALL_ORIGINS", "CORS_ORIGIN_ALLOW_ALL"), is_value(True)),),
    bad="from flask import request\ndef answer(response):\n"
    "    response.headers['Access-Control-Allow-Origin'] = request.headers.get('Origin')\n"
    "    return response\n",
    good="from flask import request\nTRUSTED = {'https://shop.example.org'}\ndef answer(response):\n"
    "    origin = request.headers.get('Origin')\n    if origin in TRUSTED:\n"
    "        response.headers['Access-Control-Allow-Origin'] = origin\n    return response\n",
)

WEBSOCKET = Rule(
    id="websocket-any-origin",
    cwe=346,
    title="web socket open to any site",
    severity=Severity.MEDIUM,
    what="a web socket accepts connections that any site starts",
    why="CWE-346: a foreign page talks to it with the user's cookies",
    advice="compare the origin with your own",
    silent="checks of the origin",
    shape=_any_websocket,
    bad="from tornado.websocket import WebSocketHandler\nclass Feed(WebSocketHandler):\n"
    "    def check_origin(self, origin):\n        return True\n",
    good="from tornado.websocket import WebSocketHandler\nclass Feed(WebSocketHandler):\n"
    "    def check_origin(self, origin):\n        return origin == 'https://shop.example.org'\n",
)

RULES = (CSRF_OFF, FRAMES, HEADERS, SAMESITE, REFLECTED, WEBSOCKET)
