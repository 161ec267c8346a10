"""Which removed function is small enough to be written into the file that uses it?"""

import ast
from collections.abc import Mapping

from veilig.repair.edit import Edit, LineMap, newline_of
from veilig.repair.recipes.project_index import tree_of
from veilig.repair.recipes.proposal import Confidence, Context, Needs, Proposal

RECIPE = "gone"
# (module, name) -> what it did, after the documentation of the last Python that had it.
_WRITTEN: Mapping[tuple[str, str], str] = {
    ("distutils.util", "strtobool"): '''def {name}(value):
    """1 for a word that means yes, 0 for one that means no; ValueError for any other."""
    word = value.lower()
    if word in ("y", "yes", "t", "true", "on", "1"):
        return 1
    if word in ("n", "no", "f", "false", "off", "0"):
        return 0
    raise ValueError(f"invalid truth value {{value!r}}")''',
}


def propose(context: Context) -> list[Proposal]:
    """One proposal per file that imports such a function from a module that is gone."""
    failure = context.failure
    if failure is None or failure.exception not in ("ImportError", "ModuleNotFoundError"):
        return []
    found: list[Proposal] = []
    for path, text in sorted(context.files.items()):
        tree = tree_of(text) if path.endswith(".py") and "import" in text else None
        for node in tree.body if tree else []:
            if isinstance(node, ast.ImportFrom) and node.module and _named(node.module, failure.message):
                edits = _edits(path, LineMap(text), tree, node) if tree else ()
                if edits:
                    title = f"writes out {node.names[0].name}, which {node.module} no longer has"
                    found.append(
                        Proposal(RECIPE, title, path, edits, 1.3, Needs.TESTS, Confidence.MEDIUM, node.lineno)
                    )
    return found


def _named(module: str, message: str) -> bool:
    return f"'{module}'" in message or f"'{module.partition('.')[0]}'" in message


def _edits(path: str, lines: LineMap, tree: ast.Module, node: ast.ImportFrom) -> tuple[Edit, ...]:
    wanted = [(alias, _WRITTEN.get((node.module or "", alias.name))) for alias in node.names]
    if not all(text for _, text in wanted):
        return ()
    newline = newline_of(lines.text)
    written = [(text or "").format(name=alias.asname or alias.name) for alias, text in wanted]
    last = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)][-1]
    gone = Edit(
        path, lines.line_start(node.lineno), lines.line_start((node.end_lineno or node.lineno) + 1), ""
    )
    body = "".join(f"{newline}{newline}{text}{newline}" for text in written).replace("\n", newline)
    at = lines.line_start((last.end_lineno or last.lineno) + 1)
    if last is node:  # one edit, since both touch the same place
        return (Edit(path, gone.start, gone.end, body),)
    return (gone, Edit(path, at, at, body))
