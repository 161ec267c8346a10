"""Rules for objects, errors and headers that a request decides."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.attributes import outer_bases
from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.source import dotted
from veilig.audit.engine.value import Class, OriginKind, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import (
    both,
    is_dynamic,
    keyword_is,
    negated,
    text_of,
)
from veilig.audit.rules.rule import Check, Rule, Sink
from veilig.audit.rules.sketch import Sketch

_ROUTE = re.compile(r"(^|\.)(route|get|post|put|delete|patch)$")


def error_answer(frame: Frame, value: Value) -> bool:
    """The returned value goes to a client."""
    del value
    return frame.func is not None and any(_ROUTE.search(name) for name in frame.func.decorators)


def safe_loader(_frame: Frame, site: CallSite) -> bool:
    """A loader that builds plain values only, or a class of the project derived from one."""
    loader = site.arg(1, "Loader")
    names = outer_bases(loader) if isinstance(loader, Class) else [text_of(loader)]
    return any(name.endswith(("SafeLoader", "BaseLoader")) for name in names)


TRUST = Rule(
    id="trust-boundary",
    cwe=501,
    title="unchecked value in the session",
    severity=Severity.LOW,
    what="a request decides what the session says",
    why="CWE-501: what lies in the session is trusted later; the sender chooses what is overwritten",
    advice="use fixed session keys, and check values before they are stored",
    silent="fixed keys with checked values",
    kind="session",
    sinks=(
        Sink(("flask.session.__setitem__", "http.request.session.__setitem__"), (0,)),
        Sink(("flask.session.__setitem__", "http.request.session.__setitem__"), (1,)),
    ),
    flow_confidence=Confidence.POSSIBLE,
    bad="from flask import request, session\ndef f():\n    session[request.args['k']] = 'yes'\n",
    good="from flask import request, session\ndef f():\n    session['k'] = 'yes'\n",
)

# Stores and channels that others write to.
_FOREIGN = re.compile(
    r"(?i)redis|memcache|requests\.|httpx\.|urlopen|boto3|kafka|pika|\.recv|zmq|cache\.|socket"
)


PICKLE = Rule(
    id="unsafe-deserialization",
    cwe=502,
    title="unsafe deserialisation",
    severity=Severity.HIGH,
    what="data is deserialised in a way that can run code",
    why="CWE-502: pickle and full YAML build any object, so the sender runs code",
    advice="use JSON or yaml.safe_load; torch.load(..., weights_only=True)",
    silent="yaml.safe_load, SafeLoader, weights_only=True, constants",
    kind="deserialization",
    origins=frozenset({OriginKind.REMOTE, OriginKind.LOCAL}),
    fix_id="yaml-safe-load",
    sinks=(
        Sink(
            (
                "pickle.loads",
                "pickle.load",
                "pickle.Unpickler",
                "dill.loads",
                "dill.load",
                "cloudpickle.loads",
            )
        ),
        Sink(
            (
                "marshal.loads",
                "marshal.load",
                "shelve.open",
                "jsonpickle.decode",
                "joblib.load",
                "pandas.read_pickle",
            )
        ),
    ),
    checks=(
        Check(
            ("yaml.load", "yaml.load_all", "ruamel.yaml.load"),
            both(
                negated(safe_loader),
                lambda _frame, site: bool(site.args) and is_dynamic(site.args[0]),
            ),
        ),
        Check(("yaml.unsafe_load", "yaml.full_load_all", "yaml.unsafe_load_all"), lambda _frame, _site: True),
        Check(("torch.load",), negated(keyword_is(99, "weights_only", True)), Confidence.POSSIBLE),
        Check(("numpy.load",), keyword_is(2, "allow_pickle", True)),
        Check(
            ("jsonpickle.decode", "shelve.open"),
            lambda _frame, site: bool(site.args) and is_dynamic(site.args[0]),
            Confidence.POSSIBLE,
        ),
        Check(
            ("pickle.loads", "pickle.load", "dill.loads", "dill.load", "marshal.loads", "cloudpickle.loads"),
            lambda _frame, site: bool(site.args),
            Confidence.PATTERN,
        ),
        Check(
            ("pickle.loads", "pickle.load", "dill.loads", "cloudpickle.loads", "marshal.loads"),
            lambda _frame, site: _FOREIGN.search(text_of(site.arg(0))) is not None,
            Confidence.POSSIBLE,
        ),
    ),
    bad="import yaml\ndef read(text):\n    return yaml.load(text, Loader=yaml.Loader)\n",
    good="import yaml\ndef read(text):\n    return yaml.load(text, Loader=yaml.SafeLoader)\n",
)

TRACEBACK = Rule(
    id="error-exposure",
    cwe=209,
    title="internal error text shown to the client",
    severity=Severity.LOW,
    what="the text of an internal error is sent to the client",
    why="CWE-209: paths, queries and versions help the next attack",
    advice="log the error and answer with a general message",
    silent="errors that are only logged",
    kind="error",
    origins=frozenset({OriginKind.ERROR}),
    returned=error_answer,
    sinks=(
        Sink(
            (
                "flask.make_response",
                "flask.jsonify",
                "django.http.HttpResponse",
                "django.http.JsonResponse",
                "fastapi.responses.JSONResponse",
                "starlette.responses.JSONResponse",
                "aiohttp.web.json_response",
                "fastapi.HTTPException",
                "rest_framework.response.Response",
                "starlette.responses.PlainTextResponse",
                "fastapi.responses.PlainTextResponse",
                "flask.abort",
                "django.http.HttpResponseServerError",
            ),
            ("*",),
        ),
        Sink(
            tuple(
                f"tornado.{module}().{name}"
                for module in ("web.RequestHandler", "websocket.WebSocketHandler")
                for name in ("finish", "write", "write_message", "send_error")
            ),
            ("*",),
        ),
    ),
    bad="import traceback\nfrom flask import Flask\napp = Flask(__name__)\n@app.route('/')\n"
    "def run():\n    try:\n        return work()\n"
    "    except Exception:\n        return traceback.format_exc(), 500\ndef work():\n    return 'ok'\n",
    good="import logging\nfrom flask import Flask\napp = Flask(__name__)\n@app.route('/')\n"
    "def run():\n    try:\n        return work()\n"
    "    except Exception:\n        logging.exception('failed')\n"
    "        return 'internal error', 500\ndef work():\n    return 'ok'\n",
)


def _composed(site: CallSite) -> bool:
    """The message was glued together as text; message objects refuse line breaks in their headers."""
    made = text_of(site.arg(2, "msg"))
    return "as_string" not in made and "as_bytes" not in made


HEADER = Rule(
    id="header-injection",
    cwe=113,
    title="response splitting",
    severity=Severity.MEDIUM,
    what="text from outside becomes a response header with its line breaks",
    why="CWE-113: a line break starts a header or body of the sender's choice",
    advice="remove line breaks, or quote the value",
    silent="frameworks that refuse line breaks",
    kind="header",
    sinks=(
        Sink((".send_header",), (1,)),
        Sink(("wsgi.start_response",), (1,)),
        Sink((".sendmail",), (2, "msg"), lambda _frame, site: _composed(site)),
    ),
    bad="from http.server import BaseHTTPRequestHandler\nclass H(BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_header('X-Path', self.path)\n",
    good="from http.server import BaseHTTPRequestHandler\nclass H(BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_header('X-Path', self.path.replace('\\r\\n', ''))\n",
)

_EVERYTHING_SENT = re.compile(
    r"^(await )?(\w+\.)?request\.(get_json\(.*\)|json(\(\))?|form(\.to_dict\(\))?|POST(\.dict\(\))?|"
    r"data|args(\.to_dict\(\))?)$"
)


def _spread(sketch: Sketch) -> Iterator[tuple[ast.AST, Confidence]]:
    """`User(**request.get_json())`: every field of the request becomes a field of the object."""
    if "**" not in sketch.text or "request" not in sketch.text:
        return
    for node in sketch.each(ast.Call):
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            if keyword.arg is None and _EVERYTHING_SENT.match(ast.unparse(keyword.value)):
                name = dotted(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
                if name[:1].isupper() or name in ("create", "update", "values", "update_or_create"):
                    yield node, Confidence.CERTAIN


MASS = Rule(
    id="mass-assignment",
    cwe=915,
    title="mass assignment",
    severity=Severity.MEDIUM,
    what="all fields of a request are copied into an object",
    why="CWE-915: the sender sets fields nobody meant to offer, such as is_admin",
    advice="copy the fields you mean, one by one",
    silent="named fields",
    kind="mass",
    shape=_spread,
    sinks=(
        Sink((".create", ".update"), ("**",)),
        Sink(("setattr",), (1,)),
    ),
    bad="from flask import request\nclass User: ...\ndef save(user):\n"
    "    for key, value in request.form.items():\n"
    "        setattr(user, key, value)\n",
    good="from flask import request\nclass User: ...\ndef save(user):\n"
    "    user.name = request.form['name']\n",
)

RULES = (TRUST, PICKLE, TRACEBACK, HEADER, MASS)
