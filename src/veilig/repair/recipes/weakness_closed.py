"""How does a setting or a failed check end on the safe side (CWE-525, 636, 1188)?"""

import ast

from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site


def private_pages(site: Site) -> list[Proposal]:
    """`cache_control.public = True` on answers for people: they are kept by no cache."""
    for node in site.nodes(ast.Assign):
        target = node.targets[0]
        if isinstance(target, ast.Attribute) and target.attr == "public":
            text = f"{site.source(target.value)}.no_store = True"
            return [site.proposal("no_store for public", site.replace(node, text))]
    return []


def closed_on_errors(site: Site) -> list[Proposal]:
    """The answer that is put down when a check cannot be made is the one that lets nobody pass."""
    for node in site.nodes(ast.Assign, ast.Return):
        value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, bool):
            title = f"answers {not value.value} when the check cannot be made"
            edit = site.replace(value, str(not value.value))
            return [site.proposal(title, edit, confidence=Confidence.MEDIUM)]
    return []


def wanted_secret(site: Site) -> list[Proposal]:
    """A secret from the environment without an empty default: the program does not start without it."""
    for call in site.calls("os.environ.get", "os.getenv"):
        if len(call.args) == 2 and isinstance(call.args[1], ast.Constant) and not call.args[1].value:
            base = "os.environ" if site.name_of(call.func) == "os.getenv" else site.source(call.func)[:-4]
            text = f"{base}[{site.source(call.args[0])}]"
            more = site.add_import("os") if base == "os.environ" else ()
            return [site.proposal("no empty default", site.replace(call, text), *more)]
    return []
