"""Who drives this session now? One process at a time, and never two after a crash."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from veilig.core.errors import SessionError


def driven(folder: Path) -> bool:
    """Whether a process drives the session of this folder now."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class SessionLock:
    """A kernel lock on `folder/lock`; the kernel lets go of it when the process dies, however it dies.

    Raises SessionError (retry later) when another process holds it, or when it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SessionError(
                f"session {self._folder.name!r} cannot be locked",
                why=f"{error.filename}: {error.strerror}",
                fix="make the state folder writable, or name another with VEILIG_HOME",
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise SessionError(
                f"session {self._folder.name!r} is driven by another process",
                why="two drivers would act twice",
                fix="wait for it, or end it",
                retry_after_s=5.0,
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
