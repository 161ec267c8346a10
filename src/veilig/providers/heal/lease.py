"""Which healer may act on the targets of this services file? One at a time, or one per part of it.

The lock is on the services file itself, so it is the same whatever VEILIG_HOME says; the kernel lets go of a
dead one's. An editor may put a new file in its place: whoever acts must hold the lock of the one there now.
Healers of parts share that lock, which keeps out a healer of the whole, and each has a name in the kernel.
"""

import contextlib
import fcntl
import hashlib
import os
import socket
from pathlib import Path

from veilig.providers.heal import processes_table as kernel


class Lease:
    """Held or not, and by whom. `hold` tries again each time, so a second healer takes over when it can."""

    def __init__(self, services_file: Path, part: str = "") -> None:
        """part: the name of the share of the file that is acted on; "" for all of it."""
        self._path = services_file
        self._descriptor = -1
        self._part = part
        self._name: socket.socket | None = None

    def hold(self) -> str:
        """Take or keep it; "" when it is ours, else who has it, or why nobody can."""
        try:
            now = self._path.stat()
        except OSError as error:
            return f"the services file cannot be read: {error.strerror}"
        if self._descriptor >= 0:
            mine = os.fstat(self._descriptor)
            if (mine.st_dev, mine.st_ino) == (now.st_dev, now.st_ino):
                return ""
        fresh = -1
        try:
            fresh = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(fresh, (fcntl.LOCK_SH if self._part else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            there, again = os.fstat(fresh), self._path.stat()
            if (there.st_dev, there.st_ino) != (again.st_dev, again.st_ino):
                os.close(fresh)
                return "the services file is being replaced"
        except BlockingIOError:
            os.close(fresh)
            return f"another healer acts here: {_holder(now)}"
        except OSError as error:
            if fresh >= 0:
                os.close(fresh)
            return f"the services file cannot be locked: {error.strerror}"
        self.release()
        self._descriptor = fresh
        return self._named() if self._part else ""

    def _named(self) -> str:
        """Take the name of this part: a socket that nobody listens at, gone with the process."""
        mark = hashlib.sha256(f"{self._path.resolve()}#{self._part}".encode()).hexdigest()[:32]
        mine = socket.socket(socket.AF_UNIX)
        try:
            mine.bind(f"\0veilig-heal-{mark}")
        except OSError as error:
            mine.close()
            self.release()
            return f"another healer acts on part {self._part} here ({error.strerror})"
        self._name = mine
        return ""

    def release(self) -> None:
        """Let another one act."""
        if self._name is not None:
            self._name.close()
            self._name = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _holder(info: os.stat_result) -> str:
    """The process that holds the lock, from the kernel's table; its start is on the boot clock."""
    inode = f":{info.st_ino}"
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            cells = line.split()
            if "FLOCK" in cells and "->" not in cells and any(cell.endswith(inode) for cell in cells):
                proc = kernel.read(int(cells[cells.index("WRITE") + 1]))
                if proc is not None:
                    return f"{proc.name}, since {proc.started_s:.0f} s after boot"
    return "a process that cannot be seen"
