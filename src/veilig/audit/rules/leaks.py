"""Rules for precious data on its way out: whole records, cookies, logs, and records of unsigned cookies."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch, names_in

type Marks = Iterator[tuple[ast.AST, Confidence]]

_PRECIOUS = re.compile(
    r"(?i)^_?(\w+_)?(password|passwd|pwd|passphrase|password_?hash|pw_?hash|hashed_password|secret|api_?key|"
    r"api_?token|access_token|refresh_token|private_key|ssn|bsn|iban|card_?number|cvc|cvv|pan|totp_\w+|"
    r"otp_secret|mfa_secret|recovery_codes?)$"
)
_PASSWORD = re.compile(r"(?i)^(\w+_)?(password|passwd|pwd|passphrase|card_?number|cvc|cvv|pin)$")
_KEPT_SAFE = re.compile(r"(?i)hash|encrypt|fernet|token_urlsafe|token_hex|crypt|seal|derive|sign")
_ANSWERS = re.compile(
    r"(^|\.)(jsonify|JSONResponse|JsonResponse|json_response|ORJSONResponse|Response|write|finish)$"
)
_WHOLE = re.compile(r"(^|\.)(asdict|vars|model_to_dict|astuple|_asdict|to_dict|as_dict|__dict__)$")
_PLACE = re.compile(r"%\((\w+)\)|\{(\w+)\}")
_LOGS = re.compile(
    r"(?i)(^|\.)(log|logger|logging|_log|_logger|LOG)\w*\.(debug|info|warning|error|exception|critical)$"
)


def _whole_records(sketch: Sketch) -> Marks:
    """A record with a precious field goes out as it is."""
    if not sketch.web or not search(r"asdict|vars\(|_dict\(|__dict__|astuple", sketch.text):
        return
    if not _precious_classes(sketch):
        return
    for function in sketch.functions:
        for call in function.calls():
            if not _ANSWERS.search(dotted(call.func)) or not call.args:
                continue
            whole = _record(function, call.args[0])
            if whole is not None and not _picks(function):
                yield call, Confidence.POSSIBLE
                break
        else:
            if not sketch.is_view(function):
                continue
            for node in function.each(ast.Return):
                if isinstance(node, ast.Return) and node.value is not None and not _picks(function):
                    direct = node.value if isinstance(node.value, ast.Name | ast.Call) else None
                    if direct is not None and _record(function, direct) is not None:
                        yield node, Confidence.POSSIBLE
                        break


def _precious_classes(sketch: Sketch) -> bool:
    """Whether any class of the program has a field that must stay here."""
    known = sketch.program.answers.get("precious")
    if not isinstance(known, bool):
        known = sketch.program.answers["precious"] = any(map(_is_precious, sketch.everywhere()))
    return known is True


def _is_precious(node: ast.AST) -> bool:
    if not isinstance(node, ast.ClassDef):
        return False
    for item in node.body:
        targets = item.targets if isinstance(item, ast.Assign) else []
        if isinstance(item, ast.AnnAssign):
            targets = [item.target]
        if any(isinstance(target, ast.Name) and _PRECIOUS.match(target.id) for target in targets):
            return True
    return False


def _record(function: FunctionSketch, value: ast.expr) -> ast.AST | None:
    """`asdict(x)` and the like, given directly, in a list, or through one local name."""
    candidates: list[ast.AST] = [value]
    if isinstance(value, ast.Name):
        candidates = [
            node.value
            for node in function.each(ast.Assign)
            if isinstance(node, ast.Assign)
            and any(isinstance(t, ast.Name) and t.id == value.id for t in node.targets)
        ]
    elif isinstance(value, ast.ListComp):
        candidates = [value.elt]
    for item in candidates:
        if isinstance(item, ast.Call) and _WHOLE.search(dotted(item.func)):
            own = dotted(item.func).rpartition(".")[2]
            if own in ("to_dict", "as_dict", "_asdict") or not any(k.arg for k in item.keywords):
                return item
        if isinstance(item, ast.Attribute) and item.attr == "__dict__":
            return item
    return None


def _picks(function: FunctionSketch) -> bool:
    """Fields are taken out or chosen by name."""
    return (
        search(r"(?i)(\.pop\(|del \w+\[)['\"]?[^)\]]*(password|hash|token|secret|key)", function.body)
        is not None
        or search(
            r"\bfor \w+(, \w+)? in [^\n]* if |for \w+ in \(\s*['\"]|exclude|include|public", function.body
        )
        is not None
        or "to_dict" in function.name
    )


def _in_cookies(sketch: Sketch) -> Marks:
    """A password, as it was typed, becomes the value of a cookie."""
    for function in sketch.functions:
        if "set_cookie(" not in function.body:
            continue
        for call in function.calls():
            if not dotted(call.func).endswith("set_cookie"):
                continue
            value = next((k.value for k in call.keywords if k.arg == "value"), None)
            if value is None:
                value = call.args[1] if len(call.args) > 1 else None
            if value is None or isinstance(value, ast.Constant):
                continue
            names = names_in(function, value)
            if any(_PASSWORD.match(name) for name in names) and not any(map(_KEPT_SAFE.search, names)):
                yield call, Confidence.CERTAIN


def _in_logs(sketch: Sketch) -> Marks:
    """The template of a log line asks for a precious field; addresses with their password are printed."""
    if "log" not in sketch.text or not search(r"%\(|hide_password|\{\w+\}", sketch.text):
        return
    filtered = sketch.program.has(r"addFilter\(|filters=|structlog|Redact|Scrub\w*\(\)")
    for function in sketch.functions:
        if "hide_password=False" in function.body and search(r"(?i)log|print|write", function.body):
            for call in function.calls():
                if any(k.arg == "hide_password" and ast.unparse(k.value) == "False" for k in call.keywords):
                    printed = any(
                        call in set(ast.walk(other))
                        and (_LOGS.search(dotted(other.func)) or dotted(other.func) == "print")
                        for other in function.calls()
                    )
                    if printed:
                        yield call, Confidence.CERTAIN
        if filtered:
            continue
        for call in function.calls():
            if not _LOGS.search(dotted(call.func)) or not call.args:
                continue
            template = call.args[0]
            if isinstance(template, ast.Constant) and isinstance(template.value, str):
                named = {name for pair in _PLACE.findall(template.value) for name in pair if name}
                if any(_PRECIOUS.match(name) for name in named):
                    yield call, Confidence.CERTAIN


def _unsigned_state(sketch: Sketch) -> Marks:
    """JSON is kept in a cookie and read back from it, and nothing tells whether the browser changed it."""
    if "set_cookie(" not in sketch.text or not sketch.program.has(r"\.cookies"):
        return
    if sketch.program.has(r"(?i)\.unsign\(|signer\.(un)?load|\.loads\(raw\b.*signer|\.decrypt\("):
        return
    text = sketch.program_text
    for function in sketch.functions:
        if "set_cookie(" not in function.body or "json.dumps(" not in function.body:
            continue
        for call in function.calls():
            if not dotted(call.func).endswith("set_cookie") or len(call.args) < 2:
                continue
            shown = ast.unparse(call.args[1])
            given = re.findall(rf"\b{re.escape(shown)} = [^\n]*json\.dumps\(", function.body)
            dumped = "json.dumps(" in shown or bool(given)
            name = re.escape(ast.unparse(call.args[0]).strip("'\""))
            mine = re.search(rf"cookies(\.get\(|\[)['\"]?{name}\b", text)
            if (
                dumped
                and mine
                and re.search(r"json\.loads\(", text)
                and not re.search(r"(?i)hmac|sign", shown)
            ):
                yield call, Confidence.POSSIBLE


RECORD = Rule(
    id="whole-record-shown",
    cwe=200,
    title="record shown with its secrets",
    severity=Severity.MEDIUM,
    what="a record is sent as a whole, and its class has a field that must stay here",
    why="CWE-200: password hashes, tokens and card numbers go to whoever asks (CWE-201)",
    advice="name the fields that may go out",
    silent="answers built field by field, classes without such fields",
    shape=_whole_records,
    bad="from dataclasses import asdict, dataclass\nfrom flask import Flask, jsonify\n"
    "app = Flask(__name__)\n"
    "@dataclass\nclass Person:\n    name: str\n    password_hash: str\nPEOPLE = {}\n"
    "@app.get('/p/<name>')\ndef show(name):\n    return jsonify(asdict(PEOPLE[name]))\n",
    good="from dataclasses import asdict, dataclass\nfrom flask import Flask, jsonify\n"
    "app = Flask(__name__)\n"
    "@dataclass\nclass Person:\n    name: str\n    password_hash: str\nPEOPLE = {}\n"
    "@app.get('/p/<name>')\ndef show(name):\n    return jsonify({'name': PEOPLE[name].name})\n",
)

COOKIE = Rule(
    id="password-in-cookie",
    cwe=522,
    title="password kept in a cookie",
    severity=Severity.HIGH,
    what="a password becomes the value of a cookie",
    why="CWE-522: it lies in the browser and travels with every request (CWE-312)",
    advice="store a random token and keep what it means on the server",
    silent="random tokens, hashes, session identifiers",
    shape=_in_cookies,
    bad="def remember(response, user, password):\n"
    "    response.set_cookie('r', f'{user}:{password}', secure=True, httponly=True, samesite='Lax')\n",
    good="import secrets\ndef remember(response, user, password):\n"
    "    response.set_cookie('r', secrets.token_urlsafe(32), secure=True, httponly=True, samesite='Lax')\n",
)

LOGGED = Rule(
    id="precious-field-in-log",
    cwe=532,
    title="precious field in a log line",
    severity=Severity.MEDIUM,
    what="a log line is made with a password, token or card number",
    why="CWE-532: logs are read, copied and kept by many",
    advice="log an identifier, or install a filter that masks such fields",
    silent="programs with a filter on their handlers",
    shape=_in_logs,
    bad="import logging\nlog = logging.getLogger(__name__)\ndef pay(doc):\n"
    "    log.info('card %(card_number)s', doc)\n",
    good="import logging\nlog = logging.getLogger(__name__)\ndef pay(doc):\n    log.info('%(order)s', doc)\n",
)

UNSIGNED = Rule(
    id="unsigned-cookie-state",
    cwe=565,
    title="state kept in an unsigned cookie",
    severity=Severity.MEDIUM,
    what="what a cookie says is read back and believed",
    why="CWE-565: prices, roles and counters are whatever the browser sends (CWE-784)",
    advice="sign it (itsdangerous, django.core.signing) or keep the state on the server",
    silent="signed cookies, cookies with an identifier only",
    shape=_unsigned_state,
    bad="import json\nfrom flask import request\ndef read():\n"
    "    return json.loads(request.cookies.get('cart', '{}'))\ndef write(response, doc):\n"
    "    response.set_cookie('cart', json.dumps(doc), secure=True, httponly=True, samesite='Lax')\n",
    good="import os\nfrom flask import request\nfrom itsdangerous import URLSafeSerializer\n"
    "signer = URLSafeSerializer(os.environ['KEY'])\ndef read():\n"
    "    return signer.loads(request.cookies['cart'])\ndef write(response, doc):\n"
    "    response.set_cookie('cart', signer.dumps(doc), secure=True, httponly=True, samesite='Lax')\n",
)

RULES = (RECORD, COOKIE, LOGGED, UNSIGNED)
