"""Rules for checks that can be left out, identities nobody verified, and loops that others keep running."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.needles import search
from veilig.audit.engine.state import deep_taints
from veilig.audit.engine.value import OriginKind, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.access import forgeable
from veilig.audit.rules.rule import Rule, Sink
from veilig.audit.rules.sketch import FunctionSketch, Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]

_IDENTIFIES = re.compile(
    r"(?i)(current|get|load|find|resolve|identify|authenticate)_?(the_)?(user|identity|account|"
    r"principal|caller|subject)|^(identity|authenticate|whoami|principal)$"
)
_NAME_HEADER = re.compile(
    r"(?i)(x-)?(remote-?)?(user|account|email|uid|principal|forwarded-user)(-?(id|name))?\b"
)
_VERIFIES = re.compile(r"(?i)hmac|compare_digest|signature|verify|jwt\.decode|public_key|\.check\(")


def _optional(sketch: Sketch) -> Marks:
    """`if signature is None: return True`: leaving it out passes."""
    for function in sketch.functions:
        if not search(_VERIFIES, function.body):
            continue
        for node in function.each(ast.If):
            if (
                isinstance(node, ast.If)
                and _absent(node.test, function)
                and isinstance(node.body[-1], ast.Return)
            ):
                value = node.body[-1].value
                if isinstance(value, ast.Constant) and value.value is True:
                    yield node, Confidence.CERTAIN
                elif (
                    value is not None
                    and _says_yes_or_no(value)
                    and _from_request(node.test, function)
                    and not _VERIFIES.search(ast.unparse(value))
                ):
                    yield node, Confidence.POSSIBLE  # something weaker stands in for the signature


def _says_yes_or_no(value: ast.expr) -> bool:
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        return re.match(r"startswith|endswith|is_|has_|issub|issuper", value.func.attr) is not None
    return isinstance(value, ast.Compare)


def _from_request(test: ast.expr, function: FunctionSketch) -> bool:
    """`if not given`, where `given` was read from a header or cookie of the request."""
    if not isinstance(test, ast.UnaryOp) or not isinstance(test.operand, ast.Name):
        return False
    return search(rf"\b{test.operand.id} = .*\b(headers|META|cookies)\b", function.body) is not None


def _absent(test: ast.expr, function: FunctionSketch) -> bool:
    """Whether the test asks for a missing argument of the function."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return isinstance(test.operand, ast.Name) and (
            test.operand.id in function.parameters or _from_request(test, function)
        )
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is | ast.Eq):
        other = test.comparators[0]
        missing = isinstance(other, ast.Constant) and other.value in (None, "", b"")
        return missing and isinstance(test.left, ast.Name) and test.left.id in function.parameters
    return False


def _named_by_header(frame: Frame, value: Value) -> bool:
    """A function that says who the user is returns a header as it came."""
    if frame.func is None or not _IDENTIFIES.search(frame.func.name):
        return False
    last = frame.func.node.end_lineno or frame.func.node.lineno
    if _VERIFIES.search("\n".join(frame.module.lines[frame.func.node.lineno - 1 : last])):
        return False
    for taint in deep_taints(frame.state, value):
        hop = taint.hop
        while hop.before is not None:
            hop = hop.before
        line = frame.engine.project.line(hop.path, hop.line)
        if taint.origin.kind is OriginKind.REMOTE and "headers" in line and _NAME_HEADER.search(line):
            return True
    return False


def _polling(sketch: Sketch) -> Marks:
    """A loop that waits for a state and never counts or looks at the clock."""
    if "while True" not in sketch.text:
        return
    for function in sketch.functions:
        if "while True" not in function.body or "sleep(" not in function.body:
            continue
        for node in function.each(ast.While):
            if not isinstance(node, ast.While) or not isinstance(node.test, ast.Constant):
                continue
            text = ast.unparse(node)
            leaves = re.search(r"\b(return|break)\b", text)
            bounded = re.search(
                r"(?i)monotonic|time\.time\(|attempt|retr|tries|deadline|timeout_at|elapsed|count|\+= "
                r"?1|max_|remaining|now\(",
                text,
            )
            asks = re.search(
                r"(requests|httpx|client|session|api)\.\w+\(|status|state|\.poll\(|is_ready|exists\(", text
            )
            if "sleep(" in text and leaves and asks and not bounded:
                yield node, Confidence.POSSIBLE


_LIMITED = re.compile(
    r"(?i)(depth|level|nesting)\w*\s*(>|>=|<|<=|==)|[\w\]]\s*(>|>=|<|<=|==)\s*\w*(depth|level)|recursionlimit"
)


def _counts_down(function: ast.AST, call: ast.Call) -> bool:
    """A parameter goes down or up by one with each call, and the function looks at it."""
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    counted = {
        value.left.id
        for value in given
        if isinstance(value, ast.BinOp)
        and isinstance(value.op, ast.Add | ast.Sub)
        and isinstance(value.left, ast.Name)
    }
    tests = [node.test for node in ast.walk(function) if isinstance(node, ast.If | ast.IfExp)]
    return any(isinstance(n, ast.Name) and n.id in counted for test in tests for n in ast.walk(test))


def _deep(frame: Frame, site: CallSite) -> bool:
    info = frame.func
    if info is None:
        return False
    last = info.node.end_lineno or info.node.lineno
    if _counts_down(info.node, site.node):
        return False
    return _LIMITED.search("\n".join(frame.module.lines[info.node.lineno - 1 : last])) is None and bool(
        site.args
    )


OPTIONAL = Rule(
    id="signature-optional",
    cwe=347,
    title="check passes when nothing is given",
    severity=Severity.HIGH,
    what="leaving out the signature passes the check",
    why="CWE-347: whoever has no signature sends none (CWE-345)",
    advice="return False when it is missing",
    silent="checks that refuse what is missing",
    shape=_optional,
    bad="import hmac\ndef valid(body, key, given):\n    if given is None:\n        return True\n"
    "    return hmac.compare_digest(hmac.digest(key, body, 'sha256'), given)\n",
    good="import hmac\ndef valid(body, key, given):\n    if given is None:\n        return False\n"
    "    return hmac.compare_digest(hmac.digest(key, body, 'sha256'), given)\n",
)

NAMED = Rule(
    id="identity-from-header",
    cwe=287,
    title="user taken from a header",
    severity=Severity.HIGH,
    what="a header says who the user is, and nobody verifies it",
    why="CWE-287: the client writes any name into it (CWE-290)",
    advice="look the token up, or verify a signed one, and take the user from that",
    silent="users looked up by a verified token",
    kind="identity",
    returned=_named_by_header,
    flow_confidence=Confidence.POSSIBLE,
    bad="from flask import request\ndef current_user():\n    return request.headers.get('X-User')\n",
    good="from flask import request\nTOKENS = {}\ndef current_user():\n"
    "    return TOKENS.get(request.headers.get('X-Api-Token'))\n",
)

POLLING = Rule(
    id="endless-polling",
    cwe=835,
    title="waits without end",
    severity=Severity.LOW,
    what="this loop waits for something that may never come",
    why="CWE-835: one job that hangs keeps this worker for ever",
    advice="count the tries, or compare time.monotonic() with a deadline",
    silent="loops with a counter or a clock, loops that are meant to run for ever",
    shape=_polling,
    bad="import time, requests\ndef wait(url):\n    while True:\n"
    "        if requests.get(url, timeout=5).json()['state'] == 'done':\n            return\n"
    "        time.sleep(1)\n",
    good="import time, requests\ndef wait(url):\n    for _ in range(60):\n"
    "        if requests.get(url, timeout=5).json()['state'] == 'done':\n            return\n"
    "        time.sleep(1)\n    raise TimeoutError\n",
)

RECURSION = Rule(
    id="unbounded-recursion",
    cwe=674,
    title="depth chosen from outside",
    severity=Severity.MEDIUM,
    what="data from outside decides how deep this function calls itself",
    why="CWE-674: deeply nested input ends in a stack overflow",
    advice="count the depth and refuse above a limit, or use a loop with a list",
    silent="functions that compare a depth with a limit",
    kind="depth",
    sinks=(Sink(("<recursion>",), ("*",), _deep),),
    bad="from flask import request\ndef flat(node):"
    "\n    return [node['id']] + [x for c in node['c'] for x in flat(c)]\n"
    "def view():\n    return flat(request.get_json())\n",
    good="from flask import request\ndef flat(node, depth=0):\n    if depth > 50:\n        raise ValueError\n"
    "    return [node['id']] + [x for c in node['c'] for x in flat(c, depth + 1)]\n"
    "def view():\n    return flat(request.get_json())\n",
)

COOKIE_SAYS = Rule(
    id="cookie-says-who",
    cwe=565,
    title="cookie believed",
    severity=Severity.HIGH,
    what="a cookie that nobody signed decides what is allowed",
    why="CWE-565: the client writes whatever the check wants to see (CWE-784, CWE-807)",
    advice="keep roles on the server, in a signed session or the database",
    silent="signed cookies, cookies that decide nothing about access",
    compared=lambda frame, node, values: forgeable(frame, node, values, cookie=True),
    check_confidence=Confidence.POSSIBLE,
    bad="from flask import request, abort\ndef panel():\n    if request.cookies.get('is_admin') != 'true':\n"
    "        abort(403)\n    return 'panel'\n",
    good="from flask import session, abort\ndef panel():\n    if session.get('is_admin') is not True:\n"
    "        abort(403)\n    return 'panel'\n",
)

RULES = (COOKIE_SAYS, OPTIONAL, NAMED, POLLING, RECURSION)
