"""Does each interval hold the true value in 95 of 100 samples? Simulated with known truths.

    python bench/evals/coverage.py [--runs 1000]

Difficulty of tasks is drawn from Beta(1.4, .41), as solved shares of published boards look, and from others:
hard suites, even ones, ones that are solved always or never. Columns: the interval that is used (Wilson for
what the tasks are worth), half its width, Wilson for one attempt each; beside them, not used: Student's, the
bootstrap over tasks (percentiles widened by Student's quantile), Wilson over all trials. The ratio's noise is
lognormal with a standard deviation of .5; power is how often a true ratio of .75 is told from 1.
"""

import argparse
import math
import random

from veilig.evals.stats import paired_ratio, student, wilson, wilson_over_tasks

SUITES = {
    "usual": (1.4, 0.41),
    "hard": (0.41, 1.4),
    "even": (1.0, 1.0),
    "split": (0.3, 0.3),
    "rare": (0.5, 5.0),
}
RESAMPLES = 600


def bootstrap(means: list[float], seed: int) -> tuple[float, float]:
    """Percentiles of resampled means, widened for few tasks: what was used until November 2026."""
    n, dice = len(means), random.Random(seed)
    drawn = sorted(sum(dice.choices(means, k=n)) / n for _ in range(RESAMPLES))
    centre = sum(means) / n
    widen = math.sqrt(n / (n - 1)) * student(0.975, n - 1) / 1.96
    low, high = drawn[RESAMPLES // 40], drawn[-RESAMPLES // 40]
    return centre + (low - centre) * widen, centre + (high - centre) * widen


def score_row(suite: str, attempts: int, tasks: int, runs: int, dice: random.Random) -> str:
    a, b = SUITES[suite]
    true = a / (a + b)
    used = wide = plain = boot = pooled = single = 0.0
    for run in range(runs):
        chances = [dice.betavariate(a, b) for _ in range(tasks)]
        rewards = [[float(dice.random() < c) for _ in range(attempts)] for c in chances]
        found = wilson_over_tasks(rewards)
        used += found.low <= true <= found.high
        wide += (found.high - found.low) / 2
        means = [sum(own) / attempts for own in rewards]
        mean = sum(means) / tasks
        half = math.sqrt(sum((m - mean) ** 2 for m in means) / (tasks - 1) / tasks)
        plain += abs(mean - true) <= half * student(0.975, tasks - 1)
        low, high = bootstrap(means, run)
        boot += low <= true <= high
        flat = wilson(round(sum(map(sum, rewards))), tasks * attempts)
        pooled += flat.low <= true <= flat.high
        one = wilson(round(sum(own[0] for own in rewards)), tasks)
        single += one.low <= true <= one.high
    shares = [f"{value / runs:>9.3f}" for value in (used, wide, single, plain, boot, pooled)]
    return f"{suite:<6}{attempts:>9}{tasks:>6}" + "".join(shares)


def ratio_row(tasks: int, runs: int, dice: random.Random) -> str:
    inside = told = 0
    for run in range(runs):
        first = {str(i): math.exp(dice.gauss(3, 1)) for i in range(tasks)}
        second = {task: v * 0.75 * math.exp(dice.gauss(0, 0.5)) for task, v in first.items()}
        found = paired_ratio(first, second, seed=run, resamples=RESAMPLES).estimate
        inside += found.low <= 0.75 <= found.high
        told += found.high < 1.0
    return f"{tasks:>6} {inside / runs:>10.3f} {told / runs:>10.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    dice = random.Random(given.seed)
    print(f"seed {given.seed}, {given.runs} runs, nominal .950")
    print("suite  attempts tasks     used   half-w  one att.  student  bootstr.  trials")
    for suite, attempts in (*((name, 5) for name in SUITES), ("usual", 3), ("usual", 2)):
        for tasks in (6, 12, 25, 40):
            print(score_row(suite, attempts, tasks, given.runs, dice), flush=True)
    print(" tasks      ratio      power")
    for tasks in (10, 20, 40, 89):
        print(ratio_row(tasks, given.runs, dice))


if __name__ == "__main__":
    main()
