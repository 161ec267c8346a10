"""How do secrets and internals stay out of logs, answers and the wire (CWE-200, 209, 312, 319, 532, 598)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site
from veilig.repair.recipes.weakness_template import literal
from veilig.repair.recipes.weakness_text import logger_of, own_lines, removed

SECRET = re.compile(
    r"(?i)passw|pwd|passphrase|secret|token|api_?key|access_?key|private_?key|credential|otp|cvv|card_?n|ssn|session_?id"
    r"|^auth|authori[sz]ation|\bpin\b|reset_code"
)
_HIDDEN = "***"


def hide_secret(site: Site) -> list[Proposal]:
    """*** in the log in place of the secret."""
    calls = site.calls(suffix=("debug", "info", "warning", "error", "critical", "exception", "log", "print"))
    found: list[Proposal] = []
    for call in calls:
        edits: list[Edit] = []
        for arg in [*call.args, *(k.value for k in call.keywords)]:
            edits += _hidden(site, arg)
        if edits:
            found.append(site.proposal("the secret is left out of the log", *edits))
        values = [a for a in call.args if not isinstance(a, ast.Constant | ast.JoinedStr | ast.BinOp)]
        for value in values:
            edit = site.replace(value, literal(_HIDDEN))
            found.append(site.proposal("the value is left out of the log", edit, cost=2))
        for part in [p for a in call.args for p in ast.walk(a) if isinstance(p, ast.FormattedValue)]:
            found.append(site.proposal("the value is left out of the log", _out(site, part), cost=2))
    return found


def _hidden(site: Site, arg: ast.expr) -> list[Edit]:
    if _is_secret(arg):
        return [site.replace(arg, literal(_HIDDEN))]
    if isinstance(arg, ast.JoinedStr):
        return [
            _out(site, part)
            for part in arg.values
            if isinstance(part, ast.FormattedValue) and _is_secret(part.value)
        ]
    if isinstance(arg, ast.BinOp):
        return [*_hidden(site, arg.left), *_hidden(site, arg.right)]
    if isinstance(arg, ast.Tuple | ast.List):
        return [edit for item in arg.elts for edit in _hidden(site, item)]
    if isinstance(arg, ast.Dict):
        edits: list[Edit] = []
        for key, value in zip(arg.keys, arg.values, strict=True):
            named = isinstance(key, ast.Constant) and SECRET.search(str(key.value)) is not None
            edits += [site.replace(value, literal(_HIDDEN))] if named else _hidden(site, value)
        return edits
    if isinstance(arg, ast.Call) and isinstance(arg.func, ast.Attribute) and arg.func.attr == "format":
        return [e for item in [*arg.args, *(k.value for k in arg.keywords)] for e in _hidden(site, item)]
    return []


def _out(site: Site, part: ast.FormattedValue) -> Edit:
    """*** for a replacement field; its braces go too."""
    start, end = site.lines.span(part.value)
    text = site.lines.text
    while start > 0 and text[start - 1] != "{":
        start -= 1
    depth = 0
    while end < len(text) and (text[end] != "}" or depth):
        depth += (text[end] == "{") - (text[end] == "}")
        end += 1
    return Edit(site.finding.path, start - 1, end + 1, _HIDDEN)


def _is_secret(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        inner = node.func.value if isinstance(node.func, ast.Attribute) else None
        named = [a for a in node.args if isinstance(a, ast.Constant) and SECRET.search(str(a.value))]
        decoded = isinstance(node.func, ast.Attribute) and node.func.attr in ("decode", "hex", "strip")
        return bool(named) or (decoded and inner is not None and _is_secret(inner))
    name = ""
    if isinstance(node, ast.Name):
        name = node.id
    elif isinstance(node, ast.Attribute):
        name = node.attr
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        name = str(node.slice.value)
    return SECRET.search(name) is not None


_FIELD = re.compile(
    r"(?i)passw|passwd|pwd|pw_hash|secret|api_?key|private_key|ssn|card|cvv|reset_token|\bpin\b|salt"
)


def hide_field(site: Site) -> list[Proposal]:
    """Answers without the secret field."""
    for node in site.nodes(ast.AnnAssign, ast.Assign):
        if isinstance(node, ast.AnnAssign) and own_lines(site, node):
            return [site.proposal(f"answers without {site.source(node.target)}", removed(site, node))]
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List | ast.Tuple):
            kept = [
                e
                for e in node.value.elts
                if not (isinstance(e, ast.Constant) and _FIELD.search(str(e.value)))
            ]
            text = ", ".join(site.source(e) for e in kept)
            text = f"[{text}]" if isinstance(node.value, ast.List) else f"({text},)"
            return [site.proposal("answers without secret fields", site.replace(node.value, text))]
    edits: list[Edit] = []
    for node in site.nodes(ast.Dict):
        edits += without_keys(site, node, _FIELD)
    if edits:
        return [site.proposal("answers without secret fields", *edits)]
    for statement in site.nodes(ast.Return):
        for node in ast.walk(statement):
            text = site.source(node) if isinstance(node, ast.expr) else ""
            if re.fullmatch(
                r"dict\(os\.environ\)|os\.environ(\.copy\(\))?|(\w+\.)?config|vars\(settings\)", text
            ):
                asks = "which of these values may everybody read? name them"
                edit = site.replace(node, '{"status": "ok"}')
                return [site.proposal("an answer without the environment", edit, decision=asks)]
    return []


def without_keys(site: Site, node: ast.Dict, named: re.Pattern[str]) -> list[Edit]:
    """Edits that take the items with such keys out of a dictionary."""
    edits: list[Edit] = []
    starts = [
        site.lines.span(k if k is not None else v)[0] for k, v in zip(node.keys, node.values, strict=True)
    ]
    for index, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
        if (
            not isinstance(key, ast.Constant)
            or not named.search(str(key.value))
            or isinstance(value, ast.Constant)
        ):
            continue
        if index + 1 < len(starts):
            edits.append(Edit(site.finding.path, starts[index], starts[index + 1], ""))
        elif index:
            before = site.lines.span(node.values[index - 1])[1]
            edits.append(Edit(site.finding.path, before, site.lines.span(value)[1], ""))
        else:
            edits.append(Edit(site.finding.path, starts[0], site.lines.span(value)[1], ""))
    return edits


def hide_error(site: Site) -> list[Proposal]:
    """A plain text in place of the exception's own, which goes to the log instead."""
    for where in site.trail():
        for statement in where.nodes(ast.Return, ast.Raise, ast.Expr, ast.Assign):
            name, owner = _error_name(where, statement)
            told = re.search(r"exc_info|format_exc", where.source(statement)) is not None
            if owner is None and not told:
                continue
            edits = _plain_error(where, statement, name)
            if not edits:
                continue
            if owner is None:
                return [where.proposal("answers without the error", *edits)]
            body = owner.body
            if not any(".exception(" in where.source(item) for item in body) and not isinstance(
                owner, ast.FunctionDef
            ):
                logger, imports = logger_of(where)
                before = where.before(body[0], [f'{logger}.exception("request failed")'])
                edits += [before, *imports] if before is not None else []
            title = "logs the error and answers without it"
            return [where.proposal(title, *edits, confidence=Confidence.MEDIUM)]
    return []


def _error_name(site: Site, node: ast.AST) -> tuple[str, ast.ExceptHandler | ast.FunctionDef | None]:
    """(name of the error, its handler) around a statement; error handlers of frameworks are functions."""
    up = site.parents.get(node)
    while up is not None:
        if isinstance(up, ast.ExceptHandler):
            return up.name or "", up
        if isinstance(up, ast.FunctionDef) and up.args.args:
            names = [a.arg for a in up.args.args]
            known = next((n for n in names if re.fullmatch(r"(?i)e|err|error|exc|exception|ex", n)), "")
            return (known, up) if known else ("", None)
        up = site.parents.get(up)
    return "", None


def _plain_error(site: Site, statement: ast.stmt, name: str) -> list[Edit]:
    edits: list[Edit] = []
    done: set[ast.AST] = set()
    cause = statement.cause if isinstance(statement, ast.Raise) else None
    for node in ast.walk(statement):
        if node in done or node is cause:
            continue
        text = '"internal error"'
        whole: ast.AST | None = None
        if isinstance(node, ast.JoinedStr) and _mentions(node, name):
            whole, text = node, _beginning(node)
        elif (
            (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod) and _mentions(node, name))
            or (isinstance(node, ast.Call) and _tells(site, node, name))
            or (isinstance(node, ast.Attribute | ast.Name) and _direct(site, node, name, statement))
        ):
            whole = node
        if whole is not None:
            done.update(ast.walk(whole))
            edits.append(site.replace(whole, text))
    return edits


def _mentions(node: ast.AST, name: str) -> bool:
    return any(
        (isinstance(n, ast.Name) and n.id == name)
        or (isinstance(n, ast.Attribute) and n.attr == "format_exc")
        for n in ast.walk(node)
    )


def _tells(site: Site, node: ast.Call, name: str) -> bool:
    called = site.name_of(node.func)
    if called.endswith(("format_exc", "format_exception", "exc_info")):
        return True
    if called in ("str", "repr", ".join") and re.search(r"exc_info\(|format_exc", site.source(node)):
        return True
    told = called in ("str", "repr", "format") or called.endswith(".format") or called.startswith(f"{name}.")
    return bool(name) and told and _mentions(node, name)


def _direct(site: Site, node: ast.expr, name: str, statement: ast.stmt) -> bool:
    """`e.args`, `e.message`, or the bare error given to a call or returned."""
    root = node.value if isinstance(node, ast.Attribute) else node
    if not isinstance(root, ast.Name) or root.id != name or not name:
        return False
    parent = site.parents.get(node)
    if isinstance(statement, ast.Raise) and parent is statement:
        return False
    return not (isinstance(parent, ast.Attribute) and isinstance(node, ast.Name)) and (
        not isinstance(node, ast.Attribute) or node.attr in ("args", "message", "detail", "description")
    )


def _beginning(node: ast.JoinedStr) -> str:
    first = node.values[0]
    text = str(first.value).rstrip(" :-(") if isinstance(first, ast.Constant) else ""
    return literal(text or "internal error")
