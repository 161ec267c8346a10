"""How is each kind of act done, once it may be? Restart, stop, scale, roll back, free space."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from veilig.core.action import (
    Action,
    ChangeDatabase,
    FreeSpace,
    RestartService,
    RollBack,
    ScaleDown,
    ScaleUp,
    StopService,
)
from veilig.core.errors import ProviderError
from veilig.core.service import Inventory, Service
from veilig.providers.heal.substrate import ChangesDatabases, Done, Previews, RollsBack, Substrate

KINDS = frozenset(
    {
        "service.restart", "service.stop", "service.rollback", "space.free",
        "container.scale_up", "container.scale_down", "database.change",
    }
)  # fmt: skip


class Files(Protocol):
    """What is known of a service's files: their last-good state, and which can be made again."""

    def last_good(self, service: Service) -> str:
        """Digest of the recorded state; "" for none."""
        ...

    def regenerable(self, service: Service) -> frozenset[str]:
        """Absolute paths, judged now."""
        ...

    def restore(self, service: Service, files: Sequence[tuple[str, str, str]], to: str) -> str:
        """Bring exactly these back to state `to`, each fenced by its SHA-256 now; a line for people."""
        ...


def service_of(action: Action, inventory: Inventory) -> Service:
    """Whom the act concerns; of a group, its first member. Raises ProviderError."""
    found: Service | None = None
    if isinstance(action, RestartService | StopService | RollBack | FreeSpace):
        found = inventory.get(action.service)
    elif isinstance(action, ChangeDatabase):
        found = inventory.get(action.database)
    elif isinstance(action, ScaleUp | ScaleDown):
        named = inventory.get(action.group)
        found = named or next((s for s in inventory.services if s.group == action.group), None)
    if found is None:
        raise ProviderError(
            f"{action.kind} {action.target}: no such service", why="the services file has none"
        )
    return found


def starts(action: Action) -> bool:
    """Does it start a service, so that it is counted as a start of ours?"""
    restart = isinstance(action, ChangeDatabase) and action.verb == "restart"
    return restart or isinstance(action, RestartService | RollBack)


async def perform(action: Action, service: Service, substrate: Substrate, files: Files) -> Done:
    """Do it. Raises ProviderError when it could not be done."""
    match action:
        case RestartService():
            return await substrate.restart(service, action.incarnation)
        case StopService():
            return await substrate.stop(service, action.incarnation)
        case ScaleUp() | ScaleDown():
            return await substrate.scale(action.group, action.current, action.replicas)
        case RollBack() if isinstance(substrate, RollsBack):
            return await substrate.roll_back(service, action.incarnation, action.files, action.to)
        case RollBack():
            await _must_be(service, substrate, action.incarnation)
            restored = files.restore(service, action.files, action.to)
            done = await substrate.restart(service, action.incarnation)
            return Done(done.ok, f"{restored}; {done.detail}", done.incarnation)
        case ChangeDatabase():
            if not isinstance(substrate, ChangesDatabases):
                raise ProviderError(f"{service.name} is no database", why=f"its keeper is {substrate.name}")
            return await substrate.change(service, action.verb, action.argument)
        case FreeSpace():
            return free(action, files.regenerable(service))
        case _:
            raise ProviderError(f"no broker performs {action.kind}", why="the gate was wired wrongly")


async def show(action: Action, service: Service, substrate: Substrate) -> str:
    """What an act would touch, for people; "" where the keeper has nothing to add."""
    if isinstance(action, ChangeDatabase) and isinstance(substrate, Previews):
        return await substrate.preview(service, action.verb, action.argument)
    return ""


async def _must_be(service: Service, substrate: Substrate, incarnation: str) -> None:
    """The fence before files change: the restart looks again by itself."""
    (seen,) = await substrate.look([service])
    if seen.incarnation != incarnation:
        raise ProviderError(
            f"{service.name} is not the one that was meant", why=f"{seen.incarnation or 'nothing'} runs now"
        )


def free(action: FreeSpace, regenerable: frozenset[str]) -> Done:
    """Remove those that are still what the act names; the others stay, and are said."""
    freed, kept = 0, list[str]()
    for path, size, mtime_ns, inode in action.files:
        why = _remove(path, (size, mtime_ns, inode))
        if why:
            kept.append(f"{path} ({why})")
        else:
            freed += size
    known = sum(1 for path, *_ in action.files if path in regenerable)
    gone = len(action.files) - len(kept)
    text = f"{gone} of {len(action.files)} files removed, {freed} bytes ({known} of them can be made again)"
    return Done(gone > 0, text + (f"; left: {', '.join(kept[:5])}" if kept else ""))


def _remove(path: str, expected: tuple[int, int, int]) -> str:
    """Why it was not removed; "" when it was. The folder is pinned, so that no link can lead elsewhere."""
    folder, name = os.path.split(path)
    try:
        if Path(folder).resolve() != Path(folder):
            return "its folder is reached through a link"
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return error.strerror or "gone"
    try:
        info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISREG(info.st_mode):
            return "no plain file"
        if (info.st_size, info.st_mtime_ns, info.st_ino) != expected:
            return "changed meanwhile"
        os.unlink(name, dir_fd=descriptor)
    except OSError as error:
        return error.strerror or "gone"
    finally:
        os.close(descriptor)
    return ""
