"""Rules for logins: stored passwords, enumeration, guessing, recovery, session fixation, lifetime."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import constant, deep_taints
from veilig.audit.engine.value import ATTACKER, Const, Dict, Ref, Seq, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import keyword_is, text_of
from veilig.audit.rules.rule import AssignCheck, Check, Rule
from veilig.audit.rules.sketch import Sketch, constants, last_name

type Marks = Iterator[tuple[ast.AST, Confidence]]

PLAIN = re.compile(
    r"(?i)^(new_?|plain_?|raw_?|user_?|clear_?)?(password\d?|passwd|pwd|passphrase|secret_answer|"
    r"card_?number|ssn|cvv|pan)$"
)
_HASHES = re.compile(
    r"(?i)(hash|crypt|scrypt|argon|pbkdf|derive|encode_password|make_password|set_password|digest|"
    r"encrypt|seal|fernet)"
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
    "sqlalchemy.orm.DeclarativeBase",
    "sqlalchemy.ext.declarative.declarative_base()",
    "sqlmodel.SQLModel",
    "sqlalchemy.orm.declarative_base()",
    "flask_sqlalchemy.SQLAlchemy().Model",
    "django.db.models.Model",
    "mongoengine.Document",
    "peewee.Model",
    "tortoise.models.Model",
    "pony.orm.Entity",
)


def _field_given(frame: Frame, site: CallSite) -> bool:
    return any(
        keyword.arg is not None
        and PLAIN.match(keyword.arg.replace("_hash", "").replace("hashed_", ""))
        and _plain(frame, site.kwargs.get(keyword.arg), keyword.value)
        for keyword in site.node.keywords
    )


def _cookie(_frame: Frame, site: CallSite) -> bool:
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


def _short(frame: Frame, node: ast.Compare, values: list[Value]) -> bool:
    """`len(password) < 6` and the like: a minimum below eight characters."""
    del frame
    sides = [node.left, *node.comparators]
    for index, op in enumerate(node.ops):
        for at, other, turned in ((index, index + 1, False), (index + 1, index, True)):
            bound = constant(values[other])
            if _measured(sides[at]) and isinstance(bound, int) and 1 < _minimum(op, bound, turned) < 8:
                return True
    return False


def _measured(node: ast.expr) -> bool:
    """`len(password)`."""
    if not isinstance(node, ast.Call) or dotted(node.func) != "len" or not node.args:
        return False
    return (
        re.search(r"(?i)^(new_?|raw_?)?(password\d?|passwd|pwd|passphrase)$", last_name(node.args[0]))
        is not None
    )


def _minimum(op: ast.cmpop, bound: int, turned: bool) -> int:
    """The fewest characters that pass; 0 when the comparison sets no minimum."""
    if isinstance(op, ast.Lt | ast.GtE):
        return bound + 1 if turned else bound
    if isinstance(op, ast.LtE | ast.Gt):
        return bound if turned else bound + 1
    return 0


def _without_expiry(frame: Frame, site: CallSite) -> bool:
    payload = site.arg(0, "payload")
    held = frame.state.get(payload) if isinstance(payload, Ref) else None
    return isinstance(held, Dict) and held.rest is None and bool(held.items) and "exp" not in held.items


def _unexpiring(frame: Frame, site: CallSite) -> bool:
    options = site.kwargs.get("options")
    held = frame.state.get(options) if isinstance(options, Ref) else None
    return isinstance(held, Dict) and constant(held.items.get("verify_exp")) is False


def _long_session(frame: Frame, _name: str, value: Value) -> bool:
    """A session that lasts longer than 90 days."""
    seconds = constant(value)
    if isinstance(seconds, int):
        return seconds > 90 * 86_400
    statement = frame.engine.position
    days = re.search(r"days=(\d+)|weeks=(\d+)", ast.unparse(statement) if statement is not None else "")
    return days is not None and int(days.group(1) or 0) + 7 * int(days.group(2) or 0) > 90


_ENDS = re.compile(
    r"(?i)session\.(clear|pop|flush|invalidate|destroy)|logout_user|[^_\w]logout\(|"
    r"delete_cookie\([^)]*(sess|sid|auth|token)|"
    r"revoke|invalidate|unset_jwt|del .*session|blacklist|blocklist|\.delete\(|clear_cookie|forget\(|"
    r"sign_?out\("
)


def _staying(sketch: Sketch) -> Iterator[tuple[ast.AST, Confidence]]:
    """A logout that leaves the session as it was."""
    for function in sketch.functions:
        if (
            re.fullmatch(r"(?i)(log|sign)_?out(_view|_user)?", function.name) and sketch.is_view(function)
        ) and not search(_ENDS, function.body):
            yield function.node, Confidence.POSSIBLE


def _any_length(frame: Frame, _name: str, value: Value) -> bool:
    """Validators of which none asks for a length."""
    held = frame.state.get(value) if isinstance(value, Ref) else None
    if not isinstance(held, Seq) or held.rest is not None or not held.items:
        return False
    names: list[str] = []
    for item in held.items:
        entry = frame.state.get(item) if isinstance(item, Ref) else None
        name = constant(entry.items.get("NAME")) if isinstance(entry, Dict) else None
        if not isinstance(name, str):
            return False
        names.append(name)
    return not any(re.search(r"(?i)length|entropy|zxcvbn|strength|complex|pwned", name) for name in names)


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
        AssignCheck(
            lambda name: name.endswith("AUTH_PASSWORD_VALIDATORS"),
            _any_length,
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
    shape=_staying,
    assigns=(
        AssignCheck(
            lambda name: (
                re.search(
                    r"(PERMANENT_SESSION_LIFETIME|SESSION_COOKIE_AGE|REMEMBER_COOKIE_DURATION)\]?$", name
                )
                is not None
            ),
            _long_session,
        ),
    ),
    bad="import jwt\ndef issue(user, key):\n    return jwt.encode({'sub': user}, key, algorithm='HS256')\n",
    good="import jwt, time\ndef issue(user, key):\n"
    "    return jwt.encode({'sub': user, 'exp': time.time() + 600}, key, algorithm='HS256')\n",
)


RULES = (
    PLAIN_PASSWORD,
    SHORT,
    EXPIRY,
)
