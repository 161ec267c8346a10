"""Which known name did the writer probably mean?"""

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name closest to `word`, or None when nothing is close enough to be a slip of the hand.

    Distance: optimal string alignment (insert, delete, replace, swap of neighbours), ignoring case; at most
    a third of the word and at most 3. Ties go to the name that sorts first, so that messages do not flicker.
    """
    if len(word) > 64:  # nobody mistypes a name into a page of text; keeps the cost bounded
        return None
    best: tuple[int, str] | None = None
    for name in sorted(known):
        found = (_distance(word.lower(), name.lower()), name)
        if best is None or found[0] < best[0]:
            best = found
    if best is None or best[0] > min(3, max(1, len(word) // 3)):
        return None
    return best[1]


def _distance(a: str, b: str) -> int:
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(row[j - 1] + 1, last[j] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
