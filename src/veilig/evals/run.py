"""How is a whole suite run? Every task, so many attempts, so many at once; what is done is not repeated."""

import asyncio
import platform
from collections.abc import Callable
from datetime import UTC, datetime

from veilig import __version__
from veilig.app import Setting
from veilig.evals.agents import find_agent
from veilig.evals.results import Job, Trial, begin
from veilig.evals.runner import Terms, run_trial
from veilig.evals.suite import Suite

type Seen = Callable[[Trial, int, int], None]


def machine() -> str:
    """What a run says of the machine that made it."""
    return f"{platform.system()} {platform.release()} {platform.machine()}"


async def run_suite(
    suite: Suite,
    agent: str,
    terms: Terms,
    *,
    setting: Setting,
    model: str = "",
    attempts: int = 1,
    jobs: int = 1,
    seen: Seen = lambda _trial, _done, _all: None,
) -> list[Trial]:
    """Every trial, in order of task and attempt; `seen` hears each as it ends, with how many are done.

    Attempts are interleaved over tasks, so that a slow hour of the machine falls on all of them alike.
    Raises UsageError for an unknown agent or a folder that holds another run.
    """
    who = find_agent(agent, setting, model)
    job = Job(
        suite=suite.name,
        suite_version=f"{suite.version} {suite.digest[:12]}",
        agent=agent,
        model=model,
        attempts=attempts,
        veilig=__version__,
        wall="",
        timeout_scale=terms.timeout_scale,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
        wanted=len(suite.tasks) * attempts,
    )
    await asyncio.to_thread(begin, terms.out, job)
    wanted = [(task, attempt) for attempt in range(1, attempts + 1) for task in suite.tasks]
    turn = asyncio.Semaphore(jobs)
    done: list[Trial] = []

    async def one(index: int) -> Trial:
        task, attempt = wanted[index]
        async with turn:
            trial = await run_trial(task, who, attempt, terms)
        done.append(trial)
        seen(trial, len(done), len(wanted))
        return trial

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(one(index)) for index in range(len(wanted))]
    return sorted((task.result() for task in running), key=lambda t: (t.task, t.attempt))
