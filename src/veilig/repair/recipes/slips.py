"""Which slips of everyday Python give a wrong answer, or an error far from their line?"""

import ast
import re
from collections.abc import Iterator

from veilig.repair.recipes.crash_site import Draft, Function, Site
from veilig.repair.recipes.import_edits import import_edit

# Methods of str that give a new text; the old one never changes.
_PURE = frozenset(
    {"strip", "lstrip", "rstrip", "replace", "lower", "upper", "title", "capitalize", "casefold", "swapcase",
     "removeprefix", "removesuffix", "expandtabs", "zfill", "ljust", "rjust", "center", "translate", "format"}
)  # fmt: skip
_FIELD = re.compile(r"\{([A-Za-z_]\w*)(?:[.\[][^{}]*)?(?:![rsa])?(?::[^{}]*)?\}")


def of_function(site: Site, node: Function) -> Iterator[Draft]:
    """Edits of slips inside one function, each with its cost."""
    yield from _in_vain(site, node)
    yield from _unmarked(site, node)
    yield from _closures(site, node)
    yield from _sorted_in_place(site, node)


def of_raise(site: Site, node: ast.Raise) -> Iterator[Draft]:
    """`raise NotImplemented`, which is a value and no exception."""
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    if isinstance(raised, ast.Name) and raised.id == "NotImplemented":
        yield "raises NotImplementedError", (site.put(raised, "NotImplementedError"),), 1.0


def _in_vain(site: Site, node: Function) -> Iterator[Draft]:
    """Statements such as `line.strip()`: their results are kept, all at once or one alone."""
    found: list[tuple[str, ast.Expr]] = []
    for statement in ast.walk(node):
        if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
            continue
        called = statement.value.func
        if isinstance(called, ast.Attribute) and called.attr in _PURE and isinstance(called.value, ast.Name):
            found.append((called.value.id, statement))
    edits = tuple(site.put(s, f"{name} = {site.text(s)}") for name, s in found)
    if edits:
        yield f"keeps the result of {site.text(found[0][1])}", edits, 1.1
    for (_, statement), edit in zip(found, edits, strict=True) if len(edits) > 1 else ():
        yield f"keeps the result of {site.text(statement)}", (edit,), 1.3


def _unmarked(site: Site, node: Function) -> Iterator[Draft]:
    """A text with `{name}` of a name that is in reach, and no f in front of it."""
    names = {a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
    names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    held = {id(n.value) for n in ast.walk(node) if isinstance(n, ast.Attribute | ast.Expr)}
    held |= {id(part) for n in ast.walk(node) if isinstance(n, ast.JoinedStr) for part in n.values}
    for constant in ast.walk(node):
        if (
            not isinstance(constant, ast.Constant)
            or not isinstance(constant.value, str)
            or id(constant) in held
        ):
            continue
        fields = _FIELD.findall(constant.value)
        text = site.text(constant)
        if fields and all(field in names for field in fields) and text[:1] in "'\"":
            yield f"formats {text}", (site.put(constant, f"f{text}"),), 1.0


def _closures(site: Site, node: Function) -> Iterator[Draft]:
    """A lambda made in a loop that reads the loop's variable: it keeps the value of its own round."""
    for loop in ast.walk(node):
        if isinstance(loop, ast.For | ast.AsyncFor):
            targets, inside = [loop.target], [n for s in loop.body for n in ast.walk(s)]
        elif isinstance(loop, ast.ListComp | ast.SetComp | ast.GeneratorExp):
            targets, inside = [g.target for g in loop.generators], list(ast.walk(loop.elt))
        elif isinstance(loop, ast.DictComp):
            targets, inside = [g.target for g in loop.generators], list(ast.walk(loop.value))
        else:
            continue
        bound = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
        for made in inside:
            if (
                not isinstance(made, ast.Lambda)
                or made.args.vararg
                or made.args.kwarg
                or made.args.kwonlyargs
            ):
                continue
            own = {a.arg for a in made.args.args}
            read = {n.id for n in ast.walk(made.body) if isinstance(n, ast.Name)}
            kept = [name for name in bound if name in read and name not in own]
            if not kept:
                continue
            more = ", ".join(f"{name}={name}" for name in kept)
            given = site.text(made)[len("lambda") : site.lines.span(made.body)[0] - site.lines.span(made)[0]]
            given = given.rstrip().removesuffix(":").strip()
            head = f"{given}, {more}" if given else more
            text = f"lambda {head}: {site.text(made.body)}"
            yield f"each round keeps its own {', '.join(kept)}", (site.put(made, text),), 1.2


def _sorted_in_place(site: Site, node: Function) -> Iterator[Draft]:
    """`x = y.sort()`: sort gives None."""
    for value in ast.walk(node):
        if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
            continue
        owner, name = value.func.value, value.func.attr
        used = any(
            isinstance(n, ast.Return | ast.Assign | ast.For) and value in ast.iter_child_nodes(n)
            for n in ast.walk(node)
        )
        if used and name in ("sort", "reverse") and isinstance(owner, ast.Name | ast.Attribute):
            inner = ", ".join([site.text(owner), *(site.text(k) for k in value.keywords)])
            text = f"sorted({inner})" if name == "sort" else f"list(reversed({site.text(owner)}))"
            yield f"{site.text(value)} gives None", (site.put(value, text),), 1.1


def of_field(site: Site, kind: str) -> Iterator[Draft]:
    """Fields of dataclasses with a mutable default of this kind: each object gets a new one."""
    more = import_edit(site.path, site.lines, site.tree, "dataclasses", "field")
    name = "dataclasses.field" if "import dataclasses" in site.lines.text else "field"
    for node in ast.walk(site.tree):
        if not isinstance(node, ast.ClassDef) or not any(
            "dataclass" in site.text(d) for d in node.decorator_list
        ):
            continue
        edits = [
            site.put(item.value, f"{name}(default_factory={_factory(site, item.value)})")
            for item in node.body
            if isinstance(item, ast.AnnAssign) and item.value is not None and _is(site, item.value, kind)
        ]
        if edits:
            added = more if name == "field" else ()
            yield f"a new {kind} for every {node.name}", (*edits, *added), 1.0


def _is(site: Site, value: ast.expr, kind: str) -> bool:
    literal = {"list": ast.List, "dict": ast.Dict, "set": ast.Set}.get(kind)
    return (literal is not None and isinstance(value, literal)) or site.text(value).startswith(f"{kind}(")


def _factory(site: Site, value: ast.expr) -> str:
    text = site.text(value)
    empty = {"[]": "list", "{}": "dict"}.get(text) or text.removesuffix("()")
    return empty if empty.isidentifier() else f"lambda: {text}"
