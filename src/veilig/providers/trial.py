"""In what world does a benchmark's task live? A box whose folders stand where the task says: /app, /tests.

The harness, not the agent, stands it up and runs the task's own scripts in it; an agent under test acts
through its own gate. What the world may not change (tests, the verdict) lies outside of it or is read-only.
"""

import asyncio
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from veilig.core.errors import ProviderError
from veilig.providers.box import own_code
from veilig.providers.sandbox.ladder import stand
from veilig.providers.sandbox.sandbox import Sandbox
from veilig.providers.sandbox.toolchain import covering, toolchain_mounts
from veilig.providers.sandbox.wall import Bounds, CommandResult, Feature, Mounts, Placed
from veilig.providers.sandbox.workspace import own

# What a fair trial needs of a wall; memory is required where the task bounds it.
FAIR = frozenset(
    {
        Feature.FILES_READ,
        Feature.FILES_WRITE,
        Feature.NETWORK,
        Feature.LOOPBACK,
        Feature.PRIVATE_TMP,
        Feature.SIGNALS,
        Feature.PID_NAMESPACE,
        Feature.CLEANUP,
    }
)
# Folders of the system: a task that copies there needs an image of its own.
SYSTEM = frozenset(
    (
        *("bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "nix", "proc", "root"),
        *("run", "sbin", "sys", "tmp", "usr", "var"),
    )
)
ANSWER_BYTES_MAX = 64 << 10


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of the host and where the world sees it."""

    host: Path
    inside: str
    writable: bool = False


class World:
    """A box that stands, until `close`. Commands run as a user of the box's own; daemons live on in it."""

    def __init__(self, root: Path, sandbox: Sandbox) -> None:
        self._root = root
        self._sandbox = sandbox

    @property
    def wall(self) -> str:
        """The name of the wall that stands."""
        return self._sandbox.wall.name

    @property
    def enforces(self) -> frozenset[str]:
        """What the wall is known to hold."""
        return frozenset(feature.value for feature in self._sandbox.wall.enforces)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        timeout_s: float,
    ) -> CommandResult:
        """Run one command to its end, as `Sandbox.run` does; `cwd` is a path inside."""
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        given = {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        return await self._sandbox.run(argv, cwd=cwd, env=given, stdin=stdin, timeout_s=timeout_s)

    async def hand_over(self) -> None:
        """Give what was written from outside to the world's user."""
        if self._sandbox.uid is not None:
            await asyncio.to_thread(own, self._root, self._sandbox.uid)

    async def close(self) -> None:
        """End everything in it."""
        await self._sandbox.close()


async def open_world(
    root: Path,
    places: Sequence[Place],
    *,
    memory_mb: int = 0,
    wall_s: float,
    hide: frozenset[str] = frozenset(),
) -> World:
    """Stand up the box of a trial around the folder `root`, which holds the places that may be written.

    memory_mb: 0 for the default. Raises SandboxUnavailable when no wall here is fair, ProviderError for a
    place that would cover the system.
    """
    for place in places:
        top(place.inside)
    require = FAIR | ({Feature.MEMORY} if memory_mb else frozenset[Feature]())
    bounds = Bounds(memory_bytes=memory_mb << 20, wall_s=wall_s) if memory_mb else Bounds(wall_s=wall_s)
    mounts = Mounts(
        root,
        covering([*toolchain_mounts(Path(sys.executable)), *own_code()]),
        protected=(),
        placed=tuple(Placed(place.host, Path(place.inside), place.writable) for place in places),
    )
    sandbox = await stand(mounts, bounds, require=require, prefer="bubblewrap", hide=hide)
    world = World(sandbox.workspace, sandbox)
    await world.hand_over()
    return world


def top(inside: str) -> str:
    """The first folder of an absolute path. Raises ProviderError for one of the system."""
    parts = PurePosixPath(inside).parts
    if len(parts) < 2 or parts[0] != "/" or ".." in parts or parts[1] in SYSTEM:
        raise ProviderError(
            f"{inside!r} cannot be a folder of a trial",
            why="the machine's own system stands there, read-only",
            fix="let the task live in a folder such as /app, or run it with a container engine",
        )
    return parts[1]


def read_answer(place: Path) -> str | None:
    """A small text that the world has left, None when there is none. A link is not followed.

    Raises ProviderError for what is no plain, small file.
    """
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProviderError(f"{place.name!r} cannot be read", why=str(error)) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > ANSWER_BYTES_MAX:
            raise ProviderError(f"{place.name!r} is no small file", why="an answer is a few bytes of text")
        return os.read(descriptor, ANSWER_BYTES_MAX).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
