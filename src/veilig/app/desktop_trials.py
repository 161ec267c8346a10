"""How does a model work at the desktop of a trial? A session of its own, whose acts go through our gate."""

import asyncio
from dataclasses import replace
from pathlib import Path

from veilig.agent.desktop import ONLY
from veilig.agent.run_state import RunOptions
from veilig.app.desktop import Desk
from veilig.app.sessions import run_task
from veilig.app.trials import Done, Quiet, its_own_record, recorded
from veilig.app.wiring import Setting


async def at_desktop(
    instruction: str, desk: Desk, home: Path, setting: Setting, model: str
) -> tuple[Done, bool]:
    """What came of it, and whether the model says that nobody can do it.

    home: for the ledger and the copy of an empty folder. The model has the desktop and nothing else.
    """
    source = home / "nothing"
    await asyncio.to_thread(source.mkdir, parents=True, exist_ok=True)
    environment = {**setting.environment, **its_own_record(home)}
    setting = replace(setting, environment=environment, patience_s=0.0, desk=desk)
    options = RunOptions(str(source), instruction, model, verify=False, desktop=ONLY)
    ended = await run_task(options, setting, Quiet(), None)
    found = await asyncio.to_thread(recorded, ended.session, home, instruction)
    return found, bool(ended.finish.data.get("infeasible"))
