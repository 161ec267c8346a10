"""Rules for checks that fail without anybody noticing: swallowed errors, open failure, ignored answers."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]

_GUARDING = re.compile(
    r"(?i)\b(?:\w+[_.])?(verify|authenticate|authorize|check_(?:permission|access|auth|signature|token|password)|"
    r"validate_(?:token|signature|session|request)|require_\w+|is_allowed|has_perm\w*|audit_log|decrypt)\w*\("
)
_WRITING = re.compile(r"(?i)\.(execute|commit|save|insert\w*|send\w*|charge|transfer|publish)\(|audit")
_CHECK_NAME = re.compile(
    r"(?i)^_?(is_|has_|can_|may_|check|verify|valid|auth|allow|permit|require)"
    r"\w*(admin|allow|auth|valid|perm|access|sign|token|verif|trusted|password|user|role|login|owner|request)|"
    r"^_?(authenticate|authorize|authorise|verify|is_valid|validate|check_access|allowed|permitted)\w*$"
)
_ANSWERS = frozenset(
    {
        "check_password", "check_password_hash", "checkpw", "compare_digest", "verify_password", "has_perm",
        "has_permission", "verify_signature", "verify_token", "is_valid_signature", "check_signature",
        "url_has_allowed_host_and_scheme", "is_relative_to", "check_permission", "is_authenticated",
        "is_safe_url", "is_allowed", "validate_csrf_token", "verify_hmac", "user_can",
    }
)  # fmt: skip
_ACCESS_WORDS = re.compile(
    r"(?i)(is_admin|is_staff|is_superuser|is_authenticated|has_perm|permission|authoriz|owner|role\b|\.can_|is_owner|"
    r"current_user|request\.user|allowed|verified|token|signature|logged_in)"
)


def _broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or dotted(handler.type) in ("Exception", "BaseException")


def _swallowing(sketch: Sketch) -> Marks:
    for handler in sketch.module.handlers:
        if not _broad(handler) or not all(
            isinstance(item, ast.Pass | ast.Continue)
            or (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
            for item in handler.body
        ):
            continue
        around = "\n".join(sketch.module.lines[max(handler.lineno - 7, 0) : handler.lineno - 1])
        guarding = _GUARDING.search(around.rpartition("try:")[2]) is not None
        writing = _WRITING.search(around.rpartition("try:")[2]) is not None
        yield handler, Confidence.POSSIBLE if guarding or writing else Confidence.PATTERN


def _opening(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if "except" not in function.body or not _CHECK_NAME.search(function.name):
            continue
        for node in ast.walk(function.node):
            if isinstance(node, ast.ExceptHandler) and _grants(node):
                yield node, Confidence.CERTAIN


def _grants(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Return) and isinstance(last.value, ast.Constant) and last.value.value is True


def _ignoring(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not any(name in function.body for name in _ANSWERS):
            continue
        for node in ast.walk(function.node):
            if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call | ast.Await):
                continue
            call = node.value.value if isinstance(node.value, ast.Await) else node.value
            name = dotted(call.func).rpartition(".")[2] if isinstance(call, ast.Call) else ""
            if name in _ANSWERS and not _raises(sketch, name):
                yield node, Confidence.CERTAIN


def _raises(sketch: Sketch, name: str) -> bool:
    """A function of this module by that name that reports by raising."""
    return any(f.name == name and ("raise " in f.body or "abort(" in f.body) for f in sketch.functions)


def _asserting(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if "assert " not in function.body:
            continue
        guarded = sketch.is_view(function)
        for node in ast.walk(function.node):
            if not isinstance(node, ast.Assert):
                continue
            test = ast.unparse(node.test)
            if _ACCESS_WORDS.search(test) and (guarded or _decides(test)):
                yield node, Confidence.CERTAIN


def _decides(test: str) -> bool:
    return (
        re.search(r"(?i)is_admin|is_staff|is_superuser|has_perm|is_authenticated|is_owner", test) is not None
    )


def _returning_in_finally(sketch: Sketch) -> Marks:
    if "finally:" not in sketch.text:
        return
    for function in sketch.functions:
        if "finally:" not in function.body:
            continue
        for node in ast.walk(function.node):
            if isinstance(node, ast.Try):
                for item in node.finalbody:
                    yield from ((found, Confidence.CERTAIN) for found in _leaving(item))


def _leaving(statement: ast.stmt) -> Iterator[ast.AST]:
    if isinstance(statement, ast.Return):
        yield statement
    elif isinstance(statement, ast.If | ast.With):
        for item in statement.body:
            yield from _leaving(item)


SWALLOWED = Rule(
    id="swallowed-exception",
    cwe=390,
    title="error ignored",
    severity=Severity.LOW,
    what="every error is ignored here",
    why="CWE-390: a failed check looks like a passed one",
    advice="catch what you expect, and say what happened",
    silent="handlers that log, return, raise or name one expected error",
    shape=_swallowing,
    bad="def check(user):\n    try:\n        verify(user)\n    except Exception:\n        pass\n",
    good="def check(user):\n    try:\n        verify(user)\n    except KeyError:\n"
    "        return False\n    return True\n",
)

FAIL_OPEN = Rule(
    id="fail-open",
    cwe=755,
    title="a failed check counts as passed",
    severity=Severity.HIGH,
    what="an error in this check lets everybody in",
    why="CWE-755: whoever provokes the error passes the check (CWE-636, not failing securely)",
    advice="return False, or raise, when the check could not be made",
    silent="handlers that refuse, functions that check nothing",
    shape=_opening,
    bad="def is_allowed(user):\n    try:\n        return ask(user)\n    except Exception:\n"
    "        return True\n",
    good="def is_allowed(user):\n    try:\n        return ask(user)\n    except Exception:\n"
    "        return False\n",
)

IGNORED = Rule(
    id="ignored-check",
    cwe=252,
    title="answer of a check thrown away",
    severity=Severity.HIGH,
    what="this check only answers, and nobody reads the answer",
    why="CWE-252: the code goes on whether the check passed or not",
    advice="if not check(...): raise or return an error",
    silent="checks that raise by themselves",
    shape=_ignoring,
    bad="import hmac\ndef enter(a, b):\n    hmac.compare_digest(a, b)\n    return 'welcome'\n",
    good="import hmac\ndef enter(a, b):\n    if not hmac.compare_digest(a, b):\n"
    "        raise PermissionError\n    return 'welcome'\n",
)

ASSERTED = Rule(
    id="access-by-assert",
    cwe=617,
    title="access decided by an assert",
    severity=Severity.MEDIUM,
    what="an assert decides who may do this",
    why="CWE-617: python -O removes it, and otherwise the request ends in an internal error",
    advice="if not allowed: raise PermissionError",
    silent="asserts about anything else",
    shape=_asserting,
    bad="def drop(user, name):\n    assert user.is_admin\n    remove(name)\ndef remove(name): ...\n",
    good="def drop(user, name):\n    if not user.is_admin:\n        raise PermissionError\n"
    "    remove(name)\ndef remove(name): ...\n",
)

FINALLY = Rule(
    id="return-in-finally",
    cwe=584,
    title="finally hides the error",
    severity=Severity.LOW,
    what="a return in finally throws the error away",
    why="CWE-584: no caller learns that the work failed",
    advice="return after the try statement",
    silent="finally that only cleans up",
    shape=_returning_in_finally,
    bad="def load(path):\n    try:\n        return parse(path)\n    finally:\n        return None\n"
    "def parse(path): ...\n",
    good="def load(path):\n    try:\n        return parse(path)\n    finally:\n        close()\n"
    "def parse(path): ...\ndef close(): ...\n",
)

RULES = (SWALLOWED, FAIL_OPEN, IGNORED, ASSERTED, FINALLY)
