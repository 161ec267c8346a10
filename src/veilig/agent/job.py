"""Which kinds of session are there, and who plans each? One entry per kind: starting and resuming read it."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from veilig.agent.audit_plan import AuditOptions, AuditPlanner
from veilig.agent.desktop import ONLY, DesktopPlanner
from veilig.agent.explain import ExplainOptions, ExplainPlanner
from veilig.agent.fix import FixPlanner
from veilig.agent.fix_state import FixOptions
from veilig.agent.review import ReviewOptions, ReviewPlanner
from veilig.agent.run import RunPlanner
from veilig.agent.run_state import RunOptions
from veilig.core.canonical import JSON
from veilig.core.provider import Planner


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of work on one folder: what is recorded of it, and who plans it.

    free: it runs commands and asks models as it sees fit, so its copy is watched; else it only repairs, and a
    guard sees that tests stay what they are, unless it is not guarded: what it changes is then no repair.
    asks: a model may see of the copy, where it is not free. reads_all: its copy holds what is withheld from
    models too, and only showing that to one is refused.
    """

    kind: str
    source: Path
    options: dict[str, JSON]
    planner: Planner
    python: str | None = None  # the interpreter, where the project's own is never needed
    keeps_copy: bool = True
    free: bool = False
    asks: bool = False
    reads_all: bool = False
    guarded: bool = True


def fix_job(options: FixOptions) -> Job:
    """Find what is broken, mend it, prove it."""
    planner = FixPlanner(options)
    return Job("fix", Path(options.source), options.to_json(), planner, asks=bool(options.model))


def audit_job(options: AuditOptions) -> Job:
    """Read and report. The audited project's interpreter has no part in it."""
    planner = AuditPlanner(options)
    asks = bool(options.model)
    made = Job("audit", Path(options.source), options.to_json(), planner, sys.executable, keeps_copy=False)
    return replace(made, asks=asks, reads_all=True)


def run_job(options: RunOptions) -> Job:
    """Let a model work on a task."""
    planner = DesktopPlanner(options) if options.desktop == ONLY else RunPlanner(options)
    return Job("run", Path(options.source), options.to_json(), planner, free=True)


def review_job(options: ReviewOptions) -> Job:
    """Judge a change. It is made in the copy as it is, tests and all; nothing of that is brought back."""
    made = Job("review", Path(options.source), options.to_json(), ReviewPlanner(options))
    return replace(made, asks=bool(options.model), reads_all=True, guarded=False)


def explain_job(options: ExplainOptions) -> Job:
    """Say why a command fails, and since when. Older states are made in the copy as they were."""
    made = Job("explain", Path(options.source), options.to_json(), ExplainPlanner(options))
    return replace(made, guarded=False)


JOBS: Mapping[str, Callable[[dict[str, Any]], Job]] = {
    "fix": lambda options: fix_job(FixOptions.from_json(options)),
    "run": lambda options: run_job(RunOptions.from_json(options)),
    "review": lambda options: review_job(ReviewOptions.from_json(options)),
    "explain": lambda options: explain_job(ExplainOptions.from_json(options)),
    "audit": lambda options: audit_job(AuditOptions.from_json(options)),
}
