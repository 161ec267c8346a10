"""How are passwords kept (CWE-256, 521, 916)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_settings import protective
from veilig.repair.recipes.weakness_site import Function, Site, keyword_of
from veilig.repair.recipes.weakness_template import literal

_OLD_HASHES = "the hashes stored so far no longer match: may they be made anew when users log in?"
_SCRYPT = "hashlib.scrypt({password}, salt={salt}, n=2**14, r=8, p=1)"
_WORD = re.compile(r"(?i)passw|pwd|passphrase")


def _hasher(site: Site) -> tuple[str, str, tuple[Edit, ...], tuple[Edit, ...]] | None:
    """(function that hashes, function that checks, their imports) of the framework; None without one."""
    everything = "\n".join(
        text for path, text in site.files.items() if path.endswith((".py", ".txt", ".toml"))
    )
    if site.uses("werkzeug", "flask") or re.search(r"(?m)^(from|import) (werkzeug|flask)\b", everything):
        module, make, check = "werkzeug.security", "generate_password_hash", "check_password_hash"
    elif site.uses("django") or re.search(r"(?m)^(from|import) django\b", everything):
        module, make, check = "django.contrib.auth.hashers", "make_password", "check_password"
    else:
        return None
    return make, check, site.add_import(module, make), site.add_import(module, check)


def slow_hash(site: Site) -> list[Proposal]:
    """Scrypt with a salt per password; the check in the same file reads the salt from the hash."""
    for call in site.nodes(ast.Call):
        match = re.fullmatch(r"hashlib\.(md5|sha1|sha224|sha256|sha384|sha512)", site.name_of(call.func))
        if not match or not call.args:
            continue
        whole, form = _hash_whole(site, call)
        password = site.source(call.args[0])
        salted = _given_salt(site, call, whole, form)
        if salted:
            return salted
        framework = _hasher(site)
        if framework is not None and form == "hexdigest":
            return _with_framework(site, call, whole, framework)
        found = _with_scrypt(site, whole, form, password)
        if found:
            return found
    for call in site.calls("hashlib.pbkdf2_hmac"):
        if len(call.args) > 3 and isinstance(call.args[3], ast.Constant):
            edit = site.replace(call.args[3], "600_000")
            return [site.proposal("600,000 rounds", edit, decision=_OLD_HASHES)]
        rounds = keyword_of(call, "iterations")
        if rounds is not None:
            return [site.proposal("600,000 rounds", site.replace(rounds, "600_000"), decision=_OLD_HASHES)]
    return []


def _given_salt(site: Site, call: ast.Call, whole: ast.expr, form: str) -> list[Proposal]:
    """Scrypt with the salt that the function is given, so that its callers stay as they are."""
    function = site.function(call)
    names = [a.arg for a in function.args.args] if function is not None else []
    salt = next((n for n in names if "salt" in n.lower()), "")
    password = next((n for n in names if _WORD.search(n)), "")
    if not salt or not password or form != "hexdigest":
        return []
    used = site.source(call.args[0])
    if salt not in used or password not in used:
        return []
    text = f"{password}.encode()" if "encode(" in used else password
    bits = f"{salt}.encode()" if "encode(" in used and f"{salt}.encode" not in used else salt
    bits = f"{salt}.encode()" if f"{salt}.encode" in used else bits
    edit = site.replace(whole, f"{_SCRYPT.format(password=text, salt=bits)}.hex()")
    return [site.proposal("scrypt with the salt that is given", edit, decision=_OLD_HASHES)]


def _hash_whole(site: Site, call: ast.Call) -> tuple[ast.expr, str]:
    """The expression with its .hexdigest() or .digest(), and which of them it is."""
    holder = site.parents.get(call)
    outer = site.parents.get(holder) if holder is not None else None
    if isinstance(holder, ast.Attribute) and isinstance(outer, ast.Call):
        return (outer, holder.attr) if holder.attr in ("hexdigest", "digest") else (call, "")
    return call, ""


def _typed(node: ast.expr, site: Site) -> str:
    """Source of the password before it became bytes, for functions that take text."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "encode":
        return site.source(node.func.value)
    return site.source(node)


def _with_framework(
    site: Site,
    call: ast.Call,
    whole: ast.expr,
    framework: tuple[str, str, tuple[Edit, ...], tuple[Edit, ...]],
) -> list[Proposal]:
    make, check, imports, check_imports = framework
    compare = _compared(site, whole)
    text = _typed(call.args[0], site)
    if compare is not None:
        node, stored, negation = compare
        edit = site.replace(node, f"{negation}{check}({_order(check, site.source(stored), text)})")
        return [site.proposal(f"{check}()", edit, *check_imports, decision=_OLD_HASHES)]
    edits = [site.replace(whole, f"{make}({text})"), *imports]
    function = site.function(call)
    reading = _readers(site, function) if function is not None else []
    for node, stored, given, negation in reading:
        edits.append(site.replace(node, f"{negation}{check}({_order(check, stored, given)})"))
    if reading:
        edits += check_imports
    return [site.proposal(f"{make}() for a fast hash", *edits, decision=_OLD_HASHES)]


def _order(check: str, stored: str, given: str) -> str:
    return f"{given}, {stored}" if check == "check_password" else f"{stored}, {given}"


def _compared(site: Site, whole: ast.expr) -> tuple[ast.expr, ast.expr, str] | None:
    """(comparison, the other side, "not " or "") when the hash is compared right here."""
    parent = site.parents.get(whole)
    if isinstance(parent, ast.Compare) and isinstance(parent.ops[0], ast.Eq | ast.NotEq):
        other = parent.comparators[0] if parent.left is whole else parent.left
        return parent, other, "not " if isinstance(parent.ops[0], ast.NotEq) else ""
    if isinstance(parent, ast.Call) and site.name_of(parent.func).endswith("compare_digest"):
        other = parent.args[1] if parent.args[0] is whole else parent.args[0]
        return parent, other, ""
    return None


def _readers(site: Site, function: Function) -> list[tuple[ast.expr, str, str, str]]:
    """Comparisons of `function(password)` with what is stored, anywhere in this file."""
    found: list[tuple[ast.expr, str, str, str]] = []
    for node in ast.walk(site.tree):
        called = isinstance(node, ast.Call) and node.args
        if not isinstance(node, ast.Call) or not called:
            continue
        if site.name_of(node.func).rsplit(".", 1)[-1] != function.name:
            continue
        compare = _compared(site, node)
        if compare is not None:
            whole, stored, negation = compare
            found.append((whole, site.source(stored), site.source(node.args[0]), negation))
    return found


def _with_scrypt(site: Site, whole: ast.expr, form: str, password: str) -> list[Proposal]:
    function = site.function(whole)
    statement = site.statement(whole)
    handed = isinstance(site.parents.get(whole), ast.Return | ast.Assign | ast.Call | ast.Tuple)
    if function is None or not handed or not form or _compared(site, whole) is not None:
        return []
    salt = site.free_name("salt")
    before = site.before(statement, [f"{salt} = os.urandom(16)"])
    if before is None:
        return []
    made = _SCRYPT.format(password=password, salt=salt)
    hexed = form == "hexdigest"
    new = f'{salt}.hex() + "$" + {made}.hex()' if hexed else f"{salt} + {made}"
    edits = [before, site.replace(whole, new), *site.add_import("os")]
    parameter = function.args.args[-1].arg if function.args.args else ""
    for node, stored, given, negation in _readers(site, function):
        typed = re.sub(rf"\b{re.escape(parameter)}\b", given, password) if parameter else password
        before = site.before(site.statement(node), _read_back(typed, stored, hexed=hexed))
        if before is None or site.function(node) is None:
            return []
        edits += [before, site.replace(node, f"{negation}hmac.compare_digest(computed, digest)")]
        edits += site.add_import("hmac")
    return [site.proposal("scrypt with a salt per password", *edits, decision=_OLD_HASHES)]


def _read_back(password: str, stored: str, *, hexed: bool) -> list[str]:
    """Rows that take the salt from a stored hash and compute the hash again."""
    if hexed:
        made = _SCRYPT.format(password=password, salt="bytes.fromhex(salt)")
        return [f'salt, _, digest = {stored}.partition("$")', f"computed = {made}.hex()"]
    made = _SCRYPT.format(password=password, salt="salt")
    return [f"salt, digest = {stored}[:16], {stored}[16:]", f"computed = {made}"]


def hashed(site: Site) -> list[Proposal]:
    """The framework's password hash around what is stored, and its check where it is compared."""
    framework = _hasher(site)
    if framework is None:
        return []
    make, check, imports, check_imports = framework
    asks = "the passwords stored so far are plain: may they be hashed once, in a migration?"
    for node in _passwords(site):
        edits = [site.replace(node, f"{make}({site.source(node)})"), *imports]
        for other in ast.walk(site.tree):
            found = _plain_compare(site, other)
            if found is not None and isinstance(other, ast.expr):
                stored, given, negation = found
                edits.append(site.replace(other, f"{negation}{check}({_order(check, stored, given)})"))
                edits += check_imports
        return [site.proposal(f"{make}() before storing", *edits, decision=asks)]
    return []


def _passwords(site: Site) -> list[ast.expr]:
    """Values at the finding that are passwords by name: arguments, keywords, what is assigned."""
    found: list[ast.expr] = []
    for node in site.nodes(ast.Call, ast.Assign):
        values = (
            [node.value] if isinstance(node, ast.Assign) else [*node.args, *(k.value for k in node.keywords)]
        )
        for value in values:
            items: list[ast.expr | None] = [value]
            if isinstance(value, ast.Tuple | ast.List):
                items = [*value.elts]
            elif isinstance(value, ast.Dict):
                items = [*value.values]
            found += [i for i in items if i is not None and _named_password(i)]
    return found


def _named_password(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        return bool(node.args) and _WORD.search(ast.unparse(node.args[0])) is not None
    if not isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
        return False
    last = node.slice if isinstance(node, ast.Subscript) else node
    name = last.attr if isinstance(last, ast.Attribute) else ast.unparse(last)
    return _WORD.search(name) is not None


def _plain_compare(site: Site, node: ast.AST) -> tuple[str, str, str] | None:
    """(stored, given, negation) of a comparison of a stored password with a given one."""
    sides: list[ast.expr] = []
    negation = ""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.NotEq):
        sides = [node.left, node.comparators[0]]
        negation = "not " if isinstance(node.ops[0], ast.NotEq) else ""
    elif isinstance(node, ast.Call) and site.name_of(node.func).endswith("compare_digest"):
        sides = node.args[:2]
    if len(sides) != 2 or not all(_named_password(side) for side in sides):
        return None
    for stored, given in (sides, sides[::-1]):
        if isinstance(stored, ast.Attribute | ast.Subscript) and "request" not in site.source(stored):
            return site.source(stored), site.source(given), negation
    return None


def longer(site: Site) -> list[Proposal]:
    """Twelve characters at least, in the comparison and in the text that tells it."""
    for node in site.nodes(ast.Compare):
        bound = node.comparators[0]
        if not isinstance(bound, ast.Constant) or type(bound.value) is not int:
            continue
        exact = isinstance(node.ops[0], ast.Lt | ast.GtE)
        edits = [site.replace(bound, "12" if exact else "11")]
        least = bound.value if exact else bound.value + 1
        scope: ast.AST = site.function(node) or site.tree
        for text in ast.walk(scope):
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                told = re.sub(rf"\b{least}\b(?= char)", "12", text.value)
                if told != text.value and not isinstance(site.parents.get(text), ast.JoinedStr):
                    edits.append(site.replace(text, literal(told)))
        return [site.proposal("at least 12 characters", *edits, confidence=Confidence.MEDIUM)]
    return protective(site)
