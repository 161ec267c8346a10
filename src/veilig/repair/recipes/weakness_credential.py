"""How does a credential leave the source (CWE-321, 798)?"""

import ast
import re

from veilig.audit.rules.credentials import KEY_ARGUMENTS
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site, keyword_of
from veilig.repair.recipes.weakness_values import defined, there

_SECRET = re.compile(r"(?i)passw|pwd|secret|token|key|credential|dsn|ur[il]")


def secret_from_environment(site: Site) -> list[Proposal]:
    """The credential comes from the environment; where it lives then is a person's decision."""
    found = _no_fallback(site)
    if found:
        return found
    literals = [n for n in site.nodes(ast.Constant) if isinstance(n.value, str | bytes)]
    named = [(n, _owner(site, n)) for n in literals]
    # The name that says password goes first: the first proposal is the one that people are shown.
    for node, name in sorted(named, key=lambda pair: _SECRET.search(pair[1]) is None):
        if name and not re.search(r"(?i)alg|host|user|name|region|mode", name):
            found += _moved(site, node, name)
    if site.finding.cwe == 321:
        return [*_keys(site), *found]
    return found


def _keys(site: Site) -> list[Proposal]:
    """Arguments that are keys by their place, followed to where their value stands."""
    found: list[Proposal] = []
    for call in site.nodes(ast.Call):
        position, keyword = KEY_ARGUMENTS.get(site.name_of(call.func), (99, ""))
        given = keyword_of(call, keyword) if keyword else None
        if given is None and len(call.args) > position:
            given = call.args[position]
        pair = re.search(r"(?i)(login|credentials?|auth)$", site.name_of(call.func))
        if given is None and pair is not None and len(call.args) > 1:
            given = call.args[1]
        place = defined(site, given) if given is not None else None
        if place is None:
            continue
        where, value = there(place), place[1]
        if isinstance(value, ast.Subscript):
            item = _entry(where, value)
            where, value = (there(item), item[1]) if item is not None else (where, value)
        if (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Attribute)
            and value.func.attr == "encode"
        ):
            value = value.func.value
        if isinstance(value, ast.Constant):
            name = _owner(where, value) or f"{site.name_of(call.func).split('.')[0]}_key"
            name = name if re.search(r"(?i)key|secret|pass|token", name) else f"{name}_key"
            found += _moved(where, value, name)
    return found


def _entry(site: Site, node: ast.Subscript) -> tuple[Site, ast.expr] | None:
    """The value under a constant key of a dictionary that the source knows."""
    place = defined(site, node.value)
    if place is None or not isinstance(place[1], ast.Dict) or not isinstance(node.slice, ast.Constant):
        return None
    for key, value in zip(place[1].keys, place[1].values, strict=True):
        if isinstance(key, ast.Constant) and key.value == node.slice.value:
            return place[0], value
    return None


def _moved(site: Site, node: ast.Constant, name: str) -> list[Proposal]:
    if not isinstance(node.value, str | bytes) or len(node.value) < 3 or not name:
        return []
    if isinstance(site.parents.get(node), ast.JoinedStr):
        return []
    variable = re.sub(r"\W+", "_", name).upper().strip("_")
    end = ".encode()" if isinstance(node.value, bytes) else ""
    edits = [site.replace(node, f'os.environ["{variable}"]{end}'), *site.add_import("os")]
    question = f"where does the secret live? {variable} must be set there, and the old one be revoked"
    title = f"credential from the environment: {variable}"
    return [site.proposal(title, *edits, cost=2, confidence=Confidence.MEDIUM, decision=question)]


def _no_fallback(site: Site) -> list[Proposal]:
    """`os.environ[name]` for `os.environ.get(name, "literal")`: a forgotten variable stops the program."""
    for call in site.calls("os.environ.get", "os.getenv"):
        if len(call.args) == 2 and isinstance(call.args[1], ast.Constant):
            name = site.source(call.args[0])
            edits = [site.replace(call, f"os.environ[{name}]"), *site.add_import("os")]
            asks = f"is {name} set wherever this runs? without it the program stops at its start"
            return [site.proposal("no literal stands in for the secret", *edits, decision=asks)]
    return []


def _owner(site: Site, node: ast.Constant) -> str:
    parent = site.parents.get(node)
    if isinstance(parent, ast.Compare):
        other = parent.comparators[0] if parent.left is node else parent.left
        return site.source(other).rsplit(".", 1)[-1] if isinstance(other, ast.Name | ast.Attribute) else ""
    if isinstance(parent, ast.Assign | ast.AnnAssign):
        target = parent.targets[0] if isinstance(parent, ast.Assign) else parent.target
        if isinstance(target, ast.Subscript):
            return site.source(target.slice).strip("'\"")
        return site.source(target).rsplit(".", 1)[-1]
    if isinstance(parent, ast.keyword) and parent.arg:
        return parent.arg
    if isinstance(parent, ast.Dict):
        for key, value in zip(parent.keys, parent.values, strict=True):
            if value is node and isinstance(key, ast.Constant):
                return str(key.value)
    return ""
