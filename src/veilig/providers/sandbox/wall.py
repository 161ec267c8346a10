"""What is a wall, what does it hold, and what comes back from a command behind it?"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from veilig.core import limits
from veilig.core.errors import ProviderError

# Files that a program outside the wall runs or obeys: who may write them can leave the box later.
PROTECTED_PATHS = (
    ".git",
    ".gitmodules",
    ".veilig",
    "veilig.yaml",
    "AGENTS.md",
    "CLAUDE.md",
    ".vscode",
    ".idea",
    ".envrc",
)

OnOutput = Callable[[int, bytes], None]


class Feature(enum.StrEnum):
    """One thing a wall may hold. The meaning is what the probe of `preflight` tries, no more."""

    FILES_READ = "files_read"  # nothing outside workspace and toolchain can be read
    FILES_WRITE = "files_write"  # nothing outside workspace and private directories can be written
    PROTECTED = "protected"  # the protected paths inside the workspace stay as they are, absent ones too
    PRIVATE_TMP = "private_tmp"  # /tmp and HOME are the box's own, and bounded
    NETWORK = "network"  # no address outside can be reached, nor a listener of the host
    LOOPBACK = "loopback"  # servers inside can be reached from inside: given, not held
    UNIX_SOCKETS = "unix_sockets"  # no socket of the host, neither abstract nor by path
    PROCESSES = "processes"  # number of processes bounded
    MEMORY = "memory"  # memory of all processes together bounded
    PROCESS_MEMORY = "process_memory"  # memory of each single process bounded
    CPU = "cpu"  # CPU seconds of a command bounded
    OUTPUT = "output"  # output bytes bounded
    FILE_SIZE = "file_size"  # size of a written file bounded
    SIGNALS = "signals"  # no process outside can be signalled
    PID_NAMESPACE = "pid_namespace"  # processes outside cannot be seen
    DEVICES = "devices"  # only null, zero, full, random, urandom, tty, ptmx
    SECCOMP = "seccomp"  # the system calls in seccomp.py are refused
    PRIVILEGES = "privileges"  # not root outside, and no way to become it
    CLEANUP = "cleanup"  # nothing survives close()


class Reason(enum.StrEnum):
    """Why a command ended. Closed: every end is one of these."""

    EXITED = "exited"  # by itself, with an exit code or by a signal of its own
    TIMEOUT = "timeout"
    CPU = "cpu"
    MEMORY = "memory"  # the kernel killed a process of the box for memory and the command did not succeed
    OUTPUT = "output"
    KILLED = "killed"  # by us: cancelled or closed


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a command may use. Memory and processes count for the whole box where a cgroup holds them."""

    memory_bytes: int = limits.SANDBOX_MEMORY_BYTES
    cpu_s: float = limits.SANDBOX_CPU_S
    wall_s: float = limits.COMMAND_TIMEOUT_S_MAX
    processes: int = limits.SANDBOX_PROCESSES
    output_bytes: int = limits.OUTPUT_BYTES_MAX  # kept of each stream
    output_kill_bytes: int = limits.OUTPUT_BYTES_KILL  # both streams together
    file_bytes: int = limits.SANDBOX_FILE_BYTES
    open_files: int = limits.SANDBOX_OPEN_FILES
    tmp_bytes: int = limits.SANDBOX_TMP_BYTES

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not value > 0:
                raise ProviderError(
                    f"sandbox bound {name} is {value!r}",
                    why="a bound is a positive number; there is no 'unlimited'",
                    fix=f"give {name} a value above zero, or leave it out for the default",
                )

    def tightened(self, other: "Bounds | None") -> "Bounds":
        """The stricter value of each bound: an override can lower a bound, never raise it."""
        if other is None:
            return self
        return replace(
            self, **{name: min(getattr(self, name), getattr(other, name)) for name in self.__slots__}
        )


@dataclass(frozen=True, slots=True)
class Placed:
    """A directory of the host that is seen at another place inside: a task's `/app`, its `/tests`."""

    host: Path
    inside: Path
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Mounts:
    """What the box can see.

    workspace: read-write, at the same absolute path inside, so that a traceback, a coverage file or a
    compiled path means the same on both sides and nothing has to be translated.
    readonly: absolute paths, also at the same place; see `toolchain.toolchain_mounts`.
    protected: relative to the workspace, kept as they are: what exists is read-only, what is absent cannot
    be made.
    placed: directories at other places than outside; only walls with a view of their own can do that.
    """

    workspace: Path
    readonly: tuple[Path, ...] = ()
    protected: tuple[str, ...] = PROTECTED_PATHS
    placed: tuple[Placed, ...] = ()


@dataclass(frozen=True, slots=True)
class Wall:
    """Which wall stands and what it holds, as tried on this machine."""

    name: str
    enforces: frozenset[Feature]
    missing: tuple[tuple[Feature, str], ...]
    detail: str = ""

    def lacks(self, required: frozenset[Feature]) -> tuple[tuple[Feature, str], ...]:
        """The required features this wall does not hold, with the reason for each."""
        reasons = dict(self.missing)
        return tuple(
            (feature, reasons.get(feature, "not enforced"))
            for feature in Feature
            if feature in required and feature not in self.enforces
        )


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended and what it said.

    exit_code is None when a signal ended it, and the other way round. stdout and stderr keep head and tail of
    `Bounds.output_bytes`, with one line that says how many bytes were left out between them; the totals count
    everything. cpu_s is user plus system time of all processes of the command that were seen;
    max_rss_bytes is the largest single process (getrusage, so never below the ~10 MB of the starter).
    """

    exit_code: int | None
    signal: int | None
    reason: Reason
    stdout: bytes
    stderr: bytes
    stdout_total: int
    stderr_total: int
    wall_s: float
    cpu_s: float
    max_rss_bytes: int

    @property
    def ok(self) -> bool:
        """True when the command ended by itself with exit code 0."""
        return self.reason is Reason.EXITED and self.exit_code == 0
