"""Do the intervals hold what they promise? Checked by simulation, with the seed printed."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.evals.stats import (
    PAIRS_MIN,
    paired_difference,
    paired_ratio,
    pass_at_k,
    score,
    student,
    tokens_per_resolved,
    wilson,
    wilson_over_tasks,
)

SEED = 7


def test_wilsons_interval_is_the_published_one():
    assert wilson(344, 445).low == pytest.approx(0.7318, abs=5e-4)
    assert wilson(344, 445).high == pytest.approx(0.8096, abs=5e-4)


@pytest.mark.parametrize(("solved", "tried"), [(0, 12), (12, 12), (1, 1), (0, 0)])
def test_none_and_all_leave_room(solved: int, tried: int):
    bound = wilson(solved, tried)
    assert 0.0 <= bound.low <= bound.value <= bound.high <= 1.0
    assert bound.high - bound.low > 0.2
    assert (solved == 0) == (bound.low == 0.0)


def test_more_solved_than_tried_is_refused():
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_one_attempt_takes_wilson_and_several_the_bootstrap():
    assert score([[1.0], [0.0], [1.0]]).method == "wilson"
    assert score([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]).method == "wilson over tasks"
    assert score([[0.5], [1.0], [0.0]]).method == "wilson over tasks"
    assert score([[1.0]] * 12) == wilson(12, 12)


def test_many_attempts_at_twelve_tasks_are_worth_twelve_when_all_are_solved():
    found = score([[1.0] * 50] * 12)
    assert (found.value, found.high, found.n) == (1.0, 1.0, 12)
    assert found.low == pytest.approx(
        0.7124, abs=1e-3
    )  # Student's quantile for 11: wider than Wilson's .7575


@pytest.mark.parametrize(
    ("per_task", "trials"),
    [
        ([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]], 4 * 0.75),  # attempts alike: the tasks count
        ([[1.0, 0.0]] * 4, 8),  # tasks alike: the attempts count, no more
    ],
)
def test_the_spread_of_the_tasks_says_how_many_trials_they_are_worth(
    per_task: list[list[float]], trials: float
):
    t = student(0.975, len(per_task) - 1)
    half = t * math.sqrt(0.25 / trials + t * t / (4 * trials**2)) / (1 + t * t / trials)
    found = wilson_over_tasks(per_task)
    assert (found.low, found.high) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))


@given(st.lists(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=4), min_size=1, max_size=9))
def test_no_interval_is_without_room_and_none_misses_its_value(per_task: list[list[float]]):
    found = wilson_over_tasks(per_task)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.high - found.low > 0.05


def test_a_task_without_an_attempt_counts_for_nothing():
    assert score([[1.0], [], [0.0]]) == score([[1.0], [0.0]])


@pytest.mark.parametrize("tasks", [12, 25, 40])
def test_the_interval_over_tasks_covers_the_true_mean_within_two_in_a_hundred(tasks: int):
    """Difficulty Beta(1.4, .41), five attempts: the simulation under which Wilson over trials covers 82 %."""
    dice, runs, inside, narrow = random.Random(SEED), 2000, 0, 0
    true = 1.4 / 1.81
    for _ in range(runs):
        chances = [dice.betavariate(1.4, 0.41) for _ in range(tasks)]
        rewards = [[float(dice.random() < chance) for _ in range(5)] for chance in chances]
        found = wilson_over_tasks(rewards)
        inside += found.low <= true <= found.high
        flat = [reward for task in rewards for reward in task]
        pooled = wilson(round(sum(flat)), len(flat))
        narrow += pooled.low <= true <= pooled.high
    print(f"seed {SEED}: over tasks {inside / runs:.3f}, wilson over trials {narrow / runs:.3f}")
    assert inside / runs == pytest.approx(0.95, abs=0.02)
    assert narrow / runs < 0.90


def test_a_paired_ratio_covers_and_is_silent_below_forty_tasks():
    dice, inside, runs = random.Random(SEED), 0, 250
    for run in range(runs):
        first = {str(i): math.exp(dice.gauss(3, 1)) for i in range(PAIRS_MIN)}
        second = {task: value * 0.75 * math.exp(dice.gauss(0, 0.5)) for task, value in first.items()}
        found = paired_ratio(first, second, seed=run, resamples=600).estimate
        inside += found.low <= 0.75 <= found.high
    print(f"seed {SEED}: {inside / runs:.3f}")
    assert inside / runs == pytest.approx(0.95, abs=0.02 + 0.02)
    few = {str(i): 1.0 for i in range(PAIRS_MIN - 1)}
    half = dict.fromkeys(few, 0.5)
    assert paired_ratio(few, half).says == f"no claim: {PAIRS_MIN - 1} tasks solved by both, 40 are needed"
    enough = {**few, "last": 1.0}
    assert paired_ratio(enough, {**half, "last": 0.5}).says.startswith("less: 50%")


def test_a_difference_counts_the_tasks_that_both_tried():
    found = paired_difference({"a": 0.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "b": 1.0, "d": 1.0})
    assert (found.value, found.n) == (0.5, 2)


@pytest.mark.parametrize(("first", "second"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
def test_differences_that_are_all_alike_leave_room(first: float, second: float):
    names = [str(n) for n in range(13)]
    found = paired_difference(dict.fromkeys(names, first), dict.fromkeys(names, second))
    assert found.value == second - first
    assert found.high - found.low > 0.2
    assert -1.0 <= found.low <= found.value <= found.high <= 1.0


@pytest.mark.parametrize(("tried", "solved", "k", "right"), [(5, 0, 1, 0.0), (5, 5, 3, 1.0), (5, 2, 1, 0.4)])
def test_pass_at_k_is_unbiased(tried: int, solved: int, k: int, right: float):
    assert pass_at_k(tried, solved, k) == pytest.approx(right)
    with pytest.raises(ValueError, match="cannot be told"):
        pass_at_k(tried, solved, tried + 1)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_k_never_falls_with_more_attempts(counts: tuple[int, int]):
    tried, solved = counts
    chances = [pass_at_k(tried, solved, k) for k in range(1, tried + 1)]
    assert chances == sorted(chances)


def test_failed_attempts_count_in_tokens_per_resolved_task():
    assert tokens_per_resolved([100, 900, 50], 1) == 1050
    assert tokens_per_resolved([100], 0) is None


@pytest.mark.parametrize(
    ("freedom", "right"), [(1, 12.706), (2, 4.303), (4, 2.776), (24, 2.064), (88, 1.987)]
)
def test_students_quantile_is_the_tables(freedom: int, right: float):
    assert student(0.975, freedom) == pytest.approx(right, rel=2e-3)
