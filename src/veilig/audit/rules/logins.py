"""Rules for logging in: enumeration, guessing, session fixation, changed and recovered passwords."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch, constants

type Marks = Iterator[tuple[ast.AST, Confidence]]
_LOGIN = re.compile(r"(?i)(^|_)(log_?in|sign_?in|authenticate|auth|do_login|token|session)(_|$)|login|signin")
_RECOVER = re.compile(
    r"(?i)(forgot|recover|reset|lost)_?(my_)?(password|pwd|account|credentials)?|password_(reset|"
    r"recovery|forgot)"
)
_UNKNOWN_USER = re.compile(
    r"(?i)\b(no such (user|account|email)|unknown (user|account|email|username)|(user|account|email|"
    r"username)( address)?"
    r"( is| was)? (not|un)[ -]?(found|known|registered|recogni[sz]ed|exist\w*)|(user|account|email|"
    r"username)( address)? does(n't| not) exist|"
    r"no (account|user)( was)?( found)? (with|for|by)|invalid (user ?name|email)\b(?! or))"
)


def _enumerating(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not (_LOGIN.search(function.name) or _RECOVER.search(function.name)) or not sketch.web:
            continue
        for node in function.each(ast.Return, ast.Raise, ast.Expr):
            if (isinstance(node, ast.Return | ast.Raise | ast.Expr) and not _logs(node)) and any(
                _UNKNOWN_USER.search(text) for text in constants(node)
            ):
                yield node, Confidence.POSSIBLE
                break


def _logs(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and re.match(r"(?i)\w*log\w*\.", ast.unparse(node)) is not None


_SLOWED = re.compile(
    r"(?i)limiter|rate_?limit|throttl|attempt|lockout|locked|axes|captcha|backoff|blocked|fail(ed|"
    r"ures|s)?[\w.]*\b|"
    r"too many|429|cooldown|tries"
)


def _guessable(sketch: Sketch) -> Marks:
    if not sketch.web or search(r"(?i)@\w*limiter|Limiter\(app|axes|throttle_classes|ratelimit", sketch.text):
        return
    for function in sketch.functions:
        if sketch.is_view(function) and re.search(
            r"(?i)log_?in|sign_?in|otp|verify_code|2fa|mfa|\bpin\b|token", function.name
        ):
            asks = search(
                r"check_password|checkpw|authenticate\(|verify\(|verify_password|compare_digest|"
                r"check_credentials",
                function.body,
            )
            if asks and not search(_SLOWED, function.text):
                yield function.node, Confidence.POSSIBLE


def _fixing(sketch: Sketch) -> Marks:
    if sketch.web not in ("flask", "django", "quart", "bottle"):
        return
    for function in sketch.functions:
        if not re.search(r"(?i)log_?in|sign_?in|auth", function.name) or not sketch.is_view(function):
            continue
        if search(
            r"session\.(clear|flush|cycle_key|regenerate|new|pop|invalidate|renew)|login_user\(|"
            r"[^_]login\(request|rotate|\.regenerate\(|\.renew\w*\(|new_session",
            function.body,
        ):
            continue
        for node in function.each(ast.Assign):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
                target = ast.unparse(node.targets[0])
                if re.search(r"(?i)\bsession\[.*(user|uid|account|logged|auth|admin|role)", target):
                    yield node, Confidence.POSSIBLE
                    break


def _asks_the_new_one(function: FunctionSketch) -> bool:
    """The only check compares the new password with the old hash: it refuses reuse, it proves nothing."""
    checked = [
        ast.unparse(call.args[1])
        for call in function.calls()
        if dotted(call.func).rpartition(".")[2] in ("check_password_hash", "checkpw", "verify_password")
        and len(call.args) == 2
    ]
    stored = " ".join(
        ast.unparse(argument)
        for call in function.calls()
        if re.search(r"(generate_password_hash|make_password|hashpw|set_password)$", dotted(call.func))
        for argument in call.args
    )
    others = search(r"(?i)old_?pass|current_?pass|token|authenticate\(|compare_digest", function.body)
    return bool(checked) and others is None and all(name in stored for name in checked)


def _changing(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not re.search(r"(?i)(change|update|set|new)_?(my_)?password", function.name) or not sketch.is_view(
            function
        ):
            continue
        sets = search(
            r"set_password\(|generate_password_hash\(|make_password\(|hashpw\(|\.password(_hash)?\s*=|"
            r"(?i:update .*password)",
            function.body,
        )
        asks = search(
            r"(?i)check_password|checkpw|old_?pass|current_?pass|verify|authenticate\(|"
            r"PasswordChangeForm|token|compare_digest",
            function.body,
        )
        if sets and asks:
            asks = not _asks_the_new_one(function)
        if sets and not asks:
            yield function.node, Confidence.POSSIBLE


def _recovering(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not sketch.web or not _RECOVER.search(function.name) or not sketch.is_view(function):
            continue
        sets = search(
            r"set_password\(|generate_password_hash\(|make_password\(|hashpw\(|\.password(_hash)?\s*=|"
            r"hash_password\(",
            function.body,
        )
        proof = search(
            r"(?i)token|code|sign|serializer|verify|otp|current_user|request\.user|login_required",
            function.text,
        )
        weak = search(r"(?i)(security|secret)_?(question|answer)|mother|maiden|birth|\bpet\b", function.body)
        host = search(
            r"request\.(host|host_url|url_root)|get_host\(\)|headers\[?\.?(get\()?['\"]Host|"
            r"build_absolute_uri",
            function.body,
        )
        guess = search(
            r"(hashlib\.\w+|md5)\((?![^\n]*(request|token|code|body))|random\.|uuid1\(", function.body
        ) and not search(r"hmac|secrets\.|SystemRandom|urandom|uuid4|dumps\(|sign", function.body)
        if (
            guess
            or (sets and (not proof or weak))
            or (host and search(r"(?i)mail|send|link|url", function.body))
        ):
            yield function.node, Confidence.POSSIBLE


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

RULES = (
    ENUMERATION,
    GUESSING,
    FIXATION,
    CHANGE,
    RECOVERY,
)
