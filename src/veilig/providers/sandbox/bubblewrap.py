"""The first rung: namespaces by bubblewrap, a seccomp filter, and only workspace and toolchain mounted."""

import os
import shutil
import socket
from pathlib import Path

from veilig.core.errors import SandboxUnavailable

from . import cgroup, seccomp, toolchain, workspace
from .channel import sealed
from .sandbox import Standing
from .start import INSIDE, Starter, boot_command, fresh_user
from .wall import Bounds, Mounts

NAME = "bubblewrap"
HOME = "/home/veilig"
INSIDE_AT = Path("/run/veilig/inside")
_SHM_BYTES_MAX = 256 << 20  # browsers and databases want some; it counts as memory where a cgroup stands


def program() -> str | None:
    """The bwrap of the system; never one that a workspace could have put on PATH."""
    return shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")


async def stand(mounts: Mounts, bounds: Bounds) -> tuple[Standing, workspace.Protection]:
    """Bring the box up. Raises SandboxUnavailable with what bwrap or the kernel said."""
    bwrap = program()
    if bwrap is None:
        raise SandboxUnavailable(
            "bwrap is not installed", fix="apt install bubblewrap, or your system's like of it"
        )
    with Starter() as starter:
        return await _stand(starter, bwrap, mounts, bounds)


async def _stand(
    starter: Starter, bwrap: str, mounts: Mounts, bounds: Bounds
) -> tuple[Standing, workspace.Protection]:
    root = os.geteuid() == 0
    uid = fresh_user() if root else os.geteuid()
    group = cgroup.make()
    starter.finish.append(group.remove)
    plan = workspace.protect(mounts.workspace, mounts.protected)
    starter.finish.append(plan.undo)
    filter_fd = sealed("veilig-seccomp", seccomp.program(families=seccomp.OWN_NETWORK))
    passwd = f"veilig:x:{uid}:{uid}:veilig:{HOME}:/bin/sh\n"
    files = {
        "/etc/passwd": f"root:x:0:0:root:/root:/bin/sh\n{passwd}",
        "/etc/group": f"root:x:0:\nveilig:x:{uid}:\n",
        "/etc/hosts": "127.0.0.1 localhost veilig\n::1 localhost\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }
    data = {path: sealed("veilig-file", text.encode()) for path, text in files.items()}
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    passed = [theirs.fileno(), filter_fd, *data.values()]
    argv = [bwrap, *_namespaces(root, uid), "--seccomp", str(filter_fd)]
    argv += _view(mounts, plan, bounds, data)
    argv += ["--chdir", "/", "--", *boot_command(str(INSIDE_AT.parent), str(theirs.fileno()))]
    try:
        process = starter.launch(argv, passed)
    except SandboxUnavailable:
        ours.close()
        raise
    finally:
        theirs.close()
        for fd in passed[1:]:
            os.close(fd)
    config = {
        "uid": uid if root else None,
        "gid": uid,
        "pid_namespace": True,
        "seccomp": "",
        "landlock": None,
    }
    channel = await starter.connect(ours, process, config, bounds, group)
    # Protected paths keep their owner, which git inside would call dubious
    trust = (
        {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        if root
        else {}
    )
    standing = starter.standing(
        channel, process, home=HOME, uid=uid if root else None, group=group,
        # In a user namespace the kernel counts per namespace, and the watching process counts too
        processes=bounds.processes + (0 if root else 1), environment=trust, placeholders=plan.placeholders,
    )  # fmt: skip
    return standing, plan


def _namespaces(root: bool, uid: int) -> list[str]:
    argv = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    argv += ["--hostname", "veilig", "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"]
    if root:
        # No user namespace: one mapped to root would leave the commands root's user id outside, for which the
        # kernel enforces no process limit. The box drops to a user of its own, which takes these three.
        argv += ["--cap-drop", "ALL"]
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_KILL"):
            argv += ["--cap-add", capability]
    else:
        argv += ["--unshare-user", "--uid", str(uid), "--gid", str(uid), "--cap-drop", "ALL"]
    return argv


def _view(mounts: Mounts, plan: workspace.Protection, bounds: Bounds, data: dict[str, int]) -> list[str]:
    """What can be seen inside, in the order in which it has to be mounted."""
    shm = min(_SHM_BYTES_MAX, bounds.memory_bytes)
    argv = ["--proc", "/proc", "--dev", "/dev"]
    private = {"/dev/shm": shm, "/tmp": bounds.tmp_bytes, HOME: bounds.tmp_bytes}  # noqa: S108  # inside
    for place, size_bytes in private.items():
        argv += ["--perms", "1777", "--size", str(size_bytes), "--tmpfs", place]
    own = toolchain.toolchain_mounts(toolchain.own_interpreter())
    readonly = toolchain.covering([*own, *mounts.readonly])
    outside = [path for path in readonly if not path.is_relative_to(mounts.workspace)]
    placed = [place.inside for place in mounts.placed]
    argv += _parents([*outside, mounts.workspace, INSIDE_AT, *map(Path, data), *placed], outside)
    for path in outside:
        argv += _readonly(path)
    for path, fd in data.items():
        argv += ["--perms", "0644", "--ro-bind-data", str(fd), path]
    argv += ["--ro-bind", str(INSIDE), str(INSIDE_AT)]
    argv += ["--bind", str(mounts.workspace), str(mounts.workspace)]
    for place in mounts.placed:
        argv += ["--bind" if place.writable else "--ro-bind", str(place.host), str(place.inside)]
    for path in plan.pinned:
        argv += ["--bind", str(path), str(path)]
    inner = [path for path in readonly if path.is_relative_to(mounts.workspace) and path != mounts.workspace]
    for path in (*inner, *plan.readonly, *plan.placeholders):
        argv += ["--ro-bind", str(path), str(path)]
    return [*argv, "--remount-ro", "/dev", "--remount-ro", "/"]


def _parents(paths: list[Path], bound: list[Path]) -> list[str]:
    """The directories above what is mounted, readable: bwrap would make some of them for root alone."""
    above = {parent for path in paths for parent in path.parents if len(parent.parts) > 1}
    argv: list[str] = []
    for parent in sorted(above):
        if not any(parent.is_relative_to(path) for path in bound) and parent != Path("/tmp"):  # noqa: S108  # inside
            argv += ["--perms", "0755", "--dir", str(parent)]
    return argv


def _readonly(path: Path) -> list[str]:
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind", str(path), str(path)]
