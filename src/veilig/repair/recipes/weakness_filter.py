"""How does an XPath query or an LDAP filter take its values (CWE-643, 90)?"""

import ast
from collections.abc import Callable

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Proposal
from veilig.repair.recipes.weakness_site import Site
from veilig.repair.recipes.weakness_template import is_composed, literal, origin, pieces
from veilig.repair.recipes.weakness_text import refusal


def xpath_variables(site: Site) -> list[Proposal]:
    """lxml: values as XPath variables instead of text."""
    for call in site.calls(suffix=("xpath", "select", "iter_select")):
        position = 0 if site.name_of(call.func).endswith("xpath") else 1  # elementpath.select(root, query)
        if len(call.args) <= position:
            continue
        source, _ = origin(site, call.args[position])
        found = pieces(source)
        if found is None or not is_composed(found):
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
        if position:
            items = ", ".join(f'"v{number}": {value}' for number, value in enumerate(arguments, 1))
            named = f"variables={{{items}}}"
        end = site.lines.span(call.args[-1])[1]
        return [
            site.proposal(
                "XPath variables", site.replace(source, literal(text)), site.insert(end, f", {named}")
            )
        ]
    return _no_quotes(site)


def _no_quotes(site: Site) -> list[Proposal]:
    """ElementTree knows no variables: a value with quotes is refused."""
    for call in site.calls(suffix=("find", "findall", "findtext", "iterfind")):
        source = origin(site, call.args[0])[0] if call.args else None
        found = pieces(source) if source is not None else None
        values = [p.value for p in found or () if p.value is not None]
        if source is None or len(values) != 1 or not isinstance(values[0], ast.Name):
            continue
        refuse, imports = refusal(site, 400, "quotes are not allowed", "ValueError")
        name = values[0].id
        before = site.before(
            site.statement(source), [f"if \"'\" in {name} or '\"' in {name}:", f"    {refuse}"]
        )
        if before is not None:
            return [site.proposal("no quotes in the value", before, *imports)]
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
    """Every value of an LDAP filter escaped as such, and every value of a name as that."""
    ldap3 = site.uses("ldap3")
    module = "ldap3.utils.conv" if ldap3 else "ldap.filter"
    for call in site.calls(suffix=("search", "search_s", "search_st", "search_ext", "search_ext_s")):
        edits: list[Edit] = []
        for node in [*call.args, *(item.value for item in call.keywords)]:
            source = site.source(origin(site, node)[0])
            function = "escape_filter_chars" if "(" in source.partition(".format")[0] else "escape_rdn"
            if function == "escape_rdn" and not ldap3:
                function = "escape_dn_chars"
            place = {"escape_rdn": "ldap3.utils.dn", "escape_dn_chars": "ldap.dn"}.get(function, module)
            wrapped = wrap_values(site, [node], lambda text: text, (function, "int"))
            edits += [site.replace(value, f"{function}({text})") for value, text in wrapped]
            edits += site.add_import(place, function) if wrapped else ()
        if edits:
            return [site.proposal("LDAP values escaped", *edits)]
    return []
