"""Where does a new import go, and under which name is a thing then reachable?"""

import ast
import sys

from veilig.repair.edit import BOM, Edit, LineMap, newline_of

_STDLIB = frozenset(sys.stdlib_module_names)


def import_edit(path: str, lines: LineMap, tree: ast.Module, module: str, name: str = "") -> tuple[Edit, ...]:
    """Edits that add `import module` or `from module import name`; empty when the module imports it already.

    The line goes into the existing block of imports, sorted; without one, behind docstring and __future__.
    """
    block = _block(tree)
    for node in block:
        wanted = (name, "*") if name else (module,)
        same = isinstance(node, ast.ImportFrom) and node.module == module and node.level == 0
        right_kind = same if name else isinstance(node, ast.Import)
        if right_kind and any(alias.name in wanted and alias.asname is None for alias in node.names):
            return ()
    for node in block:
        if name and isinstance(node, ast.ImportFrom) and node.module == module and node.level == 0:
            at = lines.span(node.names[-1])[1]
            return (Edit(path, at, at, f", {name}"),)
    return (_new_line(path, lines, tree, block, module, name),)


def _block(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


def _key(module: str, level: int, *, is_from: bool) -> tuple[int, bool, str]:
    top = module.split(".", maxsplit=1)[0]
    section = 3 if level else -1 if module == "__future__" else 0 if top in _STDLIB else 1
    return section, is_from, module.lower()


def _node_key(node: ast.Import | ast.ImportFrom) -> tuple[int, bool, str]:
    if isinstance(node, ast.Import):
        return _key(node.names[0].name, 0, is_from=False)
    return _key(node.module or "", node.level, is_from=True)


def _new_line(
    path: str,
    lines: LineMap,
    tree: ast.Module,
    block: list[ast.Import | ast.ImportFrom],
    module: str,
    name: str,
) -> Edit:
    newline = newline_of(lines.text)
    text = f"from {module} import {name}" if name else f"import {module}"
    key = _key(module, 0, is_from=bool(name))
    for index, node in enumerate(block):
        if _node_key(node) > key:
            at = lines.line_start(node.lineno)
            # A different section follows: keep it apart by a blank line, unless we join the section above.
            joined = index > 0 and _node_key(block[index - 1])[0] == key[0]
            if joined and _node_key(node)[0] != key[0]:
                at = lines.line_end(block[index - 1].end_lineno or block[index - 1].lineno)
                return Edit(path, at, at, f"{newline}{text}")
            gap = newline if _node_key(node)[0] != key[0] else ""
            return Edit(path, at, at, f"{text}{newline}{gap}")
    if block:
        last = block[-1]
        at = lines.line_end(last.end_lineno or last.lineno)
        gap = newline if _node_key(last)[0] != key[0] else ""
        return Edit(path, at, at, f"{newline}{gap}{text}")
    return _without_block(path, lines, tree, text, newline)


def _without_block(path: str, lines: LineMap, tree: ast.Module, text: str, newline: str) -> Edit:
    if ast.get_docstring(tree, clean=False) is not None:
        at = lines.line_end(tree.body[0].end_lineno or 1)
        return Edit(path, at, at, f"{newline}{newline}{text}{newline}")
    line = 1
    while line <= len(lines.starts) and lines.line_text(line).lstrip(BOM).startswith("#"):
        line += 1
    at = lines.line_start(line)
    return Edit(path, at, at, f"{text}{newline}{newline}")
