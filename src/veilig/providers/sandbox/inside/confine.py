"""How does a process confine itself between fork and exec? prctl, seccomp and Landlock by system call."""

import ctypes
import os
from typing import TypedDict

PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 4, 36, 38
_SECCOMP_SET_MODE_FILTER = 1
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_ADD, _SYS_LANDLOCK_RESTRICT = 444, 445, 446
_RULE_PATH_BENEATH = 1
_O_PATH = 0o10000000

_libc = ctypes.CDLL(None, use_errno=True)


class LandlockRules(TypedDict):
    """A ruleset as data: `size` is what this kernel's version of the structure takes."""

    size: int
    fs: int
    net: int
    scoped: int
    rules: list[tuple[str, int]]


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, value: int) -> None:
    """Set one option of this process. Raises OSError."""
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class Filter:
    """A seccomp program kept ready, so that nothing has to be built between fork and exec."""

    def __init__(self, program: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(program, len(program))
        self._program = _Program(len(program) // 8, ctypes.addressof(self._buffer))
        self._number = _SYS_SECCOMP[os.uname().machine]

    def load(self) -> None:
        """From here on, for this process and all its children. Raises OSError."""
        result = _libc.syscall(self._number, _SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(self._program))
        _check(result, "seccomp")


class _RulesetAttr(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("access", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def landlock_version() -> int:
    """The Landlock ABI of this kernel, 0 when there is none."""
    return max(0, int(_libc.syscall(_SYS_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)))


def landlock_ruleset(config: LandlockRules) -> int:
    """A close-on-exec ruleset descriptor. Raises OSError, naming the path whose rule was refused."""
    attr = _RulesetAttr(config["fs"], config["net"], config["scoped"])
    size = ctypes.c_size_t(config["size"])
    ruleset = _check(_libc.syscall(_SYS_LANDLOCK_CREATE, ctypes.byref(attr), size, 0), "landlock")
    for path, access in config["rules"]:
        parent = os.open(path, _O_PATH | os.O_CLOEXEC)
        rule = _PathBeneath(access, parent)
        result = _libc.syscall(_SYS_LANDLOCK_ADD, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
        _check(result, f"landlock rule for {path}")
        os.close(parent)
    return ruleset


def landlock_enter(ruleset: int) -> None:
    """Restrict this process for good. Raises OSError."""
    _check(_libc.syscall(_SYS_LANDLOCK_RESTRICT, ruleset, 0), "landlock_restrict_self")
