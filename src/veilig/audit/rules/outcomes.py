"""Rules for answers nobody waits for: failed checks that fall through, short sends, endless reads."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.engine.walk import own_nodes
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]

_VERIFIES = re.compile(
    r"(?i)^(verify\w*|check_?(password|signature|token|permission|access|auth)\w*|checkpw|authenticate|"
    r"unsign|validate_(token|signature|request|session)|authorize|require_\w+|assert_\w*allowed)$"
)
_REFUSALS = re.compile(r"(?i)mismatch|invalid|signature|expired|denied|forbidden|auth|verif|permission|bad")
_CHECKS = re.compile(
    r"(?i)^_?((is|has|can|may|check|verify|valid|auth|allow|permit|require)\w*|\w*(signed|verified|genuine|"
    r"authentic|trusted|valid|allowed|authori[sz]ed|permitted|granted))$"
)
_REFUSES = re.compile(
    r"(?i)(revoked|blocked|banned|black_?list\w*|deny_?list\w*|denied|locked|suspended|disabled|forbidden|"
    r"malicious|infected|spam\w*|too_many\w*|throttled|rate_?limited|exceeded|compromised|tampered)(_\w+)?$"
)
_LEAVES = re.compile(r"(?i)(abort|exit|fail|refuse|reject|deny|unauthori[sz]ed|forbidden|redirect|logout)$")


def _leaves(statements: list[ast.stmt]) -> bool:
    """Whether control does not go on after these statements, as far as their shape tells."""
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Return | ast.Raise | ast.Continue | ast.Break):
                return True
            if isinstance(node, ast.Call) and _LEAVES.search(dotted(node.func).rpartition(".")[2]):
                return True
    return False


def _bound(statements: list[ast.stmt]) -> set[str]:
    return {
        node.id
        for statement in statements
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _falls_through(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if "except" not in function.body:
            continue
        for block in _blocks(function):
            for index, statement in enumerate(block):
                if isinstance(statement, ast.Try) and not statement.finalbody:
                    yield from _passes(statement, block[index + 1 :])


# Done as far as it goes: whoever calls these does not depend on it.
_TIDIES = re.compile(
    r"(?i)^_*(rm|remove|delete|clean|clear|unlink|close|sweep|touch|log|notify|kill|stop|forget|discard|try|maybe|"
    r"prune|tidy|reap|warm|print|report|record|ping|emit|flush)"
)


def _blocks(function: FunctionSketch) -> Iterator[list[ast.stmt]]:
    yield function.node.body
    for node in function.own_each(ast.If, ast.For, ast.While, ast.With, ast.AsyncWith):
        if isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.AsyncWith):
            yield node.body


def _verifies(statement: ast.stmt) -> bool:
    """A call that reports by raising: its value is not used."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    value = value.value if isinstance(value, ast.Await) else value
    return isinstance(value, ast.Call) and _VERIFIES.search(dotted(value.func).rpartition(".")[2]) is not None


def _passes(attempt: ast.Try, after: list[ast.stmt]) -> Marks:
    """The handler of a failed verification goes on with what follows a passed one."""
    answered = any(isinstance(node, ast.Return) and node.value is not None for node in after)
    if not answered or attempt.orelse:
        return
    verifying = any(map(_verifies, attempt.body))
    for handler in attempt.handlers:
        if _leaves(handler.body) or (_bound(handler.body) & _bound(attempt.body)):
            continue
        kind = ast.unparse(handler.type) if handler.type is not None else ""
        broad = kind in ("", "Exception", "BaseException")
        if verifying and (broad or _REFUSALS.search(kind)) and not _bound(handler.body):
            yield handler, Confidence.CERTAIN


def _opens(sketch: Sketch) -> Marks:
    """An error is answered as the harmless case: not revoked, or signed after all."""
    for function in sketch.functions:
        if "except" not in function.body:
            continue
        yield from _approves(function)
        negative = _REFUSES.search(function.name) is not None
        for node in function.own_each(ast.ExceptHandler):
            if not isinstance(node, ast.ExceptHandler) or not node.body:
                continue
            last = node.body[-1]
            if not isinstance(last, ast.Return):
                continue
            known = last.value.value if isinstance(last.value, ast.Constant) else ...
            kind = ast.unparse(node.type) if node.type is not None else ""
            if (
                negative
                and known in (False, None, 0)
                and not re.search(r"(?i)NotFound|DoesNotExist|Key", kind)
            ) or (
                _CHECKS.search(function.name)
                and known is ...
                and last.value is not None
                and isinstance(last.value, ast.Compare | ast.BoolOp)
                and re.search(r"(?i)invalid|signature|mismatch|verif", kind)
            ):
                yield node, Confidence.CERTAIN


def _approves(function: FunctionSketch) -> Marks:
    """A check ends with `return True`, and the handler of any error comes there too."""
    if not _CHECKS.search(function.name):
        return
    for block in _blocks(function):
        for index, statement in enumerate(block):
            last = block[-1]
            if (
                not isinstance(statement, ast.Try)
                or index + 1 >= len(block)
                or not isinstance(last, ast.Return)
            ):
                continue
            if not isinstance(last.value, ast.Constant) or last.value.value is not True:
                continue
            for handler in statement.handlers:
                kind = ast.unparse(handler.type) if handler.type is not None else "Exception"
                if kind in ("Exception", "BaseException") and not _leaves(handler.body):
                    yield handler, Confidence.CERTAIN


def _sends(sketch: Sketch) -> Marks:
    """`sock.send(data)` as a statement: how much was sent is not looked at."""
    if "socket" not in sketch.text:
        return
    made = r"\b(\w+)\s*(?::[^=\n]+)?=\s*(?:ssl\.\w+|socket\.(?:socket|create_connection))\("
    for function in sketch.functions:
        if ".send(" not in function.body or search(r"SOCK_(DGRAM|SEQPACKET)", function.body):
            continue
        names = set(re.findall(made, function.body))
        names |= set(re.findall(r"socket\.(?:socket|create_connection)\([^\n]*\) as (\w+)", function.body))
        names |= set(re.findall(r"(\w+)\s*:\s*socket\.socket", function.text))
        for node in function.own_each(ast.Expr):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                owner, _, name = dotted(node.value.func).rpartition(".")
                if name == "send" and owner in names:
                    yield node, Confidence.CERTAIN


def _unread_answers(sketch: Sketch) -> Marks:
    """A function that turns its errors into False is called, and nobody looks at the answer."""
    for function in sketch.functions:
        for node in function.own_each(ast.Expr):
            if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call | ast.Await):
                continue
            call = node.value.value if isinstance(node.value, ast.Await) else node.value
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            if _TIDIES.search(call.func.id):
                continue
            found = sketch.program.functions.only(call.func.id)
            if found is not None and found is not function.node and _answers_errors(found):
                yield node, Confidence.POSSIBLE


def _answers_errors(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    returned = ast.unparse(node.returns) if node.returns is not None else ""
    if returned != "bool":
        return False
    return any(
        isinstance(item, ast.ExceptHandler)
        and isinstance(item.body[-1], ast.Return)
        and isinstance(item.body[-1].value, ast.Constant)
        and item.body[-1].value.value is False
        for item in own_nodes(node)
    )


def _stuck(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if "while" not in function.body:
            continue
        for node in function.own_each(ast.While):
            if isinstance(node, ast.While) and (_ends_never(node) or _may_stand_still(node)):
                yield node, Confidence.POSSIBLE


def _ends_never(loop: ast.While) -> bool:
    """Reads until enough has come, and does not notice that nothing comes any more."""
    if not isinstance(loop.test, ast.Compare) or not re.search(r"len\(|<", ast.unparse(loop.test)):
        return False
    read = [
        item
        for item in loop.body
        if isinstance(item, ast.Assign | ast.AugAssign)
        and re.search(r"\.(recv|recv_into)\(", ast.unparse(item))
    ]
    return bool(read) and not any(
        isinstance(item, ast.If | ast.Raise | ast.Break | ast.Return | ast.Try) for item in loop.body
    )


def _may_stand_still(loop: ast.While) -> bool:
    """Goes on by a length that the data itself names, and that may be zero."""
    if not isinstance(loop.test, ast.Compare):
        return False
    tested = {node.id for node in ast.walk(loop.test) if isinstance(node, ast.Name)}
    text = ast.unparse(loop)
    for item in loop.body:
        if not (isinstance(item, ast.AugAssign) and isinstance(item.op, ast.Add)):
            continue
        step = item.value.id if isinstance(item.value, ast.Name) else ""
        target = item.target.id if isinstance(item.target, ast.Name) else ""
        if target not in tested or not step:
            continue
        named = re.search(
            rf"\b{step}\b[^=\n]*\)? = (struct\.unpack|int\.from_bytes|\w+\[)",
            text,
        )
        unpacked = re.search(rf"(?m)^\s*\(?[\w, ]*\b{step}\b[\w, ]*\)? = struct\.unpack", text)
        small = re.search(rf"\b{step}\b (<|<=|==) |not {step}\b|> {step}\b|\bmax\([^)]*\b{step}\b", text)
        if (named or unpacked) and not small:
            return True
    return False


def _one_bad_message(sketch: Sketch) -> Marks:
    """A server loop parses what strangers send, and the first message it cannot parse ends it."""
    if "socket" not in sketch.text:
        return
    for function in sketch.functions:
        if not search(r"\.(recvfrom|recv|accept)\(", function.body):
            continue
        for loop in function.own_each(ast.While):
            if not isinstance(loop, ast.While) or ast.unparse(loop.test) not in ("True", "1"):
                continue
            if any(isinstance(node, ast.Try) for node in ast.walk(loop)) or _tried(function, loop):
                continue
            reads = [item for item in loop.body if re.search(r"\.(recvfrom|recv)\(", ast.unparse(item))]
            for item in loop.body if reads else ():
                calls = [node for node in ast.walk(item) if isinstance(node, ast.Call)]
                if item not in reads and any(_may_fail(sketch, call) for call in calls):
                    yield item, Confidence.POSSIBLE
                    break


def _tried(function: FunctionSketch, loop: ast.While) -> bool:
    return any(
        isinstance(node, ast.Try) and loop in set(ast.walk(node)) for node in function.own_each(ast.Try)
    )


_PARSES = re.compile(r"(^|\.)(json\.loads|struct\.unpack(_from)?|\w*\.decode|int|float|fromstring|unpackb)$")


def _may_fail(sketch: Sketch, call: ast.Call) -> bool:
    """Parsing, or a function of the program that parses or raises."""
    name = dotted(call.func)
    if _PARSES.search(name):
        return True
    found = sketch.program.functions.only(name.rpartition(".")[2])
    return (
        found is not None
        and any(
            (isinstance(node, ast.Call) and _PARSES.search(dotted(node.func))) for node in own_nodes(found)
        )
        and not any(isinstance(node, ast.Try) for node in own_nodes(found))
    )


ONE_BAD_MESSAGE = Rule(
    id="one-bad-message",
    cwe=755,
    title="one bad message ends the server",
    severity=Severity.MEDIUM,
    what="what a stranger sends is parsed in the server loop, and an error leaves the loop",
    why="CWE-755: anybody stops the service with one packet (CWE-248)",
    advice="catch the errors of parsing inside the loop, and go on",
    silent="loops with a handler",
    shape=_one_bad_message,
    bad="import json, socket\ndef listen(sink):\n"
    "    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
    "        while True:\n            data, _ = s.recvfrom(2048)\n            sink(json.loads(data))\n",
    good="import json, socket\ndef listen(sink):\n"
    "    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
    "        while True:\n            data, _ = s.recvfrom(2048)\n            try:\n"
    "                sink(json.loads(data))\n            except ValueError:\n                continue\n",
)

FALLS_THROUGH = Rule(
    id="failed-check-goes-on",
    cwe=287,
    title="failed verification goes on",
    severity=Severity.HIGH,
    what="the handler of a failed verification goes on as if it had passed",
    why="CWE-287: a wrong password or signature gets the answer of a right one (CWE-390, CWE-755)",
    advice="return an error or raise in the handler",
    silent="handlers that return, raise, abort or note the failure in a variable",
    shape=_falls_through,
    bad="def login(hasher, stored, given, log):\n    try:\n        hasher.verify(stored, given)\n"
    "    except VerifyMismatchError:\n        log.append(given)\n    return 'welcome'\n"
    "class VerifyMismatchError(Exception): ...\n",
    good="def login(hasher, stored, given):\n    try:\n        hasher.verify(stored, given)\n"
    "    except VerifyMismatchError:\n        return None\n    return 'welcome'\n"
    "class VerifyMismatchError(Exception): ...\n",
)

ERROR_IS_HARMLESS = Rule(
    id="error-counts-as-harmless",
    cwe=755,
    title="an error counts as the harmless answer",
    severity=Severity.HIGH,
    what="when this check cannot be made, its answer is the one that lets pass",
    why="CWE-755: whoever provokes the error is let in (CWE-636, not failing securely)",
    advice="raise, or answer as for the dangerous case",
    silent="handlers for 'not found', functions that check nothing",
    shape=_opens,
    bad="def is_revoked(token, store):\n    try:\n        return store.ask(token)\n"
    "    except Exception:\n        return False\n",
    good="def is_revoked(token, store):\n    try:\n        return store.ask(token)\n"
    "    except Exception:\n        return True\n",
)

SHORT_SEND = Rule(
    id="short-send",
    cwe=252,
    title="partly sent data",
    severity=Severity.LOW,
    what="send() may send a part only, and nobody looks how much",
    why="CWE-252: the receiver gets half a message and reads the next one into it",
    advice="sendall()",
    silent="sendall, datagrams, loops over what send() answers",
    shape=_sends,
    bad="import socket\ndef tell(data):\n    with socket.create_connection(('h', 1), timeout=5) as s:\n"
    "        s.send(data)\n",
    good="import socket\ndef tell(data):\n    with socket.create_connection(('h', 1), timeout=5) as s:\n"
    "        s.sendall(data)\n",
)

UNREAD = Rule(
    id="unread-answer",
    cwe=252,
    title="failure answered with False, and nobody reads it",
    severity=Severity.MEDIUM,
    what="this function answers False when it failed, and the answer is thrown away",
    why="CWE-252: the program goes on as if the step had been taken (CWE-754)",
    advice="look at the answer, or let the function raise",
    silent="functions that raise, answers that are used",
    shape=_unread_answers,
    bad="import os\ndef drop(uid) -> bool:\n    try:\n        os.setgid(uid)\n    except OSError:\n"
    "        return False\n    return True\ndef main():\n    drop(1000)\n    serve()\ndef serve(): ...\n",
    good="import os\ndef drop(uid) -> bool:\n    try:\n        os.setgid(uid)\n    except OSError:\n"
    "        return False\n    return True\ndef main():\n    if drop(1000):\n        serve()\n"
    "def serve(): ...\n",
)

STUCK = Rule(
    id="loop-without-progress",
    cwe=835,
    title="loop that may stand still",
    severity=Severity.MEDIUM,
    what="this loop goes on although nothing comes any more, or by a length that may be zero",
    why="CWE-835: one closed connection or one crafted record keeps a core busy for ever",
    advice="leave when a read gives nothing; refuse lengths that are too small",
    silent="loops that look at what they read",
    shape=_stuck,
    bad="def read(sock, size):\n    data = b''\n    while len(data) < size:\n"
    "        data += sock.recv(size - len(data))\n    return data\n",
    good="def read(sock, size):\n    data = b''\n    while len(data) < size:\n"
    "        part = sock.recv(size - len(data))\n        if not part:\n            raise EOFError\n"
    "        data += part\n    return data\n",
)

RULES = (ONE_BAD_MESSAGE, FALLS_THROUGH, ERROR_IS_HARMLESS, SHORT_SEND, UNREAD, STUCK)
