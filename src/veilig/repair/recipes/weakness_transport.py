"""How does a secret travel and rest where others cannot read it (CWE-312, 319, 598)?"""

import ast

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_exposure import SECRET, without_keys
from veilig.repair.recipes.weakness_settings import protective
from veilig.repair.recipes.weakness_site import Site, is_constant, keyword_of
from veilig.repair.recipes.weakness_values import defined, there

_TLS_CLIENTS = {
    "ftplib.FTP": "FTP_TLS",
    "poplib.POP3": "POP3_SSL",
    "imaplib.IMAP4": "IMAP4_SSL",
}
_TLS_PORTS = {21: 21, 110: 995, 143: 993}


def encrypted(site: Site) -> list[Proposal]:
    """https, and the encrypted twins of FTP, POP, IMAP, SMTP, Redis and PostgreSQL connections."""
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func)
        if name in _TLS_CLIENTS:
            return _tls_client(site, call, name)
        if name.endswith(".login") and "smtplib" in site.lines.text:
            statement = site.statement(call)
            owner = site.source(call.func).rpartition(".")[0]
            before = site.before(statement, [f"{owner}.starttls(context=ssl.create_default_context())"])
            if before is not None:
                return [site.proposal("starttls before the login", before, *site.add_import("ssl"))]
        if is_constant(keyword_of(call, "ssl"), False):
            return [site.proposal("ssl=True", site.set_keyword(call, "ssl", "True"))]
        mode = keyword_of(call, "sslmode")
        if mode is not None:
            return [site.proposal("sslmode=require", site.replace(mode, '"require"'))]
        if name == "grpc.insecure_channel":
            edits = [
                site.replace(call.func, site.source(call.func).replace("insecure_channel", "secure_channel"))
            ]
            end = site.lines.span(call.args[0])[1] if call.args else -1
            if end > 0:
                edits.append(site.insert(end, ", grpc.ssl_channel_credentials()"))
                return [site.proposal("a channel with TLS", *edits, *site.add_import("grpc"))]
        for node in [*call.args[:2], *(k.value for k in call.keywords if k.arg == "url")]:
            found = _https(site, node)
            if found:
                return found
    return protective(site)


def _https(site: Site, node: ast.expr) -> list[Proposal]:
    place = defined(site, node)
    if place is None:
        return []
    where, value = there(place), place[1]
    texts = [n for n in ast.walk(value) if isinstance(n, ast.Constant) and str(n.value).startswith("http://")]
    if texts:
        start, end = where.lines.span(texts[0] if not isinstance(value, ast.JoinedStr) else value)
        at = where.lines.text.find("http://", start, end)
        if at >= 0:
            edit = Edit(where.finding.path, at, at + 4, "https")
            return [site.proposal("https", edit, confidence=Confidence.MEDIUM)]
    for part in ast.walk(value):
        if part is value or not isinstance(part, ast.Name | ast.Attribute):
            continue
        if not isinstance(where.parents.get(part), ast.Attribute) and defined(where, part) is not None:
            found = _https(where, part)
            if found:
                return found
    return []


def _tls_client(site: Site, call: ast.Call, name: str) -> list[Proposal]:
    new = _TLS_CLIENTS[name]
    written = site.source(call.func)
    head = written.rpartition(".")[0]
    edits = [site.replace(call.func, f"{head}.{new}" if head else new)]
    edits += () if head else site.add_import(name.partition(".")[0], new)
    port = call.args[1] if len(call.args) > 1 else keyword_of(call, "port")
    if isinstance(port, ast.Constant) and port.value in (110, 143):
        edits.append(site.replace(port, str(_TLS_PORTS[port.value])))
    if name != "ftplib.FTP":
        return [site.proposal(new, *edits, confidence=Confidence.MEDIUM)]
    scope: ast.AST = site.function(call) or site.tree
    for node in ast.walk(scope):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "login":
            statement = site.statement(node)
            at = site.lines.line_end(statement.end_lineno or statement.lineno)
            owner = site.source(node.func.value)
            edits.append(site.insert(at, f"\n{site.indent(statement)}{owner}.prot_p()"))
            return [site.proposal("FTP over TLS", *edits, confidence=Confidence.MEDIUM)]
    return []


def own_file(site: Site) -> list[Proposal]:
    """The file is made readable for its owner alone before the secret goes in."""
    asks = "is clear text for the owner alone enough here? a keyring or a vault keeps it better"
    for call in site.nodes(ast.Call):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "write_text":
            path = site.source(call.func.value)
            rows = [f"{path}.touch(mode=0o600)", f"{path}.chmod(0o600)"]
            before = site.before(site.statement(call), rows)
            if before is not None:
                return [site.proposal("the file is for its owner alone", before, decision=asks)]
    for function in [n for n in ast.walk(site.tree) if isinstance(n, ast.FunctionDef)]:
        if not function.lineno <= site.finding.line <= (function.end_lineno or 0):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and site.name_of(node.func) == "open" and node.args:
                text = "lambda path, flags: os.open(path, flags, 0o600)"
                edits = [site.set_keyword(node, "opener", text), *site.add_import("os")]
                return [site.proposal("the file is made for its owner alone", *edits, decision=asks)]
    return []


def out_of_address(site: Site) -> list[Proposal]:
    """The secret comes in the body, and goes out in a header."""
    for node in site.nodes(ast.Attribute):
        text = site.source(node)
        new = {"request.args": "request.form", "request.GET": "request.POST"}.get(text)
        if new:
            asks = "do all callers send this in the body of a POST request?"
            return [site.proposal(f"{new} for {text}", site.replace(node, new), decision=asks)]
    for call in site.nodes(ast.Call):
        params = keyword_of(call, "params")
        if not isinstance(params, ast.Dict) or keyword_of(call, "headers") is not None:
            continue
        for key, value in zip(params.keys, params.values, strict=True):
            if isinstance(key, ast.Constant) and SECRET.search(str(key.value)):
                edits = without_keys(site, params, SECRET)
                if not edits:
                    continue
                header = f'{{"Authorization": f"Bearer {{{site.source(value)}}}"}}'
                edits.append(site.set_keyword(call, "headers", header))
                asks = "does the other side take the key in an Authorization header?"
                return [site.proposal("the key goes in a header", *edits, decision=asks)]
    return []
