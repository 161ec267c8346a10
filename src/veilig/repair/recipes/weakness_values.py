"""Where does a name get its value, in this file or in the one it was imported from?"""

import ast
from dataclasses import replace
from pathlib import PurePosixPath

from veilig.repair.recipes.weakness_site import Function, Site

DEPTH_MAX = 8  # names that stand for names: more is not followed

type Place = tuple[Site, ast.expr]


def defined(site: Site, node: ast.expr, depth: int = 0) -> Place | None:
    """The expression that a name or attribute stands for, and the site of its file; None when unsure.

    Followed are names with one assignment, defaults of parameters, constants of other modules, attributes
    set in __init__, fields of classes, and what a function without branches returns.
    """
    if depth > DEPTH_MAX:
        return None
    if isinstance(node, ast.Name):
        found = _name(site, node)
    elif isinstance(node, ast.Attribute):
        found = _attribute(site, node)
    elif isinstance(node, ast.Call) and not node.args and not node.keywords:
        found = _returned(site, node)
    else:
        return site, node
    if found is None:
        return None
    there, value = found
    return defined(there, value, depth + 1) if _is_name(value) else found


def _is_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) or (isinstance(node, ast.Call) and not node.args)


def module_value(site: Site, name: str) -> ast.expr | None:
    """What a module-level name is given in its only assignment."""
    found = [
        item.value
        for item in site.tree.body
        if (isinstance(item, ast.Assign) and _targets(item) == [name])
        or (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id == name)
    ]
    return found[0] if len(found) == 1 else None


def _targets(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _name(site: Site, node: ast.Name) -> Place | None:
    function = site.function(node)
    if function is not None:
        default = _default(function, node.id)
        if default is not None:
            return site, default
        if any(arg.arg == node.id for arg in ast.walk(function.args) if isinstance(arg, ast.arg)):
            return None
        stored = [n for n in ast.walk(function) if _stores(n, node.id)]
        if stored:
            assignment = site.assigned(node)
            return (site, assignment.value) if assignment is not None else None
    value = module_value(site, node.id)
    if value is not None:
        return site, value
    return _imported(site, node.id)


def _stores(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)


def _default(function: Function, name: str) -> ast.expr | None:
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    for arg, value in zip(positional[len(positional) - len(spec.defaults) :], spec.defaults, strict=True):
        if arg.arg == name:
            return value
    for arg, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
        if arg.arg == name:
            return value
    return None


def _attribute(site: Site, node: ast.Attribute) -> Place | None:
    owner = node.value
    if isinstance(owner, ast.Name) and owner.id in ("self", "cls"):
        up = site.parents.get(node)
        while up is not None and not isinstance(up, ast.ClassDef):
            up = site.parents.get(up)
        return _field(site, up, node.attr) if isinstance(up, ast.ClassDef) else None
    if not isinstance(owner, ast.Name):
        return None
    module = imported_module(site, owner.id)
    if module is not None:
        value = module_value(module, node.attr)
        return (module, value) if value is not None else None
    made = defined(site, owner, DEPTH_MAX - 1)
    if made is None or not isinstance(made[1], ast.Call) or not isinstance(made[1].func, ast.Name):
        return None
    there, call = made
    class_node = class_of(there, made[1].func.id)
    del call
    return _field(class_node[0], class_node[1], node.attr) if class_node is not None else None


def class_of(site: Site, name: str) -> tuple[Site, ast.ClassDef] | None:
    """The class of this name, here or in the module it comes from."""
    for item in site.tree.body:
        if isinstance(item, ast.ClassDef) and item.name == name:
            return site, item
    for node, alias in _froms(site):
        if (alias.asname or alias.name) == name:
            there = _module(site, node)
            return class_of(there, alias.name) if there is not None else None
    return None


def _field(site: Site, node: ast.ClassDef, name: str) -> Place | None:
    for item in node.body:
        target = item.target if isinstance(item, ast.AnnAssign) else None
        if isinstance(item, ast.Assign):
            target = item.targets[0]
        if isinstance(target, ast.Name) and target.id == name and getattr(item, "value", None) is not None:
            assert isinstance(item, ast.Assign | ast.AnnAssign)
            value = item.value
            if isinstance(value, ast.Call) and site.name_of(value.func).endswith("field"):
                for keyword in value.keywords:
                    if keyword.arg == "default":
                        return site, keyword.value
                    if keyword.arg == "default_factory" and isinstance(keyword.value, ast.Lambda):
                        return site, keyword.value.body
            return (site, value) if value is not None else None
    set_here = [
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Assign)
        and isinstance(part.targets[0], ast.Attribute)
        and part.targets[0].attr == name
        and isinstance(part.targets[0].value, ast.Name)
        and part.targets[0].value.id == "self"
    ]
    return (site, set_here[0]) if len(set_here) == 1 else None


def _returned(site: Site, node: ast.Call) -> Place | None:
    """What a function of this file returns when it holds one return and nothing else."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if isinstance(node.func, ast.Attribute) and not isinstance(node.func.value, ast.Name):
        return None
    if isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") not in ("self", "cls"):
        return site, node
    for item in ast.walk(site.tree):
        if isinstance(item, ast.FunctionDef) and item.name == name:
            body = [part for part in item.body if not _is_docstring(part)]
            if len(body) == 1 and isinstance(body[0], ast.Return) and body[0].value is not None:
                return site, body[0].value
    return site, node


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _froms(site: Site) -> list[tuple[ast.ImportFrom, ast.alias]]:
    return [(n, alias) for n in ast.walk(site.tree) if isinstance(n, ast.ImportFrom) for alias in n.names]


def _imported(site: Site, name: str) -> Place | None:
    for node, alias in _froms(site):
        if (alias.asname or alias.name) == name:
            there = _module(site, node)
            value = module_value(there, alias.name) if there is not None else None
            return (there, value) if there is not None and value is not None else None
    return None


def imported_module(site: Site, name: str) -> Site | None:
    """The site of the project's module that a local name stands for; None for libraries and other names."""
    for node in ast.walk(site.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _open(site, alias.name.replace(".", "/"))
    for node, alias in _froms(site):
        if (alias.asname or alias.name) == name:
            return _module(site, node, alias.name)
    return None


def _module(site: Site, node: ast.ImportFrom, name: str = "") -> Site | None:
    parts = [*(node.module.split(".") if node.module else []), *([name] if name else [])]
    if not node.level:
        return _open(site, "/".join(parts))
    folder = PurePosixPath(site.finding.path).parents
    if node.level > len(folder):
        return None
    return _open(site, (folder[node.level - 1] / "/".join(parts)).as_posix(), exact=True)


def _open(site: Site, stem: str, *, exact: bool = False) -> Site | None:
    for tail in (f"{stem}.py", f"{stem}/__init__.py"):
        hits = [p for p in site.files if p == tail or (not exact and p.endswith(f"/{tail}"))]
        if len(hits) == 1:
            return site.at_line(hits[0], 1)
    return None


def there(place: Place) -> Site:
    """The site of a definition, at its line: edits made with it belong to its file."""
    site, node = place
    finding = replace(site.finding, line=node.lineno, end_line=node.lineno)
    return replace(site, finding=finding)
