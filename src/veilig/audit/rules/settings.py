"""Rules for settings: debug modes, cookies, XML parsers, temporary files, permissions, time-outs, bind
addresses."""

import ast
import re

from veilig.audit.engine.attributes import find_member
from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.state import constant
from veilig.audit.engine.value import Class, Const, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import (
    always,
    both,
    first_of,
    keyword_is,
    missing,
    text_of,
)
from veilig.audit.rules.rule import AssignCheck, Check, Rule

ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  # what the rule looks for
HTTP_CALLS = tuple(
    f"requests.{verb}" for verb in ("get", "post", "put", "delete", "patch", "head", "options", "request")
)


def settings_name(*names: str) -> re.Pattern[str]:
    """A setting assigned in a settings module or in app.config[...]."""
    return re.compile(rf"(^|\[|\.)({'|'.join(names)})\]?$")


_DEVELOPMENT = re.compile(r"(?i)dev|local|test|debug|ci$")


def _flag(pattern: re.Pattern[str], value: object, *, module_only: bool = True) -> AssignCheck:
    def test(frame: Frame, name: str, given: Value) -> bool:
        if constant(given) is not value:
            return False
        if frame.class_info is not None and _DEVELOPMENT.search(frame.class_info.name):
            return False
        return not module_only or frame.func is None or "[" in name or "." in name

    return AssignCheck(lambda name: pattern.search(name) is not None, test)


def _development(_frame: Frame, site: CallSite) -> bool:
    """The application is configured with a class of settings that switches the debug mode on."""
    given = site.arg(0)
    found = find_member(given, "DEBUG") if isinstance(given, Class) else None
    return found is not None and constant(found[0]) is True


DEBUG = Rule(
    id="debug-enabled",
    cwe=489,
    title="debug mode on",
    severity=Severity.MEDIUM,
    what="the debug mode is switched on in the code",
    why="CWE-489: Werkzeug's debugger runs any code, Django's pages show settings",
    advice="read it from the environment, off by default",
    silent="debug=False, values from the environment",
    fix_id="debug-off",
    checks=(
        Check(
            (".run",),
            both(
                keyword_is(2, "debug", True),
                lambda _frame, site: text_of(site.receiver).endswith(
                    ("Flask()", "app", "Quart()", "Bottle()", "Dash()")
                ),
            ),
        ),
        Check((".from_object",), _development),
        Check(
            ("bottle.run", "bottle.debug", "flask.Flask().run", "uvicorn.run"), keyword_is(99, "debug", True)
        ),
        Check(
            (
                "fastapi.FastAPI",
                "starlette.applications.Starlette",
                "tornado.web.Application",
                "aiohttp.web.Application",
            ),
            keyword_is(99, "debug", True),
        ),
    ),
    assigns=(
        _flag(re.compile(r"^DEBUG$"), True),
        _flag(re.compile(r"config\[DEBUG\]$"), True, module_only=False),
        _flag(re.compile(r"Flask\(\)\.debug$"), True, module_only=False),
    ),
    bad="from flask import Flask\napp = Flask(__name__)\nif __name__ == '__main__':\n"
    "    app.run(debug=True)\n",
    good="from flask import Flask\napp = Flask(__name__)\nif __name__ == '__main__':\n    app.run()\n",
)


def _sensitive_cookie(frame: Frame, site: CallSite) -> bool:
    del frame
    return not site.splat and (len(site.args) > 1 or "key" in site.kwargs or "value" in site.kwargs)


COOKIE = Rule(
    id="cookie-flags",
    cwe=614,
    title="cookie without Secure",
    severity=Severity.MEDIUM,
    what="a cookie may travel without TLS",
    why="CWE-614: it can be read on the way",
    advice="set_cookie(..., secure=True, httponly=True, samesite='Lax')",
    silent="secure=True",
    fix_id="cookie-flags",
    checks=(
        Check(
            (".set_cookie",),
            both(
                _sensitive_cookie,
                lambda _frame, site: (
                    site.arg(99, "secure") is None or constant(site.arg(99, "secure")) is False
                ),
            ),
        ),
    ),
    assigns=(_flag(settings_name("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"), False, module_only=False),),
    bad="from flask import make_response\ndef login():\n    r = make_response('ok')\n"
    "    r.set_cookie('s', 'v', httponly=True)\n    return r\n",
    good="from flask import make_response\ndef login():\n    r = make_response('ok')\n"
    "    r.set_cookie('s', 'v', secure=True, httponly=True)\n    return r\n",
)

HTTPONLY = Rule(
    id="cookie-httponly",
    cwe=1004,
    title="session cookie readable by scripts",
    severity=Severity.LOW,
    what="a session cookie may be read by scripts",
    why="CWE-1004: one script injection steals the session",
    advice="httponly=True",
    silent="httponly=True, cookies that are not a session",
    fix_id="cookie-flags",
    checks=(
        Check(
            (".set_cookie",),
            lambda _frame, site: (
                not site.splat
                and (
                    constant(site.arg(99, "httponly")) is False
                    or (
                        site.arg(99, "httponly") is None
                        and re.search(r"(?i)sess|token|auth|sid|remember", text_of(site.arg(0, "key")))
                        is not None
                    )
                )
            ),
        ),
    ),
    assigns=(_flag(settings_name("SESSION_COOKIE_HTTPONLY"), False, module_only=False),),
    bad="from flask import make_response\ndef login():\n    r = make_response('ok')\n"
    "    r.set_cookie('session', 'v', secure=True)\n    return r\n",
    good="from flask import make_response\ndef login():\n    r = make_response('ok')\n"
    "    r.set_cookie('session', 'v', secure=True, httponly=True)\n    return r\n",
)

_PRIVATE = re.compile(r"(?i)key|secret|token|cred|passw|private|\.pem|\.env")


def _readable_secret(_frame: Frame, site: CallSite) -> bool:
    """A file whose name says secret becomes readable for everybody."""
    mode = constant(site.arg(0 if len(site.args) == 1 else 1, "mode"))
    named = ast.unparse(site.node.args[0] if site.qual == "os.chmod" and site.node.args else site.node.func)
    return isinstance(mode, int) and bool(mode & 0o044) and _PRIVATE.search(named) is not None


def _created_open(_frame: Frame, site: CallSite) -> bool:
    mode = constant(site.arg(2, "mode"))
    return isinstance(mode, int) and bool(mode & 0o002)


def _shared_temporary(_frame: Frame, site: CallSite) -> bool:
    """A fixed name in a directory where everybody may put a link before."""
    path = site.arg(0) if site.name == "open" else site.receiver
    start = path.value if isinstance(path, Const) else getattr(path, "prefix", "")
    mode = text_of(site.arg(1, "mode"))
    writes = site.name != "open" or (mode[:1] in ("w", "a") and bool(mode))
    return isinstance(start, str) and start.startswith(("/tmp/", "/var/tmp/", "/dev/shm/")) and writes  # noqa: S108


TEMPFILE = Rule(
    id="predictable-temporary-file",
    cwe=377,
    title="predictable temporary file",
    severity=Severity.MEDIUM,
    what="a temporary name is made before the file",
    why="CWE-377: somebody else creates it in between",
    advice="tempfile.mkstemp() or NamedTemporaryFile()",
    silent="mkstemp, NamedTemporaryFile, TemporaryDirectory",
    fix_id="mkstemp",
    checks=(
        Check(("tempfile.mktemp", "os.tempnam", "os.tmpnam"), always),
        Check(("open", "io.open"), _shared_temporary, Confidence.POSSIBLE),
    ),
    bad="import tempfile\nname = tempfile.mktemp()\n",
    good="import tempfile\nhandle, name = tempfile.mkstemp()\n",
)

PERMISSIONS = Rule(
    id="open-permissions",
    cwe=732,
    title="file open to everybody",
    severity=Severity.MEDIUM,
    what="a file becomes writable for everybody",
    why="CWE-732: any local user changes it",
    advice="0o600 for data, 0o700 for programs",
    silent="modes without write permission for others",
    fix_id="chmod-owner",
    checks=(
        Check(
            ("os.chmod", "os.fchmod", "os.mkdir", "os.makedirs", "os.umask", ".chmod"),
            lambda _frame, site: _open_mode(site),
        ),
        Check(("os.chmod", ".chmod"), _readable_secret, Confidence.POSSIBLE),
        Check(("os.open",), _created_open),
    ),
    bad="import os\nos.chmod('/srv/data', 0o777)\n",
    good="import os\nos.chmod('/srv/data', 0o700)\n",
)


def _open_mode(site: CallSite) -> bool:
    position = (
        0
        if site.qual == "os.umask"
        or (
            site.qual != "os.chmod"
            and site.name == "chmod"
            and site.receiver is not None
            and len(site.args) == 1
        )
        else 1
    )
    mode = constant(site.arg(position, "mode"))
    if not isinstance(mode, int) or isinstance(mode, bool):
        return False
    if site.qual == "os.umask":
        return mode == 0
    return bool(mode & 0o002) and not mode & 0o1000


TIMEOUT = Rule(
    id="missing-timeout",
    cwe=400,
    title="request without a time limit",
    severity=Severity.LOW,
    what="a request may wait for ever",
    why="CWE-400: one silent server stops every worker",
    advice="pass timeout=10",
    silent="any timeout argument",
    fix_id="add-timeout",
    checks=(
        Check(HTTP_CALLS, missing(99, "timeout")),
        Check(
            (
                *HTTP_CALLS,
                *(call.replace("requests", "httpx") for call in HTTP_CALLS),
                "httpx.Client",
                "httpx.AsyncClient",
            ),
            keyword_is(99, "timeout", None),
        ),
    ),
    bad="import requests\ndef load():\n    return requests.get('https://example.org')\n",
    good="import requests\ndef load():\n    return requests.get('https://example.org', timeout=10)\n",
)

SERVERS = (
    ".bind",
    "http.server.HTTPServer",
    "http.server.ThreadingHTTPServer",
    "socketserver.TCPServer",
    "socketserver.ThreadingTCPServer",
    "socketserver.UDPServer",
    "socket.create_server",
    "xmlrpc.server.SimpleXMLRPCServer",
)


BIND = Rule(
    id="bind-all",
    cwe=605,
    title="listens on every interface",
    severity=Severity.LOW,
    what="a server listens on every interface",
    why="CWE-605: what was meant for this machine is offered to the network",
    advice="bind to 127.0.0.1 unless the service is meant for the network",
    silent="127.0.0.1, addresses from the configuration",
    checks=(
        Check(
            SERVERS,
            lambda frame, site: text_of(_first(frame, site)) in ANY_ADDRESS,
            Confidence.POSSIBLE,
        ),
        Check(
            (
                ".run",
                "uvicorn.run",
                "aiohttp.web.run_app",
                "bottle.run",
                "hypercorn.run",
                ".listen",
                "waitress.serve",
            ),
            lambda _frame, site: any(
                text_of(value) in ANY_ADDRESS
                for value in (site.arg(0, "host"), site.arg(1, "address"), site.kwargs.get("listen"))
            ),
            Confidence.POSSIBLE,
        ),
        Check(
            ("asyncio.start_server", "wsgiref.simple_server.make_server", "xmlrpc.server.SimpleXMLRPCServer"),
            lambda _frame, site: any(
                text_of(value) in ANY_ADDRESS for value in (*site.args[:2], site.kwargs.get("host"))
            ),
            Confidence.POSSIBLE,
        ),
    ),
    bad="import socket\ns = socket.socket()\ns.bind(('0.0.0.0', 80))\n",
    good="import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 80))\n",
)


def _first(frame: Frame, site: CallSite) -> Value | None:

    return first_of(frame, site.args[0]) if site.args else None


def _any_origin(frame: Frame, site: CallSite) -> bool:

    return text_of(first_of(frame, site.kwargs.get("allow_origins"))) == "*"


CORS = Rule(
    id="cors-any-origin",
    cwe=942,
    title="any site may use the session",
    severity=Severity.MEDIUM,
    what="any origin is allowed together with credentials",
    why="CWE-942: a foreign page acts with the user's session",
    advice="list the origins you trust",
    silent="listed origins, no credentials",
    checks=(
        Check(("flask_cors.CORS",), keyword_is(99, "supports_credentials", True)),
        Check(
            (".add_middleware",),
            both(keyword_is(99, "allow_credentials", True), _any_origin),
        ),
    ),
    assigns=(_flag(settings_name("CORS_ALLOW_ALL_ORIGINS", "CORS_ORIGIN_ALLOW_ALL"), True),),
    bad="CORS_ALLOW_ALL_ORIGINS = True\n",
    good="CORS_ALLOW_ALL_ORIGINS = False\n",
)


HOSTS = Rule(
    id="any-host",
    cwe=20,
    title="any host name accepted",
    severity=Severity.LOW,
    what="the application answers for any host name",
    why="CWE-20: forged host headers end up in links and caches",
    advice="list the host names of this service",
    silent="listed names",
    assigns=(
        AssignCheck(lambda name: name == "ALLOWED_HOSTS", lambda frame, _name, value: _star(frame, value)),
    ),
    bad="ALLOWED_HOSTS = ['*']\n",
    good="ALLOWED_HOSTS = ['shop.example.org']\n",
)


def _star(frame: Frame, value: Value) -> bool:

    return text_of(first_of(frame, value)) == "*"


RULES = (
    DEBUG,
    COOKIE,
    HTTPONLY,
    TEMPFILE,
    PERMISSIONS,
    TIMEOUT,
    BIND,
    CORS,
    HOSTS,
)
