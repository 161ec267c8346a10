"""Which constant text and which values make up a string that was put together?"""

import ast
import re
import string
from dataclasses import dataclass

from veilig.repair.recipes.weakness_site import Site


@dataclass(frozen=True, slots=True)
class Piece:
    """Constant text, or a value and how it was put in: "+", or "format" when it was converted to text."""

    text: str = ""
    value: ast.expr | None = None
    how: str = ""


_PERCENT = re.compile(r"%(?:\((?P<key>\w+)\))?(?P<flags>[-+ #0]*\d*(?:\.\d+)?)(?P<kind>[a-zA-Z%])")


def pieces(node: ast.expr) -> list[Piece] | None:
    """The parts of an f-string, `%`, `.format`, `+` or `join`-free string expression, in order.

    None when a part is formatted in a way that a value alone cannot reproduce, or the shape is another.
    """
    if isinstance(node, ast.Constant):
        return [Piece(node.value)] if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return _fstring(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _sum(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return _percent(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return _format(node, node.func.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
        return _join(node, node.func.value)
    return None


def _join(call: ast.Call, separator: ast.expr) -> list[Piece] | None:
    """`"".join(["text", value])`."""
    parts = call.args[0] if len(call.args) == 1 else None
    if not isinstance(separator, ast.Constant) or not isinstance(parts, ast.List | ast.Tuple):
        return None
    found: list[Piece] = []
    for index, item in enumerate(parts.elts):
        if isinstance(item, ast.Starred):
            return None
        found += [Piece(str(separator.value))] if index else []
        inner = pieces(item)
        found += inner if inner is not None else [_unwrapped(item)]
    return _merged(found)


def is_composed(found: list[Piece] | None) -> bool:
    """Whether there is at least one value and some constant text around it."""
    return (
        bool(found) and any(piece.value is not None for piece in found) and any(piece.text for piece in found)
    )


def _merged(found: list[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for piece in found:
        if merged and piece.value is None and merged[-1].value is None:
            merged[-1] = Piece(merged[-1].text + piece.text)
        elif piece.text or piece.value is not None:
            merged.append(piece)
    return merged


def _fstring(node: ast.JoinedStr) -> list[Piece] | None:
    found: list[Piece] = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            found.append(Piece(str(part.value)))
        elif isinstance(part, ast.FormattedValue):
            if part.format_spec is not None or part.conversion not in (-1, ord("s")):
                return None
            found.append(Piece(value=part.value, how="format"))
    return _merged(found)


def _unwrapped(node: ast.expr) -> Piece:
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "str"
        and len(node.args) == 1
        and not node.keywords
    ):
        return Piece(value=node.args[0], how="format")
    return Piece(value=node, how="+")


def _sum(node: ast.BinOp) -> list[Piece] | None:
    found: list[Piece] = []
    for side in (node.left, node.right):
        inner = pieces(side)
        if inner is not None:
            found += inner
        elif isinstance(side, ast.BinOp | ast.Constant):
            return None
        else:
            found.append(_unwrapped(side))
    merged = _merged(found)
    return merged if any(piece.text for piece in merged) else None


def _percent(node: ast.BinOp) -> list[Piece] | None:
    template = pieces(node.left)
    if not template or len(template) != 1 or template[0].value is not None:
        return None
    right = node.right
    values = list(right.elts) if isinstance(right, ast.Tuple) else [right]
    named: dict[str, ast.expr] = {}
    if isinstance(right, ast.Dict):
        for key, value in zip(right.keys, right.values, strict=True):
            if not isinstance(key, ast.Constant):
                return None
            named[str(key.value)] = value
    found: list[Piece] = []
    done = taken = 0
    text = template[0].text
    for match in _PERCENT.finditer(text):
        found.append(Piece(text[done : match.start()]))
        done = match.end()
        if match["kind"] == "%":
            found.append(Piece("%"))
        elif match["flags"] or match["kind"] not in "sdi":
            return None
        elif match["key"] is not None:
            if match["key"] not in named:
                return None
            found.append(Piece(value=named[match["key"]], how="format"))
        elif taken < len(values) and not isinstance(right, ast.Dict):
            found.append(Piece(value=values[taken], how="format"))
            taken += 1
        else:
            return None
    if not named and taken != len(values):
        return None
    return _merged([*found, Piece(text[done:])])


def _format(call: ast.Call, template: ast.expr) -> list[Piece] | None:
    base = pieces(template)
    if not base or len(base) != 1 or base[0].value is not None:
        return None
    if any(isinstance(arg, ast.Starred) for arg in call.args) or any(
        item.arg is None for item in call.keywords
    ):
        return None
    named = {item.arg: item.value for item in call.keywords}
    found: list[Piece] = []
    automatic = 0
    try:
        fields = list(string.Formatter().parse(base[0].text))
    except ValueError:
        return None
    for text, name, spec, conversion in fields:
        found.append(Piece(text))
        if name is None:
            continue
        if spec or conversion not in (None, "s"):
            return None
        if name == "":
            name, automatic = str(automatic), automatic + 1
        value = named.get(name) or (
            call.args[int(name)] if name.isdigit() and int(name) < len(call.args) else None
        )
        if value is None:
            return None
        found.append(Piece(value=value, how="format"))
    return _merged(found)


def values_of(site: Site, node: ast.expr) -> list[ast.expr]:
    """The values put into a string, also where its text is elsewhere: `PAGE % (a, b)`, `PAGE.format(a)`."""
    source, _ = origin(site, node)
    found = pieces(source)
    if found is not None:
        return [piece.value for piece in found if piece.value is not None]
    if isinstance(source, ast.BinOp) and isinstance(source.op, ast.Mod):
        right = source.right
        if isinstance(right, ast.Tuple):
            return list(right.elts)
        return list(right.values) if isinstance(right, ast.Dict) else [right]
    if (
        isinstance(source, ast.Call)
        and isinstance(source.func, ast.Attribute)
        and source.func.attr == "format"
    ):
        return [*source.args, *(item.value for item in source.keywords)]
    if (
        isinstance(source, ast.Call)
        and isinstance(source.func, ast.Attribute)
        and source.func.attr == "replace"
    ):
        return [*values_of(site, source.func.value), *source.args[1:2]]
    if isinstance(source, ast.BinOp) and isinstance(source.op, ast.Add):
        sides = [source.left, source.right]
        return [v for side in sides for v in (values_of(site, side) or ([] if _is_text(side) else [side]))]
    if isinstance(source, ast.JoinedStr):
        return [part.value for part in source.values if isinstance(part, ast.FormattedValue)]
    return []


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)


def origin(site: Site, node: ast.expr) -> tuple[ast.expr, bool]:
    """(what a local name was given in its only assignment, else the node itself; whether it was a name)."""
    if isinstance(node, ast.Name):
        assignment = site.assigned(node)
        if assignment is not None:
            return assignment.value, True
    return node, False


def literal(text: str) -> str:
    """A string literal for the text: double quotes where possible, triple quotes over several lines."""
    escaped = text.replace("\\", "\\\\")
    if "\n" in text and '"""' not in text and not text.endswith('"'):
        return f'"""{escaped}"""'
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t").replace("\0", "\\x00")
    if '"' in escaped and "'" not in escaped:
        return f"'{escaped}'"
    return '"' + escaped.replace('"', '\\"') + '"'
