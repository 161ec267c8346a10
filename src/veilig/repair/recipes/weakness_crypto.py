"""Which stronger primitive stands in for a weak one (CWE-295, 327, 328, 330, 338, 208, 400, 798, 117)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site, is_constant, keyword_of

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
    for call in site.nodes(ast.Call):
        module, _, function = site.name_of(call.func).rpartition(".")
        if module == "random" and function not in ("seed", "SystemRandom", "Random"):
            new = f"secrets.{_SECRETS.get(function, f'SystemRandom().{function}')}"
            edits = [site.replace(call.func, new), *site.add_import("secrets")]
            return [site.proposal(f"random.{function} -> {new}", *edits)]
        if module == "random" and function == "Random":
            edits = [site.replace(call, "secrets.SystemRandom()"), *site.add_import("secrets")]
            return [
                site.proposal("random.Random -> secrets.SystemRandom", *edits, confidence=Confidence.MEDIUM)
            ]
        if (module, function) == ("uuid", "uuid1"):
            return [
                site.proposal("uuid1 -> uuid4", site.replace(call, "uuid.uuid4()"), *site.add_import("uuid"))
            ]
    return []


def verify_tls(site: Site) -> list[Proposal]:
    """Certificates are checked: verify=True, CERT_REQUIRED, check_hostname, the default context."""
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func)
        verify = keyword_of(call, "verify")
        if verify is not None and is_constant(verify, False):
            return [site.proposal("verify=False -> True", site.replace(verify, "True"))]
        if name.endswith(("_create_unverified_context", "_create_stdlib_context")):
            edits = [site.replace(call.func, "ssl.create_default_context"), *site.add_import("ssl")]
            return [site.proposal("ssl.create_default_context()", *edits)]
        required = keyword_of(call, "cert_reqs")
        if required is not None:
            new = '"CERT_REQUIRED"' if isinstance(required, ast.Constant) else "ssl.CERT_REQUIRED"
            return [site.proposal("CERT_REQUIRED", site.replace(required, new))]
        for keyword in ("ssl", "verify_ssl"):
            value = keyword_of(call, keyword)
            if value is not None and is_constant(value, False):
                return [site.proposal(f"{keyword}=False -> True", site.replace(value, "True"))]
        if name.endswith(("AutoAddPolicy", "WarningPolicy")):
            end = site.source(call.func).rpartition(".")
            edit = site.replace(call.func, f"{end[0]}{end[1]}RejectPolicy")
            return [site.proposal("unknown host keys are refused", edit, confidence=Confidence.MEDIUM)]
    for node in site.nodes(ast.Assign):
        target = node.targets[0]
        if isinstance(target, ast.Attribute) and target.attr == "verify" and is_constant(node.value, False):
            return [site.proposal("verify = True", site.replace(node.value, "True"))]
        if (
            isinstance(target, ast.Attribute)
            and target.attr == "check_hostname"
            and is_constant(node.value, False)
        ):
            return [site.proposal("check_hostname = True", site.replace(node.value, "True"))]
        if isinstance(target, ast.Attribute) and target.attr == "verify_mode":
            return [site.proposal("CERT_REQUIRED", site.replace(node.value, "ssl.CERT_REQUIRED"))]
        if site.source(node.value).endswith("_create_unverified_context"):
            edit = site.replace(node.value, "ssl.create_default_context")
            return [site.proposal("ssl.create_default_context", edit)]
    return []


def constant_time(site: Site) -> list[Proposal]:
    """hmac.compare_digest() for == and != on secrets."""
    for node in site.nodes(ast.Compare):
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            left, right = site.source(node.left), site.source(node.comparators[0])
            negation = "not " if isinstance(node.ops[0], ast.NotEq) else ""
            edits = [
                site.replace(node, f"{negation}hmac.compare_digest({left}, {right})"),
                *site.add_import("hmac"),
            ]
            return [site.proposal("hmac.compare_digest()", *edits, confidence=Confidence.MEDIUM)]
    return []


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


def secret_from_environment(site: Site) -> list[Proposal]:
    """The credential comes from the environment; where it lives then is a person's decision."""
    for node in site.nodes(ast.Constant):
        if not isinstance(node.value, str) or len(node.value) < 3:
            continue
        name = _owner(site, node)
        if not name or isinstance(site.parents.get(node), ast.JoinedStr):
            continue
        variable = re.sub(r"\W+", "_", name).upper().strip("_")
        edits = [site.replace(node, f'os.environ["{variable}"]'), *site.add_import("os")]
        question = f"where does the secret live? {variable} must be set there, and the old one be revoked"
        title = f"credential from the environment: {variable}"
        return [site.proposal(title, *edits, cost=2, confidence=Confidence.MEDIUM, decision=question)]
    return []


def _owner(site: Site, node: ast.Constant) -> str:
    parent = site.parents.get(node)
    if isinstance(parent, ast.Assign | ast.AnnAssign):
        target = parent.targets[0] if isinstance(parent, ast.Assign) else parent.target
        if isinstance(target, ast.Subscript):
            return site.source(target.slice).strip("'\"")
        return site.source(target).rsplit(".", 1)[-1]
    if isinstance(parent, ast.keyword) and parent.arg:
        return parent.arg
    if isinstance(parent, ast.Dict):
        for key, value in zip(parent.keys, parent.values, strict=True):
            if value is node and isinstance(key, ast.Constant):
                return str(key.value)
    return ""


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
