"""How does a check that fails get noticed (CWE-252, 347, 390, 396, 584, 617, 754, 755)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site
from veilig.repair.recipes.weakness_text import (
    block_of,
    first_line,
    logger_of,
    negated,
    own_lines,
    refusal,
    removed,
)

_GUARD = re.compile(
    r"(?i)(verify|authenticat|authori[sz]e|check_|validate_|require_|is_allowed|has_perm|compare_digest)\w*\("
)


def handlers(site: Site) -> list[ast.ExceptHandler]:
    """The handlers that begin at the finding."""
    return [h for h in site.nodes(ast.ExceptHandler) if h.lineno == site.finding.line]


def log_error(site: Site) -> list[Proposal]:
    """The error goes to the log; where a check failed, a person says whether the work may go on."""
    for handler in handlers(site):
        logger, imports = logger_of(site)
        message = _message(site, handler)
        row = f'{logger}.exception("{message}")'
        last = handler.body[-1]
        if not own_lines(site, last):
            edits = [site.replace(last, row)] if isinstance(last, ast.Pass) else []
        elif isinstance(last, ast.Continue):
            before = site.before(last, [row])
            edits = [before] if before is not None else []
        else:
            edits = [site.replace(last, row)]
        if not edits:
            continue
        parent = site.parents.get(handler)
        guarded = parent is not None and _GUARD.search(_body(site, parent)) is not None
        found = [site.proposal("the error is logged", *edits, *imports, cost=1.5 if guarded else 1.0)]
        if guarded and not isinstance(last, ast.Continue):
            text = f"{row}\n{site.indent(last)}raise"
            asks = "must the caller stop when the check could not be made?"
            edit = site.replace(last, text)
            found.append(site.proposal("logged, and raised again", edit, *imports, decision=asks))
        return found
    return []


def _body(site: Site, node: ast.AST) -> str:
    return " ".join(site.source(item) for item in node.body) if isinstance(node, ast.Try) else ""


def _message(site: Site, node: ast.AST) -> str:
    function = site.function(node)
    return f"{function.name} failed" if function is not None else "failed"


def refuse_on_error(site: Site) -> list[Proposal]:
    """`return False` where an error let everybody in."""
    for handler in handlers(site):
        last = handler.body[-1]
        if isinstance(last, ast.Return) and last.value is not None:
            return [site.proposal("an error refuses", site.replace(last.value, "False"))]
    for node in site.nodes(ast.Return):
        if isinstance(node.value, ast.Constant) and node.value.value is True:
            return [site.proposal("an error refuses", site.replace(node.value, "False"))]
    return []


def refuse_missing(site: Site) -> list[Proposal]:
    """`return False` when the signature is missing."""
    for node in site.nodes(ast.If):
        last = node.body[-1]
        if (
            node.lineno == site.finding.line
            and isinstance(last, ast.Return)
            and isinstance(last.value, ast.Constant)
        ):
            return [site.proposal("what is missing is refused", site.replace(last.value, "False"))]
    return []


def read_answer(site: Site) -> list[Proposal]:
    """`if not check(...)`: refuse; the check's answer is read at last."""
    for node in site.nodes(ast.Expr):
        if not isinstance(node.value, ast.Call | ast.Await):
            continue
        refuse, imports = refusal(site, 403, "the check failed")
        text = f"if not {_grouped(site, node.value)}:\n{site.indent(node)}    {refuse}"
        return [site.proposal("the check's answer decides", site.replace(node, text), *imports)]
    return []


def _grouped(site: Site, node: ast.expr) -> str:
    return f"({site.source(node)})" if isinstance(node, ast.Await) else site.source(node)


def raise_instead(site: Site) -> list[Proposal]:
    """`if not ...: raise` for an assert: nothing switches it off."""
    for node in site.nodes(ast.Assert):
        if not own_lines(site, node):
            continue
        refuse, imports = refusal(site, 403, "not allowed")
        if refuse.startswith("raise PermissionError") and node.msg is not None:
            refuse = f"raise PermissionError({site.source(node.msg)})"
        text = f"if {negated(site, node.test)}:\n{site.indent(node)}    {refuse}"
        return [site.proposal("if ... raise for the assert", site.replace(node, text), *imports)]
    return []


def narrower(site: Site) -> list[Proposal]:
    """`Exception` for `BaseException`: exit and interrupt pass."""
    for handler in handlers(site):
        if handler.type is not None:
            return [site.proposal("except Exception", site.replace(handler.type, "Exception"))]
    return []


def checked_command(site: Site) -> list[Proposal]:
    """check=True: nothing is deleted after a command that failed."""
    for call in site.calls("subprocess.run", "subprocess.call"):
        edits = [site.set_keyword(call, "check", "True")]
        if site.name_of(call.func).endswith("call"):
            edits += [site.replace(call.func, "subprocess.run"), *site.add_import("subprocess")]
        return [site.proposal("check=True", *edits)]
    return []


def return_behind(site: Site) -> list[Proposal]:
    """The return leaves the finally block: errors reach the caller, other returns keep their value."""
    for node in site.nodes(ast.Return):
        block = block_of(site, node)
        trial = site.parents.get(node)
        if not isinstance(trial, ast.Try) or node not in trial.finalbody or not own_lines(site, node):
            continue
        edits: list[Edit] = []
        if len(block) > 1:
            edits.append(removed(site, node))
        elif trial.handlers:
            start = _finally_line(site, trial)
            if start is None:
                continue
            end = site.lines.line_start((node.end_lineno or node.lineno) + 1)
            edits.append(Edit(site.finding.path, site.lines.line_start(start), end, ""))
        else:
            edits.append(site.replace(node, "pass"))
        if not _leaves(trial.body) and node.value is not None and not _is_none(node.value):
            text = f"{site.indent(trial)}{site.source(node)}\n"
            end = site.lines.line_start((trial.end_lineno or trial.lineno) + 1)
            edits.append(site.insert(end, text))
        title = "no return in finally: errors reach the caller"
        return [site.proposal(title, *edits, confidence=Confidence.MEDIUM)]
    return []


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _leaves(body: list[ast.stmt]) -> bool:
    return isinstance(body[-1], ast.Return | ast.Raise)


def _finally_line(site: Site, trial: ast.Try) -> int | None:
    for line in range(first_line(trial.finalbody[0]) - 1, trial.lineno, -1):
        if re.match(r"\s*finally\s*:", site.lines.line_text(line)):
            return line
    return None
