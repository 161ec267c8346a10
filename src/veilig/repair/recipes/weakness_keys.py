"""How are ciphers and generators fed with what nobody can guess (CWE-326, 327, 329, 335, 760, 780)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_cipher import sent_along
from veilig.repair.recipes.weakness_site import Site, keyword_of
from veilig.repair.recipes.weakness_text import own_lines
from veilig.repair.recipes.weakness_values import defined, there

_DIGEST_BYTES = {"md5": 16, "sha1": 20, "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64}


def long_key(site: Site) -> list[Proposal]:
    """3072 bits for a shorter RSA or DSA key, where the number stands."""
    for call in site.nodes(ast.Call):
        for node in [*call.args, *(item.value for item in call.keywords)]:
            place = defined(site, node)
            size = place[1].value if place is not None and isinstance(place[1], ast.Constant) else None
            if place is not None and type(size) is int and 256 <= size < 2048:
                title = f"key of {size} -> 3072 bits"
                return [site.proposal(title, there(place).replace(place[1], "3072"))]
    return []


def fresh_salt(site: Site) -> list[Proposal]:
    """os.urandom(16) for a salt that is handed out with the hash; more rounds where there are too few."""
    again = "the hashes stored so far no longer match: may they be made anew when users log in?"
    found: list[Proposal] = []
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func)
        if name == "bcrypt.gensalt":
            return [site.proposal("bcrypt with 12 rounds", _argument(site, call, 0, "rounds", "12"))]
        position = {"hashlib.pbkdf2_hmac": 2}.get(name, 1 if "PBKDF2" in name or "scrypt" in name else 99)
        salt = keyword_of(call, "salt") or (call.args[position] if len(call.args) > position else None)
        if salt is None:
            continue
        place = defined(site, salt)
        if isinstance(salt, ast.Name) and place is not None and sent_along(site, call, salt):
            where = there(place)
            edits = [where.replace(place[1], "os.urandom(16)"), *where.add_import("os")]
            return [site.proposal("a random salt for every password", *edits)]
        rounds = keyword_of(call, "iterations") or keyword_of(call, "count")
        if rounds is None and len(call.args) > 3 and "scrypt" not in name:
            rounds = call.args[3]
        counted = defined(site, rounds) if rounds is not None else None
        if counted is not None and isinstance(counted[1], ast.Constant):
            number = counted[1].value
            if isinstance(number, int) and number < 100_000:
                edit = there(counted).replace(counted[1], "600_000")
                found.append(site.proposal("600,000 rounds", edit, decision=again))
        cost = keyword_of(call, "n")
        if cost is not None and "scrypt" in name:
            found.append(site.proposal("scrypt with n=2**14", site.replace(cost, "2**14"), decision=again))
        found += _salted(site, call, salt, again)
    return found


def _argument(site: Site, call: ast.Call, position: int, name: str, text: str) -> Edit:
    if len(call.args) > position:
        return site.replace(call.args[position], text)
    return site.set_keyword(call, name, text)


def _salted(site: Site, call: ast.Call, salt: ast.expr, asks: str) -> list[Proposal]:
    """The random salt in front of the hash that is handed out."""
    statement = site.statement(call)
    text = site.source(call)
    outer = site.parents.get(call)
    whole: ast.expr = call
    if isinstance(outer, ast.Attribute) and outer.attr == "hex":
        up = site.parents.get(outer)
        whole = up if isinstance(up, ast.Call) else call
    if not isinstance(site.parents.get(whole), ast.Return | ast.Assign) or not text:
        return []
    name = site.free_name("salt") if not isinstance(salt, ast.Name) else site.free_name("own_salt")
    before = site.before(statement, [f"{name} = os.urandom(16)"])
    if before is None:
        return []
    prefix = f"{name}.hex() + " if whole is not call else f"{name} + "
    edits = [before, site.replace(salt, name), site.insert(site.lines.span(whole)[0], prefix)]
    title = "a random salt in front of every hash; the check has to read it from there"
    return [site.proposal(title, *edits, *site.add_import("os"), cost=2, decision=asks)]


def padding(site: Site) -> list[Proposal]:
    """OAEP with SHA-256 for the old RSA padding, in every place of this file."""
    asks = "does the other side use OAEP too? what was encrypted so far has to be encrypted anew"
    edits: list[Edit] = []
    for node in ast.walk(site.tree):
        if isinstance(node, ast.Call):
            edits += _padded(site, node)
        elif isinstance(node, ast.ImportFrom) and node.module in ("Crypto.Cipher", "Cryptodome.Cipher"):
            for alias in node.names:
                if alias.name == "PKCS1_v1_5":
                    kept = f" as {alias.asname}" if alias.asname else ""
                    edits.append(site.replace(alias, f"PKCS1_OAEP{kept}"))
        elif isinstance(node, ast.Name) and node.id == "PKCS1_v1_5":
            edits.append(site.replace(node, "PKCS1_OAEP"))
    return [site.proposal("RSA with OAEP", *edits, decision=asks)] if edits else []


def _padded(site: Site, node: ast.Call) -> list[Edit]:
    if site.name_of(node.func).endswith("padding.PKCS1v15"):
        parent = site.parents.get(node)
        owner = parent.func if isinstance(parent, ast.Call) else None
        if not isinstance(owner, ast.Attribute) or owner.attr not in ("encrypt", "decrypt"):
            return []
        pad = site.source(node.func).rpartition(".")[0] or "padding"
        text = f"{pad}.OAEP(mgf={pad}.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)"
        return [site.replace(node, text), *site.add_import("cryptography.hazmat.primitives", "hashes")]
    decrypts = isinstance(node.func, ast.Attribute) and node.func.attr == "decrypt"
    if decrypts and len(node.args) == 2 and "PKCS1_v1_5" in site.lines.text:
        # The old padding took a second argument to answer with; OAEP raises ValueError instead.
        start = site.lines.span(node.args[0])[1]
        return [Edit(site.finding.path, start, site.lines.span(node.args[1])[1], "")]
    return []


def unguessable(site: Site) -> list[Proposal]:
    """The operating system's generator for seeds, clocks, addresses and short tokens."""
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func)
        if name == "random.Random":
            edits = [site.replace(call, "secrets.SystemRandom()"), *site.add_import("secrets")]
            return [site.proposal("secrets.SystemRandom() for a seeded generator", *edits)]
        if name == "random.seed":
            return _without_seed(site, call)
        if name == "uuid.uuid1":
            return [
                site.proposal("uuid4 for uuid1", site.replace(call, "uuid.uuid4()"), *site.add_import("uuid"))
            ]
        if name in ("secrets.token_hex", "secrets.token_urlsafe", "secrets.token_bytes"):
            title = "a token of 32 bytes"
            return [
                site.proposal(title, _argument(site, call, 0, "nbytes", "32"), confidence=Confidence.MEDIUM)
            ]
    return digest_of_clock(site)


def _without_seed(site: Site, call: ast.Call) -> list[Proposal]:
    """Takes random.seed() away, and every call of random in that function to secrets."""
    scope: ast.AST = site.function(call) or site.tree
    edits: list[Edit] = []
    statement = site.statement(call)
    for node in ast.walk(scope):
        if isinstance(node, ast.Call) and node is not call:
            module, _, method = site.name_of(node.func).rpartition(".")
            if module == "random":
                edits.append(site.replace(node.func, f"secrets.SystemRandom().{method}"))
    if not edits or not own_lines(site, statement):
        return []
    start = site.lines.line_start(statement.lineno)
    end = site.lines.line_start((statement.end_lineno or statement.lineno) + 1)
    edits += [Edit(site.finding.path, start, end, ""), *site.add_import("secrets")]
    return [site.proposal("secrets.SystemRandom() and no seed", *edits)]


def digest_of_clock(site: Site) -> list[Proposal]:
    """A random token of the same length for a digest of the time or a name; for a bare time, too."""
    scope: ast.AST = site.tree
    for function in site.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        scope = function
        break
    near = [*site.nodes(ast.Call), *(n for n in ast.walk(scope) if isinstance(n, ast.Call))]
    for call in near:
        name = site.name_of(call.func)
        match = re.fullmatch(r"hashlib\.(\w+)\(\)\.hexdigest", name)
        if match and match[1] in _DIGEST_BYTES:
            text = f"secrets.token_hex({_DIGEST_BYTES[match[1]]})"
            edits = [site.replace(call, text), *site.add_import("secrets")]
            return [site.proposal(f"{text} for a digest others can compute", *edits)]
    for call in near:
        parent = site.parents.get(call)
        if site.name_of(call.func) in ("time.time", "time.time_ns") and isinstance(parent, ast.Call):
            if site.name_of(parent.func) == "int":
                call, parent = parent, site.parents.get(parent)
            if isinstance(parent, ast.Call) and site.name_of(parent.func) in ("str", "hex"):
                edits = [site.replace(parent, "secrets.token_urlsafe(32)"), *site.add_import("secrets")]
                return [site.proposal("secrets.token_urlsafe(32) for the time", *edits)]
    for call in near:
        parent = site.parents.get(call)
        if re.match(r"random\.(randint|randrange|choice|random|getrandbits)$", site.name_of(call.func)):
            made = isinstance(parent, ast.Call) and site.name_of(parent.func) == "str"
            if made and isinstance(parent, ast.Call):
                edits = [site.replace(parent, "secrets.token_urlsafe(16)"), *site.add_import("secrets")]
                title = "secrets.token_urlsafe(16) for a short code"
                return [site.proposal(title, *edits, confidence=Confidence.MEDIUM)]
    return []
