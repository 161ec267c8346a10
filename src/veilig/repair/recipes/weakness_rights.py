"""Who shares rows, rights, search paths and answers with the program (CWE-250, 362, 427, 942, 1385)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Proposal
from veilig.repair.recipes.weakness_settings import constant_named, origins
from veilig.repair.recipes.weakness_site import Function, Site
from veilig.repair.recipes.weakness_text import above_definition, own_lines


def listed_origin(site: Site) -> list[Proposal]:
    """The origin is sent back only when it is one of a list."""
    found = origins(site)
    known = constant_named(site, r"(?i)origin|trusted")
    asks = "" if known else "which origins may read the answers?"
    name = known or "ALLOWED_ORIGINS"
    for node in site.nodes(ast.Assign, ast.Expr):
        value = node.value
        if isinstance(node, ast.Expr) and isinstance(value, ast.Call) and len(value.args) == 2:
            value = value.args[1]
        if isinstance(value, ast.Constant | ast.Dict) or not own_lines(site, node):
            continue
        text = site.source(value)
        start, end = site.lines.span(node)
        old = site.lines.text[start:end]
        if "\n" in old or "llow-" not in old:
            continue
        edits = [site.replace(node, f"if {text} in {name}:\n{site.indent(node)}    {old}")]
        if not known:
            listed = f'{name} = frozenset({{"https://app.example.org"}})'
            edits.append(above_definition(site, node, [listed]))
        found.append(site.proposal("only listed origins", *edits, decision=asks))
    return found


def same_origin(site: Site) -> list[Proposal]:
    """Tornado's own check: the page comes from the host that serves the socket."""
    for function in site.nodes(ast.FunctionDef):
        last = function.body[-1]
        names = [a.arg for a in function.args.args]
        if function.name == "check_origin" and isinstance(last, ast.Return) and last.value and len(names) > 1:
            edit = site.replace(last.value, f"super().check_origin({names[1]})")
            return [site.proposal("only pages of the same host", edit)]
    return []


def held_row(site: Site) -> list[Proposal]:
    """The row is locked while it is checked and changed."""
    for node in site.nodes(ast.AugAssign, ast.Assign):
        function = site.function(node)
        target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
        if function is None or not isinstance(target, ast.Attribute | ast.Name):
            continue
        owner = site.source(target.value if isinstance(target, ast.Attribute) else target)
        for item in ast.walk(function):
            if not isinstance(item, ast.Assign) or site.source(item.targets[0]) != owner:
                continue
            text = site.source(item.value)
            for call in [n for n in ast.walk(item.value) if isinstance(n, ast.Call)]:
                found = _locked(site, function, call, text)
                if found:
                    return found
    return []


def _locked(site: Site, function: Function, call: ast.Call, text: str) -> list[Proposal]:
    last = site.name_of(call.func).rsplit(".", 1)[-1]
    if isinstance(call.func, ast.Attribute) and ".objects" in text and last in ("get", "filter", "first"):
        at = site.lines.span(call.func.value)[1]
        if not re.search(r"\.objects$", site.source(call.func.value)):
            return []
        edits = [site.insert(at, ".select_for_update()"), *_atomic(site, function)]
        return [site.proposal("select_for_update()", *edits)]
    if last == "get_object_or_404" and call.args and isinstance(call.args[0], ast.Name):
        at = site.lines.span(call.args[0])[1]
        edits = [site.insert(at, ".objects.select_for_update()"), *_atomic(site, function)]
        return [site.proposal("select_for_update()", *edits)]
    if last == "get" and "session.get(" in text.replace("db.session", "session"):
        return [site.proposal("with_for_update=True", site.set_keyword(call, "with_for_update", "True"))]
    if (
        last in ("first", "one", "one_or_none", "first_or_404", "scalar_one", "one_or_404")
        and "query" in text
    ):
        at = site.lines.span(call.func.value)[1] if isinstance(call.func, ast.Attribute) else 0
        return [site.proposal("with_for_update()", site.insert(at, ".with_for_update()"))] if at else []
    if (
        last in ("get_or_404", "get")
        and ".query." in text
        and call.args
        and isinstance(call.func, ast.Attribute)
    ):
        end = "first_or_404" if last == "get_or_404" else "first"
        query = f"{site.source(call.func.value)}.filter_by(id={site.source(call.args[0])})"
        return [site.proposal("with_for_update()", site.replace(call, f"{query}.with_for_update().{end}()"))]
    return []


def _atomic(site: Site, function: Function) -> tuple[Edit, ...]:
    above = " ".join(site.source(d) for d in function.decorator_list)
    if "atomic" in above or "atomic(" in site.source(function):
        return ()
    at = site.lines.line_start(function.lineno)
    edit = site.insert(at, f"{site.indent(function)}@transaction.atomic\n")
    return (edit, *site.add_import("django.db", "transaction"))


def dropped_rights(site: Site) -> list[Proposal]:
    """Groups first, then the group, then the user; no privileged containers."""
    for call in site.calls("os.setuid"):
        statement = site.statement(call)
        function = site.function(call)
        if not own_lines(site, statement) or not call.args or function is None:
            continue
        user = site.source(call.args[0])
        edits: list[Edit] = []
        group = f"pwd.getpwuid({user}).pw_gid"
        drops = "setgroups" in site.source(function) or "initgroups" in site.source(function)
        for other in ast.walk(function):
            if isinstance(other, ast.Call) and site.name_of(other.func) == "os.setgid" and other.args:
                group = site.source(other.args[0])
                old = site.statement(other)
                end = site.lines.line_start((old.end_lineno or old.lineno) + 1)
                edits.append(Edit(site.finding.path, site.lines.line_start(old.lineno), end, ""))
        rows = ([] if drops else ["os.setgroups([])"]) + [f"os.setgid({group})"]
        before = site.before(statement, rows)
        if before is None:
            continue
        imports = site.add_import("pwd") if group.startswith("pwd.") else ()
        return [site.proposal("groups, group and user, in this order", before, *edits, *imports)]
    for call in site.nodes(ast.Call):
        for item in call.keywords:
            if item.arg == "privileged":
                asks = "which rights does this container need? name them with cap_add"
                return [site.proposal("privileged=False", site.replace(item.value, "False"), decision=asks)]
    return []


def own_directory(site: Site) -> list[Proposal]:
    """The directory of the file itself for the current one in the search path."""
    for call in site.nodes(ast.Call):
        if not re.search(r"sys\.path\.(insert|append)$", site.name_of(call.func)) or not call.args:
            continue
        node = call.args[-1]
        current = isinstance(node, ast.Constant) and str(node.value) in ("", ".")
        if current or "getcwd" in site.source(node):
            edits = [site.replace(node, "str(Path(__file__).resolve().parent)")]
            title = "the directory of this file, not the current one"
            return [site.proposal(title, *edits, *site.add_import("pathlib", "Path"))]
    for node in site.nodes(ast.Constant):
        if isinstance(node.value, str) and re.match(r"(\.|/tmp|/var/tmp)?:", node.value):
            start, end = site.lines.span(node)
            old = site.lines.text[start:end]
            new = re.sub(r"""(['"])(\.|/tmp|/var/tmp)?:""", r"\1", old, count=1)
            return [site.proposal("no place in PATH where others write", site.replace(node, new))]
    return []
