"""Which modules does a project have, and which names do they define?"""

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import PurePosixPath

from veilig.repair.edit import parse

_ROOTS = ("src/", "lib/")


def module_of(path: str) -> str:
    """The dotted name under which a file is imported; a leading src/ or lib/ is no package."""
    for root in _ROOTS:
        path = path.removeprefix(root)
    parts = list(PurePosixPath(path).with_suffix("").parts)
    if parts and parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def modules(files: Mapping[str, str]) -> dict[str, str]:
    """Module name -> path of every Python file; a package without __init__.py has an empty path."""
    found: dict[str, str] = {}
    for path in sorted(files):
        if path.endswith(".py"):
            name = module_of(path)
            found[name] = path
            while "." in name:
                name = name.rpartition(".")[0]
                found.setdefault(name, "")
    return found


@lru_cache(maxsize=256)
def tree_of(text: str) -> ast.Module | None:
    """The AST of a file, None when it does not parse."""
    try:
        return parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def exports(text: str) -> dict[str, int]:
    """Names bound at module level -> the line; imports are included."""
    tree = tree_of(text)
    found: dict[str, int] = {}
    for node in _top(tree.body if tree else []):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node.lineno
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name.split(".")[0]] = node.lineno
        else:
            for name in ast.walk(node):
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                    found.setdefault(name.id, name.lineno)
    return found


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _top(node.body)
            yield from _top(node.orelse)
        else:
            yield node


def definers(files: Mapping[str, str], name: str) -> list[tuple[str, str]]:
    """(path, module) of every file that defines the name; tests last, the shortest module first."""
    found: list[tuple[str, str]] = []
    for path, text in files.items():
        tree = tree_of(text) if path.endswith(".py") and name in text else None
        for node in _top(tree.body if tree else []):
            defined = (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name
            )
            targets = node.targets if isinstance(node, ast.Assign) else []
            if defined or any(isinstance(target, ast.Name) and target.id == name for target in targets):
                found.append((path, module_of(path)))
                break
    return sorted(found, key=lambda item: ("test" in item[0], len(item[1]), item[1]))


def members(files: Mapping[str, str], class_name: str) -> set[str]:
    """Methods and attributes of the project's classes of this name, those of their bases included."""
    found: set[str] = set()
    for path, text in files.items():
        tree = tree_of(text) if path.endswith(".py") and class_name in text else None
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.ClassDef) and node.name == class_name:
                found |= class_members(node)
                for base in node.bases:
                    if isinstance(base, ast.Name) and base.id != class_name:
                        found |= members(files, base.id)
    return found


def class_members(node: ast.ClassDef) -> set[str]:
    """Names that a class body and its methods bind on the class or on self."""
    found: set[str] = set()
    for item in ast.walk(node):
        if not isinstance(item, ast.Attribute) or not isinstance(item.ctx, ast.Store):
            continue
        if isinstance(item.value, ast.Name) and item.value.id in ("self", "cls"):
            found.add(item.attr)
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(item.name)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            found.add(item.target.id)
        elif isinstance(item, ast.Assign):
            found |= {target.id for target in item.targets if isinstance(target, ast.Name)}
    return found
