"""Which repairs change a collection written out in the code, or the kind of a text?"""

import ast
import re
from collections.abc import Iterator

from veilig.repair.families.family import ATOM, Draft, Family, Site, loads

BUILTIN_TYPES = ("str", "int", "float", "list", "tuple", "dict", "bytes", "set")
WORDS_MAX = 30
NAMES_MAX = 20
PLACEHOLDER = re.compile(r"\{[A-Za-z_][\w.]*(?:\[[^\]{}]*\])?(?:\(\))?(?:![rsa])?(?::[^{}]*)?\}")


def _member(site: Site) -> Iterator[Draft]:
    """One more member in a tuple, list or set of names, attributes or texts that are of one kind."""
    node = site.node
    assert isinstance(node, ast.Tuple | ast.List | ast.Set)
    if isinstance(node, ast.Tuple | ast.List) and not isinstance(node.ctx, ast.Load):
        return
    if len(node.elts) < 2 or (
        isinstance(site.parent, ast.Subscript | ast.Return | ast.Call) and not _kinds(site)
    ):
        return
    end = site.source.span(node.elts[-1])[1]
    for place, text in enumerate(_akin(site, node.elts)):
        yield Draft(((end, end, f", {text}"),), 0.03 * place)
    for place, one in enumerate(node.elts):
        start, stop = site.source.span(one)
        if place + 1 < len(node.elts):
            stop = site.source.span(node.elts[place + 1])[0]
        else:
            start = site.source.span(node.elts[place - 1])[1]
        if len(node.elts) > 2:
            yield Draft(((start, stop, ""),), 0.6)


def _kinds(site: Site) -> bool:
    """True for the second argument of isinstance and its like, and for a tuple of texts."""
    above = site.parent
    if isinstance(above, ast.Call):
        name = above.func.attr if isinstance(above.func, ast.Attribute) else getattr(above.func, "id", "")
        return name in {"isinstance", "issubclass", "startswith", "endswith", "frozenset", "set"}
    return False


def _akin(site: Site, members: list[ast.expr]) -> list[str]:
    """What could stand beside these members: the same kind, found in this module or in the tests."""
    own = {site.text(one) for one in members}
    if all(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in members):
        values = [str(one.value) for one in members if isinstance(one, ast.Constant)]
        words = [*site.hints.strings, *site.hints.words, *site.scope.strings]
        if all(one.upper() == one for one in values):
            words = [one.upper() for one in words]
        elif all(one.lower() == one for one in values):
            words = [one.lower() for one in words]
        if not any(re.search(r"\W", one) for one in values):
            words = [part for one in words for part in re.findall(r"\w+", one)]
        found = [repr(one) for one in dict.fromkeys(words) if one not in values]
        return found[:WORDS_MAX]
    if all(isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) for one in members):
        bases = {
            one.value.id
            for one in members
            if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name)
        }
        if len(bases) == 1:
            return [one for one in site.source.dotted(bases.pop()) if one not in own][:NAMES_MAX]
    if all(isinstance(one, ast.Name) for one in members):
        return [one for one in _types(site) if one not in own][:NAMES_MAX]
    return []


def _types(site: Site) -> list[str]:
    classes = [one.name for one in site.source.tree.body if isinstance(one, ast.ClassDef)]
    named = [one for one in sorted(site.source.imported) if one[:1].isupper()]
    return [
        *site.scope.variables[:6],
        *classes,
        *named,
        "str",
        "int",
        "float",
        "list",
        "tuple",
        "dict",
        "bytes",
        "set",
    ]


def _second_type(site: Site) -> Iterator[Draft]:
    """`isinstance(x, A)` made to accept or to be another type."""
    node = site.node
    assert isinstance(node, ast.Call)
    if getattr(node.func, "id", "") not in {"isinstance", "issubclass"} or len(node.args) != 2:
        return
    kind = node.args[1]
    if not isinstance(kind, ast.Name | ast.Attribute):
        return
    own = site.text(kind)
    others = _types(site)
    if isinstance(kind, ast.Attribute) and isinstance(kind.value, ast.Name):
        others = [*site.source.dotted(kind.value.id), *others]
    for place, text in enumerate([one for one in dict.fromkeys(others) if one != own][:NAMES_MAX]):
        yield site.put(kind, f"({own}, {text})", ATOM, 0.03 * place)
        yield site.put(kind, text, ATOM, 0.3 + 0.03 * place)


def _formatted(site: Site) -> Iterator[Draft]:
    """A text with names in braces that lost its `f`, or has one too many."""
    node = site.node
    start, end = site.source.span(node)
    text = site.source.text[start:end]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and PLACEHOLDER.search(node.value):
        parts = [found.start() for found in re.finditer(r"(?<![\w'\"])[\"'](?=[^\"']*\{)", text)]
        if not parts and text[:1] in {"'", '"'}:
            parts = [0]
        if parts and not isinstance(site.parent, ast.JoinedStr):
            yield Draft(tuple((start + at, start + at, "f") for at in parts))
    elif isinstance(node, ast.JoinedStr) and text[:1] in {"f", "F"} and loads(node):
        yield Draft(((start, start + 1, ""),), 0.8)


FAMILIES = (
    Family("member", 2.3, (ast.Tuple, ast.List, ast.Set), _member, "one kind not listed"),
    Family("type_check", 2.3, (ast.Call,), _second_type, "type not accepted"),
    Family("f_string", 1.0, (ast.Constant, ast.JoinedStr), _formatted, "names in the text not filled in"),
)
