"""How does an act end with its lease in a process that cannot look at a clock? The kernel ends the process.

A process that is stopped, swapped out or frozen between its last look at the lease and the act would act
whenever it goes on, after somebody else took over. A timer of the kernel kills it where it stands.
"""

import ctypes
import signal
import time
from typing import Any, Final

from veilig.core.errors import ProviderError

_ABSOLUTE: Final = 1  # TIMER_ABSTIME
_SIGNAL: Final = 0  # SIGEV_SIGNAL


class _Event(ctypes.Structure):
    """`struct sigevent`: 64 bytes on Linux."""

    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 48),
    ]


class _Times(ctypes.Structure):
    """`struct itimerspec`: an interval of zero, and when."""

    _fields_ = [
        ("every_s", ctypes.c_long),
        ("every_ns", ctypes.c_long),
        ("at_s", ctypes.c_long),
        ("at_ns", ctypes.c_long),
    ]


class Deadline:
    """SIGKILL for this whole process at a moment of the boot clock, unless it is moved or cleared before.

    It reaches a stopped process, too. Source: timer_create(2), SIGEV_SIGNAL. `there`: Linux only.
    """

    there: Final = hasattr(time, "CLOCK_BOOTTIME")

    def __init__(self) -> None:
        """Raises ProviderError where the kernel grants no timer; nothing may be done under it then."""
        self._timer: ctypes.c_void_p | None = None
        if not self.there:
            return
        self._libc: Any = ctypes.CDLL(None, use_errno=True)
        self._timer = ctypes.c_void_p()
        event = _Event(signo=int(signal.SIGKILL), notify=_SIGNAL)
        done = self._libc.timer_create(time.CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(self._timer))
        if done != 0:
            number, self._timer = ctypes.get_errno(), None
            raise ProviderError(
                "the kernel grants no timer that would end an act with its lease",
                why=f"timer_create: errno {number}", fix="raise `ulimit -i`", retry_after_s=2.0,
            )  # fmt: skip

    def at(self, boot_s: float) -> None:
        """Not later than this."""
        self._set(max(1e-3, boot_s))

    def clear(self) -> None:
        """Nothing acts any more."""
        self._set(0.0)

    def close(self) -> None:
        """Give the timer back. A second call does nothing."""
        if self._timer is not None:
            self._libc.timer_delete(self._timer)
            self._timer = None

    def _set(self, boot_s: float) -> None:
        if self._timer is None:
            return
        when = _Times(0, 0, int(boot_s), int(boot_s % 1 * 1e9))
        if self._libc.timer_settime(self._timer, _ABSOLUTE, ctypes.byref(when), None) != 0:
            raise ProviderError(
                "the timer that ends an act with its lease cannot be set",
                why=f"timer_settime: errno {ctypes.get_errno()}",
            )
