"""Does every suite gate itself? The oracle solves each task, doing nothing and cheating solve none."""

from pathlib import Path

import pytest

from veilig.app import Setting
from veilig.evals.results import Ending
from veilig.evals.run import run_suite
from veilig.evals.runner import Terms, need_fair
from veilig.evals.suite import Suite, find_suite, names
from veilig.evals.task import Task, TaskError

LEAST = {
    "terminal-mini": 25,
    "ctf-mini": 12,
    "patch-ladder": 12,
    "heal-mini": 6,
    "injection": 6,
    "collab-leak": 6,
}
EVERY = 5  # in ./check every fifth task is also tried by nobody and by the cheat; `-m long` tries all


def runs_here(task: Task) -> bool:
    try:
        need_fair(task, frozenset())
    except TaskError:
        return False
    return True


def suite_of(name: str, every: int = 1) -> Suite:
    suite = find_suite(name)
    here = [task for task in suite.tasks if runs_here(task)]
    if len(here) < len(suite.tasks):
        gone = sorted({task.name for task in suite.tasks} - {task.name for task in here})
        print(f"{name}: not run here, a program is missing: {', '.join(gone)}")
    assert len(here) > len(suite.tasks) * 0.7
    return Suite(name, suite.version, "", "", suite.folder, tuple(here[::every]))


def test_every_suite_is_listed_and_large_enough():
    assert {name: len(find_suite(name).tasks) >= least for name, least in LEAST.items()} == dict.fromkeys(
        LEAST, True
    )
    assert set(LEAST) <= set(names())


@pytest.mark.parametrize("name", sorted(LEAST))
async def test_the_oracle_solves_every_task(tmp_path: Path, name: str):
    trials = await run_suite(suite_of(name), "oracle", Terms(tmp_path / "o"), setting=Setting(), jobs=2)
    wrong = {t.task: t.detail for t in trials if t.ending is not Ending.RESOLVED}
    assert wrong == {}


async def _none_solved(tmp_path: Path, name: str, every: int) -> None:
    for agent in ("none", "cheat"):
        out = Terms(tmp_path / agent)
        trials = await run_suite(suite_of(name, every), agent, out, setting=Setting(), jobs=2)
        solved = {t.task: (t.ending, t.detail) for t in trials if t.ending is not Ending.UNRESOLVED}
        assert solved == {}, agent


@pytest.mark.parametrize("name", sorted(LEAST))
async def test_doing_nothing_and_cheating_solve_nothing(tmp_path: Path, name: str):
    await _none_solved(tmp_path, name, EVERY)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(LEAST))
async def test_doing_nothing_and_cheating_solve_nothing_anywhere(tmp_path: Path, name: str):
    await _none_solved(tmp_path, name, 1)
