"""How is a generator that was marked as a coroutine written as `async def`?"""

import ast
import re

from veilig.repair.edit import Edit, LineMap
from veilig.repair.recipes.project_index import tree_of
from veilig.repair.recipes.proposal import Confidence, Context, Needs, Proposal

RECIPE = "coroutine"
_GONE = re.compile(
    r"module 'asyncio' has no attribute 'coroutine'|cannot import name 'coroutine' from 'asyncio'"
)
_IMPORT = re.compile(r"^from asyncio import coroutine[ \t]*\n", re.MULTILINE)


def propose(context: Context) -> list[Proposal]:
    """One proposal per file with `@asyncio.coroutine`: every such function becomes `async def`."""
    if context.failure is None or not _GONE.search(context.failure.message):
        return []
    found: list[Proposal] = []
    for path, text in sorted(context.files.items()):
        tree = tree_of(text) if path.endswith(".py") and "coroutine" in text else None
        edits = _edits(path, LineMap(text), tree) if tree else []
        if edits:
            line = text.count("\n", 0, min(edit.start for edit in edits)) + 1
            title = "generator coroutines become async functions"
            found.append(Proposal(RECIPE, title, path, tuple(edits), 1.0, Needs.TESTS, Confidence.HIGH, line))
    return found


def _edits(path: str, lines: LineMap, tree: ast.Module) -> list[Edit]:
    edits: list[Edit] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        marks = [d for d in node.decorator_list if lines.source(d) in ("asyncio.coroutine", "coroutine")]
        waits = _own(node)
        if not marks or waits is None:
            continue
        first = lines.line_start(marks[0].lineno)
        edits.append(Edit(path, first, lines.line_start(marks[0].lineno + 1), ""))
        start = lines.text.index("def", lines.line_start(node.lineno))
        edits.append(Edit(path, start, start, "async "))
        for wait in waits:
            at = lines.span(wait)[0]
            words = re.compile(r"yield\s+from").match(lines.text, at)
            if words:
                edits.append(Edit(path, at, words.end(), "await"))
    imported = _IMPORT.search(lines.text) if edits else None
    if imported:
        edits.append(Edit(path, *imported.span(), ""))
    return edits


def _own(function: ast.FunctionDef) -> list[ast.YieldFrom] | None:
    """The waits of the function itself; None when it also yields values: then it is a generator."""
    found: list[ast.YieldFrom] = []
    todo: list[ast.AST] = [*function.body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Yield):
            return None
        if isinstance(node, ast.YieldFrom):
            found.append(node)
        todo += ast.iter_child_nodes(node)
    return found
