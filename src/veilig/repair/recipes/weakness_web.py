"""How do pages, redirects and cookies stop obeying strangers (CWE-79, 1336, 601, 614, 489, 209)?"""

import ast

from veilig.repair.edit import Edit
from veilig.repair.recipes import weakness_settings as settings
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site, is_constant, keyword_of
from veilig.repair.recipes.weakness_sql import wrap_values
from veilig.repair.recipes.weakness_template import is_composed, literal, origin, pieces

_ESCAPED = (
    "escape",
    "Markup",
    "int",
    "float",
    "len",
    "url_for",
    "quote",
    "conditional_escape",
    "format_html",
)
_MARKUP = ("Markup", "mark_safe", "SafeString")


def escape_html(site: Site) -> list[Proposal]:
    """escape() around each value that goes into HTML, or instead of Markup() around the whole."""
    nodes: list[ast.expr] = []
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func).rsplit(".", 1)[-1]
        if name == "Environment" and not is_constant(keyword_of(call, "autoescape"), True):
            return [site.proposal("autoescape=True", site.set_keyword(call, "autoescape", "True"))]
        if name in _MARKUP and len(call.args) == 1:
            source, _ = origin(site, call.args[0])
            if is_composed(pieces(source)):
                nodes.append(call.args[0])
            elif not isinstance(source, ast.Constant):
                function, imports = _escape(site)
                title = f"{name}() -> escape()"
                return [site.proposal(title, site.replace(call.func, function), *imports)]
        elif name in ("make_response", "Response", "HTMLResponse", "HttpResponse", "write"):
            nodes += [
                *call.args[:1],
                *(item.value for item in call.keywords if item.arg in ("content", "response")),
            ]
    for statement in site.nodes(ast.Return):
        value = statement.value
        if isinstance(value, ast.Tuple) and value.elts:
            value = value.elts[0]
        if value is not None:
            nodes.append(value)
    nodes += [node.value for node in site.nodes(ast.Assign)]
    function, imports = _escape(site)
    found = wrap_values(site, nodes, lambda text: _wrapped(function, text), _ESCAPED)
    if found:
        edits = [site.replace(value, new) for value, new in found]
        return [site.proposal(f"{function}() around {len(found)} value(s) in HTML", *edits, *imports)]
    for node in nodes:
        plain = isinstance(node, ast.Name | ast.Subscript) or (
            isinstance(node, ast.Call) and ".get" in site.name_of(node.func)
        )
        if plain:
            edit = site.replace(node, _wrapped(function, site.source(node)))
            return [
                site.proposal(f"{function}() around the value", edit, *imports, confidence=Confidence.MEDIUM)
            ]
    return []


def _escape(site: Site) -> tuple[str, tuple[Edit, ...]]:
    if site.uses("django"):
        return "escape", site.add_import("django.utils.html", "escape")
    if site.uses("flask", "markupsafe", "jinja2", "quart"):
        return "escape", site.add_import("markupsafe", "escape")
    return "html.escape", site.add_import("html")


def _wrapped(function: str, text: str) -> str:
    # str(): markupsafe's result would escape the literal parts it is added to.
    return f"{function}(str({text}))" if function == "html.escape" else f"str({function}({text}))"


def constant_template(site: Site) -> list[Proposal]:
    """Template text stays constant; the values go in as context, where autoescaping sees them."""
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func).rsplit(".", 1)[-1]
        if name not in ("render_template_string", "Template", "from_string") or not call.args:
            continue
        source, named = origin(site, call.args[0])
        found = pieces(source)
        if found is None or not is_composed(found):
            continue
        target = call
        if name != "render_template_string":
            outer = site.parents.get(site.parents.get(call, call))
            attribute = site.parents.get(call)
            if not isinstance(outer, ast.Call) or not isinstance(attribute, ast.Attribute):
                continue
            if attribute.attr != "render":
                continue
            target = outer
        if named and isinstance(call.args[0], ast.Name) and site.uses_of(call.args[0]) != 1:
            continue
        taken = {item.arg for item in target.keywords}
        text, edits = "", list[Edit]()
        for piece in found:
            if piece.value is None:
                text += piece.text
                continue
            wish = piece.value.id if isinstance(piece.value, ast.Name) else "value"
            context, number = wish, 2
            while context in taken:
                context, number = f"{wish}_{number}", number + 1
            taken.add(context)
            text += "{{ " + context + " }}"
            edits.append(site.set_keyword(target, context, site.source(piece.value)))
        if "{{ " in text and site.lines.span(source)[0] < site.lines.span(source)[1]:
            edits.append(site.replace(source, literal(text)))
            return [site.proposal("constant template, values as context", *edits)]
    return []


def local_redirect(site: Site) -> list[Proposal]:
    """Only paths on this host: no scheme, no host, no second slash or backslash that browsers read as one."""
    for call in site.calls(suffix=("redirect", "RedirectResponse", "HttpResponseRedirect")):
        node = call.args[0] if call.args else keyword_of(call, "url")
        if node is None or is_composed(pieces(node)):
            continue
        statement = site.statement(call)
        named = isinstance(node, ast.Name)
        variable = site.source(node) if named else site.free_name("target")
        refuse, imports = _bad_request(site)
        rows = [] if named else [f"{variable} = {site.source(node)}"]
        rows += [
            (
                f'if not {variable} or urlsplit({variable}).netloc != "" or not {variable}.startswith("/") '
                f'or {variable}.startswith(("//", "/\\\\")):'
            ),
            f"    {refuse}",
        ]
        before = site.before(statement, rows)
        if before is None:
            continue
        edits = [before, *site.add_import("urllib.parse", "urlsplit"), *imports]
        if not named:
            edits.append(site.replace(node, variable))
        return [site.proposal("redirects only to paths on this host", *edits, confidence=Confidence.MEDIUM)]
    return []


def _bad_request(site: Site) -> tuple[str, tuple[Edit, ...]]:
    if site.uses("flask"):
        return "abort(400)", site.add_import("flask", "abort")
    if site.uses("fastapi"):
        return "raise HTTPException(400)", site.add_import("fastapi", "HTTPException")
    if site.uses("django"):
        return "raise SuspiciousOperation", site.add_import("django.core.exceptions", "SuspiciousOperation")
    return 'raise ValueError("redirect to another host")', ()


def cookie_flags(site: Site) -> list[Proposal]:
    """Secure, httponly and samesite on a cookie, or the setting that gives it to all session cookies."""
    for call in site.calls(suffix=("set_cookie", "set_signed_cookie")):
        flags = {"secure": "True", "httponly": "True"}
        given = keyword_of(call, "samesite")
        if site.finding.rule == "cookie-samesite":
            flags = {"samesite": '"Lax"'}
        edits: list[Edit] = []
        for name, wanted in flags.items():
            value = keyword_of(call, name)
            if value is not None and site.source(value) != wanted:
                edits.append(site.replace(value, wanted))
        missing = "".join(f", {name}={v}" for name, v in flags.items() if keyword_of(call, name) is None)
        last = max((site.lines.span(item)[1] for item in [*call.args, *call.keywords]), default=-1)
        if missing and last >= 0:
            edits.append(site.insert(last, missing))
        if edits:
            named = isinstance(given, ast.Constant) and given.value is not None and "samesite" in flags
            asks = "is this cookie needed on requests that other sites start?" if named else ""
            return [site.proposal(f"cookie flags {', '.join(flags)}", *edits, decision=asks)]
    return settings.protective(site)


def debug_off(site: Site) -> list[Proposal]:
    """debug=True -> False in a call or a setting."""
    for call in site.nodes(ast.Call):
        for name in ("debug", "use_debugger"):
            value = keyword_of(call, name)
            if value is not None and is_constant(value, True):
                return [site.proposal(f"{name}=True -> False", site.replace(value, "False"))]
    return _setting(site, ("DEBUG", "debug", "TEMPLATE_DEBUG"), "False") or settings.debug_class(site)


def _setting(site: Site, names: tuple[str, ...], wanted: str) -> list[Proposal]:
    for assignment in site.nodes(ast.Assign):
        target = assignment.targets[0]
        name = ""
        if isinstance(target, ast.Name):
            name = target.id
        elif isinstance(target, ast.Attribute):
            name = target.attr
        elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
            name = str(target.slice.value)
        if name in names and is_constant(assignment.value, wanted != "True"):
            return [site.proposal(f"{name} = {wanted}", site.replace(assignment.value, wanted))]
    return []


def csrf_check(site: Site) -> list[Proposal]:
    """Takes the exemption from the view away."""
    last = max(site.finding.line, site.finding.end_line)
    for function in ast.walk(site.tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for decorator in function.decorator_list:
            # The finding may stand on the decorator or on the definition below it.
            near = site.finding.line <= function.lineno and decorator.lineno <= last
            if near and site.name_of(decorator).endswith("csrf_exempt"):
                start = site.lines.line_start(decorator.lineno)
                end = site.lines.line_start((decorator.end_lineno or decorator.lineno) + 1)
                edit = Edit(site.finding.path, start, end, "")
                question = "does every caller of this view send a CSRF token?"
                title = "removes @csrf_exempt"
                return [site.proposal(title, edit, confidence=Confidence.MEDIUM, decision=question)]
    return settings.protective(site)
