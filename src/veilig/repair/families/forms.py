"""Which repairs write the same thing in another form: a branch, a default, a collection, a text?"""

import ast
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import islice

from veilig.repair.families.conditions import atoms
from veilig.repair.families.family import ATOM, Draft, Family, Site, loads

BRANCH_CONDITIONS_MAX = 40
DEFAULTS = ("None", "True", "False", "0", "1", "()", "''")
SIMILAR = 0.7  # of two texts: a slip of one or two letters in a word of six
WORD_CHARS_MIN = 4
MADE_BY = {ast.List: "list", ast.Set: "set", ast.Tuple: "tuple"}


def _else(site: Site) -> Iterator[Draft]:
    """`else:` that should hold under a condition only, and `elif` that should hold always."""
    node, source = site.node, site.source
    assert isinstance(node, ast.If)
    if not node.orelse:
        return
    if isinstance(node.orelse[0], ast.If):
        inner = node.orelse[0]
        start, end = source.span(inner)[0], source.span(inner.test)[1]
        if source.text[start : start + 4] == "elif" and not inner.orelse:
            colon = source.text.find(":", end)
            yield Draft(((start, colon, "else"),), 0.2)
        return
    last = source.span(node.body[-1])[1]
    start = source.text.find("else", last, source.span(node.orelse[0])[0])
    if start < 0 or source.text[last:start].strip():
        return
    for condition, cost in islice(atoms(site), BRANCH_CONDITIONS_MAX):
        yield Draft(((start, start + 4, f"elif {condition}"),), cost + 0.2)


def _default(site: Site) -> Iterator[Draft]:
    """Another default of a parameter: what its neighbours have, a constant of the module, or none."""
    node = site.node
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    given = [*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)]
    texts = list(dict.fromkeys((*(site.text(one) for one in given), *DEFAULTS)))
    for one in given:
        own = site.text(one)
        near = [text for text in site.hints.strings if isinstance(one, ast.Constant) and text != own]
        for place, text in enumerate([*texts, *map(repr, near)]):
            if text != own:
                yield site.put(one, text, cost=0.08 * place)


def _made_of(site: Site) -> Iterator[Draft]:
    """`[x]` where `list(x)` is meant, and the other way round; one type of a pair."""
    node = site.node
    if isinstance(node, ast.List | ast.Set | ast.Tuple):
        if len(node.elts) == 1 and not isinstance(node.elts[0], ast.Starred):
            yield site.put(node, f"{MADE_BY[type(node)]}({site.text(node.elts[0])})", ATOM)
            if isinstance(node, ast.List) and loads(node):
                yield site.put(node, f"[*{site.text(node.elts[0])}]", ATOM, 0.6)
        elif len(node.elts) == 2 and isinstance(node, ast.Tuple) and loads(node):
            for one in node.elts:
                yield site.put(node, site.text(one), ATOM, 0.5)
    elif isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        text, name = site.text(node.args[0]), getattr(node.func, "id", "")
        forms = {"list": f"[{text}]", "set": f"{{{text}}}", "tuple": f"({text},)"}
        if name in forms:
            yield site.put(node, forms[name], ATOM)


def _text_kind(site: Site) -> Iterator[Draft]:
    """A text that should be bytes or the other way round; a word that differs by a slip of the pen."""
    node = site.node
    assert isinstance(node, ast.Constant)
    start, end = site.source.span(node)
    text = site.source.text[start:end]
    if isinstance(node.value, bytes) and text[:2] in {"b'", 'b"'}:
        yield Draft(((start, start + 1, ""),))
    elif isinstance(node.value, str) and text[:1] in {"'", '"'} and not isinstance(site.parent, ast.Expr):
        if node.value.isascii() and not isinstance(site.parent, ast.JoinedStr):
            yield Draft(((start, start, "b"),), 0.6)
        if len(node.value) < WORD_CHARS_MIN or isinstance(site.parent, ast.JoinedStr):
            return
        for word in dict.fromkeys((*site.hints.strings, *site.hints.words)):
            alike = SequenceMatcher(None, word, node.value).ratio() if word != node.value else 0.0
            if alike >= SIMILAR and len(word) >= WORD_CHARS_MIN:
                yield site.put(node, repr(word), ATOM, 1.0 - alike)


def _stored(site: Site) -> Iterator[Draft]:
    """`xs[0] = x` where `xs.append(x)` is meant, or a wider or narrower place."""
    node = site.node
    assert isinstance(node, ast.Assign)
    target = node.targets[0]
    if len(node.targets) != 1 or not isinstance(target, ast.Subscript):
        return
    start, end = site.source.span(node)
    base, value = site.text(target.value), site.text(node.value)
    for text, cost in (
        (f"{base}.append({value})", 0.0),
        (f"{base}.setdefault({site.text(target.slice)}, {value})", 0.1),
        (f"{base}.setdefault({site.text(target.slice)}, []).append({value})", 0.4),
        (f"{base}.insert({site.text(target.slice)}, {value})", 0.6),
    ):
        yield Draft(((start, end, text),), cost)


FAMILIES = (
    Family("else_if", 2.6, (ast.If,), _else, "branch taken under the wrong condition"),
    Family("default", 2.2, (ast.FunctionDef, ast.AsyncFunctionDef), _default, "wrong default"),
    Family("made_of", 2.2, (ast.List, ast.Set, ast.Tuple, ast.Call), _made_of, "made of the wrong thing"),
    Family("text_kind", 1.6, (ast.Constant,), _text_kind, "text misspelt or of the wrong kind"),
    Family("stored", 2.4, (ast.Assign,), _stored, "stored in the wrong way"),
)
