"""How is a syntax tree walked quickly? As `ast.walk` does, without contexts and operators: nobody asks."""

import ast
from collections.abc import Iterator

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
# Fields that never hold a node, or hold one that says nothing by itself.
_BARE = frozenset(
    {
        "arg", "asname", "attr", "conversion", "ctx", "id", "is_async", "kind", "kwd_attrs", "level",
        "lineno", "module", "op", "ops", "rest", "simple", "tag", "type_comment", "type_ignores",
    }
)  # fmt: skip
_LEAVES = (ast.Constant, ast.Global, ast.Nonlocal, ast.MatchSingleton)


def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    if issubclass(kind, _LEAVES):
        return ()
    bare = _BARE if kind is getattr(ast, "TypeAlias", None) else _BARE | {"name"}
    return tuple(name for name in kind._fields if name not in bare)


# Node type -> the fields that may hold nodes, in order.
FIELDS: dict[type[ast.AST], tuple[str, ...]] = {
    kind: _fields(kind) for kind in vars(ast).values() if isinstance(kind, type) and issubclass(kind, ast.AST)
}


def walk(root: ast.AST) -> list[ast.AST]:
    """The node and everything below, breadth first, in the order of `ast.walk`."""
    nodes = [root]
    append = nodes.append
    fields = FIELDS
    for node in nodes:  # grows while it is read
        for name in fields[node.__class__]:
            child = getattr(node, name, None)
            if child is None:
                continue
            if child.__class__ is list:
                for item in child:
                    if item is not None:
                        append(item)
            else:
                append(child)
    return nodes


def own_nodes(root: ast.AST) -> Iterator[ast.AST]:
    """Every node inside, last first, without those of nested functions and classes."""
    fields = FIELDS
    stack: list[ast.AST] = [root]
    while stack:
        node = stack.pop()
        if node is not root:
            yield node
            if isinstance(node, SCOPES):
                continue
        for name in fields[node.__class__]:
            child = getattr(node, name, None)
            if child is None:
                continue
            if child.__class__ is list:
                stack.extend([item for item in child if item is not None])
            else:
                stack.append(child)
