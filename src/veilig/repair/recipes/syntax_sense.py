"""How much of a repaired file makes no sense? The less of it, the likelier the repair."""

import ast
import builtins
import warnings

from veilig.repair.edit import BOM

_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__name__", "__path__", "__spec__", "__class__"}


def oddities(text: str) -> int:
    """Names that nothing defines, parameters that nothing reads, expressions without effect."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.removeprefix(BOM))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0
    return _undefined(tree) + sum(
        _unread(node) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else _idle(node)
        for node in ast.walk(tree)
    )


def _undefined(tree: ast.Module) -> int:
    bound: set[str] = set(_BUILTINS)
    read: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name():
                (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
            case ast.arg():
                bound.add(node.arg)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                bound.add(node.name)
            case ast.alias():
                if node.name == "*":
                    return 0  # it may define anything
                bound.add(node.asname or node.name.split(".")[0])
            case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
                bound.add(node.name or "")
            case _:
                pass
    return len(read - bound)


def _unread(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Parameters that the body never names; a body that does nothing yet reads none on purpose."""
    body = [s for s in node.body if not isinstance(s, ast.Pass | ast.Raise) and not _text(s)]
    if not body:
        return 0
    named = {n.id for statement in body for n in ast.walk(statement) if isinstance(n, ast.Name)}
    given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    return sum(
        a.arg not in named and a.arg not in ("self", "cls", "mcs") and not a.arg.startswith("_")
        for a in given
    )


def _idle(node: ast.AST) -> int:
    quiet = ast.Name | ast.Compare | ast.BinOp | ast.BoolOp | ast.Tuple | ast.Attribute | ast.Subscript
    return int(isinstance(node, ast.Expr) and isinstance(node.value, quiet))


def _text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
