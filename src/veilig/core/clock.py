"""What time is it, on a clock that nobody can set?"""

import time
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
UNKNOWN_BOOT = "unknown"


class Clock(Protocol):
    """Uptime and boot for decisions, the wall clock for people only."""

    def boottime_s(self) -> float:
        """Seconds since the machine started, suspend included where the system counts it."""
        ...

    def boot_id(self) -> str:
        """Different after every start of the machine; a constant where the system does not tell."""
        ...

    def wall_s(self) -> float:
        """Seconds since 1970 as the machine believes; anybody may have set it."""
        ...


class SystemClock:
    """The machine's clocks: CLOCK_BOOTTIME and the kernel's boot id on Linux, CLOCK_MONOTONIC elsewhere.

    Where the boot is unknown, the constant is the safe answer: uptime that went back then adds no
    ledger time, and uptime that grew adds less than really passed, so a budget frees late, never early.
    """

    __slots__ = ("_boot", "_clock")

    def __init__(self) -> None:
        self._clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        self._boot = _read_boot_id()

    def boottime_s(self) -> float:
        """Seconds of CLOCK_BOOTTIME (Linux) or CLOCK_MONOTONIC."""
        return time.clock_gettime(self._clock)

    def boot_id(self) -> str:
        """The kernel's random boot id, or UNKNOWN_BOOT."""
        return self._boot

    def wall_s(self) -> float:
        """`time.time()`."""
        return time.time()


def _read_boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or UNKNOWN_BOOT
    except (OSError, UnicodeDecodeError):
        return UNKNOWN_BOOT
