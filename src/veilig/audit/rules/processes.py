"""Rules for starting other programs: secrets shown, answers unread, programs from the wrong place."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch, constants, last_name
from veilig.audit.rules.slices import backwards, definitions_in

type Marks = Iterator[tuple[ast.AST, Confidence]]

_STARTS = re.compile(
    r"(^|\.)(subprocess\.(run|call|check_call|check_output|Popen)|create_subprocess_exec|"
    r"os\.exec[lv]p?e?|os\.spawn\w+|"
    r"check_call|check_output|Popen)$"
)
_SECRET = re.compile(
    r"(?i)^_?(\w+_)?(password|passwd|pwd|passphrase|secret|secret_key|api_?key|private_key|access_token|"
    r"auth_token|token|pin|psk)$"
)
_NO_SECRET = re.compile(r"(?i)(file|path|name|url|type|env|hash|_id)$")
_VERIFIES = re.compile(
    r"(?i)^(--?verify\S*|verify(-\w+)*|verify-(commit|tag|blob|attestation)|checksig|-V|-c|--check|"
    r"fsck|check|"
    r"--check-signature|validate|gpgv|sha(1|256|512)sum|cosign|minisign|signify|codesign|dnssec-verify)$"
)
_CHECKERS = re.compile(
    r"(?i)(^|/)(gpg2?|gpgv|git|sha\d+sum|md5sum|cosign|minisign|signify|openssl|codesign|rpm|debsigs)$"
)


def _started(function: FunctionSketch) -> Iterator[tuple[ast.Call, list[ast.AST]]]:
    """(call, every node that may make up its arguments) of each program that is started."""
    for call in function.calls():
        if _STARTS.search(dotted(call.func)) and call.args:
            given = [node for argument in call.args for node in backwards(function, argument)]
            yield call, given


def _secret_shown(sketch: Sketch) -> Marks:
    """A password among the arguments: everybody on the machine reads it with ps."""
    if not search(r"subprocess|Popen|os\.exec", sketch.text):
        return
    for function in sketch.functions:
        for call, nodes in _started(function):
            if any(_handed(node) for node in nodes):
                yield call, Confidence.POSSIBLE


def _handed(node: ast.AST) -> bool:
    parts: list[ast.expr] = []
    if isinstance(node, ast.List | ast.Tuple):
        parts = node.elts
    elif isinstance(node, ast.JoinedStr):
        parts = [item.value for item in node.values if isinstance(item, ast.FormattedValue)]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [node.right, node.left]
    for part in parts:
        name = last_name(part) if isinstance(part, ast.Name | ast.Attribute | ast.Subscript) else ""
        if name and _SECRET.match(name) and not _NO_SECRET.search(name):
            return True
    return False


def _is_run(node: ast.AST) -> ast.Call | None:
    """`subprocess.run(...)` as a statement, its answer thrown away."""
    value = node.value if isinstance(node, ast.Expr) else None
    if isinstance(value, ast.Call) and re.search(
        r"subprocess\.(run|call)$|(^|\.)os\.system$", dotted(value.func)
    ):
        return value
    return None


def _checks(call: ast.Call) -> bool:
    return any(
        (k.arg == "check" and getattr(k.value, "value", None) is not False) or k.arg is None
        for k in call.keywords
    )


def _answer_unread(sketch: Sketch) -> Marks:
    """A program that verifies is started, and its answer is thrown away."""
    if not search(r"subprocess\.(run|call)|os\.system", sketch.text):
        return
    for function in sketch.functions:
        for node in function.own:
            call = _is_run(node)
            if call is None or _checks(call):
                continue
            words = [word for text in constants(call) for word in text.split()]
            if not words:
                named = [n for argument in call.args for n in backwards(function, argument)]
                words = [n.value for n in named if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            checker = any(_CHECKERS.search(word) for word in words[:2])
            if checker and any(_VERIFIES.match(word) for word in words):
                yield node, Confidence.CERTAIN


def _loose_path(sketch: Sketch) -> Marks:
    """PATH begins with a place that is no literal: whoever writes there is asked first."""
    if "PATH" not in sketch.text:
        return
    for function in sketch.functions:
        for name, values in definitions_in(function).items():
            if re.search(r"\[['\"](PATH|LD_LIBRARY_PATH|PYTHONPATH)['\"]\]$", name):
                for value in values:
                    if _begins_loosely(value):
                        yield value, Confidence.POSSIBLE


def _begins_loosely(value: ast.expr) -> bool:
    if isinstance(value, ast.JoinedStr) and value.values:
        first = value.values[0]
        rest = "".join(
            item.value
            for item in value.values
            if isinstance(item, ast.Constant) and isinstance(item.value, str)
        )
        if isinstance(first, ast.Constant):
            return str(first.value).startswith((".:", ":", "./", "/tmp"))  # noqa: S108  # what the rule looks for
        inner = ast.unparse(first)
        return (
            ":" in rest
            and "environ" not in inner
            and not re.search(r"(?i)venv|prefix|executable|__file__|BIN", inner)
        )
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        left = value.left
        while isinstance(left, ast.BinOp):
            left = left.left
        if isinstance(left, ast.Constant):
            return str(left.value).startswith((".:", ":", "./", "/tmp"))  # noqa: S108
        text = ast.unparse(left)
        return (
            "environ" not in text
            and "PATH" not in text
            and not re.search(r"(?i)venv|prefix|executable|__file__|BIN", text)
            and any(":" in word or "pathsep" in ast.unparse(value) for word in constants(value))
        )
    return False


SHOWN = Rule(
    id="secret-in-arguments",
    cwe=214,
    title="secret among the arguments of a program",
    severity=Severity.MEDIUM,
    what="a password or key is an argument of a program that is started",
    why="CWE-214: every user of the machine reads the arguments of every process (CWE-200)",
    advice="hand it over by standard input, an own file or the environment",
    silent="names of files, arguments without secrets",
    shape=_secret_shown,
    bad="import subprocess\ndef dump(user, password):\n"
    "    subprocess.run(['dumper', '-u', user, '--password=' + password], check=True)\n",
    good="import subprocess\ndef dump(user, password):\n"
    "    subprocess.run(['dumper', '-u', user], input=password.encode(), check=True)\n",
)

UNREAD = Rule(
    id="verification-unread",
    cwe=252,
    title="answer of a verifying program unread",
    severity=Severity.HIGH,
    what="a program verifies something here, and nobody looks at its answer",
    why="CWE-252: what failed the test is used all the same (CWE-347)",
    advice="check=True, or look at returncode",
    silent="checked calls, answers that are kept",
    shape=_answer_unread,
    bad="import subprocess\ndef take(path):\n    subprocess.run(['sha256sum', '-c', path])\n",
    good="import subprocess\ndef take(path):\n    subprocess.run(['sha256sum', '-c', path], check=True)\n",
)

LOOSE_PATH = Rule(
    id="path-begins-elsewhere",
    cwe=426,
    title="programs looked for in a changing place first",
    severity=Severity.MEDIUM,
    what="PATH begins with a folder that is no fixed place of the system",
    why="CWE-426: a file there named like the program runs instead of it (CWE-427)",
    advice='a fixed PATH such as "/usr/bin:/bin", programs by their full path',
    silent="fixed places, the folder of the own interpreter",
    shape=_loose_path,
    bad="import os\ndef prepare(job):\n    os.environ['PATH'] = job.folder + ':' + os.environ['PATH']\n",
    good="import os\ndef prepare(job):\n    os.environ['PATH'] = '/opt/tool/bin:' + os.environ['PATH']\n",
)

RULES = (SHOWN, UNREAD, LOOSE_PATH)
