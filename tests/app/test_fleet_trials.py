"""Is a run that workers made the run of one machine? Real PostgreSQL, workers, boxes and tests."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postgres import NoPostgres
from veilig.app import fleet
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


def veilig(hall: Hall, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "veilig.cli.main", *words], env=hall.environment("people"), check=False,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def drained(hall: Hall) -> None:
    """A worker takes what there is, and ends."""
    argv = ("worker", "--drain", "--store", str(hall.folder / "store"), "--kinds", "trial")
    found = veilig(hall, *argv)
    assert found.returncode == 0, found.stderr


def figures(hall: Hall, folder: Path) -> dict[str, Any]:
    (told,) = json.loads(veilig(hall, "eval", "report", str(folder), "--json").stdout)
    return {key: value for key, value in told.items() if key not in ("run", *TIMES)}


def test_a_run_of_workers_has_the_figures_of_one_machine_and_names_what_it_lacks(
    hall: Hall, tmp_path: Path
) -> None:
    alone, part, whole = (tmp_path / name for name in ("alone", "part", "whole"))
    made = veilig(hall, "eval", "run", "terminal-mini", "--agent", "oracle", *TASKS, "--out", str(alone))
    assert made.returncode == 0, made.stdout + made.stderr

    queued = veilig(hall, "queue", "eval", "terminal-mini", "--agent", "oracle", *TASKS, "--json")
    told = json.loads(queued.stdout)
    run, last = str(told["run"]), str(told["sessions"][-1])
    assert fleet.cancel(hall.url, last)
    drained(hall)
    store = str(hall.folder / "store")
    fetched = veilig(hall, "eval", "fetch", run, "--store", store, "--out", str(part))
    assert fetched.returncode == 3, fetched.stdout + fetched.stderr
    assert "it is cancelled" in fetched.stdout
    assert "INCOMPLETE" in veilig(hall, "eval", "report", str(part)).stdout
    assert "INCOMPLETE: B " in veilig(hall, "eval", "compare", str(alone), str(part)).stdout
    refused = veilig(hall, "eval", "capability", str(part))
    assert refused.returncode == 2
    assert "lacks" in refused.stderr

    assert fleet.retry(hall.url, last)
    drained(hall)
    fetched = veilig(hall, "eval", "fetch", run, "--store", store, "--out", str(whole))
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    assert figures(hall, whole) == figures(hall, alone)
    assert veilig(hall, "eval", "capability", str(whole)).returncode == 0
    assert "INCOMPLETE" not in veilig(hall, "eval", "compare", str(alone), str(whole)).stdout

    # A result in the store that is not what a worker recorded is no result.
    results = [
        file for file in Path(store).rglob("*") if file.is_file() and b'"reward": 1.0' in file.read_bytes()
    ]
    assert results
    for file in results:
        file.chmod(0o600)
        file.write_bytes(file.read_bytes().replace(b'"reward": 1.0', b'"reward": 0.5'))
    fetched = veilig(hall, "eval", "fetch", run, "--store", store, "--out", str(tmp_path / "altered"))
    assert fetched.returncode == 3
    assert fetched.stdout.count("missing ") == 2
