"""Which repairs change how a sequence, a mapping or a generator is taken apart?"""

import ast
from collections.abc import Iterator

from veilig.repair.families.family import ATOM, Draft, Family, Site, level_of, loads


def _slice(site: Site) -> Iterator[Draft]:
    node = site.node
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        base = site.text(node.value)
        lower, upper, step = (
            "" if one is None else site.text(one)
            for one in (node.slice.lower, node.slice.upper, node.slice.step)
        )
        tail = f":{step}" if step else ""
        for low, high, cost in (
            (lower, "", 0.1),
            ("", upper, 0.1),
            (upper, "", 0.5),
            ("", lower, 0.5),
            (lower, f"{upper} + 1", 0.0),
            (lower, f"{upper} - 1", 0.1),
            (f"{lower} + 1", upper, 0.1),
            (f"{lower} - 1", upper, 0.2),
            ("1", upper, 0.3),
            (lower, "-1", 0.4),
            (f"-{lower}", upper, 0.6),
            (lower, f"-{upper}", 0.6),
            (upper, lower, 0.8),
        ):
            if low[:2] not in {" +", " -"} and high[:2] not in {" +", " -"} and "-" not in {low, high}:
                yield site.put(node, f"{base}[{low}:{high}{tail}]", ATOM, cost)
        if step:
            yield site.put(node, f"{base}[{lower}:{upper}]", ATOM, 0.2)
        else:
            yield site.put(node, f"{base}[{lower}:{upper}:-1]", ATOM, 0.8)
        yield site.put(node, base, level_of(node.value), 0.4)
        if lower or upper:
            yield site.put(node, f"{base}[{lower or upper}]", ATOM, 0.5)
    elif isinstance(node, ast.Name | ast.Attribute | ast.Call) and loads(node):
        if (
            isinstance(site.parent, ast.Attribute | ast.Subscript)
            or getattr(site.parent, "func", None) is node
        ):
            return
        text = site.text(node)
        for tail, cost in (("[1:]", 0.5), ("[:-1]", 0.6), ("[::-1]", 1.6), ("[:]", 0.8)):
            yield site.put(node, text + tail, ATOM, cost)
        for place, name in enumerate(site.scope.variables[:8]):
            if name != text:
                yield site.put(node, f"{text}[{name}:]", ATOM, 1.0 + 0.05 * place)
                yield site.put(node, f"{text}[:{name}]", ATOM, 1.0 + 0.05 * place)


def _subscript(site: Site) -> Iterator[Draft]:
    node = site.node
    if isinstance(node, ast.Subscript):
        if isinstance(node.slice, ast.Slice):
            return
        base, key = site.text(node.value), site.text(node.slice)
        for text, cost in (("0", 0.2), ("-1", 0.2), ("1", 0.4), ("-2", 1.0), (f"-{key}", 0.9)):
            if text != key:
                yield site.put(node, f"{base}[{text}]", ATOM, cost)
        if loads(node):
            yield site.put(node, base, level_of(node.value), 0.4)
            yield site.put(node, key, level_of(node.slice), 0.6)
            if isinstance(node.value, ast.Subscript) and not isinstance(node.value.slice, ast.Slice):
                inner = node.value
                yield site.put(node, f"{site.text(inner.value)}[{key}][{site.text(inner.slice)}]", ATOM, 0.2)
        if isinstance(node.slice, ast.Tuple) and len(node.slice.elts) == 2:
            first, second = node.slice.elts
            yield site.put(node, f"{base}[{site.text(second)}, {site.text(first)}]", ATOM, 0.2)
        return
    if not loads(node) or getattr(site.parent, "func", None) is node:
        return
    text = site.text(node)
    for tail, cost in (("[0]", 0.5), ("[-1]", 0.6), ("[1]", 0.8)):
        yield site.put(node, text + tail, ATOM, cost)
    for place, name in enumerate(site.scope.variables[:8]):
        if name != text:
            yield site.put(node, f"{text}[{name}]", ATOM, 0.9 + 0.05 * place)


def _get(site: Site) -> Iterator[Draft]:
    node = site.node
    if isinstance(node, ast.Subscript) and loads(node) and not isinstance(node.slice, ast.Slice):
        base, key = site.text(node.value), site.text(node.slice)
        missing = -0.6 if "KeyError" in site.hints.exceptions else 0.4
        for place, value in enumerate(("", ", 0", ", []", ", ''", ", {}", ", 1", f", {key}")):
            yield site.put(node, f"{base}.get({key}{value})", ATOM, missing + 0.1 * place)
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get"
        and node.args
    ):
        yield site.put(node, f"{site.text(node.func.value)}[{site.text(node.args[0])}]", ATOM, 0.2)


def _filter(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.comprehension)
    for place, one in enumerate(node.ifs):
        start, end = site.source.span(one)
        before = site.source.span(node.ifs[place - 1] if place else node.iter)[1]
        word = site.source.text.find("if", before, start)
        if word >= 0:
            yield Draft(((word, end, ""),), 0.3)
    names = [one.id for one in ast.walk(node.target) if isinstance(one, ast.Name)]
    end = site.source.span(node.ifs[-1] if node.ifs else node.iter)[1]
    word = "and" if node.ifs else "if"
    for name in names:
        tests = [
            (name, 0.0),
            (f"{name} is not None", 0.1),
            (f"not {name}", 0.6),
            (f"{name} != ''", 0.6),
            (f"{name}.strip()", 0.4),
            (f"{name} > 0", 0.5),
            (f"{name} % 2 == 0", 1.0),
        ]
        tests += [
            (f"{name} != {one}", 0.5 + 0.05 * n)
            for n, one in enumerate(site.scope.variables[:6])
            if one != name
        ]
        tests += [(f"{name} not in {one}", 0.7) for one in site.scope.variables[:6] if one != name]
        for test, cost in tests:
            yield Draft(((end, end, f" {word} {test}"),), cost)


def _yield_from(site: Site) -> Iterator[Draft]:
    node = site.node
    start, end = site.source.span(node)
    value = getattr(node, "value", None)
    if value is None:
        return
    text = site.text(value)
    if isinstance(node, ast.Yield):
        yield Draft(((start, end, f"yield from {text}"),))
        if isinstance(value, ast.Call):
            yield Draft(((start, end, text),), 0.9)
    elif isinstance(node, ast.YieldFrom):
        yield Draft(((start, end, f"yield {text}"),))
    elif isinstance(node, ast.Expr) and isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        own = site.source.function(node)
        if own is not None and name == own.name:
            yield Draft(((start, end, f"yield from {text}"),), 0.2)
            yield Draft(((start, end, f"return {text}"),), 0.1)


FAMILIES = (
    Family(
        "slice", 1.8, (ast.Subscript, ast.Name, ast.Attribute, ast.Call), _slice, "wrong part of a sequence"
    ),
    Family("subscript", 2.2, (ast.Subscript, ast.Name, ast.Attribute, ast.Call), _subscript, "wrong element"),
    Family("subscript_get", 2.3, (ast.Subscript, ast.Call), _get, "missing key not handled"),
    Family("comp_if", 2.8, (ast.comprehension,), _filter, "filter missing or needless"),
    Family("yield_from", 2.0, (ast.Yield, ast.YieldFrom, ast.Expr), _yield_from, "yields the wrong thing"),
)
