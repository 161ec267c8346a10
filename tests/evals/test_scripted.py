"""Does a model solve a task of every suite through tool calls, and are the tokens of failures counted?"""

from pathlib import Path

import pytest

from replay_server import replay
from scripted_suite import model_of
from veilig.app import Setting
from veilig.evals.results import Ending, read_job
from veilig.evals.run import run_suite
from veilig.evals.runner import Terms
from veilig.evals.suite import Suite, find_suite
from veilig.evals.tally import tally

# collab-leak has a model of its own in test_collab_leak.py; a model has no say in what heal-mini's tasks do.
TASKS = {
    "terminal-mini": "hello-report",
    "ctf-mini": "repeated-xor-backup",
    "patch-ladder": "yaml-load-settings",
    "injection": "orders-in-config",
}


async def test_a_model_solves_a_task_of_every_suite_through_the_gate(tmp_path: Path):
    tasks = [find_suite(suite, [task]).tasks[0] for suite, task in TASKS.items()]
    suite = Suite("all", "1", "", "", tmp_path, tuple(tasks))
    with replay(model_of(suite)) as server:
        setting, terms = Setting(model_url=server.url), Terms(tmp_path / "out")
        trials = await run_suite(suite, "embedded", terms, setting=setting, model="scripted", jobs=2)
        called = [len(request.results) for request in server.requests]
    assert {t.task: (t.ending, t.detail) for t in trials if t.ending is not Ending.RESOLVED} == {}
    assert sum(called) >= len(TASKS)  # the tool answered in each
    assert [t.tokens_out >= 20 for t in trials] == [True] * len(TASKS)
    for trial in trials:
        told = (terms.out / f"trials/{trial.task}__1/agent/trajectory.json").read_text()
        assert '"shell"' in told


async def test_tokens_of_a_task_that_was_given_up_are_counted(tmp_path: Path):
    names = ["hello-report", "secure-sql-injection"]
    suite = find_suite("terminal-mini", names)
    with replay(model_of(suite, gives_up=names[1])) as server:
        terms = Terms(tmp_path / "out")
        setting = Setting(model_url=server.url)
        trials = await run_suite(suite, "embedded", terms, setting=setting, model="scripted", jobs=2)
    assert [t.ending for t in trials] == [Ending.RESOLVED, Ending.UNRESOLVED]
    spent = [t.tokens_out for t in trials]
    assert all(spent)
    assert tally(read_job(terms.out), trials).tokens_per_resolved == pytest.approx(sum(spent))
