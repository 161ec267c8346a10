"""How does a tree differ from its older states, and what would taking one change back look like?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from veilig.repair.denials import judge_patch
from veilig.repair.denials_paths import is_protected, is_test_path
from veilig.repair.edit import Edit, LineMap, apply, edits_between

HUNKS_MAX = 120  # of one state: a rewrite of everything is no regression to be minimised
CHARACTERS_MAX = 200_000  # of all replacements: the ledger holds them
SMALL_LINES = 12  # an undo of more lines takes back somebody's work: a person decides
CHANGED_BONUS, NEAR_BONUS = 150, 75  # in 1/1000, as locate.suspicious weighs history
# A hunk may break the syntax alone and be right together with another one.
_TOGETHER = frozenset({"syntax.broken"})


@dataclass(frozen=True, slots=True)
class State:
    """An older state of the files: the commit that made it, its subject, and the texts it had."""

    commit: str
    subject: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Level:
    """The edits that lead from the present back to one state; `by`: the change that they take back last."""

    commit: str
    by: str
    edits: tuple[Edit, ...]


def takes_part(path: str) -> bool:
    """Whether history may be undone in this file: neither a test nor protected."""
    return not is_test_path(path) and not is_protected(path)


def levels(now: Mapping[str, str], states: Sequence[State]) -> list[Level]:
    """One level per state that differs from the one before it, the newest first.

    now: the present texts. states: newest first; a file that a state lacks is left as it is. Hunks whose
    undo no repair may make (a deleted feature, a lowered pin) are left out of every level.
    """
    found: list[Level] = []
    by = "the changes that are not committed"
    denied: dict[Edit, bool] = {}
    size = 0
    for state in states:
        edits = [
            edit
            for path in sorted(now)
            if takes_part(path) and path in state.files
            for edit in edits_between(path, now[path], state.files[path])
            if not _denied(edit, now[path], denied)
        ]
        size += sum(len(edit.replacement) for edit in edits)
        if len(edits) > HUNKS_MAX or size > CHARACTERS_MAX:
            break
        if edits and (not found or tuple(edits) != found[-1].edits):
            found.append(Level(state.commit, by, tuple(edits)))
        by = f"{state.commit[:9]} {state.subject!r}"
    return found


def _denied(edit: Edit, text: str, known: dict[Edit, bool]) -> bool:
    if edit not in known:
        rules = {d.rule for d in judge_patch({edit.path: text}, {edit.path: apply(text, [edit])})}
        known[edit] = bool(rules - _TOGETHER)
    return known[edit]


def changed_lines(now: Mapping[str, str], level: Level) -> dict[str, list[int]]:
    """Path -> the present lines that differ from that state."""
    found: dict[str, set[int]] = {}
    maps = {path: LineMap(now[path]) for path in {edit.path for edit in level.edits}}
    for edit in level.edits:
        first = maps[edit.path].position(edit.start)[0]
        last = maps[edit.path].position(max(edit.end - 1, edit.start))[0]
        found.setdefault(edit.path, set()).update(range(first, last + 1))
    return {path: sorted(lines) for path, lines in found.items()}


def lines_taken_back(now: str, edits: Iterable[Edit]) -> int:
    """How many lines an undo removes or writes."""
    return sum(1 + max(now[e.start : e.end].count("\n"), e.replacement.count("\n")) for e in edits)


def raised(
    lines: Sequence[tuple[str, int, int]], changed: Mapping[str, Sequence[int]]
) -> list[tuple[str, int, int]]:
    """Suspected lines (path, line, score) with recent changes weighed in, the most suspicious first."""
    scored: list[tuple[str, int, int]] = []
    for path, line, score in lines:
        recent = set(changed.get(path, ()))
        near = line - 1 in recent or line + 1 in recent
        scored.append((path, line, score + (CHANGED_BONUS if line in recent else NEAR_BONUS if near else 0)))
    return sorted(scored, key=lambda one: -one[2])
