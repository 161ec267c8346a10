"""Does each interval hold the true value in 95 of 100 samples? Simulated with known truths.

    python bench/evals/coverage.py [--runs 1000]

Difficulty of tasks is drawn from Beta(1.4, .41), as solved shares of published boards look, five attempts.
The ratio's noise is lognormal with a standard deviation of .5. Printed: coverage, half-width, power.
"""

import argparse
import math
import random

from veilig.evals.stats import cluster_bootstrap, paired_ratio, wilson

TRUE = 1.4 / 1.81


def score_row(tasks: int, runs: int, dice: random.Random) -> str:
    boot = pooled = single = 0
    wide = 0.0
    for run in range(runs):
        chances = [dice.betavariate(1.4, 0.41) for _ in range(tasks)]
        rewards = [[float(dice.random() < c) for _ in range(5)] for c in chances]
        found = cluster_bootstrap(rewards, seed=run, resamples=1000)
        boot += found.low <= TRUE <= found.high
        wide += (found.high - found.low) / 2
        flat = [r for task in rewards for r in task]
        over = wilson(round(sum(flat)), len(flat))
        pooled += over.low <= TRUE <= over.high
        one = wilson(round(sum(task[0] for task in rewards)), tasks)
        single += one.low <= TRUE <= one.high
    return (
        f"{tasks:>6} {boot / runs:>10.3f} {wide / runs:>10.3f} {single / runs:>12.3f} {pooled / runs:>18.3f}"
    )


def ratio_row(tasks: int, runs: int, dice: random.Random) -> str:
    inside = told = 0
    for run in range(runs):
        first = {str(i): math.exp(dice.gauss(3, 1)) for i in range(tasks)}
        second = {task: v * 0.75 * math.exp(dice.gauss(0, 0.5)) for task, v in first.items()}
        found = paired_ratio(first, second, seed=run, resamples=1000).estimate
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
    print(" tasks  bootstrap half-width  wilson, k=1  wilson over trials (not used)")
    for tasks in (12, 25, 89):
        print(score_row(tasks, given.runs, dice))
    print(" tasks      ratio      power")
    for tasks in (10, 20, 40, 89):
        print(ratio_row(tasks, given.runs, dice))


if __name__ == "__main__":
    main()
