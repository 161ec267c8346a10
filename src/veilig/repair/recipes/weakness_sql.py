"""How does a query take its values as parameters (CWE-89, 643, 90)?"""

import ast
import re
from collections.abc import Callable

from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site
from veilig.repair.recipes.weakness_template import Piece, is_composed, literal, origin, pieces

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
    """Placeholders in the query, values in the second argument; empty when a value is no value but a name."""
    for call in site.calls(suffix=_SINKS):
        if not call.args or len(call.args) > 1 or call.keywords:
            continue
        query, wrapped = call.args[0], False
        if isinstance(query, ast.Call) and site.name_of(query.func).endswith("text") and query.args:
            query, wrapped = query.args[0], True
        source, named = origin(site, query)
        if (
            isinstance(source, ast.Call)
            and site.name_of(source.func).endswith("sqlalchemy.text")
            and source.args
        ):
            source, wrapped = source.args[0], True
        style = "named" if wrapped or _is_sqlalchemy(site, call) else _style(site)
        built = _query(site, pieces(source), style)
        if built is None or (named and isinstance(query, ast.Name) and site.uses_of(query) != 1):
            continue
        text, values = built
        new = literal(text)
        edits = [site.replace(source, new)]
        if style == "named" and not wrapped:
            edits = [site.replace(source, f"text({new})"), *site.add_import("sqlalchemy", "text")]
        end = site.lines.span(call.args[0])[1]
        edits.append(site.insert(end, f", {_arguments(values, style)}"))
        sure = style == "named" or site.uses(*_QUESTION, *_PERCENT)
        title = f"query parameters for {', '.join(values)}"
        return [site.proposal(title, *edits, confidence=Confidence.HIGH if sure else Confidence.MEDIUM)]
    return []


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


def _query(site: Site, found: list[Piece] | None, style: str) -> tuple[str, list[str]] | None:
    """(query text, parameter expressions); None when a value cannot be a parameter."""
    if found is None or not is_composed(found):
        return None
    text, values = "", list[str]()
    index = 0
    while index < len(found):
        piece = found[index]
        if piece.value is None:
            text += piece.text.replace("%", "%%") if style == "%s" else piece.text
            index += 1
            continue
        after = found[index + 1].text if index + 1 < len(found) and found[index + 1].value is None else ""
        around = _quoted(text, after)
        if around is None and (_NAME_NEXT.search(text) or text.endswith((".", "`")) or text.count("'") % 2):
            return None
        value = site.source(piece.value)
        if around is not None:
            before, tail = around
            text = text[: len(text) - len(before) - 1]
            if before or tail:
                shown = before.replace("%%", "%") if style == "%s" else before
                value = _affixed(shown, value, tail)
            found = [*found[: index + 1], Piece(after[len(tail) + 1 :]), *found[index + 2 :]]
        values.append(value)
        text += {"?": "?", "%s": "%s", "named": f":p{len(values)}", "dollar": f"${len(values)}"}[style]
        index += 1
    return text, values


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


def xpath_variables(site: Site) -> list[Proposal]:
    """lxml: values as XPath variables instead of text."""
    for call in site.calls(suffix=("xpath",)):
        source, _ = origin(site, call.args[0]) if call.args else (None, False)
        found = pieces(source) if source is not None else None
        if source is None or found is None or not is_composed(found):
            continue
        text, arguments = "", list[str]()
        for index, piece in enumerate(found):
            if piece.value is None:
                text += piece.text[1:] if arguments and index and piece.text[:1] in "'\"" else piece.text
                continue
            if text[-1:] not in ("'", '"'):
                return []
            arguments.append(site.source(piece.value))
            text = f"{text[:-1]}$v{len(arguments)}"
        named = ", ".join(f"v{number}={value}" for number, value in enumerate(arguments, 1))
        end = site.lines.span(call.args[-1])[1]
        return [
            site.proposal(
                "XPath variables", site.replace(source, literal(text)), site.insert(end, f", {named}")
            )
        ]
    return []


def wrap_values(
    site: Site, nodes: list[ast.expr], wrap: Callable[[str], str], done: tuple[str, ...]
) -> list[tuple[ast.expr, str]]:
    """(value, its wrapped text) for every value put into the first composed string among `nodes`.

    Values that are calls of a function named in `done` are left alone.
    """
    for node in nodes:
        source, _ = origin(site, node)
        found = pieces(source)
        if found is None or not is_composed(found):
            continue
        result: list[tuple[ast.expr, str]] = []
        for piece in found:
            value = piece.value
            if value is None:
                continue
            if isinstance(value, ast.Call) and site.name_of(value.func).rsplit(".", 1)[-1] in done:
                continue
            result.append((value, wrap(site.source(value))))
        if result:
            return result
    return []


def escape_ldap(site: Site) -> list[Proposal]:
    """escape_filter_chars() around every value of an LDAP filter."""
    module = "ldap3.utils.conv" if site.uses("ldap3") else "ldap.filter"
    for call in site.calls(suffix=("search", "search_s", "search_st", "search_ext", "search_ext_s")):
        nodes = [*call.args, *(item.value for item in call.keywords)]
        found = wrap_values(
            site, nodes, lambda text: f"escape_filter_chars({text})", ("escape_filter_chars", "int")
        )
        if found:
            edits = [site.replace(value, new) for value, new in found]
            return [
                site.proposal(
                    "LDAP filter values escaped", *edits, *site.add_import(module, "escape_filter_chars")
                )
            ]
    return []
