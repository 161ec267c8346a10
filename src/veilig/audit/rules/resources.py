"""Rules for what runs out or runs into itself: memory, handles, races, recursion, patterns, uploads."""

import ast
import re
from collections.abc import Iterator
from itertools import chain

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import constant, deep_taints
from veilig.audit.engine.value import ATTACKER, Opaque, OriginKind
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.backtracking import catastrophic
from veilig.audit.rules.conditions import text_of
from veilig.audit.rules.rule import AssignCheck, Check, Rule, Sink
from veilig.audit.rules.sketch import FunctionSketch, Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]


def _explodes(frame: Frame, site: CallSite) -> bool:
    pattern = constant(site.arg(0, "pattern"))
    texts = site.args[1:]
    receiver = site.receiver
    if isinstance(receiver, Opaque) and receiver.qual == "re.compile()":
        pattern, texts = receiver.prefix, site.args
    if not isinstance(pattern, str | bytes) or not pattern or not catastrophic(pattern):
        return False
    return any(t.origin.kind in ATTACKER for value in texts for t in deep_taints(frame.state, value))


def _unpacks_blindly(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if (
            "zipfile" not in sketch.text
            and "ZipFile" not in function.body
            and "decompress" not in function.body
        ):
            continue
        if search(
            r"(?i)file_size|max_length|total|limit|max_|MAX|\.size\b|compress_size|ratio", function.body
        ):
            continue
        for call in function.calls():
            owner = dotted(call.func)
            archive = search(r"ZipFile\([^\n]*\) as (\w+)|(\w+) = zipfile\.ZipFile\(", function.body)
            names = (archive.group(1) or archive.group(2)) if archive else ""
            if names and owner in (f"{names}.extractall", f"{names}.read", f"{names}.extract"):
                yield call, Confidence.POSSIBLE


def _left_open(sketch: Sketch) -> Marks:
    """A handle bound to a name that is never closed, returned, stored or passed on."""
    for function in sketch.functions:
        if not search(
            r"= *(open|socket\.socket|sqlite3\.connect|socket\.create_connection|psycopg2?\.connect|"
            r"pymysql\.connect|urllib\.request\.urlopen|os\.open|mmap\.mmap)\(",
            function.body,
        ):
            continue
        for statement in function.each(ast.Assign):
            if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Call):
                continue
            target = statement.targets[0]
            made = dotted(statement.value.func)
            if not isinstance(target, ast.Name) or made not in (
                "open",
                "socket.socket",
                "sqlite3.connect",
                "socket.create_connection",
                "psycopg2.connect",
                "pymysql.connect",
                "urllib.request.urlopen",
                "os.open",
                "mmap.mmap",
                "psycopg.connect",
                "MySQLdb.connect",
            ):
                continue
            if not _given_on(function, target.id) or _closed_sometimes(function, target.id, statement.lineno):
                yield statement, Confidence.POSSIBLE


def _closed_sometimes(function: FunctionSketch, name: str, opened: int) -> bool:
    """Closed on the straight way only: a return, raise or continue in between leaves it open."""
    if "finally" in function.body or search(
        rf"with {re.escape(name)}\b|closing\({re.escape(name)}", function.body
    ):
        return False
    closes = [
        call.lineno
        for call in function.calls()
        if dotted(call.func) == f"{name}.close" and call.lineno > opened
    ]
    if not closes:
        return False
    for node in function.each(ast.Return, ast.Raise, ast.Continue):
        if (
            isinstance(node, ast.Return | ast.Raise | ast.Continue) and opened < node.lineno < max(closes)
        ) and not any(node.lineno - 3 <= line <= node.lineno for line in closes):
            return name not in ast.unparse(node)
    return False


def _given_on(function: FunctionSketch, name: str) -> bool:
    escaped = re.escape(name)
    if search(
        rf"\b{escaped}\.(close|shutdown|detach)\b|with {escaped}\b|closing\({escaped}|os\.close\({escaped}"
        rf"|global .*\b{escaped}\b|nonlocal .*\b{escaped}\b",
        function.body,
    ):
        return True
    for node in function.each(ast.Return, ast.Yield, ast.Call, ast.Assign):
        if (isinstance(node, ast.Return | ast.Yield) and node.value is not None) and any(
            isinstance(p, ast.Name) and p.id == name for p in _outside_calls(node.value, name)
        ):
            return True
        if isinstance(node, ast.Call):
            given = [*node.args, *(k.value for k in node.keywords)]
            if any(isinstance(p, ast.Name) and p.id == name for p in given):
                return True
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Name | ast.Tuple | ast.List | ast.Dict)
            and any(isinstance(p, ast.Name) and p.id == name for p in ast.walk(node.value))
        ):
            return True
    return False


def _outside_calls(node: ast.expr, name: str) -> Iterator[ast.AST]:
    """Parts of a returned value, without receivers of method calls: `return f.read()` does not return f."""
    del name
    stack: list[ast.AST] = [node]
    while stack:
        item = stack.pop()
        yield item
        if isinstance(item, ast.Call):
            stack.extend(item.args)
        elif not isinstance(item, ast.Attribute | ast.Subscript):
            stack.extend(ast.iter_child_nodes(item))


_KIND_CHECK = re.compile(
    r"(?i)allowed|extension|splitext|\.suffix|endswith\(|content_type|mimetype|magic|imghdr|rsplit|"
    r"filetype|Image\.open|"
    r"valid|whitelist|allowlist|FileExtensionValidator|\bext\b"
)


def _own_name(function: FunctionSketch, call: ast.Call) -> bool:
    """Whether the name the file is stored under has to do with the name it came with."""
    text = " ".join(ast.unparse(argument) for argument in call.args) + ast.unparse(call.func)
    for _ in range(3):
        for node in function.each(ast.Assign):
            if (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)) and re.search(
                rf"\b{re.escape(node.targets[0].id)}\b", text
            ):
                text += " " + ast.unparse(node.value)
        if re.search(r"\.filename|\.name\b", text):
            return True
    return "with open(" in function.body and ".filename" in function.body


_NAMES_END = re.compile(r"rsplit\(|splitext\(|\.suffix|endswith\(|content_type|mimetype|filetype|magic\.")


def _tested_helpers(sketch: Sketch, function: FunctionSketch) -> Iterator[ast.AST]:
    """The functions of the program that the conditions of this one ask."""
    for node in function.own_each(ast.If):
        for call in ast.walk(node.test) if isinstance(node, ast.If) else ():
            if isinstance(call, ast.Call):
                yield from sketch.program.functions.get(dotted(call.func).rpartition(".")[2], [])


def _any_upload(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not search(r"request\.(files|FILES)|UploadFile|\.filename\b", function.body):
            continue
        helped = " ".join(ast.unparse(test) for test in _tested_helpers(sketch, function))
        if (
            search(_KIND_CHECK, function.body)
            or _NAMES_END.search(helped)
            or ("filename" not in function.body and ".name" not in function.body)
        ):
            continue
        for call in function.calls():
            name = dotted(call.func)
            writes = name.endswith((".save", ".write_bytes", "copyfileobj")) or (
                name == "open" and len(call.args) > 1 and "w" in ast.unparse(call.args[1])
            )
            if (
                writes
                and sketch.web
                and not name.startswith(("form.", "self."))
                and _own_name(function, call)
            ):
                yield call, Confidence.POSSIBLE
                break


def _growing(sketch: Sketch) -> Marks:
    """A dictionary of the module that every request may add a key to, and nothing ever removes one."""
    if not sketch.web:
        return
    stores = set(
        re.findall(r"(?m)^(\w+)(?:: [^=\n]+)? = (?:\{\}|dict\(\)|\[\]|defaultdict\(\w*\))\s*$", sketch.text)
    )
    for name in stores:
        if search(
            rf"\b{name}\.(pop|popitem|clear|remove)\(|del {name}\[|len\({name}\)|{name} = .*\n.*{name} = ",
            sketch.text,
        ):
            continue
        for function in sketch.functions:
            added = search(rf"\b{name}\[(\w+)\] = (?!\[t for)", function.body)
            if not added or not sketch.is_view(function):
                continue
            if search(rf"\b{added.group(1)} = .*request\.", function.body) and re.search(
                r"(?i)cache|seen|memo|history", name
            ):
                yield function.node, Confidence.POSSIBLE


def _thread_each(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if ".accept()" not in function.body or "Thread(" not in function.body or "while" not in function.body:
            continue
        if not search(r"(?i)semaphore|pool|max_|limit|active_count", function.body):
            yield function.node, Confidence.POSSIBLE


SIZE = Rule(
    id="size-from-outside",
    cwe=770,
    title="amount of work chosen from outside",
    severity=Severity.MEDIUM,
    what="a number from outside decides how much is made, read or waited for",
    why="CWE-770: one request asks for a billion (CWE-400, CWE-789)",
    advice="refuse numbers above a limit: min(n, 100)",
    silent="numbers that were compared with a limit or passed through min()",
    kind="size",
    shape=lambda sketch: chain(_growing(sketch), _thread_each(sketch)),
    origins=frozenset({OriginKind.REMOTE}),
    sinks=(
        Sink(
            (
                "range",
                "bytearray",
                "bytes",
                "os.urandom",
                "secrets.token_bytes",
                "secrets.token_hex",
                "itertools.repeat",
            )
        ),
        Sink(
            ("time.sleep", "asyncio.sleep", "numpy.zeros", "numpy.ones", "numpy.empty", "PIL.Image.new"),
            (0, 1),
        ),
        Sink(("str.__mul__",), (0,)),
        Sink(("concurrent.futures.ThreadPoolExecutor", "multiprocessing.Pool"), (0, "max_workers")),
        Sink((".limit", ".fetchmany"), (0,)),
        Sink(
            (".fetch", ".execute", ".fetch_all"),
            (1, 2, 3, 4),
            lambda _frame, site: re.search(r"(?i)\blimit\s+([$:%?]|\Z)", text_of(site.arg(0))) is not None,
        ),
        Sink((".resize", ".thumbnail"), (0, "size")),
        Sink(("gzip.decompress", "bz2.decompress", "lzma.decompress"), (0,)),
        Sink(("zlib.decompress",), (0,)),
    ),
    assigns=(
        AssignCheck(
            lambda name: name.endswith(("DATA_UPLOAD_MAX_MEMORY_SIZE", "DATA_UPLOAD_MAX_NUMBER_FIELDS")),
            lambda _frame, _name, value: constant(value) is None,
        ),
    ),
    bad="from flask import request\ndef rows():\n    n = int(request.args['n'])\n"
    "    return [i * i for i in range(n)]\n",
    good="from flask import request\ndef rows():\n    n = min(int(request.args['n']), 100)\n"
    "    return [i * i for i in range(n)]\n",
)

BACKTRACKING = Rule(
    id="catastrophic-pattern",
    cwe=1333,
    title="regular expression that may never end",
    severity=Severity.MEDIUM,
    what="a repeat inside a repeat meets text from outside",
    why="CWE-1333: forty characters keep a core busy for hours",
    advice="make the inner part unable to match in two ways, or limit the length first",
    silent="patterns that give every character one place, text that is not from outside",
    checks=(
        Check(
            (
                "re.match",
                "re.search",
                "re.fullmatch",
                "re.findall",
                "re.finditer",
                "re.sub",
                "re.split",
                ".match",
                ".search",
                ".fullmatch",
                ".findall",
                ".finditer",
                ".sub",
            ),
            _explodes,
            Confidence.POSSIBLE,
        ),
    ),
    bad="import re\nfrom flask import request\ndef check():\n"
    "    return re.match(r'^(a+)+$', request.args['q']) is not None\n",
    good="import re\nfrom flask import request\ndef check():\n"
    "    return re.match(r'^a+$', request.args['q']) is not None\n",
)

BOMB = Rule(
    id="archive-bomb",
    cwe=409,
    title="archive unpacked whatever its size",
    severity=Severity.MEDIUM,
    what="an archive is unpacked without a look at how large it becomes",
    why="CWE-409: 42 kilobytes become petabytes",
    advice="add up file_size of infolist() first, and refuse above a limit",
    silent="functions that look at sizes",
    shape=_unpacks_blindly,
    bad="import zipfile\ndef unpack(path):\n    with zipfile.ZipFile(path) as z:"
    "\n        z.extractall('/srv/in')\n",
    good="import zipfile\ndef unpack(path):\n    with zipfile.ZipFile(path) as z:\n"
    "        if sum(i.file_size for i in z.infolist()) > 10**8:\n            raise ValueError\n"
    "        z.extractall('/srv/in')\n",
)

OPEN_HANDLE = Rule(
    id="handle-left-open",
    cwe=772,
    title="file or connection never closed",
    severity=Severity.LOW,
    what="a handle is opened and never closed",
    why="CWE-772: the process runs out of them (CWE-404), and written data may be lost",
    advice="with open(...) as f:",
    silent="handles that are closed, returned, stored or passed on",
    shape=_left_open,
    bad="def count(path):\n    f = open(path)\n    return len(f.read())\n",
    good="def count(path):\n    with open(path) as f:\n        return len(f.read())\n",
)

UPLOAD = Rule(
    id="any-upload",
    cwe=434,
    title="any file may be uploaded",
    severity=Severity.MEDIUM,
    what="an uploaded file is stored under its own name, whatever it is",
    why="CWE-434: an uploaded page or program is served or run later",
    advice="allow a list of extensions, and store under a name of your own",
    silent="functions that look at the extension, type or content",
    shape=_any_upload,
    bad="from flask import Flask, request\napp = Flask(__name__)\n@app.route('/up', methods=['POST'])\n"
    "def upload():\n    f = request.files['f']\n    f.save('/srv/www/' + f.filename)\n    return 'ok'\n",
    good="import os\nfrom flask import Flask, request, abort\napp = Flask(__name__)\n"
    "@app.route('/up', methods=['POST'])\ndef upload():\n    f = request.files['f']\n"
    "    if os.path.splitext(f.filename)[1] not in {'.png'}:\n        abort(400)\n"
    "    f.save('/srv/in/image.png')\n    return 'ok'\n",
)


RULES = (
    SIZE,
    BACKTRACKING,
    BOMB,
    OPEN_HANDLE,
    UPLOAD,
)
