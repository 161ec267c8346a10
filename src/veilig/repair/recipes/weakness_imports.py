"""Which imports does an edit leave without use, and how do they go?"""

import ast
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from veilig.repair.edit import BOM, Edit, EditError, LineMap, apply, parse
from veilig.repair.recipes.proposal import Proposal


def without_leftovers(proposal: Proposal, files: Mapping[str, str]) -> Proposal:
    """The proposal, and edits that take away the imports that only the replaced code used.

    An import stays when anything in the project may take it from here, or the file is a package's own.
    """
    more: list[Edit] = []
    for path in {edit.path for edit in proposal.edits}:
        text = files.get(path)
        if text is None or not path.endswith(".py") or path.endswith("__init__.py"):
            continue
        own = [edit for edit in proposal.edits if edit.path == path]
        try:
            before, after = parse(text), parse(apply(text, own))
        except (SyntaxError, ValueError, EditError):
            return proposal
        gone = (_read(before) - _read(after)) & _imported(before) & _imported(after)
        gone -= {name for name in gone if _taken_elsewhere(path, name, files)}
        more += [edit for edit in _removals(path, LineMap(text), before, gone) if not _touches(edit, own)]
    return replace(proposal, edits=(*proposal.edits, *more)) if more else proposal


def _read(tree: ast.Module) -> set[str]:
    """Names that are read, those in texts (annotations, __all__) among them."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 80:
            found.update(re.findall(r"\w+", node.value))
    return found


def _imported(tree: ast.Module) -> set[str]:
    return {
        (alias.asname or alias.name)
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if "." not in (alias.asname or alias.name)
    }


def _taken_elsewhere(path: str, name: str, files: Mapping[str, str]) -> bool:
    stem = re.escape(PurePosixPath(path).stem)
    pattern = re.compile(rf"(?m)^\s*from\s+[\w.]*\b{stem}\s+import\s+.*\b{name}\b|\b{stem}\.{name}\b")
    return any(
        other != path and other.endswith(".py") and pattern.search(text) for other, text in files.items()
    )


def _removals(path: str, lines: LineMap, tree: ast.Module, names: set[str]) -> list[Edit]:
    edits: list[Edit] = []
    for node in tree.body:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        kept = [a for a in node.names if (a.asname or a.name) not in names]
        if len(kept) == len(node.names):
            continue
        if not kept:
            edits += _line(path, lines, node)
            continue
        for index, alias in enumerate(node.names):
            if alias in kept:
                continue
            if index + 1 < len(node.names):
                start, end = lines.span(alias)[0], lines.span(node.names[index + 1])[0]
            else:
                start, end = lines.span(node.names[index - 1])[1], lines.span(alias)[1]
            edits.append(Edit(path, start, end, ""))
    return edits


def _line(path: str, lines: LineMap, node: ast.stmt) -> list[Edit]:
    start, end = lines.line_start(node.lineno), lines.line_start((node.end_lineno or node.lineno) + 1)
    row = lines.text[start:end].strip().removeprefix(BOM)
    if ";" in row or lines.span(node)[0] != start:
        return []  # it shares its line
    return [Edit(path, start, end, "")]


def _touches(edit: Edit, others: list[Edit]) -> bool:
    """Whether an edit overlaps another one; insertions at its borders do not."""
    return any(o.start < edit.end and edit.start < o.end and o.start != o.end for o in others) or any(
        o.start == o.end and edit.start < o.start < edit.end for o in others
    )
