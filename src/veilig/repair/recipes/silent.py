"""Which known slips make a function answer wrongly without raising anything?"""

import ast
from collections.abc import Iterator

from veilig.repair.denials_paths import is_test_path
from veilig.repair.edit import Edit, LineMap
from veilig.repair.recipes import slips
from veilig.repair.recipes.crash_site import Draft, Function, Site
from veilig.repair.recipes.crash_values import awaits
from veilig.repair.recipes.import_edits import import_edit
from veilig.repair.recipes.project_index import module_of, tree_of
from veilig.repair.recipes.proposal import Confidence, Context, Needs, Proposal

RECIPE = "slip"
FILES_MAX = 8  # files that the failing test names
_GROWING = frozenset({"append", "extend", "insert", "add", "update", "setdefault", "remove", "pop"})
_LEAVING = frozenset({"remove", "pop", "insert", "append", "clear"})
_FRESH = {"list": "[]", "dict": "{}", "set": "set()"}


def propose(context: Context) -> list[Proposal]:
    """Edits of slips in the files that the failing test names, best first; the tests decide."""
    failure = context.failure
    if failure is None or failure.exception in ("ImportError", "ModuleNotFoundError", "SyntaxError"):
        return []
    found: list[Proposal] = []
    for path in _named(context):
        tree = tree_of(context.files[path])
        if tree is None:
            continue
        site = Site(path, 0, LineMap(context.files[path]), tree)
        drafts = [*_slips(site), *awaits(site, context)]
        for title, edits, cost in drafts:
            line = site.lines.position(edits[0].start)[0]
            if not _runs(site, line, context):
                continue
            found.append(Proposal(RECIPE, title, path, edits, cost, Needs.TESTS, Confidence.MEDIUM, line))
    return sorted(found, key=lambda item: item.cost)


def _runs(site: Site, line: int, context: Context) -> bool:
    """Whether the failing tests run the function around the line, as far as that is known."""
    around = [n for n in ast.walk(site.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    holding = [n for n in around if n.lineno <= line <= (n.end_lineno or n.lineno)]
    if not context.suspects or not holding:
        return True
    inner = max(holding, key=lambda n: n.lineno)
    run = context.suspects.get(site.path, frozenset())
    return any(inner.lineno <= number <= (inner.end_lineno or inner.lineno) for number in run)


def _named(context: Context) -> list[str]:
    """Project files that a frame or the failing test's file names."""
    failure = context.failure
    if failure is None:
        return []
    paths = [frame.path for frame in failure.frames] or [failure.path]
    tests = "\n".join(context.files.get(path, "") for path in dict.fromkeys(paths) if is_test_path(path))
    inside = [p for p in dict.fromkeys(reversed(paths)) if p in context.files and not is_test_path(p)]
    named = [
        path
        for path in sorted(context.files)
        if path.endswith(".py") and not is_test_path(path) and module_of(path).rpartition(".")[2] in tests
    ]
    return [p for p in dict.fromkeys((*inside, *named)) if p.endswith(".py")][:FILES_MAX]


def _slips(site: Site) -> Iterator[Draft]:
    for node in ast.walk(site.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _default(site, node)
            yield from _return(site, node)
            yield from _open(site, node)
            yield from slips.of_function(site, node)
        elif isinstance(node, ast.Raise):
            yield from slips.of_raise(site, node)
        elif isinstance(node, ast.ClassDef):
            yield from _shared(site, node)
        elif isinstance(node, ast.For):
            yield from _changed(site, node)
        elif isinstance(node, ast.Compare):
            yield from _identity(site, node)
        elif isinstance(node, ast.BinOp):
            yield from _rows(site, node)
        elif isinstance(node, ast.Call):
            yield from _shallow(site, node)


def _mutable(node: ast.expr) -> bool:
    call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FRESH
    return isinstance(node, ast.List | ast.Dict | ast.Set) or (call and not getattr(node, "args", ()))


def _default(site: Site, node: Function) -> Iterator[Draft]:
    spots = [*node.args.posonlyargs, *node.args.args]
    pairs = list(zip(spots[len(spots) - len(node.args.defaults) :], node.args.defaults, strict=True))
    for argument, value in pairs:
        if not _mutable(value):
            continue
        name, text = argument.arg, site.text(value)
        told = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
        first = node.body[1] if told and len(node.body) > 1 else node.body[0]
        if first.lineno == node.lineno:
            continue
        rows = (f"if {name} is None:", f"    {name} = {text}")
        yield f"a new {text} for every call", (site.put(value, "None"), site.before(first, *rows)), 1.1


def _return(site: Site, node: Function) -> Iterator[Draft]:
    """A function that computes something and gives nothing back."""
    if node.name == "__init__" or any(isinstance(n, ast.Return | ast.Yield) for n in ast.walk(node)):
        return
    last = node.body[-1]
    names = _assigned(last)
    for name in names:
        yield f"returns {name}", (site.after(last, f"return {name}"),), 1.3
    if isinstance(last, ast.Expr) and not isinstance(last.value, ast.Constant | ast.Await):
        text = site.text(last)
        yield f"returns {text}", (site.put(last, f"return {text}"),), 1.4
    if isinstance(last, ast.For | ast.While):
        first = node.body[0]
        for name in _assigned(first):
            yield f"returns {name}", (site.after(last, f"return {name}"),), 1.5


def _assigned(statement: ast.stmt) -> list[str]:
    """Names that a statement binds on every branch."""
    if isinstance(statement, ast.If):
        if not statement.body or not statement.orelse:
            return []
        there = _assigned(statement.orelse[-1])
        return [name for name in _assigned(statement.body[-1]) if name in there]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AugAssign):
        targets = [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _open(site: Site, node: Function) -> Iterator[Draft]:
    """A file that nobody closes: a with block over the statements that use it."""
    for place, statement in enumerate(node.body):
        if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Call):
            continue
        target = statement.targets[0]
        if not isinstance(target, ast.Name) or site.text(statement.value.func) not in ("open", "io.open"):
            continue
        name = target.id
        users = [s for s in node.body[place + 1 :] if _uses(s, name)]
        if not users or f"{name}.close" in site.text(node) or isinstance(users[-1], ast.Return):
            continue
        start = site.lines.line_start(statement.lineno)
        end = site.lines.line_end(users[-1].end_lineno or users[-1].lineno)
        indent = site.indent(statement)
        body = site.lines.text[site.lines.line_start(statement.lineno + 1) : end]
        rows = "\n".join(f"    {row}" if row.strip() else row for row in body.split("\n"))
        text = f"{indent}with {site.text(statement.value)} as {name}:\n{rows}"
        yield f"closes {name}", (Edit(site.path, start, end, text),), 1.9


def _uses(statement: ast.stmt, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(statement))


def _shared(site: Site, node: ast.ClassDef) -> Iterator[Draft]:
    """A list or dict of the class that every object changes."""
    text = site.text(node)
    for statement in node.body:
        if not isinstance(statement, ast.Assign) or not _mutable(statement.value):
            continue
        target = statement.targets[0]
        if not isinstance(target, ast.Name) or not any(f"self.{target.id}.{w}(" in text for w in _GROWING):
            continue
        row = f"self.{target.id} = {site.text(statement.value)}"
        start = next((f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
        title = f"{target.id} belongs to each object"
        if start is None:
            indent = site.indent(statement)
            made = f"def __init__(self):\n{indent}    {row}"
            yield title, (site.put(statement, made),), 1.3
        elif len(node.body) > 1:
            gone = Edit(
                site.path,
                site.lines.line_start(statement.lineno),
                site.lines.line_start((statement.end_lineno or statement.lineno) + 1),
                "",
            )
            yield title, (gone, site.before(start.body[0], row)), 1.3


def _changed(site: Site, node: ast.For) -> Iterator[Draft]:
    """A loop over a list that its own body changes."""
    if not isinstance(node.iter, ast.Name | ast.Attribute):
        return
    held = site.text(node.iter)
    changes = any(
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in _LEAVING
        and site.text(call.func.value) == held
        for call in ast.walk(node)
    )
    if changes:
        yield f"iterates over a copy of {held}", (site.put(node.iter, f"list({held})"),), 1.1


def _identity(site: Site, node: ast.Compare) -> Iterator[Draft]:
    if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Is | ast.IsNot):
        return
    sides = (node.left, node.comparators[0])
    literal = any(
        isinstance(side, ast.Constant)
        and isinstance(side.value, str | bytes | int | float)
        and not isinstance(side.value, bool)
        for side in sides
    )
    if literal:
        sign = "==" if isinstance(node.ops[0], ast.Is) else "!="
        text = f"{site.text(sides[0])} {sign} {site.text(sides[1])}"
        yield f"compares with {sign}", (site.put(node, text),), 1.0


def _rows(site: Site, node: ast.BinOp) -> Iterator[Draft]:
    """`[[0] * n] * m`: every row is the same list."""
    inner = node.left.elts[0] if isinstance(node.left, ast.List) and len(node.left.elts) == 1 else None
    nested = isinstance(inner, ast.List | ast.ListComp | ast.Dict | ast.Set) or (
        isinstance(inner, ast.BinOp) and isinstance(inner.left, ast.List)
    )
    if isinstance(node.op, ast.Mult) and nested and inner is not None:
        text = f"[{site.text(inner)} for _ in range({site.text(node.right)})]"
        yield "a list of its own for every row", (site.put(node, text),), 1.1


def _shallow(site: Site, node: ast.Call) -> Iterator[Draft]:
    """A copy that shares what it holds."""
    name, held = site.text(node.func), ""
    if name in ("dict", "list", "copy.copy") and len(node.args) == 1 and not node.keywords:
        held = site.text(node.args[0])
    elif isinstance(node.func, ast.Attribute) and node.func.attr == "copy" and not node.args:
        held = site.text(node.func.value)
    if held.isidentifier() and held != "self":
        more = import_edit(site.path, site.lines, site.tree, "copy")
        yield f"copies what {held} holds", (site.put(node, f"copy.deepcopy({held})"), *more), 2.2
