"""Which repairs change loops and the nesting of statements?"""

import ast
from collections.abc import Iterator

from veilig.repair.families.family import Draft, Family, Site


def _jump(site: Site) -> Iterator[Draft]:
    node = site.node
    start, end = site.source.span(node)
    here = (
        "break" if isinstance(node, ast.Break) else "continue" if isinstance(node, ast.Continue) else "pass"
    )
    texts = ["continue", "break", "pass", "return", "return None", "return False", "return True"]
    if here == "pass":
        texts = ["return", "raise", "continue", "break"]
    for place, text in enumerate(texts):
        if text != here:
            yield Draft(((start, end, text),), 0.15 * place)


def _loop(site: Site) -> Iterator[Draft]:
    node = site.node
    if isinstance(node, ast.If):
        start = site.source.span(node)[0]
        if site.source.text[start : start + 2] == "if" and not node.orelse:
            yield Draft(((start, start + 2, "while"),), 0.2)
    elif isinstance(node, ast.While):
        start = site.source.span(node)[0]
        yield Draft(((start, start + 5, "if"),), 0.4)
        yield site.put(node.test, "True", cost=0.4)
    elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        text = site.text(node.iter)
        for before, after, cost in (
            ("reversed(", ")", 1.4),
            ("sorted(", ")", 0.5),
            ("list(", ")", 0.1),
            ("", "[1:]", 0.4),
            ("", "[:-1]", 0.5),
            ("", ".items()", 0.3),
            ("", ".values()", 0.5),
            ("set(", ")", 1.0),
            ("range(", ")", 0.6),
            ("range(len(", "))", 0.7),
            ("", "[:]", 0.5),
            ("enumerate(", ")", 0.8),
            ("dict.fromkeys(", ")", 1.1),
        ):
            if (before, after) == ("list(", ")") and "RuntimeError" in site.hints.exceptions:
                cost -= 1.0
            yield site.put(node.iter, f"{before}{text}{after}", cost=cost)
        for place, name in enumerate(site.scope.variables[:8]):
            if name != text:
                yield site.put(node.iter, name, cost=0.6 + 0.05 * place)


def _branches(site: Site) -> Iterator[Draft]:
    node = site.node
    assert isinstance(node, ast.If)
    if not node.orelse or isinstance(node.orelse[0], ast.If):
        start = site.source.span(node)[0]
        if site.source.text[start : start + 4] == "elif":
            yield Draft(((start, start + 4, "if"),), 0.6)
        return
    first, second = _whole(site, node.body), _whole(site, node.orelse)
    if first is None or second is None:
        return
    one, two = site.source.text[first[0] : first[1]], site.source.text[second[0] : second[1]]
    if not two.endswith("\n"):
        return
    yield Draft(((*first, two), (*second, one)))


def _unwrap_block(site: Site) -> Iterator[Draft]:
    node = site.node
    body = getattr(node, "body", None)
    if not isinstance(
        node, ast.If | ast.For | ast.While | ast.With | ast.Try
    ) or not site.source.stands_alone(node):
        return
    whole = _whole(site, body or [])
    if whole is None:
        return
    indent = site.source.indent_of(node)
    inner = site.source.indent_of(node.body[0])
    text = _moved(site.source.text[whole[0] : whole[1]], inner, indent)
    start, end = site.source.lines_span(node)
    orelse = _whole(site, node.orelse) if isinstance(node, ast.If) and node.orelse else None
    if text is not None:
        yield Draft(((start, end, text),), 0.2 if orelse is None else 0.5)
    if orelse is not None and isinstance(node, ast.If) and not isinstance(node.orelse[0], ast.If):
        other = _moved(site.source.text[orelse[0] : orelse[1]], inner, indent)
        if other is not None:
            yield Draft(((start, end, other),), 0.7)


def _dedent(site: Site) -> Iterator[Draft]:
    """The last statement of a block moved behind the block."""
    node = site.node
    if not isinstance(node, ast.stmt) or not site.source.stands_alone(node):
        return
    above = site.source.parents[node]
    block = site.source.block(node)
    if (
        block[-1] is not node
        or len(block) < 2
        or not isinstance(above, ast.If | ast.For | ast.While | ast.With | ast.Try)
    ):
        return
    if (
        isinstance(above, ast.If | ast.Try)
        and site.source.lines_span(above)[1] != site.source.lines_span(node)[1]
    ):
        return
    start, end = site.source.lines_span(node)
    text = _moved(site.source.text[start:end], site.source.indent_of(node), site.source.indent_of(above))
    if text is not None and site.source.stands_alone(above):
        yield Draft(((start, end, text),))


def _indent(site: Site) -> Iterator[Draft]:
    """A statement behind a block moved to the end of the block."""
    node = site.node
    if not isinstance(node, ast.stmt) or not site.source.stands_alone(node):
        return
    block = site.source.block(node)
    place = block.index(node)
    if place == 0:
        return
    before: ast.stmt = block[place - 1]
    start, end = site.source.lines_span(node)
    for depth in range(3):
        inner = getattr(before, "orelse", None) or getattr(before, "body", None)
        if not isinstance(inner, list) or not inner or isinstance(before, ast.FunctionDef | ast.ClassDef):
            return
        before = inner[-1]  # pyright: ignore[reportUnknownVariableType]  # `ast` types fields loosely
        if not isinstance(before, ast.stmt) or not site.source.stands_alone(before):
            return
        text = _moved(site.source.text[start:end], site.source.indent_of(node), site.source.indent_of(before))
        if text is not None:
            yield Draft(((start, end, text),), 0.3 * depth)


def _whole(site: Site, block: list[ast.stmt]) -> tuple[int, int] | None:
    """Offsets of a block's whole lines, or None when it shares a line with something else."""
    if not block or not all(site.source.stands_alone(one) for one in block):
        return None
    return site.source.lines_span(block[0])[0], site.source.lines_span(block[-1])[1]


def _moved(text: str, old: str, new: str) -> str | None:
    """The lines with another indentation; None when one does not begin with the old (in a long string)."""
    lines = text.splitlines(keepends=True)
    if '"""' in text or "'''" in text or any(one.strip() and not one.startswith(old) for one in lines):
        return None
    return "".join(new + one[len(old) :] if one.strip() else one for one in lines)


FAMILIES = (
    Family("loop_ctl", 1.6, (ast.Break, ast.Continue, ast.Pass), _jump, "wrong jump"),
    Family(
        "loop_form", 2.4, (ast.If, ast.While, ast.For, ast.AsyncFor, ast.comprehension), _loop, "wrong loop"
    ),
    Family("swap_branches", 2.2, (ast.If,), _branches, "branches swapped"),
    Family("unwrap_block", 2.8, (ast.stmt,), _unwrap_block, "condition or loop too many"),
    Family("dedent", 2.4, (ast.stmt,), _dedent, "statement in the wrong block"),
    Family("indent_into", 2.4, (ast.stmt,), _indent, "statement in the wrong block"),
)
