"""Which stronger primitive stands in for a weak one (CWE-295, 327, 328, 330, 338, 208, 400, 798, 117)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site, is_constant, keyword_of
from veilig.repair.recipes.weakness_template import origin
from veilig.repair.recipes.weakness_text import own_lines, removed
from veilig.repair.recipes.weakness_values import defined, there

_WEAK = frozenset({"md5", "sha1", "md4", "new", "sha", "sha224"})


def strong_hash(site: Site) -> list[Proposal]:
    """SHA-256 for MD5 and SHA-1, TLS 1.2 for older versions; or say that the hash secures nothing."""
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func)
        module, _, function = name.rpartition(".")
        if module == "hashlib" and function == "new" and call.args:
            return [site.proposal("hash -> sha256", site.replace(call.args[0], '"sha256"'))]
        if module == "hashlib" and function in _WEAK:
            edits = [site.replace(call.func, "hashlib.sha256"), *site.add_import("hashlib")]
            found = [site.proposal(f"{function} -> sha256", *edits)]
            spare = site.set_keyword(call, "usedforsecurity", "False")
            question = "is this hash used for nothing that must resist an attacker?"
            title = f"{function} marked as not for security"
            found.append(site.proposal(title, spare, cost=3, confidence=Confidence.LOW, decision=question))
            return found
        if name in ("hmac.new", "hmac.digest", "hashlib.pbkdf2_hmac"):
            edits = _weak_argument(site, call)
            if edits:
                return [site.proposal("hash -> sha256", *edits)]
    return _tls_version(site)


def _weak_argument(site: Site, call: ast.Call) -> list[Edit]:
    for node in [*call.args, *(item.value for item in call.keywords)]:
        if isinstance(node, ast.Constant) and node.value in ("md5", "sha1"):
            return [site.replace(node, '"sha256"')]
        if site.name_of(node) in ("hashlib.md5", "hashlib.sha1"):
            return [site.replace(node, "hashlib.sha256"), *site.add_import("hashlib")]
    return []


def _tls_version(site: Site) -> list[Proposal]:
    for node in site.nodes(ast.Attribute):
        name = site.name_of(node)
        if re.fullmatch(r"ssl\.TLSVersion\.(SSLv3|TLSv1|TLSv1_1)", name):
            return [site.proposal("TLS 1.2", site.replace(node, f"{site.source(node.value)}.TLSv1_2"))]
        if re.fullmatch(r"ssl\.PROTOCOL_(SSLv2|SSLv3|SSLv23|TLSv1|TLSv1_1|TLS)", name):
            new = f"{site.source(node.value)}.PROTOCOL_TLS_CLIENT"
            return [site.proposal("PROTOCOL_TLS_CLIENT", site.replace(node, new), confidence=Confidence.LOW)]
    return []


_SECRETS = {"choice": "choice", "getrandbits": "randbits", "randbytes": "token_bytes"}


def secure_random(site: Site) -> list[Proposal]:
    """`secrets` for `random`: the same numbers, from the operating system."""
    for where in site.trail():
        for call in where.nodes(ast.Call):
            found = _from_system(where, call)
            if found:
                return found
    return _whole_definition(site)


def _from_system(site: Site, call: ast.Call) -> list[Proposal]:
    module, _, function = site.name_of(call.func).rpartition(".")
    if module == "random" and function not in ("seed", "SystemRandom", "Random"):
        new = f"secrets.{_SECRETS.get(function, f'SystemRandom().{function}')}"
        edits = [site.replace(call.func, new), *site.add_import("secrets")]
        inside = site.function(call)
        for other in ast.walk(inside) if inside is not None else ():
            if isinstance(other, ast.Call) and other is not call:
                owner, _, method = site.name_of(other.func).rpartition(".")
                if owner == "random" and method not in ("seed", "SystemRandom", "Random"):
                    better = f"secrets.{_SECRETS.get(method, f'SystemRandom().{method}')}"
                    edits.append(site.replace(other.func, better))
        return [site.proposal(f"random.{function} -> {new}", *edits)]
    if module == "random" and function == "Random":
        edits = [site.replace(call, "secrets.SystemRandom()"), *site.add_import("secrets")]
        return [site.proposal("random.Random -> secrets.SystemRandom", *edits, confidence=Confidence.MEDIUM)]
    if (module, function) == ("uuid", "uuid1"):
        edits = [site.replace(call, "uuid.uuid4()"), *site.add_import("uuid")]
        return [site.proposal("uuid1 -> uuid4", *edits)]
    if module == "numpy.random" and function in ("randint", "choice", "random", "bytes"):
        return []
    return []


def _whole_definition(site: Site) -> list[Proposal]:
    """Every use of random in the class or function around the finding, its seed taken away."""
    tops = [
        n
        for n in site.tree.body
        if isinstance(n, ast.ClassDef | ast.FunctionDef)
        and n.lineno <= site.finding.line <= (n.end_lineno or n.lineno)
    ]
    scopes: list[ast.AST] = [*tops, *(n for n in site.tree.body if isinstance(n, ast.Assign))]
    edits: list[Edit] = []
    for node in [n for scope in scopes for n in ast.walk(scope)]:
        name = site.name_of(node) if isinstance(node, ast.Name | ast.Attribute) else ""
        parent = site.parents.get(node)
        if name == "random.seed" and isinstance(parent, ast.Call):
            statement = site.statement(parent)
            if own_lines(site, statement) and isinstance(statement, ast.Expr):
                edits.append(removed(site, statement))
        elif name == "random.Random" and isinstance(parent, ast.Call):
            edits.append(site.replace(parent, "secrets.SystemRandom()"))
        elif re.fullmatch(r"random\.[a-z]\w+", name):
            method = name.partition(".")[2]
            edits.append(site.replace(node, f"secrets.{_SECRETS.get(method, f'SystemRandom().{method}')}"))
    if not edits:
        return []
    return [site.proposal("secrets for random", *edits, *site.add_import("secrets"))]


def verify_tls(site: Site) -> list[Proposal]:
    """Certificates are checked: verify=True, CERT_REQUIRED, check_hostname, the default context."""
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func)
        for keyword in ("verify", "ssl", "verify_ssl", "check_hostname", "verify_certs", "tls_verify"):
            value = keyword_of(call, keyword)
            found = _switched_on(site, value, keyword) if value is not None else []
            if found:
                return found
        if name.endswith(("_create_unverified_context", "_create_stdlib_context")):
            edits = [site.replace(call.func, "ssl.create_default_context"), *site.add_import("ssl")]
            return [site.proposal("ssl.create_default_context()", *edits)]
        required = keyword_of(call, "cert_reqs")
        if required is not None:
            new = '"CERT_REQUIRED"' if isinstance(required, ast.Constant) else "ssl.CERT_REQUIRED"
            imports = () if isinstance(required, ast.Constant) else site.add_import("ssl")
            return [site.proposal("CERT_REQUIRED", site.replace(required, new), *imports)]
        if name.endswith(("AutoAddPolicy", "WarningPolicy")):
            end = site.source(call.func).rpartition(".")
            edit = site.replace(call.func, f"{end[0]}{end[1]}RejectPolicy")
            return [site.proposal("unknown host keys are refused", edit, confidence=Confidence.MEDIUM)]
        policy = next(
            (a for a in call.args if site.name_of(a).endswith(("AutoAddPolicy", "WarningPolicy"))), None
        )
        if policy is not None:
            edit = site.replace(policy, re.sub(r"\w+Policy$", "RejectPolicy", site.source(policy)))
            return [site.proposal("unknown host keys are refused", edit, confidence=Confidence.MEDIUM)]
    for call in site.calls("ssl.wrap_socket"):
        found = _wrapped_socket(site, call) if call.args else []
        if found:
            return found
    for node in site.nodes(ast.Assign):
        found = _assigned_off(site, node)
        if found:
            return _together(site, node, found[0])
    return _off_elsewhere(site)


def _together(site: Site, node: ast.Assign, first: Proposal) -> list[Proposal]:
    """With the other switch of the same context: one alone makes `ssl` raise."""
    target = node.targets[0]
    owner = site.source(target.value) if isinstance(target, ast.Attribute) else ""
    edits = list(first.edits)
    scope: ast.AST = site.function(node) or site.tree
    for other in ast.walk(scope):
        aim = other.targets[0] if isinstance(other, ast.Assign) else None
        if other is node or not isinstance(aim, ast.Attribute) or site.source(aim.value) != owner:
            continue
        assert isinstance(other, ast.Assign)
        switch = aim.attr == "verify_mode" and "CERT_NONE" in site.source(other.value)
        if switch or (aim.attr == "check_hostname" and is_constant(other.value, False)):
            edits += [edit for found in _assigned_off(site, other) for edit in found.edits]
    return [site.proposal(first.title, *edits)]


def _wrapped_socket(site: Site, call: ast.Call) -> list[Proposal]:
    """The default context, with the name of the host that the function connects to."""
    scope: ast.AST = site.function(call) or site.tree
    for node in ast.walk(scope):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "connect"
        ):
            pair = node.args[0] if node.args else None
            if isinstance(pair, ast.Tuple) and pair.elts:
                host = site.source(pair.elts[0])
                given = f"{site.source(call.args[0])}, server_hostname={host}"
                text = f"ssl.create_default_context().wrap_socket({given})"
                edits = [site.replace(call, text), *site.add_import("ssl")]
                return [site.proposal("a context that checks the certificate", *edits)]
    return []


def _switched_on(site: Site, value: ast.expr, name: str) -> list[Proposal]:
    place = defined(site, value)
    if place is None or not is_constant(place[1], False):
        return []
    return [site.proposal(f"{name}=False -> True", there(place).replace(place[1], "True"))]


def _assigned_off(site: Site, node: ast.Assign) -> list[Proposal]:
    target = node.targets[0]
    last = target.attr if isinstance(target, ast.Attribute) else ""
    if last in ("verify", "check_hostname"):
        found = _switched_on(site, node.value, last)
        if found:
            return found
    if last == "verify_mode":
        edits = [site.replace(node.value, "ssl.CERT_REQUIRED"), *site.add_import("ssl")]
        return [site.proposal("CERT_REQUIRED", *edits)]
    if site.source(node.value).endswith("_create_unverified_context"):
        edits = [site.replace(node.value, "ssl.create_default_context"), *site.add_import("ssl")]
        return [site.proposal("ssl.create_default_context", *edits)]
    return []


def _off_elsewhere(site: Site) -> list[Proposal]:
    """The setting or argument that switched the check off in another file of the project."""
    for path, text in sorted(site.files.items()):
        if not path.endswith(".py") or not re.search(r"(?i)verify\w*\s*(: *bool)?\s*=", text):
            continue
        where = site.at_line(path, 1)
        for node in ast.walk(where.tree) if where is not None else ():
            if isinstance(node, ast.keyword) and node.arg in (
                "verify",
                "verify_ssl",
                "verify_tls",
                "ssl_verify",
            ):
                assert where is not None
                found = _switched_on(where, node.value, node.arg)
                if found:
                    return found
    return []


def constant_time(site: Site) -> list[Proposal]:
    """hmac.compare_digest() for == and != on secrets; as bytes, since text with other letters raises."""
    for node in site.nodes(ast.Compare):
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            sides = [node.left, node.comparators[0]]
            as_text = any(_comes_as_text(site, side) for side in sides)
            left, right = (_as_bytes(site, side) if as_text else site.source(side) for side in sides)
            negation = "not " if isinstance(node.ops[0], ast.NotEq) else ""
            edits = [
                site.replace(node, f"{negation}hmac.compare_digest({left}, {right})"),
                *site.add_import("hmac"),
            ]
            return [site.proposal("hmac.compare_digest()", *edits, confidence=Confidence.MEDIUM)]
    return []


_REQUEST = re.compile(
    r"(^|\.)request\.(headers|args|form|cookies|values|GET|POST|META|COOKIES|query)\b|^os\.environ"
)


def _comes_as_text(site: Site, node: ast.expr) -> bool:
    value, _ = origin(site, node)
    inner = (
        value.func
        if isinstance(value, ast.Call)
        else value.value
        if isinstance(value, ast.Subscript)
        else value
    )
    return _REQUEST.search(site.name_of(inner)) is not None


def _as_bytes(site: Site, node: ast.expr) -> str:
    text = site.source(node)
    value, _ = origin(site, node)
    absent = (
        isinstance(value, ast.Call) and site.name_of(value.func).endswith(".get") and len(value.args) == 1
    )
    if absent:
        return f'({text} or "").encode()'
    simple = isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call)
    return f"{text}.encode()" if simple else f"({text}).encode()"


_NETWORK = re.compile(
    r"(^|\.)(get|post|put|delete|head|patch|options|request|urlopen|create_connection|stream|Client|AsyncClient)$"
)


def add_timeout(site: Site) -> list[Proposal]:
    """timeout=10 on a call over the network that would wait without end."""
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func)
        if _NETWORK.search(name) and not name.startswith("os."):
            return [site.proposal("timeout=10 seconds", site.set_keyword(call, "timeout", "10"))]
    return []


def escape_pattern(site: Site) -> list[Proposal]:
    """re.escape() around text from outside used as a pattern; a bad constant pattern needs a person."""
    for call in site.nodes(ast.Call):
        if not site.name_of(call.func).startswith("re.") or not call.args:
            continue
        pattern = call.args[0]
        if not isinstance(pattern, ast.Constant | ast.JoinedStr | ast.BinOp):
            edits = [site.replace(pattern, f"re.escape({site.source(pattern)})"), *site.add_import("re")]
            return [site.proposal("re.escape() around the text", *edits, confidence=Confidence.MEDIUM)]
    return []
