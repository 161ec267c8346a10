"""Rules for credentials that stand in the source: keys, passwords, connections with a password."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import constant
from veilig.audit.engine.value import Const, Ref, Seq, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import is_secret_name, text_of
from veilig.audit.rules.crypto import hardcoded, is_credential
from veilig.audit.rules.keys import fixed_bytes
from veilig.audit.rules.rule import AssignCheck, Check, Rule
from veilig.audit.rules.sketch import Sketch, last_name

KEY_ARGUMENTS: dict[str, tuple[int, str]] = {
    "jwt.encode": (1, "key"),
    "jwt.decode": (1, "key"),
    "jose.jwt.encode": (1, "key"),
    "jose.jwt.decode": (1, "key"),
    "hmac.new": (0, "key"),
    "hmac.digest": (0, "key"),
    "cryptography.fernet.Fernet": (0, "key"),
    "Crypto.Cipher.AES.new": (0, "key"),
    "Crypto.Cipher.ChaCha20.new": (99, "key"),
    "cryptography.hazmat.primitives.ciphers.algorithms.AES": (0, "key"),
    "cryptography.hazmat.primitives.ciphers.aead.AESGCM": (0, "key"),
    "cryptography.hazmat.primitives.ciphers.aead.ChaCha20Poly1305": (0, "key"),
    "itsdangerous.URLSafeTimedSerializer": (0, "secret_key"),
    "itsdangerous.URLSafeSerializer": (0, "secret_key"),
    "itsdangerous.TimestampSigner": (0, "secret_key"),
    "itsdangerous.Signer": (0, "secret_key"),
    "starlette.middleware.sessions.SessionMiddleware": (1, "secret_key"),
}
_PASSWORD_KEYWORDS = (
    "password",
    "passwd",
    "api_key",
    "secret_key",
    "secret",
    "access_token",
    "auth_token",
    "cookie_secret",
)
_CONNECTION = re.compile(r"(?i)^[a-z][a-z0-9+.-]*://[^:/@\s{}%$<]+:([^@/\s{}%$<*]{3,})@")
_EXAMPLE = re.compile(
    r"(?i)^(password|passwd|pass|secret|user|pw|xxx+|changeme|test|\.\.\.|example|guest|username:password)$"
)


def _literal_key(frame: Frame, site: CallSite) -> bool:
    del frame
    place = KEY_ARGUMENTS.get(site.qual)
    return place is not None and fixed_bytes(site.arg(*place))


def _literal_password(frame: Frame, site: CallSite) -> bool:
    for keyword in site.node.keywords:
        if keyword.arg in _PASSWORD_KEYWORDS and isinstance(keyword.value, ast.Constant):
            value = site.kwargs.get(keyword.arg)
            if value is not None and hardcoded(frame, keyword.arg, value):
                return True
    pair = site.kwargs.get("auth")
    held = frame.state.get(pair) if isinstance(pair, Ref) else None
    if isinstance(held, Seq) and len(held.items) == 2:
        return all(fixed_bytes(item) for item in held.items)
    return False


def _literal_connection(_frame: Frame, _name: str, value: Value) -> bool:
    found = (
        _CONNECTION.match(value.value) if isinstance(value, Const) and isinstance(value.value, str) else None
    )
    return found is not None and _EXAMPLE.match(found.group(1)) is None


def _compared_literal(frame: Frame, node: ast.Compare, values: list[Value]) -> bool:
    """`password == "letmein"`: the literal is the credential."""
    if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
        return False
    for side, other in ((node.left, values[1]), (node.comparators[0], values[0])):
        name = side.id if isinstance(side, ast.Name) else side.attr if isinstance(side, ast.Attribute) else ""
        literal = isinstance(node.left, ast.Constant) or isinstance(node.comparators[0], ast.Constant)
        if literal and re.search(r"(?i)^(user_?)?(password|passwd|pwd|api_?key|secret)$", name):
            return hardcoded(frame, "password", other) and len(str(constant(other))) >= 5
    return False


def _fallback(frame: Frame, site: CallSite) -> bool:
    """`os.environ.get("SECRET_KEY", "dev")`: the literal is used wherever the variable is forgotten."""
    del frame
    name, default = constant(site.arg(0)), site.arg(1, "default")
    return (
        isinstance(name, str)
        and is_secret_name(name.lower())
        and isinstance(default, Const)
        and isinstance(default.value, str)
        and len(default.value) >= 4
        and re.search(r"(?i)secret|key|password|passwd|token", name) is not None
    )


_PASSED = re.compile(r"\b(password|passwd|secret_key|api_key|access_token|auth_token)\s*=\s*['\"]")


_LOGIN_CALL = re.compile(
    r"(?i)(credentials?|basic_?auth\w*|digest_?auth|plain_?auth|usernamepassword\w*|^login)$"
)
_ASKS_SECRET = re.compile(r"(?i)(environ(\.get)?|getenv|config(\.get)?|settings(\.get)?|vault(\.get)?)$")


def _literal_places(sketch: Sketch) -> Iterator[tuple[ast.AST, Confidence]]:
    """A literal as second argument of a login, or after `or` behind a secret that may not be set."""
    yield from _literal_keywords(sketch)
    for node in sketch.each(ast.Call, ast.BoolOp):
        if isinstance(node, ast.Call) and len(node.args) >= 2:
            name, second = dotted(node.func).rpartition(".")[2], node.args[1]
            if _LOGIN_CALL.search(name) and _literal_secret(second):
                yield node, Confidence.CERTAIN
        elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and len(node.values) == 2:
            asked, fallback = node.values
            owner = dotted(asked.func if isinstance(asked, ast.Call) else asked)
            named = last_name(asked)
            if _ASKS_SECRET.search(owner) and is_secret_name(named.lower()) and _literal_secret(fallback):
                yield node, Confidence.CERTAIN


def _literal_secret(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and is_credential("password", node.value)
    )


def _literal_keywords(sketch: Sketch) -> Iterator[tuple[ast.AST, Confidence]]:
    """Any call that is given a literal under the name of a password, such as the constructor of a user."""
    if not search(_PASSED, sketch.text):
        return
    for node in sketch.each(ast.Call):
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            value = keyword.value
            if (
                keyword.arg in _PASSWORD_KEYWORDS
                and isinstance(value, ast.Constant)
                and isinstance(value.value, str)
            ) and is_credential(keyword.arg, value.value):
                yield node, Confidence.POSSIBLE


LITERAL_KEY = Rule(
    id="hardcoded-key",
    cwe=321,
    title="key or password in a call",
    severity=Severity.HIGH,
    what="a key or password stands in the source",
    why="CWE-321: everybody who reads the repository can sign, decrypt and log in (CWE-798, CWE-259)",
    advice="read it from the environment or a secret store",
    silent="placeholders, keys from configuration",
    fix_id="credential-environment",
    shape=_literal_places,
    checks=(
        Check(tuple(KEY_ARGUMENTS), _literal_key),
        Check(("os.environ.get", "os.getenv", "decouple.config", "environ.Env()"), _fallback),
        Check(
            (
                ".connect",
                "psycopg2.connect",
                "pymysql.connect",
                "mysql.connector.connect",
                "psycopg.connect",
                "MySQLdb.connect",
                "asyncpg.connect",
                "redis.Redis",
                "redis.StrictRedis",
                "paramiko.SSHClient().connect",
                "boto3.client",
                "boto3.resource",
                "tornado.web.Application",
                "pymongo.MongoClient",
                "aiomysql.connect",
                "requests.get",
                "requests.post",
                "requests.put",
                "httpx.get",
                "httpx.post",
                "ldap3.Connection",
            ),
            _literal_password,
        ),
        Check(
            (".login",),
            lambda _frame, site: (
                len(site.node.args) > 1
                and isinstance(site.node.args[1], ast.Constant)
                and fixed_bytes(site.arg(1))
                and "example" not in text_of(site.arg(1))
            ),
        ),
    ),
    assigns=(
        AssignCheck(
            lambda name: (
                re.search(r"(?i)(dsn|url|uri|connection|conn_?str|broker|database)\w*\]?$", name) is not None
            ),
            _literal_connection,
        ),
    ),
    compared=_compared_literal,
    check_confidence=Confidence.CERTAIN,
    bad="import jwt\ndef issue(user):"
    "\n    return jwt.encode({'sub': user, 'exp': 1}, 'k3y-0f-shop', algorithm='HS256')\n",
    good="import jwt, os\ndef issue(user):\n"
    "    return jwt.encode({'sub': user, 'exp': 1}, os.environ['KEY'], algorithm='HS256')\n",
)

RULES = (LITERAL_KEY,)
