"""What does the kernel say of processes? /proc, read once per look: who runs, since when, how large.

A pid alone names nobody: it is believed with its start time. What cannot be read (another user's process,
one that just ended) is None or empty, never a guess.
"""

import contextlib
import os
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
_TICK_HZ = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = resource.getpagesize()
_CMDLINE_BYTES = 64 << 10  # longer command lines exist; the first 64 KiB tell one from another


@dataclass(frozen=True, slots=True)
class Process:
    """One process. start_ticks: since boot; state: as the kernel writes it, Z for ended.

    group and session: of process, to find what a service left behind. cpu_ticks: user and system, own only.
    """

    pid: int
    parent: int
    group: int
    session: int
    state: str
    name: str
    start_ticks: int
    cpu_ticks: int
    threads: int
    rss_bytes: int

    @property
    def started_s(self) -> float:
        """When it started, on the boot clock; exact to a tick (10 ms)."""
        return self.start_ticks / _TICK_HZ

    @property
    def cpu_s(self) -> float:
        """CPU time it has used."""
        return self.cpu_ticks / _TICK_HZ

    @property
    def incarnation(self) -> str:
        """Pid and start: never the same for two processes of one boot."""
        return f"{self.pid}:{self.start_ticks}"

    @property
    def ended(self) -> bool:
        """It is only a row that its parent has not read yet."""
        return self.state in ("Z", "X", "x")

    @property
    def stopped(self) -> bool:
        """It gets no CPU until somebody continues it."""
        return self.state in ("T", "t")


def parse_stat(text: str) -> Process | None:
    """A row of /proc/PID/stat. The name may hold blanks and parentheses: it ends at the last one."""
    head, closed, tail = text.rpartition(")")
    pid, opened, name = head.partition("(")
    rest = tail.split()
    if not closed or not opened or len(rest) < 22:
        return None
    try:
        return Process(
            pid=int(pid),
            parent=int(rest[1]),
            group=int(rest[2]),
            session=int(rest[3]),
            state=rest[0],
            name=name,
            start_ticks=int(rest[19]),
            cpu_ticks=int(rest[11]) + int(rest[12]),
            threads=int(rest[17]),
            rss_bytes=int(rest[21]) * _PAGE_BYTES,
        )
    except ValueError:
        return None


def process(pid: int) -> Process | None:
    """The process of this pid now; None when there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return None
    return parse_stat(text)


def command_line(pid: int) -> tuple[str, ...]:
    """Its argv; empty for a kernel thread, an ended process, or one that may not be read."""
    try:
        with (PROC / str(pid) / "cmdline").open("rb") as file:
            raw = file.read(_CMDLINE_BYTES)
    except OSError:
        return ()
    return tuple(os.fsdecode(word) for word in raw.rstrip(b"\0").split(b"\0")) if raw else ()


def link(pid: int, name: str) -> str:
    """Where /proc/PID/`name` (cwd, exe, root) points; empty when it cannot be read."""
    try:
        return str((PROC / str(pid) / name).readlink())
    except OSError:
        return ""


def described(pid: int) -> str:
    """For people: "pid 7 python3"."""
    seen = process(pid)
    return f"pid {pid} {seen.name}" if seen else f"pid {pid}"


@dataclass(frozen=True, slots=True)
class Files:
    """What one process has open. sockets: their inodes; paths: of files, as the kernel names them."""

    count: int
    limit: int
    sockets: frozenset[int]
    paths: frozenset[str]


def open_files(pid: int) -> Files | None:
    """What it has open; None when it may not be looked at."""
    folder = f"{PROC}/{pid}/fd"
    sockets, paths = set[int](), set[str]()
    try:
        names = os.listdir(folder)  # noqa: PTH208  # once per look and service: Path objects double its cost
    except OSError:
        return None
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")  # noqa: PTH115  # as above
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            sockets.add(int(target[8:-1]))
        elif target.startswith("/"):
            paths.add(target)
    return Files(len(names), _files_limit(pid), frozenset(sockets), frozenset(paths))


def outputs(pid: int, files: Files) -> tuple[str, ...]:
    """Files it writes its words to: what stands behind stdout and stderr, and open ones named as logs."""
    behind = {link(pid, "fd/1"), link(pid, "fd/2")}
    found = {path for path in files.paths if path in behind or path.endswith((".log", ".out", ".err"))}
    real = (path for path in found if not path.startswith(("/dev/", "/proc/", "/memfd:")))
    return tuple(sorted(path for path in real if is_text(path) and not path.endswith(" (deleted)")))


def is_text(path: str) -> bool:
    """Its name can be told and kept; one of bytes that are no UTF-8 cannot."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _files_limit(pid: int) -> int:
    try:
        text = (PROC / str(pid) / "limits").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdigit() else 0
    return 0


@dataclass(slots=True)
class Table:
    """Every process at one moment, read in one pass."""

    rows: dict[int, Process] = field(default_factory=dict[int, Process])
    children: dict[int, list[int]] = field(default_factory=dict[int, list[int]])

    def tree(self, pids: Iterable[int]) -> tuple[Process, ...]:
        """These processes and all below them that still run, each once."""
        found: dict[int, Process] = {}
        left = list(pids)
        while left:
            pid = left.pop()
            row = self.rows.get(pid)
            if row is None or pid in found:
                continue
            found[pid] = row
            left += self.children.get(pid, ())
        return tuple(row for row in found.values() if not row.ended)


def table() -> Table:
    """Read /proc once. About 15 microseconds a process."""
    made = Table()
    for pid in pids():
        try:
            with open(f"{PROC}/{pid}/stat", "rb") as file:  # noqa: PTH123  # the hot line of a look
                text = file.read(2048)
        except OSError:
            continue  # it ended between the list and here
        row = parse_stat(text.decode("utf-8", "replace"))
        if row is not None:
            made.rows[pid] = row
            made.children.setdefault(row.parent, []).append(pid)
    return made


def pids() -> Iterator[int]:
    """Every pid there is now."""
    with contextlib.suppress(OSError):
        for name in os.listdir(PROC):  # noqa: PTH208  # as above
            if name.isdigit():
                yield int(name)
