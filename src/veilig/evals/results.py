"""What is kept of a run? One folder: job.json says what was run, trials/TASK__K/result.json how each went."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from veilig.core.errors import UsageError

JOB_VERSION = 1


class Ending(StrEnum):
    """How a trial ended. Only the first two are about the agent's ability."""

    RESOLVED = "resolved"
    UNRESOLVED = "unresolved"
    SKIPPED = "skipped"  # the agent said that it cannot try such a task: counts as unresolved
    REFUSED = "refused"  # the task wants what this machine cannot enforce or has not
    ERROR = "error"  # the harness, the wall or the verifier broke: counts for nobody


SCORED = frozenset({Ending.RESOLVED, Ending.UNRESOLVED, Ending.SKIPPED})


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt at one task. Seconds are wall clock; tokens and cost as the agent's ledger holds them."""

    task: str
    digest: str
    attempt: int
    ending: Ending
    reward: float = 0.0
    detail: str = ""
    timed_out: bool = False
    build_s: float = 0.0
    agent_s: float = 0.0
    verify_s: float = 0.0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    session: str = ""
    wall: str = ""
    verifier: str = ""
    skipped_steps: tuple[str, ...] = ()
    rungs: Mapping[str, float] = field(default_factory=dict[str, float])  # what reward.json says beside it
    difficulty: str = ""
    category: str = ""

    @property
    def scored(self) -> bool:
        """Whether it says something about the agent."""
        return self.ending in SCORED


@dataclass(frozen=True, slots=True)
class Job:
    """What was run: the suite and its version, who, how often, and on what."""

    suite: str
    suite_version: str
    agent: str
    model: str
    attempts: int
    veilig: str
    wall: str
    timeout_scale: float
    started_at: str
    machine: str
    version: int = JOB_VERSION
    wanted: int = 0  # trials in all; 0: nobody wrote it down
    absent: tuple[str, ...] = ()  # of a fleet's run: the trials that have no result, and why

    def same_as(self, other: "Job") -> bool:
        """Whether trials of the one count for the other."""
        own, others = asdict(self), asdict(other)
        for name in ("started_at", "wall", "attempts", "machine", "wanted", "absent"):
            own[name] = others[name] = None
        return own == others


def begin(folder: Path, job: Job) -> Job:
    """Make the folder of a run, or go on with the one that is there. Raises UsageError for another run's."""
    place = folder / "job.json"
    if place.exists():
        before = read_job(folder)
        if not before.same_as(job):
            raise UsageError(
                f"{folder} holds another run: {before.suite} by {before.agent} {before.model}".rstrip(),
                why="results of two runs must not mix",
                fix="name another --out, or remove that folder",
            )
        return before
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty and holds no run", fix="name another --out")
    write(place, asdict(job))
    return job


def read_job(folder: Path) -> Job:
    """What was run there. Raises UsageError."""
    given = _read(folder / "job.json")
    if given.get("version") != JOB_VERSION:
        raise UsageError(f"{folder} was written by another version", fix="run the suite again")
    values: dict[str, Any] = {"wanted": 0, **given, "absent": tuple(given.get("absent", ()))}
    try:
        return Job(**{f.name: values[f.name] for f in fields(Job)})
    except KeyError as error:
        raise UsageError(f"{folder}/job.json has no {error}") from error


def missing(job: Job, made: int) -> tuple[str, ...]:
    """What the run lacks, of which `made` trials have a result, in words; nothing when it is whole."""
    unnamed = job.wanted - made - len(job.absent)
    return (*job.absent, *([f"{unnamed} of {job.wanted} trials were never made"] if unnamed > 0 else []))


def trial_folder(folder: Path, task: str, attempt: int) -> Path:
    """Where one attempt is kept."""
    return folder / "trials" / f"{task}__{attempt}"


def read_trials(folder: Path) -> list[Trial]:
    """Every finished trial, in order of task and attempt. Raises UsageError for one that cannot be read."""
    found = [read_trial(place.parent) for place in sorted(folder.glob("trials/*/result.json"))]
    return sorted((t for t in found if t is not None), key=lambda t: (t.task, t.attempt))


def read_trial(folder: Path) -> Trial | None:
    """The result of one attempt, None while there is none."""
    place = folder / "result.json"
    if not place.exists():
        return None
    given = _read(place)
    try:
        values = {f.name: given[f.name] for f in fields(Trial)}
        values["ending"] = Ending(values["ending"])
        values["skipped_steps"] = tuple(values["skipped_steps"])
        return Trial(**values)
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{place} is no result of a trial", why=repr(error)) from error


def write(place: Path, value: Mapping[str, Any]) -> None:
    """Write JSON so that a crash leaves the old file or the new one."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    beside = place.with_name(place.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(place)


def _read(place: Path) -> dict[str, Any]:
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{place} cannot be read", why=str(error), fix="name the folder of a run") from error
    if not isinstance(found, dict):
        raise UsageError(f"{place} holds no object")
    return cast(dict[str, Any], found)
