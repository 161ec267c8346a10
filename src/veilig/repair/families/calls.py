"""Which repairs change a call: what is called, with what, and whether at all?"""

import ast
from collections.abc import Iterator

from veilig.repair.families.family import ATOM, OR, Draft, Family, Site, level_of, loads
from veilig.repair.source import parameters

# Names that people mix up; both directions are meant.
MIXED_UP: tuple[tuple[str, ...], ...] = (
    ("min", "max"),
    ("any", "all"),
    ("append", "extend", "add", "insert"),
    ("sorted", "reversed", "list"),
    ("startswith", "endswith"),
    ("lower", "upper", "casefold", "title", "capitalize"),
    ("find", "rfind", "index"),
    ("strip", "lstrip", "rstrip"),
    ("pop", "popleft", "popitem"),
    ("append", "appendleft"),
    ("update", "setdefault"),
    ("keys", "values", "items"),
    ("split", "rsplit", "splitlines", "partition"),
    ("partition", "rpartition"),
    ("floor", "ceil", "trunc"),
    ("round", "int", "floor"),
    ("remove", "discard", "pop"),
    ("union", "intersection", "difference", "symmetric_difference"),
    ("issubset", "issuperset"),
    ("isdigit", "isalpha", "isalnum", "isnumeric", "isdecimal"),
    ("read", "readline", "readlines"),
    ("write", "writelines"),
    ("int", "float"),
    ("str", "repr"),
    ("list", "tuple", "set"),
    ("isinstance", "issubclass"),
    ("match", "fullmatch", "search"),
    ("sum", "len", "max"),
    ("dumps", "dump"),
    ("loads", "load"),
    ("encode", "decode"),
    ("total_seconds", "seconds"),
    ("now", "utcnow"),
    ("time", "monotonic"),
    ("copy", "deepcopy"),
    ("gather", "wait"),
    ("removeprefix", "lstrip"),
    ("removesuffix", "rstrip"),
    ("bisect_left", "bisect_right"),
    ("isupper", "islower"),
    ("ljust", "rjust", "center"),
    ("combinations", "permutations", "combinations_with_replacement", "product"),
    ("heappush", "heappop"),
    ("getattr", "hasattr"),
    ("zip", "zip_longest"),
    ("quote", "quote_plus"),
    ("exists", "is_file", "is_dir"),
)
WRAPPERS = (
    "len",
    "str",
    "int",
    "list",
    "sorted",
    "abs",
    "set",
    "tuple",
    "float",
    "bool",
    "sum",
    "max",
    "min",
    "reversed",
    "dict",
    "enumerate",
    "range",
    "repr",
    "round",
    "any",
    "all",
    "iter",
    "next",
)
OF_MODULES = (
    "os.fspath",
    "copy.copy",
    "copy.deepcopy",
    "re.escape",
    "html.escape",
    "math.ceil",
    "math.floor",
    "inspect.unwrap",
    "os.fsdecode",
    "os.path.abspath",
    "Decimal",
    "Path",
)
SUFFIXES = (
    ".strip()",
    ".lower()",
    ".copy()",
    ".split()",
    ".items()",
    ".values()",
    ".keys()",
    ".upper()",
    ".encode()",
    ".decode()",
    ".rstrip()",
    ".total_seconds()",
    ".pop()",
)
EXTRA_ARGUMENTS = {
    "get": ("None", "0", "''", "[]", "{}"),
    "pop": ("None", "0"),
    "getattr": ("None",),
    "next": ("None",),
    "sorted": ("reverse=True", "key=len", "key=str"),
    "sort": ("reverse=True",),
    "open": ('encoding="utf-8"',),
    "split": ('","', '" "', "maxsplit=1", "1"),
    "rsplit": ("maxsplit=1", "1"),
    "round": ("2", "1"),
    "sum": ("0",),
    "strip": ('" "',),
    "replace": ("1",),
    "enumerate": ("1", "start=1"),
    "range": ("0", "1"),
    "dumps": ("sort_keys=True", "default=str", "ensure_ascii=False"),
    "deque": ("maxlen=1",),
    "max": ("default=None", "default=0", "0"),
    "min": ("default=None", "default=0"),
    "field": ("default=None",),
    "int": ("16", "2", "10"),
    "defaultdict": ("int", "list", "set"),
    "gather": ("return_exceptions=True",),
    "lru_cache": ("maxsize=None",),
}


def _callee(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Call)
    function = node.func
    if isinstance(function, ast.Attribute):
        name, end = function.attr, site.source.span(function)[1]
        start = end - len(name)
        others = site.scope.methods
    elif isinstance(function, ast.Name):
        name, (start, end) = function.id, site.source.span(function)
        others = site.scope.callables
    else:
        return
    seen = {name}
    for group in MIXED_UP:
        if name in group:
            for other in group:
                if other not in seen:
                    seen.add(other)
                    yield Draft(((start, end, other),))
    for place, other in enumerate(others):
        if other not in seen:
            seen.add(other)
            yield Draft(((start, end, other),), 0.6 + 0.05 * place)
    for place, other in enumerate(site.source.signatures):
        if other not in seen and not other.startswith("__"):
            yield Draft(((start, end, other),), 1.0 + 0.05 * place)


def _swap_arguments(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Call)
    items = [one for one in node.args if not isinstance(one, ast.Starred)]
    for first in range(len(items)):
        for second in range(first + 1, len(items)):
            one, two = items[first], items[second]
            change = (*site.put(one, site.text(two)).changes, *site.put(two, site.text(one)).changes)
            yield Draft(change, 0.2 * (second - first - 1))
    if isinstance(node.func, ast.Attribute) and len(items) == 1 and level_of(items[0]) == ATOM:
        base, argument = node.func.value, items[0]
        change = (*site.put(base, site.text(argument)).changes, *site.put(argument, site.text(base)).changes)
        yield Draft(change, 0.8)


def _add_argument(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Call)
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    inside = [*node.args, *(one.value for one in node.keywords)]
    close = site.source.span(node)[1] - 1
    comma = ", " if inside else ""
    if inside:
        close = max(site.source.span(one)[1] for one in inside)
        if len(inside) == 1 and isinstance(inside[0], ast.GeneratorExp):
            return
    for text in EXTRA_ARGUMENTS.get(name, ()):
        yield Draft(((close, close, comma + text),), -0.3)
    known = site.source.signatures.get(name)
    given = {one.arg for one in node.keywords}
    wanted = [one for one in parameters(known) if one not in {"self", "cls"} | given] if known else []
    for place, text in enumerate(wanted[len(node.args) :]):
        if text in site.scope.variables:
            yield Draft(((close, close, f"{comma}{text}={text}"),), -0.5 + 0.1 * place)
        for number, value in enumerate(("True", "False", "None", "0", "1")):
            yield Draft(((close, close, f"{comma}{text}={value}"),), 0.5 + 0.1 * number)
    for place, text in enumerate(site.scope.variables[:10]):
        yield Draft(((close, close, comma + text),), 0.2 + 0.05 * place)
        if node.args:
            start = site.source.span(node.args[0])[0]
            yield Draft(((start, start, f"{text}, "),), 0.5 + 0.05 * place)
    if name == "range" and len(node.args) == 2:
        for text in ("-1", "2"):
            yield Draft(((close, close, comma + text),), 0.3)


def _drop_argument(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Call)
    inside: list[ast.AST] = [*node.args, *node.keywords]
    for place, one in enumerate(inside):
        start, end = site.source.span(one)
        if place + 1 < len(inside):
            end = site.source.span(inside[place + 1])[0]
        elif place:
            start = site.source.span(inside[place - 1])[1]
        yield Draft(((start, end, ""),), 0.1 * place)


def _wrap(site: Site) -> Iterator[Draft]:
    node = site.node
    if not loads(node) or isinstance(site.parent, ast.JoinedStr | ast.FormattedValue | ast.Expr):
        return
    if isinstance(site.parent, ast.Call) and site.parent.func is node:
        return
    text = site.text(node)
    inner = f"({text})" if isinstance(node, ast.Tuple | ast.GeneratorExp) and text[:1] != "(" else text
    own = [one for one, made in site.source.functions.items() if len(parameters(made)) == 1]
    known = [one for one in OF_MODULES if one.split(".")[0] in site.source.imported]
    for place, name in enumerate((*WRAPPERS, *own, *known)):
        if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == name):
            # Another order passes a test by chance more often than it is what was meant.
            yield site.put(node, f"{name}({inner})", ATOM, 0.04 * place + (name == "reversed"))
    base = text if level_of(node) == ATOM else f"({text})"
    for place, tail in enumerate(SUFFIXES):
        yield site.put(node, base + tail, ATOM, 0.3 + 0.05 * place)
    for place, low in enumerate(("0", "1")):
        yield site.put(node, f"max({low}, {inner})", ATOM, 0.5 + 0.2 * place)
        yield site.put(node, f"max({inner}, {low})", ATOM, 0.9 + 0.2 * place)
    for place, name in enumerate(site.scope.variables[:8]):
        if name != text:
            yield site.put(node, f"max({name}, {inner})", ATOM, 0.6 + 0.05 * place)
            yield site.put(node, f"min({name}, {inner})", ATOM, 0.7 + 0.05 * place)


def _unwrap(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Call)
    for place, one in enumerate(node.args):
        if not isinstance(one, ast.Starred):
            yield site.put(node, site.text(one), level_of(one), 0.2 * place)
    if isinstance(node.func, ast.Attribute):
        yield site.put(node, site.text(node.func.value), level_of(node.func.value), 0.2)
    if not node.args and not node.keywords:
        yield site.put(node, site.text(node.func), ATOM, 0.5)
        return
    starred = [one for one in node.args if isinstance(one, ast.Starred)]
    for one in starred:
        yield site.put(one, site.text(one.value), ATOM, 0.4)
    for one in node.args:
        if not isinstance(one, ast.Starred) and isinstance(one, ast.Name):
            yield site.put(one, f"*{one.id}", ATOM, 1.0)


def _or_default(site: Site) -> Iterator[Draft]:
    node = site.node
    if not loads(node) or (isinstance(site.parent, ast.Call) and site.parent.func is node):
        return
    text = site.text(node)
    for place, value in enumerate(("0", "''", "[]", "{}", "None", "1", "()")):
        yield site.put(node, f"{text} or {value}", OR, 0.1 * place)
    if isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        inner = node.value if not isinstance(node, ast.Call) else getattr(node.func, "value", None)
        if isinstance(inner, ast.Name) and inner.id not in {"self", "cls"}:
            for place, value in enumerate(("None", "0", "''")):
                yield site.put(node, f"{text} if {inner.id} is not None else {value}", 2, 0.4 + 0.2 * place)


def _make_callable(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.Attribute)
    if loads(node) and not (isinstance(site.parent, ast.Call) and site.parent.func is node):
        known = node.attr in site.source.signatures
        yield site.put(node, f"{site.text(node)}()", ATOM, -0.8 if known else 0.4)


FAMILIES = (
    Family("callee", 2.1, (ast.Call,), _callee, "calls the wrong function"),
    Family("swap_args", 1.8, (ast.Call,), _swap_arguments, "arguments swapped"),
    Family("add_arg", 2.6, (ast.Call,), _add_argument, "argument missing"),
    Family("drop_arg", 2.2, (ast.Call,), _drop_argument, "argument too many"),
    Family(
        "wrap_call",
        2.6,
        (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.BinOp, ast.GeneratorExp, ast.ListComp),
        _wrap,
        "conversion missing",
    ),
    Family("unwrap", 2.0, (ast.Call,), _unwrap, "conversion too many"),
    Family(
        "or_default",
        2.7,
        (ast.Name, ast.Attribute, ast.Call, ast.Subscript),
        _or_default,
        "missing value not handled",
    ),
    Family("call_attr", 2.2, (ast.Attribute,), _make_callable, "method not called"),
)
