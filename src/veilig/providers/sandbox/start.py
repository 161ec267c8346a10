"""What is the same for every wall when its first process starts? Files, users, the handshake."""

import asyncio
import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Self

from veilig.core.errors import SandboxUnavailable

from . import cgroup, toolchain
from .channel import Channel, Message, hear
from .sandbox import Standing
from .wall import Bounds

INSIDE = Path(__file__).parent / "inside"
START_S = 10.0  # a loaded machine starts an interpreter in one; more means that it hangs
# Above every range that distributions, systemd and container engines hand out
_USER_FIRST, _USERS = 0x60000000, 0x01000000


def fresh_user() -> int:
    """A user id that nothing on this machine runs as: signals, quotas and files of the box are its own."""
    taken: set[int] = set()
    with os.scandir("/proc") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # ended in this moment
                taken.add(entry.stat().st_uid)
    while True:
        uid = _USER_FIRST + secrets.randbelow(_USERS)
        if uid not in taken:
            return uid


def boot_command(folder: str, control: str) -> list[str]:
    """The interpreter with the code that runs inside; `folder` is the parent of `inside` as seen there."""
    code = f"import sys; sys.path.append({folder!r}); from inside.box import main; main()"
    return [str(toolchain.own_interpreter()), "-I", "-S", "-B", "-c", code, control]


class Starter:
    """Starts one box and undoes everything when that fails half-way."""

    def __init__(self) -> None:
        self.finish: list[Callable[[], None]] = []
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the box
        self.finish.append(self.errors.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.undo()

    def undo(self) -> None:
        """Take back everything done so far, last first."""
        for step in reversed(self.finish):
            step()
        self.finish.clear()

    def fail(self, what: str, why: str = "") -> SandboxUnavailable:
        """Undo everything; the error to raise, with what the starter wrote."""
        said = ""
        if not self.errors.closed:
            self.errors.seek(0)
            said = self.errors.read(2000).decode(errors="replace").strip()
        self.undo()
        return SandboxUnavailable(what, why="; ".join(part for part in (said, why) if part))

    def launch(self, argv: Sequence[str], pass_fds: Sequence[int]) -> Popen[bytes]:
        """Start the process that carries the box. Raises SandboxUnavailable."""
        try:
            return Popen(
                argv, stdin=DEVNULL, stdout=DEVNULL, stderr=self.errors, pass_fds=pass_fds,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}, cwd="/",
            )  # fmt: skip
        except OSError as error:
            raise self.fail(f"{argv[0]} cannot be started", error.strerror or str(error)) from error

    async def connect(
        self,
        control: socket.socket,
        process: Popen[bytes],
        config: Message,
        bounds: Bounds,
        group: cgroup.Group,
    ) -> Channel:
        """Greet the first process, put it into its group, hand it its configuration."""
        hear(control)
        channel = Channel(control)
        try:
            pid = await channel.hello(timeout_s=START_S)
            if group.memory is not None or group.pids is not None:
                group.bound(memory_bytes=bounds.memory_bytes, processes=bounds.processes)
                group.join(pid)
            oom = group.memory is not None and _spare(pid)
            await channel.configure({**config, "oom_score_adj": oom}, timeout_s=START_S)
        except (SandboxUnavailable, OSError) as error:
            channel.close()
            process.kill()
            process.wait()
            raise self.fail("the box did not come up", str(error)) from error
        except asyncio.CancelledError:
            channel.close()
            process.kill()
            process.wait()
            self.undo()
            raise
        return channel

    def standing(
        self, channel: Channel, process: Popen[bytes], *, home: str, uid: int | None, group: cgroup.Group,
        processes: int, environment: dict[str, str] | None = None, placeholders: Sequence[Path] = (),
    ) -> Standing:  # fmt: skip
        """What the sandbox needs from here on."""
        return Standing(
            channel, process, home, uid, group, processes, self.finish, environment or {}, tuple(placeholders)
        )


def _spare(pid: int) -> bool:
    """Let the kernel take the watching process last when the box is out of memory. False where we may not."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text("-900")
    except OSError:
        return False
    return True
