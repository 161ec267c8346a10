"""The second rung: Landlock and seccomp, for machines on which no namespace may be made.

Nothing is mounted: the box sees the machine's own tree and may open only what is listed. There is no network
namespace: no socket can be made at all (pairs and pipes can), so servers inside do not work. There is no
process namespace: the watching process stays outside the domain, is the subreaper of everything inside,
and ends it by user (as root) or by descent.

Source of the numbers: include/uapi/linux/landlock.h of Linux 6.12.
"""

import contextlib
import os
import socket
import stat
from pathlib import Path

from veilig.core.errors import SandboxUnavailable

from . import cgroup, seccomp, toolchain, workspace
from .inside.confine import LandlockRules, landlock_version
from .sandbox import Standing
from .start import INSIDE, Starter, boot_command, fresh_user
from .wall import Bounds, Feature, Mounts

NAME = "landlock"

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST_ABI = (1 << 13) - 1  # everything of version 1
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_SCOPE_ABSTRACT, _SCOPE_SIGNAL = 1 << 0, 1 << 1
_TCP_BIND, _TCP_CONNECT = 1 << 0, 1 << 1
_ABI_MIN = 3  # before it a file could be truncated from outside its rule
_ABI_NET, _ABI_IOCTL, _ABI_SCOPE = 4, 5, 6
_SIZES = ((_ABI_SCOPE, 24), (_ABI_NET, 16), (1, 8))
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_PROC = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/version",
    "/proc/filesystems",
)
_ETC = ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf")

ABSENT: dict[Feature, str] = {
    Feature.PRIVATE_TMP: "no mounts: TMPDIR and HOME are fresh directories, their size is not bounded",
    Feature.LOOPBACK: "no network namespace: sockets are refused altogether",
    Feature.PID_NAMESPACE: "no process namespace: /proc is closed instead",
}


async def stand(
    mounts: Mounts, bounds: Bounds, *, strict: bool = False
) -> tuple[Standing, workspace.Protection]:
    """Bring the box up. strict: keep protected paths, at the price that nothing can be made, renamed or
    removed in the workspace's top directory. Raises SandboxUnavailable.
    """
    version = landlock_version()
    if version < _ABI_MIN:
        raise SandboxUnavailable(
            "the kernel has no Landlock that would do",
            why=f"version {version}, needed {_ABI_MIN} (Linux 6.2)",
        )
    if os.geteuid() != 0 and version < _ABI_SCOPE:
        raise SandboxUnavailable(
            "this kernel's Landlock cannot keep signals in",
            why=f"version {version}, needed {_ABI_SCOPE} (Linux 6.12) for a user who is not root",
        )
    if mounts.placed:
        raise SandboxUnavailable(
            f"{str(mounts.placed[0].inside)!r} cannot be shown inside",
            why="Landlock mounts nothing: what is seen lies where it lies outside",
        )
    if os.geteuid() == 0:
        _check_reachable(mounts.workspace)
    with Starter() as starter:
        return await _stand(starter, mounts, bounds, version, strict=strict)


async def _stand(
    starter: Starter, mounts: Mounts, bounds: Bounds, version: int, *, strict: bool
) -> tuple[Standing, workspace.Protection]:
    root = os.geteuid() == 0
    uid = fresh_user() if root else None
    private, remove = workspace.private_directory()
    starter.finish.append(remove)
    if uid is not None:
        os.chown(private, uid, uid)
    group = cgroup.make()
    starter.finish.append(group.remove)
    plan = workspace.Protection() if not strict else _existing(mounts)
    rules = _rules(mounts, private, plan, version, signals=not root, strict=strict)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = boot_command(str(INSIDE.parent), str(theirs.fileno()))
    try:
        process = starter.launch(argv, [theirs.fileno()])
    except SandboxUnavailable:
        ours.close()
        raise
    finally:
        theirs.close()
    config = {
        "uid": uid,
        "gid": uid or 0,
        "pid_namespace": False,
        "seccomp": seccomp.program(families=seccomp.NO_SOCKETS, own_ipc=False).hex(),
        "landlock": rules,
    }
    channel = await starter.connect(ours, process, config, bounds, group)
    standing = starter.standing(
        channel, process, home=str(private), uid=uid, group=group,
        # The kernel counts all tasks of the user, so those that run already come on top
        processes=bounds.processes + (0 if root else _tasks_of(os.geteuid())),
        environment={"TMPDIR": str(private)},
    )  # fmt: skip
    return standing, plan


def _check_reachable(path: Path) -> None:
    """The commands run as a user of their own, who must be able to walk to the workspace."""
    closed = [str(parent) for parent in path.parents if not parent.stat().st_mode & stat.S_IXOTH]
    if closed:
        raise SandboxUnavailable(
            "the workspace lies behind a private directory",
            why=f"{closed[-1]!r} is closed to the sandbox's user, and Landlock mounts nothing",
            fix="put the copy under a directory that others may pass",
        )


def _existing(mounts: Mounts) -> workspace.Protection:
    """Protected paths without mount points: what is absent cannot be made because nothing can."""
    plan = workspace.Protection()
    for text in mounts.protected:
        if len(Path(text).parts) > 1:
            plan.weak.append((text, "below the top directory; Landlock cannot take a part out of a tree"))
        elif (mounts.workspace / text).is_symlink():
            plan.weak.append((text, "is a symbolic link"))
        else:
            plan.readonly.append(mounts.workspace / text)
    return plan


def _rules(
    mounts: Mounts, private: Path, plan: workspace.Protection, version: int, *, signals: bool, strict: bool
) -> LandlockRules:
    handled = _FIRST_ABI | _REFER | _TRUNCATE | (_IOCTL_DEV if version >= _ABI_IOCTL else 0)
    write = handled & ~_IOCTL_DEV
    allowed: dict[Path, int] = {}
    own = toolchain.toolchain_mounts(toolchain.own_interpreter())
    for path in (*own, *mounts.readonly, *map(Path, (*_PROC, *_ETC))):
        allowed[path] = _READ
    for device in _DEVICES:
        allowed[Path(device)] = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
    allowed[private] = write
    if strict:
        allowed[mounts.workspace] = _READ
        for entry in mounts.workspace.iterdir():
            if entry not in plan.readonly and not entry.is_symlink():
                allowed[entry] = write
    else:
        allowed[mounts.workspace] = write
    rules: list[tuple[str, int]] = []
    for path, access in allowed.items():
        with contextlib.suppress(FileNotFoundError):
            directory = stat.S_ISDIR(path.stat().st_mode)
            rules.append((str(path), handled & (access if directory else access & _FILE_RIGHTS)))
    return {
        "size": next(size for since, size in _SIZES if version >= since),
        "fs": handled,
        "net": _TCP_BIND | _TCP_CONNECT if version >= _ABI_NET else 0,
        "scoped": (_SCOPE_ABSTRACT | (_SCOPE_SIGNAL if signals else 0)) if version >= _ABI_SCOPE else 0,
        "rules": rules,
    }


def _tasks_of(uid: int) -> int:
    """How many threads run as this user now."""
    count = 0
    for name in os.listdir("/proc"):  # noqa: PTH208  # names suffice
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == uid:  # noqa: PTH116
                    count += len(os.listdir(f"/proc/{name}/task"))  # noqa: PTH208  # names suffice
    return count
