"""How does a query take its values as parameters (CWE-89)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_settings import constant_named
from veilig.repair.recipes.weakness_site import Site
from veilig.repair.recipes.weakness_template import Piece, is_composed, literal, origin, pieces
from veilig.repair.recipes.weakness_text import above_definition, own_lines, refusal
from veilig.repair.recipes.weakness_values import defined

_SINKS = (
    "execute",
    "executemany",
    "raw",
    "read_sql",
    "read_sql_query",
    "fetch",
    "fetchrow",
    "fetchval",
    "fetchone",
)
_OPEN, _CLOSE = "\ue000", "\ue001"  # private use: mark a name that stays in the text of a query
_QUESTION = frozenset({"sqlite3", "aiosqlite", "pyodbc", "duckdb", "apsw"})
_PERCENT = frozenset(
    {"psycopg", "psycopg2", "MySQLdb", "pymysql", "mysql", "aiomysql", "django", "pymssql", "aiopg"}
)
# What stands before a name of a table or column, which no driver takes as a parameter.
_NAME_NEXT = re.compile(
    r"\b(?:from|into|update|table|join|database|index|view|order\s+by|group\s+by|as|truncate|describe|pragma|"
    r"select|set|column|schema|use|asc|desc)\s*[`\"\[]?\s*$",
    re.IGNORECASE,
)


def parameterise(site: Site) -> list[Proposal]:
    """Placeholders in the query, values as parameters; a list to choose from for names of columns."""
    found: list[Proposal] = []
    for call in site.calls(suffix=_SINKS):
        if not call.args or len(call.args) > 2:
            continue
        found += _at_call(site, call)
        if found:
            return found
    for where in site.trail():
        found += clause(where, _style(site) if not site.uses("sqlalchemy") else "named")
        found += looked_up(where)
        if found:
            return found
    return passed_on(site) or listed_name(site)


def passed_on(site: Site) -> list[Proposal]:
    """A function that only runs a query takes the parameters too, and the caller passes its values."""
    for call in site.calls(suffix=_SINKS):
        function, query = site.function(call), call.args[0] if len(call.args) == 1 else None
        if function is None or not isinstance(query, ast.Name) or function.args.vararg or function.args.kwarg:
            continue
        names = [arg.arg for arg in function.args.args]
        style = _style(site)
        if query.id not in names or style not in ("?", "%s") or function.args.kwonlyargs:
            continue
        position = names.index(query.id) - (names[0] in ("self", "cls"))
        for where in site.trail():
            for caller in where.calls(suffix=(function.name,)):
                given = len(names) - names.count("self")
                if caller.keywords or len(caller.args) != given:
                    continue
                source, named = origin(where, caller.args[position])
                built = _query(where, pieces(source), style, bare=True)
                if built is None or named:
                    continue
                text, values, _ = built
                last = function.args.args[-1]
                tail = [*function.args.args, *function.args.defaults]
                at = max(site.lines.span(item)[1] for item in tail)
                # With an empty tuple the drivers of the second kind read every % of a query as a placeholder.
                default = "()" if style == "?" else "None"
                kind = ": tuple[object, ...]" if style == "?" else ": tuple[object, ...] | None"
                annotated = f"{kind} = {default}" if last.annotation else f"={default}"
                edits = [
                    site.insert(at, f", parameters{annotated}"),
                    site.insert(site.lines.span(query)[1], ", parameters"),
                    where.replace(source, _literal(text)),
                    where.insert(where.lines.span(caller.args[-1])[1], f", {_arguments(values, style)}"),
                ]
                return [site.proposal(f"query parameters for {', '.join(values)}", *edits)]
    return []


def _at_call(site: Site, call: ast.Call) -> list[Proposal]:
    query, wrapped = call.args[0], False
    if isinstance(query, ast.Call) and site.name_of(query.func).endswith("text") and query.args:
        query, wrapped = query.args[0], True
    source, named = origin(site, query)
    if isinstance(source, ast.Call) and site.name_of(source.func).endswith("sqlalchemy.text") and source.args:
        source, wrapped = source.args[0], True
    style = "named" if wrapped or _is_sqlalchemy(site, call) else _style(site)
    given = call.args[1] if len(call.args) > 1 else None
    if given is None and call.keywords:
        return []
    parts = pieces(source)
    built = _query(site, parts, style, bare=given is None)
    if built is None or (named and isinstance(query, ast.Name) and _runs_again(site, query)):
        return []
    text, values, places = built
    new = _literal(text)
    edits = [site.replace(source, new)]
    if style == "named" and not wrapped:
        edits = [site.replace(source, f"text({new})"), *site.add_import("sqlalchemy", "text")]
    if given is None:
        end = site.lines.span(call.args[0])[1]
        edits.append(site.insert(end, f", {_arguments(values, style)}"))
    else:
        joined = _with_given(site, given, values, places, style)
        if joined is None:
            return []
        edits.append(joined)
    sure = style == "named" or site.uses(*_QUESTION, *_PERCENT)
    title = f"query parameters for {', '.join(values)}"
    return [site.proposal(title, *edits, confidence=Confidence.HIGH if sure else Confidence.MEDIUM)]


def _runs_again(site: Site, query: ast.Name) -> bool:
    """Whether the text of the query is run or changed in a second place; showing it is no harm."""
    scope: ast.AST = site.function(query) or site.tree
    for node in ast.walk(scope):
        if not isinstance(node, ast.Name) or node.id != query.id or node is query:
            continue
        parent = site.parents.get(node)
        if isinstance(node.ctx, ast.Store):
            continue
        sink = isinstance(parent, ast.Call) and site.name_of(parent.func).rsplit(".", 1)[-1] in _SINKS
        if sink or not isinstance(parent, ast.Call | ast.FormattedValue | ast.keyword):
            return True
    return False


def _with_given(site: Site, given: ast.expr, values: list[str], places: list[int], style: str) -> Edit | None:
    """An edit that puts the values among the parameters that the call passes already, in their order."""
    if style == "named" and isinstance(given, ast.Dict) and given.values:
        items = ", ".join(f'"p{number}": {value}' for number, value in enumerate(values, 1))
        return site.insert(site.lines.span(given.values[-1])[1], f", {items}")
    if style not in ("?", "%s") or not isinstance(given, ast.Tuple | ast.List):
        return None
    if any(isinstance(item, ast.Starred) for item in given.elts):
        return None
    shown = [site.source(item) for item in given.elts]
    for value, place in sorted(zip(values, places, strict=True), key=lambda pair: -pair[1]):
        shown.insert(place, value)
    if isinstance(given, ast.List):
        return site.replace(given, f"[{', '.join(shown)}]")
    return site.replace(given, f"({shown[0]},)" if len(shown) == 1 else f"({', '.join(shown)})")


def clause(site: Site, style: str) -> list[Proposal]:
    """`clauses.append("a = '" + value + "'")` beside a list of parameters: a placeholder, the value there."""
    appended = list(site.calls(suffix=("append",)))
    for joined in site.calls(suffix=("join",)):
        scope: ast.AST = site.function(joined) or site.tree
        clauses = site.source(joined.args[0]) if joined.args else ""
        calls = [n for n in ast.walk(scope) if isinstance(n, ast.Call)]
        appended += [c for c in calls if site.source(c.func) == f"{clauses}.append"]
    for call in appended:
        statement = site.statement(call)
        if not isinstance(statement, ast.Expr) or not own_lines(site, statement) or len(call.args) != 1:
            continue
        owner = site.source(call.func).rpartition(".")[0]
        params = _parameters(site, call, owner)
        built = _query(site, pieces(call.args[0]), style)
        if not params or built is None or style not in ("?", "%s"):
            continue
        text, values, _ = built
        rows = "".join(f"\n{site.indent(statement)}{params}.append({value})" for value in values)
        at = site.lines.span(statement)[1]
        edits = [site.replace(call.args[0], _literal(text)), site.insert(at, rows)]
        return [site.proposal(f"a placeholder, and the value in {params}", *edits)]
    return []


_PARAMETERS = re.compile(r"^(?:self\.)?_?(params?|parameters|args|arguments|values|bind(s|ings?)?|vals)$")


def _parameters(site: Site, node: ast.AST, clauses: str) -> str:
    """The list of parameters beside the list of clauses."""
    scope: ast.AST = site.function(node) or site.tree
    if clauses.startswith("self."):
        up = site.parents.get(scope)
        scope = up if isinstance(up, ast.ClassDef) else scope
    for item in ast.walk(scope):
        name = site.source(item) if isinstance(item, ast.Name | ast.Attribute) else ""
        if _PARAMETERS.match(name) and name != clauses and isinstance(getattr(item, "ctx", None), ast.Store):
            return name
    return ""


def looked_up(site: Site) -> list[Proposal]:
    """`COLUMNS.get(name, name)` lets every name through: what is not in the table becomes its first entry."""
    for call in site.calls(suffix=("get",)):
        if len(call.args) != 2 or site.source(call.args[0]) != site.source(call.args[1]):
            continue
        place = defined(site, call.func.value) if isinstance(call.func, ast.Attribute) else None
        if place is None or not isinstance(place[1], ast.Dict) or not place[1].values:
            continue
        first = place[1].values[0]
        if isinstance(first, ast.Constant):
            edit = site.replace(call.args[1], literal(str(first.value)))
            return [site.proposal("names outside the table give its first entry", edit)]
    return []


def listed_name(site: Site) -> list[Proposal]:
    """The name of a column or table is looked up in a list before it goes into the query."""
    known = constant_named(site, r"(?i)column|field|sort|order|table|allow")
    asks = "" if known else "which names of columns or tables may be chosen?"
    for call in site.calls(suffix=_SINKS):
        source, _ = origin(site, call.args[0]) if call.args else (None, False)
        parts = pieces(source) if source is not None else None
        text = ""
        for piece in parts or ():
            value = piece.value
            if value is None:
                text += piece.text
                continue
            if not isinstance(value, ast.Name) or not _NAME_NEXT.search(text):
                text += "x"
                continue
            assert source is not None
            statement = site.statement(source)
            name = known or "ALLOWED_COLUMNS"
            refuse, imports = refusal(site, 400, "there is no such column", "ValueError")
            before = site.before(statement, [f"if {value.id} not in {name}:", f"    {refuse}"])
            if before is None:
                return []
            edits = [before, *imports]
            if not known:
                edits.append(above_definition(site, statement, [f'{name} = frozenset({{"id"}})']))
            return [site.proposal(f"only names of {name}", *edits, decision=asks)]
    return []


def _literal(text: str) -> str:
    """A string literal; an f-string where names were left in between private marks."""
    if _OPEN not in text:
        return literal(text)
    escaped = text.replace("{", "{{").replace("}", "}}")
    return "f" + literal(escaped).replace(_OPEN, "{").replace(_CLOSE, "}")


def _is_sqlalchemy(site: Site, call: ast.Call) -> bool:
    receiver = site.name_of(call.func)
    return site.uses("sqlalchemy", "flask_sqlalchemy") and not receiver.startswith("cursor")


def _style(site: Site) -> str:
    if site.uses("asyncpg"):
        return "dollar"
    if site.uses(*_QUESTION):
        return "?"
    if site.uses(*_PERCENT):
        return "%s"
    everything = "\n".join(text for path, text in site.files.items() if path.endswith(".py"))
    seen = set(re.findall(r"^\s*(?:import|from)\s+(\w+)", everything, re.MULTILINE))
    return "%s" if seen & _PERCENT and not seen & _QUESTION else "?"


type Built = tuple[str, list[str], list[int]]


def _query(site: Site, found: list[Piece] | None, style: str, *, bare: bool = False) -> Built | None:
    """(query text, parameter expressions, how many placeholders stand before each).

    bare: the query had no parameters so far, so that a % in it was no placeholder.
    None when nothing becomes a parameter, or a value stands where only a name can stand.
    """
    if found is None or not is_composed(found):
        return None
    text, values, places = "", list[str](), list[int]()
    mark = {"?": "?", "%s": "%s"}.get(style, "\0")
    index = 0
    while index < len(found):
        piece = found[index]
        if piece.value is None:
            text += piece.text.replace("%", "%%") if style == "%s" and bare else piece.text
            index += 1
            continue
        after = found[index + 1].text if index + 1 < len(found) and found[index + 1].value is None else ""
        around = _quoted(text, after)
        if around is None and (_NAME_NEXT.search(text) or not text.strip() or text.endswith((".", "`", "("))):
            if not _fixed(site, piece.value, text, after):
                return None
            text += f"{_OPEN}{site.source(piece.value)}{_CLOSE}"
            index += 1
            continue
        if around is None and text.count("'") % 2:
            return None
        value = site.source(piece.value)
        if around is not None:
            before, tail = around
            text = text[: len(text) - len(before) - 1]
            if before or tail:
                shown = before.replace("%%", "%") if style == "%s" and bare else before
                value = _affixed(shown, value, tail)
            found = [*found[: index + 1], Piece(after[len(tail) + 1 :]), *found[index + 2 :]]
        places.append(text.count(mark) - len(values))
        values.append(value)
        text += {"?": "?", "%s": "%s", "named": f":p{len(values)}", "dollar": f"${len(values)}"}[style]
        index += 1
    return (text, values, places) if values else None


def _fixed(site: Site, node: ast.expr, before: str, after: str) -> bool:
    """A name of a table or column that the source knows, or the column of a comparison."""
    place = defined(site, node)
    if place is not None and isinstance(place[1], ast.Constant):
        return True
    return (
        not before.strip() and isinstance(node, ast.Name) and re.match(r"\s*(=|<|>|LIKE)", after) is not None
    )


def _quoted(before: str, after: str) -> tuple[str, str] | None:
    """The text between the value and the quotes of the SQL literal around it; None when it is not quoted."""
    for quote in ("'", '"'):
        start = before.rfind(quote)
        end = after.find(quote)
        if start >= 0 and end >= 0 and before.count(quote) % 2 == 1:
            head, tail = before[start + 1 :], after[:end]
            if re.fullmatch(r"[\w%.@:/ -]*", head + tail):
                return head, tail
    return None


def _affixed(before: str, value: str, after: str) -> str:
    if any(char in value for char in "\"'{}\\\n"):
        parts = [literal(before)] if before else []
        parts.append(f"str({value})")
        return " + ".join([*parts, literal(after)] if after else parts)
    return f'f"{before}{{{value}}}{after}"'


def _arguments(values: list[str], style: str) -> str:
    if style == "named":
        return "{" + ", ".join(f'"p{number}": {value}' for number, value in enumerate(values, 1)) + "}"
    if style == "dollar":
        return ", ".join(values)
    return f"({values[0]},)" if len(values) == 1 else f"({', '.join(values)})"
