"""How does a clean parent watch a child that runs foreign code?

The child reports JSON lines over a pipe. Whatever happens to it (exit, signal, endless loop, silence), the
parent is alive and says so.
"""
# ruff: noqa: BLE001

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
import traceback
from typing import Any, Callable, cast  # noqa: UP035  (read by Python 3.9)

READ_BYTES = 1 << 16


class End:
    """How a child ended: its exit code or signal, and whether the parent had to stop it."""

    def __init__(self, code: int | None, signal_number: int | None, stopped: str) -> None:
        self.code = code
        self.signal = signal_number
        self.stopped = stopped  # "" | "deadline" | "silence"


class Child:
    """One forked process; `records(timeout_s)` yields what it said."""

    def __init__(self, work: Callable[[Callable[[dict[str, Any]], None]], None]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        read_fd, write_fd = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(read_fd)
            _be_child(write_fd, work)
        os.close(write_fd)
        self.fd = read_fd
        self.buffer = b""
        self.open = True

    def poll(self, timeout_s: float) -> list[dict[str, Any]]:
        """The records that arrived within `timeout_s`; `open` turns False when the child closed its end."""
        ready, _, _ = select.select([self.fd], [], [], max(timeout_s, 0.0))
        if not ready:
            return []
        data = os.read(self.fd, READ_BYTES)
        if not data:
            self.open = False
            return []
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        return [record for record in map(_record, lines) if record is not None]

    def finish(self, stopped: str = "") -> End:
        """Kill what is left of the child's process group and say how the child ended."""
        if stopped:
            self._kill()
        _, status = os.waitpid(self.pid, 0)
        self._kill()
        os.close(self.fd)
        if os.WIFSIGNALED(status):
            return End(None, os.WTERMSIG(status), stopped)
        return End(os.WEXITSTATUS(status), None, stopped)

    def _kill(self) -> None:
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)


def watch(
    work: Callable[[Callable[[dict[str, Any]], None]], None],
    on_record: Callable[[dict[str, Any]], None],
    *,
    deadline_s: float,
    silence_s: float,
) -> End:
    """Run `work` in a child and hand its records on. `deadline_s` is a time.monotonic() value."""
    child = Child(work)
    heard_s = time.monotonic()
    stopped = ""
    while child.open:
        now_s = time.monotonic()
        if now_s >= deadline_s or now_s - heard_s >= silence_s:
            stopped = "deadline" if now_s >= deadline_s else "silence"
            break
        records = child.poll(min(deadline_s - now_s, silence_s - (now_s - heard_s), 1.0))
        if records:
            heard_s = time.monotonic()
        for record in records:
            on_record(record)
    return child.finish(stopped)


def _be_child(write_fd: int, work: Callable[[Callable[[dict[str, Any]], None]], None]) -> None:
    code = 70  # EX_SOFTWARE: the worker itself failed, not the tests
    try:
        os.setsid()

        def tell(record: dict[str, Any]) -> None:
            data = json.dumps(record, default=str).encode("utf-8", "backslashreplace") + b"\n"
            while data:
                data = data[os.write(write_fd, data) :]

        work(tell)
        code = 0
    except BaseException:
        with contextlib.suppress(Exception):
            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(code)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
