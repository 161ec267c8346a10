"""Rules for what runs out or runs into itself: memory, handles, races, recursion, patterns, uploads."""

import ast
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from re import _parser as regex_parser  # type: ignore[attr-defined]  # the only parser of its own syntax
from typing import Any

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import constant, deep_taints
from veilig.audit.engine.value import ATTACKER, Opaque, OriginKind
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import AssignCheck, Check, Rule, Sink
from veilig.audit.rules.sketch import FunctionSketch, Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]

_UNBOUNDED = 1_000  # a repeat with this many turns or more counts as endless


def _repeats(tokens: Any, inside: bool) -> bool:
    for kind, argument in tokens:
        name = str(kind)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = argument
            endless = int(high) >= _UNBOUNDED
            if endless and inside and not (low and len(body) == 0):
                return True
            if endless and _branches_overlap(body):
                return True
            if _repeats(body, (inside or endless) and _variable(body) if not endless else _variable(body)):
                return True
        elif name == "SUBPATTERN":
            if _repeats(argument[3], inside):
                return True
        elif name == "BRANCH" and any(_repeats(option, inside) for option in argument[1]):
            return True
    return False


def _variable(body: Any) -> bool:
    """Whether a repeat in this group may give its text away: nothing fixed stands beside it."""
    parts = list(body)
    while len(parts) == 1 and str(parts[0][0]) == "SUBPATTERN":
        parts = list(parts[0][1][3])
    repeats = sum(1 for kind, _ in parts if str(kind) in ("MAX_REPEAT", "MIN_REPEAT"))
    fixed = sum(1 for kind, _ in parts if str(kind) in ("LITERAL", "IN", "NOT_LITERAL", "CATEGORY"))
    optional = sum(1 for kind, arg in parts if str(kind) in ("MAX_REPEAT", "MIN_REPEAT") and int(arg[0]) == 0)
    return repeats > 0 and (fixed == 0 or (repeats == optional == 1 and fixed == 0))


def _branches_overlap(body: Any) -> bool:
    parts = list(body)
    while len(parts) == 1 and str(parts[0][0]) == "SUBPATTERN":
        parts = list(parts[0][1][3])
    if len(parts) != 1:
        return False
    kind, argument = parts[0]
    if str(kind) == "IN":
        return False
    if str(kind) != "BRANCH":
        return False
    shown = [str(list(option)) for option in argument[1]]
    return len(set(shown)) < len(shown) or (any("CATEGORY_WORD" in s for s in shown) and len(shown) > 1)


@lru_cache(maxsize=1024)
def catastrophic(pattern: str | bytes) -> bool:
    """Whether some text makes the pattern try exponentially many ways: a repeat of a repeat, or equal branches."""
    if len(pattern) > 2_000:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _repeats(regex_parser.parse(pattern), False)  # type: ignore[arg-type]
    except (re.error, RecursionError, OverflowError, ValueError):
        return False


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
        if re.search(
            r"(?i)file_size|max_length|total|limit|max_|MAX|\.size\b|compress_size|ratio", function.body
        ):
            continue
        for call in function.calls():
            name = dotted(call.func).rpartition(".")[2]
            owner = dotted(call.func)
            archive = re.search(r"ZipFile\([^\n]*\) as (\w+)|(\w+) = zipfile\.ZipFile\(", function.body)
            names = (archive.group(1) or archive.group(2)) if archive else ""
            if names and owner in (f"{names}.extractall", f"{names}.read", f"{names}.extract"):
                yield call, Confidence.POSSIBLE


def _left_open(sketch: Sketch) -> Marks:
    """A handle bound to a name that is never closed, returned, stored or passed on."""
    for function in sketch.functions:
        if not re.search(
            r"= *(open|socket\.socket|sqlite3\.connect|socket\.create_connection|psycopg2?\.connect|"
            r"pymysql\.connect|urllib\.request\.urlopen|os\.open|mmap\.mmap)\(",
            function.body,
        ):
            continue
        for statement in ast.walk(function.node):
            if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Call):
                continue
            target = statement.targets[0]
            made = dotted(statement.value.func)
            if not isinstance(target, ast.Name) or made not in (
                "open", "socket.socket", "sqlite3.connect", "socket.create_connection", "psycopg2.connect",
                "pymysql.connect", "urllib.request.urlopen", "os.open", "mmap.mmap", "psycopg.connect", "MySQLdb.connect",
            ):  # fmt: skip
                continue
            if not _given_on(function, target.id) or _closed_sometimes(function, target.id, statement.lineno):
                yield statement, Confidence.POSSIBLE


def _closed_sometimes(function: FunctionSketch, name: str, opened: int) -> bool:
    """Closed on the straight way only: a return, raise or continue in between leaves it open."""
    if "finally" in function.body or re.search(
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
    for node in ast.walk(function.node):
        if isinstance(node, ast.Return | ast.Raise | ast.Continue) and opened < node.lineno < max(closes):
            if not any(node.lineno - 3 <= line <= node.lineno for line in closes):
                return name not in ast.unparse(node)
    return False


def _given_on(function: FunctionSketch, name: str) -> bool:
    escaped = re.escape(name)
    if re.search(
        rf"\b{escaped}\.(close|shutdown|detach)\b|with {escaped}\b|closing\({escaped}|os\.close\({escaped}"
        rf"|global .*\b{escaped}\b|nonlocal .*\b{escaped}\b",
        function.body,
    ):
        return True
    for node in ast.walk(function.node):
        if isinstance(node, ast.Return | ast.Yield) and node.value is not None:
            if any(isinstance(p, ast.Name) and p.id == name for p in _outside_calls(node.value, name)):
                return True
        if isinstance(node, ast.Call):
            given = [*node.args, *(k.value for k in node.keywords)]
            if any(isinstance(p, ast.Name) and p.id == name for p in given):
                return True
        if isinstance(node, ast.Assign) and isinstance(
            node.value, ast.Name | ast.Tuple | ast.List | ast.Dict
        ):
            if any(isinstance(p, ast.Name) and p.id == name for p in ast.walk(node.value)):
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


_ASKS = re.compile(r"(os\.path\.(exists|isfile|islink|lexists)|os\.access|\.exists|\.is_file|\.is_symlink)$")
_ACTS = re.compile(
    r"^(open|os\.(open|remove|unlink|rename|chmod|chown|mkdir|makedirs|symlink|rmdir|replace)|"
    r"shutil\.(copy\w*|move|rmtree))$|\.(write_text|write_bytes|open|unlink|touch|rename|read_text|mkdir)$"
)


def _asks_then_acts(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not re.search(
            r"os\.access\(|os\.path\.(exists|isfile|islink|lexists)\(|\.exists\(\)|\.is_symlink\(\)",
            function.body,
        ):
            continue
        for node in ast.walk(function.node):
            if isinstance(node, ast.If):
                yield from _race(node, function)


def _race(node: ast.If, function: FunctionSketch) -> Marks:
    for call in ast.walk(node.test):
        if not isinstance(call, ast.Call) or not _ASKS.search(dotted(call.func)):
            continue
        name = dotted(call.func)
        asked = ast.unparse(call.args[0]) if call.args else ast.unparse(call.func).rpartition(".")[0]
        refused = isinstance(node.body[-1], ast.Return | ast.Raise)
        after = (
            [s for s in ast.walk(function.node) if isinstance(s, ast.stmt) and s.lineno > node.lineno]
            if refused
            else node.body
        )
        for statement in after:
            for act in ast.walk(statement):
                if not isinstance(act, ast.Call) or not _ACTS.search(dotted(act.func)):
                    continue
                text = ast.unparse(act)
                if asked not in text or (
                    re.search(r"exist_ok|['\"][ra+bt]*x|O_EXCL|O_NOFOLLOW|missing_ok", text)
                ):
                    continue
                writes = re.search(
                    r"['\"](w|a|r\+)[bt+]*['\"]|write_|unlink|remove|symlink|chmod|chown|rename|move", text
                )
                if name.endswith("access") or "link" in name:
                    yield node, Confidence.CERTAIN
                    return
                yield (
                    node,
                    Confidence.POSSIBLE if writes and _matters(asked, function) else Confidence.PATTERN,
                )
                return


def _matters(asked: str, function: FunctionSketch) -> bool:
    """Somebody else can reach the place in between: a shared directory, or a program with more rights."""
    return (
        re.search(
            r"(?i)tmp|temp|lock|pid|upload|spool|shared|public|report|export|token|coupon",
            asked + function.name,
        )
        is not None
    )


def _lost_update(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        body = function.body
        if not re.search(
            r"(?i)(balance|stock|quantity|credits|points|seats|remaining|inventory|uses|used|count|funds|available|redeemed)",
            body,
        ):
            continue
        if re.search(
            r"(?i)select_for_update|with_for_update|\bF\(|\block\b|_lock|Lock\(|for update|atomic_add|isolation|\bversion\b|compare_and",
            body,
        ):
            continue
        if not re.search(r"\.(save|commit|execute)\(|\.flush\(", body):
            continue
        for node in ast.walk(function.node):
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute):
                name = node.target.attr
                if re.search(
                    r"(?i)balance|stock|quantity|credits|points|seats|remaining|inventory|uses|used|count|funds|available|redeemed",
                    name,
                ):
                    if re.search(rf"\.{name}\b\s*(<|>|<=|>=|==)|(<|>|<=|>=)\s*\w+\.{name}\b", body):
                        yield node, Confidence.POSSIBLE
                        break


_KIND_CHECK = re.compile(
    r"(?i)allowed|extension|splitext|\.suffix|endswith\(|content_type|mimetype|magic|imghdr|rsplit|filetype|Image\.open|"
    r"valid|whitelist|allowlist|FileExtensionValidator|\bext\b"
)


def _own_name(function: FunctionSketch, call: ast.Call) -> bool:
    """Whether the name the file is stored under has to do with the name it came with."""
    text = " ".join(ast.unparse(argument) for argument in call.args) + ast.unparse(call.func)
    for _ in range(3):
        for node in ast.walk(function.node):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                if re.search(rf"\b{re.escape(node.targets[0].id)}\b", text):
                    text += " " + ast.unparse(node.value)
        if re.search(r"\.filename|\.name\b", text):
            return True
    return "with open(" in function.body and ".filename" in function.body


def _any_upload(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not re.search(r"request\.(files|FILES)|UploadFile|\.filename\b", function.body):
            continue
        if _KIND_CHECK.search(function.body) or (
            "filename" not in function.body and ".name" not in function.body
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


def _held_lock(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if ".acquire(" not in function.body or ".release(" not in function.body or "finally" in function.body:
            continue
        released = function.body.rpartition(".release(")[0]
        held = released.rpartition(".acquire(")[2]
        if re.search(r"\b(return|raise)\b", held) or re.search(r"\w\(", held):
            for call in function.calls():
                if (
                    isinstance(call.func, ast.Attribute)
                    and call.func.attr == "acquire"
                    and _is_lock(call.func)
                ):
                    yield call, Confidence.POSSIBLE
                    break


def _is_lock(function: ast.Attribute) -> bool:
    return re.search(r"(?i)lock|sem|mutex", ast.unparse(function.value)) is not None


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
            ("re.match", "re.search", "re.fullmatch", "re.findall", "re.finditer", "re.sub", "re.split",
             ".match", ".search", ".fullmatch", ".findall", ".finditer", ".sub"),
            _explodes,
            Confidence.POSSIBLE,
        ),
    ),
    bad="import re\nfrom flask import request\ndef check():\n"
    "    return re.match(r'^(a+)+$', request.args['q']) is not None\n",
    good="import re\nfrom flask import request\ndef check():\n"
    "    return re.match(r'^a+$', request.args['q']) is not None\n",
)  # fmt: skip

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
    bad="import zipfile\ndef unpack(path):\n    with zipfile.ZipFile(path) as z:\n        z.extractall('/srv/in')\n",
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

RACE = Rule(
    id="check-then-use",
    cwe=367,
    title="checked first, used later",
    severity=Severity.LOW,
    what="a file is asked about first and used by name afterwards",
    why="CWE-367: somebody swaps it in between",
    advice="open it and handle the error; mode 'x' or O_EXCL | O_NOFOLLOW to create",
    silent="exclusive creation, directories with exist_ok",
    shape=_asks_then_acts,
    bad="import os\ndef show(path):\n    if os.access(path, os.R_OK):\n        return open(path).read()\n",
    good="def show(path):\n    try:\n        with open(path) as f:\n            return f.read()\n"
    "    except PermissionError:\n        return ''\n",
)

UPDATE = Rule(
    id="lost-update",
    cwe=362,
    title="balance read and written without a lock",
    severity=Severity.MEDIUM,
    what="a stored number is checked and changed without holding it",
    why="CWE-362: two requests at once both pass the check",
    advice="select_for_update(), F('balance') - amount, or UPDATE ... WHERE balance >= ?",
    silent="locks, F expressions, conditional updates",
    shape=_lost_update,
    bad="def pay(account, amount):\n    if account.balance < amount:\n        raise ValueError\n"
    "    account.balance -= amount\n    account.save()\n",
    good="def pay(accounts, key, amount):\n    account = accounts.select_for_update().get(pk=key)\n"
    "    if account.balance < amount:\n        raise ValueError\n"
    "    account.balance -= amount\n    account.save()\n",
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

LOCK = Rule(
    id="lock-left-held",
    cwe=667,
    title="lock not released on every way out",
    severity=Severity.LOW,
    what="an error or return between acquire and release keeps the lock for ever",
    why="CWE-667: every other thread waits from then on",
    advice="with lock:",
    silent="release in finally, with statements",
    shape=_held_lock,
    bad="import threading\nlock = threading.Lock()\ndef add(items, x):\n    lock.acquire()\n"
    "    items.append(check(x))\n    lock.release()\ndef check(x): ...\n",
    good="import threading\nlock = threading.Lock()\ndef add(items, x):\n    with lock:\n"
    "        items.append(check(x))\ndef check(x): ...\n",
)

RULES = (SIZE, BACKTRACKING, BOMB, OPEN_HANDLE, RACE, UPDATE, UPLOAD, LOCK)
