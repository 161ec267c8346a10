"""How do trials that many machines made become one run? The same folder as `veilig eval run` leaves.

What has no result, or another than was recorded, is named in the run's job.json: reports say so, and no level
is ruled out by it.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from veilig import __version__
from veilig.app import Setting
from veilig.app.fleet_trials import KIND, Kept, kept_trials
from veilig.core.errors import UsageError
from veilig.evals.results import JOB_VERSION, Job, read_trial, trial_folder, write
from veilig.evals.suite import Suite


def prefix_of(run: str) -> str:
    """How the sessions of a run begin."""
    return f"{KIND}-{run}-"


def planned(
    suite: Suite, named: str, agent: str, model: str, attempts: int
) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """The name of a new run, and its trials as (session, options) to be queued.

    named: the suite as every worker finds it. Attempts are interleaved over tasks, as on one machine.
    """
    run = os.urandom(4).hex()
    told = {
        "run": run, "suite": named, "suite_name": suite.name, "agent": agent, "model": model,
        "suite_version": f"{suite.version} {suite.digest[:12]}", "attempts": attempts,
        "wanted": len(suite.tasks) * attempts,
    }  # fmt: skip
    wanted = [(task, attempt) for attempt in range(1, attempts + 1) for task in suite.tasks]
    return run, [
        (f"{prefix_of(run)}{at}", {**told, "task": task.name, "digest": task.digest, "attempt": attempt})
        for at, (task, attempt) in enumerate(wanted, 1)
    ]


def assemble(url: str, store: str, run: str, out: Path, setting: Setting) -> Job:
    """Lay out a run of a fleet in the new folder `out`, with what it lacks in its job.

    Raises UsageError for an unknown run or a folder that is there, ProviderError, LedgerError.
    """
    if out.exists():
        raise UsageError(f"{str(out)!r} is there already", why="nothing is overwritten", fix="name a new one")
    with tempfile.TemporaryDirectory(prefix="veilig-run-") as folder:
        kept = sorted(kept_trials(url, store, prefix_of(run), setting, Path(folder)), key=_place)
        absent: list[str] = []
        (out / "trials").mkdir(parents=True)
        for one in kept:
            task, attempt = _place(one)
            if why := _why(one):
                absent.append(f"{task} attempt {attempt}: {why}")
            elif one.folder is not None:
                shutil.copytree(one.folder, trial_folder(out, task, attempt))
        job = replace(_job(kept), absent=tuple(absent))
        write(out / "job.json", asdict(job))
    return job


def _why(one: Kept) -> str:
    """Why this trial counts for nothing; "" where its result is the one that was asked for."""
    if one.folder is None:
        return one.why
    trial = read_trial(one.folder)
    asked = (one.options["task"], int(one.options["attempt"]), one.options["digest"])
    if trial is None or (trial.task, trial.attempt, trial.digest) != asked:
        return "its result is of another task, attempt or version"
    return ""


def _place(one: Kept) -> tuple[str, int]:
    try:
        return str(one.options["task"]), int(one.options["attempt"])
    except KeyError as error:
        raise UsageError(f"{one.session} was queued by an older version", fix="queue the run anew") from error


def _job(kept: Sequence[Kept]) -> Job:
    told: Mapping[str, Any] = kept[0].options
    began = min(one.queued_at for one in kept)

    def seen(key: str, otherwise: str) -> str:
        found = sorted({str(one.recorded[key]) for one in kept if one.recorded})
        return ", ".join(found) or otherwise

    return Job(
        suite=str(told["suite_name"]),
        suite_version=str(told["suite_version"]),
        agent=str(told["agent"]),
        model=str(told["model"]),
        attempts=int(told["attempts"]),
        veilig=seen("veilig", __version__),
        wall="",
        timeout_scale=float(cast(float, told.get("timeout_scale", 1.0))),
        started_at=datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
        machine=seen("machine", "no machine"),
        version=JOB_VERSION,
        wanted=int(told["wanted"]),
    )
