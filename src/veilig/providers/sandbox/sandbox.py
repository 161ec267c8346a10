"""How does a command run behind the wall that stands? One box per session, many commands, one close."""

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any, Self

from veilig.core.errors import ProviderError

from .cgroup import Group
from .channel import Channel, Message, sealed
from .stream import Kept, Stream
from .wall import Bounds, CommandResult, OnOutput, Reason, Wall

_GRACE_S = 10.0  # between the order to end a command and the end of the whole box
_DRAIN_BYTES = 4 << 20  # what a dead command may still have in its pipes; a pipe holds 64 KiB, at most 1 MiB
_STRAGGLERS_MAX = 64  # streams of ended commands that a daemon still holds
_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(slots=True)
class Standing:
    """What a wall hands over once its box is up: the means to talk, to bound, and to take it down."""

    channel: Channel
    process: Popen[bytes]
    home: str
    uid: int | None  # the user commands run as, where it is not ours
    group: Group
    processes: int  # RLIMIT_NPROC, 0 for none
    finish: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    environment: dict[str, str] = field(default_factory=dict[str, str])
    placeholders: tuple[Path, ...] = ()


class Sandbox:
    """A box that stands. `run` commands in it, then `close` it; it also works as an async context manager.

    It belongs to the event loop and the thread that made it: where that thread ends, the kernel ends the box.
    """

    def __init__(self, wall: Wall, workspace: Path, bounds: Bounds, standing: Standing) -> None:
        self.wall = wall
        self.workspace = workspace
        self.bounds = bounds
        self.uid = standing.uid
        self.placeholders = standing.placeholders
        self._standing = standing
        self._running: dict[int, Bounds] = {}
        self._memory_bytes = bounds.memory_bytes
        self._stragglers: list[Stream] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | int | None = None,
        timeout_s: float | None = None,
        bounds: Bounds | None = None,
        on_output: OnOutput | None = None,
    ) -> CommandResult:
        """Run one command to its end and say how it ended.

        cwd: inside the workspace, absolute or relative to it. env: added to a clean environment (PATH, HOME,
        LANG, TERM, TMPDIR). stdin: None for /dev/null, a number for a descriptor to read from, which stays
        the caller's. bounds can only be stricter than those of the box.
        on_output gets (1 or 2, bytes) as they come. Daemons the command started live on until `close`.
        Raises ProviderError when the command could not be started or the box is gone; what a program does,
        fails or is killed for is a result. Cancelling kills the command and what it started.
        """
        if self._closed or self._standing.channel.ended.done():
            raise _gone("it was closed" if self._closed else "its first process ended")
        effective = self.bounds.tightened(bounds)
        request: dict[str, Any] = {
            "argv": _argv(argv),
            "cwd": str(self.workspace / (cwd or ".")),
            "env": self._environment(env),
            "limits": self._limits(effective),
        }
        limit_s = effective.wall_s if timeout_s is None else min(timeout_s, effective.wall_s)
        command = _Command(self._standing, effective, on_output)
        try:
            self._running[id(command)] = effective
            self._bound_memory()
            return await command.run(request, stdin, limit_s, self._break)
        finally:
            self._running.pop(id(command), None)
            self._bound_memory()
            self._keep(command.streams)

    @property
    def scratch(self) -> str:
        """The folder inside that TMPDIR names: the box's own, and gone with it."""
        return self._standing.environment.get("TMPDIR", "/tmp")  # noqa: S108  # its own

    async def close(self) -> None:
        """End everything in the box and leave nothing behind. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        standing = self._standing
        standing.channel.close()
        await asyncio.to_thread(_wait, standing.process)
        for stream in self._stragglers:
            stream.close()
        self._stragglers.clear()
        for step in reversed(standing.finish):
            await asyncio.to_thread(step)

    def _environment(self, env: Mapping[str, str] | None) -> dict[str, str]:
        home = self._standing.home
        base = {"PATH": _PATH, "HOME": home, "LANG": "C.UTF-8", "TERM": "dumb", "TMPDIR": "/tmp"}  # noqa: S108  # its own
        base |= self._standing.environment | dict(env or {})
        for name, value in base.items():
            if not name or "=" in name or "\0" in name or "\0" in value:
                raise ProviderError(
                    f"environment variable {name!r} cannot be given to a command",
                    why="a name has no '=' and neither part has a zero byte",
                )
        return base

    def _limits(self, bounds: Bounds) -> dict[str, Any]:
        standing = self._standing
        return {
            "cpu_s": bounds.cpu_s,
            "file_bytes": math.floor(bounds.file_bytes),
            "open_files": bounds.open_files,
            "processes": standing.processes and standing.processes - self.bounds.processes + bounds.processes,
            # programs reserve more addresses than they use: only where nothing better holds
            "address_space": 0 if standing.group.memory is not None else bounds.memory_bytes,
        }

    def _bound_memory(self) -> None:
        """The box has one memory bound: the strictest of the commands that run."""
        wanted = min((one.memory_bytes for one in self._running.values()), default=self.bounds.memory_bytes)
        if wanted == self._memory_bytes:
            return
        try:
            self._standing.group.bound_memory(wanted)
        except OSError as error:
            raise ProviderError(
                f"the memory bound cannot be set to {wanted} bytes",
                why=f"the box uses more already: {error}",
                fix="end the daemons in the box, or raise the bound",
            ) from error
        self._memory_bytes = wanted

    def _keep(self, streams: list[Stream]) -> None:
        self._stragglers = [stream for stream in (*self._stragglers, *streams) if not stream.closed]
        while len(self._stragglers) > _STRAGGLERS_MAX:
            self._stragglers.pop(0).close()

    def _break(self) -> None:
        """The box does not obey: end it from outside, with all that is in it."""
        self._standing.process.kill()
        self._standing.channel.close()


class _Command:
    """One command between its start and its result."""

    def __init__(self, standing: Standing, bounds: Bounds, on_output: OnOutput | None) -> None:
        self._standing = standing
        self._bounds = bounds
        self._on_output = on_output
        self._kept = (Kept(bounds.output_bytes), Kept(bounds.output_bytes))
        self._number = 0
        self._reason: Reason | None = None
        self._callback_error: Exception | None = None
        self.streams: list[Stream] = []

    async def run(
        self, request: dict[str, Any], stdin: bytes | int | None, limit_s: float, give_up: Callable[[], None]
    ) -> CommandResult:
        loop = asyncio.get_running_loop()
        kills_before = self._standing.group.oom_kills()
        started_s = time.monotonic()
        ended = self._start(loop, request, stdin)
        timer = loop.call_later(limit_s, self._end, Reason.TIMEOUT)
        last = loop.call_later(limit_s + _GRACE_S, give_up)
        try:
            message = await asyncio.shield(ended)
        except asyncio.CancelledError:
            self._end(Reason.KILLED)
            last.cancel()
            last = loop.call_later(_GRACE_S, give_up)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(ended)
            raise
        finally:
            timer.cancel()
            last.cancel()
            for stream in self.streams:
                stream.release(patience=_DRAIN_BYTES)
        wall_s = time.monotonic() - started_s
        if self._callback_error is not None:
            raise self._callback_error
        return self._result(message, request, wall_s, self._standing.group.oom_kills() > kills_before)

    def _start(
        self, loop: asyncio.AbstractEventLoop, request: dict[str, Any], stdin: bytes | int | None
    ) -> asyncio.Future[Message]:
        given: list[int] = []
        try:
            if stdin is None:
                given.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            elif isinstance(stdin, int):
                given.append(os.dup(stdin))
            else:
                given.append(sealed("veilig-stdin", stdin))
            for index in (0, 1):
                read, write = os.pipe2(os.O_CLOEXEC)
                given.append(write)
                taken = self._taker(index + 1)
                self.streams.append(Stream(loop, read, self._kept[index], taken))
            self._number, ended = self._standing.channel.run(request, *given)
        except BaseException:
            for stream in self.streams:
                stream.close()
            raise
        finally:
            for fd in given:
                os.close(fd)
        return ended

    def _taker(self, fd: int) -> Callable[[bytes], None]:
        def taken(data: bytes) -> None:
            if sum(kept.total for kept in self._kept) > self._bounds.output_kill_bytes:
                self._end(Reason.OUTPUT)
            if self._on_output is not None and self._callback_error is None:
                try:
                    self._on_output(fd, data)
                except Exception as error:  # noqa: BLE001  # raised from run(), where its owner sees it
                    self._callback_error = error
                    self._end(Reason.KILLED)

        return taken

    def _end(self, reason: Reason) -> None:
        if self._reason is None:
            self._reason = reason
            with contextlib.suppress(ProviderError):  # gone already: the result says so
                self._standing.channel.kill(self._number, reason.value)

    def _result(self, message: Message, request: dict[str, Any], wall_s: float, oom: bool) -> CommandResult:
        if message["op"] == "failed":
            raise _not_started(message, request)
        if message["op"] == "lost":
            raise _gone("its first process ended while the command ran")
        status = int(message["status"])
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        killed = message["killed"]
        cpu_s = float(message["cpu_s"])
        reason = Reason(killed) if killed else Reason.EXITED
        if not killed and oom and code != 0:
            reason = Reason.MEMORY
        elif (
            not killed and number in (signal.SIGXCPU, signal.SIGKILL) and cpu_s >= request["limits"]["cpu_s"]
        ):
            reason = Reason.CPU
        out, err = self._kept
        return CommandResult(
            exit_code=code,
            signal=number,
            reason=reason,
            stdout=out.content(),
            stderr=err.content(),
            stdout_total=out.total,
            stderr_total=err.total,
            wall_s=wall_s,
            cpu_s=cpu_s,
            max_rss_bytes=int(message["max_rss_kib"]) * 1024,
        )


def _argv(argv: Sequence[str]) -> list[str]:
    if not argv or any("\0" in part for part in argv) or not argv[0]:
        raise ProviderError(f"{list(argv)!r} is not a command", why="it needs a program, and no zero bytes")
    return list(argv)


def _gone(why: str) -> ProviderError:
    return ProviderError(
        "the sandbox is gone", why=why, fix="stand up a new one; what ran in the old one has ended"
    )


def _not_started(message: Message, request: dict[str, Any]) -> ProviderError:
    program, step = request["argv"][0], message["step"]
    text = os.strerror(message["errno"]) if message["errno"] else message.get("text", "unknown")
    if step == "exec":
        return ProviderError(
            f"command {program!r} was not started",
            why=text,
            fix="only the workspace and the toolchain are visible inside; check the name and PATH",
        )
    if step == "cwd":
        return ProviderError(
            f"command {program!r} was not started in {request['cwd']!r}",
            why=text,
            fix="the directory must lie in the workspace and be readable for the sandbox's user",
        )
    return ProviderError(f"command {program!r} was not started", why=f"{step}: {text}")


def _wait(process: Popen[bytes]) -> None:
    try:
        process.wait(_GRACE_S)
    except TimeoutExpired:
        process.kill()
        process.wait()
