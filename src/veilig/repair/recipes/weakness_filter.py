"""How does an XPath query or an LDAP filter take its values (CWE-643, 90)?"""

import ast
from collections.abc import Callable

from veilig.repair.recipes.proposal import Proposal
from veilig.repair.recipes.weakness_site import Site
from veilig.repair.recipes.weakness_template import is_composed, literal, origin, pieces


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
