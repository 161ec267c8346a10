"""At which older state did it still work? Galloping back, then halving, one question at a time."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Bisect:
    """A search over `count` older states, 0 the newest; the present is known to be bad.

    bad: the oldest state known to be bad, -1 for the present. good: the newest known to be good, -1 for
    none yet. Doubling steps first, because most breakage is recent and every answer costs a test run.
    """

    count: int
    bad: int = -1
    good: int = -1

    def question(self) -> int | None:
        """The state to try, or None when the search is over."""
        if self.good < 0:
            wanted = min(2 * self.bad + 2, self.count - 1)
            return wanted if wanted > self.bad else None
        return (self.bad + self.good) // 2 if self.good - self.bad > 1 else None

    def answered(self, *, good: bool) -> "Bisect":
        """The search after the answer to its question."""
        asked = self.question()
        if asked is None:
            return self
        return replace(self, good=asked) if good else replace(self, bad=asked)

    @property
    def found(self) -> int | None:
        """The newest good state, once the search is over; None when every state was bad."""
        return self.good if self.question() is None and self.good >= 0 else None
