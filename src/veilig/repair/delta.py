"""Which smallest part of a set of changes is enough? Delta debugging, one question at a time."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Delta:
    """A search between two questions; `items` as a whole is known to be enough.

    parts: into how many parts `items` is split now. at: which trial of this split comes next.
    Method: ddmin, Zeller and Hildebrandt 2002, with "enough" in the place of "fails". The result is
    1-minimal: no single item can be left out of it, when answers do not contradict each other.
    """

    items: tuple[int, ...]
    parts: int = 2
    at: int = 0

    def question(self) -> tuple[int, ...] | None:
        """The items to try alone, or None when `items` is minimal."""
        found = self._trials()
        return found[self.at] if self.at < len(found) else None

    def answered(self, *, enough: bool) -> "Delta":
        """The search after the answer to its question."""
        trials = self._trials()
        if self.at >= len(trials):
            return self
        if enough:
            # A part is split in two anew; a complement keeps the size of its parts.
            complement = self.at >= self.parts
            return Delta(trials[self.at], max(self.parts - 1, 2) if complement else 2)
        if self.at + 1 < len(trials):
            return replace(self, at=self.at + 1)
        if self.parts < len(self.items):
            return Delta(self.items, min(2 * self.parts, len(self.items)))
        return replace(self, at=self.at + 1)

    def _trials(self) -> list[tuple[int, ...]]:
        """Every part, then, when there are more than two, everything but each part."""
        size = len(self.items)
        if size < 2:
            return []
        cuts = [size * i // self.parts for i in range(self.parts + 1)]
        pairs = list(zip(cuts, cuts[1:], strict=False))
        alone = [self.items[a:b] for a, b in pairs]
        return alone if self.parts == 2 else [*alone, *(self.items[:a] + self.items[b:] for a, b in pairs)]
