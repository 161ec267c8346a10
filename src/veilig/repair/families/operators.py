"""Which repairs change an operator or a comparison?"""

import ast
from collections.abc import Iterator

from veilig.repair.families.family import (
    ARITHMETIC,
    COMPARISON,
    NOT,
    OR,
    Draft,
    Family,
    Site,
    level_of,
)

COMPARISONS: dict[type[ast.cmpop], tuple[tuple[str, float], ...]] = {
    ast.Lt: (("<=", 0.0), (">", 0.4), (">=", 0.5), ("!=", 0.9), ("==", 1.0)),
    ast.LtE: (("<", 0.0), (">=", 0.4), (">", 0.5), ("==", 0.9), ("!=", 1.1)),
    ast.Gt: ((">=", 0.0), ("<", 0.4), ("<=", 0.5), ("!=", 0.9), ("==", 1.0)),
    ast.GtE: ((">", 0.0), ("<=", 0.4), ("<", 0.5), ("==", 0.9), ("!=", 1.1)),
    ast.Eq: (("!=", 0.1), ("is", 0.7), (">=", 0.6), ("<=", 0.6), ("in", 0.8), (">", 1.0), ("<", 1.0)),
    ast.NotEq: (
        ("==", 0.1),
        ("is not", 0.7),
        ("<", 0.7),
        (">", 0.7),
        ("not in", 0.8),
        (">=", 1.1),
        ("<=", 1.1),
    ),
    ast.Is: (("is not", 0.0), ("==", 0.2)),
    ast.IsNot: (("is", 0.0), ("!=", 0.2)),
    ast.In: (("not in", 0.0), ("==", 0.8)),
    ast.NotIn: (("in", 0.0), ("!=", 0.8)),
}
ARITHMETICS: dict[type[ast.operator], tuple[tuple[str, float], ...]] = {
    ast.Add: (("-", 0.0), ("*", 0.4), ("//", 1.0), ("|", 1.2)),
    ast.Sub: (("+", 0.0), ("*", 0.8), ("//", 1.0), ("%", 1.0)),
    ast.Mult: (("+", 0.3), ("/", 0.3), ("**", 0.3), ("//", 0.5), ("-", 0.8)),
    ast.Div: (("//", 0.0), ("*", 0.2), ("%", 0.5), ("-", 1.0)),
    ast.FloorDiv: (("/", 0.0), ("%", 0.3), ("*", 0.5), ("-", 1.0)),
    ast.Mod: (("//", 0.2), ("/", 0.6), ("*", 0.8), ("-", 1.0)),
    ast.Pow: (("*", 0.2),),
    ast.BitAnd: (("|", 0.0), ("^", 0.2), ("and", 0.8)),
    ast.BitOr: (("&", 0.0), ("^", 0.2), ("or", 0.8)),
    ast.BitXor: (("&", 0.0), ("|", 0.2), ("**", 0.4)),
    ast.LShift: ((">>", 0.0),),
    ast.RShift: (("<<", 0.0),),
}
SYMBOLS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.MatMult: "@",
}
TESTED = (ast.If, ast.While, ast.IfExp, ast.Assert)


def _comparison(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Compare)
    left = node.left
    for op, right in zip(node.ops, node.comparators, strict=True):
        for text, cost in COMPARISONS[type(op)]:
            yield site.between(left, right, text, cost)
        left = right


def _comparison_and_one(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Compare)
    if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
        return
    right = node.comparators[0]
    for text, cost in COMPARISONS[type(node.ops[0])][:2]:
        for one in ("+ 1", "- 1"):
            changed = site.put(right, f"{site.text(right)} {one}", ARITHMETIC)
            yield Draft((*site.between(node.left, right, text).changes, *changed.changes), cost)


def _binary(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.BinOp)
    if (
        isinstance(node.op, ast.Mod)
        and isinstance(node.left, ast.Constant)
        and isinstance(node.left.value, str)
    ):
        return
    for text, cost in ARITHMETICS.get(type(node.op), ()):
        yield site.between(node.left, node.right, text, cost)


def _boolean(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.BoolOp)
    text = "or" if isinstance(node.op, ast.And) else "and"
    pairs = list(zip(node.values, node.values[1:], strict=False))
    for left, right in pairs:
        yield site.between(left, right, text)
    if len(pairs) > 1:
        changes = tuple(change for left, right in pairs for change in site.between(left, right, text).changes)
        yield Draft(changes, 0.3)


def _negate(site: Site) -> Iterator[Draft]:
    node = site.node
    tests: list[ast.expr] = []
    if isinstance(node, TESTED):
        tests.append(node.test)
    elif isinstance(node, ast.comprehension):
        tests += node.ifs
    elif isinstance(node, ast.BoolOp):
        tests += node.values
    elif isinstance(node, ast.Return) and isinstance(
        node.value, ast.Call | ast.Compare | ast.BoolOp | ast.Name
    ):
        tests.append(node.value)
    for test in tests:
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            continue
        text = site.text(test)
        inner = text if level_of(test) >= COMPARISON else f"({text})"
        yield site.put(test, f"not {inner}", NOT)


def _drop_not(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.UnaryOp)
    cost = 0.0 if isinstance(node.op, ast.Not) else 0.4
    yield site.put(node, site.text(node.operand), level_of(node.operand), cost)


def _drop_operand(site: Site) -> Iterator[Draft]:
    node = site.node
    if isinstance(node, ast.BoolOp):
        word = " and " if isinstance(node.op, ast.And) else " or "
        for place in range(len(node.values)):
            kept = [site.text(one) for number, one in enumerate(node.values) if number != place]
            level = level_of(node) if len(kept) > 1 else NOT
            yield site.put(node, word.join(kept), level)
    elif isinstance(node, ast.BinOp):
        for kept, cost in ((node.left, 0.0), (node.right, 0.3)):
            yield site.put(node, site.text(kept), level_of(kept), cost)


def _swap_operands(site: Site) -> Iterator[Draft]:
    node = site.node
    if isinstance(node, ast.BinOp):
        commutes = isinstance(node.op, ast.Mult | ast.BitAnd | ast.BitOr | ast.BitXor)
        left, right = node.left, node.right
        cost = 1.5 if commutes else 0.4 if isinstance(node.op, ast.Add) else 0.0
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = node.left, node.comparators[0]
        cost = 1.5 if isinstance(node.ops[0], ast.Eq | ast.NotEq) else 0.2
    elif isinstance(node, ast.IfExp):
        left, right, cost = node.body, node.orelse, 0.3
    elif isinstance(node, ast.BoolOp):
        left, right, cost = node.values[0], node.values[1], 0.6
    else:
        return
    first, second = (
        site.put(left, site.text(right), level_of(right)),
        site.put(right, site.text(left), level_of(left)),
    )
    yield Draft((*first.changes, *second.changes), cost)


def _regroup(site: Site) -> Iterator[Draft]:
    node = site.node
    if isinstance(node, ast.BinOp):
        symbol = SYMBOLS[type(node.op)]
        if isinstance(node.left, ast.BinOp):
            inner = node.left
            a, b, c = inner.left, inner.right, node.right
            grouped = f"{site.text(a)} {SYMBOLS[type(inner.op)]} ({site.text(b)} {symbol} {site.text(c)})"
            yield site.put(node, grouped, ARITHMETIC)
        if isinstance(node.right, ast.BinOp):
            inner = node.right
            a, b, c = node.left, inner.left, inner.right
            grouped = f"({site.text(a)} {symbol} {site.text(b)}) {SYMBOLS[type(inner.op)]} {site.text(c)}"
            yield site.put(node, grouped, ARITHMETIC)
    elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        for place, inner in enumerate(node.values):
            if not isinstance(inner, ast.BoolOp) or len(node.values) != 2:
                continue
            parts = [site.text(one) for one in inner.values]
            other = site.text(node.values[1 - place])
            if place == 0:
                yield site.put(node, f"{' and '.join(parts[:-1])} and ({parts[-1]} or {other})", OR)
            else:
                yield site.put(node, f"({other} or {parts[0]}) and {' and '.join(parts[1:])}", OR)


def _await(site: Site) -> Iterator[Draft]:
    node = site.node
    function = site.source.function(node)
    if isinstance(node, ast.Await):
        yield site.put(node, site.text(node.value), level_of(node.value), 0.6)
    elif isinstance(node, ast.Call) and isinstance(function, ast.AsyncFunctionDef):
        if isinstance(site.parent, ast.Await):
            return
        known = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        cost = -0.6 if isinstance(site.source.signatures.get(known), ast.AsyncFunctionDef) else 0.5
        yield site.put(node, f"await {site.text(node)}", 9, cost)


FAMILIES = (
    Family("cmp_op", 1.0, (ast.Compare,), _comparison, "wrong comparison"),
    Family("cmp_op+const", 3.2, (ast.Compare,), _comparison_and_one, "wrong comparison and bound"),
    Family("bin_op", 1.3, (ast.BinOp,), _binary, "wrong operator"),
    Family("bool_op", 1.2, (ast.BoolOp,), _boolean, "wrong and/or"),
    Family(
        "negate",
        1.8,
        (*TESTED, ast.comprehension, ast.BoolOp, ast.Return),
        _negate,
        "condition the wrong way round",
    ),
    Family("drop_not", 1.5, (ast.UnaryOp,), _drop_not, "negation too many"),
    Family("drop_operand", 2.2, (ast.BoolOp, ast.BinOp), _drop_operand, "operand too many"),
    Family(
        "swap_operands",
        2.0,
        (ast.BinOp, ast.Compare, ast.IfExp, ast.BoolOp),
        _swap_operands,
        "operands swapped",
    ),
    Family("reassoc", 2.6, (ast.BinOp, ast.BoolOp), _regroup, "grouped wrongly"),
    Family("await", 1.8, (ast.Await, ast.Call), _await, "missing or needless await"),
)
