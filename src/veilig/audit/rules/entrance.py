"""Rules for signing in: failures uncounted or told apart, sessions kept, current passwords unchecked."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence
from veilig.audit.rules.rule import shaped
from veilig.audit.rules.sketch import FunctionSketch, Sketch, constants, last_name
from veilig.audit.rules.slices import (
    backwards,
    called,
    calls_in,
    definitions_in,
    tests_in,
    words_in,
)

type Marks = Iterator[tuple[ast.AST, Confidence]]

PASSWORD = re.compile(
    r"(?i)^(new_?|raw_?|plain_?|the_?|user_?)?(password|passwd|pwd|passphrase|pw|pass|secret|pin)$"
)
HASHES = re.compile(
    r"(?i)(hash|crypt|argon|scrypt|pbkdf|kdf|derive|digest|hmac|sha\d|make_password|set_password|"
    r"create_superuser|"
    r"create_user|encode_password)"
)
_VERIFIES = re.compile(
    r"(?i)(check_password(_hash)?|checkpw|verify\w*|authenticate|check_credentials|check|"
    r"compare_digest|password_ok|"
    r"login|valid_password|matches|validate_password|sign_in|match_password)$"
)
_LOGIN = re.compile(
    r"(?i)(^|_)(log_?in|sign_?in|signin|authenticate|token|otp|mfa|verify_(code|pin|otp))(_|$)|"
    r"^(login|auth)\w*$"
)
_COUNTS = re.compile(
    r"(?i)limit|attempt|tries|fail|lockout|locked|block|throttl|backoff|captcha|cooldown|too_?many|"
    r"recent|strikes|\bhits\b"
)
_GUARDED = re.compile(
    r"(?i)limiter|ratelimit|rate_limit|throttl|axes|slowapi|captcha|lockout|"
    r"Depends\((\w*\.)?\w*(limit|throttle|slow)"
)


def _password_checks(function: FunctionSketch) -> list[ast.Call]:
    """Calls that compare a password with what is stored."""
    found: list[ast.Call] = []
    for call in function.calls():
        name = dotted(call.func).rpartition(".")[2] or last_name(call.func)
        given = [word for argument in call.args for word in words_in(list(ast.walk(argument)))]
        texts = [text for argument in call.args for text in constants(argument)]
        if _VERIFIES.search(name) and any(PASSWORD.match(word) for word in (*given, *texts)):
            found.append(call)
    return found


def _unlimited(sketch: Sketch) -> Marks:
    """A view that compares passwords, and no condition asks how often that has failed."""
    if not sketch.web or sketch.program.has(_GUARDED.pattern):
        return
    for function in sketch.functions:
        if not _LOGIN.search(function.name) or not _takes_requests(sketch, function):
            continue
        if not _password_checks(function) or any(_GUARDED.search(name) for name in function.decorators):
            continue
        asked = list(tests_in(function)) + [n for n in called(sketch, function) if isinstance(n, ast.Compare)]
        words = {
            w
            for test in asked
            for w in (*words_in(backwards(function, test)), *calls_in(list(ast.walk(test))))
        }
        slowed = any(
            re.search(r"(?i)limit|throttle|delay|sleep|slow|lock|attempt|allow", n)
            for n in _statements(function)
        )
        if not any(_COUNTS.search(word) for word in words) and not slowed:
            yield function.node, Confidence.POSSIBLE


def _statements(function: FunctionSketch) -> Iterator[str]:
    """Names of the calls that stand alone: they slow down or raise."""
    for node in function.own_each(ast.Expr):
        if isinstance(node, ast.Expr):
            value = node.value.value if isinstance(node.value, ast.Await) else node.value
            if isinstance(value, ast.Call):
                yield dotted(value.func)


def _takes_requests(sketch: Sketch, function: FunctionSketch) -> bool:
    return (
        sketch.is_view(function)
        or function.parameters[:1] == ["request"]
        or function.parameters[:2] == ["self", "request"]
    )


def _kept_session(sketch: Sketch) -> Marks:
    """The user is written into the session that the cookie named before the login."""
    for function in sketch.functions:
        if not re.search(r"(?i)log_?in|sign_?in|authenticate", function.name):
            continue
        if search(
            r"(?i)new_session|token_(urlsafe|hex|bytes)|uuid4|create_session|start_session|regenerate|rotate|"
            r"cycle|invalidate|\.clear\(|flush\(|\.pop\(|renew|fresh|login_user|new_sid|del ",
            function.body,
        ):
            continue
        local = definitions_in(function)
        for node in function.own_each(ast.Assign):
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Subscript):
                continue
            target = node.targets[0]
            inner = target.value
            key = last_name(target)
            by_sid = isinstance(inner, ast.Subscript) and re.search(r"(?i)sess", ast.unparse(inner.value))
            held = isinstance(inner, ast.Name) and any(
                re.search(r"(?i)sess\w*(\[|\.get\()", ast.unparse(value)) for value in local.get(inner.id, ())
            )
            if (by_sid or held) and re.search(
                r"(?i)user|uid|player|member|account|name|who|login|auth|role", key
            ):
                yield node, Confidence.POSSIBLE
                break


def _two_messages(sketch: Sketch) -> Marks:
    """An unknown user and a wrong password end with different words."""
    for function in sketch.functions:
        if not re.search(r"(?i)log_?in|sign_?in|authenticate|verify_user|check_credentials", function.name):
            continue
        if not search(r"(?i)passw|pwd|verify|checkpw", function.body):
            continue
        unknown: set[str] = set()
        wrong: set[str] = set()
        for node in function.own_each(ast.If, ast.ExceptHandler):
            if isinstance(node, ast.If):
                test = ast.unparse(node.test)
                said = {t for s in node.body for t in _said(s)}
                missing = re.search(
                    r"(?i)\b(user|account|row|member|record|person|u|acc|found|profile)\w* is None|"
                    r"^not (user|account|row|member|record|u|found)\w*$|not in (users|accounts)",
                    test,
                )
                if missing and " or " not in test:
                    unknown |= said
                elif re.search(r"(?i)passw|pwd|verify|check|compare", test) and not missing:
                    wrong |= said
            elif isinstance(node, ast.ExceptHandler):
                kind = ast.unparse(node.type) if node.type is not None else ""
                if re.search(r"(?i)mismatch|verif|invalid|password", kind):
                    wrong |= {t for s in node.body for t in _said(s)}
                elif re.search(r"(?i)DoesNotExist|NoResult|KeyError|NotFound", kind):
                    unknown |= {t for s in node.body for t in _said(s)}
        if unknown and wrong and not unknown & wrong:
            yield function.node, Confidence.POSSIBLE


def _said(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.Return | ast.Raise):
        yield from (text for text in constants(statement) if " " in text or "_" in text)


def _asked_not_checked(sketch: Sketch) -> Marks:
    """The current password is asked for, and what is checked is another value."""
    for function in sketch.functions:
        hashed = {
            word
            for call in function.calls()
            if re.search(
                r"(?i)(generate_password_hash|make_password|hashpw|set_password|hash_password|\.hash)$",
                dotted(call.func),
            )
            for argument in call.args
            for word in words_in(list(ast.walk(argument)))
        }
        if not hashed or not _takes_requests(sketch, function):
            continue
        words = set(words_in(function.nodes)) | set(constants(function.node))
        old = re.search(
            r"(?i)(^|\s)(current|old|existing|present)(_?(password|pw|pass))?(\s|$)", " ".join(words)
        )
        checks = _password_checks(function) or [
            call
            for call in function.calls()
            if re.search(r"(check_password_hash|checkpw|verify)$", dotted(call.func))
        ]
        field = search(r"(?m)^\s+(current|old)\w*\s*[:=][^\n]*(Password|Field)", sketch.text)
        if not (old or field) or not checks:
            continue
        looked = {
            w for call in checks for a in call.args for w in (*words_in(list(ast.walk(a))), *constants(a))
        }
        if (
            not any(re.match(r"(?i)(current|old|existing|present)", word) for word in looked)
            and looked & hashed
        ):
            yield function.node, Confidence.POSSIBLE


RULES = (
    shaped(
        "sign-in-unlimited",
        307,
        "sign-in without a limit",
        "passwords are compared here, and no condition asks how often that has failed",
        "CWE-307: a thousand guesses a second find every weak password",
        "count failures per account and address, and refuse for a while",
        "limits in decorators, dependencies, conditions or functions that are called",
        _unlimited,
        "from aiohttp import web\nasync def login(request):\n    form = await request.post()\n"
        "    if not check_password(form['name'], form['password']):\n        raise web.HTTPForbidden()\n"
        "    return web.Response()\ndef check_password(n, p): ...\n",
        "from aiohttp import web\nFAILS = {}\nasync def login(request):\n    form = await request.post()\n"
        "    if FAILS.get(form['name'], 0) > 5:\n        raise web.HTTPTooManyRequests()\n"
        "    if not check_password(form['name'], form['password']):\n        raise web.HTTPForbidden()\n"
        "    return web.Response()\ndef check_password(n, p): ...\n",
    ),
    shaped(
        "session-kept-at-login",
        384,
        "session of before the login kept",
        "the user is written into the session that the cookie named before",
        "CWE-384: whoever planted the cookie is signed in with it",
        "make a new session and drop the old one",
        "new identifiers",
        _kept_session,
        "SESSIONS = {}\ndef login(request, user):\n    sid = request.cookies['sid']\n"
        "    SESSIONS[sid]['user'] = user\n",
        "import secrets\nSESSIONS = {}\ndef login(request, user):\n    SESSIONS.pop(request.cookies['sid'])\n"
        "    sid = secrets.token_urlsafe()\n    SESSIONS[sid] = {'user': user}\n    return sid\n",
    ),
    shaped(
        "two-messages",
        204,
        "failures told apart",
        "an unknown user and a wrong password end with different words",
        "CWE-204: the words tell which names exist (CWE-203)",
        "one message, and the same work, for both",
        "equal messages",
        _two_messages,
        "def login(users, name, password):\n    user = users.get(name)\n    if user is None:\n"
        "        return 'no such name'\n    if not user.check_password(password):\n"
        "        return 'wrong word'\n    return 'ok'\n",
        "def login(users, name, password):\n    user = users.get(name)\n    if user is None:\n"
        "        return 'sign in failed'\n    if not user.check_password(password):\n"
        "        return 'sign in failed'\n    return 'ok'\n",
    ),
    shaped(
        "current-password-unchecked",
        620,
        "current password asked and not checked",
        "the current password is asked for, and what is checked is another value",
        "CWE-620: a borrowed session becomes a stolen account",
        "compare the current password with the hash",
        "checks of the current password",
        _asked_not_checked,
        "from flask import Flask, g, request\napp = Flask(__name__)\n@app.post('/pw')\ndef pw():\n"
        "    current, new = request.form['current'], request.form['new']\n"
        "    if g.user.verify(new):\n        return 'same'\n    g.user.set_password(new)\n    return 'ok'\n",
        "from flask import Flask, g, request\napp = Flask(__name__)\n@app.post('/pw')\ndef pw():\n"
        "    current, new = request.form['current'], request.form['new']\n"
        "    if not g.user.verify(current):\n        return 'no'\n    g.user.set_password(new)\n"
        "    return 'ok'\n",
    ),
)
