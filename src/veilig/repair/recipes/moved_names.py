"""Which edits follow a name to its new place?"""

import ast
import re

from veilig.repair.edit import Edit, LineMap, newline_of
from veilig.repair.recipes.import_edits import import_edit
from veilig.repair.recipes.moved import ADVICE, MODULES, NAMES
from veilig.repair.recipes.project_index import tree_of
from veilig.repair.recipes.proposal import Advice, Confidence, Context, Needs, Proposal

RECIPE = "moved-name"


def propose(context: Context) -> list[Proposal | Advice]:
    """One proposal per file that uses what the failure names; advice where the code must change."""
    failure = context.failure
    wanted = _failing(failure.message) if failure else ""
    if not wanted:
        return []
    found: list[Proposal | Advice] = []
    for path in sorted(context.files, key=lambda path: (failure is not None and path != failure.path, path)):
        if path.endswith(".py") and wanted.split(".")[0] in context.files[path]:
            item = _follow(path, context, wanted)
            if item:
                found.append(item)
    advice = ADVICE.get(wanted) or ADVICE.get(wanted.split(".")[0])
    if not found and advice and failure:
        found.append(Advice(RECIPE, f"{wanted} is gone", failure.path, failure.line, advice))
    return found


def _failing(message: str) -> str:
    """The dotted name that an import or attribute error is about."""
    match = re.search(
        r"cannot import name '([\w.]+)' from (?:partially initialized module )?'([\w.]+)'", message
    )
    if match:
        return f"{match[2]}.{match[1]}"
    match = re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message)
    if match:
        return f"{match[1]}.{match[2]}"
    match = re.search(r"No module named '([\w.]+)'", message)
    return match[1] if match else ""


def _new_name(full: str, wanted: str) -> str | None:
    # Only what the failure is about: the same module, or the very name.
    top = wanted.split(".", maxsplit=1)[0]
    if full.split(".", maxsplit=1)[0] != top:
        return None
    if full in NAMES and (wanted in NAMES or wanted == top or full.startswith(f"{wanted}.")):
        return NAMES[full]
    module, _, name = full.rpartition(".")
    return f"{MODULES[module]}.{name}" if module in MODULES else None


def _follow(path: str, context: Context, wanted: str) -> Proposal | None:
    text = context.files[path]
    tree = tree_of(text)
    if tree is None:
        return None
    lines = LineMap(text)
    aliases: dict[str, str] = {}
    edits: list[Edit] = []
    moves: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            edits += _from_import(path, lines, node, wanted, moves)
        elif isinstance(node, ast.Import):
            edits += _plain_import(path, lines, node, wanted, moves)
            for alias in node.names:
                aliases[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
    needed: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            full = _dotted(node, aliases)
            new = _new_name(full, wanted) if full in NAMES else None
            if new is not None:
                edits.append(Edit(path, *lines.span(node), _spelled(new, aliases, needed)))
                moves.append(f"{full} -> {new}")
    gone = _unused_import(path, lines, tree, aliases, wanted, edits)
    if gone is not None and needed:
        gone = Edit(path, gone.start, gone.end, f"import {needed.pop()}{newline_of(text)}")
    for module in sorted(needed):
        edits += import_edit(path, lines, tree, module)
    edits += [gone] if gone is not None else []
    if not edits:
        return None
    line = lines.position(min(edit.start for edit in edits))[0]
    return Proposal(
        RECIPE, "; ".join(dict.fromkeys(moves)), path, tuple(dict.fromkeys(edits)), 1.0 + 0.1 * len(moves),
        Needs.TESTS, Confidence.HIGH, line,
    )  # fmt: skip


def _unused_import(
    path: str, lines: LineMap, tree: ast.Module, aliases: dict[str, str], wanted: str, edits: list[Edit]
) -> Edit | None:
    """The span of `import wanted` when every use of that module has been moved by `edits`."""
    moved = {edit.start for edit in edits}
    for node in tree.body:
        if not isinstance(node, ast.Import) or len(node.names) != 1 or node.names[0].name != wanted:
            continue
        bound = node.names[0].asname or wanted
        uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == bound]
        if wanted not in MODULES and uses and all(lines.span(use)[0] in moved for use in uses):
            aliases.pop(bound, None)
            return Edit(path, lines.line_start(node.lineno), lines.line_start(node.lineno + 1), "")
    return None


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value, aliases)
        return f"{inner}.{node.attr}" if inner else ""
    return aliases.get(node.id, "") if isinstance(node, ast.Name) else ""


def _spelled(new: str, aliases: dict[str, str], needed: set[str]) -> str:
    """The new name, written with the alias that the file has for its module."""
    module, _, name = new.rpartition(".")
    if not module:
        return new
    for alias, full in aliases.items():
        if full == module:
            return f"{alias}.{name}"
    if module != "str":
        needed.add(module)
    return new


def _from_import(
    path: str, lines: LineMap, node: ast.ImportFrom, wanted: str, moves: list[str]
) -> list[Edit]:
    module = node.module or ""
    renamed = MODULES.get(module) if module.split(".")[0] == wanted.split(".", maxsplit=1)[0] else None
    stay: list[str] = []
    rows: list[str] = []
    for alias in node.names:
        shown = alias.name + (f" as {alias.asname}" if alias.asname else "")
        new = _new_name(f"{module}.{alias.name}", wanted)
        if new is None:
            stay.append(shown)
            continue
        moves.append(f"{module}.{alias.name} -> {new}")
        target, _, name = new.rpartition(".")
        bound = alias.asname or alias.name
        if not target:
            rows += [] if bound == new else [f"{bound} = {new}"]
        else:
            rows.append(f"from {target} import {name}" + ("" if name == bound else f" as {bound}"))
    if renamed is not None and not rows:
        rows = [f"from {renamed} import {', '.join(stay)}"]
        moves.append(f"{module} -> {renamed}")
        stay = []
    if not rows:
        return []
    start, end = lines.span(node)
    line = lines.line_text(node.lineno)
    indent = line[: len(line) - len(line.lstrip())]
    grouped = _grouped(rows)
    kept = [f"from {module} import {', '.join(stay)}"] if stay else []
    return [Edit(path, start, end, f"\n{indent}".join([*kept, *grouped]))]


def _grouped(rows: list[str]) -> list[str]:
    found: dict[str, list[str]] = {}
    for row in rows:
        head, _, name = row.partition(" import ")
        found.setdefault(head, []).append(name)
    return [f"{head} import {', '.join(names)}" if names[0] else head for head, names in found.items()]


def _plain_import(path: str, lines: LineMap, node: ast.Import, wanted: str, moves: list[str]) -> list[Edit]:
    found: list[Edit] = []
    for alias in node.names:
        new = MODULES.get(alias.name)
        if new is None or alias.name.split(".")[0] != wanted.split(".", maxsplit=1)[0]:
            continue
        bound = alias.asname or alias.name
        found.append(
            Edit(path, *lines.span(alias), f"{new} as {bound}" if "." not in bound and new != bound else new)
        )
        moves.append(f"{alias.name} -> {new}")
    return found
