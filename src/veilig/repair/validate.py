"""Did a patch repair what it should, and nothing else?"""

from collections.abc import Iterable
from dataclasses import dataclass

from veilig.repair.testreport import RED, Outcome, Test, TestReport


@dataclass(frozen=True, slots=True)
class Verdict:
    """`good` only when every target is green, nothing got worse, and the run was complete."""

    fixed: tuple[str, ...]
    regressed: tuple[str, ...]
    still_failing: tuple[str, ...]
    why: str

    @property
    def good(self) -> bool:
        return bool(self.fixed) and not self.regressed and not self.still_failing and not self.why


def verdict(before: TestReport, after: TestReport, targets: Iterable[str]) -> Verdict:
    """Compare two runs of the same tests.

    A test that was green and is now failing, skipped, expected to fail, or gone has regressed. A target
    counts as fixed only when it passed: skipping it, or not collecting it, repairs nothing. New collection
    errors and a run that did not come to its end make the verdict bad, whatever the tests say.
    """
    wanted = tuple(dict.fromkeys(targets))
    fixed = tuple(name for name in wanted if _is(after.tests.get(name), Outcome.PASSED))
    still = tuple(name for name in wanted if name not in fixed)
    regressed = tuple(
        name
        for name, test in before.tests.items()
        if name not in wanted and _worse(test, after.tests.get(name))
    )
    return Verdict(fixed, regressed, still, _doubt(before, after, wanted))


def explain(result: Verdict) -> str:
    """One line for a person."""
    if result.good:
        return f"{len(result.fixed)} fixed, nothing got worse"
    parts: list[str] = []
    if result.regressed:
        parts.append(f"{len(result.regressed)} got worse, first {result.regressed[0]}")
    if result.still_failing:
        parts.append(f"{len(result.still_failing)} still failing, first {result.still_failing[0]}")
    if result.why:
        parts.append(result.why)
    return "; ".join(parts) or "nothing was asked for"


def _is(test: Test | None, outcome: Outcome) -> bool:
    return test is not None and test.outcome is outcome


def _worse(before: Test, after: Test | None) -> bool:
    if before.outcome is Outcome.PASSED:
        return not _is(after, Outcome.PASSED)
    if before.outcome in {Outcome.SKIPPED, Outcome.XFAILED, Outcome.XPASSED}:
        return after is None or after.outcome in RED
    # It failed before: a failure that vanishes from the report was not repaired, it was removed.
    return after is None or after.outcome in {Outcome.SKIPPED, Outcome.XFAILED}


def _doubt(before: TestReport, after: TestReport, wanted: tuple[str, ...]) -> str:
    if not wanted:
        return "no failing test was named, so nothing can be proved"
    if not after.complete:
        return f"the run did not come to its end: {after.problem or 'no reason given'}"
    known = {error.id for error in before.collect_errors}
    new = [error.id for error in after.collect_errors if error.id not in known]
    if new:
        return f"{len(new)} more collection errors, first {new[0]}"
    return ""
