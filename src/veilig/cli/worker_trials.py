"""How does a worker make one trial of an evaluation? As `veilig eval run` does, with its folder in the store.

A trial begins in a fresh world: one whose worker died is made again from its beginning, as after a crash on
one machine, and one whose result was kept is not made again.
"""

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veilig.app.fleet_hold import Held
    from veilig.app.fleet_session import Came
    from veilig.app.fleet_trials import Made
    from veilig.app.wiring import Setting

KIND = "trial"


async def make_trial(held: "Held", setting: "Setting") -> "Came":
    """The trial that the queue's entry names. Raises UsageError for an unknown suite, task or agent."""
    from veilig.app.fleet_trials import Made, record_trial
    from veilig.core.errors import UsageError
    from veilig.evals.agents import find_agent
    from veilig.evals.results import trial_folder
    from veilig.evals.run import machine
    from veilig.evals.runner import Terms, run_trial
    from veilig.evals.suite import find_suite
    from veilig.home import find_home

    told: dict[str, Any] = held.taken.work["options"]
    suite = await asyncio.to_thread(find_suite, str(told["suite"]), [str(told["task"])])
    task, attempt = suite.tasks[0], int(told.get("attempt", 1))
    if (wanted := told.get("digest", task.digest)) != task.digest:
        raise UsageError(
            f"task {task.name!r} is another one on this worker",
            why=f"the run is of {str(wanted)[:12]}, here lies {task.digest[:12]}",
            fix="bring the same suite to every worker, then `veilig queue retry`",
        )
    folder = find_home(setting.environment).session(held.taken.session) / "run"
    terms = Terms(folder, timeout_scale=float(told.get("timeout_scale", 1.0)))

    async def make(apart: "Setting") -> "Made":
        agent = find_agent(str(told["agent"]), apart, str(told.get("model", "")))
        trial = await run_trial(task, agent, attempt, terms)
        said = f"{trial.ending}, {trial.agent_s:.1f} s"
        return Made(said, trial_folder(folder, task.name, attempt), machine())

    return await record_trial(held, setting, told, make)
