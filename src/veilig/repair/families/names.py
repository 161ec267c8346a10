"""Which repairs use another name, attribute or expression that is at hand?"""

import ast
from collections.abc import Iterator

from veilig.repair.families.family import ARITHMETIC, ATOM, Draft, Family, Site, level_of, loads

COMPOUND = (ast.BinOp, ast.Call, ast.Subscript, ast.Attribute, ast.Compare, ast.BoolOp, ast.IfExp)
VALUES = ("None", "0", "1", "True", "False", "[]", "''", "{}")


def _called(site: Site) -> bool:
    return isinstance(site.parent, ast.Call) and site.parent.func is site.node


def _in_value(site: Site) -> bool:
    """False where the expression is called, awaited or passed by keyword as it is."""
    return loads(site.node) and not _called(site) and not isinstance(site.parent, ast.keyword | ast.Await)


def _variable(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Name)
    if not loads(node) or _called(site):
        return
    names = [*site.hints.names, *site.scope.variables]
    for place, name in enumerate(dict.fromkeys(names)):
        if name != node.id:
            yield site.put(node, name, ATOM, 0.05 * place)


def _attribute(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Attribute)
    if _called(site):
        return
    start, end = site.source.span(node)
    base = site.text(node.value)
    for place, name in enumerate(site.scope.attributes):
        if name != node.attr:
            yield Draft(((start, end, f"{base}.{name}"),), 0.05 * place)
    if isinstance(node.ctx, ast.Load):
        yield site.put(node, base, level_of(node.value), 0.6)
        if node.attr in site.scope.variables:
            yield site.put(node, node.attr, ATOM, 0.4)


def _of_name(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Name)
    if not loads(node):
        return
    for place, name in enumerate(site.scope.attributes):
        own = site.source.class_of(node) is not None and name == node.id
        yield site.put(node, f"{node.id}.{name}", ATOM, 1.0 + 0.05 * place)
        if own:
            yield site.put(node, f"self.{name}", ATOM, -0.6)
    if site.source.class_of(node) is not None and node.id in site.source.signatures:
        yield site.put(node, f"self.{node.id}", ATOM, -0.2)


def _target(site: Site) -> Iterator[Draft]:
    node = site.node
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    for target in targets:
        if isinstance(target, ast.Name):
            around = site.source.class_of(node)
            for place, name in enumerate(site.scope.variables[:12]):
                if name != target.id:
                    yield site.put(target, name, ATOM, 0.05 * place)
            if around is not None:
                for name in site.scope.attributes[:10]:
                    yield site.put(target, f"self.{name}", ATOM, 0.0 if name == target.id else 0.8)
        elif isinstance(target, ast.Subscript | ast.Attribute):
            base = target.value
            own = site.text(target)
            for place, text in enumerate(site.scope.expressions):
                if text != own and text.endswith("]") and text.count("[") == 1:
                    yield site.put(target, text, ATOM, 0.2 + 0.04 * place)
            if isinstance(base, ast.Name):
                for place, name in enumerate(site.scope.variables[:8]):
                    if name != base.id:
                        yield site.put(base, name, ATOM, 0.3 + 0.05 * place)
        elif isinstance(target, ast.Tuple) and len(target.elts) == 2:
            first, second = target.elts
            one, two = site.put(first, site.text(second)), site.put(second, site.text(first))
            yield Draft((*one.changes, *two.changes), 0.2)


def _expression(site: Site) -> Iterator[Draft]:
    if not _in_value(site) or isinstance(site.parent, ast.Attribute):
        return
    own = site.text(site.node)
    for place, text in enumerate(site.scope.expressions):
        if text != own and own not in text:
            yield site.put(site.node, text, ARITHMETIC, 0.04 * place)


def _to_variable(site: Site) -> Iterator[Draft]:
    if not _in_value(site):
        return
    inside = {one.id for one in ast.walk(site.node) if isinstance(one, ast.Name)}
    for place, name in enumerate(site.scope.variables[:14]):
        yield site.put(site.node, name, ATOM, 0.05 * place - (0.2 if name in inside else 0.0))


def _to_constant(site: Site) -> Iterator[Draft]:
    if not _in_value(site) or isinstance(site.parent, ast.Attribute):
        return
    for place, text in enumerate(VALUES):
        yield site.put(site.node, text, ATOM, 0.1 * place)


FAMILIES = (
    Family("var_sub", 1.6, (ast.Name,), _variable, "wrong variable"),
    Family("attr_sub", 2.0, (ast.Attribute,), _attribute, "wrong attribute"),
    Family("add_self", 2.2, (ast.Name,), _of_name, "attribute forgotten"),
    Family("target_sub", 2.6, (ast.Assign, ast.AugAssign, ast.For), _target, "assigned to the wrong name"),
    Family("ingredient", 3.2, (ast.Name, ast.Constant, *COMPOUND), _expression, "wrong expression"),
    Family("expr_to_var", 2.4, COMPOUND, _to_variable, "expression in place of a variable"),
    Family("expr_to_const", 3.0, (ast.Name, *COMPOUND), _to_constant, "expression in place of a constant"),
)
