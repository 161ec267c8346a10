"""Rules for what is taken and not given back on every way out, or grows while nobody looks at its size."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch
from veilig.audit.rules.slices import backwards, tests_in, words_in

type Marks = Iterator[tuple[ast.AST, Confidence]]

_LOCK = re.compile(r"(?i)lock|mutex|sem(aphore)?$|_?busy|guard|gate|cond")
_INCOMING = re.compile(
    r"(?i)(request|req|self\.request)\.(content|stream|rfile|body|iter_\w+)|\.iter_(chunked|any|bytes|"
    r"content|lines)\(|"
    r"\.stream\(|\.aiter_\w+\(|\.chunks\(|\.recv\(|receive\w*\(|rfile\.read|read_chunk|stream\.read"
)
_STATUS = re.compile(
    r"^(os\.(stat|lstat|access)|os\.path\.(getsize|isfile|islink|exists|getmtime|realpath))$"
)
_PATH_STATUS = re.compile(r"\.(stat|lstat|is_file|is_symlink|exists)$")
# Somebody else can reach the place: a program with more rights, or a folder of others.
_OTHERS = re.compile(r"(?i)\bruns? as root\b|set(res)?uid\(|/tmp/|/var/spool|/var/www|/incoming\b")
_OPENS = re.compile(
    r"^(open|io\.open|gzip\.open|shutil\.(copy\w*|move)|os\.(open|chown|chmod|rename|remove|unlink))$"
)


def _blocks(function: FunctionSketch) -> Iterator[list[ast.stmt]]:
    yield function.node.body
    for node in function.own:
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield block


def _called(statement: ast.stmt, method: str) -> str:
    """What `x.method(...)` is called on, when the statement is that call."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    value = value.value if isinstance(value, ast.Await) else value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == method:
        return ast.unparse(value.func.value)
    return ""


def _may_leave(statement: ast.stmt) -> bool:
    return any(
        isinstance(node, ast.Call | ast.Raise | ast.Return | ast.Subscript) for node in ast.walk(statement)
    )


def _lock_kept(sketch: Sketch) -> Marks:
    """acquire(), work that may fail, release(): one error keeps the lock for ever."""
    for function in sketch.functions:
        if ".acquire(" not in function.body or ".release(" not in function.body:
            continue
        for block in _blocks(function):
            for index, statement in enumerate(block):
                held = _called(statement, "acquire")
                if not held or not _LOCK.search(held):
                    continue
                for later, other in enumerate(block[index + 1 :], index + 1):
                    if _called(other, "release") == held:
                        if any(map(_may_leave, block[index + 1 : later])):
                            yield statement, Confidence.POSSIBLE
                        break


def _folder_kept(sketch: Sketch) -> Marks:
    """A temporary file or folder is removed at the end only: an error in between leaves it."""
    if not search(r"mkdtemp|mkstemp|delete=False", sketch.text):
        return
    for function in sketch.functions:
        for block in _blocks(function):
            for index, statement in enumerate(block):
                name = _made(statement)
                if not name:
                    continue
                for later, other in enumerate(block[index + 1 :], index + 1):
                    if isinstance(other, ast.Try) and other.finalbody:
                        break
                    if isinstance(other, ast.Expr) and _removes(other, name):
                        between = block[index + 1 : later]
                        if any(_shows_a_way_out(s) for s in between):
                            yield statement, Confidence.POSSIBLE
                        break


def _shows_a_way_out(statement: ast.stmt) -> bool:
    """The code itself raises, returns, or starts something that raises when it fails."""
    return any(
        isinstance(node, ast.Raise | ast.Return)
        or (isinstance(node, ast.keyword) and node.arg == "check" and ast.unparse(node.value) == "True")
        or (
            isinstance(node, ast.Call)
            and re.search(r"check_(call|output)$|raise_for_status$", dotted(node.func))
        )
        for node in ast.walk(statement)
    )


def _made(statement: ast.stmt) -> str:
    """The name of a temporary file or folder that this statement makes."""
    if not isinstance(statement, ast.Assign):
        return ""
    text = ast.unparse(statement.value)
    if not re.search(r"\b(mkdtemp|mkstemp)\(|NamedTemporaryFile\([^)]*delete=False", text):
        return ""
    names = [node.id for node in ast.walk(statement.targets[0]) if isinstance(node, ast.Name)]
    return names[-1] if names else ""


def _removes(statement: ast.Expr, name: str) -> bool:
    text = ast.unparse(statement)
    return (
        re.search(r"(rmtree|unlink|remove|rmdir|cleanup)\(", text) is not None
        and re.search(rf"\b{name}\b", text) is not None
    )


def _grows(sketch: Sketch) -> Marks:
    """A body is collected piece by piece, and its size is asked about afterwards or never."""
    for function in sketch.functions:
        for loop in function.own_each(ast.For, ast.AsyncFor, ast.While):
            if not isinstance(loop, ast.For | ast.AsyncFor | ast.While):
                continue
            source = ast.unparse(loop.iter if not isinstance(loop, ast.While) else loop)
            collected = _collected(loop)
            if not collected or any(isinstance(n, ast.If) and _bounds(n) for n in ast.walk(loop)):
                continue
            after = any(
                re.search(
                    rf"len\({re.escape(collected)}\) *>|> *len\({re.escape(collected)}\)", ast.unparse(test)
                )
                for test in tests_in(function)
                if getattr(test, "lineno", 0) > (loop.end_lineno or 0)
            )
            if _INCOMING.search(source) and (after or (not isinstance(loop, ast.While) and sketch.web)):
                yield loop, Confidence.POSSIBLE


def _collected(loop: ast.For | ast.AsyncFor | ast.While) -> str:
    for statement in loop.body:
        if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add):
            text = ast.unparse(statement.value)
            return ast.unparse(statement.target) if not re.search(r"\blen\(|^\d+$", text) else ""
        for method in ("extend", "append", "write"):
            owner = _called(statement, method)
            if owner and re.search(r"(?i)buf|data|body|chunks?|parts?|raw|out|payload|content|pieces", owner):
                return owner
    return ""


def _bounds(node: ast.If) -> bool:
    leaves = any(isinstance(n, ast.Raise | ast.Return | ast.Break) for s in node.body for n in ast.walk(s))
    return leaves and re.search(r"[<>]", ast.unparse(node.test)) is not None


def _never_full(sketch: Sketch) -> Marks:
    """`except QueueFull` around a queue that has no size: it is never full."""
    if not search(r"except (\(?[\w., ]*)?(QueueFull|queue\.Full|\bFull)\b", sketch.text):
        return
    for node in sketch.each(ast.Assign, ast.AnnAssign):
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Call) and re.search(
            r"(^|\.)(Queue|LifoQueue|PriorityQueue)$", dotted(value.func)
        ):
            size = (
                value.args[0]
                if value.args
                else next((k.value for k in value.keywords if k.arg == "maxsize"), None)
            )
            if size is None or (isinstance(size, ast.Constant) and size.value == 0):
                yield node, Confidence.CERTAIN


def _asked_by_name(sketch: Sketch) -> Marks:
    """The kind or owner of a file is asked by name, and the file is opened by name afterwards."""
    if not search(r"stat\(|S_ISREG|st_uid|islink|is_symlink", sketch.text):
        return
    for function in sketch.functions:
        if search(r"O_NOFOLLOW|fstat\(|follow_symlinks=False", function.body):
            continue
        asked: dict[str, int] = {}
        for call in function.calls():
            name = dotted(call.func)
            if _STATUS.match(name) and call.args:
                asked[ast.unparse(call.args[0])] = call.lineno
            elif _PATH_STATUS.search(name) and not call.args:
                asked[name.rpartition(".")[0]] = call.lineno
        refuses = {word for test in tests_in(function) for word in words_in(backwards(function, test))}
        if not asked or not refuses & {
            "S_ISREG",
            "S_ISLNK",
            "st_uid",
            "st_mode",
            "st_gid",
            "islink",
            "is_symlink",
        }:
            continue
        for call in function.calls():
            name = dotted(call.func)
            first = ast.unparse(call.args[0]) if call.args else ""
            if name.endswith((".open", ".read_bytes", ".read_text", ".unlink")) and not _OPENS.match(name):
                first = name.rpartition(".")[0]
            elif not _OPENS.match(name):
                continue
            if first in asked and call.lineno > asked[first]:
                reached = search(_OTHERS, sketch.text) is not None
                yield call, Confidence.POSSIBLE if reached else Confidence.PATTERN
                break


def _looks_outside(sketch: Sketch) -> Marks:
    """A condition is asked before the lock is taken that protects what it asks about."""
    for function in sketch.functions:
        if "lock" not in function.body.lower() and "mutex" not in function.body.lower():
            continue
        for block in _blocks(function):
            for index, statement in enumerate(block):
                if not isinstance(statement, ast.With | ast.AsyncWith) or not re.search(
                    r"(?i)lock|mutex", ast.unparse(statement.items[0].context_expr)
                ):
                    continue
                inside = [node for s in statement.body for node in ast.walk(s)]
                changed = {
                    ast.unparse(n.target)
                    for n in inside
                    if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Attribute | ast.Subscript)
                }
                again = any(isinstance(n, ast.If | ast.While) for n in inside)
                for before in block[:index]:
                    if isinstance(before, ast.If) and not again and changed & _compared(before.test):
                        leaves = any(
                            isinstance(n, ast.Raise | ast.Return) for s in before.body for n in ast.walk(s)
                        )
                        if leaves:
                            yield before, Confidence.POSSIBLE


def _compared(test: ast.expr) -> set[str]:
    return {
        ast.unparse(side)
        for node in ast.walk(test)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Attribute | ast.Subscript)
    }


LOCK = Rule(
    id="lock-kept-after-error",
    cwe=667,
    title="lock kept after an error",
    severity=Severity.MEDIUM,
    what="what stands between acquire and release may fail, and the lock stays taken",
    why="CWE-667: everybody else waits for ever (CWE-833)",
    advice="with lock:",
    silent="with blocks, release in finally",
    shape=_lock_kept,
    bad="class P:\n    def send(self, x):\n        self.lock.acquire()\n        self.port.write(x)\n"
    "        self.lock.release()\n",
    good="class P:\n    def send(self, x):\n        with self.lock:\n            self.port.write(x)\n",
)

FOLDER = Rule(
    id="temporary-left-after-error",
    cwe=459,
    title="temporary file left after an error",
    severity=Severity.LOW,
    what="a temporary file or folder is removed at the end only; an error in between leaves it",
    why="CWE-459: a disk fills up, and what is in it stays for others (CWE-772)",
    advice="try/finally, or tempfile.TemporaryDirectory()",
    silent="removal in finally, context managers",
    shape=_folder_kept,
    bad="import shutil, tempfile\ndef f(job):\n    d = tempfile.mkdtemp()\n"
    "    if not job(d):\n        raise OSError\n"
    "    shutil.rmtree(d)\n",
    good="import shutil, tempfile\ndef f(job):\n    d = tempfile.mkdtemp()\n    try:\n        job(d)\n"
    "    finally:\n        shutil.rmtree(d)\n",
)

GROWS = Rule(
    id="size-asked-too-late",
    cwe=770,
    title="size asked about too late",
    severity=Severity.MEDIUM,
    what="a body is collected in memory piece by piece, and no piece is refused",
    why="CWE-770: one request takes all the memory (CWE-400)",
    advice="count inside the loop and stop at the limit",
    silent="loops that leave at a limit",
    shape=_grows,
    bad="async def put(request, n):\n    buf = b''\n    async for part in request.content.iter_any():\n"
    "        buf += part\n    if len(buf) > n:\n        raise ValueError\n    return buf\n",
    good="async def put(request, n):\n    buf = b''\n    async for part in request.content.iter_any():\n"
    "        buf += part\n        if len(buf) > n:\n            raise ValueError\n    return buf\n",
)

NEVER_FULL = Rule(
    id="queue-never-full",
    cwe=770,
    title="queue that is never full",
    severity=Severity.MEDIUM,
    what="the code expects a full queue, and this one has no size",
    why="CWE-770: a slow reader fills the memory",
    advice="give it a maxsize",
    silent="queues with a size",
    shape=_never_full,
    bad="import queue\nq = queue.Queue()\ndef offer(x):\n    try:\n        q.put_nowait(x)\n"
    "    except queue.Full:\n        return False\n",
    good="import queue\nq = queue.Queue(64)\ndef offer(x):\n    try:\n        q.put_nowait(x)\n"
    "    except queue.Full:\n        return False\n",
)

BY_NAME = Rule(
    id="status-by-name",
    cwe=367,
    title="status asked by name, opened by name",
    severity=Severity.LOW,
    what="the kind or owner of a file is asked by name, and the file is opened by name afterwards",
    why="CWE-367: a link put there in between leads elsewhere (CWE-59)",
    advice="open with O_NOFOLLOW and ask os.fstat",
    silent="fstat of the open file",
    shape=_asked_by_name,
    bad="import os, stat\nBOX = '/var/spool/in'\ndef read(p):\n"
    "    if not stat.S_ISREG(os.lstat(p).st_mode):\n"
    "        raise OSError\n    return open(p).read()\n",
    good="import os, stat\ndef read(p):\n    fd = os.open(p, os.O_RDONLY | os.O_NOFOLLOW)\n"
    "    if not stat.S_ISREG(os.fstat(fd).st_mode):\n        raise OSError\n    return os.read(fd, 99)\n",
)

OUTSIDE = Rule(
    id="asked-outside-the-lock",
    cwe=362,
    title="asked outside the lock",
    severity=Severity.MEDIUM,
    what="a number is compared before the lock is taken under which it is changed",
    why="CWE-362: two callers pass the test and both change it",
    advice="ask inside the with block",
    silent="conditions asked again inside",
    shape=_looks_outside,
    bad="def take(self, n):\n    if self.left < n:\n        raise ValueError\n    with self.lock:\n"
    "        self.left -= n\n",
    good="def take(self, n):\n    with self.lock:\n        if self.left < n:\n            raise ValueError\n"
    "        self.left -= n\n",
)

RULES = (LOCK, FOLDER, GROWS, NEVER_FULL, BY_NAME, OUTSIDE)
