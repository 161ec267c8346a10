"""What has to happen on every way through the code (CWE-252, 287, 345, 362, 459, 755, 770, 772, 833, 835)?"""

import ast
import re

from veilig.repair.edit import newline_of
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site
from veilig.repair.recipes.weakness_text import after, block_of, indented, logger_of, own_lines, removed
from veilig.repair.recipes.weakness_values import module_value


def next_message(site: Site) -> list[Proposal]:
    """An error in one message is logged, and the loop goes on with the next one."""
    for call in site.nodes(ast.Call):
        statement = site.statement(call)
        if isinstance(statement, ast.While | ast.For | ast.With | ast.If) or not own_lines(site, statement):
            continue
        logger, imports = logger_of(site)
        indent, newline = site.indent(statement), newline_of(site.lines.text)
        before = site.before(statement, ["try:"])
        if before is None:
            continue
        rows = (
            "except (ValueError, KeyError, TypeError):",
            f'    {logger}.exception("a message could not be read")',
            "    continue",
        )
        at = site.lines.line_end(statement.end_lineno or statement.lineno)
        tail = site.insert(at, "".join(f"{newline}{indent}{row}" for row in rows))
        moves = indented(site, statement.lineno, statement.end_lineno or statement.lineno)
        return [site.proposal("one bad message does not end the loop", before, *moves, tail, *imports)]
    return []


def stop_after_failure(site: Site) -> list[Proposal]:
    """The handler raises again after what it does."""
    for handler in site.nodes(ast.ExceptHandler):
        last = handler.body[-1]
        if not own_lines(site, last):
            continue
        if isinstance(last, ast.Pass):
            return [site.proposal("the failure is raised again", site.replace(last, "raise"))]
        return [site.proposal("the failure is raised again", after(site, last, ["raise"]))]
    return []


def dangerous_answer(site: Site) -> list[Proposal]:
    """The answer of the dangerous case where the check could not be made."""
    for handler in site.nodes(ast.ExceptHandler):
        last = handler.body[-1]
        value = last.value if isinstance(last, ast.Return) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, bool):
            edit = site.replace(value, str(not value.value))
            return [site.proposal("an error counts as the dangerous case", edit)]
    return []


def send_all(site: Site) -> list[Proposal]:
    """sendall() for send()."""
    for call in site.calls(suffix=("send",)):
        if isinstance(call.func, ast.Attribute) and isinstance(site.parents.get(call), ast.Expr):
            edit = site.replace(call.func, f"{site.source(call.func.value)}.sendall")
            return [site.proposal("sendall()", edit)]
    return []


def read_answer(site: Site) -> list[Proposal]:
    """A failure that is only answered stops the caller."""
    for node in site.nodes(ast.Expr):
        if isinstance(node.value, ast.Call) and own_lines(site, node):
            name = site.name_of(node.value.func).rsplit(".", 1)[-1]
            refuse = f'{site.indent(node)}    raise RuntimeError("{name} failed")'
            text = f"if not {site.source(node.value)}:\n{refuse}"
            return [site.proposal("the answer is read", site.replace(node, text))]
    return []


def end_of_data(site: Site) -> list[Proposal]:
    """A read that gives nothing ends the loop with EOFError."""
    for loop in site.nodes(ast.While):
        for node in ast.walk(loop):
            value = node.value if isinstance(node, ast.AugAssign | ast.Assign) else None
            if not isinstance(value, ast.Call) or not isinstance(node, ast.AugAssign | ast.Assign):
                continue
            if not re.search(r"\.(recv|read|read1|recv_into)$", site.source(value.func)) or not own_lines(
                site, node
            ):
                continue
            part = site.free_name("part")
            if isinstance(node, ast.Assign):
                part = site.source(node.targets[0])
                edit = after(site, node, [f"if not {part}:", '    raise EOFError("the data ends early")'])
                return [site.proposal("the loop ends with the data", edit)]
            rows = [
                f"{part} = {site.source(value)}",
                f"if not {part}:",
                '    raise EOFError("the data ends early")',
            ]
            before = site.before(node, rows)
            if before is not None:
                return [site.proposal("the loop ends with the data", before, site.replace(value, part))]
    return []


def hidden_field(site: Site) -> list[Proposal]:
    """*** for a precious field in the format of a log line."""
    secret = r"%\((\w*(?:passw|secret|token|card|key|ssn|cvv|pin)\w*)\)[srd]"
    for node in site.nodes(ast.Constant):
        if isinstance(node.value, str) and re.search(secret, node.value, re.IGNORECASE):
            text = re.sub(secret, "***", site.source(node), flags=re.IGNORECASE)
            return [site.proposal("the field is left out of the log", site.replace(node, text))]
    return []


def both_conditions(site: Site) -> list[Proposal]:
    """`and` for `or`: signed in, and the owner."""
    for node in site.nodes(ast.BoolOp):
        if isinstance(node.op, ast.Or):
            sides = " and ".join(
                f"({site.source(v)})" if isinstance(v, ast.BoolOp) else site.source(v) for v in node.values
            )
            asks = "may only the owner do this, or some roles too?"
            return [site.proposal("signed in and the owner", site.replace(node, sides), decision=asks)]
    return []


def removed_file(site: Site) -> list[Proposal]:
    """The temporary file goes in `finally`, whatever happens in between."""
    for node in site.nodes(ast.Assign):
        call, target = node.value, node.targets[0]
        if not isinstance(call, ast.Call):
            continue
        made = site.name_of(call.func)
        name, row = "", ""
        if made == "tempfile.mkstemp" and isinstance(target, ast.Tuple) and len(target.elts) == 2:
            name, row = site.source(target.elts[1]), "os.unlink({name})"
        elif made == "tempfile.mkdtemp" and isinstance(target, ast.Name):
            name, row = target.id, "shutil.rmtree({name}, ignore_errors=True)"
        block = block_of(site, node)
        rest = block[block.index(node) + 1 :]
        if rest and re.match(r"os\.close\(", site.source(rest[0])):
            rest = rest[1:]
        if not name or not rest or not own_lines(site, node, *rest):
            continue
        before = site.before(rest[0], ["try:"])
        if before is None:
            continue
        last = rest[-1].end_lineno or rest[-1].lineno
        indent, newline = site.indent(rest[0]), newline_of(site.lines.text)
        tail = site.insert(
            site.lines.line_end(last),
            f"{newline}{indent}finally:{newline}{indent}    {row.format(name=name)}",
        )
        imports = site.add_import(row.partition(".")[0])
        return [
            site.proposal("removed in finally", before, *indented(site, rest[0].lineno, last), tail, *imports)
        ]
    return []


def given_back(site: Site) -> list[Proposal]:
    """Try and finally around the yield of a context manager."""
    for node in [n for n in ast.walk(site.tree) if isinstance(n, ast.Yield)]:
        function = site.function(node)
        statement = site.statement(node)
        if function is None or not function.lineno - 3 <= site.finding.line <= (function.end_lineno or 0):
            continue
        block = block_of(site, statement)
        rest = block[block.index(statement) + 1 :]
        before = site.before(statement, ["try:"])
        if not rest or before is None or not own_lines(site, statement, *rest):
            continue
        indent, newline = site.indent(statement), newline_of(site.lines.text)
        end = site.insert(
            site.lines.line_end(statement.end_lineno or statement.lineno), f"{newline}{indent}finally:"
        )
        last = rest[-1].end_lineno or rest[-1].lineno
        moves = indented(site, statement.lineno, statement.end_lineno or statement.lineno)
        moves += indented(site, rest[0].lineno, last)
        return [site.proposal("given back in finally", before, *moves, end)]
    return []


def bounded_store(site: Site) -> list[Proposal]:
    """A deque that keeps the last thousand entries."""
    for call in site.calls(suffix=("append", "appendleft", "put_nowait", "put")):
        owner = call.func.value if isinstance(call.func, ast.Attribute) else None
        value = module_value(site, owner.id) if isinstance(owner, ast.Name) else None
        if value is None or not re.fullmatch(
            r"\[\]|list\(\)|deque\(\)|(collections\.)?deque\(\[?\]?\)", site.source(value)
        ):
            continue
        edits = [site.replace(value, "deque(maxlen=1_000)"), *site.add_import("collections", "deque")]
        return [site.proposal("the last thousand entries", *edits, confidence=Confidence.MEDIUM)]
    return []


def one_order(site: Site) -> list[Proposal]:
    """The two locks are taken in the order of id(), whoever is named first."""
    for outer in site.nodes(ast.With):
        inner = outer.body[0] if len(outer.items) == 1 else outer
        if not isinstance(inner, ast.With):
            continue
        heads = [outer.items[0], inner.items[-1] if inner is outer else inner.items[0]]
        owners = [h.context_expr.value for h in heads if isinstance(h.context_expr, ast.Attribute)]
        if len(owners) != 2 or not all(isinstance(o, ast.Name) for o in owners):
            continue
        first, second = site.free_name("first"), site.free_name("second")
        one, two = (site.source(o) for o in owners)
        before = site.before(outer, [f"{first}, {second} = sorted(({one}, {two}), key=id)"])
        if before is not None:
            edits = [before, site.replace(owners[0], first), site.replace(owners[1], second)]
            return [site.proposal("locks in one order", *edits)]
    return []


def inside_lock(site: Site) -> list[Proposal]:
    """The change moves into the block that holds the lock."""
    for node in site.nodes(ast.AugAssign, ast.Assign):
        block = block_of(site, node)
        index = block.index(node)
        held = block[index - 1] if index else None
        if isinstance(held, ast.With) and _is_lock(site, held) and own_lines(site, node):
            moves = indented(site, node.lineno, node.end_lineno or node.lineno)
            return [site.proposal("the change is made under the lock", *moves)]
        following = block[index + 1] if index + 1 < len(block) else None
        if isinstance(following, ast.With) and _is_lock(site, following):
            row = site.before(following.body[0], [site.source(node)])
            if row is not None and own_lines(site, node):
                return [site.proposal("the change is made under the lock", removed(site, node), row)]
    return []


def _is_lock(site: Site, node: ast.With) -> bool:
    return "lock" in site.source(node.items[0].context_expr).lower()


_TAGS = {20: "sha1", 32: "sha256", 48: "sha384", 64: "sha512"}


def compared_tag(site: Site) -> list[Proposal]:
    """The signature that was cut off is compared before anything else."""
    asks = "does the sender sign the rest of the message with HMAC and this key?"
    key = next(
        (n for n in ("KEY", "SECRET", "SECRET_KEY", "HMAC_KEY", "SIGNING_KEY") if module_value(site, n)), ""
    )
    for node in site.nodes(ast.Assign):
        target, value = node.targets[0], node.value
        if (
            not key
            or not isinstance(target, ast.Tuple)
            or len(target.elts) != 2
            or not isinstance(value, ast.Tuple)
        ):
            continue
        size = re.search(r"\[:(\d+)\]", site.source(value.elts[0]))
        digest = _TAGS.get(int(size[1])) if size else None
        if digest is None:
            continue
        tag, body = (site.source(part) for part in target.elts)
        test = f'if not hmac.compare_digest({tag}, hmac.digest({key}, {body}, "{digest}")):'
        rows = [test, '    raise ValueError("the signature is wrong")']
        return [
            site.proposal(
                "the signature is compared", after(site, node, rows), *site.add_import("hmac"), decision=asks
            )
        ]
    return []


def registered_guard(site: Site) -> list[Proposal]:
    """The guard runs before every request."""
    asks = "is there a page that strangers may see? it has to be left out"
    for function in site.nodes(ast.FunctionDef):
        for name in ("app", "bp", "blueprint", "api"):
            if site.uses("flask") and module_value(site, name) is not None and not function.args.args:
                newline = newline_of(site.lines.text)
                at = site.lines.line_end(function.end_lineno or function.lineno)
                edit = site.insert(at, f"{newline}{newline}{newline}{name}.before_request({function.name})")
                return [site.proposal("runs before every request", edit, decision=asks)]
    return []


def counted_attempts(site: Site) -> list[Proposal]:
    """Nobody is let in after five failures."""
    asks = "after how many failures, and for how long, is the account closed?"
    for node in site.nodes(ast.AugAssign):
        function = site.function(node)
        if function is None or not isinstance(node.target, ast.Attribute):
            continue
        body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
        owner = site.source(node.target.value).partition(".")[0]
        if owner not in [a.arg for a in function.args.args]:
            continue
        before = site.before(body[0], [f"if {site.source(node.target)} >= 5:", "    return False"])
        if before is not None:
            return [site.proposal("no attempt after five failures", before, decision=asks)]
    return []
