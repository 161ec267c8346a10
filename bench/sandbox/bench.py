"""What does one command cost behind each wall? Medians of one run, CPU with all children, in one table."""

import asyncio
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from veilig.core.errors import SandboxUnavailable
from veilig.providers.sandbox import Mounts, own, stand

WALLS = ("bubblewrap", "landlock", "container")
TRUE = shutil.which("true") or "/bin/true"


def cpu_s() -> float:
    """User and system time of this process and of its children that have ended."""
    own_time, children = (
        resource.getrusage(resource.RUSAGE_SELF),
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    return own_time.ru_utime + own_time.ru_stime + children.ru_utime + children.ru_stime


def inner_cpu_s(marker: str) -> float:
    """CPU of the boxes' first processes and their children, which are not ours to wait for."""
    total = 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes():
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                total += sum(map(int, fields[11:15]))
        except OSError:
            continue
    return total / os.sysconf("SC_CLK_TCK")


async def measure(name: str, rounds: int, once: Callable[[], Awaitable[object]], marker: str = "") -> None:
    for _ in range(5):
        await once()
    walls: list[float] = []
    inner, before = inner_cpu_s(marker) if marker else 0.0, cpu_s()
    for _ in range(rounds):
        started = time.perf_counter()
        await once()
        walls.append(time.perf_counter() - started)
    cpu = cpu_s() - before + ((inner_cpu_s(marker) - inner) if marker else 0.0)
    median, least = statistics.median(walls) * 1000, min(walls) * 1000
    print(f"| {name:<34} | {median:9.2f} | {least:9.2f} | {cpu / rounds * 1000:9.2f} |", flush=True)


async def main(rounds: int) -> None:
    print(f"load {os.getloadavg()[0]:.1f}, {rounds} rounds of `true`, uid {os.geteuid()}")
    print("| per command                        | median ms |    min ms |    CPU ms |")
    print("|------------------------------------|-----------|-----------|-----------|")

    async def plain() -> object:
        return subprocess.run([TRUE], check=True, stdout=subprocess.DEVNULL)

    async def one_shot() -> object:
        argv = ["bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib"]
        argv += ["--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "/usr/bin/true"]
        return subprocess.run(argv, check=True)

    await measure("plain subprocess", rounds, plain)
    if shutil.which("bwrap"):
        await measure("bwrap --unshare-all, one shot", rounds, one_shot)
    for wall in WALLS:
        area = Path(tempfile.mkdtemp(prefix="veilig-bench-"))
        area.chmod(0o755)
        try:
            box = await stand(Mounts(area), require=frozenset(), hide=frozenset(WALLS) - {wall})
        except SandboxUnavailable as error:
            print(f"| {wall:<34} | not measured: {' '.join(str(error.why).split())[:90]}")
            continue
        async with box:
            own(area, box.uid)
            await measure(
                f"{wall}, persistent", rounds, lambda box=box: box.run([TRUE]), "from inside.box import main"
            )
        shutil.rmtree(area)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
