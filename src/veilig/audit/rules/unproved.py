"""Rules for checks that are made and prove nothing: presence for genuineness, a list nobody obeys."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence
from veilig.audit.rules.rule import shaped
from veilig.audit.rules.sketch import FunctionSketch, Sketch
from veilig.audit.rules.slices import calls_in, own_definitions

type Marks = Iterator[tuple[ast.AST, Confidence]]

_SIGNATURE = re.compile(r"(?i)(signature|hmac|-sign\b|-sig\b|digest\b|-mac\b)")
_COMPARES = re.compile(
    r"(^|\.)(endswith|startswith|fullmatch|match|search|index|check_origin|is_\w+|\w*allow\w*|\w*trust\w*)$"
)
_LOG = re.compile(r"(?i)(^|\.)_?(log|logger|logging)\w*\.\w+$|^print$")
_ENDING = re.compile(r"(?i)(suffix|splitext|rsplit|rpartition|extension|mimetype|content_type|guess_type)")


def _any_origin(sketch: Sketch) -> Marks:
    """The origin of a web socket is looked at, and compared with nothing."""
    for function in sketch.functions:
        if function.name != "check_origin" or "origin" not in function.parameters:
            continue
        compared = any(
            isinstance(node, ast.Compare) and _compares_host(node) for node in function.each(ast.Compare)
        )
        asked = any(_COMPARES.search(name) for name in calls_in(list(function.calls())))
        if not compared and not asked:
            yield function.node, Confidence.CERTAIN


def _compares_host(node: ast.Compare) -> bool:
    """A comparison with something: not with nothing, and not of the scheme or length alone."""
    sides = [node.left, *node.comparators]
    if any(isinstance(side, ast.Constant) and side.value in ("", None) for side in sides):
        return False
    listed = all(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops)
    return listed and not re.search(r"\.scheme\b|\blen\(", ast.unparse(node.left))


def _only_present(sketch: Sketch) -> Marks:
    """The signature in a header must be there; whether it is genuine is never asked."""
    if not search(_SIGNATURE, sketch.text) or not search(r"headers|META|getheader", sketch.text):
        return
    for function in sketch.functions:
        if not search(r"headers|META|getheader", function.body):
            continue
        for name, values in own_definitions(function).items():
            if not name.isidentifier() or not any(map(_signature_read, values)):
                continue
            uses = [n for n in function.each(ast.Name) if isinstance(n, ast.Name) and n.id == name]
            loads = [n for n in uses if isinstance(n.ctx, ast.Load)]
            idle = _idle_places(function)
            if loads and all(id(use) in idle for use in loads):
                yield values[0], Confidence.CERTAIN


def _signature_read(value: ast.expr) -> bool:
    text = ast.unparse(value)
    return (
        re.search(r"\b(headers|META)(\.get\(|\[)|\.(getheader|header)\(", text) is not None
        and _SIGNATURE.search(text) is not None
        and not re.search(r"content-?digest|accept|authorization", text, re.IGNORECASE)
    )


def _idle_places(function: FunctionSketch) -> set[int]:
    """Where a value is only asked for being there, measured, or written to a log."""
    places: set[int] = set()
    for node in function.nodes:
        if isinstance(node, ast.BoolOp):
            places.update(map(id, node.values))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            places.add(id(node.operand))
        elif isinstance(node, ast.If | ast.IfExp | ast.While):
            places.add(id(node.test))
        elif isinstance(node, ast.Compare):
            literal = all(isinstance(side, ast.Constant) for side in node.comparators)
            places.update([id(node.left)] if literal else [])
        elif isinstance(node, ast.Call) and (
            dotted(node.func) in ("len", "bool") or _LOG.search(dotted(node.func))
        ):
            places.update(id(part) for argument in node.args for part in ast.walk(argument))
    return places


def _list_not_obeyed(sketch: Sketch) -> Marks:
    """The ending of an uploaded file is looked up in a list, and both answers go on."""
    if not search(r"request\.files|request\.FILES|UploadFile|\.filename\b|FileStorage", sketch.text):
        return
    for function in sketch.functions:
        if not search(_ENDING, function.body) or not search(r"(?i)file", function.body):
            continue
        for index, node in enumerate(function.node.body):
            if not isinstance(node, ast.If) or node.orelse or not isinstance(node.test, ast.Compare):
                continue
            after = function.node.body[index + 1 :]
            named = re.search(r"(?i)suff|ext|kind|type|ending", ast.unparse(node.test.left))
            listed = isinstance(node.test.ops[0], ast.In | ast.NotIn) and not isinstance(
                node.test.left, ast.Constant
            )
            if named and listed and after and not _says_no([*node.body, *after]):
                yield node, Confidence.POSSIBLE


def _says_no(body: list[ast.stmt]) -> bool:
    """Whether anything below refuses: raises, aborts, or answers None, False or an error."""
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Raise):
                return True
            if isinstance(node, ast.Call) and re.search(
                r"abort$|fail$|exit$|HTTP\w+$|Bad\w+$", dotted(node.func)
            ):
                return True
            if isinstance(node, ast.Return) and (
                node.value is None or (isinstance(node.value, ast.Constant) and not node.value.value)
            ):
                return True
            if isinstance(node, ast.Return) and re.search(r"\b4\d\d\b|error", ast.unparse(node)):
                return True
    return False


def _ended_somehow(sketch: Sketch) -> Marks:
    """How a program ended is put aside, and only asked for being there: it always is."""
    if "subprocess" not in sketch.text:
        return
    for function in sketch.functions:
        for name, values in own_definitions(function).items():
            runs = [
                v for v in values if isinstance(v, ast.Call) and dotted(v.func) in ("subprocess.run", "run")
            ]
            if len(runs) != 1 or len(values) != 1 or any(k.arg in ("check", None) for k in runs[0].keywords):
                continue
            uses = [n for n in function.each(ast.Name) if isinstance(n, ast.Name) and n.id == name]
            loads = [n for n in uses if isinstance(n.ctx, ast.Load)]
            idle = _idle_places(function)
            if loads and all(id(use) in idle for use in loads):
                yield runs[0], Confidence.CERTAIN


ORIGIN = shaped(
    "origin-compared-with-nothing",
    1385,
    "origin of a web socket accepted",
    "the origin is looked at, and compared with nothing",
    "CWE-1385: any page in the browser of a user who is signed in talks over this socket (CWE-346)",
    "compare the host with a list, or call super().check_origin(origin)",
    "comparisons, calls that ask whether the origin is allowed",
    _any_origin,
    "from tornado.websocket import WebSocketHandler\nclass Talk(WebSocketHandler):\n"
    "    def check_origin(self, origin):\n        print(origin)\n        return bool(origin)\n",
    "from tornado.websocket import WebSocketHandler\nclass Talk(WebSocketHandler):\n"
    "    def check_origin(self, origin):\n        print(origin)\n        return origin == 'https://a.example'\n",
)

PRESENT = shaped(
    "signature-only-present",
    347,
    "signature asked for, never verified",
    "the signature of a message must be there; nobody verifies it",
    "CWE-347: anybody sends a message with any signature (CWE-345)",
    "compute the signature over the raw body and compare it with hmac.compare_digest",
    "signatures that are compared or handed on",
    _only_present,
    "def receive(request, apply):\n    tag = request.headers.get('X-Signature')\n    if not tag:\n"
    "        return 400\n    apply(request.json())\n    return 204\n",
    "def receive(request, apply, valid):\n    tag = request.headers.get('X-Signature')\n"
    "    if not valid(request.data, tag):\n        return 400\n    apply(request.json())\n    return 204\n",
)

UNHEEDED = shaped(
    "list-not-obeyed",
    434,
    "list of endings without consequence",
    "the ending of a file is looked up in a list, and both answers go on",
    "CWE-434: a page or program is stored where pictures were meant to be",
    "refuse what is not in the list",
    "lookups after which anything is refused",
    _list_not_obeyed,
    "from flask import request\nENDS = {'.png'}\ndef suffix(filename):\n"
    "    suffix = '.' + filename.rsplit('.', 1)[-1]\n    if suffix in ENDS:\n        return suffix.lower()\n"
    "    return suffix\ndef save():\n    f = request.files['f']\n"
    "    f.save('/srv/f/1' + suffix(f.filename))\n",
    "from flask import request\nENDS = {'.png'}\ndef suffix(filename):\n"
    "    suffix = '.' + filename.rsplit('.', 1)[-1]\n    if suffix not in ENDS:\n        raise ValueError\n"
    "    return suffix\ndef save():\n    f = request.files['f']\n"
    "    f.save('/srv/f/1' + suffix(f.filename))\n",
)

ENDED = shaped(
    "exit-code-unread",
    252,
    "how a program ended is not asked",
    "the answer of a program is only asked for being there, and it always is",
    "CWE-252: a failure counts as a success, and what follows destroys the only copy (CWE-754)",
    "check=True, or look at returncode",
    "answers whose code or output is looked at or handed on",
    _ended_somehow,
    "import subprocess\ndef copy(a, b):\n    done = subprocess.run(['cp', a, b])\n"
    "    return done is not None\n",
    "import subprocess\ndef copy(a, b):\n    done = subprocess.run(['cp', a, b])\n"
    "    return done.returncode == 0\n",
)

RULES = (ORIGIN, PRESENT, UNHEEDED, ENDED)
