"""Which single edit at the crash line does its error message ask for?"""

import ast
import re
from collections.abc import Callable, Iterator

from veilig.repair.edit import Edit
from veilig.repair.recipes import crash_values, slips
from veilig.repair.recipes.crash_site import Draft, Function, Site, expected, site_of
from veilig.repair.recipes.import_edits import import_edit
from veilig.repair.recipes.nearest import nearest
from veilig.repair.recipes.project_index import tree_of
from veilig.repair.recipes.proposal import Confidence, Context, Needs, Proposal

RECIPE = "crash"


def propose(context: Context) -> list[Proposal]:
    """Edits for the line that raised, best first; the tests decide which of them is right."""
    site, failure = site_of(context), context.failure
    if site is None or failure is None:
        return []
    found: list[Draft] = []
    for pattern, recipe in _BY_MESSAGE:
        match = re.search(pattern, f"{failure.exception}: {failure.message}")
        if match:
            found += recipe(site, match)
    if failure.exception == "KeyError":
        found += _key(site, context, failure.message)
        found += _nested(site, context)
    if "coroutine" in failure.message or "never awaited" in failure.text:
        found += crash_values.awaits(site, context)
    found += _caught(site, failure.exception)
    return [
        Proposal(RECIPE, title, site.path, edits, cost, Needs.TESTS, Confidence.MEDIUM, site.line)
        for title, edits, cost in found
    ]


# --- guards ----------------------------------------------------------------------------------------


def _guard(site: Site, condition: str, cost: float) -> Iterator[Draft]:
    statement, function = site.statement(), site.function()
    if statement is None or function is None:
        return
    for value in site.defaults():
        rows = (f"if {condition}:", f"    return {value}")
        yield f"returns {value} when {condition}", (site.before(statement, *rows),), cost


def _none(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    function = site.function()
    if function is None:
        return
    names = {arg.arg for arg in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)}
    used = [node.id for node in site.nodes(ast.Name) if isinstance(node.ctx, ast.Load)]
    for name in dict.fromkeys(used):
        if name in names:
            yield from _guard(site, f"{name} is None", 2.0)
    for name in dict.fromkeys(used):
        if name not in names and name.islower() and f"{name} =" in site.text(function):
            yield from _guard(site, f"{name} is None", 2.4)


def _empty(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    for node in site.nodes(ast.Subscript):
        if isinstance(node.value, ast.Name | ast.Attribute):
            yield from _guard(site, f"not {site.text(node.value)}", 2.2)


def _zero(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    for node in site.nodes(ast.BinOp):
        if not isinstance(node.op, ast.Div | ast.FloorDiv | ast.Mod):
            continue
        below = node.right
        sized = isinstance(below, ast.Call) and site.text(below.func) == "len" and len(below.args) == 1
        inner = below.args[0] if sized and isinstance(below, ast.Call) else below
        if isinstance(inner, ast.Name | ast.Attribute):
            yield from _guard(site, f"not {site.text(inner)}", 2.0)


def _caught(site: Site, exception: str) -> Iterator[Draft]:
    """A try around the line that expects another error: its tuple is made wider."""
    if not exception.endswith("Error") or exception == "AssertionError":
        return
    for node in ast.walk(site.tree):
        inside = isinstance(node, ast.Try) and any(site.covers(statement) for statement in node.body)
        if not isinstance(node, ast.Try) or not inside:
            continue
        for handler in node.handlers:
            kind = handler.type
            if isinstance(kind, ast.Name):
                edit = site.put(kind, f"({kind.id}, {exception})")
            elif isinstance(kind, ast.Tuple) and kind.elts:
                edit = site.put(kind.elts[-1], f"{site.text(kind.elts[-1])}, {exception}")
            else:
                continue
            yield f"also catches {exception}", (edit,), 1.8


# --- names and keys --------------------------------------------------------------------------------


def _key(site: Site, context: Context, message: str) -> Iterator[Draft]:
    key = message.strip().strip("'\"")
    known = {
        entry.value
        for path, text in context.files.items()
        if path.endswith(".py") and (tree := tree_of(text)) is not None
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for entry in node.keys
        if isinstance(entry, ast.Constant) and isinstance(entry.value, str)
    }
    statement = site.statement()
    for node in site.nodes(ast.Subscript):
        index, held = site.text(node.slice), site.text(node.value)
        if isinstance(node.slice, ast.Constant) and node.slice.value == key:
            for rank, other in enumerate(nearest(key, known)):
                edit = site.put(node.slice, repr(other))
                yield f"key {key!r} -> {other!r}", (edit,), 1.1 + 0.2 * rank
        if isinstance(statement, ast.AugAssign) and statement.target is node:
            mark = site.lines.text[site.lines.span(node)[1] : site.lines.span(statement.value)[0]]
            sign = mark.strip().rstrip("=")
            text = f"{held}[{index}] = {held}.get({index}, 0) {sign} {site.text(statement.value)}"
            yield f"starts {held} at 0", (site.put(statement, text),), 1.6
        elif isinstance(node.ctx, ast.Load):
            yield f"{held}.get({index})", (site.put(node, f"{held}.get({index})"),), 2.2
            if site.expected:
                text = f"{held}.get({index}, {site.expected})"
                yield text, (site.put(node, text),), 2.1


def _nested(site: Site, context: Context) -> Iterator[Draft]:
    """`a["b"]["c"]`: every level may be missing, and the test says what comes then."""
    frames = context.failure.frames if context.failure else ()
    wanted = next((e for frame in frames if (e := expected(frame.text, any_literal=True))), "None")
    for node in site.nodes(ast.Subscript):
        inner = node.value
        if not isinstance(inner, ast.Subscript) or not isinstance(node.ctx, ast.Load):
            continue
        text = f".get({site.text(node.slice)}, {wanted})"
        while isinstance(inner, ast.Subscript):
            text = f".get({site.text(inner.slice)}, {{}}){text}"
            inner = inner.value
        yield "every level may be missing", (site.put(node, site.text(inner) + text),), 1.9


def _local(site: Site, match: re.Match[str]) -> Iterator[Draft]:
    name, function = match[1], site.function()
    if function is None:
        return
    outer = [
        node
        for node in ast.walk(site.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node is not function
        and any(inner is function for inner in ast.walk(node))
    ]
    first = _first(function)
    at_top = any(
        isinstance(target, ast.Name) and target.id == name
        for node in site.tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
    )
    if outer:
        yield f"nonlocal {name}", (site.before(first, f"nonlocal {name}"),), 1.2
    elif at_top:
        yield f"global {name}", (site.before(first, f"global {name}"),), 1.2


def _first(function: Function) -> ast.stmt:
    """The first statement behind the docstring."""
    body = function.body
    told = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    return body[1] if told and len(body) > 1 else body[0]


# --- times -----------------------------------------------------------------------------------------


def _naive(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    for node in site.nodes(ast.Call):
        name = site.text(node.func)
        if node.args or node.keywords or not name.endswith((".now", ".utcnow")):
            continue
        whole = name.startswith("datetime.datetime")
        zone = "datetime.timezone.utc" if whole else "timezone.utc"
        text = f"{name.rpartition('.')[0]}.now({zone})"
        more = () if whole else import_edit(site.path, site.lines, site.tree, "datetime", "timezone")
        yield f"{name}() -> {text}", (site.put(node, text), *more), 1.2


# --- numbers and fields ----------------------------------------------------------------------------


def _field(site: Site, match: re.Match[str]) -> Iterator[Draft]:
    yield from slips.of_field(site, match[1])


def _whole(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    """A division that is meant to give a whole number."""
    for node in site.nodes(ast.BinOp):
        if isinstance(node.op, ast.Div):
            left, right = site.lines.span(node.left)[1], site.lines.span(node.right)[0]
            between = site.lines.text[left:right]
            if between.count("/") == 1:
                at = left + between.index("/")
                yield "divides to a whole number", (Edit(site.path, at, at + 1, "//"),), 1.0


_BY_MESSAGE: tuple[tuple[str, Callable[[Site, re.Match[str]], Iterator[Draft]]], ...] = (
    (r"NoneType", _none),
    (r"IndexError: ", _empty),
    (r"ZeroDivisionError: ", _zero),
    (r"UnboundLocalError: .*local variable '(\w+)'", _local),
    (r"offset-naive and offset-aware", _naive),
    (r"mutable default <class '(\w+)'> for field", _field),
    (r"indices must be integers or slices, not float|'float' object cannot be interpreted", _whole),
    *crash_values.BY_MESSAGE,
)
