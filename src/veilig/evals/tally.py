"""What do the trials of a run add up to? Score, time, tokens, and what is no fault of the agent, apart."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from veilig.evals.results import Ending, Job, Trial, missing
from veilig.evals.stats import (
    Estimate,
    Ratio,
    paired_difference,
    paired_ratio,
    pass_at_k,
    score,
    tokens_per_resolved,
)


@dataclass(frozen=True, slots=True)
class Tally:
    """One run, counted. Seconds are wall clock of the agent alone; tokens count every attempt.

    submitted, accuracy: where the tests say what was handed in, how much of it was right; a wrong patch is
    worse than none, so `charged` weighs the score as the AI Cyber Challenge did: 1 - (1 - accuracy)^4.
    """

    job: Job
    score: Estimate
    resolved_tasks: int
    tasks: int
    trials: int
    endings: Mapping[str, int]
    timed_out: int
    pass_at: Mapping[int, float]
    agent_s_median: float
    agent_s_total: float
    tokens_in: int
    tokens_out: int
    cost_usd: float
    tokens_per_resolved: float | None
    seconds_per_resolved: float | None
    by_category: Mapping[str, tuple[int, int]]
    walls: tuple[str, ...]
    skipped_steps: int
    submitted: int
    accuracy: float | None
    missing: tuple[str, ...] = ()  # trials that have no result, in words

    @property
    def charged(self) -> float | None:
        """The score after what wrong submissions cost; None where nothing was handed in."""
        return None if self.accuracy is None else self.score.value * (1 - (1 - self.accuracy) ** 4)

    def to_json(self) -> dict[str, Any]:
        """For report.json."""
        return {
            "score": self.score.to_json(),
            "resolved_tasks": self.resolved_tasks,
            "tasks": self.tasks,
            "trials": self.trials,
            "endings": dict(self.endings),
            "timed_out": self.timed_out,
            "pass_at": {str(k): v for k, v in self.pass_at.items()},
            "agent_s_median": self.agent_s_median,
            "agent_s_total": self.agent_s_total,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost_usd": self.cost_usd,
            "tokens_per_resolved": self.tokens_per_resolved,
            "seconds_per_resolved": self.seconds_per_resolved,
            "by_category": {name: list(pair) for name, pair in self.by_category.items()},
            "walls": list(self.walls),
            "skipped_steps": self.skipped_steps,
            "submitted": self.submitted,
            "accuracy": self.accuracy,
            "charged": self.charged,
            "missing": list(self.missing),
        }


def tally(job: Job, trials: Sequence[Trial]) -> Tally:
    """Count a run. Trials that say nothing of the agent (refused, error) are counted apart."""
    scored = [trial for trial in trials if trial.scored]
    per_task = _by_task(scored)
    rewards = [[_worth(t) for t in own] for own in per_task.values()]
    solved = {task: sum(t.ending is Ending.RESOLVED for t in ts) for task, ts in per_task.items()}
    resolved = sum(count > 0 for count in solved.values())
    spent = sum(t.agent_s for t in scored)
    categories: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for task, ts in per_task.items():
        name = ts[0].category or "other"
        categories[name][0] += solved[task] > 0
        categories[name][1] += 1
    attempts = min((len(ts) for ts in per_task.values()), default=0)
    pass_at = {
        k: sum(pass_at_k(len(ts), solved[task], k) for task, ts in per_task.items()) / len(per_task)
        for k in range(1, attempts + 1)
    }
    submitted = [t for t in scored if t.rungs.get("submitted")]
    right = sum(t.ending is Ending.RESOLVED for t in submitted)
    return Tally(
        job=job,
        score=score(rewards),
        resolved_tasks=resolved,
        tasks=len(per_task),
        trials=len(trials),
        endings={e.value: n for e in Ending if (n := sum(t.ending is e for t in trials))},
        timed_out=sum(t.timed_out for t in scored),
        pass_at=pass_at,
        agent_s_median=round(median([t.agent_s for t in scored]), 3) if scored else 0.0,
        agent_s_total=round(spent, 3),
        tokens_in=sum(t.tokens_in for t in scored),
        tokens_out=sum(t.tokens_out for t in scored),
        cost_usd=round(sum(t.cost_usd for t in scored), 6),
        tokens_per_resolved=tokens_per_resolved([t.tokens_out for t in scored], resolved),
        seconds_per_resolved=round(spent / resolved, 3) if resolved else None,
        by_category={name: (a, b) for name, (a, b) in sorted(categories.items())},
        walls=tuple(sorted({t.wall for t in trials if t.wall})),
        skipped_steps=sum(len(t.skipped_steps) for t in trials),
        submitted=len(submitted),
        accuracy=right / len(submitted) if submitted else None,
        missing=missing(job, len(trials)),
    )


def _worth(trial: Trial) -> float:
    """A reward between 0 and 1 counts as written; a 1 that did not hold is none."""
    return trial.reward if trial.reward < 1.0 or trial.ending is Ending.RESOLVED else 0.0


def _by_task(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    found: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        found[trial.task].append(trial)
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Run B beside run A: first what was solved, then, on the tasks both solved, at what cost."""

    solved_more: Estimate
    seconds: Ratio
    tokens: Ratio
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def compare(first: Sequence[Trial], second: Sequence[Trial]) -> Comparison:
    """How the second run relates to the first, task by task; only tasks with the same digest are paired."""
    same = {t.task: t.digest for t in first}.items() & {t.task: t.digest for t in second}.items()
    names = {task for task, _ in same}
    a = _by_task([t for t in first if t.scored and t.task in names])
    b = _by_task([t for t in second if t.scored and t.task in names])
    share = [{task: _share(ts) for task, ts in run.items()} for run in (a, b)]
    seconds = [_of_solved(run, lambda t: t.agent_s) for run in (a, b)]
    tokens = [_of_solved(run, lambda t: float(t.tokens_out)) for run in (a, b)]
    solved = [{task for task, value in one.items() if value > 0} for one in share]
    return Comparison(
        paired_difference(share[0], share[1]),
        paired_ratio(seconds[0], seconds[1]),
        paired_ratio(tokens[0], tokens[1]),
        tuple(sorted(solved[0] - solved[1])),
        tuple(sorted(solved[1] - solved[0])),
    )


def _share(trials: Sequence[Trial]) -> float:
    return sum(t.ending is Ending.RESOLVED for t in trials) / len(trials)


def _of_solved(run: Mapping[str, Sequence[Trial]], what: Callable[[Trial], float]) -> dict[str, float]:
    """The mean of a quantity over the solved attempts of each task that was solved."""
    found: dict[str, float] = {}
    for task, trials in run.items():
        values = [what(t) for t in trials if t.ending is Ending.RESOLVED]
        if values and sum(values) > 0:
            found[task] = sum(values) / len(values)
    return found
