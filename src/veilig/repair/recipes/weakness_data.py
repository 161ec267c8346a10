"""How is data read without running it, and a token without trusting it (CWE-502, 611, 347)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes import weakness_input as inputs
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site, is_constant, keyword_of

_YAML = {
    "load": "safe_load", "full_load": "safe_load", "unsafe_load": "safe_load",
    "load_all": "safe_load_all", "full_load_all": "safe_load_all", "unsafe_load_all": "safe_load_all",
}  # fmt: skip


def safe_load(site: Site) -> list[Proposal]:
    """yaml.safe_load, weights_only and allow_pickle; pickle itself has no equal replacement."""
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func)
        module, _, function = name.rpartition(".")
        if module == "yaml" and function in _YAML and call.args:
            edits = [site.replace(call, f"yaml.{_YAML[function]}({site.source(call.args[0])})")]
            return [
                site.proposal(f"yaml.{function} -> yaml.{_YAML[function]}", *edits, *site.add_import("yaml"))
            ]
        if name == "torch.load":
            return [site.proposal("weights_only=True", site.set_keyword(call, "weights_only", "True"))]
        if name == "numpy.load":
            return [site.proposal("allow_pickle=False", site.set_keyword(call, "allow_pickle", "False"))]
    return inputs.json_instead(site)


def no_entities(site: Site) -> list[Proposal]:
    """Parsers that resolve no external entities; defusedxml where the project has it."""
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func)
        last = name.rsplit(".", 1)[-1]
        if name.startswith("lxml.") and last in ("XMLParser", "ETCompatXMLParser"):
            edits = [site.set_keyword(call, "resolve_entities", "False")]
            for keyword, wanted in (("no_network", "True"), ("load_dtd", "False"), ("huge_tree", "False")):
                if keyword_of(call, keyword) is not None:
                    edits.append(site.set_keyword(call, keyword, wanted))
            return [site.proposal("resolve_entities=False", *edits)]
        if (
            name.startswith("lxml.")
            and last in ("parse", "fromstring", "XML", "iterparse")
            and len(call.args) == 1
        ):
            module = site.source(call.func).rpartition(".")[0]
            if last == "iterparse":
                return [
                    site.proposal(
                        "resolve_entities=False", site.set_keyword(call, "resolve_entities", "False")
                    )
                ]
            imports = () if module else site.add_import("lxml", "etree")
            parser = f"{module or 'etree'}.XMLParser(resolve_entities=False)"
            return [
                site.proposal("a parser without entities", site.set_keyword(call, "parser", parser), *imports)
            ]
        if last == "setFeature" and len(call.args) == 2 and "external" in site.source(call.args[0]):
            return [site.proposal("no external entities", site.replace(call.args[1], "False"))]
    return _without_feature(site) or _defused(site)


def _without_feature(site: Site) -> list[Proposal]:
    """The switch for external entities set to False, in the function that parses."""
    for call in site.nodes(ast.Call):
        scope: ast.AST = site.function(call) or site.tree
        for node in ast.walk(scope):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 2:
                feature = site.source(node.args[0])
                if node.func.attr == "setFeature" and "external" in feature and not _is_off(node.args[1]):
                    return [site.proposal("no external entities", site.replace(node.args[1], "False"))]
    return []


def _is_off(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


_DEFUSED = {
    "xml.etree.ElementTree": "defusedxml.ElementTree",
    "xml.etree.cElementTree": "defusedxml.ElementTree",
    "xml.dom.minidom": "defusedxml.minidom",
    "xml.dom.pulldom": "defusedxml.pulldom",
    "xml.sax": "defusedxml.sax",
    "xmlrpc.client": "defusedxml.xmlrpc",
}


def _defused(site: Site) -> list[Proposal]:
    """The same module from defusedxml; a decision where the project does not have it yet."""
    asks = "" if _has_defusedxml(site) else "defusedxml has to be added to the project's dependencies"
    edits: list[Edit] = []
    for node in site.tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in _DEFUSED and alias.asname:
                    edits.append(site.replace(alias, f"{_DEFUSED[alias.name]} as {alias.asname}"))
                elif alias.name in _DEFUSED:
                    return []
        elif isinstance(node, ast.ImportFrom) and len(node.names) == 1:
            alias = node.names[0]
            if node.module in _DEFUSED and alias.name in ("parse", "parseString", "fromstring", "iterparse"):
                edits.append(site.replace(node, f"from {_DEFUSED[node.module]} import {_shown(alias)}"))
            elif f"{node.module}.{alias.name}" in _DEFUSED:
                edits.append(site.replace(node, f"from defusedxml import {_shown(alias)}"))
    if not edits:
        return []
    return [site.proposal("defusedxml", *edits, decision=asks)]


def _shown(alias: ast.alias) -> str:
    return f"{alias.name} as {alias.asname}" if alias.asname else alias.name


def _has_defusedxml(site: Site) -> bool:
    names = ("pyproject.toml", "requirements.txt", "setup.cfg", "uv.lock", "poetry.lock")
    return any("defusedxml" in text for path, text in site.files.items() if path.endswith(names))


def verify_token(site: Site) -> list[Proposal]:
    """A signature check with a fixed list of algorithms."""
    for call in site.calls(suffix=("decode",)):
        options = keyword_of(call, "options")
        edits: list[Edit] = []
        if isinstance(options, ast.Dict):
            for key, value in zip(options.keys, options.values, strict=True):
                if key is not None and is_constant(key, "verify_signature") and not is_constant(value, True):
                    edits.append(site.replace(value, "True"))
        verify = keyword_of(call, "verify")
        if is_constant(verify, False) and verify is not None:
            edits.append(site.replace(verify, "True"))
        if len(call.args) < 2 and keyword_of(call, "key") is None:
            return _with_key(site, call)
        algorithms = keyword_of(call, "algorithms")
        known = _algorithm(site)
        if algorithms is None:
            edits.append(site.set_keyword(call, "algorithms", f'["{known}"]'))
        elif isinstance(algorithms, ast.List | ast.Tuple):
            kept = [item for item in algorithms.elts if not _is_none_algorithm(item)]
            if len(kept) < len(algorithms.elts):
                names = ", ".join(site.source(item) for item in kept) or f'"{known}"'
                edits.append(site.replace(algorithms, f"[{names}]"))
        if edits:
            return [site.proposal("verifies the token's signature", *edits, confidence=Confidence.MEDIUM)]
    return []


def _with_key(site: Site, call: ast.Call) -> list[Proposal]:
    """The key, which the call does not have yet, from the environment."""
    if len(call.args) != 1:
        return []
    asks = "which key verifies these tokens, and with which algorithm? JWT_KEY must be set where this runs"
    given = f'os.environ["JWT_KEY"], algorithms=["{_algorithm(site)}"]'
    text = f"{site.source(call.func)}({site.source(call.args[0])}, {given})"
    edits = [site.replace(call, text), *site.add_import("os")]
    return [site.proposal("verifies the token's signature", *edits, decision=asks)]


def _is_none_algorithm(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and str(node.value).lower() == "none"


def _algorithm(site: Site) -> str:
    """The algorithm the project signs with, where it says so; HS256 is PyJWT's default."""
    for path, text in site.files.items():
        match = (
            re.search(r"""\.encode\([^)]*algorithm\s*=\s*['"](\w+)['"]""", text)
            if path.endswith(".py")
            else None
        )
        if match and match[1].lower() != "none":
            return match[1]
    return "HS256"
