"""Is a run that workers made the run of one machine? Real PostgreSQL, workers, boxes and tests."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postgres import NoPostgres
from veilig.app import fleet
from veilig.cli.main import main
from veilig.evals.results import read_job, read_trials
from veilig.evals.tally import tally
from workers import Hall

pytestmark = pytest.mark.outside_gate

TASKS = ("--task", "hello-report", "--task", "data-join-logs")
TIMES = ("agent_s_median", "agent_s_total", "seconds_per_resolved")


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    try:
        made = Hall(tmp_path / "hall")
    except NoPostgres as error:
        pytest.skip(f"NO POSTGRESQL WAS TESTED: {error}")
    try:
        yield made
    finally:
        print(made.logs()[-20000:])  # of a test that failed
        made.close()


@dataclass
class Desk:
    """Commands of a person, in this process: a new interpreter for each would cost more than its work."""

    hall: Hall
    patch: pytest.MonkeyPatch
    said: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> tuple[int, str]:
        for name, value in self.hall.environment("people").items():
            self.patch.setenv(name, value)
        self.said.readouterr()
        code = main([*words])
        out, err = self.said.readouterr()
        return code, out + err


@pytest.fixture
def veilig(hall: Hall, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(hall, monkeypatch, capsys)


def drained(hall: Hall) -> None:
    """A worker takes what there is, and ends."""
    argv = ("worker", "--drain", "--store", str(hall.folder / "store"), "--kinds", "trial")
    found = subprocess.run(
        [sys.executable, "-m", "veilig.cli.main", *argv], env=hall.environment("worker"), check=False,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr


def figures(folder: Path) -> dict[str, Any]:
    told = tally(read_job(folder), read_trials(folder)).to_json()
    return {key: value for key, value in told.items() if key not in TIMES}


def test_a_run_of_workers_has_the_figures_of_one_machine_and_names_what_it_lacks(
    hall: Hall, veilig: Desk, tmp_path: Path
) -> None:
    alone, part, whole = (tmp_path / name for name in ("alone", "part", "whole"))
    store = str(hall.folder / "store")
    code, said = veilig("eval", "run", "terminal-mini", "--agent", "oracle", *TASKS, "--out", str(alone))
    assert code == 0, said

    told = json.loads(veilig("queue", "eval", "terminal-mini", "--agent", "oracle", *TASKS, "--json")[1])
    run, last = str(told["run"]), str(told["sessions"][-1])
    assert fleet.cancel(hall.url, last)
    drained(hall)
    code, said = veilig("eval", "fetch", run, "--store", store, "--out", str(part))
    assert code == 3, said
    assert "it is cancelled" in said
    assert "INCOMPLETE" in veilig("eval", "report", str(part))[1]
    assert "INCOMPLETE: B " in veilig("eval", "compare", str(alone), str(part))[1]
    code, said = veilig("eval", "capability", str(part))
    assert code == 2
    assert "lacks" in said

    assert fleet.retry(hall.url, last)
    drained(hall)
    code, said = veilig("eval", "fetch", run, "--store", store, "--out", str(whole))
    assert code == 0, said
    assert figures(whole) == figures(alone)
    assert veilig("eval", "capability", str(whole))[0] == 0
    assert "INCOMPLETE" not in veilig("eval", "compare", str(alone), str(whole))[1]

    # A result in the store that is not what a worker recorded is no result.
    good, bad = b'"reward": 1.0', b'"reward": 0.5'
    results = [file for file in Path(store).rglob("*") if file.is_file() and good in file.read_bytes()]
    assert results
    for file in results:
        file.chmod(0o600)
        file.write_bytes(file.read_bytes().replace(good, bad))
    code, said = veilig("eval", "fetch", run, "--store", store, "--out", str(tmp_path / "altered"))
    assert code == 3
    assert said.count("missing ") == 2
