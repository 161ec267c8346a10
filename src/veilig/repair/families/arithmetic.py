"""Which repairs change a number, a string or a pattern?"""

import ast
import re
from collections.abc import Iterator

from veilig.repair.families.family import ARITHMETIC, ATOM, UNARY, Draft, Family, Site, level_of, loads

NUMERIC = (ast.Name, ast.Attribute, ast.Call, ast.BinOp, ast.Subscript)
REGEX_CALLS = frozenset(
    {"compile", "match", "search", "fullmatch", "sub", "subn", "findall", "finditer", "split"}
)


def _counts(site: Site) -> bool:
    """True where a number is likely: an index, a bound, an operand, a length, a returned value."""
    node, above = site.node, site.parent
    match above:
        case (
            ast.Slice()
            | ast.Tuple()
            | ast.BinOp()
            | ast.AugAssign()
            | ast.Return()
            | ast.Assign()
            | ast.keyword()
        ):
            return True
        case ast.Subscript(slice=inner):
            return inner is node
        case ast.Compare(ops=ops):
            return not any(isinstance(op, ast.In | ast.NotIn | ast.Is | ast.IsNot) for op in ops)
        case ast.Call(func=inner):
            return inner is not node
        case _:
            return False


def _off_by_one(site: Site) -> Iterator[Draft]:
    node = site.node
    if not loads(node) or not _counts(site):
        return
    text, above = site.text(node), site.parent
    bound = isinstance(above, ast.Slice | ast.Subscript | ast.Compare) or (
        isinstance(above, ast.Call) and isinstance(above.func, ast.Name) and above.func.id == "range"
    )
    cost = 0.0 if bound else 1.0
    if _ends_in_one(node):
        assert isinstance(node, ast.BinOp)
        yield site.put(node, site.text(node.left), level_of(node.left), cost)
        return
    if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.FloorDiv):
        return
    for sign in ("+", "-"):
        yield site.put(node, f"{text} {sign} 1", ARITHMETIC, cost)


def _ends_in_one(node: ast.AST) -> bool:
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add | ast.Sub):
        return False
    return isinstance(node.right, ast.Constant) and node.right.value == 1


def _with_variable(site: Site) -> Iterator[Draft]:
    node = site.node
    if not loads(node) or not isinstance(
        site.parent, ast.Return | ast.Assign | ast.AugAssign | ast.Call | ast.BinOp
    ):
        return
    if isinstance(site.parent, ast.Call) and site.parent.func is node:
        return
    text = site.text(node) if level_of(node) >= ARITHMETIC else f"({site.text(node)})"
    for place, name in enumerate(site.scope.variables[:10]):
        if name == text:
            continue
        for symbol, cost in (("+", 0.0), ("-", 0.3), ("*", 0.6)):
            yield site.put(node, f"{text} {symbol} {name}", ARITHMETIC, cost + 0.05 * place)
        # Joining sequences is not commutative: what is missing may stand in front.
        yield site.put(node, f"{name} + {text}", ARITHMETIC, 0.4 + 0.05 * place)


def _with_constant(site: Site) -> Iterator[Draft]:
    node = site.node
    if not loads(node) or not isinstance(
        site.parent, ast.Return | ast.Assign | ast.Call | ast.BinOp | ast.Compare
    ):
        return
    if isinstance(site.parent, ast.Call) and site.parent.func is node:
        return
    text = site.text(node) if level_of(node) >= UNARY else f"({site.text(node)})"
    for tail, cost in (
        ("** 2", 0.2),
        ("* 2", 0.3),
        ("// 2", 0.3),
        ("/ 2", 0.5),
        ("% 2", 0.8),
        ("/ 100", 0.8),
        ("* 100", 0.8),
        ("* 1000", 0.9),
        ("/ 1000", 0.9),
        ("* 60", 1.0),
    ):
        yield site.put(node, f"{text} {tail}", ARITHMETIC, cost)
    yield site.put(node, f"-{text}", UNARY, 0.2)


def _constant(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Constant)
    value = node.value
    others: list[tuple[str, float]] = []
    if value is None or isinstance(value, bool):
        others = [(str(one), 0.0) for one in (True, False, None) if one is not value]
        others += [("0", 0.8), ("''", 1.0), ("[]", 0.8), ("1", 1.0)]
    elif isinstance(value, int):
        near = [
            (value + 1, 0.0),
            (value - 1, 0.0),
            (0, 0.3),
            (1, 0.3),
            (-1, 0.4),
            (2, 0.6),
            (-value, 0.5),
            (value * 10, 0.9),
            (value // 10, 0.9),
            (value * 2, 0.9),
            (value // 2, 0.9),
        ]
        near += [(one, 0.7) for one in site.hints.integers] + [(one, 0.9) for one in site.scope.integers]
        others = [(str(one), cost) for one, cost in near if one != value] + [("None", 1.2)]
    elif isinstance(value, float):
        others = [
            (repr(one), 0.4) for one in (value + 1, value - 1, value * 10, value / 10, -value, 1 - value)
        ]
        others += [("0", 0.6), ("1", 0.6), ("100", 0.9)]
    for text, cost in others:
        yield site.put(node, text, UNARY if text.startswith("-") else ATOM, cost)


def _string(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Constant)
    if not isinstance(node.value, str) or isinstance(site.parent, ast.JoinedStr | ast.Expr):
        return
    value = node.value
    tries: list[tuple[str, float]] = [(one, 0.3) for one in site.hints.strings]
    tries += [
        (value.strip(), 0.5),
        (value + " ", 0.9),
        (" " + value, 1.0),
        (value.lower(), 0.6),
        (value.upper(), 0.7),
        (value.rstrip(".!?:;,"), 0.8),
        (value + "\n", 0.8),
        (value.rstrip("\n"), 0.6),
        ("", 0.7),
        (" ", 0.9),
        (",", 1.0),
        (value[1:], 1.0),
        (value[:-1], 1.0),
        (value * 2, 1.3),
    ]
    tries += [(one, 0.8) for one in site.scope.strings]
    if "%" in value:
        tries += [
            (value.replace("%I", "%H"), 0.2),
            (value.replace("%m", "%M"), 0.4),
            (value.replace("%M", "%m"), 0.4),
            (value.replace("%d", "%s"), 0.4),
            (value.replace("%y", "%Y"), 0.2),
        ]
    seen = {value}
    for text, cost in tries:
        if text not in seen:
            seen.add(text)
            yield site.put(node, repr(text), ATOM, cost)


def _regex(site: Site) -> Iterator[Draft]:
    node, above = site.node, site.parent
    assert isinstance(node, ast.Constant)
    if not isinstance(node.value, str) or not isinstance(above, ast.Call | ast.Assign):
        return
    name = above.func.attr if isinstance(above, ast.Call) and isinstance(above.func, ast.Attribute) else ""
    if name not in REGEX_CALLS and not (
        isinstance(above, ast.Assign) and re.search(r"\\[wsdbS]|\[\^", node.value)
    ):
        return
    start, end = site.source.span(node)
    text = site.source.text[start:end]
    quote = re.match(r"[A-Za-z]*('''|\"\"\"|'|\")", text)
    if quote is None:
        return
    first, last = quote.end(), len(text) - len(quote.group(1))
    body = text[first:last]
    for old, new in (
        ("+", "*"),
        ("*", "+"),
        ("+", "+?"),
        ("*", "*?"),
        (".", r"\."),
        (r"\w", r"\S"),
        (r"\d", r"\w"),
        (r"\w", r"[\w-]"),
        (r"\w", r"[\w.-]"),
        (r"\s", " "),
        ("?", ""),
        ("^", ""),
        ("$", ""),
    ):
        for found in re.finditer(re.escape(old), body):
            changed = body[: found.start()] + new + body[found.end() :]
            yield Draft(((start + first, start + last, changed),))
    for changed, cost in (
        (f"^{body}", 0.2),
        (f"{body}$", 0.2),
        (f"^{body}$", 0.3),
        (f"({body})", 0.9),
        (f"{body}+", 0.6),
    ):
        yield Draft(((start + first, start + last, changed),), cost)


FAMILIES = (
    Family("off_by_one", 1.2, NUMERIC, _off_by_one, "off by one"),
    Family(
        "arith_var", 3.0, (*NUMERIC, ast.List, ast.ListComp, ast.JoinedStr), _with_variable, "term missing"
    ),
    Family("arith_const", 3.0, NUMERIC, _with_constant, "factor missing"),
    Family("const", 1.6, (ast.Constant,), _constant, "wrong constant"),
    Family("const_str", 2.4, (ast.Constant,), _string, "wrong text"),
    Family("regex", 2.6, (ast.Constant,), _regex, "wrong pattern"),
)
