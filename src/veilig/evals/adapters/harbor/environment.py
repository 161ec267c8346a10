"""Where do Harbor's trials run when our wall stands for a container? In the box that our own runner uses.

Declared is what is enforced: no network, memory. A task that may reach something, that wants another image, a
limit of CPU or storage, or a user of its own is refused before anything starts.
"""

import asyncio
import math
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any, cast, override

from harbor.environments.base import BaseEnvironment, ExecResult
from harbor.environments.capabilities import EnvironmentCapabilities, EnvironmentResourceCapabilities
from harbor.environments.tar_transfer import extract_dir_from_bytes, pack_dir_to_bytes
from harbor.models.task.config import NetworkMode, NetworkPolicy

from veilig.app.trials import CommandResult, Place, World, open_world
from veilig.evals.adapters.harbor.quiet import keep_quiet
from veilig.evals.stage import Stage, carry_out, make_stage, missing_programs
from veilig.evals.task import TIMEOUT_S_MAX, TaskError

_OWN = ("tests", "solution", "logs")  # what Harbor puts its own files into, at the top of the world
_LOGS = ("agent", "verifier", "artifacts")
_PIECE = 512 << 10  # of a file at once: below what a box keeps of one command's output
_FILES_S = 300.0
_ROOT = (None, "root", "0", 0)  # commands run as the one user of the box


class BwrapEnvironment(BaseEnvironment):
    """Harbor's environment on our persistent box: `-e veilig.evals.adapters.harbor:BwrapEnvironment`.

    allow_unenforced: limits that may go unenforced, comma between: `--ek allow_unenforced=cpus,storage`.
    """

    def __init__(self, *args: Any, allow_unenforced: str = "", **kwargs: Any) -> None:
        keep_quiet()
        self._allowed = frozenset(word.strip() for word in allow_unenforced.split(",") if word.strip())
        self._programs: tuple[str, ...] = ()
        self._folder: Path | None = None
        self._stage: Stage | None = None
        self._world: World | None = None
        super().__init__(*args, **kwargs)  # pyright: ignore[reportUnknownMemberType]  # its **kwargs

    @staticmethod
    @override
    def type() -> str:
        return "veilig-bwrap"

    @property
    @override
    def capabilities(self) -> EnvironmentCapabilities:
        return EnvironmentCapabilities(disable_internet=True)

    @classmethod
    @override
    def resource_capabilities(cls) -> EnvironmentResourceCapabilities:
        return EnvironmentResourceCapabilities(memory_limit=True)

    @property
    def wall(self) -> str:
        """The name of the wall that stands, "" before the start."""
        return self._world.wall if self._world else ""

    @property
    def enforces(self) -> frozenset[str]:
        """What that wall is known to hold."""
        return self._world.enforces if self._world else frozenset()

    @override
    def validate_network_policy_support(self, network_policy: NetworkPolicy | None = None) -> None:
        """Raises ValueError for every network but none: a task may not get less than it declares, either."""
        super().validate_network_policy_support(network_policy)
        wanted = (network_policy or self.network_policy).network_mode
        if wanted != NetworkMode.NO_NETWORK:
            raise ValueError(
                f"network_mode={wanted.value!r} is not supported by {self.type()}: its wall lets nothing "
                "out. Run the task in a container engine, or declare no-network where it needs none."
            )

    @override
    def _validate_definition(self) -> None:
        """Raises TaskError for what this wall cannot give."""
        name, config = self.environment_name, self.task_env_config
        if not (self.environment_dir / "Dockerfile").is_file():
            raise TaskError(
                f"{name} has no Dockerfile",
                why="no image is pulled and no compose file is read: this machine's programs stand for them",
                fix="run the task in a container engine",
            )
        for limit, wanted in (("cpus", config.cpus), ("storage", config.storage_mb)):
            if wanted and limit not in self._allowed:
                raise TaskError(
                    f"{name} limits {limit} to {wanted}",
                    why="no wall here holds that, and a limit that is not enforced is none",
                    fix=f"--ek allow_unenforced={limit} runs it all the same",
                )
        self._programs = _programs(self.environment_dir.parent / "task.toml")
        if missing := missing_programs(self._programs):
            raise TaskError(
                f"{name} needs {', '.join(missing)}",
                why="this machine's programs stand for the task's image, and it has none of that name",
            )

    @override
    async def start(self, force_build: bool) -> None:
        """Build the world from the Dockerfile, then open it. Raises TaskError, SandboxUnavailable."""
        del force_build  # nothing is kept from one trial to the next
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="veilig-harbor-"))
        self._folder = folder
        stage = self._stage = await asyncio.to_thread(self._made, folder)
        async with await self._open([*stage.places(verifying=False, building=True)]) as world:
            wall_s = self.task_env_config.build_timeout_sec
            await carry_out(stage, world, env=self._startup_env(), timeout_s=wall_s)
        places = [Place(stage.root / top, f"/{top}", True) for top in (*stage.tops, *_OWN)]
        self._world = await self._open(places)

    @override
    async def stop(self, delete: bool) -> None:
        """End everything in it. Its files go in any case: what is worth keeping was downloaded."""
        del delete
        if self._world is not None:
            await self._world.close()
            self._world = None
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            self._folder = None

    @override
    async def exec(
        self,
        command: str,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout_sec: int | None = None,
        user: str | int | None = None,
    ) -> ExecResult:
        """Run a command line by bash. Raises TimeoutError, and ValueError for a user that the box has not."""
        if self._resolve_user(user) not in _ROOT:
            raise ValueError(f"no user {self._resolve_user(user)!r}: the box has one user, for everything")
        stage = self._standing()[0]
        found = await self._run(
            ("bash", "-c", command),
            cwd=cwd or stage.workdir,
            env={**stage.recipe.env, **(self._merge_env(env) or {})},
            timeout_s=float(timeout_sec or TIMEOUT_S_MAX),
        )
        if found.reason == "timeout":
            raise TimeoutError(f"Command timed out after {timeout_sec} seconds")
        code = found.exit_code if found.exit_code is not None else 128 + (found.signal or 0)
        return ExecResult(stdout=_text(found.stdout), stderr=_text(found.stderr), return_code=code)

    @override
    async def upload_file(self, source_path: Path | str, target_path: str) -> None:
        data = await asyncio.to_thread(Path(source_path).read_bytes)
        mode = (await asyncio.to_thread(Path(source_path).stat)).st_mode & 0o777
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        await self._must(("sh", "-c", script, "put", target_path, f"{mode:o}"), data)

    @override
    async def upload_dir(self, source_dir: Path | str, target_dir: str) -> None:
        packed = await asyncio.to_thread(pack_dir_to_bytes, Path(source_dir))
        script = 'mkdir -p "$1" && tar -xf - --no-same-owner -C "$1"'
        await self._must(("sh", "-c", script, "put", target_dir), packed.getvalue())

    @override
    async def download_file(self, source_path: str, target_path: Path | str) -> None:
        data = await self._take(source_path)
        await asyncio.to_thread(_write, Path(target_path), data)

    @override
    async def download_dir(self, source_dir: str, target_dir: Path | str) -> None:
        pack = (await self._must(("mktemp",))).stdout.decode().strip()
        await self._must(("tar", "-cf", pack, "-C", source_dir, "."))
        data = await self._take(pack)
        await self._must(("rm", "-f", pack))
        await asyncio.to_thread(extract_dir_from_bytes, data, Path(target_dir))

    def _standing(self) -> tuple[Stage, World]:
        if self._stage is None or self._world is None:
            raise RuntimeError("the environment is not started")
        return self._stage, self._world

    def _made(self, folder: Path) -> Stage:
        stage = make_stage(
            self.environment_dir,
            folder,
            self.environment_name,
            workdir=self.task_env_config.workdir or "",
            programs=bool(self._programs),
        )
        for top in _OWN:
            (stage.root / top).mkdir(exist_ok=True)
        for log in _LOGS:
            (stage.root / "logs" / log).mkdir(exist_ok=True)
        return stage

    async def _open(self, places: list[Place]) -> World:
        stage = cast(Stage, self._stage)
        memory = self._resource_value("memory") or 0
        return await open_world(stage.root, places, memory_mb=memory, wall_s=TIMEOUT_S_MAX)

    async def _run(
        self,
        argv: tuple[str, ...],
        *,
        cwd: str,
        env: dict[str, str],
        timeout_s: float,
        data: bytes | None = None,
    ) -> CommandResult:
        return await self._standing()[1].run(argv, cwd=cwd, env=env, timeout_s=timeout_s, stdin=data)

    async def _must(self, argv: tuple[str, ...], data: bytes | None = None) -> CommandResult:
        cwd = f"/{self._standing()[0].tops[0]}"
        found = await self._run(argv, cwd=cwd, env={}, timeout_s=_FILES_S, data=data)
        if not found.ok:
            raise OSError(f"{argv[-1]}: {_text(found.stderr)[-600:]}")
        return found

    async def _take(self, path: str) -> bytes:
        """A file of the world, in pieces, read by a command of the world: a link leads nowhere outside."""
        size = int((await self._must(("stat", "-L", "-c", "%s", "--", path))).stdout)
        pieces: list[bytes] = []
        for at in range(math.ceil(size / _PIECE)):
            script = f'tail -c +{at * _PIECE + 1} -- "$1" | head -c {_PIECE}'
            pieces.append((await self._must(("sh", "-c", script, "take", path))).stdout)
        return b"".join(pieces)


def _programs(place: Path) -> tuple[str, ...]:
    """What the task says that its image must have; nothing where it does not say."""
    try:
        given: dict[str, Any] = tomllib.loads(place.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return ()
    named: Any = cast(dict[str, Any], given.get("metadata", {})).get("programs", [])
    return tuple(str(word) for word in cast(list[Any], named)) if isinstance(named, list) else ()


def _write(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
