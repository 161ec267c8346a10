"""How does veilig work inside an environment of Harbor's, as a user's command there? Installed, then run.

What is installed comes as wheels from this machine (`--ak wheels=FOLDER`): nothing is fetched. Where veilig
is there already, as in our own wall, nothing is installed.
"""

import json
import os
import shlex
import stat
from pathlib import Path, PurePosixPath
from typing import Any, override

from harbor.agents.capabilities import AgentCapabilities
from harbor.agents.installed.base import BaseInstalledAgent
from harbor.environments.base import BaseEnvironment
from harbor.models.agent.context import AgentContext
from harbor.models.trajectories import Trajectory

from veilig.evals.adapters.harbor.agent import fill
from veilig.evals.adapters.harbor.quiet import keep_quiet

_THERE = "/tmp/veilig-wheels"  # noqa: S108  # a folder of the environment, not of this machine
_VENV = "/opt/veilig"
TRAJECTORY_BYTES_MAX = 64 << 20

# Whatever the session came to, its trajectory is exported; the exit code stays that of the run.
_RUN = """
export PATH="{venv}/bin:$PATH" VEILIG_HOME={logs}/veilig; mkdir -p {logs}
veilig run {task} . {words} --json >{logs}/veilig.jsonl 2>{logs}/veilig.err; code=$?
session=$(grep -o '"session": *"[^"]*"' {logs}/veilig.jsonl | head -n 1 | cut -d '"' -f 4)
[ -z "$session" ] || veilig sessions export "$session" --format atif >{logs}/trajectory.json
tail -n 5 {logs}/veilig.err >&2; [ "$code" -le 1 ]
"""


class VeiligInstalledAgent(BaseInstalledAgent):
    """`harbor run -a veilig.evals.adapters.harbor:VeiligInstalledAgent [-m VENDOR/NAME]`.

    wheels: a folder of this machine with the wheels of veilig and of all it needs
    (`pip wheel --wheel-dir FOLDER 'veilig[llm]'`). model_url: where the model is asked, seen from inside.
    """

    capabilities = AgentCapabilities(atif=True)

    def __init__(
        self, logs_dir: Path, *args: Any, wheels: str = "", model_url: str = "", **kwargs: Any
    ) -> None:
        keep_quiet()
        super().__init__(logs_dir, *args, **kwargs)  # pyright: ignore[reportUnknownMemberType]  # its **kwargs
        self._wheels = Path(wheels) if wheels else None
        self._model_url = model_url

    @staticmethod
    @override
    def name() -> str:
        return "veilig-installed"

    @override
    def get_version_command(self) -> str:
        return f'PATH="{_VENV}/bin:$PATH" veilig --version'

    @override
    def parse_version(self, stdout: str) -> str:
        return stdout.strip().rpartition(" ")[2]

    @override
    async def install(self, environment: BaseEnvironment) -> None:
        """Make sure that `veilig` is there. Raises RuntimeError when it is not and no wheels were given."""
        if (await environment.exec(self.get_version_command())).return_code == 0:
            return
        if self._wheels is None:
            raise RuntimeError("the environment has no veilig; give its wheels: --ak wheels=FOLDER")
        if not self._wheels.is_dir():
            raise RuntimeError(f"{self._wheels} is no folder of wheels")
        await environment.upload_dir(self._wheels, _THERE)
        what = "veilig[llm]" if self.model_name else "veilig"
        pip = f"{_VENV}/bin/python -m pip install --quiet --no-index --find-links {_THERE}"
        await self.exec_as_root(environment, f"python3 -m venv {_VENV} && {pip} {shlex.quote(what)}")

    @override
    async def run(self, instruction: str, environment: BaseEnvironment, context: AgentContext) -> None:
        """`veilig run --apply` in the task's working folder. Raises RuntimeError when it could not be run."""
        words = ["--apply", "--no-verify"]
        if self.model_name:
            words += ["--model", self.model_name.replace("/", ":", 1)]
        if self._model_url:
            words += ["--model-url", self._model_url]
        logs = shlex.quote(str(PurePosixPath(self.environment_logs_dir)))
        command = _RUN.format(venv=_VENV, logs=logs, task=shlex.quote(instruction), words=shlex.join(words))
        keys = {
            name: found[1]
            for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY")
            if self.model_name and (found := self._resolve_env(name))
        }
        await self.exec_as_agent(environment, command, env=keys)

    @override
    def populate_context_post_run(self, context: AgentContext) -> None:
        """What was used, from the trajectory that came back. One that is none is left out, and said."""
        told = self.convert_trajectory(self.logs_dir)
        if told is None:
            self.logger.warning("veilig left no trajectory that can be read")
            return
        final = told.final_metrics
        if final is None:
            return
        usage = {
            "tokens_in": final.total_prompt_tokens,
            "tokens_cached": final.total_cached_tokens,
            "tokens_out": final.total_completion_tokens,
            "cost_usd": final.total_cost_usd,
        }
        fill(context, {name: float(value or 0) for name, value in usage.items()})
        context.metadata = {"session": told.session_id}

    @override
    def convert_trajectory(self, logs_dir: Path) -> Trajectory | None:
        """The trajectory that the environment wrote: text of a stranger, believed only as a trajectory."""
        place = logs_dir / "trajectory.json"
        try:
            # Opened before it is looked at: what the agent left may be a link or a pipe.
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return None
                data = file.read(TRAJECTORY_BYTES_MAX + 1)
            return None if len(data) > TRAJECTORY_BYTES_MAX else Trajectory.model_validate(json.loads(data))
        except (OSError, ValueError):
            return None
