"""Rules for what travels: certificates, TLS versions, tokens, comparisons of secrets, secrets in logs."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.state import children, constant, deep_taints
from veilig.audit.engine.value import Opaque, OriginKind, Ref, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import (
    always,
    argument_named,
    both,
    dict_item,
    either,
    ending,
    keyword_is,
    negated,
    text_of,
)
from veilig.audit.rules.rule import AssignCheck, Check, Rule
from veilig.audit.rules.sketch import Sketch, last_name

VERIFYING_CALLS = (
    *(
        f"{owner}.{verb}"
        for owner in ("requests", "httpx", "requests.Session()", "requests.session()")
        for verb in ("get", "post", "put", "delete", "patch", "head", "options", "request", "stream")
    ),
    "httpx.Client",
    "httpx.AsyncClient",
)
LOG_CALLS = (
    *(
        f"{owner}.{level}"
        for owner in (
            "logging",
            "logging.getLogger()",
            "flask.current_app.logger",
            "flask.Flask().logger",
            "loguru.logger",
            "structlog.get_logger()",
        )
        for level in ("debug", "info", "warning", "error", "critical", "exception")
    ),
    "print",
)


def _unless_given(sketch: Sketch) -> Iterator[tuple[ast.AST, Confidence]]:
    """`verify = CA_FILE or False`: whoever forgets the setting gets no verification at all."""
    if "verify" not in sketch.text:
        return
    for node in sketch.each(ast.Assign, ast.keyword):
        value: ast.expr | None = None
        if (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith(".verify")) or (
            isinstance(node, ast.keyword) and node.arg in ("verify", "verify_ssl", "verify_certs")
        ):
            value = node.value
        choices = value.values[-1:] if isinstance(value, ast.BoolOp) and isinstance(value.op, ast.Or) else []
        if isinstance(value, ast.IfExp):
            choices = [value.body, value.orelse]
        if any(isinstance(choice, ast.Constant) and choice.value is False for choice in choices):
            yield value or node, Confidence.CERTAIN


def _asked_for(frame: Frame) -> bool:
    """The function does so only when its caller says so by a parameter: the weakness is where that is said.
    A parameter whose default says so is weak by itself."""
    node = frame.func.node if frame.func is not None else None
    if node is None or isinstance(node, ast.Lambda):
        return False
    spec = node.args
    names = [*spec.posonlyargs, *spec.args]
    defaults = dict(
        zip([p.arg for p in names[len(names) - len(spec.defaults) :]], spec.defaults, strict=True)
    )
    defaults |= {
        p.arg: default
        for p, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
        if default is not None
    }
    weak = {n for n, d in defaults.items() if isinstance(d, ast.Constant) and d.value is ("insecure" in n)}
    wanted = {p.arg for p in (*names, *spec.kwonlyargs) if _DECIDES.search(p.arg)} - weak
    tests = [part.test for part in ast.walk(node) if isinstance(part, ast.If | ast.IfExp)]
    return any(isinstance(n, ast.Name) and n.id in wanted for test in tests for n in ast.walk(test))


_DECIDES = re.compile(r"(?i)verify|insecure|check_hostname|cert_reqs|validate|trust|server_hostname")

TLS = Rule(
    id="tls-unverified",
    cwe=295,
    title="certificate not verified",
    severity=Severity.HIGH,
    what="TLS certificates are not verified",
    why="CWE-295: anybody on the way reads and changes the traffic",
    advice="leave verification on; trust a private CA with verify='/path/ca.pem'",
    silent="verify=True, a CA bundle",
    shape=_unless_given,
    fix_id="tls-verify",
    checks=(
        Check(
            VERIFYING_CALLS,
            keyword_is(99, "verify", False),
        ),
        Check(
            (".get", ".post", ".put", ".request"),
            both(keyword_is(99, "ssl", False), lambda _frame, site: "aiohttp" in site.qual),
        ),
        Check(("aiohttp.TCPConnector",), keyword_is(99, "ssl", False)),
        Check(("aiohttp.TCPConnector",), keyword_is(99, "verify_ssl", False)),
        Check(("pymongo.MongoClient",), keyword_is(99, "tlsAllowInvalidCertificates", True)),
        Check(
            ("elasticsearch.Elasticsearch", "boto3.client", "boto3.resource"),
            either(keyword_is(99, "verify_certs", False), keyword_is(99, "verify", False)),
        ),
        Check(("redis.Redis", "redis.StrictRedis"), keyword_is(99, "ssl_cert_reqs", None, "none")),
        Check(("ssl._create_unverified_context", "ssl._https_verify_certificates"), always),
        Check(("ssl.wrap_socket",), negated(argument_named(3, "cert_reqs", "CERT_REQUIRED"))),
        Check(
            ("urllib3.PoolManager", "urllib3.HTTPSConnectionPool"),
            either(argument_named(99, "cert_reqs", "CERT_NONE")),
        ),
        Check(
            (".set_missing_host_key_policy",),
            lambda _frame, site: any(
                "AutoAddPolicy" in text_of(a) or "WarningPolicy" in text_of(a) for a in site.args
            ),
        ),
    ),
    assigns=(
        AssignCheck(
            ending("check_hostname"),
            lambda frame, _name, value: constant(value) is False and not _asked_for(frame),
        ),
        AssignCheck(
            ending("verify_mode"),
            lambda frame, _name, value: text_of(value).endswith("CERT_NONE") and not _asked_for(frame),
        ),
        AssignCheck(
            ending("_create_default_https_context"),
            lambda _frame, _name, value: "unverified" in text_of(value),
        ),
        AssignCheck(ending("ession().verify"), lambda _frame, _name, value: constant(value) is False),
    ),
    bad="import requests\ndef load():\n"
    "    return requests.get('https://example.org', verify=False, timeout=5)\n",
    good="import requests\ndef load():\n"
    "    return requests.get('https://example.org', verify=True, timeout=5)\n",
)

TLS_VERSION = Rule(
    id="old-tls",
    cwe=327,
    title="old TLS version",
    severity=Severity.MEDIUM,
    what="SSL or TLS before 1.2 is allowed",
    why="CWE-327: these versions have known attacks",
    advice="use ssl.create_default_context()",
    silent="PROTOCOL_TLS_CLIENT, TLS 1.2 and 1.3",
    checks=(
        Check(
            ("ssl.SSLContext", "ssl.wrap_socket"),
            lambda _frame, site: any(
                re.search(r"PROTOCOL_(SSLv|TLSv1(_1)?$)", text_of(v))
                for v in (*site.args, *site.kwargs.values())
            ),
        ),
    ),
    assigns=(
        AssignCheck(
            ending("minimum_version"),
            lambda _frame, _name, value: re.search(r"(SSLv3|TLSv1|TLSv1_1)$", text_of(value)) is not None,
        ),
    ),
    bad="import ssl\ncontext = ssl.SSLContext(ssl.PROTOCOL_TLSv1)\n",
    good="import ssl\ncontext = ssl.create_default_context()\n",
)

JWT = Rule(
    id="jwt-unverified",
    cwe=347,
    title="token signature not verified",
    severity=Severity.HIGH,
    what="a JSON web token is read without verifying its signature",
    why="CWE-347: anybody writes their own token",
    advice="jwt.decode(token, key, algorithms=['HS256'])",
    silent="verified tokens with fixed algorithms",
    fix_id="jwt-verify",
    checks=(
        Check(
            ("jwt.decode", "jose.jwt.decode"),
            lambda frame, site: (
                constant(site.kwargs.get("verify")) is False
                or dict_item(frame, site.arg(99, "options"), "verify_signature") is False
                or _none_allowed(frame, site.kwargs.get("algorithms"))
            ),
        ),
        Check(("jose.jwt.get_unverified_claims", "jwt.api_jws.decode_complete"), always),
        Check(("jwt.encode",), keyword_is(2, "algorithm", "none", "None")),
    ),
    bad="import jwt\ndef user(token):\n"
    "    return jwt.decode(token, options={'verify_signature': False})['sub']\n",
    good="import jwt\ndef user(token, key):\n"
    "    return jwt.decode(token, key, algorithms=['HS256'])['sub']\n",
)


def _none_allowed(frame: Frame, value: Value | None) -> bool:
    held = frame.state.get(value) if isinstance(value, Ref) else None
    return held is not None and any(constant(item) in ("none", "None") for item in children(held))


_DIGEST = (".hexdigest()", ".digest()", ".signature", "hmac.new()")
_SECRET_SIDE = re.compile(r"(?i)(signature|hmac|digest|api[-_]?key|token|secret|mac$|csrf)")


def compares_secret(frame: Frame, node: ast.Compare, values: list[Value]) -> bool:
    """Whether `==` compares a secret with something a client sent, or with a fresh HMAC."""
    if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
        return False
    sides = [node.left, node.comparators[0]]
    if any(isinstance(side, ast.Constant) for side in sides):
        return False
    quals = [value.qual if isinstance(value, Opaque) else "" for value in values]
    names = [last_name(side) for side in sides]
    fresh = any(q.startswith("hmac.") and q.endswith(_DIGEST[:2]) for q in quals)
    if fresh:
        return True
    remote = any(
        taint.origin.kind is OriginKind.REMOTE
        for value in values
        for taint in deep_taints(frame.state, value)
    )
    return remote and any(_SECRET_SIDE.search(name) for name in names)


TIMING = Rule(
    id="timing-compare",
    cwe=208,
    title="secret compared in varying time",
    severity=Severity.MEDIUM,
    what="a secret is compared with ==",
    why="CWE-208: the time taken tells how many characters are right",
    advice="use hmac.compare_digest(a, b)",
    silent="hmac.compare_digest, comparisons with constants",
    fix_id="compare-digest",
    compared=compares_secret,
    bad="import hmac\ndef check(key, body, given):\n"
    "    return hmac.new(key, body, 'sha256').hexdigest() == given\n",
    good="import hmac\ndef check(key, body, given):\n"
    "    return hmac.compare_digest(hmac.new(key, body, 'sha256').hexdigest(), given)\n",
)

SECRET_LOG = Rule(
    id="secret-in-log",
    cwe=532,
    title="secret written to the log",
    severity=Severity.MEDIUM,
    what="a secret is written to the log",
    why="CWE-532: logs are copied, kept and read by many",
    advice="log that it was there, never what it was",
    silent="names of settings, lengths, masked values",
    checks=(
        Check(
            LOG_CALLS,
            lambda _frame, site: logs_secret(site),
        ),
    ),
    bad="import logging\ndef login(user, password):\n    logging.info('login %s %s', user, password)\n",
    good="import logging\ndef login(user, password):\n    logging.info('login %s', user)\n",
)

# Everything a client sent, with passwords and cookies in it.
_WHOLE_REQUEST = re.compile(
    r"\brequest\.(POST|form|headers|cookies|COOKIES|META|get_json\(\)|json|data|get_data\(\)|"
    r"body)(?![\w.\[(])"
)
_LOGGED = re.compile(
    r"(?i)^_*(user_?|new_?|old_?)?(password|passwd|pwd|passphrase|secret|api_?key|secret_?key|"
    r"access_?token|auth_?token|private_?key|credit_?card|card_?number|cvv|cvc2?|ssn|iban|otp|pin_?code)$"
)
_CARD_OWNER = re.compile(r"(?i)(card|payment_?method)$")


def logs_secret(site: CallSite) -> bool:
    """Whether a name of a secret is an argument or stands in an f-string of the call."""
    if any(_WHOLE_REQUEST.search(ast.unparse(argument)) for argument in site.node.args):
        return True
    for argument in site.node.args:
        parts = (
            [argument]
            if not isinstance(argument, ast.JoinedStr)
            else [value.value for value in argument.values if isinstance(value, ast.FormattedValue)]
        )
        if isinstance(argument, ast.BinOp):
            parts = [
                argument.left,
                argument.right,
                *(argument.right.elts if isinstance(argument.right, ast.Tuple) else []),
            ]
        if (
            isinstance(argument, ast.Call)
            and isinstance(argument.func, ast.Attribute)
            and argument.func.attr == "format"
        ):
            parts = list(argument.args)
        for part in parts:
            name = (
                part.id
                if isinstance(part, ast.Name)
                else part.attr
                if isinstance(part, ast.Attribute)
                else ""
            )
            if isinstance(part, ast.Subscript) and isinstance(part.slice, ast.Constant):
                name = str(part.slice.value)
            card = isinstance(part, ast.Attribute) and _CARD_OWNER.search(last_name(part.value))
            if _LOGGED.match(name) or (card and name in ("number", "pan")):
                return True
    return False


RULES = (TLS, TLS_VERSION, JWT, TIMING, SECRET_LOG)
