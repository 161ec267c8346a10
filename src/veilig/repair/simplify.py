"""How would a person write the same edit?"""

import ast
from dataclasses import replace

from veilig.repair.candidates import Candidate, describe
from veilig.repair.edit import Edit, LineMap, apply, parse
from veilig.repair.source import normal

PASSES_MAX = 4  # each takes one needless operation away
NEEDLESS = "operand too many"
CONSTANTS = frozenset({"const", "off_by_one", "arith_const", "arith_var"})


def simplify(text: str, candidate: Candidate) -> Candidate:
    """The same edit without operations that do nothing: `(len(v) + 0)` -> `len(v)`, `not not x` -> `x`.

    text: the file before the edit. Returns the candidate itself when there is nothing to simplify; a
    changed one must be proven again like any other.
    """
    simpler = candidate
    for _ in range(PASSES_MAX):
        following = _once(text, simpler)
        if following is None:
            break
        simpler = following
    if simpler is candidate:
        return candidate
    says = NEEDLESS if candidate.family in CONSTANTS else candidate.title.split(":")[0]
    title = f"{says}: {describe(text, apply(text, simpler.edits), candidate.line)}"
    return replace(simpler, title=title)


def _once(text: str, candidate: Candidate) -> Candidate | None:
    """One needless operation at the edit less; None when there is none, or only the text before is left."""
    if len(candidate.edits) != 1:
        return None
    edit = candidate.edits[0]
    after = apply(text, candidate.edits)
    try:
        tree = parse(after)
    except (SyntaxError, ValueError):
        return None
    lines = LineMap(after)
    end = edit.start + len(edit.replacement)
    for node in ast.walk(tree):
        kept = _kept(node)
        if kept is None:
            continue
        first, last = lines.span(node)
        if not (first <= edit.start <= end <= last or edit.start <= first <= last <= end):
            continue
        if _own_parentheses(after, first, last):
            first, last = first - 1, last + 1
        shift = len(text) - len(after)
        start, stop = min(first, edit.start), max(last, end)
        written = after[start:first] + lines.source(kept) + after[last:stop]
        simpler = Edit(edit.path, start, stop + shift, written)
        if normal(apply(text, [simpler])) == normal(text):
            return None
        return replace(candidate, edits=(simpler,))
    return None


def _own_parentheses(text: str, first: int, last: int) -> bool:
    """True when the parentheses around belong to the expression alone, not to a call or a definition."""
    if text[first - 1 : first] != "(" or text[last : last + 1] != ")":
        return False
    before = text[: first - 1]
    word = before.rstrip(" ")[-1:]
    return not (word.isalnum() or word in {"_", ")", "]", "'", '"'})


def _kept(node: ast.AST) -> ast.expr | None:
    """The operand that is left when an operation does nothing, else None."""
    if isinstance(node, ast.BinOp) and (_truth(node.left) or _truth(node.right)):
        return None  # `x + False` is a number on purpose
    match node:
        case ast.BinOp(left=ast.Constant(value=0), op=ast.Add(), right=kept):
            pass
        case ast.BinOp(left=kept, op=ast.Add() | ast.Sub(), right=ast.Constant(value=0)):
            pass
        case ast.BinOp(left=ast.Constant(value=1), op=ast.Mult(), right=kept):
            pass
        case ast.BinOp(left=kept, op=ast.Mult() | ast.Pow(), right=ast.Constant(value=1)):
            pass
        case ast.UnaryOp(op=ast.Not(), operand=ast.UnaryOp(op=ast.Not(), operand=kept)):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=ast.UnaryOp(op=ast.USub(), operand=kept)):
            pass
        case _:
            return None
    return kept if _tight(kept) else None


def _truth(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def _tight(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.Subscript | ast.Constant)
