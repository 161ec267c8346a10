"""Which finding of a new scan is an old problem? Ids change with their line, so counts decide."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

from veilig.agent.fix_state import OPEN, Json, Problem, State, missed, problem_of

PROBLEMS_MAX = 300  # an hour's work; what is beyond is said, and found again by the next session

type Seen = list[str]  # id, key, path: what is remembered of a finding that stands


def key_of(item: Json) -> str:
    """What a finding is about, whatever its line looks like."""
    return f"{item.get('kind', '')}:{item.get('rule', '')}"


def seen(found: Iterable[Json]) -> list[Seen]:
    """What is remembered of a scan's findings."""
    return [[str(item["id"]), key_of(item), str(item["path"])] for item in found]


def still_there(problem: Problem, found: Sequence[Json], before: Sequence[Seen]) -> bool:
    """True when the file has as many findings of this kind as before the edit, or this very one."""
    key = f"{problem.kind}:{problem.rule}"
    now = sum(key_of(item) == key and item["path"] == problem.path for item in found)
    then = sum(k == key and path == problem.path for _, k, path in before)
    return any(item["id"] == problem.id for item in found) or now >= max(then, 1)


def brought(found: Sequence[Json], before: Sequence[Seen], paths: Iterable[str]) -> Json | None:
    """A finding of a kind that one of `paths` has more of than before, if there is one."""
    then = Counter((key, path) for _, key, path in before)
    wanted = set(paths)
    now: Counter[tuple[str, str]] = Counter()
    for item in found:
        place = (key_of(item), str(item["path"]))
        now[place] += 1
        if place[1] in wanted and now[place] > then[place]:
            return item
    return None


def matching(problem: Problem, found: Sequence[Json], others: Iterable[Problem]) -> Json | None:
    """The finding that is this problem now: the same id, else the nearest of its kind that is free."""
    same = [item for item in found if item["id"] == problem.id]
    if same:
        return same[0]
    taken = {other.id for other in others if other is not problem}
    key = f"{problem.kind}:{problem.rule}"
    free = [i for i in found if key_of(i) == key and i["path"] == problem.path and i["id"] not in taken]
    return min(free, key=lambda item: abs(_line(item) - problem.line), default=None)


def _line(item: Json) -> int:
    line = item.get("line", 0)
    return line if isinstance(line, int) else 0


def take_scan(now: State, data: Json) -> None:
    """Put a scan's findings into the state: new ones become problems, known ones get their proposals."""
    found = {str(item["id"]): item for item in cast(list[Json], data.pop("problems", []))}
    now.scan = data
    now.findings = seen(found.values())
    for problem in now.problems:
        if problem.status == OPEN and problem.id in found:
            problem.proposals = cast(list[Json], found[problem.id].get("proposals", []))
    known = {problem.id for problem in now.problems}
    left = len(found.keys() - known) - PROBLEMS_MAX
    if left > 0:
        missed(now, f"{left} more problems were found and are not worked on in this session")
        found = dict(list(found.items())[: PROBLEMS_MAX + len(found.keys() & known)])
    now.problems += [problem_of(item) for key, item in found.items() if key not in known]
