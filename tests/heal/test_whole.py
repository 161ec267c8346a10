"""Does healing keep its promises when healer and broker die at any commit, fsync or await? The whole of it.

Each seed is one story and can be replayed: `play_whole(folder, seed, hours)`;
VEILIG_SIM_SEED moves all of them. That the judge would see a breach is shown by breaking one rule at a time.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heal_broken import Blind, Confused, Hasty, Stubborn
from heal_case import policy
from heal_judge import WholeRules
from heal_whole import Whole, play_whole
from veilig.heal.planner import HealPlanner

FIRST = int(os.environ.get("VEILIG_SIM_SEED", "0"))


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory: what a disk adds is time."""
    there = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=there) as folder:
        yield Path(folder)


def told(whole: Whole) -> str:
    hours, acts = whole.incident_hours, len(whole.judge.acts)
    return f"seed {whole.seed}: {hours:.0f} incident-hours, {acts} acts, {whole.died}"


@pytest.mark.parametrize("seed", range(FIRST, FIRST + 8))
def test_no_promise_is_broken_whoever_dies_whenever(place: Path, seed: int) -> None:
    whole = play_whole(place, seed, 1.0, gap=0.02, deaths=0.01)
    assert whole.judge.breaches == [], f"replay with play_whole(folder, {seed}, 1.0, gap=0.02, deaths=0.01)"
    assert sum(whole.died.values()) > 3


def test_one_seed_is_one_story(place: Path) -> None:
    first, again = (play_whole(place / n, 3, 1.0) for n in ("a", "b"))
    assert (first.judge.proposals, first.died, first.steps) == (
        again.judge.proposals,
        again.died,
        again.steps,
    )


BUSY: dict[str, Any] = {"hours": 0.25, "gap": 0.02}


@pytest.mark.parametrize("part", range(4))
def test_no_promise_is_broken_by_a_death_at_each_single_point(place: Path, part: int) -> None:
    """A quarter of an hour, again and again: the n-th time it dies at the n-th point."""
    seed = FIRST + 6
    points = play_whole(place / "none", seed, die_at=-1, **BUSY).points
    places = set[str]()
    for at in range(1 + part, points, 4 * max(1, points // 80)):
        whole = play_whole(place / str(at), seed, die_at=at, **BUSY)
        places |= set(whole.died)
        assert whole.judge.breaches == [], f"replay with die_at={at}"
    assert len(places) >= 4, places


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("seed", range(FIRST + 100, FIRST + 124))
def test_no_promise_is_broken_in_days_of_outages_and_deaths(place: Path, seed: int) -> None:
    whole = play_whole(place, seed, 100.0, size=3, pace=30, gap=1, deaths=0.0003)
    print(told(whole))
    assert whole.judge.breaches == [], f"replay seed {seed}"


# --- the judge sees each rule that is broken on purpose -----------------------------------------------------


def _with(**broken: bool) -> WholeRules:
    rules = WholeRules()
    for name, value in broken.items():
        setattr(rules, name, value)
    return rules


DOOM, DEATH, HELD = ("fault_doomed",), ("fault_crash", "fault_stuck"), ("fault_held",)


@pytest.mark.parametrize(
    ("law", "planner", "rules", "mode", "faults"),
    [
        ("P1", HealPlanner, _with(intent=False), "act", DEATH),
        ("P1", HealPlanner, _with(durable=False), "act", DEATH),
        ("P2", HealPlanner, _with(approvals=False), "propose", DEATH),
        ("P3", Hasty, _with(claims=False), "propose", DOOM),
        ("P7", Hasty, _with(counts=False), "act", DOOM),
        ("P7", Hasty, _with(budgets=False), "act", DOOM),
        ("P14", Stubborn, _with(holds=False), "act", (*HELD, *DOOM)),
        ("P15", Blind, WholeRules(), "act", (*DOOM, *HELD)),
        ("P16", Confused, _with(fence=False), "act", DEATH),
        ("P19", Hasty, _with(switch=False), "act", ("fault_switch", *DEATH)),
    ],
    ids=[
        "no-intent", "budget-recorded-after-the-act", "ask-means-go", "approval-not-claimed",
        "counts-forgotten-at-a-death", "budgets-ignored", "operator-hold-ignored", "dependents-restarted",
        "fence-ignored", "kill-switch-ignored",
    ],
)  # fmt: skip
def test_the_judge_sees_what_was_broken_on_purpose(
    place: Path, law: str, planner: type[HealPlanner], rules: WholeRules, mode: str, faults: tuple[str, ...]
) -> None:
    def change(made: HealPlanner) -> None:
        made.__class__ = planner

    seen: set[str] = set()
    for seed in range(24):
        whole = play_whole(
            place / str(seed), seed, 0.5, gap=0.02, deaths=0.01,
            rules=rules, break_planner=change, law=policy("restart", mode), only=faults,
        )  # fmt: skip
        seen |= {one.split()[0] for one in whole.judge.breaches}
        if law in seen:
            return
    pytest.fail(f"{law} was broken on purpose, and the judge saw only {sorted(seen)}")


@pytest.mark.parametrize("planner", [Hasty, Stubborn, Confused], ids=lambda kind: kind.__name__.lower())
def test_a_planner_gone_wild_breaks_no_bound_of_the_law(place: Path, planner: type[HealPlanner]) -> None:
    """What a planner decides is not safe by itself: gate and broker are. (P15, P18, P20 are its own.)"""

    def change(made: HealPlanner) -> None:
        made.__class__ = planner

    for seed in range(4):
        whole = play_whole(place / str(seed), seed, 0.5, break_planner=change, gap=0.02)
        laws = {one.split()[0] for one in whole.judge.breaches}
        assert laws <= {"P15", "P18", "P20"}, whole.judge.breaches
