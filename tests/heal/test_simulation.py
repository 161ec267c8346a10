"""Does anything go wrong in random worlds of faults, people, deploys and crashes? The judge knows all.

Each seed is one story and can be replayed: `play(seed, hours)`. The judge checks the properties P7, P9, P12,
P14 to P16, P18 to P20 of every act against the truth; that it can see is shown by breaking rules on purpose.
"""

import os
from dataclasses import replace
from typing import Any

import pytest

from heal_broken import Anxious, Confused, Hasty, Stubborn
from heal_fuzz import INJECTION, Story, play, without
from heal_sim import Healer, Rules
from veilig.core.action import Action
from veilig.core.provider import Outcome, Step
from veilig.heal.planner import HealPlanner

DENSE_HOURS = 10.0
INCIDENT_HOURS, SHARDS = 100_000, 8


@pytest.mark.parametrize("seed", range(30))
def test_no_act_breaks_a_property_whatever_befalls_a_fleet(seed: int) -> None:
    story = play(seed, DENSE_HOURS)
    assert story.breaches == [], f"replay with play({seed}, {DENSE_HOURS})"


@pytest.mark.parametrize("seed", range(100, 120))
def test_no_act_breaks_a_property_when_one_fault_chases_the_next(seed: int) -> None:
    story = play(seed, 4.0, gap=0.1)
    assert story.breaches == [], f"replay with play({seed}, 4.0, gap=0.1)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "shard", [pytest.param(one, marks=[pytest.mark.long] if one else []) for one in range(SHARDS)]
)
def test_no_act_breaks_a_property_in_a_hundred_thousand_incident_hours(shard: int) -> None:
    """For each open incident of each service, its hours; long outages, for a calm day has none.

    Eight shards together; one of them in every check, the others with the dice of an hour.
    """
    seed, lived, acts, steps = 1000 * shard + int(os.environ.get("VEILIG_SIM_SEED", "0")), 0.0, 0, 0
    while lived < INCIDENT_HOURS / SHARDS:
        story = play(seed, 600, size=3, pace=100)
        lived, steps, acts = (
            lived + story.incident_hours,
            steps + story.steps,
            acts + sum(story.acts.values()),
        )
        print(f"seed {seed}: {story.incident_hours:.0f} incident-hours, {story.steps} steps, {story.acts}")
        assert story.breaches == [], f"replay with play({seed}, 600, size=3, pace=100)"
        seed += 1
    assert acts > 50, "nothing was healed"


def told(story: Story) -> Any:
    return replace(story, seed=0)


def test_one_seed_is_one_story() -> None:
    assert told(play(3, DENSE_HOURS)) == told(play(3, DENSE_HOURS))


@pytest.mark.parametrize("seed", [1, 4, 8])
def test_what_services_write_changes_no_decision(seed: int) -> None:
    assert play(seed, DENSE_HOURS, said=INJECTION).proposals == play(seed, DENSE_HOURS).proposals


class Forgetful(HealPlanner):
    """Reads its state anew at every step, as after a crash."""

    def next(self, state: dict[str, Any], action: Action, outcome: Outcome) -> Step:
        self._last = None
        return super().next(state, action, outcome)


def _forgets(healer: Healer) -> None:
    healer.planner.__class__ = Forgetful


@pytest.mark.parametrize("seed", [2, 5])
def test_a_planner_that_reads_its_state_anew_at_every_step_proposes_the_same(seed: int) -> None:
    assert play(seed, DENSE_HOURS, break_planner=_forgets).proposals == play(seed, DENSE_HOURS).proposals


# --- the judge sees what it should: each rule broken on purpose -----------------------------------------


def _is(kind: type[HealPlanner]) -> Any:
    def change(healer: Healer) -> None:
        healer.planner.__class__ = kind

    return change


@pytest.mark.parametrize(
    ("broken", "planner", "rules"),
    [
        ({"P7", "P9", "P15", "P18", "P19", "P20"}, Hasty, without("policy")),
        ({"P7"}, Hasty, without("budgets")),
        ({"P14"}, Stubborn, without("holds")),
        ({"P16"}, Confused, without("fence")),
        ({"P20"}, Anxious, Rules()),
    ],
    ids=["no-policy", "no-budgets", "no-holds", "no-fence", "healthy"],
)
def test_the_judge_sees_what_was_broken_on_purpose(
    broken: set[str], planner: type[HealPlanner], rules: Rules
) -> None:
    seen: set[str] = set()
    for seed in range(60):
        story = play(seed, 3.0, rules=rules, break_planner=_is(planner))
        seen |= {one.split()[0] for one in story.breaches}
        if broken <= seen:
            return
    pytest.fail(f"{sorted(broken - seen)} were broken on purpose, and the judge saw only {sorted(seen)}")
