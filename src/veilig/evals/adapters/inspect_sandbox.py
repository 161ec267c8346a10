"""Where do Inspect's samples run when our wall stands for docker? In a box of their own, without network."""

import asyncio
import math
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Literal, overload, override

from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxEnvironment,
    SandboxEnvironmentConfigType,
    sandboxenv,
)

from veilig.app.trials import Place, World, open_world
from veilig.core.errors import UsageError

FOLDER = "/work"  # where commands begin, and what relative paths are relative to
_PIECE = 512 << 10
_FILE_BYTES_MAX = 100 << 20  # Inspect's own bound for a file that is read
_COMMAND_S = 3600.0
_FILES_S = 300.0


@sandboxenv(name="bwrap")  # pyright: ignore[reportUntypedClassDecorator]  # it has no types
class BwrapSandbox(SandboxEnvironment):
    """`--sandbox bwrap`: this machine's programs, read-only, a folder to work in, no network.

    It takes no configuration: a sample that brings a compose file or an image is refused.
    """

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__()
        self._folder = folder
        self._world = world

    @property
    def enforces(self) -> frozenset[str]:
        """What the wall is known to hold."""
        return self._world.enforces

    @override
    @classmethod
    async def sample_init(
        cls, task_name: str, config: SandboxEnvironmentConfigType | None, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        """One box for a sample. Raises UsageError for a configuration, SandboxUnavailable without a wall."""
        del task_name, metadata
        if config is not None:
            raise UsageError(
                f"the sandbox bwrap takes no configuration, and was given {config!r:.200}",
                why="it has no images: what the file asks for would not be there",
                fix="run the sample in docker, or let it need this machine's programs only",
            )
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="veilig-inspect-"))
        await asyncio.to_thread(_made, folder)
        place = Place(folder / "world" / FOLDER.strip("/"), FOLDER, True)
        world = await open_world(folder / "world", [place], wall_s=_COMMAND_S)
        return {"default": cls(folder, world)}

    @override
    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """End everything that the sample started."""
        del task_name, config, interrupted
        for environment in environments.values():
            box = environment.as_type(BwrapSandbox)
            await box._world.close()
            await asyncio.to_thread(shutil.rmtree, box._folder, ignore_errors=True)

    @override
    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,  # Inspect's own name
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run one argv. A command that is late is not run again: what it did, it did."""
        del timeout_retry, concurrency
        if user not in (None, "root"):
            raise UsageError(f"no user {user!r}: the box has one user, for everything")
        at = str(PurePosixPath(FOLDER) / (cwd or "."))
        given = input.encode() if isinstance(input, str) else input
        limit_s = float(timeout or _COMMAND_S)
        done = await self._world.run(cmd, cwd=at, env=env or {}, timeout_s=limit_s, stdin=given)
        if done.reason == "timeout":
            raise TimeoutError(f"command timed out after {limit_s:.0f} s")
        code = done.exit_code if done.exit_code is not None else 128 + (done.signal or 0)
        return ExecResult(code == 0, code, _text(done.stdout), _text(done.stderr))

    @override
    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Write by a command of the box: a link there leads nowhere outside."""
        script = '[ ! -d "$1" ] || exit 45; mkdir -p "$(dirname "$1")" && cat >"$1"'
        await self._must(file, ["sh", "-c", script, "put", file], contents)

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    @override
    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        script = '[ -e "$1" ] || exit 44; [ ! -d "$1" ] || exit 45; stat -L -c %s -- "$1"'
        size = int((await self._must(file, ["sh", "-c", script, "take", file])).strip())
        if size > _FILE_BYTES_MAX:
            raise OutputLimitExceededError(f"{_FILE_BYTES_MAX >> 20} MiB", None)
        pieces: list[bytes] = []
        for at in range(math.ceil(size / _PIECE)):
            script = f'tail -c +{at * _PIECE + 1} -- "$1" | head -c {_PIECE}'
            pieces.append(await self._must(file, ["sh", "-c", script, "take", file]))
        data = b"".join(pieces)
        return data.decode("utf-8") if text else data

    async def _must(self, file: str, argv: list[str], given: str | bytes | None = None) -> bytes:
        data = given.encode() if isinstance(given, str) else given
        done = await self._world.run(argv, cwd=FOLDER, timeout_s=_FILES_S, stdin=data)
        if done.ok:
            return done.stdout
        said = _text(done.stderr)
        match done.exit_code:
            case 44:
                raise FileNotFoundError(file)
            case 45:
                raise IsADirectoryError(file)
            case _ if "Permission denied" in said or "Read-only" in said:
                raise PermissionError(said[-300:])
            case _:
                raise OSError(f"{file}: {said[-300:]}")


def _made(folder: Path) -> None:
    folder.chmod(0o755)  # the box's user walks through it
    (folder / "world" / FOLDER.strip("/")).mkdir(parents=True)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
