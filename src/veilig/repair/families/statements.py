"""Which repairs insert, delete, exchange or reform whole statements?"""

import ast
from collections.abc import Iterator

from veilig.repair.families.family import ATOM, Draft, Family, Site, level_of

RETURNED = ("None", "True", "False", "0", "[]", "''", "{}", "1", "-1", "()")
SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.Return, ast.AnnAssign, ast.Delete, ast.Raise, ast.Assert)
OPERATIONS = ("+=", "-=", "*=", "/=", "//=", "|=", "&=", "=", "%=")


def _alone(site: Site) -> bool:
    node = site.node
    return (
        isinstance(node, ast.stmt)
        and site.source.stands_alone(node)
        and site.source.function(node) is not None
    )


def _docstring(site: Site) -> bool:
    node = site.node
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _insert(site: Site) -> Iterator[Draft]:
    node = site.node
    if not _alone(site) or _docstring(site) or not isinstance(node, ast.stmt):
        return
    source = site.source
    function = source.function(node)
    assert function is not None
    indent = source.indent_of(node)
    start, end = source.lines_span(node)
    newline = "" if source.text[:end].endswith("\n") else "\n"
    texts: list[tuple[str, float]] = []
    for one in ast.walk(function):
        if (
            isinstance(one, ast.Expr | ast.Assign | ast.AugAssign)
            and one is not node
            and one.lineno == one.end_lineno
            and not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        ):
            texts.append((source.segment(one), 0.3 + 0.03 * abs(one.lineno - node.lineno)))
    names = site.scope.variables[:8]
    for place, name in enumerate(names):
        far = 0.08 * place
        texts += [
            (f"{name} += 1", 0.3 + far),
            (f"{name} -= 1", 0.5 + far),
            (f"{name} = list({name})", 0.7 + far),
        ]
        texts += [
            (f"{name} = {name}.copy()", 0.8 + far),
            (f"{name} = 0", 0.9 + far),
            (f"{name} = []", 0.9 + far),
        ]
        for other in names:
            if other != name:
                texts += [(f"{name} = {other}", 0.8 + far), (f"{name}.append({other})", 0.7 + far)]
                texts += [(f"{name}.add({other})", 0.7 + far), (f"{name} += {other}", 0.9 + far)]
    if source.class_of(node) is not None:
        texts += [(f"self.{one} = {one}", 0.1) for one in names]
        texts += [(f"self.{one} += 1", 0.8) for one in site.scope.attributes[:5]]
    for text, cost in texts:
        line = f"{indent}{text}\n"
        yield Draft(((start, start, line),), cost + 0.1)
        if isinstance(node, SIMPLE) and not isinstance(node, ast.Return | ast.Raise):
            yield Draft(((end, end, newline + line),), cost)
        elif isinstance(node, ast.For | ast.While | ast.If):
            yield Draft(((end, end, newline + line),), cost + 0.2)


def _delete(site: Site) -> Iterator[Draft]:
    node = site.node
    if not _alone(site) or _docstring(site) or not isinstance(node, ast.stmt):
        return
    start, end = site.source.lines_span(node)
    if len(site.source.block(node)) > 1:
        # A check that is taken away makes any test pass that trips over it.
        refusing = isinstance(node, ast.Raise | ast.Assert)
        yield Draft(((start, end, ""),), 1.5 if refusing else 0.0 if isinstance(node, SIMPLE) else 0.6)
    else:
        yield Draft(((start, end, f"{site.source.indent_of(node)}pass\n"),), 0.6)


def _swap(site: Site) -> Iterator[Draft]:
    node = site.node
    if not _alone(site) or not isinstance(node, ast.stmt):
        return
    block = site.source.block(node)
    place = block.index(node)
    if place + 1 >= len(block) or not site.source.stands_alone(block[place + 1]):
        return
    start, middle = site.source.lines_span(node)
    second, end = site.source.lines_span(block[place + 1])
    first_text, second_text = site.source.text[start:middle], site.source.text[second:end]
    if not second_text.endswith("\n"):
        second_text += "\n"
    yield Draft(((start, end, second_text + site.source.text[middle:second] + first_text),))


def _form(site: Site) -> Iterator[Draft]:
    node = site.node
    if not isinstance(node, ast.stmt):
        return
    start, end = site.source.span(node)
    if (
        isinstance(node, ast.Expr)
        and not _docstring(site)
        and not isinstance(node.value, ast.Yield | ast.YieldFrom)
    ):
        text = site.text(node.value)
        yield Draft(((start, end, f"return {text}"),), 0.2)
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(value, ast.Call):
            names = [one.id for one in value.args if isinstance(one, ast.Name)]
            if isinstance(value.func, ast.Attribute):
                names.append(site.text(value.func.value))
            for name in dict.fromkeys((*names, *site.scope.variables[:4])):
                yield Draft(((start, end, f"{name} = {text}"),), 0.1 if name in names else 0.8)
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, text = site.text(node.targets[0]), site.text(node.value)
        yield Draft(((start, end, f"return {text}"),), 0.6)
        yield Draft(((start, end, text),), 1.2)
        if isinstance(node.targets[0], ast.Name | ast.Attribute | ast.Subscript):
            yield Draft(((start, end, f"{target} = {target} or {text}"),), 1.0)
            yield Draft(((start, end, f"{target}.append({text})"),), 0.9)
            yield Draft(((start, end, f"{target}.extend({text})"),), 1.0)
            yield Draft(((start, end, f"{target}.update({text})"),), 1.0)
            yield Draft(((start, end, f"{target}[:] = {text}"),), 0.9)
    elif isinstance(node, ast.Raise) and node.exc is not None:
        yield Draft(((start, end, f"return {site.text(node.exc)}"),), 1.2)
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Call):
        yield Draft(((start, end, site.text(node.value)),), 1.0)
        name = getattr(node.value.func, "id", "")
        if name.endswith(("Error", "Exception")):
            yield Draft(((start, end, f"raise {site.text(node.value)}"),), -0.6)


def _operation(site: Site) -> Iterator[Draft]:
    node = site.node
    if isinstance(node, ast.AugAssign):
        start, end = site.source.span(node.target)[1], site.source.span(node.value)[0]
        old = site.source.text[start:end].strip()
        for place, text in enumerate(OPERATIONS):
            if text != old:
                yield Draft(((start, end, f" {text} "),), 0.06 * place)
        back = site.put(node.value, f"-{site.text(node.value)}" if level_of(node.value) == ATOM else "0")
        yield Draft(back.changes, 0.9)
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        start, end = site.source.span(node.targets[0])[1], site.source.span(node.value)[0]
        if not isinstance(node.targets[0], ast.Tuple):
            for place, text in enumerate(("+=", "-=", "*=", "|=")):
                yield Draft(((start, end, f" {text} "),), 0.4 + 0.2 * place)


def _returned(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Return)
    if node.value is None:
        start, end = site.source.span(node)
        for place, text in enumerate((*RETURNED[1:], *site.scope.variables[:8])):
            yield Draft(((start, end, f"return {text}"),), 0.08 * place)
        return
    own = site.text(node.value)
    for place, text in enumerate(site.scope.variables[:10]):
        if text != own:
            yield site.put(node.value, text, cost=0.06 * place)
    for place, text in enumerate(RETURNED):
        if text != own:
            yield site.put(node.value, text, cost=0.4 + 0.06 * place)
    yield site.put(node.value, f"[{own}]", cost=0.8)
    if isinstance(node.value, ast.Tuple):
        texts = [site.text(one) for one in node.value.elts]
        yield site.put(node.value, ", ".join(reversed(texts)), cost=0.0)
        for text in texts:
            yield site.put(node.value, text, cost=0.4)
    for place, name in enumerate(site.scope.variables[:5]):
        yield site.put(node.value, f"{own}, {name}", cost=1.2 + 0.06 * place)


def _control(site: Site) -> Iterator[Draft]:
    node = site.node
    if not _alone(site) or not isinstance(node, ast.stmt) or _docstring(site):
        return
    if isinstance(node, ast.Return | ast.Raise | ast.Break | ast.Continue):
        return
    indent = site.source.indent_of(node)
    end = site.source.lines_span(node)[1]
    newline = "" if site.source.text[:end].endswith("\n") else "\n"
    last = site.source.block(node)[-1] is node
    loop = next((one for one in site.source.ancestors(node) if isinstance(one, ast.For | ast.While)), None)
    texts = [("break", 0.0), ("continue", 0.2)] if loop is not None else []
    own = site.source.function(node)
    at_end = own is not None and own.body[-1] is node
    values = [*site.scope.variables[:8], *RETURNED]
    texts += [(f"return {one}", (0.0 if at_end else 0.3) + 0.06 * place) for place, one in enumerate(values)]
    for text, cost in texts:
        yield Draft(((end, end, f"{newline}{indent}{text}\n"),), cost + (0.0 if last else 0.8))


FAMILIES = (
    Family("stmt_insert", 3.0, (ast.stmt,), _insert, "statement missing"),
    Family("stmt_delete", 2.4, (ast.stmt,), _delete, "statement too many"),
    Family("stmt_swap", 2.4, (ast.stmt,), _swap, "statements in the wrong order"),
    Family("stmt_form", 2.4, (ast.stmt,), _form, "result not used"),
    Family("assign_op", 1.4, (ast.Assign, ast.AugAssign), _operation, "wrong assignment"),
    Family("return_val", 2.0, (ast.Return,), _returned, "returns the wrong value"),
    Family("ctl_insert", 2.8, (ast.stmt,), _control, "missing return, break or continue"),
)
