"""How do whole statements move, gain indentation, or go away?"""

import ast
import io
import tokenize
from typing import cast

from veilig.repair.edit import Edit, newline_of
from veilig.repair.recipes.weakness_site import Site


def block_of(site: Site, statement: ast.stmt) -> list[ast.stmt]:
    """The statements of the same block, this one among them."""
    parent = site.parents.get(statement)
    for name in ("body", "orelse", "finalbody"):
        block = cast(list[ast.stmt] | ast.expr | None, getattr(parent, name, None))
        if isinstance(block, list) and statement in block:
            return block
    return [statement]


def own_lines(site: Site, *statements: ast.stmt) -> bool:
    """Whether the statements share no line with others."""
    for item in statements:
        start, end = site.lines.span(item)
        before = site.lines.text[site.lines.line_start(item.lineno) : start].strip(" \t\ufeff")
        after = site.lines.text[end : site.lines.line_end(item.end_lineno or item.lineno)].strip()
        if before or (after and not after.startswith("#")):
            return False
    return True


def first_line(statement: ast.stmt) -> int:
    """The first line of a statement, its decorators included."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(item.lineno for item in decorators)])


def removed(site: Site, statement: ast.stmt) -> Edit:
    """An edit that takes the lines of a statement away; `pass` when it stands alone in its block."""
    if len(block_of(site, statement)) == 1 and not isinstance(site.parents.get(statement), ast.Module):
        return site.replace(statement, "pass")
    start = site.lines.line_start(first_line(statement))
    end = site.lines.line_start((statement.end_lineno or statement.lineno) + 1)
    return Edit(site.finding.path, start, end, "")


def text_lines(site: Site) -> set[int]:
    """Lines that begin inside a string of several lines: moving them would change the string."""
    found: set[int] = set()
    source = site.lines.text.removeprefix("\ufeff")
    begin = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.STRING or token.string.endswith(('"""', "'''")):
                found.update(range(token.start[0] + 1, token.end[0] + 1))
            if tokenize.tok_name[token.type] == "FSTRING_START":
                begin = token.start[0]
            if tokenize.tok_name[token.type] == "FSTRING_END":
                found.update(range(begin + 1, token.end[0] + 1))
    except (tokenize.TokenError, SyntaxError):
        return set()
    return found


def indented(site: Site, first: int, last: int, by: str = "    ") -> list[Edit]:
    """Edits that move the lines first..last to the right; empty lines and inner lines of strings stay."""
    inner = text_lines(site)
    return [
        site.insert(site.lines.line_start(line), by)
        for line in range(first, last + 1)
        if line not in inner and site.lines.line_text(line).strip()
    ]


def after(site: Site, statement: ast.stmt, rows: list[str]) -> Edit:
    """An edit that puts whole lines behind a statement."""
    newline = newline_of(site.lines.text)
    at = site.lines.line_end(statement.end_lineno or statement.lineno)
    indent = site.indent(statement)
    return site.insert(at, "".join(f"{newline}{indent}{row}" for row in rows))


def above_definition(site: Site, statement: ast.stmt, rows: list[str]) -> Edit:
    """Lines on module level, with two empty lines behind, before the definition around a statement."""
    top: ast.AST = statement
    while not isinstance(site.parents.get(top), ast.Module):
        top = site.parents[top]
    assert isinstance(top, ast.stmt)
    newline = newline_of(site.lines.text)
    gap = newline * 2 if isinstance(top, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else ""
    return site.insert(
        site.lines.line_start(first_line(top)), "".join(f"{row}{newline}" for row in rows) + gap
    )


def negated(site: Site, test: ast.expr) -> str:
    """Source of the opposite of a condition."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return site.source(test.operand)
    text = site.source(test)
    simple = isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
    return f"not {text}" if simple else f"not ({text})"


type Refusal = tuple[str, tuple[Edit, ...]]


def refusal(site: Site, status: int, text: str, error: str = "PermissionError") -> Refusal:
    """The statement that refuses a request in the framework of this file, and the import it needs."""
    if site.uses("flask"):
        return f"abort({status})", site.add_import("flask", "abort")
    if site.uses("fastapi"):
        return f"raise HTTPException({status})", site.add_import("fastapi", "HTTPException")
    if site.names.get("web") == "aiohttp.web":
        known = {400: "HTTPBadRequest", 401: "HTTPUnauthorized", 403: "HTTPForbidden", 404: "HTTPNotFound"}
        return f"raise web.{known[status]}", ()
    if site.uses("django") and status == 404:
        return "raise Http404", site.add_import("django.http", "Http404")
    if site.uses("django") and status in (401, 403):
        return "raise PermissionDenied", site.add_import("django.core.exceptions", "PermissionDenied")
    if site.uses("django"):
        name = "SuspiciousOperation"
        return f"raise {name}", site.add_import("django.core.exceptions", name)
    return f'raise {error}("{text}")', ()


def logger_of(site: Site) -> tuple[str, tuple[Edit, ...]]:
    """How this file writes to its log, and the import that needs."""
    for item in site.tree.body:
        if (
            isinstance(item, ast.Assign)
            and isinstance(item.targets[0], ast.Name)
            and isinstance(item.value, ast.Call)
            and site.name_of(item.value.func) in ("logging.getLogger", "structlog.get_logger")
        ):
            return item.targets[0].id, ()
    return "logging.getLogger(__name__)", site.add_import("logging")
