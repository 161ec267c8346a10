"""Which name, attribute or argument did the author mean at the failing line?"""

import ast
import builtins
import importlib
import re
import sys
from collections.abc import Iterable, Iterator

from veilig.repair.edit import Edit, LineMap
from veilig.repair.recipes.import_edits import import_edit
from veilig.repair.recipes.names_known import COMMON, FOREIGN, REMOVED
from veilig.repair.recipes.nearest import nearest
from veilig.repair.recipes.project_index import (
    class_members,
    definers,
    exports,
    members,
    module_of,
    modules,
    tree_of,
)
from veilig.repair.recipes.proposal import Confidence, Context, Failure, Needs, Proposal

RECIPE = "names"
_BUILTIN_TYPES = (str, bytes, int, float, list, tuple, dict, set, frozenset, bytearray, object)
# Importing these has no effect that a user could see; no other module is imported to look at its names.
_HARMLESS = frozenset(
    {"base64", "collections", "contextlib", "copy", "csv", "datetime", "enum", "functools", "hashlib",
     "heapq", "html", "itertools", "json", "math", "operator", "os", "os.path", "pathlib", "random", "re",
     "secrets", "shutil", "statistics", "string", "tempfile", "textwrap", "time", "typing", "uuid"}
)  # fmt: skip


def propose(context: Context) -> list[Proposal]:
    """Repairs for NameError, AttributeError, UnboundLocalError and arguments of TypeError; best first."""
    failure = context.failure
    if failure is None or failure.path not in context.files:
        return []
    tree = tree_of(context.files[failure.path])
    if tree is None:
        return []
    lines = LineMap(context.files[failure.path])
    name = re.search(r"name '(\w+)' is not defined", failure.message)
    attribute = re.search(r"'(\w+)' object has no attribute '(\w+)'", failure.message)
    of_module = re.search(r"module '([\w.]+)' has no attribute '(\w+)'", failure.message)
    of_type = re.search(r"type object '(\w+)' has no attribute '(\w+)'", failure.message)
    found: list[Proposal] = []
    if name:
        found += _undefined(context, failure, lines, tree, name[1])
    elif attribute or of_type:
        match = attribute or of_type
        if match:
            found += _attribute(failure, lines, tree, match[2], _known_members(context, match[1]))
    elif of_module:
        found += _attribute(failure, lines, tree, of_module[2], module_names(context, of_module[1]))
    elif failure.exception == "TypeError":
        found += _arguments(context, failure, lines, tree)
    return sorted(found, key=lambda item: item.cost)


def _make(failure: Failure, title: str, edits: Iterable[Edit], cost: float) -> Proposal:
    confidence = Confidence.HIGH if cost <= 1.2 else Confidence.MEDIUM
    return Proposal(RECIPE, title, failure.path, tuple(edits), cost, Needs.TESTS, confidence, failure.line)


def _scopes(tree: ast.Module, line: int) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Functions and classes around a line, outermost first."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [
        n for n in ast.walk(tree) if isinstance(n, kinds) and n.lineno <= line <= (n.end_lineno or n.lineno)
    ]


def _visible(lines: LineMap, tree: ast.Module, line: int) -> set[str]:
    found = set(exports(lines.text)) | {name for name in dir(builtins) if not name.startswith("_")}
    for scope in _scopes(tree, line):
        if isinstance(scope, ast.ClassDef):
            continue
        for node in ast.walk(scope):
            if isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found


def _undefined(
    context: Context, failure: Failure, lines: LineMap, tree: ast.Module, name: str
) -> Iterator[Proposal]:
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name]
    here = [use for use in uses if use.lineno == failure.line] or uses
    path = failure.path
    if not here:
        return

    def rename(new: str) -> list[Edit]:
        return [Edit(path, *lines.span(use), new) for use in here]

    if name in FOREIGN:
        new = FOREIGN[name]
        module = new.rpartition(".")[0]
        more = import_edit(path, lines, tree, module) if module else ()
        yield _make(failure, f"{name} -> {new}", [*rename(new), *more], 1.0)
    for scope in _scopes(tree, failure.line):
        if isinstance(scope, ast.ClassDef) and name in class_members(scope) | members(
            context.files, scope.name
        ):
            yield _make(failure, f"{name} -> self.{name}", rename(f"self.{name}"), 1.0)
    for _, home in definers(context.files, name)[:2]:
        if home != module_of(path) and "test" not in home:
            edits = import_edit(path, lines, tree, home, name)
            yield _make(failure, f"imports {name} from {home}", edits, 1.1)
    if name in sys.stdlib_module_names and name not in ("this", "test"):
        yield _make(failure, f"imports {name}", import_edit(path, lines, tree, name), 1.0)
    elif name in COMMON:
        edits = import_edit(path, lines, tree, COMMON[name], name)
        yield _make(failure, f"imports {name} from {COMMON[name]}", edits, 1.1)
    elif name in context.installed:
        yield _make(failure, f"imports {name}", import_edit(path, lines, tree, name), 1.3)
    for rank, other in enumerate(nearest(name, _visible(lines, tree, failure.line))):
        yield _make(failure, f"{name} -> {other}", rename(other), 1.2 + 0.2 * rank)


def _known_members(context: Context, kind: str) -> set[str]:
    for builtin in _BUILTIN_TYPES:
        if builtin.__name__ == kind:
            return set(dir(builtin))
    return members(context.files, kind)


def module_names(context: Context, module: str) -> set[str]:
    """Public names of a module of the project, of an installed one, or of a harmless one of Python."""
    path = modules(context.files).get(module)
    if path:
        return set(exports(context.files[path]))
    if module in context.exports:
        return set(context.exports[module])
    if module in _HARMLESS:
        return {name for name in dir(importlib.import_module(module)) if not name.startswith("_")}
    return set()


def _attribute(
    failure: Failure, lines: LineMap, tree: ast.Module, missing: str, known: set[str]
) -> Iterator[Proposal]:
    places = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == missing
        and node.lineno <= failure.line <= (node.end_lineno or node.lineno)
    ]  # fmt: skip
    for node in places[:2]:
        end = lines.span(node)[1]
        span = (end - len(missing), end)
        wished = REMOVED.get(missing)
        if wished and wished in known and not wished.startswith("__"):
            yield _make(failure, f".{missing} -> .{wished}", [Edit(failure.path, *span, wished)], 1.0)
        elif wished == "__contains__" and wished in known:
            for call in ast.walk(tree):
                if isinstance(call, ast.Call) and call.func is node and len(call.args) == 1:
                    text = f"({lines.source(call.args[0])} in {lines.source(node.value)})"
                    edit = Edit(failure.path, *lines.span(call), text)
                    yield _make(failure, f".{missing}() -> in", [edit], 1.0)
        elif wished == "__len__" and wished in known:
            inner = lines.source(node.value)
            edit = Edit(failure.path, *_with_call(lines, tree, node), f"len({inner})")
            yield _make(failure, f".{missing} -> len()", [edit], 1.1)
        for rank, other in enumerate(nearest(missing, {name for name in known if not name.startswith("__")})):
            edit = Edit(failure.path, *span, other)
            yield _make(failure, f".{missing} -> .{other}", [edit], 1.1 + 0.2 * rank)


def _with_call(lines: LineMap, tree: ast.Module, node: ast.Attribute) -> tuple[int, int]:
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and call.func is node and not call.args and not call.keywords:
            return lines.span(call)
    return lines.span(node)


_TAKES = re.compile(r"(?:(\w+)\.)?(\w+)\(\) takes (\d+) positional arguments? but (\d+) (?:was|were) given")


def _arguments(context: Context, failure: Failure, lines: LineMap, tree: ast.Module) -> Iterator[Proposal]:
    wrong = re.search(r"(?:(\w+)\.)?(\w+)\(\) got an unexpected keyword argument '(\w+)'", failure.message)
    if wrong:
        name = wrong[1] if wrong[2] == "__init__" and wrong[1] else wrong[2]
        parameters = _parameters(context, wrong[2], wrong[1])
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not call.lineno <= failure.line <= (call.end_lineno or 0):
                continue
            for item in call.keywords:
                if item.arg == wrong[3] and lines.source(call.func).endswith(name):
                    start = lines.span(item)[0]
                    for rank, other in enumerate(nearest(wrong[3], parameters)):
                        edit = Edit(failure.path, start, start + len(wrong[3]), other)
                        yield _make(failure, f"argument {wrong[3]} -> {other}", [edit], 1.1 + 0.2 * rank)
    takes = re.search(
        r"(?:(\w+)\.)?(\w+)\(\) takes (\d+) positional arguments? but (\d+) (?:was|were) given",
        failure.message,
    )
    if takes and takes[1] and int(takes[4]) == int(takes[3]) + 1:
        yield from _missing_self(context, takes[1], takes[2])


def _parameters(context: Context, function: str, owner: str | None) -> set[str]:
    found: set[str] = set()
    for path, text in context.files.items():
        named = path.endswith(".py") and (function in text or (owner or "") in text)
        tree = tree_of(text) if named else None
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
                found |= {arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)} - {"self", "cls"}
            elif isinstance(node, ast.ClassDef) and node.name == owner and function == "__init__":
                fields = [item.target for item in node.body if isinstance(item, ast.AnnAssign)]
                found |= {target.id for target in fields if isinstance(target, ast.Name)}
    return found


def _missing_self(context: Context, owner: str, method: str) -> Iterator[Proposal]:
    for path, text in context.files.items():
        tree = tree_of(text) if path.endswith(".py") and owner in text else None
        lines = LineMap(text)
        for node in ast.walk(tree) if tree else ():
            if not isinstance(node, ast.ClassDef) or node.name != owner:
                continue
            for item in node.body:
                if not isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) or item.name != method:
                    continue
                if not item.args.args or item.args.args[0].arg not in ("self", "cls"):
                    at = lines.text.index("(", lines.span(item)[0]) + 1
                    comma = ", " if item.args.args or item.args.kwonlyargs or item.args.vararg else ""
                    title = f"adds self to {owner}.{method}"
                    edit = Edit(path, at, at, f"self{comma}")
                    yield Proposal(
                        RECIPE, title, path, (edit,), 1.0, Needs.TESTS, Confidence.HIGH, item.lineno
                    )
