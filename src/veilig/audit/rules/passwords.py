"""Rules for logins: stored passwords, enumeration, guessing, recovery, session fixation, lifetime."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import constant, deep_taints
from veilig.audit.engine.value import ATTACKER, Const, Dict, Ref, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import keyword_is, text_of
from veilig.audit.rules.rule import AssignCheck, Check, Rule
from veilig.audit.rules.sketch import Sketch, constants, last_name

type Marks = Iterator[tuple[ast.AST, Confidence]]

PLAIN = re.compile(
    r"(?i)^(new_?|plain_?|raw_?|user_?|clear_?)?(password\d?|passwd|pwd|passphrase|secret_answer|card_?number|ssn|cvv|pan)$"
)
_HASHES = re.compile(
    r"(?i)(hash|crypt|scrypt|argon|pbkdf|derive|encode_password|make_password|set_password|digest|encrypt|seal|fernet)"
)
_LOGIN = re.compile(r"(?i)(^|_)(log_?in|sign_?in|authenticate|auth|do_login|token|session)(_|$)|login|signin")
_RECOVER = re.compile(
    r"(?i)(forgot|recover|reset|lost)_?(my_)?(password|pwd|account|credentials)?|password_(reset|recovery|forgot)"
)
_UNKNOWN_USER = re.compile(
    r"(?i)\b(no such (user|account|email)|unknown (user|account|email|username)|(user|account|email|username)( address)?"
    r"( is| was)? (not|un)[ -]?(found|known|registered|recogni[sz]ed|exist\w*)|(user|account|email|username)( address)? does(n't| not) exist|"
    r"no (account|user)( was)?( found)? (with|for|by)|invalid (user ?name|email)\b(?! or))"
)


def _plain(frame: Frame, value: Value | None, node: ast.expr | None) -> bool:
    """A password as it was typed: named so, from outside, and through no hash on the way."""
    if value is None or isinstance(value, Const) or node is None:
        return False
    if not PLAIN.match(last_name(node)) and not PLAIN.match(_origin_name(frame, value)):
        return False
    taints = deep_taints(frame.state, value)
    if not any(taint.origin.kind in ATTACKER for taint in taints):
        return False
    for taint in taints:
        hop = taint.hop
        while hop.before is not None:
            if _HASHES.search(hop.what):
                return False
            hop = hop.before
    return _HASHES.search(text_of(value)) is None and _HASHES.search(ast.unparse(node)) is None


def _origin_name(frame: Frame, value: Value) -> str:
    taints = deep_taints(frame.state, value)
    label = taints[0].origin.label if taints else ""
    return re.sub(r"['\"\])]+$", "", label).split("'")[-1].split('"')[-1].rpartition(".")[2]


def _inserted(frame: Frame, site: CallSite) -> bool:
    statement = text_of(site.arg(0)) + " ".join(constants(site.node.args[0] if site.node.args else site.node))
    if not re.search(r"(?is)\b(insert|update|replace)\b.*passw|\b(insert|replace)\b.*users?\b", statement):
        return False
    for index, node in enumerate(site.node.args[1:], start=1):
        value = site.arg(index)
        if isinstance(node, ast.Tuple | ast.List):
            for part in node.elts:
                if _plain(frame, frame.eval(part), part):
                    return True
        elif isinstance(node, ast.Dict):
            for part in node.values:
                if _plain(frame, frame.eval(part), part):
                    return True
        elif _plain(frame, value, node):
            return True
    return False


def _modelled(frame: Frame, site: CallSite) -> bool:
    if site.name and not re.search(
        r"(?i)(^create$|^insert_one$|^update$|user|account|member|customer)", site.name
    ):
        return False
    if (
        site.name in ("create_user", "create_superuser", "authenticate", "check_password")
        or "auth" in site.name.lower()
    ):
        return False
    for keyword in site.node.keywords:
        if keyword.arg in ("password", "passwd", "pwd", "password_hash") and _plain(
            frame, site.kwargs.get(keyword.arg), keyword.value
        ):
            return True
    if site.name in ("insert_one", "insert") and site.node.args and isinstance(site.node.args[0], ast.Dict):
        return any(_plain(frame, frame.eval(part), part) for part in site.node.args[0].values)
    return False


MODELS = (
    "sqlalchemy.orm.DeclarativeBase", "sqlalchemy.ext.declarative.declarative_base()", "sqlmodel.SQLModel",
    "sqlalchemy.orm.declarative_base()", "flask_sqlalchemy.SQLAlchemy().Model", "django.db.models.Model",
    "mongoengine.Document", "peewee.Model", "tortoise.models.Model", "pony.orm.Entity",
)  # fmt: skip


def _field_given(frame: Frame, site: CallSite) -> bool:
    return any(
        keyword.arg is not None
        and PLAIN.match(keyword.arg.replace("_hash", "").replace("hashed_", ""))
        and _plain(frame, site.kwargs.get(keyword.arg), keyword.value)
        for keyword in site.node.keywords
    )


def _cookie(frame: Frame, site: CallSite) -> bool:
    nodes = site.node.args[1:2] + [k.value for k in site.node.keywords if k.arg == "value"]
    return any(PLAIN.match(last_name(node)) is not None for node in nodes) and not _HASHES.search(
        text_of(site.arg(1, "value"))
    )


def _named_attribute(name: str) -> bool:
    return "." in name and PLAIN.match(name.rpartition(".")[2]) is not None


def _attribute_plain(frame: Frame, name: str, value: Value) -> bool:
    if name.startswith("self.") or not re.search(
        r"(?i)user|account|member|profile|customer|row|record|obj", name
    ):
        return False
    node = (
        ast.parse(name.rpartition(".")[2], mode="eval").body
        if name.rpartition(".")[2].isidentifier()
        else None
    )
    return _plain(frame, value, node)


def _enumerating(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not (_LOGIN.search(function.name) or _RECOVER.search(function.name)) or not sketch.web:
            continue
        for node in ast.walk(function.node):
            if isinstance(node, ast.Return | ast.Raise | ast.Expr) and not _logs(node):
                if any(_UNKNOWN_USER.search(text) for text in constants(node)):
                    yield node, Confidence.POSSIBLE
                    break


def _logs(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and re.match(r"(?i)\w*log\w*\.", ast.unparse(node)) is not None


_SLOWED = re.compile(
    r"(?i)limiter|rate_?limit|throttl|attempt|lockout|locked|axes|captcha|backoff|blocked|fail(ed|ures|s)?[\w.]*\b|"
    r"too many|429|cooldown|tries"
)


def _guessable(sketch: Sketch) -> Marks:
    if not sketch.web or re.search(
        r"(?i)@\w*limiter|Limiter\(app|axes|throttle_classes|ratelimit", sketch.text
    ):
        return
    for function in sketch.functions:
        if sketch.is_view(function) and re.search(
            r"(?i)log_?in|sign_?in|otp|verify_code|2fa|mfa|\bpin\b|token", function.name
        ):
            asks = re.search(
                r"check_password|checkpw|authenticate\(|verify\(|verify_password|compare_digest|check_credentials",
                function.body,
            )
            if asks and not _SLOWED.search(function.text):
                yield function.node, Confidence.POSSIBLE


def _fixing(sketch: Sketch) -> Marks:
    if sketch.web not in ("flask", "django", "quart", "bottle"):
        return
    for function in sketch.functions:
        if not re.search(r"(?i)log_?in|sign_?in|auth", function.name) or not sketch.is_view(function):
            continue
        if re.search(
            r"session\.(clear|flush|cycle_key|regenerate|new|pop|invalidate|renew)|login_user\(|[^_]login\(request|rotate",
            function.body,
        ):
            continue
        for node in ast.walk(function.node):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
                target = ast.unparse(node.targets[0])
                if re.search(r"(?i)\bsession\[.*(user|uid|account|logged|auth|admin|role)", target):
                    yield node, Confidence.POSSIBLE
                    break


def _changing(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not re.search(r"(?i)(change|update|set|new)_?(my_)?password", function.name) or not sketch.is_view(
            function
        ):
            continue
        sets = re.search(
            r"set_password\(|generate_password_hash\(|make_password\(|hashpw\(|\.password(_hash)?\s*=|(?i:update .*password)",
            function.body,
        )
        asks = re.search(
            r"(?i)check_password|checkpw|old_?pass|current_?pass|verify|authenticate\(|PasswordChangeForm|token|compare_digest",
            function.body,
        )
        if sets and not asks:
            yield function.node, Confidence.POSSIBLE


def _recovering(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not sketch.web or not _RECOVER.search(function.name) or not sketch.is_view(function):
            continue
        sets = re.search(
            r"set_password\(|generate_password_hash\(|make_password\(|hashpw\(|\.password(_hash)?\s*=|hash_password\(",
            function.body,
        )
        proof = re.search(
            r"(?i)token|code|sign|serializer|verify|otp|current_user|request\.user|login_required",
            function.text,
        )
        weak = re.search(
            r"(?i)(security|secret)_?(question|answer)|mother|maiden|birth|\bpet\b", function.body
        )
        host = re.search(
            r"request\.(host|host_url|url_root)|get_host\(\)|headers\[?\.?(get\()?['\"]Host|build_absolute_uri",
            function.body,
        )
        guess = re.search(r"hashlib\.\w+\(|md5\(|random\.|uuid1\(", function.body) and not re.search(
            r"hmac|secrets\.|SystemRandom|urandom|uuid4|dumps\(|sign", function.body
        )
        if (
            guess
            or (sets and (not proof or weak))
            or (host and re.search(r"(?i)mail|send|link|url", function.body))
        ):
            yield function.node, Confidence.POSSIBLE


def _short(frame: Frame, node: ast.Compare, values: list[Value]) -> bool:
    """`len(password) < 6` and the like: a minimum below eight characters."""
    if len(node.ops) != 1 or not isinstance(node.left, ast.Call) or dotted(node.left.func) != "len":
        return False
    name = last_name(node.left.args[0]) if node.left.args else ""
    bound = constant(values[1])
    del frame
    if not re.search(r"(?i)^(new_?|raw_?)?(password\d?|passwd|pwd|passphrase)$", name) or not isinstance(
        bound, int
    ):
        return False
    minimum = {ast.Lt: bound, ast.GtE: bound, ast.LtE: bound + 1, ast.Gt: bound + 1}.get(
        type(node.ops[0]), 99
    )
    return 1 < minimum < 8


def _without_expiry(frame: Frame, site: CallSite) -> bool:
    payload = site.arg(0, "payload")
    held = frame.state.get(payload) if isinstance(payload, Ref) else None
    return isinstance(held, Dict) and held.rest is None and bool(held.items) and "exp" not in held.items


def _unexpiring(frame: Frame, site: CallSite) -> bool:
    options = site.kwargs.get("options")
    held = frame.state.get(options) if isinstance(options, Ref) else None
    return isinstance(held, Dict) and constant(held.items.get("verify_exp")) is False


PLAIN_PASSWORD = Rule(
    id="plain-password",
    cwe=256,
    title="password stored as typed",
    severity=Severity.HIGH,
    what="a password or card number is stored without hashing",
    why="CWE-256: one leaked table is everybody's password, here and elsewhere (CWE-312, CWE-522)",
    advice="store a scrypt, bcrypt or argon2 hash",
    silent="hashed or encrypted values, create_user",
    checks=(
        Check((".execute", ".executemany"), _inserted, Confidence.POSSIBLE),
        Check((".create", ".insert_one", ".insert"), _modelled, Confidence.POSSIBLE),
        Check(MODELS, _field_given, Confidence.POSSIBLE),
        Check((".set_cookie",), _cookie),
    ),
    assigns=(AssignCheck(_named_attribute, _attribute_plain, Confidence.POSSIBLE),),
    bad="from flask import request\ndef register(db):\n    password = request.form['password']\n"
    "    db.execute('INSERT INTO users (name, password) VALUES (?, ?)', (request.form['n'], password))\n",
    good="from flask import request\nfrom werkzeug.security import generate_password_hash\n"
    "def register(db):\n    password = generate_password_hash(request.form['password'])\n"
    "    db.execute('INSERT INTO users (name, password) VALUES (?, ?)', (request.form['n'], password))\n",
)

ENUMERATION = Rule(
    id="user-enumeration",
    cwe=203,
    title="answer tells which users exist",
    severity=Severity.LOW,
    what="this answer says that there is no such user",
    why="CWE-203: a list of valid names is half of every guess (CWE-204)",
    advice="give one answer for an unknown user and a wrong password",
    silent="the same answer for both, messages to the log",
    shape=_enumerating,
    bad="from flask import Flask, request\napp = Flask(__name__)\n@app.route('/login', methods=['POST'])\n"
    "def login():\n    if find(request.form['u']) is None:\n        return 'User not found', 401\n"
    "    return 'ok'\ndef find(u): ...\n",
    good="from flask import Flask, request\napp = Flask(__name__)\n@app.route('/login', methods=['POST'])\n"
    "def login():\n    if find(request.form['u']) is None:\n        return 'Wrong name or password', 401\n"
    "    return 'ok'\ndef find(u): ...\n",
)

GUESSING = Rule(
    id="unlimited-guesses",
    cwe=307,
    title="passwords may be guessed without limit",
    severity=Severity.LOW,
    what="nothing slows down whoever tries passwords here",
    why="CWE-307: a thousand guesses a second find every weak password",
    advice="limit attempts per account and address, and delay after failures",
    silent="modules that speak of limits, attempts, throttling or captchas",
    shape=_guessable,
    bad="from flask import Flask, request\napp = Flask(__name__)\n@app.route('/login', methods=['POST'])\n"
    "def login():\n    user = find(request.form['u'])\n"
    "    return 'ok' if user.check_password(request.form['p']) else ('no', 401)\ndef find(u): ...\n",
    good="from flask import Flask, request\nfrom flask_limiter import Limiter\napp = Flask(__name__)\n"
    "limiter = Limiter(app)\n@app.route('/login', methods=['POST'])\n@limiter.limit('5/minute')\n"
    "def login():\n    user = find(request.form['u'])\n"
    "    return 'ok' if user.check_password(request.form['p']) else ('no', 401)\ndef find(u): ...\n",
)

FIXATION = Rule(
    id="session-fixation",
    cwe=384,
    title="session kept across login",
    severity=Severity.MEDIUM,
    what="the session from before the login goes on as the user's",
    why="CWE-384: whoever planted the session is logged in with it",
    advice="session.clear() before, request.session.cycle_key(), or the framework's login()",
    silent="cleared or renewed sessions, login_user, django.contrib.auth.login",
    shape=_fixing,
    bad="from flask import Flask, session\napp = Flask(__name__)\n@app.route('/login', methods=['POST'])\n"
    "def login():\n    session['user_id'] = check()\n    return 'ok'\ndef check(): ...\n",
    good="from flask import Flask, session\napp = Flask(__name__)\n@app.route('/login', methods=['POST'])\n"
    "def login():\n    user = check()\n    session.clear()\n    session['user_id'] = user\n"
    "    return 'ok'\ndef check(): ...\n",
)

CHANGE = Rule(
    id="unverified-password-change",
    cwe=620,
    title="password changed without the old one",
    severity=Severity.MEDIUM,
    what="a new password is set without asking for the old one",
    why="CWE-620: a borrowed session becomes a stolen account",
    advice="check the current password first",
    silent="changes with the old password or a token",
    shape=_changing,
    bad="from flask import Flask, request\napp = Flask(__name__)\n@app.route('/password', methods=['POST'])\n"
    "def change_password(user=None):\n    user.set_password(request.form['new'])\n    return 'ok'\n",
    good="from flask import Flask, request, abort\napp = Flask(__name__)\n"
    "@app.route('/password', methods=['POST'])\ndef change_password(user=None):\n"
    "    if not user.check_password(request.form['current']):\n        abort(403)\n"
    "    user.set_password(request.form['new'])\n    return 'ok'\n",
)

RECOVERY = Rule(
    id="weak-recovery",
    cwe=640,
    title="weak password recovery",
    severity=Severity.HIGH,
    what="an account is recovered with something others know or choose",
    why="CWE-640: recovery is a second login, and this one is easier",
    advice="send a single-use random token, with a link built from the configured host",
    silent="signed or random tokens",
    shape=_recovering,
    bad="from flask import Flask, request\napp = Flask(__name__)\n@app.route('/reset', methods=['POST'])\n"
    "def reset_password(user=None):\n    user.set_password(request.form['new'])\n    return 'ok'\n",
    good="from flask import Flask, request\napp = Flask(__name__)\n@app.route('/reset', methods=['POST'])\n"
    "def reset_password():\n    user = by_token(request.form['token'])\n"
    "    user.set_password(request.form['new'])\n    return 'ok'\ndef by_token(token): ...\n",
)

SHORT = Rule(
    id="short-password",
    cwe=521,
    title="short passwords accepted",
    severity=Severity.LOW,
    what="passwords of fewer than eight characters are accepted",
    why="CWE-521: they are guessed in minutes",
    advice="ask for at least 12 characters, and refuse known ones",
    silent="eight characters and more",
    compared=_short,
    assigns=(
        AssignCheck(
            lambda name: name.endswith("AUTH_PASSWORD_VALIDATORS"),
            lambda frame, _name, value: isinstance(value, Ref) and not deep_children(frame, value),
        ),
    ),
    bad="def accept(password):\n    return len(password) >= 4\n",
    good="def accept(password):\n    return len(password) >= 12\n",
)


def deep_children(frame: Frame, value: Ref) -> bool:
    """Whether the container holds anything, or may."""
    held = frame.state.get(value)
    return held is None or bool(getattr(held, "items", True)) or getattr(held, "rest", None) is not None


EXPIRY = Rule(
    id="no-expiry",
    cwe=613,
    title="token without an end",
    severity=Severity.MEDIUM,
    what="a token is valid for ever",
    why="CWE-613: a stolen token never stops working",
    advice="put exp in the payload, and leave verify_exp on",
    silent="payloads with exp, payloads built elsewhere",
    checks=(
        Check(("jwt.encode", "jose.jwt.encode"), _without_expiry),
        Check(("jwt.decode", "jose.jwt.decode"), _unexpiring),
        Check((".loads",), keyword_is(99, "max_age", None), Confidence.PATTERN),
    ),
    bad="import jwt\ndef issue(user, key):\n    return jwt.encode({'sub': user}, key, algorithm='HS256')\n",
    good="import jwt, time\ndef issue(user, key):\n"
    "    return jwt.encode({'sub': user, 'exp': time.time() + 600}, key, algorithm='HS256')\n",
)

RULES = (PLAIN_PASSWORD, ENUMERATION, GUESSING, FIXATION, CHANGE, RECOVERY, SHORT, EXPIRY)
