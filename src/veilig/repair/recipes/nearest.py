"""Which known name did the author most likely mean?"""

from collections.abc import Iterable


def distance(left: str, right: str, *, limit: int = 3) -> int:
    """Edits (insert, delete, replace, swap neighbours) between two names, or `limit` + 1 when more.

    Source: optimal string alignment, Damerau 1964, in the restricted form that edits no substring twice.
    """
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, last = row, before
        row = [i] + [0] * len(right)
        for j, b in enumerate(right, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                row[j] = min(row[j], last[j - 2] + 1)
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """Known names within reach of a typing slip, nearest first; never `name` itself.

    One slip for up to 4 characters, two up to 8, three above; a difference in case alone counts as none.
    """
    limit = 1 if len(name) <= 4 else 2 if len(name) <= 8 else 3
    found: list[tuple[int, int, str]] = []
    for other in set(known) - {name}:
        gap = 0 if other.casefold() == name.casefold() else distance(name, other, limit=limit)
        if gap <= limit and (gap < max(len(name), len(other)) - 1 or gap == 0):
            found.append((gap, name[:1] != other[:1], other))
    return [other for _, _, other in sorted(found)[:count]]
