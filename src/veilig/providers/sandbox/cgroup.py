"""How are memory and processes of a whole box bounded? A control group of our own, where we may make one.

Version 1: a directory below our own group in the `memory` and the `pids` hierarchy, so that whatever limits
us goes on limiting the box. Version 2: the same below our own group if it hands its controllers down, else
beside it (a group with processes in it cannot have children with controllers). Else: none, with the reason.
"""

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "veilig-"
_REMOVE_S = 2.0  # the kernel empties a group a moment after its last process died


@dataclass(frozen=True, slots=True)
class _Names:
    memory_max: str
    swap_max: str
    events: str


_V1 = _Names("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control")
_V2 = _Names("memory.max", "memory.swap.max", "memory.events")


@dataclass(frozen=True, slots=True)
class Group:
    """The directories of one box; `memory` and `pids` are the same one in version 2."""

    memory: Path | None
    pids: Path | None
    version: int
    why_not: str = ""

    @property
    def _names(self) -> _Names:
        return _V1 if self.version == 1 else _V2

    @property
    def _directories(self) -> list[Path]:
        return list(dict.fromkeys(path for path in (self.memory, self.pids) if path is not None))

    def bound(self, *, memory_bytes: int, processes: int) -> None:
        """Set both bounds. Raises OSError when the kernel refuses them."""
        self.bound_memory(memory_bytes)
        if self.pids is not None:
            # one more for the process that watches, one for the moment between fork and refusal
            (self.pids / "pids.max").write_text(str(processes + 2))

    def bound_memory(self, memory_bytes: int) -> None:
        """Set the memory bound alone. Raises OSError, EBUSY when more is in use and cannot be freed."""
        if self.memory is None:
            return
        limit = self.memory / self._names.memory_max
        swap = self.memory / self._names.swap_max
        swap_value = memory_bytes if self.version == 1 else 0
        current = limit.read_text().strip()
        shrinking = current == "max" or int(current) >= memory_bytes
        order = (limit, swap) if shrinking else (swap, limit)
        for path in order:
            if path.exists():
                path.write_text(str(memory_bytes if path is limit else swap_value))

    def join(self, pid: int) -> None:
        """Put a process, and with it all its future children, into the group. Raises OSError.

        Zero is refused: the kernel would read it as "whoever writes this", which is us.
        """
        if pid <= 0:
            raise ProcessLookupError(f"process {pid} cannot be put into a control group")
        for directory in self._directories:
            (directory / "cgroup.procs").write_text(str(pid))

    def oom_kills(self) -> int:
        """How often the kernel killed a process of this box for memory."""
        if self.memory is None:
            return 0
        try:
            for line in (self.memory / self._names.events).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        except (OSError, ValueError):
            return 0
        return 0

    def remove(self) -> None:
        """Remove the directories once they are empty; one that stays busy is swept by a later sandbox."""
        deadline_s = time.monotonic() + _REMOVE_S
        for directory in self._directories:
            while not _rmdir(directory) and time.monotonic() < deadline_s:
                time.sleep(0.005)


def _rmdir(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def make() -> Group:
    """A new, empty group, or one without directories that says why."""
    name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    reasons: list[str] = []
    try:
        parents = {controller: _parent(controller) for controller in ("memory", "pids")}
    except OSError as error:
        return Group(None, None, 0, f"/proc/self/cgroup or mountinfo cannot be read: {error}")
    made: dict[str, Path] = {}
    version = 0
    for controller, found in parents.items():
        if found is None:
            reasons.append(f"no {controller} controller is mounted")
            continue
        parent, version = found
        _sweep(parent)
        directory = parent / name
        try:
            directory.mkdir(exist_ok=True)
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror}")
            continue
        if not (directory / ("pids.max" if controller == "pids" else _names(version).memory_max)).exists():
            reasons.append(f"{parent} does not hand the {controller} controller down")
            if directory not in made.values():
                _rmdir(directory)
            continue
        made[controller] = directory
    return Group(made.get("memory"), made.get("pids"), version, "; ".join(dict.fromkeys(reasons)))


def of(pid: int, *, memory_bytes: int) -> Group:
    """The group somebody else made for this process, if it bounds the memory as told; ours is never taken."""
    try:
        found, ours = _parent("memory", str(pid)), _parent("memory")
        if found is not None and (ours is None or found[0].resolve() != ours[0].resolve()):
            group = Group(found[0], None, found[1])
            if int((found[0] / _names(found[1]).memory_max).read_text()) == memory_bytes:
                return group
    except (OSError, ValueError) as error:
        return Group(None, None, 0, f"the group of process {pid} cannot be read: {error}")
    return Group(None, None, 0, "the engine made no control group that bounds the memory")


def _names(version: int) -> _Names:
    return _V1 if version == 1 else _V2


def _parent(controller: str, pid: str = "self") -> tuple[Path, int] | None:
    """The directory under which a group for this controller belongs, and the version."""
    own: dict[str, str] = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for one in controllers.split(","):
            own[one] = path
    unified: tuple[Path, int] | None = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        separator = fields.index("-")
        kind, options = fields[separator + 1], fields[separator + 3].split(",")
        root, mount = fields[3], Path(fields[4])
        if kind == "cgroup" and controller in options and controller in own:
            return mount / os.path.relpath(own[controller], root), 1
        if kind == "cgroup2" and "" in own:
            here = mount / os.path.relpath(own[""], root)
            if pid != "self":
                unified = here, 2
                continue
            unified = (here if _hands_down(here, controller) else here.parent), 2
            if not _hands_down(unified[0], controller):
                unified = None
    return unified


def _hands_down(directory: Path, controller: str) -> bool:
    try:
        return controller in (directory / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _sweep(parent: Path) -> None:
    """Remove groups whose maker is gone: it was killed before it could."""
    for directory in parent.glob(f"{_PREFIX}*-*"):
        maker = directory.name.removeprefix(_PREFIX).split("-")[0]
        if maker.isdigit() and not Path(f"/proc/{maker}").exists():
            _rmdir(directory)
