"""How does one of our sessions work in a world that somebody else has set up? The same law, gate and ledger.

Used by evaluations: a trial's own box, a container of Harbor's, a sandbox of Inspect's.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from veilig.agent.job import Job
from veilig.agent.run import RunPlanner
from veilig.agent.run_state import RunOptions
from veilig.app.wiring import Ended, Setting, Watcher, Wired
from veilig.core.action_json import JSON
from veilig.core.errors import ProviderError
from veilig.core.provider import Provider
from veilig.providers.far import FarProvider, FarResult, FarWorld
from veilig.providers.models.asked import Ask, AskedProvider, Said
from veilig.providers.sandbox.wall import Reason
from veilig.providers.skills import SkillsProvider
from veilig.providers.trial import World

__all__ = ["Ask", "FarResult", "FarWorld", "InTrial", "Model", "Said", "run_there"]

KIND = "trial"


@dataclass(frozen=True, slots=True)
class Model:
    """A model by name, and how to ask it when a client of ours is not to: see providers/models/asked.py."""

    name: str
    ask: Ask | None = None


@dataclass(frozen=True, slots=True)
class InTrial:
    """A trial's own box as a FarWorld: `folder` is its working folder, `env` what its task sets."""

    world: World
    folder: str
    env: Mapping[str, str]

    @property
    def name(self) -> str:
        """The wall that stands."""
        return f"a trial behind {self.world.wall}"

    @property
    def enforces(self) -> frozenset[str]:
        """What that wall is known to hold."""
        return self.world.enforces

    async def exec(self, argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float) -> FarResult:
        """As FarWorld has it."""
        done = await self.world.run(argv, cwd=self.folder, env={**self.env, **env}, timeout_s=timeout_s)
        code = done.exit_code if done.exit_code is not None else 128 + (done.signal or 0)
        return FarResult(code, done.stdout, done.stderr, done.reason is Reason.TIMEOUT)


class _There(Wired):
    """A session whose hands are in a FarWorld."""

    def __init__(
        self, session: str, job: Job, setting: Setting, watcher: Watcher, world: FarWorld, model: Model
    ) -> None:
        self._world = world
        self._model = model
        super().__init__(session, job, setting, watcher, None)
        missing = sorted(self.policy.sandbox.require - world.enforces)
        if missing:
            self.ledger.close()
            raise ProviderError(
                f"the policy wants a wall that enforces {', '.join(missing)}",
                why=f"of {world.name} nobody here knows that it does",
                fix="let `sandbox.require` be empty for this evaluation, or run it in a wall of ours",
            )

    def _hands(self, setting: Setting) -> list[Provider]:
        asks: list[Provider] = []
        if self._model.ask is None:
            asks += self._models(setting)
        else:
            asks.append(AskedProvider(self.clock, self._model.ask, self._world.name))
        self._far = FarProvider(self._world, self.clock, self.redactor.learn_text)
        skills = SkillsProvider(
            self.workspace.tree, self.home.path / "skills", self.clock, self.redactor.learn_text
        )
        return [self._far, skills, *asks]

    def _picture(self, path: str) -> bytes:
        return self._far.picture(path)

    async def stand(self) -> None:
        """Say in the ledger whose wall this is, before anything is done in it."""
        missing: list[JSON] = [["everything else", f"{self._world.name} is not ours to know"]]
        body: dict[str, JSON] = {
            "wall": self._world.name,
            "enforces": [*sorted(self._world.enforces)],
            "missing": missing,
        }
        await self.ledger.submit(lambda tx: tx.append("wall.stood", self.session, body))


async def run_there(
    task: str, world: FarWorld, model: Model, setting: Setting, watcher: Watcher, source: Path
) -> Ended:
    """Let a model work on a task in that world, through our gate.

    source: an empty folder of the host that the session is recorded for. setting.session names the session,
    so that its ledger can be read when it is cut off. Raises ProviderError when the policy wants a wall that
    this world is not known to be, and what `veilig run` raises.
    """
    options = RunOptions(str(source), task, model.name, verify=False, world=world.name)
    job = Job(
        KIND, source, options.to_json(), RunPlanner(options), sys.executable,
        keeps_copy=False, asks=True, guarded=False,
    )  # fmt: skip
    session = setting.session or f"{KIND}-{os.urandom(4).hex()}"
    there = _There(session, job, replace(setting, session=session), watcher, world, model)
    try:
        await there.stand()
    except BaseException:
        there.ledger.close()
        raise
    return await there.go(resume=False)
