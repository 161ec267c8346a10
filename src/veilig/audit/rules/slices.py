"""Where does a value in one function come from, followed backwards through names and module constants?"""

import ast
from collections.abc import Iterator

from veilig.audit.engine.source import ModuleInfo, dotted
from veilig.audit.rules.sketch import FunctionSketch, Sketch

ROUNDS_MAX = 4  # names followed one after the other; further back nobody would look either

type Definitions = dict[str, list[ast.expr]]


def definitions(nodes: list[ast.AST]) -> Definitions:
    """What each name, `self.x` or `a["k"]` is given in these nodes; loops and `with` bind too."""
    found: Definitions = {}
    for node in nodes:
        for target, value in _bindings(node):
            for part in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
                name = _spelt(part)
                if name:
                    found.setdefault(name, []).append(value)
    return found


_BINDING = (
    ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr, ast.For, ast.AsyncFor, ast.comprehension,
    ast.withitem,
)  # fmt: skip


def definitions_in(function: FunctionSketch) -> Definitions:
    """What each name is given in the function, nested functions included; worked out once."""
    if function.given is None:
        function.given = definitions(function.each(*_BINDING))
    return function.given


def own_definitions(function: FunctionSketch) -> Definitions:
    """What each name is given in the function itself; worked out once."""
    if function.own_given is None:
        function.own_given = definitions(function.own_each(*_BINDING))
    return function.own_given


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        yield node.target, node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr


def _spelt(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return dotted(node)
    if isinstance(node, ast.Subscript):
        return ast.unparse(node)
    return ""


def module_definitions(module: ModuleInfo) -> Definitions:
    """What the names of a module are given at its top level."""
    return definitions([node for node in module.tree.body if isinstance(node, ast.Assign | ast.AnnAssign)])


def backwards(function: FunctionSketch, value: ast.expr, module: ModuleInfo | None = None) -> list[ast.AST]:
    """Every node that may make up `value`: its own, and those of what its names were given."""
    local = definitions_in(function)
    outer = module_definitions(module) if module is not None else {}
    seen: set[str] = set()
    nodes: list[ast.AST] = list(ast.walk(value))
    fresh: list[ast.AST] = nodes
    for _ in range(ROUNDS_MAX):
        further: list[ast.AST] = []
        for node in fresh:
            name = _spelt(node) if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) else ""
            if not name or name in seen:
                continue
            seen.add(name)
            for given in local.get(name) or outer.get(name, ()):
                further.extend(ast.walk(given))
        if not further:
            break
        nodes = nodes + further
        fresh = further
    return nodes


def calls_in(nodes: list[ast.AST]) -> list[str]:
    """The dotted names of the calls among the nodes; a call on a call keeps its last name only."""
    found: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if not name and isinstance(node.func, ast.Attribute):
                name = node.func.attr
            found.append(name)
    return found


def words_in(nodes: list[ast.AST]) -> list[str]:
    """The names, attributes and constant keys among the nodes."""
    found: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Name):
            found.append(node.id)
        elif isinstance(node, ast.Attribute):
            found.append(node.attr)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            found.append(str(node.slice.value))
    return found


def tests_in(function: FunctionSketch) -> Iterator[ast.expr]:
    """Every condition the function branches on."""
    for node in function.each(ast.If, ast.While, ast.IfExp, ast.Assert, ast.comprehension, ast.match_case):
        if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
        elif isinstance(node, ast.match_case) and node.guard is not None:
            yield node.guard


def called(sketch: Sketch, function: FunctionSketch) -> list[ast.AST]:
    """The nodes of functions of the program that this one calls by a name only one of them has."""
    found: list[ast.AST] = []
    for call in function.calls():
        name = (
            dotted(call.func).rpartition(".")[2]
            if not isinstance(call.func, ast.Attribute)
            else call.func.attr
        )
        node = sketch.program.functions.only(name)
        if node is not None and node is not function.node:
            found.extend(ast.walk(node))
    return found
