"""Which small edit makes a file parse again?"""

import ast
import itertools
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

from veilig.repair.edit import BOM, Edit, LineMap, apply, edits_between
from veilig.repair.recipes.proposal import Confidence, Context, Defect, Needs, Proposal
from veilig.repair.recipes.syntax_blocks import block_changes
from veilig.repair.recipes.syntax_change import Change, Trouble
from veilig.repair.recipes.syntax_lines import line_changes
from veilig.repair.recipes.syntax_sense import oddities
from veilig.repair.recipes.syntax_tokens import token_changes

PROPOSALS_MAX = 8  # more than a test run per proposal is worth
ERRORS_MAX = 4  # a file with more independent errors was not damaged by a slip
BEAM = 3
ATTEMPTS_MAX = 400  # about 2 s for a file of 400 lines
LARGE_TEXT = 100_000  # characters; parsing costs about 15 ms per 1,000 lines
LARGE_ATTEMPTS_MAX = 80
ODDITY_COST = 0.5  # per name that one repair leaves undefined or unused and another one does not
RIVAL_GAP = 0.3
COST_BAND = 3.0  # how much dearer than the best a proposal may be


@dataclass(frozen=True, slots=True)
class _State:
    text: str
    cost: float
    titles: tuple[str, ...]
    trouble: Trouble


def trouble_of(text: str, version: tuple[int, int] | None = None) -> Trouble | None:
    """The first syntax error of a module for a Python version, None when it compiles.

    Nothing is executed: the text is parsed and its symbol tables are built.
    """
    source = text.removeprefix(BOM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, feature_version=version)
            compile(tree, "<repair>", "exec", dont_inherit=True)
    except SyntaxError as error:
        line = error.lineno or 1
        column = max((error.offset or 1) - 1, 0)
        message = error.msg or "invalid syntax"
        return Trouble(line, column, error.end_lineno or line, max((error.end_offset or 1) - 1, 0), message)
    except ValueError as error:  # a null byte, or an integer literal above the limit of digits
        return Trouble(1, 0, 1, 0, str(error))
    except (RecursionError, MemoryError):
        return Trouble(1, 0, 1, 0, "too deeply nested to parse")
    return None


def propose(context: Context) -> list[Proposal]:
    """Repairs for the file the failure names, or for every project file that does not parse; best first."""
    failure = context.failure
    named = failure.path if failure and failure.path in context.files else ""
    paths = [named] if named else sorted(context.files)
    found: list[Proposal] = []
    for path in paths:
        if path.endswith((".py", ".pyi")):
            found += repair_text(path, context.files[path], context.python_version)
    return sorted(found, key=lambda proposal: proposal.cost)


def detect(path: str, text: str) -> list[Defect]:
    """The first syntax error of a Python file, if there is one."""
    trouble = trouble_of(text)
    return [] if trouble is None else [Defect("syntax", path, trouble.line, trouble.message)]


def repair_text(path: str, text: str, version: tuple[int, int] | None = None) -> list[Proposal]:
    """Up to PROPOSALS_MAX ways to make the text parse, each of which does; empty when it parses already."""
    trouble = trouble_of(text, version)
    if trouble is None:
        return []
    solved: dict[str, _State] = {}
    states = [_State(text, 0.0, (), trouble)]
    for _ in range(ERRORS_MAX):
        onward: list[_State] = []
        for state in states:
            done, further = _step(state, version)
            for item in done:
                solved.setdefault(item.text, item)
            onward += further
        if solved or not onward:
            break
        states = sorted(onward, key=lambda state: state.cost)[:BEAM]
    odd = {state.text: oddities(state.text) for state in solved.values()}
    least = min(odd.values(), default=0)
    weighed = [replace(s, cost=s.cost + ODDITY_COST * (odd[s.text] - least)) for s in solved.values()]
    ranked = sorted(weighed, key=lambda state: state.cost)[:PROPOSALS_MAX]
    # A rival that costs about the same means that the choice is a guess, however small the edit.
    sure = len(ranked) < 2 or ranked[1].cost - ranked[0].cost >= RIVAL_GAP
    return [
        _proposal(path, text, state, trouble, index, sure=sure and index == 0)
        for index, state in enumerate(ranked)
    ]


def _step(state: _State, version: tuple[int, int] | None) -> tuple[list[_State], list[_State]]:
    """(states that parse, states whose first error moved further down)."""
    lines = LineMap(state.text)
    limit = LARGE_ATTEMPTS_MAX if len(state.text) > LARGE_TEXT else ATTEMPTS_MAX
    done: list[_State] = []
    further: list[_State] = []
    seen = {state.text}
    for change in itertools.islice(_changes(lines, state.trouble), limit):
        cost = state.cost + change.cost
        if done and cost > done[0].cost + COST_BAND:
            break
        text = apply(state.text, [Edit("x", start, end, new) for start, end, new in change.spans])
        if text in seen:
            continue
        seen.add(text)
        trouble = trouble_of(text, version)
        reached = _State(text, cost, (*state.titles, change.title), trouble or state.trouble)
        if trouble is None:
            done.append(reached)
        elif (trouble.line, trouble.column) > (state.trouble.end_line, state.trouble.end_column):
            further.append(reached)
    return done, further


def _changes(lines: LineMap, trouble: Trouble) -> Iterator[Change]:
    changes = [
        *whole_file_changes(lines.text),
        *_half_closed(lines.text),
        *block_changes(lines, trouble),
        *line_changes(lines, trouble),
        *token_changes(lines, trouble),
    ]
    return iter(sorted(changes, key=lambda change: change.cost))


def _proposal(path: str, text: str, state: _State, trouble: Trouble, index: int, *, sure: bool) -> Proposal:
    single = sure and len(state.titles) == 1 and state.cost <= 2.0
    return Proposal(
        recipe="syntax",
        title="; ".join(state.titles),
        path=path,
        edits=edits_between(path, text, state.text),
        cost=state.cost,
        needs=Needs.PARSE if single else Needs.TESTS,
        confidence=Confidence.HIGH if single else Confidence.MEDIUM if index == 0 else Confidence.LOW,
        line=trouble.line,
    )


_MARKERS = re.compile(
    r"^<{7}(?: [^\n]*)?\n(?P<ours>(?:(?!={7}|\|{7}).*\n)*)(?:\|{7}[^\n]*\n(?:(?!={7}).*\n)*)?={7}\r?\n"
    r"(?P<theirs>(?:(?!>{7}).*\n)*)>{7}(?: [^\n]*)?(?:\n|\Z)",
    re.MULTILINE,
)
# A docstring of one line that ends with two quotes of the three.
_HALF_CLOSED = re.compile(
    r"^[ \t]*[rRuU]?(?P<quote>\"\"\"|''')(?:(?!(?P=quote))[^\n])*?(?<![\"'])(?:\"\"|'')(?=[ \t]*$)",
    re.MULTILINE,
)
_ODD_SPACES = dict.fromkeys(map(ord, "\u00a0\u2002\u2003\u2007\u2009\u202f\u3000"), " ")
_ODD_CHARACTERS = _ODD_SPACES | {
    ord(char): new
    for chars, new in (
        ("\u200b\u200c\u200d\u2060\ufeff", ""),
        ("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'),
        ("\u2018\u2019\u201a\u201b", "'"),
        ("\u2013\u2014\u2212", "-"),
        ("\u00d7", "*"),
        ("\u2260", "!="),
        ("\u2264", "<="),
        ("\u2265", ">="),
        ("\uff0c", ","),
        ("\uff1a", ":"),
        ("\uff08", "("),
        ("\uff09", ")"),
    )
    for char in chars
}


def whole_file_changes(text: str) -> list[Change]:
    """Damage that a whole file carries: merge markers, characters of a word processor, tabs, null bytes."""
    found: list[Change] = []
    if _MARKERS.search(text):
        for cost, title, keep in (
            (1.0, "merge conflict: keeps our side", r"\g<ours>"),
            (1.1, "merge conflict: keeps their side", r"\g<theirs>"),
            (1.6, "merge conflict: keeps both sides", r"\g<ours>\g<theirs>"),
        ):
            found.append(Change(cost, title, _all(text, _MARKERS.sub(keep, text))))
    bom, body = (BOM, text[1:]) if text.startswith(BOM) else ("", text)
    plain = body.translate(_ODD_CHARACTERS)
    if plain != body:
        found.append(Change(1.5, "plain quotes and spaces for typographic ones", _all(text, bom + plain)))
        spaced = body.translate(_ODD_SPACES)
        found.append(Change(1.0, "plain spaces for typographic ones", _all(text, bom + spaced)))
    if "\x00" in text:
        found.append(Change(2.0, "null bytes removed", _all(text, text.replace("\x00", ""))))
    if re.search(r"^[ ]*\t", text, re.MULTILINE):
        for width in (4, 8):
            fixed = re.sub(
                r"^[ \t]+", lambda match, w=width: match.group().expandtabs(w), text, flags=re.MULTILINE
            )
            found.append(Change(1.0 + width / 40, f"tabs to {width} spaces", _all(text, fixed)))
    return found


def _half_closed(text: str) -> Iterator[Change]:
    for match in _HALF_CLOSED.finditer(text):
        place = (match.end(), match.end(), match["quote"][0])
        yield Change(0.9, "closes the triple-quoted string", (place,))


def _all(text: str, new: str) -> tuple[tuple[int, int, str], ...]:
    return ((0, len(text), new),)
