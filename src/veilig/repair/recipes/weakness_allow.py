"""Which hosts, names and commands may be chosen from outside (CWE-78, 94, 470, 918)?"""

import ast

from veilig.repair.recipes.proposal import Proposal
from veilig.repair.recipes.weakness_settings import constant_named
from veilig.repair.recipes.weakness_site import Site, keyword_of
from veilig.repair.recipes.weakness_template import values_of
from veilig.repair.recipes.weakness_text import above_definition, refusal


def allowed_host(site: Site) -> list[Proposal]:
    """The host of the address is looked up in a list before anything is fetched."""
    known = constant_named(site, r"(?i)host|domain")
    asks = "" if known else "which hosts may be fetched from?"
    name = known or "ALLOWED_HOSTS"
    sinks = (
        "get",
        "post",
        "put",
        "head",
        "request",
        "urlopen",
        "stream",
        "delete",
        "patch",
        "urlretrieve",
        "Request",
    )
    for call in site.calls(suffix=sinks):
        node = call.args[0] if call.args else keyword_of(call, "url")
        if len(call.args) > 1 and site.name_of(call.func).endswith(("request", "stream")):
            node = call.args[1]
        if node is None or isinstance(node, ast.Constant):
            continue
        statement = site.statement(call)
        named = isinstance(node, ast.Name)
        variable = site.source(node) if named else site.free_name("address")
        rows = [] if named else [f"{variable} = {site.source(node)}"]
        refuse, imports = refusal(site, 400, "this host is not allowed", "ValueError")
        rows += [f"if urlsplit({variable}).hostname not in {name}:", f"    {refuse}"]
        before = site.before(statement, rows)
        if before is None:
            continue
        edits = [before, *site.add_import("urllib.parse", "urlsplit"), *imports]
        if not named:
            edits.append(site.replace(node, variable))
        if not known:
            edits.append(above_definition(site, statement, [f'{name} = frozenset({{"api.example.org"}})']))
        return [site.proposal(f"only hosts of {name}", *edits, decision=asks)]
    return []


def allowed_name(site: Site) -> list[Proposal]:
    """The name is looked up in a list before it is imported or resolved."""
    indexes = {
        "import_module": 0,
        "__import__": 0,
        "getattr": 1,
        "locate": 0,
        "import_string": 0,
        "compile": 0,
    }
    pattern = r"(?i)allow|known|module|handler|plugin|command"
    for call in site.nodes(ast.Call):
        index = indexes.get(site.name_of(call.func).rsplit(".", 1)[-1])
        if index is not None and len(call.args) > index:
            found = listed(
                site, call, call.args[index], pattern, "ALLOWED_NAMES", "which names may be chosen?"
            )
            if found:
                return found
    return []


def allowed_command(site: Site) -> list[Proposal]:
    """The command or text is looked up in a list before it runs."""
    for call in site.nodes(ast.Call):
        last = site.name_of(call.func).rsplit(".", 1)[-1]
        if last not in (
            "system",
            "popen",
            "run",
            "call",
            "check_call",
            "check_output",
            "Popen",
            "exec",
            "eval",
        ):
            continue
        node = call.args[0] if call.args else None
        if isinstance(node, ast.List) and len(node.elts) == 1:
            node = node.elts[0]
        if node is None or isinstance(node, ast.Constant | ast.List):
            continue
        values = values_of(site, node)
        wanted = values[0] if len(values) == 1 else node
        pattern = r"(?i)allow|known|command|action|operation"
        return listed(site, call, wanted, pattern, "ALLOWED_COMMANDS", "which commands may be chosen?")
    return []


def listed(
    site: Site, call: ast.Call, node: ast.expr, pattern: str, constant: str, asks: str
) -> list[Proposal]:
    """A refusal of everything outside a list: the file's own one, or a new one that a person fills."""
    known = constant_named(site, pattern)
    name, statement = known or constant, site.statement(call)
    named = isinstance(node, ast.Name)
    variable = site.source(node) if named else site.free_name("chosen")
    rows = [] if named else [f"{variable} = {site.source(node)}"]
    refuse, imports = refusal(site, 400, "this may not be chosen", "ValueError")
    before = site.before(statement, [*rows, f"if {variable} not in {name}:", f"    {refuse}"])
    if before is None or site.function(call) is None:
        return []
    edits = [before, *imports] if named else [before, *imports, site.replace_whole(node, variable)]
    if not known:
        edits.append(above_definition(site, statement, [f'{name} = frozenset({{"example"}})']))
    return [site.proposal(f"only what {name} names", *edits, decision="" if known else asks)]
