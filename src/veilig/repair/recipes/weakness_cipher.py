"""How does encrypted text carry a fresh vector and a proof of its origin (CWE-327, 329)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Proposal
from veilig.repair.recipes.weakness_site import Site, keyword_of
from veilig.repair.recipes.weakness_template import origin
from veilig.repair.recipes.weakness_text import own_lines
from veilig.repair.recipes.weakness_values import defined, there

_OLD = "what was encrypted so far has to be encrypted anew; does everything that reads it change with this?"


def authenticated_mode(site: Site) -> list[Proposal]:
    """AES-GCM for AES-ECB, with the nonce and the tag in front of the text; both ways when both are here."""
    edits: list[Edit] = []
    for call in [n for n in ast.walk(site.tree) if isinstance(n, ast.Call)]:
        name = site.name_of(call.func)
        mode = site.source(call.args[1]) if len(call.args) > 1 else ""
        if name.endswith("Cipher.AES.new") and len(call.args) == 2 and "MODE_ECB" in mode:
            made = _pycryptodome(site, call)
        elif name.endswith("ciphers.Cipher") and "ECB(" in mode:
            made = _hazmat(site, call)
        else:
            continue
        if made is None:
            return []
        edits += made
    return [site.proposal("AES-GCM for AES-ECB", *edits, decision=_OLD)] if edits else []


def _pycryptodome(site: Site, call: ast.Call) -> list[Edit] | None:
    """`AES.new(k, AES.MODE_ECB).encrypt(x)`, or the same over a local name that is used once."""
    used = _method_on(site, call)
    if used is None:
        return None
    use, method = used
    statement = site.statement(use)
    mode = site.replace(call.args[1], site.source(call.args[1]).replace("ECB", "GCM"))
    if len(use.args) != 1 or not own_lines(site, statement):
        return None
    data = site.source(use.args[0])
    cipher = site.source(use.func.value) if isinstance(use.func, ast.Attribute) else ""
    if method == "decrypt":
        blob = use.args[0]
        if not isinstance(blob, ast.Name):
            return None
        nonce = f", nonce={data}[:16])"
        end = site.lines.span(call)[1]
        edits = [mode, Edit(site.finding.path, end - 1, end, nonce)]
        start = site.lines.span(use.func)[1] - len("decrypt")
        tail = Edit(
            site.finding.path,
            start,
            site.lines.span(use)[1],
            f"decrypt_and_verify({data}[32:], {data}[16:32])",
        )
        return [*edits, tail]
    if isinstance(use.func, ast.Attribute) and use.func.value is call:
        cipher = site.free_name("cipher")
        made = site.source(call).replace("ECB", "GCM")
        rows = [f"{cipher} = {made}"]
        edits = []
    else:
        rows, edits = [], [mode]
    sealed, tag = site.free_name("sealed"), site.free_name("tag")
    rows.append(f"{sealed}, {tag} = {cipher}.encrypt_and_digest({data})")
    before = site.before(statement, rows)
    if before is None:
        return None
    return [*edits, before, site.replace(use, _grouped(site, use, f"{cipher}.nonce + {tag} + {sealed}"))]


def _grouped(site: Site, node: ast.expr, text: str) -> str:
    parent = site.parents.get(node)
    plain = isinstance(parent, ast.Return | ast.Assign | ast.Call | ast.keyword | ast.Expr)
    return text if plain else f"({text})"


def _method_on(site: Site, call: ast.Call) -> tuple[ast.Call, str] | None:
    """The one call of .encrypt or .decrypt on what this call makes."""
    parent = site.parents.get(call)
    holders: list[ast.AST] = [parent] if isinstance(parent, ast.Attribute) else []
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
        scope: ast.AST = site.function(call) or site.tree
        name = parent.targets[0].id
        holders = [
            n
            for n in ast.walk(scope)
            if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == name
        ]
    uses = [
        (outer, holder.attr)
        for holder in holders
        if isinstance(holder, ast.Attribute) and isinstance(outer := site.parents.get(holder), ast.Call)
    ]
    good = [(use, method) for use, method in uses if method in ("encrypt", "decrypt")]
    return good[0] if len(uses) == 1 and good else None


def _hazmat(site: Site, call: ast.Call) -> list[Edit] | None:
    """`e = Cipher(AES(k), modes.ECB()).encryptor()` with `e.update(x) + e.finalize()` behind it."""
    holder = site.parents.get(call)
    made = site.parents.get(holder) if holder is not None else None
    assign = site.parents.get(made) if made is not None else None
    if not isinstance(holder, ast.Attribute) or not isinstance(assign, ast.Assign):
        return None
    target = assign.targets[0]
    if not isinstance(target, ast.Name) or not own_lines(site, assign):
        return None
    scope: ast.AST = site.function(call) or site.tree
    sums = [
        n
        for n in ast.walk(scope)
        if isinstance(n, ast.BinOp)
        and isinstance(n.right, ast.Call)
        and site.source(n.right) == f"{target.id}.finalize()"
        and isinstance(n.left, ast.Call)
    ]
    if len(sums) != 1:
        return None
    nonce, mode = site.free_name("nonce"), site.source(call.args[1])
    update = sums[0].left
    assert isinstance(update, ast.Call)
    if holder.attr == "encryptor":
        before = site.before(assign, [f"{nonce} = os.urandom(12)"])
        if before is None:
            return None
        text = f"{nonce} + {site.source(sums[0])} + {target.id}.tag"
        edits = [site.replace(call.args[1], mode.replace("ECB()", f"GCM({nonce})"))]
        sealed = site.replace(sums[0], _grouped(site, sums[0], text))
        return [*edits, before, sealed, *site.add_import("os")]
    if len(update.args) != 1 or not isinstance(update.args[0], ast.Name):
        return None
    blob = update.args[0].id
    edits = [site.replace(call.args[1], mode.replace("ECB()", f"GCM({blob}[:12], {blob}[-16:])"))]
    return [*edits, site.replace(update.args[0], f"{blob}[12:-16]")]


def fresh_vector(site: Site) -> list[Proposal]:
    """os.urandom() for a vector that is sent along already; else the vector goes in front of the text."""
    for call in site.nodes(ast.Call):
        vector = _vector(site, call)
        place = defined(site, vector) if vector is not None else None
        if vector is None or place is None:
            continue
        size = _size(place[1])
        if size and sent_along(site, call, vector):
            where = there(place)
            edits = [where.replace(place[1], f"os.urandom({size})"), *where.add_import("os")]
            return [site.proposal("a fresh vector for every message", *edits)]
        found = _in_front(site, call, vector, size or "16")
        if found:
            return found
    return []


def _vector(site: Site, call: ast.Call) -> ast.expr | None:
    for name in ("iv", "IV", "nonce", "initial_value", "initialization_vector"):
        value = keyword_of(call, name)
        if value is not None:
            return value
    name = site.name_of(call.func)
    if ".Cipher." in name and name.endswith(".new") and len(call.args) > 2:
        return call.args[2]
    if re.search(r"\.modes\.(CBC|CTR|GCM|CFB|OFB)$", name) and call.args:
        return call.args[0]
    if name.endswith(".encrypt") and len(call.args) >= 2:
        return call.args[0]
    return None


def _size(node: ast.expr) -> str:
    """Source of the length of fixed bytes, "" when it is not to be seen."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bytes | str):
        return str(len(node.value))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(one, ast.Constant) and isinstance(one.value, bytes) and len(one.value) == 1:
                return ast.unparse(other)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "bytes" and len(node.args) == 1:
        return ast.unparse(node.args[0])
    return ""


def sent_along(site: Site, call: ast.Call, vector: ast.expr) -> bool:
    """Whether the function hands the vector out together with the text: `iv + ...`, `(iv, ...)`."""
    function = site.function(call)
    if function is None or not isinstance(vector, ast.Name):
        return False
    for node in ast.walk(function):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            if isinstance(node.left, ast.Name) and node.left.id == vector.id:
                return True
        elif (
            isinstance(node, ast.Return)
            and isinstance(node.value, ast.Tuple)
            and any(isinstance(e, ast.Name) and e.id == vector.id for e in node.value.elts)
        ):
            return True
    return False


def _in_front(site: Site, call: ast.Call, vector: ast.expr, size: str) -> list[Proposal]:
    """Both directions in this file: `iv + ...encrypt(x)` and `...(x[:16]).decrypt(x[16:])`."""
    edits: list[Edit] = []
    done = False
    for other in [n for n in ast.walk(site.tree) if isinstance(n, ast.Call)]:
        same = _vector(site, other)
        direct = isinstance(other.func, ast.Attribute) and other.func.attr in ("encrypt", "decrypt")
        if not direct or not isinstance(other.func, ast.Attribute) or not other.args:
            continue
        inner = other.func.value if isinstance(other.func.value, ast.Call) else None
        if inner is None and isinstance(other.func.value, ast.Name):
            made = origin(site, other.func.value)[0]
            inner = made if isinstance(made, ast.Call) else None
        held = same if len(other.args) > 1 and other.func.attr == "encrypt" else None
        if other.func.attr == "decrypt" and len(other.args) > 1:
            held = other.args[0]
        data = other.args[0] if held is None else other.args[1]
        held = held if held is not None else (_vector(site, inner) if inner is not None else None)
        if held is None or site.source(held) != site.source(vector):
            continue
        if other.func.attr == "decrypt":
            if not isinstance(data, ast.Name):
                return []
            edits += [site.replace(held, f"{data.id}[:{size}]"), site.replace(data, f"{data.id}[{size}:]")]
            continue
        statement = site.statement(held)
        name = site.free_name("nonce" if len(other.args) > 1 else "iv")
        before = site.before(statement, [f"{name} = os.urandom({size})"])
        if before is None:
            return []
        done = True
        start = site.lines.span(other)[0]
        edits += [before, site.replace(held, name), site.insert(start, f"{name} + ")]
        edits += site.add_import("os")
    del call
    return [site.proposal("a fresh vector in front of every message", *edits, decision=_OLD)] if done else []
