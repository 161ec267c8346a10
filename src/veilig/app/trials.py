"""What does an evaluation need of the world? A task's box, and our own agents at work on its folder."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from veilig.agent.fix_state import FixOptions
from veilig.agent.intent import intent
from veilig.agent.tools import argv_of
from veilig.agent.trajectory import trajectory
from veilig.agent.trajectory_acts import acts_trajectory
from veilig.app.far import FarResult, FarWorld, InTrial, Model, Said, run_there
from veilig.app.sessions import run_explain, run_fix
from veilig.app.wiring import Ended, Setting
from veilig.core.action import Action, ApplyPatch
from veilig.core.errors import SessionError
from veilig.core.policy import builtin_policy
from veilig.core.provider import Outcome, Request, Vote
from veilig.core.session import fold
from veilig.home import LEDGER_VARIABLE, find_home, local_person
from veilig.providers.sandbox.wall import CommandResult, Wall
from veilig.providers.trial import Place, World, open_world, read_answer, top

__all__ = [
    "CommandResult",
    "Done",
    "FarResult",
    "FarWorld",
    "InTrial",
    "Model",
    "Place",
    "Said",
    "World",
    "embedded",
    "open_world",
    "read_answer",
    "recorded",
    "top",
    "with_model",
]


@dataclass(frozen=True, slots=True)
class Done:
    """What a session of ours did with a task."""

    session: str
    ok: bool
    summary: str
    usage: Mapping[str, float]
    trajectory: Mapping[str, Any] | None = None


class Quiet:
    """Nobody watches a trial; what happened is in its ledger."""

    def began(self, session: str, law: str) -> None: ...
    def wall(self, wall: Wall) -> None: ...
    def proposed(self, action: Action) -> None: ...
    def observed(self, action: Action, outcome: Outcome) -> None: ...


class _Deliver:
    """Whoever starts an evaluation wants the result in its folder; every other question stays open."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    async def ask(self, request: Request) -> Vote | None:
        action = request.action
        if isinstance(action, ApplyPatch) and action.root == self._folder:
            return Vote(local_person(builtin_policy()), True, "evaluation", "the trial's own folder")
        return None


async def embedded(
    instruction: str, folder: Path, home: Path, setting: Setting, budget_s: float, env: Mapping[str, str]
) -> Done | None:
    """The planner without a model at work on a folder; None when it cannot even try such a task."""
    meant = intent(instruction)
    if meant is None:
        return None
    setting = _at(setting, home, env)
    if meant.command:
        from veilig.agent.explain import ExplainOptions

        asked = ExplainOptions(str(folder), argv_of(meant.command), meant.bisect)
        return _done(await run_explain(asked, setting, Quiet()))
    options = FixOptions(str(folder), (), meant.only, budget_s, "apply")
    return _done(await run_fix(options, setting, Quiet(), _Deliver(folder)))


async def with_model(
    instruction: str, world: FarWorld, home: Path, setting: Setting, model: Model, session: str = ""
) -> Done:
    """A model at work in a world, through our gate; what it starts there goes on.

    home: for the ledger, and the folder that the session is recorded for. session: its id, where somebody
    wants to read the ledger of one that was cut off.
    """
    await asyncio.to_thread(home.mkdir, parents=True, exist_ok=True)
    env: Mapping[str, str] = world.env if isinstance(world, InTrial) else {}
    setting = replace(_at(setting, home, env), session=session)
    ended = await run_there(instruction, world, model, setting, Quiet(), home)
    found = await asyncio.to_thread(recorded, ended.session, home, instruction)
    return replace(_done(ended, found.trajectory), usage=found.usage)


def recorded(session: str, home: Path, instruction: str) -> Done:
    """What the ledger in `home` holds of a session, ended or not: its trajectory, and what it used."""
    with find_home({"VEILIG_HOME": str(home)}).open_ledger(create=False) as ledger:
        events = list(ledger.events(session=session))
    view = fold(session, events)
    try:
        told = trajectory(session, events)
    except SessionError:  # it asked no model
        told = acts_trajectory(session, events, instruction)
    final = cast(Mapping[str, Any], told["final_metrics"])
    names = {"tokens_in": "prompt", "tokens_cached": "cached", "tokens_out": "completion"}
    used = {ours: float(final.get(f"total_{theirs}_tokens") or 0) for ours, theirs in names.items()}
    used["cost_usd"] = float(final.get("total_cost_usd") or 0.0)
    return Done(session, view.ended == "done", view.summary or "cut off", used, told)


def _at(setting: Setting, home: Path, env: Mapping[str, str]) -> Setting:
    """The same, with a ledger of the trial's own, and the task's variables where we have none so named."""
    own = setting.environment or os.environ
    more = {name: value for name, value in env.items() if name not in own and not name.startswith("VEILIG_")}
    return replace(setting, patience_s=0.0, environment={**more, **own, **its_own_record(home)})


def its_own_record(home: Path) -> dict[str, str]:
    """The variables by which a trial's session keeps its ledger in `home`, wherever others keep theirs."""
    return {"VEILIG_HOME": str(home), LEDGER_VARIABLE: str(find_home({"VEILIG_HOME": str(home)}).ledger)}


def _done(ended: Ended, told: Mapping[str, Any] | None = None) -> Done:
    usage = cast(Any, ended.finish.data.get("usage") or ended.finish.data.get("tokens") or {})
    numbers = {
        str(name): float(value)
        for name, value in cast(Mapping[str, Any], usage if isinstance(usage, dict) else {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Done(ended.session, ended.finish.ok, ended.finish.summary, numbers, told)
