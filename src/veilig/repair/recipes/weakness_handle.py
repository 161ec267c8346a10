"""How are handles and locks let go on every way out, and files made without a race (CWE-367, 667, 772)?"""

import ast
import re

from veilig.repair.edit import Edit, newline_of
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site
from veilig.repair.recipes.weakness_text import block_of, indented, own_lines, removed

_CLOSING = re.compile(
    r"(sqlite3|psycopg2|psycopg|pymysql|MySQLdb)\.connect$"
)  # `with` ends a transaction there


_ACTS = re.compile(r"(^|\.)(open|remove|unlink|rename|replace|read_text|read_bytes|rmdir|rmtree)$")


def with_handle(site: Site) -> list[Proposal]:
    """`with open(...) as f:` around the statements that use the handle."""
    for node in site.nodes(ast.Assign):
        target = node.targets[0]
        if not isinstance(target, ast.Name) or not isinstance(node.value, ast.Call):
            continue
        made = site.name_of(node.value.func)
        if made == "os.open":
            continue
        text = site.source(node.value)
        imports: tuple[Edit, ...] = ()
        if _CLOSING.search(made):
            text, imports = f"contextlib.closing({text})", site.add_import("contextlib")
        edits = _wrapped(site, node, f"with {text} as {target.id}:", target.id, ("close",))
        if edits:
            return [site.proposal(f"with {site.source(node.value.func)}(...)", *edits, *imports)]
    return []


def _wrapped(site: Site, node: ast.stmt, head: str, name: str, ends: tuple[str, ...]) -> list[Edit]:
    """Edits that put the statements behind `node` that use `name` below `head`, without its last call."""
    block = block_of(site, node)
    index = block.index(node)
    using = [i for i in range(index + 1, len(block)) if _uses(block[i], name)]
    if not using:
        return []
    inside = block[index + 1 : using[-1] + 1]
    closing = _closes(site, inside[-1], name, ends)
    kept = inside[:-1] if closing else inside
    if not kept or not own_lines(site, node, *inside):
        return []
    if any(_binds_scope(item) for item in kept):
        return []
    edits = [site.replace(node, head)]
    gone: set[int] = set()
    for item in kept:
        for part in ast.walk(item):
            if isinstance(part, ast.stmt) and _closes(site, part, name, ends):
                edits.append(removed(site, part))
                gone.update(range(part.lineno, (part.end_lineno or part.lineno) + 1))
    if closing:
        edits.append(removed(site, inside[-1]))
    first, last = kept[0].lineno, kept[-1].end_lineno or kept[-1].lineno
    start = (node.end_lineno or node.lineno) + 1
    moves = indented(site, min(first, start), last)
    lines = {site.lines.line_start(line) for line in gone}
    return [*edits, *(move for move in moves if move.start not in lines)]


def _uses(node: ast.stmt, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node))


def _closes(site: Site, node: ast.stmt, name: str, ends: tuple[str, ...]) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr in ends
        and site.source(node.value.func.value) == name
        and len(block_of(site, node)) > 1
    )


def _binds_scope(node: ast.stmt) -> bool:
    return any(isinstance(n, ast.Global | ast.Nonlocal) for n in ast.walk(node))


def with_lock(site: Site) -> list[Proposal]:
    """`with lock:` from acquire to release."""
    for call in site.nodes(ast.Call):
        if (
            not isinstance(call.func, ast.Attribute)
            or call.func.attr != "acquire"
            or call.args
            or call.keywords
        ):
            continue
        statement = site.statement(call)
        if not isinstance(statement, ast.Expr):
            continue
        lock = site.source(call.func.value)
        block = block_of(site, statement)
        index = block.index(statement)
        ends = [i for i in range(index + 1, len(block)) if _closes(site, block[i], lock, ("release",))]
        if not ends or not own_lines(site, *block[index : ends[0] + 1]):
            continue
        kept = block[index + 1 : ends[0]]
        if not kept:
            continue
        edits = [site.replace(statement, f"with {lock}:"), removed(site, block[ends[0]])]
        gone: set[int] = set()
        for part in [p for item in kept for p in ast.walk(item) if isinstance(p, ast.stmt)]:
            if _closes(site, part, lock, ("release",)):
                edits.append(removed(site, part))
                gone.add(site.lines.line_start(part.lineno))
        first, last = kept[0].lineno, kept[-1].end_lineno or kept[-1].lineno
        moves = [m for m in indented(site, first, last) if m.start not in gone]
        return [site.proposal(f"with {lock}:", *edits, *moves)]
    return []


def without_race(site: Site) -> list[Proposal]:
    """Exclusive creation, or the act itself with its error caught, for a question before the act."""
    for node in site.nodes(ast.If):
        if node.lineno != site.finding.line or node.orelse or not own_lines(site, node):
            continue
        block = block_of(site, node)
        index = block.index(node)
        acts = any(
            isinstance(n, ast.Call) and _ACTS.search(site.name_of(n.func)) for n in ast.walk(node.body[0])
        )
        refused = len(node.body) == 1 and isinstance(node.body[0], ast.Return | ast.Raise) and not acts
        if refused and index + 1 < len(block) and not isinstance(node.test, ast.UnaryOp):
            found = _exclusive(site, node, block[index + 1])
            if found:
                return found
        if isinstance(node.test, ast.UnaryOp):
            found = _created(site, node)
            if found:
                return found
        if not refused and not isinstance(node.test, ast.UnaryOp | ast.BoolOp):
            found = _suppressed(site, node)
            if found:
                return found
    return []


def _exclusive(site: Site, node: ast.If, following: ast.stmt) -> list[Proposal]:
    """`if exists: return` before `with open(path, "w")`: mode "x", and the return on FileExistsError."""
    if not isinstance(following, ast.With) or not own_lines(site, following):
        return []
    call = following.items[0].context_expr
    if not isinstance(call, ast.Call) or site.name_of(call.func).rsplit(".", 1)[-1] != "open":
        return []
    modes = [n for n in [*call.args, *(k.value for k in call.keywords)] if isinstance(n, ast.Constant)]
    mode = next((n for n in modes if re.fullmatch(r"[wa]b?\+?", str(n.value))), None)
    if mode is None:
        return []
    newline, indent = newline_of(site.lines.text), site.indent(node)
    answer = site.source(node.body[0])
    if isinstance(node.body[0], ast.Raise) and node.body[0].exc is not None and node.body[0].cause is None:
        answer += " from None"
    start = site.lines.line_start(node.lineno)
    end = site.lines.line_start((node.end_lineno or node.lineno) + 1)
    exclusive = f'"{re.sub("[wa]", "x", str(mode.value))}"'
    tail = f"{newline}{indent}except FileExistsError:{newline}{indent}    {answer}"
    at = site.lines.line_end(following.end_lineno or following.lineno)
    edits = [
        Edit(site.finding.path, start, end, f"{indent}try:{newline}"),
        site.replace(mode, exclusive),
        *indented(site, following.lineno, following.end_lineno or following.lineno),
        site.insert(at, tail),
    ]
    return [site.proposal("creates the file only where there is none", *edits)]


def _created(site: Site, node: ast.If) -> list[Proposal]:
    """`if not exists(path)` around the creation: mode "x", and the error of the second left out."""
    for call in [n for item in node.body for n in ast.walk(item) if isinstance(n, ast.Call)]:
        values = [n for n in [*call.args, *(k.value for k in call.keywords)] if isinstance(n, ast.Constant)]
        mode = next((n for n in values if re.fullmatch(r"wb?\+?", str(n.value))), None)
        if mode is None or not site.name_of(call.func).endswith("open"):
            continue
        start, end = site.lines.span(node)[0], site.lines.span(node.test)[1]
        edits = [
            Edit(site.finding.path, start, end, "with contextlib.suppress(FileExistsError)"),
            site.replace(mode, f'"{str(mode.value).replace("w", "x")}"'),
        ]
        return [site.proposal("creates the file only once", *edits, *site.add_import("contextlib"))]
    return []


def _suppressed(site: Site, node: ast.If) -> list[Proposal]:
    """`if exists(path): remove(path)`: the act, with its error left out."""
    call = node.test
    if not isinstance(call, ast.Call):
        return []
    name = site.name_of(call.func)
    text = " ".join(site.source(item) for item in node.body)
    if re.search(r"""['"][wa]b?\+?['"]|write_""", text):
        return []  # without the question this would create a file
    if re.search(r"(remove|unlink|rmdir|rename|replace|rmtree)\(", text) and len(node.body) == 1:
        error, sure = "FileNotFoundError", Confidence.HIGH
    elif name.endswith("access") or len(node.body) == 1:
        error, sure = "OSError" if name.endswith("access") else "FileNotFoundError", Confidence.MEDIUM
    else:
        return []
    start, end = site.lines.span(node)[0], site.lines.span(node.test)[1]
    edits = [Edit(site.finding.path, start, end, f"with contextlib.suppress({error})")]
    title = f"acts, and leaves {error} out"
    return [site.proposal(title, *edits, *site.add_import("contextlib"), confidence=sure)]
