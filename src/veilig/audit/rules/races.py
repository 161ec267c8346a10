"""Rules for what two may do at once: files swapped after a check, lost updates, locks left held."""

import ast
import re
from collections.abc import Iterator
from itertools import chain

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]


_ASKS = re.compile(r"(os\.path\.(exists|isfile|islink|lexists)|os\.access|\.exists|\.is_file|\.is_symlink)$")
_ACTS = re.compile(
    r"^(open|os\.(open|remove|unlink|rename|chmod|chown|mkdir|makedirs|symlink|rmdir|replace)|"
    r"shutil\.(copy\w*|move|rmtree))$|\.(write_text|write_bytes|open|unlink|touch|rename|read_text|mkdir)$"
)


def _asks_then_acts(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if not search(
            r"os\.access\(|os\.path\.(exists|isfile|islink|lexists)\(|\.exists\(\)|\.is_symlink\(\)",
            function.body,
        ):
            continue
        for node in function.each(ast.If):
            if isinstance(node, ast.If):
                yield from _race(node, function)


def _race(node: ast.If, function: FunctionSketch) -> Marks:
    for call in ast.walk(node.test):
        if not isinstance(call, ast.Call) or not _ASKS.search(dotted(call.func)):
            continue
        name = dotted(call.func)
        asked = ast.unparse(call.args[0]) if call.args else ast.unparse(call.func).rpartition(".")[0]
        refused = isinstance(node.body[-1], ast.Return | ast.Raise) or "exit(" in ast.unparse(node.body[-1])
        after = (
            [s for s in function.nodes if isinstance(s, ast.stmt) and s.lineno > node.lineno]
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
                if name.endswith("access"):
                    yield node, Confidence.CERTAIN
                    return
                yield (
                    node,
                    Confidence.POSSIBLE
                    if writes and (refused or _matters(asked, function))
                    else Confidence.PATTERN,
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
        if not search(
            r"(?i)(balance|stock|quantity|credits|points|seats|remaining|inventory|uses|used|count|"
            r"funds|available|redeemed)",
            body,
        ):
            continue
        if search(
            r"(?i)select_for_update|with_for_update|\bF\(|\block\b|_lock|Lock\(|for update|atomic_add|"
            r"isolation|\bversion\b|compare_and",
            body,
        ):
            continue
        if not search(r"\.(save|commit|execute)\(|\.flush\(", body):
            continue
        for node in function.each(ast.AugAssign):
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute):
                name = node.target.attr
                if re.search(
                    r"(?i)balance|stock|quantity|credits|points|seats|remaining|inventory|uses|used|"
                    r"count|funds|available|redeemed",
                    name,
                ) and search(rf"\.{name}\b\s*(<|>|<=|>=|==)|(<|>|<=|>=)\s*\w+\.{name}\b", body):
                    yield node, Confidence.POSSIBLE
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
    shape=lambda sketch: chain(_lost_update(sketch), _shared_counter(sketch)),
    bad="def pay(account, amount):\n    if account.balance < amount:\n        raise ValueError\n"
    "    account.balance -= amount\n    account.save()\n",
    good="def pay(accounts, key, amount):\n    account = accounts.select_for_update().get(pk=key)\n"
    "    if account.balance < amount:\n        raise ValueError\n"
    "    account.balance -= amount\n    account.save()\n",
)

_SHARED = re.compile(r"(?:Thread|Timer)\(\s*(?:target\s*=\s*)?(\w+)|\.submit\(\s*(\w+)|\.map\(\s*(\w+)")


def _shared_counter(sketch: Sketch) -> Marks:
    """A function that threads run adds to a global without a lock."""
    if "Thread" not in sketch.text and "submit(" not in sketch.text:
        return
    run = {name for match in _SHARED.finditer(sketch.text) for name in match.groups() if name}
    for function in sketch.functions:
        if function.name not in run or "global " not in function.body:
            continue
        if search(r"(?i)\block\b|_lock|mutex|Lock\(", function.body):
            continue
        names = {
            name for node in function.each(ast.Global) if isinstance(node, ast.Global) for name in node.names
        }
        for node in function.each(ast.AugAssign):
            if (
                isinstance(node, ast.AugAssign)
                and isinstance(node.target, ast.Name)
                and node.target.id in names
            ):
                yield node, Confidence.CERTAIN
                break


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

RULES = (
    RACE,
    UPDATE,
    LOCK,
)
