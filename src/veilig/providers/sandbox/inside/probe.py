"""What can a command do in this box? Tries each thing a wall should hold and prints what it could do.

Its whole text is handed to an interpreter inside the box (`python -I -S -c`), so it imports nothing of ours.
For each feature, as JSON: "" when it is held, else what could be done. The features are described where they
are named, in wall.py.
"""

# ruff: noqa: D103, PTH102, PTH104, PTH110, PTH211, S108

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

Given = dict[str, Any]


def _could(path: str, flags: int) -> bool:
    try:
        os.close(os.open(path, flags, 0o600))
    except OSError:
        return False
    return True


def files_read(given: Given) -> str:
    places = (given["canary"], "/etc/shadow", "/proc/1/environ", "/var/log/dpkg.log")
    return "".join(f"read {path} " for path in places if _could(path, os.O_RDONLY))


def files_write(given: Given) -> str:
    places = (given["outside"] + "/new", "/usr/bin/new", "/etc/new", "/new", "/var/tmp/new")
    return "".join(f"wrote {path} " for path in places if _could(path, os.O_WRONLY | os.O_CREAT))


def protected(_: Given) -> str:
    done: list[str] = []
    for path in (".git/hooks/pre-commit", ".git/config", "veilig.yaml"):
        if _could(path, os.O_WRONLY | os.O_CREAT):
            done.append(f"wrote {path}")
    for name, act in (
        ("renamed .git", lambda: os.rename(".git", "moved")),
        ("made .veilig", lambda: os.mkdir(".veilig")),
        ("linked veilig.yaml", lambda: os.symlink("x", "veilig.yaml")),
    ):
        with contextlib.suppress(OSError):
            act()
            done.append(name)
    return ", ".join(done)


def private_tmp(given: Given) -> str:
    if os.path.exists(given["outside"]):
        return "the machine's /tmp is visible"
    found = os.statvfs("/tmp")
    return "" if found.f_blocks * found.f_frsize <= given["tmp_bytes"] else "/tmp is not bounded"


def _connected(family: int, address: Any) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(1)
            client.connect(address)
    except OSError:
        return False
    return True


def network(given: Given) -> str:
    if _connected(socket.AF_INET, ("127.0.0.1", given["port"])):
        return "reached a listener of the host"
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("192.0.2.1", 9))  # TEST-NET-1: succeeds when there is a route
        return "has a route to the outside"
    return ""


def loopback(_: Given) -> str:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return "" if _connected(socket.AF_INET, server.getsockname()) else "cannot reach its own server"
    except OSError as error:
        return f"cannot make a server: {error.strerror}"


def unix_sockets(given: Given) -> str:
    places = ("\0" + given["abstract"], given["path_socket"])
    return "".join(f"reached {place!r} " for place in places if _connected(socket.AF_UNIX, place))


def processes(given: Given) -> str:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for _ in range(given["processes"] * 2):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
    _bury(children)
    return "" if len(children) <= given["processes"] + 2 else f"started {len(children)} processes"


def _bury(children: list[int]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _holder(size: int) -> tuple[int, bool]:
    """A child that holds `size` bytes of memory, and whether it got them."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            held = bytearray(size)
            for index in range(0, size, 4096):
                held[index] = 1
            os.write(write, b"y")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    got = os.read(read, 1) == b"y"
    os.close(read)
    return pid, got


def process_memory(given: Given) -> str:
    pid, got = _holder(given["memory_bytes"] * 3 // 2)
    _bury([pid])
    return "one process got more than the bound" if got else ""


def memory(given: Given) -> str:
    children = [_holder(given["memory_bytes"] * 2 // 5)[0] for _ in range(4)]
    alive = [pid for pid in children if os.waitpid(pid, os.WNOHANG)[0] == 0]
    _bury(alive)
    return f"{len(alive)} processes hold 40 % of the bound each" if len(alive) > 2 else ""


def file_size(given: Given) -> str:
    fd = os.open(os.environ["TMPDIR"] + "/big", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.ftruncate(fd, given["file_bytes"] + 1)
    except OSError:
        return ""
    finally:
        os.close(fd)
    return "a larger file could be made"


def signals(given: Given) -> str:
    with contextlib.suppress(OSError):
        os.kill(given["pid"], 0)
        return "a process outside can be signalled" if _outside(given) else ""
    return ""


def pid_namespace(given: Given) -> str:
    seen = os.path.exists(f"/proc/{given['pid']}") and _outside(given)
    return "processes outside are visible" if seen else ""


def _outside(given: Given) -> bool:
    """Not one of the box's own under the same number: in a container we may be process 1, as its init is."""
    try:
        stat = Path(f"/proc/{given['pid']}/stat").read_text()
    except OSError:
        return True  # it cannot be told
    return stat.rpartition(")")[2].split()[19] == given["pid_began"]


def devices(_: Given) -> str:
    places = ("/dev/kmsg", "/dev/mem", "/dev/fuse", "/dev/kvm", "/dev/sda", "/dev/vda", "/dev/nvme0n1")
    return "".join(f"opened {path} " for path in places if _could(path, os.O_RDONLY))


def seccomp(given: Given) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    done: list[str] = []
    if libc.ptrace(0, 0, None, None) == 0:
        done.append("ptrace")
    if libc.unshare(0x10000000) == 0:
        done.append("a new user namespace")
    for name, number in given["numbers"].items():
        if libc.syscall(number, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() not in (1, 38):
            done.append(name)
    return ", ".join(done)


def privileges(_: Given) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        return "runs as root"
    if libc.prctl(39, 0, 0, 0, 0) != 1:
        return "may gain privileges by a set-user-id program"
    with contextlib.suppress(OSError):
        os.setuid(0)  # veilig: ignore[CWE-250] reason=tried in order to report that the wall does not hold
        return "became root"
    return ""


TRIED = (
    files_read, files_write, private_tmp, network, loopback, unix_sockets, file_size, signals, pid_namespace,
    devices, seccomp, privileges, processes, process_memory, memory, protected,
)  # fmt: skip


def main() -> None:
    """Print {feature: ""|what could be done}."""
    given = json.loads(sys.argv[1])
    print(json.dumps({attempt.__name__: attempt(given) for attempt in TRIED}))  # noqa: T201  # its only output


if __name__ == "__main__":
    main()
