"""How do our agents work on a task of Harbor's? From outside: our planner and gate, the environment's exec.

The session's ledger and its trajectory lie in the trial's folder for the agent's logs.
"""

import asyncio
import json
import math
import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast, override

from harbor.agents.base import BaseAgent
from harbor.agents.capabilities import AgentCapabilities
from harbor.environments.base import BaseEnvironment
from harbor.models.agent.context import AgentContext

from veilig import __version__
from veilig.app import Setting
from veilig.app.trials import Done, FarResult, Model, embedded, recorded, with_model
from veilig.core.errors import ProviderError, SessionError
from veilig.evals.adapters.harbor.environment import BwrapEnvironment
from veilig.evals.adapters.harbor.quiet import keep_quiet
from veilig.evals.agents import here

SESSION = "trial-harbor"  # one to each ledger: a trial has its own
EMBEDDED_S = 600.0  # how long the planner without a model searches, unless it is told
FILES_MAX = 5000
FILE_BYTES_MAX = 8 << 20


@dataclass(frozen=True, slots=True)
class InHarbor:
    """An environment of Harbor's as the world that a session of ours works in."""

    environment: BaseEnvironment

    @property
    def name(self) -> str:
        """For people: whose wall it is."""
        kind = self.environment.type()
        return f"Harbor's {getattr(kind, 'value', kind)}"

    @property
    def enforces(self) -> frozenset[str]:
        """Known of our own wall only."""
        there = self.environment
        return there.enforces if isinstance(there, BwrapEnvironment) else frozenset()

    async def exec(self, argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float) -> FarResult:
        """Run one argv in the task's working folder. Raises ProviderError when the environment cannot."""
        line = shlex.join(argv)
        try:
            done = await self.environment.exec(line, env=dict(env), timeout_sec=math.ceil(timeout_s))
        except TimeoutError:
            return FarResult(124, b"", b"", timed_out=True)
        except Exception as error:  # every engine has its own
            raise ProviderError(f"{self.name} did not run a command", why=f"{error}"[:600]) from error
        out, err = ((text or "").encode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return FarResult(done.return_code, out, err)


class VeiligAgent(BaseAgent):
    """`harbor run -a veilig.evals.adapters.harbor:VeiligAgent [-m VENDOR/NAME]`; without -m: no model.

    policy: the operator's veilig.yaml on this machine. model_url, model_api: where the model is asked, as in
    `veilig run`. search_s: how long the embedded planner may search.
    """

    capabilities = AgentCapabilities(atif=True)

    def __init__(
        self,
        logs_dir: Path,
        model_name: str | None = None,
        *args: Any,
        policy: str = "",
        model_url: str = "",
        model_api: Literal["auto", "responses", "chat"] = "auto",
        search_s: float = EMBEDDED_S,
        **kwargs: Any,
    ) -> None:
        keep_quiet()
        super().__init__(logs_dir, model_name, *args, **kwargs)  # pyright: ignore[reportUnknownMemberType]  # its **kwargs
        self._search_s = float(search_s)
        environment = {**os.environ, **self.extra_env}
        self._setting = Setting(
            policy or None, environment=environment, model_url=model_url, model_api=model_api, session=SESSION
        )

    @staticmethod
    @override
    def name() -> str:
        return "veilig"

    @override
    def version(self) -> str:
        return __version__

    @override
    async def setup(self, environment: BaseEnvironment) -> None:
        """Nothing is put into the environment: the agent stays outside."""

    @override
    async def run(self, instruction: str, environment: BaseEnvironment, context: AgentContext) -> None:
        """Work on the task; what was used is told even when the time is up in the middle."""
        home = self.logs_dir / "veilig"
        try:
            if self.model_name:
                model = Model(self.model_name.replace("/", ":", 1))
                await with_model(instruction, InHarbor(environment), home, self._setting, model, SESSION)
            else:
                await self._without_model(instruction, environment, home)
        finally:
            await asyncio.to_thread(self._tell, instruction, home, context)

    async def _without_model(self, instruction: str, environment: BaseEnvironment, home: Path) -> None:
        """The embedded planner on a copy of the working folder, behind our wall here; its changes go back."""
        where = ((await environment.exec("pwd")).stdout or "/").strip()
        with tempfile.TemporaryDirectory(prefix="veilig-harbor-") as folder:
            copy = Path(folder) / "work"
            await environment.download_dir(where, copy)
            before = await asyncio.to_thread(_digests, copy)
            done = await embedded(here(instruction, where), copy, home, self._setting, self._search_s, {})
            if done is None:
                return
            after = await asyncio.to_thread(_digests, copy)
            for name in sorted(path for path, digest in after.items() if before.get(path) != digest):
                await environment.upload_file(copy / name, str(PurePosixPath(where) / name))
            for name in sorted(set(before) - set(after)):
                await environment.exec(f"rm -- {shlex.quote(str(PurePosixPath(where) / name))}")

    def _tell(self, instruction: str, home: Path, context: AgentContext) -> None:
        done = _found(instruction, home)
        fill(context, done.usage)
        context.metadata = {"session": done.session, "ended": done.summary, "ledger": str(home)}
        place = self.logs_dir / "trajectory.json"
        place.write_text(json.dumps(done.trajectory, indent=1, ensure_ascii=False), encoding="utf-8")


def fill(context: AgentContext, usage: Mapping[str, float]) -> None:
    """Tokens and cost, as Harbor counts them: the input's count includes what was cached."""
    context.n_input_tokens = int(usage.get("tokens_in", 0))
    context.n_cache_tokens = int(usage.get("tokens_cached", 0))
    context.n_output_tokens = int(usage.get("tokens_out", 0))
    context.cost_usd = float(usage.get("cost_usd", 0.0))


def _found(instruction: str, home: Path) -> Done:
    """What the ledger says; that there was no session is a trajectory, too."""
    try:
        return recorded(SESSION, home, instruction)
    except SessionError:
        said = "the embedded planner has nothing for such a task: it needs a model (-m VENDOR/NAME)"
    steps: list[dict[str, Any]] = [
        {"step_id": 1, "source": "user", "message": instruction},
        {"step_id": 2, "source": "agent", "message": said, "llm_call_count": 0},
    ]
    told: dict[str, Any] = {
        "schema_version": "ATIF-v1.8",
        "session_id": SESSION,
        "agent": {"name": "veilig", "version": __version__},
        "steps": steps,
    }
    return Done("", False, said, {}, cast(Mapping[str, Any], told))


def _digests(folder: Path) -> dict[str, str]:
    """Path below the folder -> SHA-256, for plain files of a size that is edited."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > FILE_BYTES_MAX:
            continue
        found[path.relative_to(folder).as_posix()] = sha256(path.read_bytes()).hexdigest()
        if len(found) > FILES_MAX:
            raise ProviderError(
                f"{folder.name} has more than {FILES_MAX} files",
                why="the embedded planner works on a copy, which would be large",
                fix="give it a model (-m), which works in the environment itself",
            )
    return found
