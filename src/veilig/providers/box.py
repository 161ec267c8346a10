"""When does the session's wall stand, and what does it see? From the first command to the end."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from veilig.core.errors import ProviderError, VeiligError
from veilig.providers.sandbox.ladder import stand
from veilig.providers.sandbox.sandbox import Sandbox
from veilig.providers.sandbox.toolchain import covering, toolchain_mounts
from veilig.providers.sandbox.wall import Bounds, CommandResult, Feature, Mounts, OnOutput, Wall
from veilig.providers.sandbox.workspace import own
from veilig.providers.workspace import Workspace

ANSWER_BYTES = 24 << 20  # a worker answers on its output; what people see of a command is cut in the ledger

_NAMED = """\
import importlib.util as found, runpy, sys
place, module = sys.argv[1:3]
del sys.argv[1:3]
spec = found.spec_from_file_location("veilig", place + "/__init__.py", submodule_search_locations=[place])
sys.modules["veilig"] = package = found.module_from_spec(spec)
spec.loader.exec_module(package)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the policy says about walls: names allowed, in order; features that must hold; bounds."""

    walls: tuple[str, ...]
    require: frozenset[Feature]
    bounds: Bounds


class Box:
    """The session's sandbox and the two interpreters in it: the project's own, and ours for reading code."""

    def __init__(
        self,
        workspace: Workspace,
        python: Path,
        terms: Terms,
        stood: Callable[[Wall], Awaitable[None]],
        hide: frozenset[str] = frozenset(),
        data: tuple[Path, ...] = (),
    ) -> None:
        self._data = data
        self.workspace = workspace
        self.python = python
        self._terms = terms
        self._stood = stood
        self._hide = hide
        self._sandbox: Sandbox | None = None
        self._starting = asyncio.Lock()

    @property
    def root(self) -> Path:
        """The copy, at the same path inside."""
        return self.workspace.tree.root

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        stdin: bytes | int | None = None,
        timeout_s: float,
        on_output: OnOutput | None = None,
    ) -> CommandResult:
        """Run one command behind the wall, which is stood up first if need be; raises as Sandbox.run."""
        sandbox = await self._standing()
        given = self._environment() | dict(env or {})
        return await sandbox.run(
            argv, cwd=self.root / cwd, env=given, stdin=stdin, timeout_s=timeout_s, on_output=on_output
        )

    async def scratch(self) -> str:
        """The folder inside for what is of no copy; not every wall has a /tmp of its own."""
        return (await self._standing()).scratch

    async def close(self) -> None:
        """Take the wall down, and everything behind it."""
        if self._sandbox is not None:
            await self._sandbox.close()
            self._sandbox = None

    async def _standing(self) -> Sandbox:
        async with self._starting:
            if self._sandbox is not None:
                return self._sandbox
            standing = asyncio.create_task(self._stand())
            try:
                sandbox = await asyncio.shield(standing)
            except asyncio.CancelledError:
                # Half a wall would be left behind: it is stood up, for `close` to take down.
                with contextlib.suppress(VeiligError):
                    self._sandbox = await standing
                raise
            self._sandbox = sandbox
            return sandbox

    async def _stand(self) -> Sandbox:
        if not self.root.is_dir():
            raise ProviderError(
                "there is no copy yet", why="a wall stands around one", fix="open the workspace first"
            )
        readonly = covering([*toolchain_mounts(self.python), *own_code(), *self._data])
        mounts = Mounts(self.root, readonly)
        walls = self._terms.walls
        hide = self._hide | ({"bubblewrap", "landlock", "container"} - set(walls))
        prefer = walls[0] if walls else None
        bounds = replace(self._terms.bounds, output_bytes=ANSWER_BYTES)
        sandbox = await stand(mounts, bounds, require=self._terms.require, prefer=prefer, hide=hide)
        if sandbox.uid is not None:
            await asyncio.to_thread(own, self.root, sandbox.uid, protected=mounts.protected)
            self.workspace.tree.owner = (sandbox.uid, sandbox.uid)
        await self._stood(sandbox.wall)
        return sandbox

    def _environment(self) -> dict[str, str]:
        path = f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin"
        return {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}


def own_code() -> tuple[Path, ...]:
    """What our own workers need inside: this package, and the interpreter with its packages that runs us."""
    import sys

    import veilig

    return (*toolchain_mounts(Path(sys.executable)), Path(veilig.__file__).parent)


def own_program(module: str) -> tuple[str, ...]:
    """The command that runs a module of ours inside, wherever this package was installed.

    An import lists the folder above the package, which an editable install has outside of the interpreter
    and no wall shows; so the package is named by its place. -I: the working folder is the copy, and a module
    of it must never be taken for one of ours.
    """
    import sys

    import veilig

    return (sys.executable, "-I", "-c", _NAMED, str(Path(veilig.__file__).parent), module)


def find_python(source: Path, given: str | None, environment: Mapping[str, str]) -> Path:
    """The interpreter of the project: given, its own .venv or venv, the active one, or the one that runs us.

    Raises ProviderError when the given one does not exist.
    """
    import sys

    if given:
        found = shutil.which(given)
        if found is None:
            raise ProviderError(
                f"no interpreter {given!r}", why="it is not on PATH and no file", fix="give its path"
            )
        return Path(found).absolute()
    for folder in (source / ".venv", source / "venv", Path(environment.get("VIRTUAL_ENV") or "/nonexistent")):
        python = folder / "bin" / "python"
        if os.access(python, os.X_OK):
            return python
    return Path(sys.executable)
