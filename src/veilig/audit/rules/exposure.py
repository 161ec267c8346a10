"""Rules for what is shown to others: environment, internals, listings, secrets in addresses, clear text."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import deep_taints
from veilig.audit.engine.value import EVERY_KIND, Const, OriginKind, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.browser import is_value, setting
from veilig.audit.rules.conditions import both, keyword_is, text_of
from veilig.audit.rules.rule import AssignCheck, Check, Rule
from veilig.audit.rules.sketch import Sketch, last_name
from veilig.audit.rules.slices import own_definitions

type Marks = Iterator[tuple[ast.AST, Confidence]]

_INTERNAL = re.compile(
    r"\bdict\(os\.environ\)|\bos\.environ\.(items|copy)\(|(?<![.\w])os\.environ(?![\w.\[])|"
    r"platform\.(uname|platform|version)\(|"
    r"sys\.(version|path|modules)\b|\b(app|current_app)\.config(?![\w.\[])|\bsettings\.__dict__|"
    r"vars\(settings\)|"
    r"\bos\.(getcwd|uname)\(|psutil\.|traceback\.format"
)
_WHOLE_RECORD = re.compile(
    r"\b__table__\.columns|\b(user|account|customer|member|profile|owner|patient|"
    r"employee)\w*\.__dict__|vars\((user|"
    r"account|customer|member|profile)\w*\)"
)
_SECRET_FIELD = re.compile(
    r"(?i)^(password|passwd|pwd|password_hash|hashed_password|pw_hash|secret|secret_key|api_key|"
    r"private_key|ssn|"
    r"card_number|credit_card|cvv|totp_secret|otp_secret|reset_token|mfa_secret|pin|salt)$"
)
_QUERY_SECRET = re.compile(
    r"(?i)^(password|passwd|pwd|pin|ssn|card(_number)?|cvv|credit_card|secret|api_?secret)$"
)

_SENT_SECRET = re.compile(
    r"(?i)^(password|passwd|pwd|secret|api_?secret|api_?key|access_?token|auth_?token|token|ssn|"
    r"card(_number)?)$"
)


def _shown(sketch: Sketch) -> Marks:
    if search(r"BaseModel|Schema|SQLModel|Serializer", sketch.text):
        yield from _answer_models(sketch)
    for function in sketch.functions:
        if not sketch.is_view(function):
            continue
        for node in function.each(ast.Return):
            value = node.value if isinstance(node, ast.Return) else None
            if value is None:
                continue
            text = ast.unparse(value)
            if _INTERNAL.search(text) or _WHOLE_RECORD.search(text) or any(_secret_fields(value)):
                yield node, Confidence.POSSIBLE
                break
    for node in sketch.each(ast.ClassDef) if "__all__" in sketch.text and "Serializer" in sketch.text else ():
        if (
            isinstance(node, ast.ClassDef)
            and re.search(r"(User|Account|Customer|Member|Profile)\w*Serializer", node.name)
            and re.search(r"fields = '__all__'", ast.unparse(node))
            and "exclude" not in ast.unparse(node)
        ) and "write_only" not in ast.unparse(node):
            yield node, Confidence.POSSIBLE


def _answer_models(sketch: Sketch) -> Marks:
    """A schema for answers that names a secret field."""
    for node in sketch.each(ast.ClassDef):
        if not isinstance(node, ast.ClassDef):
            continue
        bases = " ".join(dotted(base) for base in node.bases)
        if re.search(r"BaseModel|Schema|SQLModel", bases) and re.search(
            r"(Out|Response|Read|Public|View|Detail|Reply)$", node.name
        ):
            for item in node.body:
                if (
                    isinstance(item, ast.AnnAssign) and _SECRET_FIELD.match(last_name(item.target))
                ) and "exclude=True" not in ast.unparse(item):
                    yield item, Confidence.POSSIBLE
        if "Serializer" in bases:
            yield from _serialized(node)


def _serialized(node: ast.ClassDef) -> Marks:
    text = ast.unparse(node)
    for item in node.body:
        if isinstance(item, ast.ClassDef) and item.name == "Meta" and "write_only" not in text:
            for field in item.body:
                if isinstance(field, ast.Assign) and ast.unparse(field.targets[0]) == "fields":
                    names = [c.value for c in ast.walk(field.value) if isinstance(c, ast.Constant)]
                    if any(isinstance(name, str) and _SECRET_FIELD.match(name) for name in names):
                        yield field, Confidence.POSSIBLE


def _secret_fields(value: ast.expr) -> Iterator[bool]:
    for node in ast.walk(value):
        if isinstance(node, ast.Dict):
            for key, item in zip(node.keys, node.values, strict=True):
                if (
                    isinstance(key, ast.Constant)
                    and isinstance(key.value, str)
                    and _SECRET_FIELD.match(key.value)
                ):
                    yield _reads(item)


def _reads(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute | ast.Subscript) and _SECRET_FIELD.match(last_name(node)) is not None
    )


def _in_address(sketch: Sketch) -> Marks:
    if (
        not sketch.web
        and "requests" not in sketch.text
        and "httpx" not in sketch.text
        and "urllib" not in sketch.text
    ):
        return
    for node in sketch.each(ast.Subscript, ast.Call, ast.JoinedStr):
        if isinstance(node, ast.Subscript | ast.Call):
            owner = dotted(node.value) if isinstance(node, ast.Subscript) else dotted(node.func)
            if re.search(
                r"request\.(args|GET|query_params|query|rel_url\.query)(\.get)?$", owner
            ) and _QUERY_SECRET.match(last_name(node)):
                yield node, Confidence.CERTAIN
        if isinstance(node, ast.JoinedStr):
            text = ast.unparse(node)
            if re.search(r"(?i)https?://|\?", text) and re.search(
                r"(?i)[?&](password|passwd|pwd|secret|api_?key|access_token|ssn)=\{", text
            ):
                yield node, Confidence.CERTAIN
        if isinstance(node, ast.Call) and re.search(r"(^|\.)(get|head|delete|urlencode)$", dotted(node.func)):
            for keyword in node.keywords:
                if keyword.arg == "params" and _holds_secret(keyword.value):  # any client
                    yield node, Confidence.CERTAIN
    for function in sketch.functions if "params=" in sketch.text else ():
        for call in function.calls():
            if not re.search(r"(^|\.)(get|head|delete|request)$", dotted(call.func)):
                continue
            for keyword in call.keywords:
                if keyword.arg == "params" and isinstance(keyword.value, ast.Name):
                    given = own_definitions(function).get(keyword.value.id, [])
                    if any(map(_holds_secret, given)):
                        yield call, Confidence.CERTAIN


def _holds_secret(value: ast.expr) -> bool:
    """`{"password": p}` or `dict(password=p)`."""
    names = (
        [k.value for k in value.keys if isinstance(k, ast.Constant)] if isinstance(value, ast.Dict) else []
    )
    if isinstance(value, ast.Call) and dotted(value.func) == "dict":
        names = [keyword.arg for keyword in value.keywords]
    return any(isinstance(name, str) and _SENT_SECRET.match(name) is not None for name in names)


def _plain_http(frame: Frame, site: CallSite) -> bool:
    """Credentials travel to an http:// address that is not this machine."""
    address = text_of(site.arg(0, "url")) or getattr(site.arg(0, "url"), "prefix", "")
    if not re.match(
        r"(?i)http://(?!localhost|127\.|0\.0\.0\.0|\[::1\]|10\.|192\.168\.|testserver|host\.docker)", address
    ):
        return False
    text = ast.unparse(site.node)
    del frame
    return (
        re.search(r"(?i)passw|token|secret|auth|api_?key|login|card|ssn|credential|session|payment", text)
        is not None
    )


def _mail_in_clear(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if (
            "smtplib.SMTP(" in function.body
            and ".login(" in function.body
            and "starttls" not in function.body
        ):
            for call in function.calls():
                if dotted(call.func).endswith(".login"):
                    yield call, Confidence.CERTAIN
                    break


def _typed_secret(frame: Frame, site: CallSite) -> bool:
    """What somebody typed unseen goes into a file as it is, not what an unknown call made of it."""
    return any(
        taint.origin.kind is OriginKind.SECRET and not taint.weak and EVERY_KIND not in taint.safe
        for value in site.args[:1]
        for taint in deep_taints(frame.state, value)
    )


def _writes_secret(sketch: Sketch) -> Marks:
    """A password, key or card number written to a file as it is."""
    secret = re.compile(
        r"(?i)^(password|passwd|pwd|passphrase|secret_key|private_key|api_key|access_token|"
        r"card_number|ssn|credentials|cvv)$"
    )
    for function in sketch.functions:
        if (
            "open(" not in function.body
            and "write_text" not in function.body
            and "dump(" not in function.body
        ):
            continue
        if search(r"(?i)encrypt|fernet|keyring|hash|0o600|seal\(", function.body):
            continue
        for call in function.calls():
            name = dotted(call.func).rpartition(".")[2]
            if name not in ("write", "write_text", "dump", "writerow") or not call.args:
                continue
            inside = [
                part
                for part in ast.walk(call.args[0])
                if isinstance(part, ast.Name | ast.Attribute | ast.Subscript)
            ]
            if any(secret.match(last_name(part)) for part in inside if _as_value(part)):
                yield call, Confidence.POSSIBLE
                break


def _as_value(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Load)


def _program_directory(value: Value | None) -> bool:
    text = text_of(value)
    return text in (".", "/", "..", "/etc", "/home", "./") or (
        value is not None
        and re.search(r"pathlib\.Path\(\)[\w.()]*\.parent$|os\.getcwd\(\)$|path\.dirname\(\)$", text)
        is not None
    )


def _listing(frame: Frame, name: str, value: Value) -> bool:
    del frame, name
    return isinstance(value, Const) and value.value is True


SHOWN = Rule(
    id="internals-shown",
    cwe=200,
    title="internal data in an answer",
    severity=Severity.MEDIUM,
    what="this answer holds the environment, the configuration or fields that are secret",
    why="CWE-200: keys, versions and hashes help the next attack (CWE-497, CWE-201)",
    advice="name the fields you mean to show",
    silent="answers with named harmless fields",
    shape=_shown,
    bad="import os\nfrom flask import Flask, jsonify\napp = Flask(__name__)\n@app.route('/info')\n"
    "def info():\n    return jsonify(dict(os.environ))\n",
    good="from flask import Flask, jsonify\napp = Flask(__name__)\n@app.route('/info')\n"
    "def info():\n    return jsonify({'status': 'ok'})\n",
)

ADDRESS = Rule(
    id="secret-in-address",
    cwe=598,
    title="secret in an address",
    severity=Severity.MEDIUM,
    what="a secret travels in the query of an address",
    why="CWE-598: addresses are logged, kept in histories and sent on as referrers",
    advice="send it in the body or in a header",
    silent="identifiers and one-time codes",
    shape=_in_address,
    bad="from flask import request\ndef login():\n    return check(request.args['password'])"
    "\ndef check(p): ...\n",
    good="from flask import request\ndef login():\n    return check(request.form['password'])"
    "\ndef check(p): ...\n",
)

CLEARTEXT = Rule(
    id="cleartext-transport",
    cwe=319,
    title="secret sent without encryption",
    severity=Severity.MEDIUM,
    what="what is sent here can be read on the way",
    why="CWE-319: everybody on the way reads and changes it",
    advice="https, SMTP with starttls or SMTP_SSL, FTP_TLS, ssh; SECURE_SSL_REDIRECT = True",
    silent="this machine and private networks, addresses without secrets",
    shape=_mail_in_clear,
    checks=(
        Check(
            ("ftplib.FTP", "telnetlib.Telnet", "poplib.POP3", "imaplib.IMAP4", "grpc.insecure_channel"),
            lambda _frame, site: not text_of(site.arg(0)).startswith(("localhost", "127.", "[::1]")),
        ),
        Check(
            tuple(
                f"{lib}.{verb}"
                for lib in ("requests", "httpx")
                for verb in ("get", "post", "put", "patch", "request")
            ),
            _plain_http,
        ),
        Check(("redis.Redis", "redis.StrictRedis"), keyword_is(99, "ssl", False)),
        Check(("psycopg2.connect", "psycopg.connect"), keyword_is(99, "sslmode", "disable", "allow")),
        Check(("urllib.request.Request", "urllib.request.urlopen"), _plain_http),
        Check(
            (".run",),
            both(keyword_is(99, "ssl_context", None), lambda _frame, site: "Flask" in text_of(site.receiver)),
            Confidence.PATTERN,
        ),
    ),
    assigns=(
        AssignCheck(setting("SECURE_SSL_REDIRECT", "EMAIL_USE_TLS"), is_value(False)),
        AssignCheck(setting("SECURE_HSTS_SECONDS"), is_value(0)),
        AssignCheck(setting("PREFERRED_URL_SCHEME"), is_value("http")),
    ),
    bad="import requests\ndef login(password):\n"
    "    return requests.post('http://shop.example.org/login', data={'password': password}, timeout=5)\n",
    good="import requests\ndef login(password):\n"
    "    return requests.post('https://shop.example.org/login', data={'password': password}, timeout=5)\n",
)

CLEAR_FILE = Rule(
    id="cleartext-secret-file",
    cwe=312,
    title="secret written to a file",
    severity=Severity.MEDIUM,
    what="a secret is written to a file as it is",
    why="CWE-312: backups, other users and the next leak read it",
    advice="keep it in a secret store, or encrypt it and restrict the file to its owner",
    silent="encrypted or hashed values, files opened for the owner alone",
    shape=_writes_secret,
    checks=(
        Check(
            (".write_text", "json.dump", "yaml.dump", "yaml.safe_dump", "pickle.dump", "toml.dump"),
            _typed_secret,
        ),
    ),
    bad="def remember(user, password):\n    with open('users.txt', 'a') as f:\n"
    "        f.write(f'{user}:{password}\\n')\n",
    good="def remember(user, password, box):\n    with open('users.txt', 'ab') as f:\n"
    "        f.write(box.encrypt(password))\n",
)

LISTED = Rule(
    id="directory-listing",
    cwe=548,
    title="directory shown or served as a whole",
    severity=Severity.LOW,
    what="visitors see or fetch whatever lies in the directory",
    why="CWE-548: backups and configuration are found by reading the list (CWE-552)",
    advice="serve one directory of public files, without a listing",
    silent="named public directories",
    checks=(
        Check((".add_static", "aiohttp.web.static", ".static"), keyword_is(99, "show_index", True)),
        Check(
            ("django.views.static.serve", "django.urls.re_path", "django.urls.path"),
            keyword_is(99, "show_indexes", True),
        ),
    ),
    assigns=(AssignCheck(lambda name: name == "show_indexes", _listing),),
    bad="from aiohttp import web\napp = web.Application()"
    "\napp.router.add_static('/f', '/srv/f', show_index=True)\n",
    good="from aiohttp import web\napp = web.Application()\napp.router.add_static('/f', '/srv/f')\n",
)

SERVED = Rule(
    id="program-directory-served",
    cwe=552,
    title="the program's own directory is served",
    severity=Severity.MEDIUM,
    what="visitors fetch whatever lies beside the program",
    why="CWE-552: source, settings and databases lie there",
    advice="serve one directory made for public files",
    silent="named public directories",
    checks=(
        Check((".add_static",), lambda _frame, site: _program_directory(site.arg(1, "path"))),
        Check(("flask.Flask",), lambda _frame, site: _program_directory(site.kwargs.get("static_folder"))),
        Check(
            ("fastapi.staticfiles.StaticFiles", "starlette.staticfiles.StaticFiles"),
            lambda _frame, site: _program_directory(site.arg(0, "directory")),
        ),
        Check(("flask.send_from_directory",), lambda _frame, site: _program_directory(site.arg(0))),
    ),
    bad="from flask import Flask\napp = Flask(__name__, static_folder='.')\n",
    good="from flask import Flask\napp = Flask(__name__, static_folder='static')\n",
)

RULES = (SERVED, SHOWN, ADDRESS, CLEARTEXT, CLEAR_FILE, LISTED)
