"""Which conversion, copy or await does an error about a value ask for?"""

import ast
import re
from collections.abc import Callable, Iterator

from veilig.repair.recipes.crash_site import Draft, Site
from veilig.repair.recipes.project_index import tree_of
from veilig.repair.recipes.proposal import Context


def _operands(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp):
        yield from _operands(node.left)
        yield from _operands(node.right)
    else:
        yield node


def _joined(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    """Text and number are added: convert one operand, the non-literal ones only."""
    for node in site.nodes(ast.BinOp):
        if not isinstance(node.op, ast.Add | ast.Sub):
            continue
        for place, operand in enumerate(reversed(list(_operands(node)))):
            text = site.text(operand)
            if isinstance(operand, ast.Constant):
                continue
            for wrap, cost in (("str", 1.4), ("int", 1.6), ("float", 2.2)):
                yield (
                    f"{text} -> {wrap}({text})",
                    (site.put(operand, f"{wrap}({text})"),),
                    cost + 0.05 * place,
                )


def _join(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    for node in site.nodes(ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "join" and len(node.args) == 1:
            text = f"map(str, {site.text(node.args[0])})"
            if isinstance(node.args[0], ast.GeneratorExp):
                continue  # its brackets may be those of the call
            yield "joins texts", (site.put(node.args[0], text),), 1.2


def _encode(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    for node in site.nodes(ast.Call):
        for value in node.args:
            if isinstance(value, ast.Name | ast.Attribute):
                yield "encodes the text", (site.put(value, f"{site.text(value)}.encode()"),), 1.3


def _decode(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    for node in site.nodes(ast.Call):
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            value = node.func.value
            yield "decodes the bytes", (site.put(value, f"{value.id}.decode()"),), 1.4
    yield from _encode(site, _)


def _listed(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    """The loop over what its body changes."""
    function = site.function() or site.tree
    for node in ast.walk(function):
        if isinstance(node, ast.For) and site.covers(node):
            text = site.text(node.iter)
            yield f"iterates over a copy of {text}", (site.put(node.iter, f"list({text})"),), 1.1


def _encoding(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    function = site.function() or site.tree
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        name = site.text(node.func)
        given = next((k for k in node.keywords if k.arg == "encoding"), None)
        if given is not None and site.text(given.value).strip("'\"").lower() not in ("utf-8", "utf8"):
            yield "reads UTF-8", (site.put(given.value, '"utf-8"'),), 1.3
        elif given is None and (name == "open" or name.endswith((".open", ".read_text", ".write_text"))):
            end = site.lines.span(node)[1] - 1
            comma = ", " if node.args or node.keywords else ""
            edit = site.put(
                node, site.lines.text[site.lines.span(node)[0] : end] + f'{comma}encoding="utf-8")'
            )
            yield "names the encoding", (edit,), 1.4


def _percent(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    for node in site.nodes(ast.BinOp):
        if isinstance(node.op, ast.Mod) and isinstance(node.right, ast.Name):
            yield "formats one value", (site.put(node.right, f"({node.right.id},)"),), 1.2


def _dumped(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    for node in site.nodes(ast.Call):
        if site.text(node.func).endswith(("dumps", "dump")) and not any(
            k.arg == "default" for k in node.keywords
        ):
            text = site.text(node)
            yield "writes unknown values as text", (site.put(node, f"{text[:-1]}, default=str)"),), 1.8


def _folder(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    statement = site.statement()
    for node in site.nodes(ast.Call):
        if statement is None or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in ("write_text", "write_bytes") and isinstance(node.func.value, ast.Name):
            row = f"{node.func.value.id}.parent.mkdir(parents=True, exist_ok=True)"
            yield "makes the folder first", (site.before(statement, row),), 1.8


def _unpacked(site: Site, match: re.Match[str]) -> Iterator[Draft]:
    most = int(match[1]) - 1
    for node in site.nodes(ast.Call):
        attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if attribute in ("split", "rsplit") and len(node.args) <= 1 and not node.keywords:
            text = site.text(node)[:-1]
            more = f"{text}, {most})" if node.args else f"{text}maxsplit={most})"
            yield f"splits at most {most} time{'s' if most != 1 else ''}", (site.put(node, more),), 1.3


def _twice(site: Site, _: re.Match[str]) -> Iterator[Draft]:
    """An iterator that was used up before: keep its values."""
    function = site.function()
    used = {node.id for node in site.nodes(ast.Name)}
    for node in ast.walk(function) if function else ():
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        lazy = isinstance(node.value, ast.GeneratorExp) or (
            isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id in ("map", "filter", "zip", "reversed", "enumerate", "iter")
        )
        if lazy and node.targets[0].id in used:
            text = site.text(node.value)
            inner = text[1:-1] if isinstance(node.value, ast.GeneratorExp) else text
            yield f"keeps the values of {node.targets[0].id}", (site.put(node.value, f"list({inner})"),), 1.2


def awaits(site: Site, context: Context) -> Iterator[Draft]:
    """Calls of the project's own coroutines that nobody awaits."""
    known = {
        node.name
        for path, text in context.files.items()
        if path.endswith(".py") and "async def" in text and (tree := tree_of(text)) is not None
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef)
    }
    for function in ast.walk(site.tree):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        awaited = {id(node.value) for node in ast.walk(function) if isinstance(node, ast.Await)}
        held = {
            id(node.value) for node in ast.walk(function) if isinstance(node, ast.Attribute | ast.Subscript)
        }
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or id(node) in awaited:
                continue
            name = site.text(node.func).rpartition(".")[2]
            if name in known:
                text = f"await {site.text(node)}"
                near = site.line == node.lineno
                edit = site.put(node, f"({text})" if id(node) in held else text)
                yield f"awaits {name}()", (edit,), 1.0 if near else 1.2


BY_MESSAGE: tuple[tuple[str, Callable[[Site, re.Match[str]], Iterator[Draft]]], ...] = (
    (r"can only concatenate|unsupported operand.*\'(?:int|str|float)\' and \'(?:int|str|float)\'", _joined),
    (r"expected str instance, \w+ found", _join),
    (r"must be encoded before hashing|a bytes-like object is required", _decode),
    (r"changed size during iteration|mutated during iteration", _listed),
    (r"Unicode(?:De|En)codeError", _encoding),
    (r"not all arguments converted during string formatting", _percent),
    (r"is not JSON serializable", _dumped),
    (r"FileNotFoundError", _folder),
    (r"too many values to unpack \(expected (\d+)", _unpacked),
    (r"iterable argument is empty|arg is an empty sequence", _twice),
)
