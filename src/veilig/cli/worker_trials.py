"""How does a worker make one trial of an evaluation? As `veilig eval run` does, with its folder in the store.

A trial begins in a fresh world: one whose worker died is made again from its beginning, as after a crash on
one machine, and one whose result was kept is not made again.
"""

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veilig.app.fleet_hold import Held
    from veilig.app.fleet_session import Came
    from veilig.app.wiring import Setting

KIND = "trial"


async def make_trial(held: "Held", setting: "Setting") -> "Came":
    """The trial that the queue's entry names. Raises UsageError for an unknown suite, task or agent."""
    from veilig.app.fleet import State
    from veilig.app.fleet_session import Came
    from veilig.evals.agents import find_agent
    from veilig.evals.runner import Terms, run_trial
    from veilig.evals.suite import find_suite
    from veilig.home import find_home

    told: dict[str, Any] = held.taken.work["options"]
    suite = await asyncio.to_thread(find_suite, str(told["suite"]), [str(told["task"])])
    folder = find_home(setting.environment).session(held.taken.session)
    await asyncio.to_thread(held.bring)
    agent = find_agent(str(told["agent"]), setting, str(told.get("model", "")))
    terms = Terms(folder / "run", timeout_scale=float(told.get("timeout_scale", 1.0)))
    trial = await run_trial(suite.tasks[0], agent, int(told.get("attempt", 1)), terms)
    await held.kept()
    return Came(State.DONE, f"{trial.ending}, {trial.agent_s:.1f} s")
