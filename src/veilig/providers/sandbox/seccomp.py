"""Which system calls are refused inside every wall? A classic BPF program, written as data.

The list follows what the kernel's own documentation calls privileged or cross-process, plus the calls that
open a second, less tried door into the kernel (io_uring, userfaultfd, bpf, keyrings). Refused calls fail with
EPERM, so a program can go on without them; clone3 and io_uring fail with ENOSYS, because C libraries
fall back from "not there" and not from "not allowed".
"""

import errno
import platform
import struct
from dataclasses import dataclass

from veilig.core.errors import SandboxUnavailable

_LD_W_ABS = 0x20
_JEQ_K = 0x15
_JGE_K = 0x35
_JSET_K = 0x45
_RET_K = 0x06
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_OFFSET_NR = 0
_OFFSET_ARCH = 4
_OFFSET_ARG0 = 16  # low half: both machines below are little-endian
_OFFSET_ARG1 = 24

_X32_BIT = 0x40000000  # x86-64 calls with 32-bit pointers: a second table, refused as a whole
# NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; the time namespace has its own bit
_NEW_NAMESPACE = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_CLONE_NEWTIME = 0x80  # in clone() this bit belongs to the exit signal, so it is looked at for unshare only
_TIOCSTI = 0x5412  # pushes input into the terminal of whoever started us
_TIOCLINUX = 0x541C
_TIOCSETD = 0x5423  # line disciplines load kernel modules

# name: (x86_64, aarch64); None where the machine has no such call
REFUSED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "create_module": (174, None),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "nfsservctl": (180, 42),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
}
ABSENT: dict[str, tuple[int | None, int | None]] = {
    "clone3": (435, 435),  # its flags are behind a pointer no filter can follow
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
# Reached by number, not by path: refused where no IPC namespace sets them apart
_SHARED_IPC: dict[str, tuple[int | None, int | None]] = {
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}
_CLONE = (56, 220)
_UNSHARE = (272, 97)
_IOCTL = (16, 29)
_SOCKET = (41, 198)
_SOCKETPAIR = (53, 199)

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
# vsock, ALG, packet, TIPC and the like are not bound to a network namespace or are old kernel code
OWN_NETWORK = (_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK)
# Without a network namespace not even a unix socket: a path on disk may lead to a service of the host
NO_SOCKETS: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Machine:
    column: int
    audit_arch: int


_MACHINES = {"x86_64": _Machine(0, 0xC000003E), "aarch64": _Machine(1, 0xC00000B7)}


def _op(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump_true, jump_false, k)


def _ret(action: int) -> bytes:
    return _op(_RET_K, action)


def _errno(number: int) -> int:
    return 0x00050000 | number


def _on(number: int, body: list[bytes]) -> list[bytes]:
    """`body` runs when the system call is `number`, which is in the accumulator; the body always returns."""
    return [_op(_JEQ_K, number, 0, len(body)), *body]


def program(*, families: tuple[int, ...], own_ipc: bool = True, machine: str | None = None) -> bytes:
    """The filter as an array of `struct sock_filter`, ready for seccomp(2) or `bwrap --seccomp`.

    families: the address families socket(2) may name; socketpair(2) may always make AF_UNIX pairs.
    own_ipc: an IPC namespace stands, so System V objects and message queues may be used.
    Raises SandboxUnavailable on a machine whose numbers are not in the table.
    """
    name = machine or platform.machine()
    known = _MACHINES.get({"arm64": "aarch64", "amd64": "x86_64"}.get(name, name))
    if known is None:
        raise SandboxUnavailable(
            f"no system call table for the machine {name!r}",
            why=f"the seccomp filter is written for {', '.join(sorted(_MACHINES))}",
            fix="use the container wall on this machine: sandbox.wall: container",
        )
    column = known.column
    refuse, absent = _ret(_errno(errno.EPERM)), _ret(_errno(errno.ENOSYS))
    code = [_op(_LD_W_ABS, _OFFSET_ARCH), _op(_JEQ_K, known.audit_arch, 1, 0), _ret(_KILL_PROCESS)]
    code.append(_op(_LD_W_ABS, _OFFSET_NR))
    if column == 0:
        code += [_op(_JGE_K, _X32_BIT, 0, 1), absent]
    ipc: dict[str, tuple[int | None, int | None]] = {} if own_ipc else _SHARED_IPC
    for table, action in ((REFUSED | ipc, refuse), (ABSENT, absent)):
        for numbers in table.values():
            number = numbers[column]
            if number is not None:
                code += _on(number, [action])
    allow = _ret(_ALLOW)
    arg0, arg1 = _op(_LD_W_ABS, _OFFSET_ARG0), _op(_LD_W_ABS, _OFFSET_ARG1)
    for numbers, flags in ((_CLONE, _NEW_NAMESPACE), (_UNSHARE, _NEW_NAMESPACE | _CLONE_NEWTIME)):
        code += _on(numbers[column], [arg0, _op(_JSET_K, flags, 0, 1), refuse, allow])
    requests = [piece for request in (_TIOCSTI, _TIOCLINUX, _TIOCSETD) for piece in _on(request, [refuse])]
    code += _on(_IOCTL[column], [arg1, *requests, allow])
    for numbers, allowed in ((_SOCKET, families), (_SOCKETPAIR, (_AF_UNIX,))):
        choices = [piece for family in allowed for piece in _on(family, [allow])]
        code += _on(numbers[column], [arg0, *choices, refuse])
    code.append(allow)
    return b"".join(code)


def numbers(names: tuple[str, ...], machine: str | None = None) -> dict[str, int]:
    """The numbers of refused calls on this machine, for whoever wants to try them."""
    known = _MACHINES[{"arm64": "aarch64"}.get(machine or platform.machine(), machine or platform.machine())]
    found = {name: (REFUSED | ABSENT)[name][known.column] for name in names}
    return {name: number for name, number in found.items() if number is not None}
