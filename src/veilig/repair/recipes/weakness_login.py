"""How do tokens and sessions end, and what does a login ask and tell (CWE-203, 384, 613, 620)?"""

import ast
import re

from veilig.repair.edit import Edit, newline_of
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_settings import settings_at
from veilig.repair.recipes.weakness_site import Site, is_constant, keyword_of
from veilig.repair.recipes.weakness_template import literal, origin
from veilig.repair.recipes.weakness_text import block_of, refusal


def expiry(site: Site) -> list[Proposal]:
    """An end for the token: the file's own lifetime where it names one, else an hour to be confirmed."""
    for call in site.calls(suffix=("encode",)):
        node = call.args[0] if call.args else keyword_of(call, "payload")
        payload = origin(site, node)[0] if node is not None else None
        if not isinstance(payload, ast.Dict) or not payload.values:
            continue
        value, imports, asks = _end(site, call)
        at = site.lines.span(payload.values[-1])[1]
        gap = ", "
        if payload.keys[-1] is not None and payload.values[-1].lineno > payload.lineno:
            row = site.lines.line_text(payload.values[-1].lineno)
            gap = f",{newline_of(site.lines.text)}{row[: len(row) - len(row.lstrip())]}"
        edit = site.insert(at, f'{gap}"exp": {value}')
        return [site.proposal("the token ends", edit, *imports, decision=asks)]
    for call in site.calls(suffix=("decode",)):
        options = keyword_of(call, "options")
        for key, value in (
            zip(options.keys, options.values, strict=True) if isinstance(options, ast.Dict) else ()
        ):
            if key is not None and is_constant(key, "verify_exp") and is_constant(value, False):
                return [site.proposal("verify_exp=True", site.replace(value, "True"))]
    for name, value in settings_at(site):
        if name in ("PERMANENT_SESSION_LIFETIME", "SESSION_COOKIE_AGE", "REMEMBER_COOKIE_DURATION"):
            new = (
                "30 * 24 * 3600" if not isinstance(value, ast.Call) else f"{site.source(value.func)}(days=30)"
            )
            asks = "how long may a user stay logged in?"
            return [site.proposal("sessions of 30 days", site.replace(value, new), decision=asks)]
    return _cleared(site)


def _end(site: Site, call: ast.Call) -> tuple[str, tuple[Edit, ...], str]:
    """(source of the time the token ends, imports, decision)."""
    lifetime = ""
    for item in site.tree.body:
        target = item.targets[0] if isinstance(item, ast.Assign) else None
        if isinstance(target, ast.Name) and re.search(r"(?i)lifetime|ttl|expir|max_age", target.id):
            assert isinstance(item, ast.Assign)
            if isinstance(item.value, ast.Call) and site.name_of(item.value.func).endswith("timedelta"):
                lifetime = target.id
            elif not isinstance(item.value, ast.Call):
                return f"int(time.time()) + {target.id}", site.add_import("time"), ""
    function = site.function(call)
    for node in ast.walk(function) if function is not None and lifetime else ():
        made = site.source(node.value) if isinstance(node, ast.Assign) else ""
        if re.search(r"datetime\.(now|utcnow)\(", made) and isinstance(node, ast.Assign):
            return f"{site.source(node.targets[0])} + {lifetime}", (), ""
    if lifetime:
        return f"int(time.time() + {lifetime}.total_seconds())", site.add_import("time"), ""
    return "int(time.time()) + 3600", site.add_import("time"), "how long may a token be valid?"


def _cleared(site: Site) -> list[Proposal]:
    """A logout that empties the session first."""
    for function in site.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        if not re.search(r"(?i)(log|sign)_?out", function.name):
            continue
        body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
        if site.uses("django"):
            first = function.args.args[-1].arg if function.args.args else "request"
            before, imports = site.before(body[0], [f"{first}.session.flush()"]), ()
        elif site.uses("flask"):
            before, imports = site.before(body[0], ["session.clear()"]), site.add_import("flask", "session")
        else:
            continue
        if before is not None:
            return [site.proposal("the session ends with the logout", before, *imports)]
    return []


def new_session(site: Site) -> list[Proposal]:
    """A new session before the user is noted in it."""
    for node in site.nodes(ast.Assign):
        target = node.targets[0]
        if not isinstance(target, ast.Subscript):
            continue
        session = site.source(target.value)
        row = f"{session}.cycle_key()" if session.endswith("request.session") else f"{session}.clear()"
        first = next(
            item
            for item in block_of(site, node)
            if isinstance(item, ast.Assign) and site.source(item.targets[0]).startswith(f"{session}[")
        )
        read = [n for n in ast.walk(first.value) if isinstance(n, ast.expr) and site.source(n) == session]
        before = site.before(first, [row])
        if before is not None and (not read or "cycle_key" in row):
            return [site.proposal("a new session with the login", before, confidence=Confidence.MEDIUM)]
    return []


def old_password(site: Site) -> list[Proposal]:
    """The current password is asked for before a new one is set."""
    asks = "the form has to send the current password as current_password"
    for function in site.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        for node in ast.walk(function):
            found = _sets_password(site, node)
            if found is None or not isinstance(node, ast.stmt):
                continue
            owner, field = found
            form = "request.POST" if site.uses("django") else "request.form"
            given = f'{form}["current_password"]'
            imports: tuple[Edit, ...] = ()
            test = f"{owner}.check_password({given})"
            if field:
                imports = site.add_import("werkzeug.security", "check_password_hash")
                test = f"check_password_hash({owner}.{field}, {given})"
            refuse, more = refusal(site, 403, "the current password is wrong")
            before = site.before(node, [f"if not {test}:", f"    {refuse}"])
            if before is not None:
                title = "asks for the current password"
                return [site.proposal(title, before, *imports, *more, decision=asks)]
    return []


def _sets_password(site: Site, node: ast.AST) -> tuple[str, str] | None:
    """(user, field of the hash or "") of a statement that sets a password."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        if isinstance(function, ast.Attribute) and function.attr == "set_password":
            return site.source(function.value), ""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        target = node.targets[0]
        if re.match(r"(?i)password(_hash)?$|pw_hash$", target.attr):
            return site.source(target.value), target.attr
    return None


_TELLS = re.compile(
    r"(?i)no such|unknown|not (found|known|registered|exist\w*)|unregistered|does(n't| not) exist|"
    r"no (account|user)|invalid (user ?name|email)"
)


def one_answer(site: Site) -> list[Proposal]:
    """The answer to an unknown user is the one to a wrong password, or to a known address."""
    for node in site.nodes(ast.Return, ast.Raise):
        function = site.function(node)
        if function is None or node.lineno != site.finding.line:
            continue
        others = [n for n in ast.walk(function) if isinstance(n, type(node)) and n is not node]
        login = re.search(r"(?i)log_?in|sign_?in|auth", function.name) is not None
        for other in others if login else others[::-1]:
            text = site.source(other)
            used = {n.id for n in ast.walk(other) if isinstance(n, ast.Name)}
            local = {
                n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            }
            wrong = re.search(r"(?i)password|credential|40[013]", text) is not None
            if _TELLS.search(text) or used & local or (login and not wrong):
                continue
            return [site.proposal("the same answer for an unknown user", site.replace(node, text))]
        for text in ast.walk(node):
            if isinstance(text, ast.Constant) and isinstance(text.value, str) and _TELLS.search(text.value):
                told = "wrong name or password" if login else "if the address is known, a mail is on its way"
                asks = "is the rest of the answer (its status too) the same as for a known user?"
                edit = site.replace(text, literal(told))
                return [site.proposal("an answer that does not tell who exists", edit, decision=asks)]
    return []
