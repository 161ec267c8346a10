"""Does anything go wrong in random worlds of faults, people, deploys and crashes? The judge knows all.

Each seed is one story and can be replayed: `play(seed, hours)`. The judge checks the properties P7, P9, P12,
P14 to P16, P18 to P20 of every act against the truth; that it can see is shown by breaking rules on purpose.
"""

from dataclasses import replace
from typing import Any

import pytest

from heal_fuzz import INJECTION, Story, play, without
from heal_sim import Healer, Rules
from veilig.core.action import Action, RestartService
from veilig.core.provider import Outcome, Step
from veilig.heal.planner import HealPlanner

DENSE_HOURS = 10.0


@pytest.mark.parametrize("seed", range(30))
def test_no_act_breaks_a_property_whatever_befalls_a_fleet(seed: int) -> None:
    story = play(seed, DENSE_HOURS)
    assert story.breaches == [], f"replay with play({seed}, {DENSE_HOURS})"


@pytest.mark.parametrize("seed", range(100, 120))
def test_no_act_breaks_a_property_when_one_fault_chases_the_next(seed: int) -> None:
    story = play(seed, 4.0, gap=0.1)
    assert story.breaches == [], f"replay with play({seed}, 4.0, gap=0.1)"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("seed", range(14))
def test_no_act_breaks_a_property_in_weeks_of_long_outages(seed: int) -> None:
    """Together about 100,000 incident-hours: for each open incident of each service, its hours."""
    story = play(seed, 600, size=3, pace=30)
    print(f"seed {seed}: {story.incident_hours:.0f} incident-hours, {story.steps} steps, {story.acts}")
    assert story.breaches == [], f"replay with play({seed}, 600, size=3, pace=30)"


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


class Hasty(HealPlanner):
    """Restarts whatever has an incident, at once and for ever."""

    def _proposal(self, ward: Any, name: str, found: Any) -> Action | None:
        super()._proposal(ward, name, found)
        kept = ward.kept[name]
        return RestartService(name, kept.sample.incarnation) if ward.looks % 5 == 0 else None


class Anxious(HealPlanner):
    """Restarts what is well."""

    def _proposal(self, ward: Any, name: str, found: Any) -> Action | None:
        super()._proposal(ward, name, found)
        well = sorted(set(ward.kept) - set(ward.incidents))
        return RestartService(well[0], ward.kept[well[0]].sample.incarnation) if well else None


class Confused(HealPlanner):
    """Remembers an incarnation that is gone."""

    def _proposal(self, ward: Any, name: str, found: Any) -> Action | None:
        action = super()._proposal(ward, name, found)
        return RestartService(name, "0:0") if isinstance(action, RestartService) else action


def _is(kind: type[HealPlanner]) -> Any:
    def change(healer: Healer) -> None:
        healer.planner.__class__ = kind

    return change


class Stubborn(HealPlanner):
    """Starts what a person stopped."""

    def _proposal(self, ward: Any, name: str, found: Any) -> Action | None:
        action = super()._proposal(ward, name, found)
        held = [one for one, kept in ward.kept.items() if kept.sample.held_by and not kept.sample.alive]
        return RestartService(held[0]) if held else action


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
