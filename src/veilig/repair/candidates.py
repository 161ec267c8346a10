"""Which edits are worth trying, the most likely first?"""

import ast
import heapq
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from textwrap import dedent

from veilig.repair.edit import Edit, EditError, apply, parse
from veilig.repair.families import FAMILIES, Draft, Family, Hints, Site
from veilig.repair.locate import Line
from veilig.repair.source import Source, Unit

TITLE_CHARS_MAX = 110
AROUND_CHARS = 12
LINE_COST = 3.0  # what separates the most from the least suspicious line
RANK_COST = 0.06  # what one place further down the list costs: ties are broken, not decided
RANK_COST_MAX = 2.0
# A wrong name or a missing conversion is often wrong in several places of one function.
EVERYWHERE = frozenset({"wrap_call", "var_sub", "attr_sub", "callee", "or_default", "subscript_get"})
EVERYWHERE_COST, EVERYWHERE_MAX = 0.7, 6
# What a failure that names a type says: the value is the right one and wants a conversion or a guard.
OF_TYPE = {"wrap_call": -0.8, "var_sub": 0.5, "expr_to_var": 0.4, "expr_to_const": 0.4}
OF_NONE = {
    "or_default": -0.6,
    "guard_insert": -0.5,
    "cond_extend": -0.3,
    "var_sub": 0.3,
    "expr_to_const": 0.3,
}
HEADER_COST, CONSTANT_COST = 0.8, 1.0  # these lines run at import, so no spectrum can accuse them


@dataclass(frozen=True, slots=True)
class Candidate:
    """One edit that parses. `unit` is None when it needs its module executed again (the slow path)."""

    path: str
    edits: tuple[Edit, ...]
    family: str
    cost: float
    title: str
    line: int
    unit: Unit | None


@dataclass(frozen=True, slots=True)
class _Place:
    source: Source
    statement: ast.stmt
    cost: float


def generate(
    files: Mapping[str, str], ranked: Sequence[Line], hints: Hints | None = None
) -> Iterator[Candidate]:
    """Candidates best first, generated only as far as asked for; each parses and none comes twice.

    files: relative path -> text of the modules that may be edited, never tests.
    ranked: most suspicious first.
    A file that does not parse has no candidates: the syntax recipes come first.
    """
    hints = hints or Hints()
    order = count()
    costs = _costs(hints)
    heap: list[tuple[float, int, _Place | None, Family | None, Draft | None, ast.AST | None]] = []
    for place in _places(files, ranked):
        for family in FAMILIES:
            least = place.cost + costs[family.name] - 0.9
            heapq.heappush(heap, (least, next(order), place, family, None, None))
    seen: set[tuple[str, int]] = set()
    while heap:
        cost, _, place, family, draft, node = heapq.heappop(heap)
        assert place is not None
        assert family is not None
        if draft is not None and node is not None:
            candidate = _candidate(place, family, draft, cost, node, seen)
            if candidate is not None:
                yield candidate
            continue
        for found, on in _drafts(place, family, hints):
            total = place.cost + costs[family.name] + found.cost
            heapq.heappush(heap, (max(total, cost), next(order), place, family, found, on))


def _costs(hints: Hints) -> dict[str, float]:
    """What each family costs after this failure."""
    leaning = OF_NONE if hints.of_none else OF_TYPE if hints.of_type else {}
    return {family.name: family.cost + leaning.get(family.name, 0.0) for family in FAMILIES}


def _places(files: Mapping[str, str], ranked: Sequence[Line]) -> Iterator[_Place]:
    """Statements with a suspicious line in their header, once each, with the cost of their best line."""
    sources: dict[str, Source | None] = {}
    at_line: dict[tuple[str, int], list[ast.stmt]] = {}
    best = max((line.score for line in ranked), default=1.0) or 1.0
    done: set[ast.stmt] = set()
    for rank, line in enumerate(ranked):
        if line.path not in sources:
            sources[line.path] = _source(line.path, files.get(line.path))
            source = sources[line.path]
            for statement in source.statements if source else ():
                for number in source.header_lines(statement) if source else ():
                    at_line.setdefault((line.path, number), []).append(statement)
        source = sources[line.path]
        if source is None:
            continue
        cost = LINE_COST * (1 - line.score / best) + min(RANK_COST * rank, RANK_COST_MAX)
        for statement in at_line.get((line.path, line.line), ()):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                continue
            for near, more in ((statement, 0.0), *_behind(source, statement)):
                if near not in done:
                    done.add(near)
                    yield _Place(source, near, cost + more)


def _behind(source: Source, statement: ast.stmt) -> Iterator[tuple[ast.stmt, float]]:
    """What a suspected statement leans on though no test runs it: defaults and module constants."""
    function = source.function(statement)
    if function is not None:
        yield function, HEADER_COST
    for node in source.own_nodes(statement):
        if isinstance(node, ast.Name) and node.id in source.constants:
            yield source.constants[node.id], CONSTANT_COST


def _source(path: str, text: str | None) -> Source | None:
    if text is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Source(path, text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _drafts(place: _Place, family: Family, hints: Hints) -> Iterator[tuple[Draft, ast.AST]]:
    for node in place.source.own_nodes(place.statement):
        if isinstance(node, family.on) and not _annotation(place.source, node):
            try:
                for draft in family.make(Site(place.source, node, place.statement, hints)):
                    yield draft, node
                    if family.name in EVERYWHERE and (twice := _everywhere(place.source, node, draft)):
                        yield twice, node
            except EditError:
                continue  # a node without a position (a comprehension in an old grammar, an operator)


def _everywhere(source: Source, node: ast.AST, draft: Draft) -> Draft | None:
    """The same replacement wherever the function reads the same expression; None when it stands alone."""
    function = source.function(node)
    if function is None or len(draft.changes) != 1 or draft.changes[0][:2] != source.span(node):
        return None
    own, (_, _, text) = source.segment(node), draft.changes[0]
    places = [source.span(one) for one in source.same(function, own)]
    if not 2 <= len(places) <= EVERYWHERE_MAX:
        return None
    return Draft(tuple((start, end, text) for start, end in places), draft.cost + EVERYWHERE_COST)


def _annotation(source: Source, node: ast.AST) -> bool:
    # Type hints do not run; changing them repairs nothing.
    below = node
    for above in source.ancestors(node):
        if isinstance(above, ast.arg) or (isinstance(above, ast.AnnAssign) and above.annotation is below):
            return True
        if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef) and above.returns is below:
            return True
        if isinstance(above, ast.stmt):
            return False
        below = above
    return False


def _candidate(
    place: _Place, family: Family, draft: Draft, cost: float, node: ast.AST, seen: set[tuple[str, int]]
) -> Candidate | None:
    source = place.source
    edits = tuple(Edit(source.path, start, end, text) for start, end, text in sorted(draft.changes))
    unit = source.unit(place.statement) if isinstance(node, ast.stmt) else source.unit(node)
    if unit is not None and not all(unit.start <= edit.start and edit.end <= unit.end for edit in edits):
        unit = None
    try:
        after = apply(source.text, edits)
    except EditError:
        return None
    if unit is not None:
        new = after[unit.start : unit.end + len(after) - len(source.text)]
        old = source.text[unit.start : unit.end]
        key = (f"{source.path}:{unit.start}", hash(new))
        number = source.lines.position(unit.start)[0]
    else:
        new, old, key, number = after, source.text, (source.path, hash(after)), 1
    if new == old or key in seen or not _fits(place, edits, new, unit):
        return None
    seen.add(key)
    first = min(edit.start for edit in edits)
    line = source.lines.position(first)[0]
    title = f"{family.says}: {describe(old, new, line - number + 1)}"
    return Candidate(source.path, edits, family.name, round(cost, 3), title, line, unit)


def _fits(place: _Place, edits: tuple[Edit, ...], new: str, unit: Unit | None) -> bool:
    """True when the edited function parses; only the smallest piece that decides it is read."""
    source, (first, last) = place.source, (edits[0], edits[-1])
    between = first is last and first.start == first.end and first.replacement.endswith("\n")
    between = between and first.replacement[:1] != "@"  # a decorator is no statement
    if between and (first.start == 0 or source.text[first.start - 1] == "\n"):
        return _block(first.replacement)  # whole lines
    start, end, tail = _header(source, place.statement)
    if start <= first.start and last.end <= end:
        own = [Edit(one.path, one.start - start, one.end - start, one.replacement) for one in edits]
        text = apply(source.text[start:end], own)
        if "\n" not in text:
            return _parses((text[2:] if text.startswith("elif") else text) + tail, None)
    return _parses(new, unit)


def _header(source: Source, statement: ast.stmt) -> tuple[int, int, str]:
    """The span of a statement without its blocks, and what makes it whole again."""
    start, end = source.span(statement)
    if not hasattr(statement, "body"):
        return start, end, ""
    if isinstance(statement, ast.If | ast.While | ast.For | ast.With):
        line_end = source.lines.line_end(statement.lineno)
        text = source.text[start:line_end].rstrip()
        if text.endswith(":") and statement.body[0].lineno > statement.lineno:
            return start, start + len(text), " pass"
    return start, start, ""


@lru_cache(4096)
def _block(text: str) -> bool:
    return _parses(dedent(text), None)


def _parses(text: str, unit: Unit | None) -> bool:
    if unit is not None and unit.indent:
        text = "if 1:\n" + text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a doubtful escape of the project's is said once, by its tests
            parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def describe(before: str, after: str, line: int) -> str:
    """`old -> new` of the first changed line, cut to what fits on a screen."""
    old, new = before.split("\n"), after.split("\n")
    last = min(len(old), len(new))
    first = next((place for place in range(last) if old[place] != new[place]), max(line - 1, 0))
    more = len(new) - len(old)
    added = " ".join(one.strip() for one in new[first : first + more]) if more > 0 else ""
    gone = " ".join(one.strip() for one in old[first : first - more]) if more < 0 else ""
    if more > 0:
        return _cut(f"add `{added}`")
    if more < 0:
        return _cut(f"remove `{gone}`")
    if first >= last:
        return ""
    one, other = old[first].strip(), new[first].strip()
    whole = f"{one} -> {other}"
    return whole if len(whole) <= TITLE_CHARS_MAX else _cut(_around(one, other))


def _around(old: str, new: str) -> str:
    """Only the part of a long line that differs, with a little of what stands around it."""
    most = min(len(old), len(new))
    same = next((at for at in range(most) if old[at] != new[at]), most)
    back = next((at for at in range(most - same) if old[-1 - at] != new[-1 - at]), most - same)
    start = max(0, same - AROUND_CHARS)
    while start and (old[start - 1].isalnum() or old[start - 1] == "_"):
        start -= 1  # no name is cut in two
    shown: list[str] = []
    for text in (old, new):
        end = min(len(text), len(text) - back + AROUND_CHARS)
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        shown.append(f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}")
    return " -> ".join(shown)


def _cut(text: str) -> str:
    return text if len(text) <= TITLE_CHARS_MAX else text[: TITLE_CHARS_MAX - 3] + "..."
