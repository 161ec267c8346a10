"""Which repairs change a condition or add one?"""

import ast
from collections.abc import Iterator

from veilig.repair.families.family import AND, COMPARISON, OR, Draft, Family, Site, level_of

RETURNED = ("None", "0", "[]", "False", "True", "''", "{}", "1", "-1")
EXCEPTIONS = (
    "KeyError",
    "IndexError",
    "ValueError",
    "TypeError",
    "AttributeError",
    "ZeroDivisionError",
    "LookupError",
    "OSError",
    "FileNotFoundError",
    "StopIteration",
    "UnicodeDecodeError",
    "json.JSONDecodeError",
    "OverflowError",
    "RuntimeError",
    "TimeoutError",
    "ConnectionError",
)
GUARD_COST_MAX = 1.1  # beyond it a guard is a guess about two things at once, and there are thousands
NEVER = frozenset({"Exception", "BaseException"})  # a catch-all hides the defect: denied everywhere


def atoms(site: Site, most: int = 10) -> Iterator[tuple[str, float]]:
    """Conditions that can be asked here, nearest first."""
    for place, name in enumerate(site.scope.variables[:most]):
        far = 0.06 * place
        yield f"{name} is None", 0.1 + far
        yield f"not {name}", 0.0 + far
        yield name, 0.2 + far
        yield f"{name} is not None", 0.3 + far
        yield f"{name} == 0", 0.4 + far
        yield f"{name} < 0", 0.5 + far
        yield f"{name} <= 0", 0.6 + far
        yield f"{name} > 0", 0.6 + far
        yield f"len({name}) == 0", 0.9 + far
        yield f"len({name}) > 1", 1.0 + far
    names = site.scope.variables[:6]
    for place, one in enumerate(names):
        for other in names:
            if one != other:
                far = 0.6 + 0.06 * place
                yield f"{one} in {other}", far
                yield f"{one} not in {other}", far
                yield f"{one} == {other}", far + 0.1
                yield f"{one} != {other}", far + 0.1
                yield f"{one} > {other}", far + 0.2
                yield f"{one} >= {other}", far + 0.3
                yield f"{one} < {other}", far + 0.2
    for place, name in enumerate(site.scope.attributes[:8]):
        if site.source.class_of(site.node) is not None:
            yield f"self.{name}", 0.6 + 0.06 * place
            yield f"not self.{name}", 0.5 + 0.06 * place
            yield f"self.{name} is None", 0.6 + 0.06 * place


def _extend(site: Site) -> Iterator[Draft]:
    test = getattr(site.node, "test", None)
    if not isinstance(test, ast.expr):
        return
    text = site.text(test)
    conditions = [*atoms(site), *((f"({one})", 0.4) for one in site.scope.conditions if one != text)]
    left_and = text if level_of(test) >= AND else f"({text})"
    for atom, cost in conditions:
        yield site.put(test, f"{left_and} and {atom}", AND, cost)
        yield site.put(test, f"{text} or {atom}", OR, cost + 0.1)
        yield site.put(test, f"{atom} and {left_and}", AND, cost + 0.3)
        yield site.put(test, f"{atom} or {text}", OR, cost + 0.3)


def _replace(site: Site) -> Iterator[Draft]:
    test = getattr(site.node, "test", None)
    if not isinstance(test, ast.expr):
        return
    if isinstance(test, ast.Name | ast.Attribute):
        text = site.text(test)
        for tail, cost in (("is not None", -0.8), ("is None", -0.2), ("> 0", 0.0), ("!= ''", 0.3)):
            yield site.put(test, f"{text} {tail}", COMPARISON, cost)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield site.put(test, f"{site.text(test.operand)} is None", COMPARISON, -0.8)
    for place, text in enumerate(("True", "False")):
        yield site.put(test, text, cost=0.6 + 0.2 * place)
    for atom, cost in atoms(site, 8):
        yield site.put(test, atom, OR, cost)
    for text in site.scope.conditions:
        yield site.put(test, text, 0, 0.3)


def _guard(site: Site) -> Iterator[Draft]:
    node = site.node
    function = site.source.function(node)
    if not isinstance(node, ast.stmt) or function is None or not site.source.stands_alone(node):
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
        return
    indent = site.source.indent_of(node)
    start = site.source.lines_span(node)[0]
    loop = next((one for one in site.source.ancestors(node) if isinstance(one, ast.For | ast.While)), None)
    first = node is function.body[0] or node is function.body[min(1, len(function.body) - 1)]
    results = [(f"return {one}", 0.08 * place) for place, one in enumerate(RETURNED)]
    results += [(f"return {one}", 0.3 + 0.1 * place) for place, one in enumerate(site.scope.variables[:3])]
    if loop is not None:
        results = [("continue", 0.0), ("break", 0.2), *((text, cost + 0.4) for text, cost in results)]
    step = "\t" if indent.startswith("\t") else "    "
    for condition, near in atoms(site):
        for text, cost in results:
            if near + cost > GUARD_COST_MAX:
                continue
            block = f"{indent}if {condition}:\n{indent}{step}{text}\n"
            yield Draft(((start, start, block),), near + cost + (0.0 if first or loop else 0.3))


def _wrap_in_if(site: Site) -> Iterator[Draft]:
    node = site.node
    if not isinstance(
        node, ast.Expr | ast.Assign | ast.AugAssign | ast.Return
    ) or not site.source.stands_alone(node):
        return
    start, end = site.source.lines_span(node)
    text, indent = site.source.text[start:end], site.source.indent_of(node)
    if text.count("\n") > 1 or site.source.function(node) is None:
        return
    step = "\t" if indent.startswith("\t") else "    "
    for condition, near in atoms(site, 8):
        yield Draft(((start, end, f"{indent}if {condition}:\n{step}{text}"),), near)


def _exception(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.ExceptHandler)
    if node.type is None:
        return
    text = site.text(node.type)
    named = [site.text(one) for one in node.type.elts] if isinstance(node.type, ast.Tuple) else [text]
    seen = [one for one in site.hints.exceptions if one not in NEVER]
    for place, other in enumerate(dict.fromkeys((*seen, *EXCEPTIONS))):
        if other in named:
            continue
        likely = -0.9 if other in seen else 0.3
        yield site.put(node.type, f"({', '.join([*named, other])})", cost=likely + 0.04 * place)
        yield site.put(node.type, other, cost=likely + 0.4 + 0.04 * place)
    if len(named) > 1:
        for one in named:
            kept = [other for other in named if other != one]
            yield site.put(node.type, kept[0] if len(kept) == 1 else f"({', '.join(kept)})", cost=0.4)


FAMILIES = (
    Family("cond_extend", 2.5, (ast.If, ast.While, ast.IfExp), _extend, "condition incomplete"),
    Family("cond_replace", 2.8, (ast.If, ast.While, ast.IfExp), _replace, "wrong condition"),
    Family("guard_insert", 2.8, (ast.stmt,), _guard, "case not handled"),
    Family("if_wrap", 3.2, (ast.stmt,), _wrap_in_if, "condition missing"),
    Family("except", 2.4, (ast.ExceptHandler,), _exception, "wrong exception caught"),
)
