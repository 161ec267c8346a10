"""Does this wall really hold what it should, on this machine, now? Stand it up, try everything, remember."""

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from veilig.core.errors import ProviderError, SandboxUnavailable

from . import seccomp, toolchain, workspace
from .sandbox import Sandbox, Standing
from .start import INSIDE
from .wall import Bounds, Feature, Mounts, Reason, Wall

Stand = Callable[[Mounts, Bounds], Awaitable[tuple[Standing, workspace.Protection]]]

BUSY_S = 30.0  # what ends by its bounds at once may wait so long for a turn on a busy machine
# Small enough to be reached at once
_BOUNDS = Bounds(
    memory_bytes=128 << 20, cpu_s=10, wall_s=60, processes=24, output_bytes=1 << 16,
    output_kill_bytes=1 << 20, file_bytes=1 << 20, tmp_bytes=8 << 20,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of trying one wall: the wall, or why it does not stand."""

    rung: str
    wall: Wall | None
    why_not: str
    took_s: float
    remembered: bool = False


async def probe(rung: str, stand: Stand, absent: dict[Feature, str], detail: str) -> Probe:
    """Stand the wall up in an empty workspace and try to break it. Never raises for a wall that fails."""
    started_s = time.monotonic()
    area = Path(tempfile.mkdtemp(prefix="veilig-probe-"))
    try:
        could = await _try(area, stand)
    except (ProviderError, OSError) as error:
        return Probe(rung, None, " ".join(str(error).split()), time.monotonic() - started_s)
    finally:
        await asyncio.to_thread(shutil.rmtree, area, ignore_errors=True)
    held = frozenset(feature for feature in Feature if could.get(feature) == "")
    missing = tuple(
        (feature, absent.get(feature) or could.get(feature) or "was not tried")
        for feature in Feature
        if feature not in held
    )
    return Probe(rung, Wall(rung, held, missing, detail), "", time.monotonic() - started_s)


def _lay_out(area: Path) -> tuple[Path, Path]:
    """The workspace, and a place beside it that anybody may read and write if no wall stands."""
    area.chmod(0o755)
    space, outside = area / "workspace", area / "outside"
    (space / ".git" / "hooks").mkdir(parents=True)
    outside.mkdir(mode=0o777)
    # veilig: ignore[CWE-732] reason=open to anybody on purpose: only a wall may hold a command back here
    outside.chmod(0o777)
    canary = outside / "canary"
    canary.write_text("canary")
    canary.chmod(0o644)
    return space, outside


async def _try(area: Path, stand: Stand) -> dict[str, str]:
    space, outside = _lay_out(area)
    name = f"veilig-probe-{secrets.token_hex(8)}"
    listeners = [socket.create_server(("127.0.0.1", 0)), _unix(f"\0{name}"), _unix(str(outside / "socket"))]
    given: dict[str, object] = {
        "canary": str(outside / "canary"), "outside": str(outside), "abstract": name,
        "path_socket": str(outside / "socket"), "port": listeners[0].getsockname()[1], "pid": os.getpid(),
        "pid_began": _began(),
        "tmp_bytes": _BOUNDS.tmp_bytes, "processes": _BOUNDS.processes,
        "memory_bytes": _BOUNDS.memory_bytes, "file_bytes": _BOUNDS.file_bytes,
        "numbers": seccomp.numbers(("keyctl", "bpf", "userfaultfd", "io_uring_setup", "mount", "setns")),
    }  # fmt: skip
    try:
        standing, plan = await stand(Mounts(space), _BOUNDS)
        box = Sandbox(Wall("", frozenset(), ()), space, _BOUNDS, standing)
        try:
            workspace.own(space, box.uid, protected=(".git",))
            could = await _inside(box, given)
            could |= {Feature.CPU: await _cpu(box), Feature.OUTPUT: await _output(box)}
            marker = await _daemon(box)
        finally:
            await box.close()
    finally:
        for listener in listeners:
            listener.close()
    could[Feature.CLEANUP] = "a daemon outlived the box" if _runs(marker) else ""
    if plan.weak and not could[Feature.PROTECTED]:
        could[Feature.PROTECTED] = "; ".join(f"{path} {reason}" for path, reason in plan.weak)
    return could


def _began() -> str:
    """When this process began, in ticks: with its number it is told from any other."""
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]


def _unix(address: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(address)
    if not address.startswith("\0"):
        # veilig: ignore[CWE-732] reason=open to anybody on purpose: only a wall may hold a command back here
        Path(address).chmod(0o777)
    server.listen()
    return server


async def _inside(box: Sandbox, given: dict[str, object]) -> dict[str, str]:
    text = await asyncio.to_thread((INSIDE / "probe.py").read_text)
    refusal: ProviderError | None = None
    for python in dict.fromkeys((toolchain.own_interpreter(), Path("/usr/bin/python3"))):
        try:
            result = await box.run([str(python), "-I", "-S", "-c", text, json.dumps(given)])
            break
        except ProviderError as error:
            refusal = error
    else:
        raise SandboxUnavailable("no interpreter for the probe starts inside", why=str(refusal))
    if not result.ok:
        raise SandboxUnavailable(
            "the probe did not come to its end inside", why=f"{result.reason}: {result.stderr[-400:]!r}"
        )
    return dict(json.loads(result.stdout))


async def _cpu(box: Sandbox) -> str:
    result = await box.run(
        ["sh", "-c", "while :; do :; done"], timeout_s=BUSY_S, bounds=replace(_BOUNDS, cpu_s=0.2)
    )
    return "" if result.reason is Reason.CPU else f"a busy loop ended by {result.reason}"


async def _output(box: Sandbox) -> str:
    result = await box.run(
        ["sh", "-c", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done"], timeout_s=BUSY_S
    )
    return "" if result.reason in (Reason.OUTPUT, Reason.CPU) else f"endless output ended by {result.reason}"


async def _daemon(box: Sandbox) -> str:
    marker = f"{86400 + secrets.randbelow(10**8)}"
    await box.run(["sh", "-c", f"setsid sleep {marker} >/dev/null 2>&1 & sleep 0.01"])
    return marker


def _runs(marker: str) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    return True
            except OSError:
                continue
    return False


def key(rung: str, program: str | None) -> str:
    """What a remembered probe depends on: this boot, this kernel, this user, this program, this code."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    facts = [rung, os.geteuid(), os.uname().release, Path("/proc/sys/kernel/random/boot_id").read_text()]
    facts += [str(toolchain.own_interpreter()), Path("/proc/self/cgroup").read_text()]
    if program is not None:
        found = Path(program).stat()
        facts += [program, found.st_size, found.st_mtime_ns]
    digest.update(json.dumps(facts).encode())
    return digest.hexdigest()


def recall(rung: str, name: str) -> Probe | None:
    """A probe of this boot, or None. An unreadable memory is none."""
    try:
        entry = json.loads((workspace.state_directory() / f"probe-{rung}.json").read_text())
        if entry["key"] != name:
            return None
        held = frozenset(map(Feature, entry["enforces"]))
        missing = tuple((Feature(feature), str(reason)) for feature, reason in entry["missing"])
        return Probe(rung, Wall(rung, held, missing, str(entry["detail"])), "", float(entry["took_s"]), True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(name: str, probed: Probe) -> None:
    """Keep a wall that stands for this boot; a failure is tried again, it may have been repaired."""
    if probed.wall is None:
        return
    entry = {
        "key": name, "enforces": sorted(probed.wall.enforces), "missing": probed.wall.missing,
        "detail": probed.wall.detail, "took_s": probed.took_s,
    }  # fmt: skip
    directory = workspace.state_directory()
    fresh = directory / f"probe-{probed.rung}.{os.getpid()}.{secrets.token_hex(4)}"
    fresh.write_text(json.dumps(entry))
    fresh.replace(directory / f"probe-{probed.rung}.json")
