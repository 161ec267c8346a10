"""Which processes are there, whose children are they, and how much CPU did they use? A look at /proc."""

import os
from collections.abc import Mapping

Key = tuple[int, int]  # process id and start time in ticks: ids are used again, the pair is not


class Process:
    """One line of /proc. `own` and `total` are CPU ticks without and with its reaped children."""

    __slots__ = ("key", "own", "parent", "pid", "session", "state", "total")

    def __init__(self, pid: int, text: bytes) -> None:
        fields = text[text.rindex(b")") + 2 :].split()
        self.pid = pid
        self.state = fields[0].decode()
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.own = int(fields[11]) + int(fields[12])
        self.total = self.own + int(fields[13]) + int(fields[14])
        self.key: Key = (pid, int(fields[19]))

    @property
    def gone(self) -> bool:
        """Dead already; only its entry is left."""
        return self.state in "ZX"

    @property
    def stopped(self) -> bool:
        """Held by a stop signal."""
        return self.state in "Tt"


def look(pid: int) -> Process | None:
    """That process, or None when it is gone."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return Process(pid, os.read(fd, 4096))
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


def everyone() -> dict[int, Process]:
    """Every process that can be seen now, this one left out."""
    seen = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208  # bare names
    return {process.pid: process for process in seen if process is not None and process.pid != os.getpid()}


def chain(process: Process, table: Mapping[int, Process]) -> list[Process]:
    """The process, its parent, and so on up to the last one that can be seen."""
    links = [process]
    while (parent := table.get(links[-1].parent)) is not None and len(links) <= len(table):
        links.append(parent)
    return links
