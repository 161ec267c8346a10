"""Rules for protections that are off until somebody sets something, or computed instead of on."""

import ast
import re
from collections.abc import Callable, Iterator
from typing import cast

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import Sketch, last_name
from veilig.audit.rules.slices import Definitions, module_definitions, own_definitions
from veilig.audit.rules.unset import UNKNOWN, Resolve, when_unset

type Marks = Iterator[tuple[ast.AST, Confidence]]
type Setting = tuple[str, str, ast.expr, ast.AST, object]  # owner or callee, name, value, where, unset
type Judge = Callable[[str, str, ast.expr, object], bool]

_ASKED = re.compile(r"environ|getenv|\.get\(|\benv\b|\bconfig\(|default=")
_MAY_ASK = re.compile(r"environ|getenv|get\s*\(|env|config|default")
_GIVING = (ast.Call, ast.Assign, ast.Dict)
_RUNS = re.compile(r"(^|\.)(run|run_simple|Flask|FastAPI|Starlette|Sanic|Application|Dash|Quart|run_server)$")
_DEBUG = re.compile(r"(?i)^(use_)?(debug|debugger|evalex)$")
_VERIFY = re.compile(
    r"(?i)^(verify|verify_ssl|ssl_verify|verify_certs?|check_hostname|validate_certs?|verify_tls|tls_verify|"
    r"verify_hostname|assert_hostname)$"
)
_COOKIE = re.compile(r"(^|\.)set_(signed_|secure_)?cookie$")
_SECURE = re.compile(r"(?i)^((session|csrf|remember|auth\w*)_cookie_)?secure$")
_SECRET = re.compile(r"(?i)(^|_)(token|secret|api_?key|key|password|passwd|pass|psk)$")


def _settings(sketch: Sketch) -> list[Setting]:
    """Every keyword, field and setting with what it is when nobody sets it; worked out once for all rules."""
    known = sketch.shared.get("settings")
    if not isinstance(known, list):
        found = ((o, n, v, w, when_unset(v, names)) for o, n, v, w, names in _computed(sketch))
        known = sketch.shared["settings"] = [
            item for item in found if item[4] is not UNKNOWN or item[1] == "check_hostname"
        ]
    return cast("list[Setting]", known)


def _computed(sketch: Sketch) -> Iterator[tuple[str, str, ast.expr, ast.AST, Resolve]]:
    if not search(_ASKED, sketch.text):
        return
    outer = module_definitions(sketch.module)
    scopes: list[tuple[list[ast.AST], Definitions]] = [
        (function.own_each(*_GIVING), own_definitions(function)) for function in sketch.functions
    ]
    inside = {id(node) for nodes, _ in scopes for node in nodes}
    scopes.append(([node for node in sketch.each(*_GIVING) if id(node) not in inside], {}))
    for nodes, local in scopes:
        resolve = _resolver(local, outer)
        for node in nodes:
            for place, name, value in _named(node):
                if _DEBUG.match(name) or _VERIFY.match(name) or _SECURE.match(name):
                    yield _owner(node, place), name, value, node, resolve


def _resolver(local: Definitions, outer: Definitions) -> Resolve:
    def resolve(name: str) -> ast.expr | None:
        given = local.get(name) or outer.get(name, [])
        return given[0] if len(given) == 1 else None

    return resolve


def _named(node: ast.AST) -> Iterator[tuple[ast.expr | None, str, ast.expr]]:
    """What is called or assigned to, the name, and its value."""
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg is not None:
                yield node.func, keyword.arg, keyword.value
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield target, last_name(target), node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield None, key.value, value


def _owner(node: ast.AST, place: ast.expr | None) -> str:
    if place is None:
        return "{}"
    if isinstance(node, ast.Call):
        return dotted(place) or ast.unparse(place)
    return (dotted(place).rpartition(".")[0] if isinstance(place, ast.Attribute) else "") or "="


def _off_unless_set(judge: Judge) -> Callable[[Sketch], Marks]:
    def shape(sketch: Sketch) -> Marks:
        for owner, name, value, node, known in _settings(sketch):
            if judge(owner, name, value, known):
                yield node, Confidence.POSSIBLE

    return shape


def _debugs(owner: str, name: str, _value: ast.expr, known: object) -> bool:
    return (
        known is True
        and _DEBUG.match(name) is not None
        and (owner in ("=", "{}") or name != "debug" or _RUNS.search(owner) is not None)
    )


def _unverified(_owner: str, name: str, value: ast.expr, known: object) -> bool:
    if not _VERIFY.match(name):
        return False
    if name == "check_hostname" and isinstance(value, ast.Compare | ast.BoolOp | ast.UnaryOp):
        return True
    return known is False or (known is None and name not in ("verify", "check_hostname"))


def _insecure(owner: str, name: str, _value: ast.expr, known: object) -> bool:
    setting = owner in ("=", "{}") and "_" in name
    return (
        _SECURE.match(name) is not None
        and (setting or _COOKIE.search(owner) is not None)
        and (known is False or known is None)
    )


def _tls(sketch: Sketch) -> Marks:
    yield from _off_unless_set(_unverified)(sketch)
    for node in (
        sketch.each(ast.Assign, ast.Call)
        if "check_hostname" in sketch.text or "tls_insecure_set" in sketch.text
        else ()
    ):
        if (
            isinstance(node, ast.Assign)
            and last_name(node.targets[0]) == "check_hostname"
            and isinstance(node.value, ast.Compare | ast.BoolOp | ast.UnaryOp)
        ):
            yield node, Confidence.POSSIBLE
        if isinstance(node, ast.Call) and last_name(node.func) == "tls_insecure_set" and node.args:
            given = node.args[0]
            if not isinstance(given, ast.Name | ast.Attribute | ast.Constant):
                yield node, Confidence.POSSIBLE


def _empty_secret(sketch: Sketch) -> Marks:
    """A token that is empty when nobody sets it, compared with what a stranger sends."""
    for node in sketch.each(ast.Assign) if search(_MAY_ASK, sketch.text) else ():
        if not isinstance(node, ast.Assign) or not _ASKED.search(ast.unparse(node.value)):
            continue
        name = last_name(node.targets[0])
        if not _SECRET.search(name) or when_unset(node.value, lambda _name: None) not in ("", b""):
            continue
        spelt = rf"(?:\w+\.)*{re.escape(name)}(?:\.encode\([^)]*\))?"
        compared = search(
            rf"compare_digest\((?:[^\n]*,\s*)?{spelt}\s*[,)]|[!=]= {spelt}\b|\b{spelt} [!=]= (?!['\"]{{2}})",
            sketch.program_text,
        )
        refused = search(
            rf"not (\w+\.)*{name}\b|if (\w+\.)*{name}\b|{name} (==|is) (''|\"\"|None)|len\({name}",
            sketch.program_text,
        )
        if compared and not refused:
            yield node, Confidence.POSSIBLE


DEBUG_DEFAULT = Rule(
    id="debug-unless-set",
    cwe=489,
    title="debug mode on by default",
    severity=Severity.MEDIUM,
    what="the debug mode is on when nobody sets anything",
    why="CWE-489: a server set up in a hurry shows code and settings, or runs anybody's code (CWE-215)",
    advice="let the unset value be off",
    silent="modes that are off until somebody switches them on",
    shape=_off_unless_set(_debugs),
    bad="import os\nfrom flask import Flask\napp = Flask(__name__)\n"
    "app.run(debug=os.environ.get('STAGE', 'dev') != 'live')\n",
    good="import os\nfrom flask import Flask\napp = Flask(__name__)\n"
    "app.run(debug=os.environ.get('STAGE', 'live') == 'dev')\n",
)

TLS_DEFAULT = Rule(
    id="tls-unverified-unless-set",
    cwe=295,
    title="certificates verified only when asked for",
    severity=Severity.HIGH,
    what="the other side is verified only when a setting or the address says so",
    why="CWE-295: where nobody sets it, anybody on the way can answer (CWE-297)",
    advice="verify always; take the trusted authority from the setting, not the decision",
    silent="constants, settings that are on unless switched off",
    shape=_tls,
    bad="import os, requests\ndef get(url):\n"
    "    return requests.get(url, verify=os.getenv('TLS', '') == 'strict', timeout=9)\n",
    good="import os, requests\ndef get(url):\n"
    "    return requests.get(url, verify=os.getenv('CA_FILE', '/etc/ssl/ca.pem'), timeout=9)\n",
)

COOKIE_DEFAULT = Rule(
    id="cookie-insecure-unless-set",
    cwe=614,
    title="cookie secure only when a setting says so",
    severity=Severity.MEDIUM,
    what="the cookie travels without TLS unless somebody sets something",
    why="CWE-614: a forgotten setting sends the session in clear",
    advice="secure=True; switch it off for development only",
    silent="settings that are on unless switched off",
    shape=_off_unless_set(_insecure),
    bad="import os\nSESSION_COOKIE_SECURE = os.environ.get('HTTPS') == 'on'\n",
    good="import os\nSESSION_COOKIE_SECURE = os.environ.get('HTTPS', 'on') == 'on'\n",
)

EMPTY_SECRET = Rule(
    id="secret-empty-unless-set",
    cwe=1188,
    title="secret that is empty by default",
    severity=Severity.HIGH,
    what="when nobody sets this secret it is empty, and an empty answer passes",
    why="CWE-1188: a forgotten setting lets everybody in (CWE-287, CWE-306)",
    advice="fail at the start when it is missing: os.environ['NAME']",
    silent="secrets asked for being there before they are compared",
    shape=_empty_secret,
    bad="import hmac, os\nKEY = os.environ.get('APP_KEY', '')\ndef allowed(given):\n"
    "    return hmac.compare_digest(given, KEY)\n",
    good="import hmac, os\nKEY = os.environ['APP_KEY']\ndef allowed(given):\n"
    "    return hmac.compare_digest(given, KEY)\n",
)

RULES = (DEBUG_DEFAULT, TLS_DEFAULT, COOKIE_DEFAULT, EMPTY_SECRET)
