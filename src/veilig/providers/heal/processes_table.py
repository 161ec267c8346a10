"""What does the kernel say of a process? Who it is, who its children are, what it listens on (Linux /proc).

Everything is read at the moment of the question; a process that ended meanwhile is None or absent.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS_S = os.sysconf("SC_CLK_TCK")
_LISTEN = "0A"  # state of a listening socket in /proc/net/tcp
FAMILY_MAX = 64  # a server with more children is known by its first
_ARGV_BYTES = 128 << 10  # the kernel's usual bound for one argument


@dataclass(frozen=True, slots=True)
class Proc:
    """One process. ticks: its start on the boot clock, the half of its identity that no later pid shares."""

    pid: int
    ppid: int
    group: int
    session: int
    state: str
    ticks: int
    argv: tuple[str, ...] = ()

    @property
    def incarnation(self) -> str:
        """Never the same for two processes of one boot."""
        return f"{self.pid}:{self.ticks}"

    @property
    def started_s(self) -> float:
        """Boot clock of its start."""
        return self.ticks / TICKS_S

    @property
    def alive(self) -> bool:
        """A zombie only waits for its parent."""
        return self.state not in "ZXx"

    @property
    def frozen(self) -> bool:
        """Stopped by a signal or a tracer."""
        return self.state in "Tt"

    @property
    def name(self) -> str:
        """For people: the pid and the program."""
        return f"pid {self.pid} {Path(self.argv[0]).name if self.argv else '?'}"


def read(pid: int, *, argv: bool = True) -> Proc | None:
    """The process `pid`, zombies included."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  # ten thousand of these a minute
            text = file.read()
    except OSError:
        return None
    rest = text[text.rindex(b")") + 2 :].split()  # a program may put spaces and brackets into its name
    return Proc(
        pid,
        int(rest[1]),
        int(rest[2]),
        int(rest[3]),
        rest[0].decode("ascii", "replace"),
        int(rest[19]),
        _argv(pid) if argv else (),
    )


def _argv(pid: int) -> tuple[str, ...]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
            data = file.read(_ARGV_BYTES)
    except OSError:
        return ()
    return (
        tuple(part.decode("utf-8", "replace") for part in data.removesuffix(b"\0").split(b"\0"))
        if data
        else ()
    )


def table() -> dict[int, Proc]:
    """Every process that is alive."""
    found: dict[int, Proc] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  # names, not paths: four times a second
        if name.isdecimal() and (proc := read(int(name))) and proc.alive:
            found[proc.pid] = proc
    return found


def tree(main: Proc, processes: Mapping[int, Proc]) -> list[Proc]:
    """`main`, its descendants, and whoever is in the group or session that it leads."""
    children: dict[int, list[Proc]] = {}
    for proc in processes.values():
        children.setdefault(proc.ppid, []).append(proc)
    found = {main.pid: main}
    waiting = [main.pid]
    for proc in processes.values():
        leads = main.pid in (proc.group, proc.session)
        if leads and proc.pid not in found and proc.ticks >= main.ticks:
            found[proc.pid] = proc
            waiting.append(proc.pid)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child.pid not in found:
                found[child.pid] = child
                waiting.append(child.pid)
    return list(found.values())


def family(pid: int) -> tuple[int, ...]:
    """The process and its descendants, itself first; cheap where the kernel lists children, else it alone."""
    found = [pid]
    for parent in found:
        try:
            with open(f"/proc/{parent}/task/{parent}/children", "rb") as file:  # noqa: PTH123
                found += [int(child) for child in file.read().split()]
        except OSError:
            continue
        if len(found) >= FAMILY_MAX:
            break
    return tuple(found[:FAMILY_MAX])


def link(pid: int, name: str) -> str:
    """Where /proc/PID/`name` (cwd, exe) points; "" when that may not be read."""
    try:
        return os.readlink(f"/proc/{pid}/{name}").removesuffix(" (deleted)")  # noqa: PTH115
    except OSError:
        return ""


def opened(pid: int) -> list[str]:
    """Paths and sockets that the process holds open; empty when that may not be read."""
    found: list[str] = []
    try:
        names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208
    except OSError:
        return found
    for name in names:
        if target := link(pid, f"fd/{name}"):
            found.append(target)
    return found


def writes(pid: int, paths: Iterable[str]) -> bool:
    """Does the process hold one of these files open for writing?"""
    wanted = set(paths)
    try:
        names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208
    except OSError:
        return False
    for name in names:
        if link(pid, f"fd/{name}") in wanted:
            try:
                info = Path(f"/proc/{pid}/fdinfo/{name}").read_text(encoding="ascii").split()
            except OSError:
                continue
            if int(info[info.index("flags:") + 1], 8) & os.O_ACCMODE:
                return True
    return False


def environment(pid: int) -> dict[str, str]:
    """What it was started with; empty when that may not be read."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.decode("utf-8", "surrogateescape").partition("=") for item in data.split(b"\0") if item)
    return {name: value for name, _, value in pairs if name}


def user(pid: int) -> tuple[int, int] | None:
    """Real uid and gid."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    ids = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("Uid:", "Gid:"))}
    return (int(ids["Uid"]), int(ids["Gid"])) if len(ids) == 2 else None


def listening(port: int, *, here: bool = False) -> frozenset[str]:
    """Sockets that listen on TCP `port`, as /proc/PID/fd names them. here: loopback or any address."""
    found: set[str] = set()
    wanted = f":{port:04X}"
    for table_name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table_name}").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines[1:]:
            cells = line.split()
            if (
                len(cells) > 9
                and cells[3] == _LISTEN
                and cells[1].endswith(wanted)
                and not (here and _elsewhere(cells[1]))
            ):
                found.add(f"socket:[{cells[9]}]")
    return frozenset(found)


def _elsewhere(address: str) -> bool:
    """Is this one card's own address (hex, 32-bit words in the machine's order)?"""
    host = address.partition(":")[0]
    loopback = host.endswith("7F") if len(host) == 8 else host.endswith(("01000000", "0100007F"))
    return bool(host.strip("0")) and not loopback


def listens(pids: Iterable[int], sockets: frozenset[str]) -> bool:
    """Does one of these processes hold one of these sockets?"""
    return bool(sockets) and any(not sockets.isdisjoint(opened(pid)) for pid in pids)


def holder(sockets: frozenset[str], processes: Mapping[int, Proc]) -> Proc | None:
    """Who holds one of these sockets; None when nobody does, or nobody whom we may look at."""
    return next((p for p in processes.values() if listens((p.pid,), sockets)), None)
