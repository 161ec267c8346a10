"""Rules for what is taken and not given back: temporary files, connections, memory, locks, tags."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]

_REMOVES = re.compile(
    r"unlink|os\.remove|rmtree|cleanup|os\.replace|os\.rename|\.rename\(|\.replace\(|shutil\.move|closing|"
    r"addfinalizer|atexit|callback\(|delete_on_close|\.delete\(|BackgroundTask|send_file|FileResponse"
)
_GIVES_BACK = re.compile(
    r"(?i)\.(close|release|give|put|putconn|return_\w+|disconnect|unlock|free|rollback|"
    r"stop|terminate|shutdown|detach|pop|cleanup|unlink)\("
)


def _temporary(sketch: Sketch) -> Marks:
    """A temporary file that nobody removes, made and used up inside one function."""
    for function in sketch.functions:
        if (
            "tempfile." not in function.body
            and "mkstemp" not in function.body
            and "mkdtemp" not in function.body
        ):
            continue
        if search(_REMOVES, function.body):
            continue
        for node in function.own_each(ast.Assign):
            if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
                continue
            made = dotted(node.value.func).rpartition(".")[2]
            kept = made == "NamedTemporaryFile" and any(
                k.arg == "delete" and ast.unparse(k.value) == "False" for k in node.value.keywords
            )
            if made not in ("mkstemp", "mkdtemp") and not kept:
                continue
            target = node.targets[0]
            names = [part.id for part in ast.walk(target) if isinstance(part, ast.Name)]
            if names and not _handed_on(function, names[-1], kept=kept):
                yield node, Confidence.POSSIBLE


def _handed_on(function: FunctionSketch, name: str, *, kept: bool) -> bool:
    """Returned, yielded or stored: somebody else may remove it."""
    shown = rf"{name}\.name" if kept else name
    if search(
        rf"\b(self|cls|g|app|state)\.\w+ = [^\n]*\b{name}\b|\[[^\]]+\] = [^\n]*\b{shown}\b|global ",
        function.body,
    ):
        return True
    derived = {name} | set(re.findall(rf"\b(\w+) = [^\n]*\b{shown}\b", function.body))
    for node in function.own_each(ast.Return, ast.Yield, ast.Call):
        if isinstance(node, ast.Return | ast.Yield) and node.value is not None:
            for part in _parts(node.value):
                if isinstance(part, ast.Name) and part.id in derived:
                    return True
        if (
            isinstance(node, ast.Call)
            and dotted(node.func).rpartition(".")[2]
            in (
                "append",
                "put",
                "add",
                "submit",
            )
            and any(
                isinstance(part, ast.Name) and part.id in derived for a in node.args for part in ast.walk(a)
            )
        ):
            return True
    return False


def _parts(value: ast.expr) -> Iterator[ast.AST]:
    """Parts of an answer, without what calls on it give: `return f.read()` does not hand f on."""
    stack: list[ast.AST] = [value]
    while stack:
        item = stack.pop()
        yield item
        if isinstance(item, ast.Call):
            if dotted(item.func).rpartition(".")[2] in ("Path", "str", "fspath", "join"):
                stack.extend(item.args)
        elif isinstance(item, ast.Attribute):
            if item.attr == "name":
                stack.append(item.value)
        elif not isinstance(item, ast.Subscript):
            stack.extend(ast.iter_child_nodes(item))


def _interrupted(sketch: Sketch) -> Marks:
    """A context manager that gives back what it took only when nothing goes wrong inside."""
    if "contextmanager" not in sketch.text:
        return
    for function in sketch.functions:
        if not any(name.endswith("contextmanager") for name in function.decorators):
            continue
        body = function.node.body
        for index, statement in enumerate(body):
            value = statement.value if isinstance(statement, ast.Expr | ast.Assign) else None
            if not isinstance(value, ast.Yield):
                continue
            rest = "\n".join(ast.unparse(item) for item in body[index + 1 :])
            if _GIVES_BACK.search(rest):
                yield statement, Confidence.POSSIBLE


def _grows(sketch: Sketch) -> Marks:
    """Everything that comes in is appended to a list of the module; nothing ever takes anything out."""
    if sketch.web:
        yield from _lists(sketch)
    if search(r"StreamReader|start_server|websocket|WebSocket", sketch.text) and "put_nowait(" in sketch.text:
        for node in sketch.each(ast.Call):
            if not isinstance(node, ast.Call) or node.args or node.keywords:
                continue
            if dotted(node.func) in ("asyncio.Queue", "Queue", "queue.Queue"):
                yield node, Confidence.POSSIBLE


def _lists(sketch: Sketch) -> Marks:
    made = r"(?m)^(\w+)(?:: [^=\n]+)? = (?:\[\]|list\(\)|deque\(\)|collections\.deque\(\))\s*$"
    for name in re.findall(made, sketch.text):
        text = sketch.program_text
        if re.search(
            rf"\b{name}\.(pop|popleft|clear|remove)\(|del {name}\b|len\({name}\) *[<>=]|\b{name}\[:?-?", text
        ):
            continue
        for function in sketch.functions:
            handles = sketch.is_view(function) or function.name in (
                "on_message",
                "handle",
                "receive",
                "data_received",
            )
            if handles and search(rf"\b{name}\.(append|extend|insert)\(", function.body):
                yield function.node, Confidence.POSSIBLE
                break


def _crossing(sketch: Sketch) -> Marks:
    """Two locks of equal kind, one inside the other, in the order the caller happens to name them."""
    for function in sketch.functions:
        if "with " not in function.body or search(
            r"sorted\(|min\(|\bid\(|\.(id|number|pk|name) [<>]", function.body
        ):
            continue
        for node in function.own_each(ast.With, ast.AsyncWith):
            if not isinstance(node, ast.With | ast.AsyncWith):
                continue
            locks = [ast.unparse(entry.context_expr) for entry in node.items]
            if len(node.body) == 1 and isinstance(node.body[0], ast.With | ast.AsyncWith):
                locks += [ast.unparse(entry.context_expr) for entry in node.body[0].items]
            found = [re.fullmatch(r"(\w+)\.(_?\w*(?:lock|mutex)\w*)", lock) for lock in locks]
            pairs = [(m.group(1), m.group(2)) for m in found if m is not None]
            if len(pairs) < 2 or pairs[0][1] != pairs[1][1] or pairs[0][0] == pairs[1][0]:
                continue
            if "self" not in (pairs[0][0], pairs[1][0]) or len(function.parameters) > 1:
                yield node, Confidence.POSSIBLE


def _half_locked(sketch: Sketch) -> Marks:
    """A method that takes the lock for one field and changes another one beside it."""
    for function in sketch.functions:
        if function.owner is None or function.name == "__init__" or "lock" not in function.body.lower():
            continue
        inside: set[ast.AST] = set()
        for node in function.own_each(ast.With, ast.AsyncWith):
            if isinstance(node, ast.With | ast.AsyncWith) and any(
                re.fullmatch(r"self\._?\w*(lock|mutex)\w*", ast.unparse(entry.context_expr))
                for entry in node.items
            ):
                inside.update(ast.walk(node))
        if not inside or not sketch.program.has(r"Thread|threading|concurrent"):
            continue
        for node in function.own_each(ast.AugAssign):
            if (
                isinstance(node, ast.AugAssign)
                and node not in inside
                and ast.unparse(node.target).startswith("self.")
            ):
                yield node, Confidence.POSSIBLE
                break


def _unlocked_row(sketch: Sketch) -> Marks:
    """Django: a row is read, counted up or down in Python, and saved, while others do the same."""
    for function in sketch.functions:
        body = function.body
        if ".objects.get(" not in body or ".save(" not in body or re.search(r"select_for_update|\bF\(", body):
            continue
        rows = set(re.findall(r"\b(\w+) = [\w.]+\.objects\.get\(", body))
        for node in function.own_each(ast.AugAssign):
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute):
                owner = node.target.value
                if isinstance(owner, ast.Name) and owner.id in rows and f"{owner.id}.save(" in body:
                    yield node, Confidence.POSSIBLE
                    break


_TAG = re.compile(r"(?i)^(mac|tag|sig|signature|digest|hmac|checksum|seal)$")


def _read(function: FunctionSketch, name: str) -> bool:
    """Whether the name is used for anything but its length and whether it is there."""
    asked: set[ast.AST] = set()
    for node in function.own_each(ast.Call, ast.UnaryOp):
        if isinstance(node, ast.Call) and dotted(node.func) == "len":
            asked.update(node.args)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            asked.add(node.operand)
    return any(
        isinstance(node, ast.Name)
        and node.id == name
        and isinstance(node.ctx, ast.Load)
        and node not in asked
        for node in function.own_each(ast.Name)
    )


def _unused_tag(sketch: Sketch) -> Marks:
    """A signature is cut off a message, and nothing compares it."""
    for function in sketch.functions:
        for node in function.own_each(ast.Assign):
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Tuple):
                continue
            cut = re.search(r"\[|split|partition|unpack", ast.unparse(node.value)) is not None
            for target in node.targets[0].elts:
                named = isinstance(target, ast.Name) and _TAG.match(target.id) is not None
                if cut and isinstance(target, ast.Name) and named and not _read(function, target.id):
                    yield node, Confidence.CERTAIN


def _streams(sketch: Sketch) -> Marks:
    """A compressed stream is read to its end, however long that is."""
    made = r"(?:gzip|bz2|lzma)\.(?:GzipFile|open|BZ2File|LZMAFile)\("
    for function in sketch.functions:
        if not search(made, function.body) or not sketch.web:
            continue
        names = set(re.findall(rf"{made}[^\n]* as (\w+)", function.body))
        names |= set(re.findall(rf"(\w+) = {made}", function.body))
        for call in function.calls():
            owner, _, name = dotted(call.func).rpartition(".")
            if name == "read" and not call.args and owner in names:
                yield call, Confidence.POSSIBLE


TEMPORARY = Rule(
    id="temporary-file-left",
    cwe=459,
    title="temporary file left behind",
    severity=Severity.LOW,
    what="a temporary file or directory is made here and never removed",
    why="CWE-459: the disk fills up, and what was in it stays readable (CWE-404)",
    advice="use TemporaryDirectory or NamedTemporaryFile in a with statement, or remove it in finally",
    silent="files that are removed, renamed, returned or stored",
    shape=_temporary,
    bad="import os, tempfile\ndef shrink(data, tool):\n    fd, name = tempfile.mkstemp()\n    os.close(fd)\n"
    "    tool(data, name)\n    with open(name, 'rb') as f:\n        return f.read()\n",
    good="import os, tempfile\ndef shrink(data, tool):\n    fd, name = tempfile.mkstemp()\n    os.close(fd)\n"
    "    try:\n        tool(data, name)\n        with open(name, 'rb') as f:\n            return f.read()\n"
    "    finally:\n        os.unlink(name)\n",
)

INTERRUPTED = Rule(
    id="context-without-finally",
    cwe=772,
    title="context manager that forgets on errors",
    severity=Severity.LOW,
    what="what was taken is given back only when nothing goes wrong inside the with block",
    why="CWE-772: each error costs one connection until none is left (CWE-404)",
    advice="try: yield ... finally: give it back",
    silent="yield inside try/finally or with",
    shape=_interrupted,
    bad="from contextlib import contextmanager\n@contextmanager\ndef borrowed(pool):\n"
    "    conn = pool.take()\n    yield conn\n    pool.give(conn)\n",
    good="from contextlib import contextmanager\n@contextmanager\ndef borrowed(pool):\n"
    "    conn = pool.take()\n    try:\n        yield conn\n    finally:\n        pool.give(conn)\n",
)

GROWS = Rule(
    id="unbounded-store",
    cwe=770,
    title="memory that only grows",
    severity=Severity.MEDIUM,
    what="what clients send is kept in memory without a bound",
    why="CWE-770: anybody who keeps sending ends the process (CWE-400)",
    advice="deque(maxlen=...), Queue(maxsize=...), or drop the oldest",
    silent="stores with a maximum, stores something is taken out of",
    shape=_grows,
    bad="import tornado.websocket\nHISTORY = []\nclass Room(tornado.websocket.WebSocketHandler):\n"
    "    def on_message(self, message):\n        HISTORY.append(message)\n",
    good="from collections import deque\nimport tornado.websocket\nHISTORY = deque(maxlen=500)\n"
    "class Room(tornado.websocket.WebSocketHandler):\n    def on_message(self, message):\n"
    "        HISTORY.append(message)\n",
)

CROSSING = Rule(
    id="locks-in-any-order",
    cwe=833,
    title="two locks in the order of the caller",
    severity=Severity.LOW,
    what="two locks are taken in the order in which the caller names the objects",
    why="CWE-833: A to B and B to A at once wait for each other for ever (CWE-667)",
    advice="always take them in one order, for example by id",
    silent="objects sorted first",
    shape=_crossing,
    bad="def move(a, b, n):\n    with a.lock:\n        with b.lock:\n            a.n -= n\n"
    "            b.n += n\n",
    good="def move(a, b, n):\n    one, two = sorted((a, b), key=id)\n    with one.lock:\n"
    "        with two.lock:\n            a.n -= n\n            b.n += n\n",
)

HALF_LOCKED = Rule(
    id="half-locked",
    cwe=362,
    title="field changed beside the lock",
    severity=Severity.LOW,
    what="this method takes the lock, and changes a field of the object outside it",
    why="CWE-362: two threads read the same number and write the same number back (CWE-667)",
    advice="move the change into the with block",
    silent="methods that change everything inside",
    shape=_half_locked,
    bad="import threading\nclass Seats:\n    def __init__(self):\n        self.left = 9\n"
    "        self.names = []\n"
    "        self._lock = threading.Lock()\n    def book(self, who):\n        with self._lock:\n"
    "            self.names.append(who)\n        self.left -= 1\n",
    good="import threading\nclass Seats:\n    def __init__(self):\n        self.left = 9\n"
    "        self.names = []\n"
    "        self._lock = threading.Lock()\n    def book(self, who):\n        with self._lock:\n"
    "            self.names.append(who)\n            self.left -= 1\n",
)

UNLOCKED_ROW = Rule(
    id="row-not-locked",
    cwe=362,
    title="row counted in Python",
    severity=Severity.MEDIUM,
    what="a row is read, changed in Python and saved; two requests at once lose one change",
    why="CWE-362: a voucher is spent twice, a balance forgets a payment (CWE-367)",
    advice="select_for_update() inside a transaction, or update(n=F('n') + 1)",
    silent="select_for_update, F expressions",
    shape=_unlocked_row,
    bad="from .models import Wallet\ndef pay(user, n):\n    wallet = Wallet.objects.get(user=user)\n"
    "    wallet.cents -= n\n    wallet.save()\n",
    good="from .models import Wallet\ndef pay(user, n):\n"
    "    wallet = Wallet.objects.select_for_update().get(user=user)\n    wallet.cents -= n\n"
    "    wallet.save()\n",
)

UNUSED_TAG = Rule(
    id="tag-never-compared",
    cwe=345,
    title="signature that nobody compares",
    severity=Severity.HIGH,
    what="a signature is cut off the message and never compared",
    why="CWE-345: anybody can send messages in the name of others (CWE-353, CWE-347)",
    advice="hmac.compare_digest(tag, hmac.digest(key, body, 'sha256')) before anything else",
    silent="tags that are compared or handed to a verification",
    shape=_unused_tag,
    bad="import json\ndef unpack(data):\n    tag, body = data[:32], data[32:]\n    if len(tag) != 32:\n"
    "        raise ValueError\n    return json.loads(body)\n",
    good="import hmac, json\ndef unpack(data, key):\n    tag, body = data[:32], data[32:]\n"
    "    if not hmac.compare_digest(tag, hmac.digest(key, body, 'sha256')):\n        raise ValueError\n"
    "    return json.loads(body)\n",
)

STREAM = Rule(
    id="stream-without-end",
    cwe=409,
    title="compressed stream read to its end",
    severity=Severity.MEDIUM,
    what="compressed data from a request is unpacked whatever its size",
    why="CWE-409: a megabyte unpacks to a thousand (CWE-400)",
    advice="read(LIMIT + 1) and refuse what is longer",
    silent="reads with a size",
    shape=_streams,
    bad="import gzip, io\nfrom flask import request\ndef take():\n"
    "    with gzip.GzipFile(fileobj=io.BytesIO(request.get_data())) as f:\n        return f.read()\n",
    good="import gzip, io\nfrom flask import request\ndef take():\n"
    "    with gzip.GzipFile(fileobj=io.BytesIO(request.get_data())) as f:\n        return f.read(1000000)\n",
)

RULES = (
    TEMPORARY, INTERRUPTED, GROWS, CROSSING, HALF_LOCKED, UNLOCKED_ROW, UNUSED_TAG, STREAM,
)  # fmt: skip
