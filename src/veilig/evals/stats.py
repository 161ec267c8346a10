"""How sure may one be of a score? Intervals over tasks, pairs of runs, tokens per resolved task.

An attempt is a trial of one task. Attempts of one task resemble each other, so the unit of every interval
here is the task: with one attempt per task Wilson's interval, with several Wilson's for the trials that the
tasks are worth (over all trials it would be far too narrow: the tasks are the sample). Speeds are compared
on the tasks that both runs solved, as the geometric mean of the ratio resampled over tasks, and never on
fewer than PAIRS_MIN tasks.
Sources: E. B. Wilson 1927; E. L. Korn and B. I. Graubard 1998 (effective sample size); B. Efron 1979
(percentile bootstrap, for pairs); Chen et al. 2021 (pass@k without bias).
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

RESAMPLES = 4000  # the ends of a 95 % interval then wobble by about a hundredth of its width
PAIRS_MIN = 40  # fewer paired tasks miss a true difference of a quarter more often than not
SEED = 20260


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the interval that holds the true one in `level` of all samples."""

    value: float
    low: float
    high: float
    level: float = 0.95
    method: str = ""
    n: int = 0

    def to_json(self) -> dict[str, float | int | str]:
        """For a report."""
        return {
            "value": round(self.value, 6),
            "low": round(self.low, 6),
            "high": round(self.high, 6),
            "level": self.level,
            "method": self.method,
            "n": self.n,
        }


def wilson(solved: int, tried: int, level: float = 0.95) -> Estimate:
    """The share solved, for independent trials: one attempt at each task. Nothing tried: 0 to 1."""
    if not 0 <= solved <= tried:
        raise ValueError(f"{solved} of {tried} cannot be solved")
    if tried == 0:
        return Estimate(0.0, 0.0, 1.0, level, "wilson", 0)
    share = solved / tried
    low, high = _wilson(share, tried, NormalDist().inv_cdf((1 + level) / 2))
    return Estimate(share, low, high, level, "wilson", tried)


def _wilson(share: float, trials: float, z: float) -> tuple[float, float]:
    """The ends of the score interval for a share of so many trials."""
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low = 0.0 if share == 0.0 else max(0.0, centre - half)  # exact, where rounding would leave a speck
    high = 1.0 if share == 1.0 else min(1.0, centre + half)
    return low, high


def wilson_over_tasks(per_task: Sequence[Sequence[float]], level: float = 0.95) -> Estimate:
    """The mean of the tasks' means, for several attempts at each. Tasks without an attempt count for nothing.

    Wilson's interval for as many independent trials as the spread of the tasks' means is worth: between the
    number of tasks (attempts at a task all alike) and that of attempts (tasks all alike), with Student's
    quantile for the spread is itself estimated. All or nothing solved is worth the tasks alone: "all of 12"
    is no proof of "all". Measured by bench/evals/coverage.py, beside a bootstrap over tasks.
    """
    method = "wilson over tasks"
    tried = [rewards for rewards in per_task if rewards]
    n = len(tried)
    if not n:
        return Estimate(0.0, 0.0, 1.0, level, method, 0)
    means = [sum(rewards) / len(rewards) for rewards in tried]
    value = min(1.0, sum(means) / n)
    attempts = sum(len(rewards) for rewards in tried)
    spread = sum((mean - value) ** 2 for mean in means) / (n - 1) if n > 1 else 0.0
    if n == 1 or value in (0.0, 1.0):
        worth = float(n)
    else:
        worth = min(attempts, n * value * (1 - value) / spread) if spread else float(attempts)
    quantile = student((1 + level) / 2, n - 1) if n > 1 else NormalDist().inv_cdf((1 + level) / 2)
    low, high = _wilson(value, worth, quantile)
    return Estimate(value, low, high, level, method, n)


def score(per_task: Sequence[Sequence[float]], level: float = 0.95) -> Estimate:
    """The score of a suite: Wilson for one attempt at each task with rewards 0 and 1, else over tasks."""
    tried = [rewards for rewards in per_task if rewards]
    single = all(len(rewards) == 1 and rewards[0] in (0.0, 1.0) for rewards in tried)
    if single:
        return wilson(sum(rewards[0] == 1.0 for rewards in tried), len(tried), level)
    return wilson_over_tasks(tried, level)


def pass_at_k(tried: int, solved: int, k: int) -> float:
    """The chance that at least one of k attempts solves a task of which `solved` of `tried` did.

    Raises ValueError for more attempts than were made.
    """
    if not 1 <= k <= tried:
        raise ValueError(f"pass@{k} cannot be told from {tried} attempts")
    if tried - solved < k:
        return 1.0
    return 1.0 - math.prod((tried - solved - i) / (tried - i) for i in range(k))


@dataclass(frozen=True, slots=True)
class Ratio:
    """How a quantity of run B relates to that of run A on the tasks that both solved; below 1 is less."""

    estimate: Estimate
    pairs: int

    @property
    def says(self) -> str:
        """What may be claimed: never more than the interval and the number of tasks allow."""
        low, high = self.estimate.low, self.estimate.high
        if self.pairs < PAIRS_MIN:
            return f"no claim: {self.pairs} tasks solved by both, {PAIRS_MIN} are needed"
        if high < 1.0:
            return f"less: {1 - self.estimate.value:.0%} ({1 - high:.0%} to {1 - low:.0%})"
        if low > 1.0:
            return f"more: {self.estimate.value - 1:.0%} ({low - 1:.0%} to {high - 1:.0%})"
        return "no difference shown"


def paired_ratio(
    first: Mapping[str, float],
    second: Mapping[str, float],
    level: float = 0.95,
    *,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> Ratio:
    """The geometric mean of second/first over the tasks in both, resampled over tasks.

    first, second: task to a positive quantity (seconds, tokens) of its solved attempts. Others are left out.
    """
    logs = [
        math.log(second[task] / first[task])
        for task in sorted(first.keys() & second.keys())
        if first[task] > 0 and second[task] > 0
    ]
    if not logs:
        return Ratio(Estimate(1.0, 0.0, math.inf, level, "paired bootstrap over tasks", 0), 0)
    low, high = _percentiles(logs, level, seed, resamples)
    value = math.exp(sum(logs) / len(logs))
    method = "paired bootstrap over tasks"
    return Ratio(Estimate(value, math.exp(low), math.exp(high), level, method, len(logs)), len(logs))


def paired_difference(
    first: Mapping[str, float], second: Mapping[str, float], level: float = 0.95, *, seed: int = SEED
) -> Estimate:
    """By how much the second run's mean reward exceeds the first's, on the tasks that both tried."""
    differences = [second[task] - first[task] for task in sorted(first.keys() & second.keys())]
    method = "paired bootstrap over tasks"
    if not differences:
        return Estimate(0.0, -1.0, 1.0, level, method, 0)
    if len(set(differences)) == 1:  # nothing to resample: "all alike" of a few is no proof of "all"
        room = 1.0 - wilson(len(differences), len(differences), level).low
        low, high = max(-1.0, differences[0] - room), min(1.0, differences[0] + room)
        return Estimate(differences[0], low, high, level, method, len(differences))
    low, high = _percentiles(differences, level, seed, RESAMPLES)
    return Estimate(sum(differences) / len(differences), low, high, level, method, len(differences))


def tokens_per_resolved(tokens: Sequence[int], resolved: int) -> float | None:
    """Output tokens of all attempts, failed ones too, for each resolved task; None when none was resolved."""
    return sum(tokens) / resolved if resolved else None


def _percentiles(values: Sequence[float], level: float, seed: int, resamples: int) -> tuple[float, float]:
    """The ends of the interval of the mean of resampled values.

    The plain percentile interval is too narrow for few tasks, so deviations are widened by sqrt(n / (n - 1))
    and by the quotient of Student's and the normal quantile.
    """
    n = len(values)
    centre = sum(values) / n
    if n == 1:
        return (-math.inf, math.inf) if values[0] not in (0.0, 1.0) else (0.0, 1.0)
    dice = random.Random(seed)  # a resample
    means = sorted(sum(dice.choices(values, k=n)) / n for _ in range(resamples))
    tail = (1 - level) / 2
    widen = math.sqrt(n / (n - 1)) * student(1 - tail, n - 1) / NormalDist().inv_cdf(1 - tail)
    low = means[max(0, math.floor(tail * resamples))]
    high = means[min(resamples - 1, math.ceil((1 - tail) * resamples) - 1)]
    low, high = centre + (low - centre) * widen, centre + (high - centre) * widen
    if all(0.0 <= value <= 1.0 for value in values):  # shares stay shares
        return max(0.0, low), min(1.0, high)
    return low, high


def student(p: float, freedom: int) -> float:
    """The quantile of Student's distribution: Hill's expansion of the normal one (Cornish and Fisher).

    Exact to four digits from 4 degrees of freedom on; for fewer the exact forms.
    """
    if freedom == 1:
        return math.tan(math.pi * (p - 0.5))
    if freedom == 2:
        a = 4 * p * (1 - p)
        return 2 * (p - 0.5) * math.sqrt(2 / a)
    z = NormalDist().inv_cdf(p)
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + g1 / freedom + g2 / freedom**2 + g3 / freedom**3 + g4 / freedom**4
