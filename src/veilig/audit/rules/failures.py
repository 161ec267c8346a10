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
    r"(?i)\b(?:\w+[_.])?(verify|authenticate|authorize|check_(?:permission|access|auth|signature|"
    r"token|password)|"
    r"validate_(?:token|signature|session|request)|require_\w+|is_allowed|has_perm\w*|audit_log|decrypt)\w*\("
)
_WRITING = re.compile(r"(?i)\.(execute|commit|save|insert\w*|send\w*|charge|transfer|publish)\(|audit")
_CHECK_NAME = re.compile(
    r"(?i)^_?(is_|has_|can_|may_|check|verify|valid|auth|allow|permit|require)"
    r"\w*(admin|allow|auth|valid|perm|access|sign|token|verif|trusted|password|user|role|login|owner|"
    r"request)|"
    r"\w*_(ok|valid|allowed|authorized|permitted|granted)$|^_?(authenticate|authorize|authorise|"
    r"verify|is_valid|validate|check_access|allowed|permitted)\w*$"
)
_ANSWERS = frozenset(
    {
        "check_password",
        "check_password_hash",
        "checkpw",
        "compare_digest",
        "verify_password",
        "has_perm",
        "has_permission",
        "verify_signature",
        "verify_token",
        "is_valid_signature",
        "check_signature",
        "url_has_allowed_host_and_scheme",
        "is_relative_to",
        "check_permission",
        "is_authenticated",
        "is_safe_url",
        "is_allowed",
        "validate_csrf_token",
        "verify_hmac",
        "user_can",
    }
)
_ACCESS_WORDS = re.compile(
    r"(?i)(is_admin|is_staff|is_superuser|is_authenticated|has_perm|permission|authoriz|owner|role\b|"
    r"\.can_|is_owner|"
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


def _catching_all(sketch: Sketch) -> Marks:
    for handler in sketch.module.handlers:
        if handler.type is not None and dotted(handler.type) == "BaseException":
            again = any(isinstance(node, ast.Raise) for item in handler.body for node in ast.walk(item))
            answers = all(_answers(item) for item in handler.body) and handler.name is None
            if not again:
                yield handler, Confidence.POSSIBLE if answers else Confidence.PATTERN


def _answers(statement: ast.stmt) -> bool:
    """The statement replaces the error by an answer: `allowed = False`, `return None`."""
    value = statement.value if isinstance(statement, ast.Assign | ast.Return) else None
    return isinstance(value, ast.Constant) or (isinstance(statement, ast.Return) and value is None)


_DELETES = re.compile(r"(os\.(unlink|remove|replace|rename|rmdir)|shutil\.(rmtree|move)|\.unlink|\.rename)$")


def _unchecked(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if "subprocess.run(" not in function.body and "subprocess.call(" not in function.body:
            continue
        deleted = [call.lineno for call in function.calls() if _DELETES.search(dotted(call.func))]
        for node in function.each(ast.Expr):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                call = node.value
                if (
                    dotted(call.func) in ("subprocess.run", "subprocess.call")
                    and not any(keyword.arg in ("check", None) for keyword in call.keywords)
                    and any(line > node.lineno for line in deleted)
                ):
                    yield node, Confidence.CERTAIN


def _opening(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if "except" not in function.body or not _CHECK_NAME.search(function.name):
            continue
        for node in function.each(ast.ExceptHandler):
            if isinstance(node, ast.ExceptHandler) and _grants(node):
                yield node, Confidence.CERTAIN


def _grants(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Return) and isinstance(last.value, ast.Constant) and last.value.value is True


def _ignoring(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not any(name in function.body for name in _ANSWERS):
            continue
        for node in function.each(ast.Expr):
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
        for node in function.each(ast.Assert):
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
        for node in function.each(ast.Try):
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

CATCH_ALL = Rule(
    id="catches-everything",
    cwe=396,
    title="catches even the end of the program",
    severity=Severity.LOW,
    what="this handler also catches exit, interrupt and every mistake in the code",
    why="CWE-396: what nobody expected is treated like the one error that was meant (CWE-755)",
    advice="name the exceptions you expect",
    silent="handlers that raise again, named exceptions",
    shape=_catching_all,
    bad="def enter(door, badge):\n    try:\n        return door.allowed(badge)\n    except BaseException:\n"
    "        return False\n",
    good="def enter(door, badge):\n    try:\n        return door.allowed(badge)\n    except KeyError:\n"
    "        return False\n",
)

UNCHECKED_RUN = Rule(
    id="unchecked-command",
    cwe=754,
    title="result of a command ignored before deleting",
    severity=Severity.MEDIUM,
    what="nobody looks whether this command worked, and something is deleted or replaced afterwards",
    why="CWE-754: when it fails, the only copy is gone",
    advice="check=True",
    silent="check=True, a look at returncode, nothing deleted afterwards",
    shape=_unchecked,
    bad="import os, subprocess\ndef rotate(path):\n    subprocess.run(['gzip', '-k', path])"
    "\n    os.unlink(path)\n",
    good="import os, subprocess\ndef rotate(path):\n    subprocess.run(['gzip', '-k', path], check=True)\n"
    "    os.unlink(path)\n",
)

RULES = (CATCH_ALL, UNCHECKED_RUN, SWALLOWED, FAIL_OPEN, IGNORED, ASSERTED, FINALLY)
