"""Which statements stand beside the same statement elsewhere in the module, and are missing or other here?

Method: code that was copied and then mended in one place only. Two functions that hold the same statement
are laid side by side at it; what differs just before or behind it is a candidate.
"""

import ast
from collections.abc import Iterator
from textwrap import dedent, indent

from veilig.repair.families.family import Draft, Family, Site
from veilig.repair.source import Block, Function, Source

SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Raise, ast.Assert, ast.Delete)
CHARS_MIN = 8  # a shorter statement (`i += 1`) stands everywhere and tells nothing
RUN_MAX = 3  # statements taken over at once
LINES_MAX = 8
PLACES_MAX = 6
OTHER_CLASS_COST = 0.5
NEAR_COST, FAR_COST = 0.0, 0.4


def _beside(site: Site) -> Iterator[Draft]:
    """Statements that another function has beside this one: inserted, or in place of what stands here."""
    node, source = site.node, site.source
    if not isinstance(node, SIMPLE) or not source.stands_alone(node):
        return
    here = source.function(node)
    if here is None or len(source.segment(node)) < CHARS_MIN:
        return
    own = {source.segment(one) for one in ast.walk(here) if isinstance(one, ast.stmt)}
    around = source.class_of(node)
    for other in source.written(source.segment(node))[: PLACES_MAX + 1]:
        function = source.function(other)
        if other is node or function is None or function is here:
            continue
        far = 0.0 if around is not None and source.class_of(other) is around else OTHER_CLASS_COST
        for draft in (*_run(source, node, other, own, 1), *_run(source, node, other, own, -1)):
            yield Draft(draft.changes, draft.cost + far)


def _run(source: Source, node: ast.stmt, other: ast.stmt, own: set[str], step: int) -> Iterator[Draft]:
    """What follows (step 1) or comes before (step -1) the other statement and does not stand here."""
    block = source.block(other)
    place = block.index(other) + step
    taken: list[ast.stmt] = []
    while 0 <= place < len(block) and len(taken) < RUN_MAX and _takes(source, block[place], own):
        taken.append(block[place])
        place += step
        texts = [_text(source, one) for one in (taken if step > 0 else reversed(taken))]
        margin = source.indent_of(node)
        text = indent("".join(texts), margin)
        if text.count("\n") > LINES_MAX:
            return
        start, end = source.lines_span(node)
        at = end if step > 0 else start
        missing = "" if at == 0 or source.text[at - 1] == "\n" else "\n"
        # A run that ends where both functions go on alike is a hole in this one.
        closed = not (0 <= place < len(block)) or not _takes(source, block[place], own)
        yield Draft(((at, at, missing + text),), NEAR_COST if closed else FAR_COST)
        if len(taken) == 1:
            yield from _instead(source, source.block(node), node, step, text)


def _instead(source: Source, block: Block, node: ast.stmt, step: int, text: str) -> Iterator[Draft]:
    place = block.index(node) + step
    if 0 <= place < len(block) and source.stands_alone(block[place]):
        yield Draft(((*source.lines_span(block[place]), text),), FAR_COST)


def _takes(source: Source, statement: ast.stmt, own: set[str]) -> bool:
    named = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    told = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return not named and not told and source.stands_alone(statement) and source.segment(statement) not in own


def _text(source: Source, statement: ast.stmt) -> str:
    start, end = source.lines_span(statement)
    text = dedent(source.text[start:end])
    return text if text.endswith("\n") else text + "\n"


def _decorator(site: Site) -> Iterator[Draft]:
    """A decorator that most functions of the same kind carry."""
    node, source = site.node, site.source
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    above = source.parents.get(node)
    body: list[ast.stmt] = getattr(above, "body", [])
    others: list[Function] = [
        one for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one is not node
    ]
    own = {source.segment(one) for one in node.decorator_list}
    found: dict[str, int] = {}
    for one in others:
        for decorator in one.decorator_list:
            text = source.segment(decorator)
            found[text] = found.get(text, 0) + 1
    start, margin = source.span(node)[0], source.indent_of(node)
    ranked = sorted((text for text in found if text not in own), key=lambda text: -found[text])
    for place, text in enumerate(ranked[:PLACES_MAX]):
        yield Draft(((start, start, f"@{text}\n{margin}"),), 0.2 * place)


def _one_member(site: Site) -> Iterator[Draft]:
    """`x = a,`: a comma that makes a tuple of one, and the comma missing in `(a)` that was to be one."""
    node, source = site.node, site.source
    start, end = source.span(node)
    if isinstance(node, ast.Tuple) and len(node.elts) == 1 and isinstance(node.ctx, ast.Load):
        last = source.span(node.elts[0])[1]
        comma = source.text.find(",", last, end)
        if comma >= 0:
            yield Draft(((comma, comma + 1, ""),))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        inside = source.text[start - 1 : start] == "(" and source.text[end : end + 1] == ")"
        if inside and isinstance(site.parent, ast.Compare | ast.Assign):
            yield Draft(((end, end, ","),))


FAMILIES = (
    Family("sibling", 1.7, SIMPLE, _beside, "differs from the same code elsewhere"),
    Family("decorator", 2.4, (ast.FunctionDef, ast.AsyncFunctionDef), _decorator, "decorator missing"),
    Family("one_member", 1.8, (ast.Tuple, ast.Constant), _one_member, "a comma makes or unmakes a tuple"),
)
