"""How do pages, redirects and cookies stop obeying strangers (CWE-79, 1336, 601, 614, 489, 209)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes import weakness_settings as settings
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site, is_constant, keyword_of
from veilig.repair.recipes.weakness_template import is_composed, literal, origin, pieces, values_of
from veilig.repair.recipes.weakness_values import module_value

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
    found: list[Proposal] = []
    for where in site.trail():
        found += _escaped(where, sink=where is site)
    # The first place where the value meets the markup is the right one: later ones hold whole pages.
    return sorted(found, key=lambda item: item.cost)


def _escaped(site: Site, *, sink: bool) -> list[Proposal]:
    nodes: list[ast.expr] = []
    for call in site.nodes(ast.Call) if sink else ():
        name = site.name_of(call.func).rsplit(".", 1)[-1]
        if name == "Environment" and not is_constant(keyword_of(call, "autoescape"), True):
            return [site.proposal("autoescape=True", site.set_keyword(call, "autoescape", "True"))]
        if name in _MARKUP and len(call.args) == 1:
            source, _ = origin(site, call.args[0])
            if values_of(site, call.args[0]):
                nodes.append(call.args[0])
            elif not isinstance(source, ast.Constant):
                function, imports = _escape(site)
                title = f"{name}() -> escape()"
                return [site.proposal(title, site.replace(call.func, function), *imports)]
        elif name in ("make_response", "Response", "HTMLResponse", "HttpResponse", "write"):
            named = ("content", "response", "text", "body")
            nodes += [*call.args[:1], *(item.value for item in call.keywords if item.arg in named)]
    for statement in site.nodes(ast.Return):
        value = statement.value
        if isinstance(value, ast.Tuple) and value.elts:
            value = value.elts[0]
        if value is not None:
            nodes.append(value)
    nodes += [node.value for node in site.nodes(ast.Assign, ast.AugAssign)]
    nodes += [arg for call in site.nodes(ast.Call) for arg in call.args if not sink]
    function, imports = _escape(site)
    for node in nodes if sink else [node for node in nodes if _is_markup(site, node, 0)]:
        leaves = dict.fromkeys(_leaves(site, node, 0))
        if leaves:
            edits = [site.replace(leaf, _inside(site, function, leaf)) for leaf in leaves]
            title = f"{function}() around {len(edits)} value(s) in HTML"
            cost = 1.0 if sink else 1.2
            return [site.proposal(title, *edits, *imports, cost=cost)]
    for node in nodes if sink else ():
        plain = isinstance(node, ast.Name | ast.Subscript) or (
            isinstance(node, ast.Call) and ".get" in site.name_of(node.func)
        )
        if plain and not _is_markup(site, node, 0):
            edit = site.replace(node, _wrapped(function, site.source(node)))
            title = f"{function}() around the value"
            return [site.proposal(title, edit, *imports, cost=1.5, confidence=Confidence.MEDIUM)]
    asks = "is this a page? for data, answer with JSON instead"
    for statement in site.nodes(ast.Return) if sink else ():
        value = statement.value.elts[0] if isinstance(statement.value, ast.Tuple) else statement.value
        if isinstance(value, ast.Call | ast.Attribute) and not _PAGE.search(site.source(value)):
            edit = site.replace(value, _wrapped(function, site.source(value)))
            title = f"{function}() around the value"
            return [site.proposal(title, edit, *imports, cost=2, decision=asks)]
    return []


_PAGE = re.compile(
    r"^(render\w*|jsonify|redirect|make_response|Response|send_\w+|json_response|\w+\.render|HttpResponse)\("
)


def _leaves(site: Site, node: ast.expr, depth: int) -> list[ast.expr]:
    """The values inside a page that are not themselves pieces of markup put together here."""
    source, _ = origin(site, node)
    if isinstance(source, ast.IfExp):
        return [*_leaves(site, source.body, depth), *_leaves(site, source.orelse, depth)]
    if isinstance(source, ast.Call) and isinstance(source.func, ast.Attribute) and source.func.attr == "join":
        inner = source.args[0] if source.args else None
        if isinstance(inner, ast.GeneratorExp | ast.ListComp):
            return _leaves(site, inner.elt, depth + 1)
    found: list[ast.expr] = []
    for value in values_of(site, node):
        if depth < 4 and _is_markup(site, value, 0):
            found += _leaves(site, value, depth + 1)
        elif not isinstance(value, ast.Constant) and not _harmless(site, value):
            found.append(value)
    return found


def _harmless(site: Site, node: ast.expr) -> bool:
    value, _ = origin(site, node)
    name = site.name_of(value.func).rsplit(".", 1)[-1] if isinstance(value, ast.Call) else ""
    inner = value.args[0] if name == "str" and isinstance(value, ast.Call) and value.args else None
    return name in _ESCAPED or (inner is not None and _harmless(site, inner))


def _is_markup(site: Site, node: ast.expr, depth: int) -> bool:
    """Whether a value is text that this file puts together with tags in it."""
    source, _ = origin(site, node)
    if isinstance(source, ast.Call) and isinstance(source.func, ast.Attribute) and source.func.attr == "join":
        parts: list[ast.expr] = list(source.args[:1])
        if parts and isinstance(parts[0], ast.GeneratorExp | ast.ListComp):
            parts = [parts[0].elt]
        return depth < 4 and any(_is_markup(site, part, depth + 1) for part in parts)
    texts = [n for n in ast.walk(source) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    put = isinstance(source, ast.JoinedStr | ast.BinOp | ast.Constant | ast.Call | ast.IfExp)
    return put and any("<" in str(n.value) for n in texts)


def _escape(site: Site) -> tuple[str, tuple[Edit, ...]]:
    if site.uses("django"):
        return "escape", site.add_import("django.utils.html", "escape")
    if site.uses("flask", "markupsafe", "jinja2", "quart"):
        return "escape", site.add_import("markupsafe", "escape")
    return "html.escape", site.add_import("html")


def _wrapped(function: str, text: str) -> str:
    # str(): markupsafe's result would escape the literal parts it is added to.
    return f"{function}(str({text}))" if function == "html.escape" else f"str({function}({text}))"


def _inside(site: Site, function: str, leaf: ast.expr) -> str:
    """escape() where formatting makes plain text of its result, else with str() around it."""
    text, up = site.source(leaf), site.parents.get(leaf)
    if isinstance(up, ast.Tuple | ast.keyword):
        up = site.parents.get(up)
    formatted = isinstance(up, ast.FormattedValue) or (
        isinstance(up, ast.BinOp) and isinstance(up.op, ast.Mod)
    )
    if function == "escape" and (
        formatted or (isinstance(up, ast.Call) and site.source(up.func).endswith(".format"))
    ):
        return f"escape({text})"
    return _wrapped(function, text)


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
    return _layout(site)


def _layout(site: Site) -> list[Proposal]:
    """`render_template_string(LAYOUT % value)`: the layout names the variable, the value is context."""
    for call in site.calls(suffix=("render_template_string",)):
        source, named = origin(site, call.args[0]) if call.args else (None, False)
        if not isinstance(source, ast.BinOp) or not isinstance(source.op, ast.Mod) or named:
            continue
        left = source.left
        if not isinstance(left, ast.Name):
            continue
        layout = module_value(site, left.id)
        if not isinstance(layout, ast.Constant) or not isinstance(layout.value, str):
            continue
        values = list(source.right.elts) if isinstance(source.right, ast.Tuple) else [source.right]
        read = [n for n in ast.walk(site.tree) if isinstance(n, ast.Name) and n.id == left.id]
        raw = site.source(layout)
        if len(read) != 2 or raw.count("%s") != len(values) or raw.count("%") != len(values):
            continue
        edits = [site.replace(source, left.id)]
        for value in values:
            name = value.id if isinstance(value, ast.Name) else "value"
            raw = raw.replace("%s", f"{{{{ {name} }}}}", 1)
            edits.append(site.set_keyword(call, name, site.source(value)))
        edits.append(site.replace(layout, raw))
        return [site.proposal("the layout names the variable", *edits)]
    return []


def local_redirect(site: Site) -> list[Proposal]:
    """Only paths on this host: no scheme, no host, no second slash or backslash that browsers read as one.

    Where the header itself is written the status line is out already, so a foreign target becomes "/".
    """
    headers = ("send_header", "set_header", "add_header")
    for call in site.calls(suffix=("redirect", "RedirectResponse", "HttpResponseRedirect", *headers)):
        written = site.name_of(call.func).endswith(headers)
        node = call.args[written] if len(call.args) > written else keyword_of(call, "url")
        if node is None or is_composed(pieces(node)) or (written and not _is_location(call.args[0])):
            continue
        statement = site.statement(call)
        named = isinstance(node, ast.Name)
        variable = site.source(node) if named else site.free_name("target")
        refuse, imports = (f'{variable} = "/"', ()) if written else _bad_request(site)
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


def _is_location(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and str(node.value).lower() == "location"


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
        missing = [f"{name}={v}" for name, v in flags.items() if keyword_of(call, name) is None]
        if missing and (call.args or call.keywords):
            edits.append(site.insert(*site.more_arguments(call, ", ".join(missing))))
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
