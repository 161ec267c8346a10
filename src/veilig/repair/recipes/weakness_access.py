"""Who is asking, and is the record theirs (CWE-290, 639, 862, 863)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Function, Site
from veilig.repair.recipes.weakness_text import first_line, own_lines, refusal
from veilig.repair.recipes.weakness_values import class_of

_OWNERS = r"owner|user|author|created_by|account|customer|member|uploader"


def login_required(site: Site) -> list[Proposal]:
    """The check of the file's other views, or the framework's login check, on this one too."""
    asks = "is a login enough, or does this need a role?"
    for node in site.nodes(ast.ClassDef):
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute | ast.Name) and site.source(part).endswith("AllowAny"):
                text = site.source(part).replace("AllowAny", "IsAuthenticated")
                imports = (
                    () if "." in text else site.add_import("rest_framework.permissions", "IsAuthenticated")
                )
                return [site.proposal("IsAuthenticated", site.replace(part, text), *imports, decision=asks)]
    for function in _functions(site) if site.uses("tornado") else ():
        at = site.lines.line_start(function.lineno)
        edit = site.insert(at, f"{site.indent(function)}@tornado.web.authenticated\n")
        return [
            site.proposal("@tornado.web.authenticated", edit, *site.add_import("tornado.web"), decision=asks)
        ]
    for function in _functions(site):
        known, imports = _login_check(site)
        if not known:
            return []
        method = isinstance(site.parents.get(function), ast.ClassDef)
        if method or (not function.decorator_list and not site.uses("django")):
            continue
        at = site.lines.line_start(function.lineno)
        edit = site.insert(at, f"{site.indent(function)}@{known}\n")
        return [site.proposal(f"@{known}", edit, *imports, decision=asks)]
    return []


def _functions(site: Site) -> list[Function]:
    return [
        n
        for n in ast.walk(site.tree)
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        and first_line(n) <= site.finding.line <= (n.end_lineno or n.lineno)
    ][::-1]


def _login_check(site: Site) -> tuple[str, tuple[Edit, ...]]:
    for node in ast.walk(site.tree):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                name = site.source(decorator)
                if re.search(
                    r"(?i)(login|auth|admin|role|permission|token|staff)\w*_?required|require_\w+$", name
                ):
                    return name, ()
    if site.uses("flask_login") or "flask_login" in site.lines.text:
        return "login_required", site.add_import("flask_login", "login_required")
    if site.uses("django"):
        module = "django.contrib.auth.decorators"
        return "login_required", site.add_import(module, "login_required")
    everything = "\n".join(site.files.values())
    if site.uses("flask") and re.search(r"(?m)^(from|import) flask_login", everything):
        return "login_required", site.add_import("flask_login", "login_required")
    return "", ()


def own_records(site: Site) -> list[Proposal]:
    """The query names the user too, with the field of the model that holds the owner."""
    for function in site.nodes(ast.FunctionDef):
        if function.name == "get_queryset":
            return _owned_set(site, function)
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func)
        last = name.rsplit(".", 1)[-1]
        model = _model(site, call, last)
        if not model:
            continue
        if site.uses("django"):
            field, sure = _owner(site, model)
            user = _django_user(site, call)
            if last in ("get_object_or_404", "get", "filter") and user:
                asks = "" if sure else f"which field of {model} holds its owner?"
                edit = site.set_keyword(call, field, user)
                title = f"only records of {user}"
                return [site.proposal(title, edit, confidence=Confidence.MEDIUM, decision=asks)]
            continue
        found = _sqlalchemy(site, call, last, model)
        if found:
            return found
    return []


def _model(site: Site, call: ast.Call, last: str) -> str:
    """The model that a query asks for, "" when it is not to be seen."""
    first = call.args[0] if call.args and last in ("get_object_or_404", "get") else None
    if isinstance(first, ast.Name) and first.id[:1].isupper():
        return first.id
    match = re.match(r"(\w+)\.(objects|query)\b", site.source(call.func))
    return match[1] if match else ""


def _owner(site: Site, model: str) -> tuple[str, bool]:
    """(field that refers to the user, whether the model says so)."""
    place = class_of(site, model)
    if place is not None:
        where, node = place
        for item in node.body:
            if not isinstance(item, ast.Assign | ast.AnnAssign) or item.value is None:
                continue
            text = where.source(item.value)
            target = item.targets[0] if isinstance(item, ast.Assign) else item.target
            if re.search(r"(ForeignKey|OneToOneField)\(.*(AUTH_USER_MODEL|User\b)", text, re.DOTALL):
                return where.source(target), True
            if re.fullmatch(rf"({_OWNERS})_id", where.source(target)):
                return where.source(target), True
    return "owner", False


def _django_user(site: Site, node: ast.AST) -> str:
    function = site.function(node)
    names = [a.arg for a in function.args.args] if function is not None else []
    if "request" in names:
        return "request.user"
    return "self.request.user" if names[:1] == ["self"] else ""


def _owned_set(site: Site, function: ast.FunctionDef) -> list[Proposal]:
    saved = re.search(rf"save\(({_OWNERS})=self\.request\.user", site.lines.text)
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr in ("all", "filter") and saved:
            call = site.parents.get(node)
            if not isinstance(call, ast.Call) or "objects" not in site.source(node.value):
                continue
            if node.attr == "all":
                text = f"{site.source(node.value)}.filter({saved[1]}=self.request.user)"
                return [site.proposal("only records of the user", site.replace(call, text))]
            edit = site.set_keyword(call, saved[1], "self.request.user")
            return [site.proposal("only records of the user", edit)]
    return []


def _sqlalchemy(site: Site, call: ast.Call, last: str, model: str) -> list[Proposal]:
    user = "current_user.id" if "current_user" in site.lines.text or site.uses("flask_login") else ""
    if not user and 'session["user_id"]' in site.lines.text:
        user = 'session["user_id"]'
    user = user or ("g.user.id" if "g.user" in site.lines.text else "")
    if not user:
        return []
    field, sure = _owner(site, model)
    field = field if field.endswith("_id") else f"{field}_id"
    asks = "" if sure else f"which field of {model} holds its owner?"
    imports = site.add_import("flask_login", "current_user") if user.startswith("current_user") else ()
    imports = () if "current_user" in site.names else imports
    if last in ("get_or_404", "get") and call.args and re.match(rf"{model}\.query\.", site.source(call.func)):
        end = {"get_or_404": "first_or_404", "get": "first"}[last]
        key = site.source(call.args[0])
        text = f"{model}.query.filter_by(id={key}, {field}={user}).{end}()"
        return [site.proposal("only records of the user", site.replace(call, text), *imports, decision=asks)]
    if last == "filter_by":
        edit = site.set_keyword(call, field, user)
        return [site.proposal("only records of the user", edit, *imports, decision=asks)]
    statement = site.statement(call)
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    if not isinstance(target, ast.Name) or not own_lines(site, statement):
        return []
    outer: ast.stmt = statement
    while isinstance(site.parents.get(outer), ast.With):
        up = site.parents[outer]
        assert isinstance(up, ast.stmt)
        outer = up
    refuse, more = refusal(site, 404, "there is no such record", "LookupError")
    at = site.lines.line_end(outer.end_lineno or outer.lineno)
    indent = site.indent(outer)
    row = f"\n{indent}if {target.id} is None or {target.id}.{field} != {user}:\n{indent}    {refuse}"
    return [site.proposal("only records of the user", site.insert(at, row), *imports, *more, decision=asks)]


def stored_role(site: Site) -> list[Proposal]:
    """The role or name comes from the session on the server, not from the request."""
    asks = "is the role kept in the session when the user logs in? it has to be"
    for where in site.trail():
        for node in where.nodes(ast.Subscript, ast.Call):
            text = where.source(node.value if isinstance(node, ast.Subscript) else node.func)
            if not re.match(r"(self\.)?request\.\w+(\.\w+)*$", text):
                continue
            key = node.slice if isinstance(node, ast.Subscript) else (node.args[0] if node.args else None)
            if not isinstance(key, ast.Constant):
                continue
            name = str(key.value).lower().removeprefix("x-").replace("-", "_")
            session = "request.session" if where.uses("django", "starlette", "fastapi") else "session"
            imports = where.add_import("flask", "session") if where.uses("flask") else ()
            if session == "session" and not where.uses("flask"):
                return []
            edit = where.replace(node, f'{session}.get("{name}")')
            return [where.proposal("from the session, not the request", edit, *imports, decision=asks)]
    return []
