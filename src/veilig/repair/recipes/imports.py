"""Which edit makes a failing import of the project work?"""

import ast
import re
import sys
from collections.abc import Iterator
from posixpath import basename, dirname, join

from veilig.repair.edit import Edit, LineMap
from veilig.repair.recipes.names import module_names
from veilig.repair.recipes.nearest import nearest
from veilig.repair.recipes.project_index import definers, exports, module_of, modules, tree_of
from veilig.repair.recipes.proposal import Advice, Confidence, Context, Needs, Proposal

RECIPE = "imports"
_STDLIB = frozenset(sys.stdlib_module_names)
_NAME = re.compile(r"cannot import name '([\w.]+)' from (?:partially initialized module )?'([\w.]+)'")


def propose(context: Context) -> list[Proposal | Advice]:
    """Repairs for ImportError and ModuleNotFoundError that lie in the project's own text; best first."""
    failure = context.failure
    if failure is None or failure.exception not in ("ImportError", "ModuleNotFoundError", "AttributeError"):
        return []
    found: list[Proposal | Advice] = []
    name = _NAME.search(failure.message)
    missing = re.search(r"No module named '([\w.]+)'", failure.message)
    if "circular import" in failure.message or "partially initialized" in failure.message:
        found += _circular(context)
    found += _shadow(context)
    if name:
        found += _wrong_name(context, name[1], name[2])
    elif missing:
        found += _wrong_module(context, missing[1])
    elif "attempted relative import" in failure.message:
        found += _absolute(context)
    order = {id(item): item.cost if isinstance(item, Proposal) else 99.0 for item in found}
    return sorted(found, key=lambda item: order[id(item)])


def _proposal(title: str, path: str, edits: list[Edit], cost: float, line: int, *, sure: bool) -> Proposal:
    confidence = Confidence.HIGH if sure else Confidence.MEDIUM
    return Proposal(RECIPE, title, path, tuple(edits), cost, Needs.IMPORT, confidence, line)


def _import_nodes(context: Context) -> Iterator[tuple[str, LineMap, ast.Import | ast.ImportFrom]]:
    """Every import of the project, those of the failing file first; test files are left to their authors."""
    failing = context.failure.path if context.failure else ""
    for path in sorted(context.files, key=lambda path: (path != failing, path)):
        tree = tree_of(context.files[path]) if path.endswith(".py") else None
        if tree is not None:
            lines = LineMap(context.files[path])
            for node in ast.walk(tree):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield path, lines, node


def _absolute_module(path: str, node: ast.ImportFrom) -> str:
    """The module an import means, its leading dots resolved against the file's package."""
    if not node.level:
        return node.module or ""
    parts = module_of(path).split(".")
    if basename(path) != "__init__.py":
        parts = parts[:-1]
    parts = parts[: len(parts) - (node.level - 1)] if node.level > 1 else parts
    return ".".join([*parts, *([node.module] if node.module else [])])


def _wrong_name(context: Context, name: str, module: str) -> Iterator[Proposal]:
    """`from module import name`: the name moved to another module, or is misspelt."""
    known = modules(context.files)
    path = known.get(module, "")
    offered = set(exports(context.files[path])) if path else module_names(context, module)
    offered |= {other.rpartition(".")[2] for other in known if other.rpartition(".")[0] == module}
    for file, lines, node in _import_nodes(context):
        if not isinstance(node, ast.ImportFrom) or _absolute_module(file, node) != module:
            continue
        for alias in node.names:
            if alias.name != name:
                continue
            for rank, (_, home) in enumerate(definers(context.files, name)[:3]):
                if home != module:
                    edits = [_moved_import(file, lines, node, alias, home)]
                    title = f"{name} now lives in {home}"
                    yield _proposal(title, file, edits, 1.0 + 0.3 * rank, node.lineno, sure=rank == 0)
            for rank, other in enumerate(nearest(name, offered)):
                edits = _respelt(file, lines, alias, other)
                yield _proposal(
                    f"{name} -> {other}", file, edits, 1.2 + 0.3 * rank, node.lineno, sure=rank == 0
                )


def _respelt(file: str, lines: LineMap, alias: ast.alias, new: str) -> list[Edit]:
    """The imported name and its uses in the file, all spelt as `new`; an alias keeps the uses as they are."""
    start, end = lines.span(alias)
    if alias.asname:
        return [Edit(file, start, end, f"{new} as {alias.asname}")]
    tree = tree_of(lines.text)
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)] if tree else []
    uses = [name for name in names if name.id == alias.name]
    rebound = any(not isinstance(use.ctx, ast.Load) for use in uses)
    if uses and ("." in new or rebound or any(name.id == new for name in names)):
        return [Edit(file, start, end, new if "." in alias.name else f"{new} as {alias.name}")]
    return [Edit(file, start, end, new), *(Edit(file, *lines.span(use), new) for use in uses)]


def _moved_import(file: str, lines: LineMap, node: ast.ImportFrom, alias: ast.alias, home: str) -> Edit:
    shown = alias.name + (f" as {alias.asname}" if alias.asname else "")
    if len(node.names) == 1:
        start, end = lines.span(node)
        return Edit(file, start, end, f"from {home} import {shown}")
    rest = [other for other in node.names if other is not alias]
    kept = ", ".join(other.name + (f" as {other.asname}" if other.asname else "") for other in rest)
    head = "." * node.level + (node.module or "")
    start, end = lines.span(node)
    indent = " " * node.col_offset
    return Edit(file, start, end, f"from {head} import {kept}\n{indent}from {home} import {shown}")


def _wrong_module(context: Context, module: str) -> Iterator[Proposal | Advice]:
    """`import module`: it moved inside the project, is misspelt, or its folder is no package."""
    known = modules(context.files)
    last = module.rpartition(".")[2]
    homes = [
        name for name, path in known.items() if path and name.rpartition(".")[2] == last and name != module
    ]
    everything = (
        {name for name in known if "." not in name} | _STDLIB | set(context.installed) | set(context.exports)
    )
    everything = {name for name in everything if not name.startswith("_")}
    parent = module.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == parent] if parent in known else []
    near = nearest(module, siblings or everything)
    if parent and not siblings:
        top = nearest(module.split(".", maxsplit=1)[0], everything)
        near = [f"{name}.{module.partition('.')[2]}" for name in top]
    for rank, new in enumerate([*near, *homes[:2]]):
        for file, lines, node in _import_nodes(context):
            edits = _renamed(file, lines, node, module, new)
            if edits:
                sure = rank == 0 and (new in near or len(homes) == 1)
                title = f"module {module} -> {new}"
                yield _proposal(title, file, edits, 1.1 + 0.3 * rank, node.lineno, sure=sure)
    for file, lines, node in _import_nodes(context):
        if isinstance(node, ast.ImportFrom) and _absolute_module(file, node) == module:
            everywhere = [{home for _, home in definers(context.files, a.name)} for a in node.names]
            for home in sorted(set[str].intersection(*everywhere), key=lambda name: ("test" in name, name))[
                :2
            ]:
                edits = _renamed(file, lines, node, module, home) if home not in near else []
                if edits:
                    title = f"{', '.join(a.name for a in node.names)} now lives in {home}"
                    yield _proposal(title, file, edits, 1.2, node.lineno, sure=False)
    folders = {dirname(path) for path in context.files if path.endswith(".py")}
    wanted = module.replace(".", "/")
    for folder in sorted(folders):
        inside = folder == wanted or folder.endswith(f"/{wanted}")
        if inside and join(folder, "__init__.py") not in context.files:
            path = join(folder, "__init__.py")
            yield _proposal(f"{folder} becomes a package", path, [Edit(path, 0, 0, "")], 1.4, 1, sure=False)


def _renamed(file: str, lines: LineMap, node: ast.Import | ast.ImportFrom, old: str, new: str) -> list[Edit]:
    if isinstance(node, ast.ImportFrom):
        if _absolute_module(file, node) != old:
            return []
        start = lines.text.index("from", lines.span(node)[0]) + 4
        end = lines.text.index("import", start)
        home = _absolute_module(file, ast.ImportFrom(None, [], node.level)) if node.level else ""
        near = bool(home) and new.startswith(f"{home}.")
        shown = "." * node.level + new.removeprefix(f"{home}.") if near else new
        return [Edit(file, start, end, f" {shown} ")]
    alias = next((alias for alias in node.names if alias.name == old), None)
    return _respelt(file, lines, alias, new) if alias is not None else []


def _absolute(context: Context) -> Iterator[Proposal]:
    """A relative import in a file that runs as a script."""
    failing = context.failure.path if context.failure else ""
    for file, lines, node in _import_nodes(context):
        if file == failing and isinstance(node, ast.ImportFrom) and node.level:
            new = _absolute_module(file, node)
            start = lines.text.index("from", lines.span(node)[0]) + 4
            end = lines.text.index("import", start)
            edits = [Edit(file, start, end, f" {new} ")]
            yield _proposal(f"absolute import of {new}", file, edits, 1.2, node.lineno, sure=False)


def _circular(context: Context) -> Iterator[Proposal]:
    """The import moves into the functions that use it; it stays where module level needs it."""
    frames = context.failure.frames if context.failure else ()
    involved = [frame.path for frame in reversed(frames) if frame.path in context.files]
    match = _NAME.search(context.failure.message) if context.failure else None
    for rank, path in enumerate(dict.fromkeys(involved)):
        tree = tree_of(context.files[path])
        lines = LineMap(context.files[path])
        for node in tree.body if tree else []:
            if not isinstance(node, ast.ImportFrom | ast.Import):
                continue
            if rank == 0 and match and isinstance(node, ast.ImportFrom):
                if match[1] not in {alias.name for alias in node.names}:
                    continue
            elif _target(path, node) not in {module_of(other) for other in involved}:
                continue
            edits = _into_functions(path, lines, tree, node) if tree else []
            if edits:
                title = f"imports {_target(path, node)} where it is used, which breaks the circle"
                yield _proposal(title, path, edits, 1.5 + 0.4 * rank, node.lineno, sure=False)


def _target(path: str, node: ast.Import | ast.ImportFrom) -> str:
    return _absolute_module(path, node) if isinstance(node, ast.ImportFrom) else node.names[0].name


def _into_functions(
    path: str, lines: LineMap, tree: ast.Module, node: ast.Import | ast.ImportFrom
) -> list[Edit]:
    bound = {alias.asname or alias.name.split(".")[0] for alias in node.names}
    edits: list[Edit] = []
    inside: set[int] = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        uses = [
            n for item in function.body for n in ast.walk(item) if isinstance(n, ast.Name) and n.id in bound
        ]
        fresh = [use for use in uses if id(use) not in inside]
        inside |= {id(use) for use in uses}
        if not fresh:
            continue
        first = function.body[0]
        if ast.get_docstring(function, clean=False) is not None and len(function.body) > 1:
            first = function.body[1]
        start = lines.line_start(first.lineno)
        row = lines.line_text(first.lineno)
        indent = row[: len(row) - len(row.lstrip())]
        if lines.line_start(function.lineno) == start:
            return []  # a function on one line has no place for an import
        edits.append(Edit(path, start, start, f"{indent}{lines.source(node)}\n"))
    every = {id(n) for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in bound}
    if not edits or every - inside:
        return []
    start = lines.line_start(node.lineno)
    end = lines.line_start((node.end_lineno or node.lineno) + 1)
    return [*edits, Edit(path, start, end, "")]


def _shadow(context: Context) -> Iterator[Proposal]:
    """A project file that hides a module of the standard library which has what is missed."""
    message = context.failure.message if context.failure else ""
    missed = re.search(r"(?:cannot import name|has no attribute) '(\w+)'", message)
    for path, text in context.files.items():
        name = module_of(path)
        if not path.endswith(".py") or name not in _STDLIB or f"'{name}'" not in message or missed is None:
            continue
        own = "partially initialized" in message  # it imports itself where it means the other one
        known = missed[1] in context.exports.get(name, frozenset())
        if missed[1] in exports(text) or not (own or known):
            continue
        new = f"{path.removesuffix('.py')}_own.py"
        asks = f"under which name shall {path} go on? it stands in front of the standard library's {name}"
        title = f"{path} hides the standard library's {name}"
        edit = Edit(new, 0, 0, text)
        yield Proposal(
            RECIPE, title, path, (edit,), 0.5, Needs.TESTS, Confidence.HIGH, 1, removed=(path,), decision=asks
        )
