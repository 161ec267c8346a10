"""What of the workspace must a command not change, and whose is the rest? Prepared before the wall stands.

A protected path that exists becomes a read-only mount. One that is absent gets an empty, unwritable directory
as a mount point for as long as the box stands: nothing else can take its name, no tree comparison sees
an empty directory, and it is removed when the box closes. A note outside the workspace lets a later box
remove what a killed one left.
"""

import contextlib
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from veilig.core.errors import ProviderError


@dataclass(slots=True)
class Protection:
    """What the wall has to mount for the protected paths, and which of them it cannot hold.

    pinned: directories between workspace and a protected path; mounted onto themselves, so that renaming the
    parent does not move the mount away. weak: (path, reason).
    """

    readonly: list[Path] = field(default_factory=list[Path])
    pinned: list[Path] = field(default_factory=list[Path])
    placeholders: list[Path] = field(default_factory=list[Path])
    weak: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    note: Path | None = None

    def undo(self) -> None:
        """Remove the placeholders nobody else needs. One that is not empty is somebody's now: it stays."""
        if self.note is None:
            return
        self.note.unlink(missing_ok=True)
        needed = {path for _, paths in _notes(self.note.parent) for path in paths}
        _remove([path for path in self.placeholders if str(path) not in needed])
        self.note = None


def check_workspace(workspace: Path) -> Path:
    """The real path of the workspace. Raises ProviderError for one that would open up the machine."""
    real = workspace.resolve()
    why = ""
    if not real.is_dir():
        why = "it is not a directory"
    elif Path.home().resolve().is_relative_to(real):
        why = "it contains your home directory, with its keys and start-up files"
    elif any(
        Path(system).resolve().is_relative_to(real) for system in ("/usr", "/etc", "/proc", "/var", "/run")
    ):
        why = "it contains parts of the system"
    elif any(
        real.is_relative_to(system) for system in ("/usr", "/etc", "/proc", "/sys", "/dev", "/boot", "/run")
    ):
        why = "it lies inside the system"
    if why:
        raise ProviderError(
            f"{str(workspace)!r} cannot be a workspace",
            why=why,
            fix="name the project's own directory, or a copy of it",
        )
    return real


def protect(workspace: Path, protected: tuple[str, ...]) -> Protection:
    """Look at every protected path and make the missing mount points. Raises ProviderError for a bad path."""
    plan = Protection()
    # A mount point of another living box is one of ours as well: it must outlive that box for our sake
    claimed = {path for _, paths in _notes(state_directory()) for path in paths}
    for text in protected:
        relative = PurePosixPath(text)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise ProviderError(
                f"protected path {text!r} is not inside the workspace",
                why="a protected path is relative and has no '..'",
                fix="write it as seen from the root of the workspace, for example '.git/hooks'",
            )
        _plan(workspace, relative, plan, claimed)
    if plan.placeholders:
        _make(plan)
    return plan


def _plan(workspace: Path, relative: PurePosixPath, plan: Protection, claimed: set[str]) -> None:
    path = workspace
    for index, part in enumerate(relative.parts):
        path /= part
        last = index == len(relative.parts) - 1
        try:
            found = path.lstat()
        except FileNotFoundError:
            plan.placeholders.append(path)
            return
        if str(path) in claimed and stat.S_ISDIR(found.st_mode):
            plan.placeholders.append(path)
            return
        if stat.S_ISLNK(found.st_mode):
            plan.weak.append(
                (str(relative), "is, or lies behind, a symbolic link that a command can replace")
            )
            return
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            plan.weak.append((str(relative), "has a second name (hard link) through which it can be written"))
        if last:
            plan.readonly.append(path)
        elif stat.S_ISDIR(found.st_mode):
            plan.pinned.append(path)
        else:
            plan.weak.append((str(relative), f"{path.name} is not a directory"))
            return


def _state_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    directory = Path(base) / "veilig" / "sandbox"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def state_directory() -> Path:
    """Where notes and cached probes lie: ours alone. Raises ProviderError when there is no such place."""
    try:
        directory = _state_directory()
        found = directory.stat()
    except OSError as error:
        raise ProviderError(
            "no private directory for the sandbox's notes",
            why=str(error),
            fix="set XDG_CACHE_HOME to a directory you can write",
        ) from error
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ProviderError(
            f"{str(directory)!r} can be written by others",
            why="notes and cached probes are trusted",
            fix=f"chmod 700 {directory} and make it yours",
        )
    return directory


def _notes(directory: Path) -> Iterator[tuple[Path, list[str]]]:
    for note in directory.glob("placeholders-*.json"):
        with contextlib.suppress(OSError, ValueError):  # another box has just removed its own
            yield note, list(map(str, json.loads(note.read_text())))


def _make(plan: Protection) -> None:
    plan.placeholders = list(dict.fromkeys(plan.placeholders))
    directory = state_directory()
    plan.note = directory / f"placeholders-{os.getpid()}-{secrets.token_hex(4)}.json"
    plan.note.write_text(json.dumps([str(path) for path in plan.placeholders]))
    for path in plan.placeholders:
        try:
            path.mkdir(mode=0o555)
        except FileExistsError:
            continue  # another box made it a moment ago
        except OSError as error:
            plan.undo()
            raise ProviderError(
                f"{str(path)!r} cannot be kept from being made",
                why=f"its mount point cannot be made: {error.strerror}",
                fix="make the workspace writable for yourself, or take the path from the protected ones",
            ) from error


def private_directory() -> tuple[Path, Callable[[], None]]:
    """A directory of a box outside any workspace, and what removes it; noted, so `sweep` finds it."""
    note = state_directory() / f"directory-{os.getpid()}-{secrets.token_hex(4)}.json"
    path = Path(tempfile.mkdtemp(prefix="veilig-box-"))
    note.write_text(json.dumps(str(path)))

    def remove() -> None:
        shutil.rmtree(path, ignore_errors=True)
        note.unlink(missing_ok=True)

    return path, remove


def sweep() -> None:
    """Remove the placeholders and directories of boxes whose maker was killed."""
    directory = state_directory()
    for note in directory.glob("directory-*.json"):
        maker = note.name.split("-")[1]
        if maker.isdigit() and not Path(f"/proc/{maker}").exists():
            with contextlib.suppress(OSError, ValueError):  # another box sweeps as well
                shutil.rmtree(str(json.loads(note.read_text())), ignore_errors=True)
                note.unlink(missing_ok=True)
    for note, paths in list(_notes(directory)):
        maker = note.name.split("-")[1]
        if maker.isdigit() and Path(f"/proc/{maker}").exists():
            continue
        note.unlink(missing_ok=True)
        needed = {path for _, others in _notes(directory) for path in others}
        _remove([Path(text) for text in paths if text not in needed])


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):  # not empty, or gone: not ours any more
            path.rmdir()


def own(workspace: Path, uid: int | None, *, protected: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """Give the workspace to the user the commands run as; what is protected stays ours.

    Returns the files left alone because they have a further name outside the workspace (a package cache that
    links instead of copying): giving them away would give the cache away. With uid None nothing is to do.
    Raises ProviderError when a file cannot be given away.
    """
    if uid is None:
        return ()
    keep = {workspace / name for name in protected}
    linked: dict[tuple[int, int], list[Path]] = {}
    links: dict[tuple[int, int], int] = {}
    try:
        os.chown(workspace, uid, uid, follow_symlinks=False)
        for root, directories, files in os.walk(workspace):
            directories[:] = [name for name in directories if Path(root, name) not in keep]
            for name in (*directories, *files):
                path = Path(root, name)
                found = path.lstat()
                if path in keep:
                    continue
                if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
                    linked.setdefault((found.st_dev, found.st_ino), []).append(path)
                    links[found.st_dev, found.st_ino] = found.st_nlink
                    continue
                os.chown(path, uid, uid, follow_symlinks=False)
        for inode, paths in linked.items():
            if len(paths) == links[inode]:
                os.chown(paths[0], uid, uid, follow_symlinks=False)
    except OSError as error:
        raise ProviderError(
            f"the workspace cannot be given to the sandbox's user {uid}",
            why=str(error),
            fix="work on a copy of the project that belongs to you",
        ) from error
    return tuple(path for inode, paths in linked.items() if len(paths) != links[inode] for path in paths)
