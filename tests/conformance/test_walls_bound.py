"""Is a command ended at its bounds, and is its end told as it was?"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from veilig.core.errors import ProviderError
from veilig.providers.sandbox import Feature, Reason
from walls import BOUNDS, Open, Place


@pytest.fixture
async def place(open_box: Open) -> Place:
    return await open_box()


def alive(marker: str) -> list[int]:
    """Processes of this machine that have the marker among their arguments."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [
        ("exit 0", 0, None),
        ("exit 3", 3, None),
        ("exit 255", 255, None),
        ("kill -SEGV $$", None, signal.SIGSEGV),
        ("kill -KILL $$", None, signal.SIGKILL),
        ("kill -TERM $$", None, signal.SIGTERM),
    ],
)
async def test_how_a_command_ends_is_told_as_it_was(
    place: Place, script: str, code: int, number: int
) -> None:
    result = await place.sh(script)
    assert (result.exit_code, result.signal, result.reason) == (code, number, Reason.EXITED)


async def test_both_streams_and_the_input_arrive_whole(place: Place) -> None:
    data = os.urandom(1500)
    result = await place.sh("cat; echo told >&2", stdin=data)
    assert (result.stdout, result.stderr) == (data, b"told\n")
    nothing = await place.sh("cat")
    assert (nothing.stdout, nothing.exit_code) == (b"", 0)
    large = await place.sh("wc -c", stdin=bytes(3 << 20))
    assert large.stdout.strip() == str(3 << 20).encode()


async def test_output_beyond_what_is_kept_is_counted_and_said(place: Place) -> None:
    seen: list[tuple[int, int]] = []
    result = await place.python(
        "import sys; sys.stdout.write('a' * 5000 + 'b' * 5000)",
        on_output=lambda fd, data: seen.append((fd, len(data))),
    )
    assert result.stdout_total == sum(size for _, size in seen) == 10000
    assert result.stdout == b"a" * 2048 + b"\n[veilig: 5904 bytes left out]\n" + b"b" * 2048
    exact = await place.python("import sys; sys.stdout.write('c' * 4096)")
    assert (exact.stdout, exact.stdout_total) == (b"c" * 4096, 4096)


async def test_endless_output_is_ended(place: Place) -> None:
    result = await place.box.run(["/usr/bin/yes"])
    assert (result.reason, result.exit_code) == (Reason.OUTPUT, None)
    assert result.stdout_total > BOUNDS.output_kill_bytes


async def test_a_sleep_beyond_its_time_is_ended_with_its_children(place: Place) -> None:
    result = await place.sh("setsid sleep 7654321 & sleep 7654321", timeout_s=0.3)
    assert (result.reason, result.signal) == (Reason.TIMEOUT, signal.SIGKILL)
    assert result.wall_s < 3
    listed = await place.sh("ps -e -o args 2>/dev/null | grep '[7]654321'; true")
    assert listed.stdout == b""
    assert alive("7654321") == []


async def test_cpu_is_bounded_over_all_processes_of_a_command(place: Place) -> None:
    bounds = replace(BOUNDS, cpu_s=0.5)
    busy = "for i in 1 2 3; do (while :; do :; done) & done; wait"
    result = await place.sh(busy, bounds=bounds)
    assert result.reason is Reason.CPU
    assert result.wall_s < 5
    single = await place.sh("while :; do :; done", bounds=bounds)
    assert single.reason is Reason.CPU
    idle = await place.sh("sleep 0.6", bounds=bounds)
    assert (idle.reason, idle.exit_code) == (Reason.EXITED, 0)


async def test_a_process_that_leaves_its_session_is_still_counted(place: Place) -> None:
    result = await place.sh(
        "setsid sh -c 'setsid sh -c \"while :; do :; done\" &' & sleep 20", bounds=replace(BOUNDS, cpu_s=0.5)
    )
    assert result.reason is Reason.CPU


async def test_a_memory_bomb_is_ended_and_the_box_lives_on(place: Place) -> None:
    result = await place.python("x = bytearray(400 << 20); print(len(x))")
    assert result.stdout == b""
    assert not result.ok
    if place.holds(Feature.MEMORY):
        assert (result.reason, result.signal) == (Reason.MEMORY, signal.SIGKILL)
    assert place.holds(Feature.PROCESS_MEMORY)
    small = await place.python("x = bytearray(64 << 20); print(len(x))")
    assert small.stdout == b"67108864\n", small.stderr


async def test_a_fork_bomb_stays_in_its_bound_and_goes(place: Place) -> None:
    script = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n"
    result = await place.python(script, timeout_s=1)
    assert result.reason in (Reason.TIMEOUT, Reason.CPU, Reason.MEMORY)
    after = await place.sh("echo alive")
    assert after.stdout == b"alive\n"
    assert place.holds(Feature.PROCESSES)


async def test_a_file_beyond_its_size_is_not_written(place: Place) -> None:
    result = await place.sh("head -c 16M /dev/zero > src/big; wc -c < src/big")
    assert int(result.stdout) == BOUNDS.file_bytes
    allowed = await place.sh("head -c 1M /dev/zero > src/small; wc -c < src/small")
    assert int(allowed.stdout) == 1 << 20


async def test_an_override_can_only_tighten(place: Place) -> None:
    loose = replace(BOUNDS, open_files=4096, processes=4000)
    result = await place.python("import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE)[1])", bounds=loose)
    assert result.stdout == f"{BOUNDS.open_files}\n".encode()
    tight = await place.sh("ulimit -n", bounds=replace(BOUNDS, open_files=33))
    assert tight.stdout == b"33\n"


async def test_a_daemon_that_holds_the_output_does_not_hold_up_its_command(place: Place) -> None:
    begun_s = time.monotonic()
    result = await place.sh("sleep 7654322 & echo started")
    assert (result.stdout, result.exit_code) == (b"started\n", 0)
    assert time.monotonic() - begun_s < 60
    await until(lambda: len(alive("7654322")) == 1)


async def test_a_daemon_lives_for_the_next_command_and_dies_with_the_box(place: Place) -> None:
    await place.sh("(while :; do echo beat; sleep 0.02; done) & setsid sleep 7654323 & sleep 0.1")
    for _ in range(3):  # it goes on talking into a pipe nobody listens to, and is not killed for it
        again = await place.sh("sleep 0.1; echo here")
        assert again.stdout == b"here\n"
    assert len(alive("7654323")) == 1
    await place.box.close()
    assert alive("7654323") == []
    assert place.holds(Feature.CLEANUP)
    with pytest.raises(ProviderError, match="gone"):
        await place.sh("echo")


async def test_a_cancelled_run_ends_its_command_and_spares_the_box(place: Place) -> None:
    started = asyncio.Event()
    task = asyncio.create_task(place.sh("echo go; exec sleep 7654324", on_output=lambda *_: started.set()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert alive("7654324") == []
    after = await place.sh("echo alive")
    assert after.stdout == b"alive\n"


async def test_commands_at_the_same_time_do_not_mix(place: Place) -> None:
    results = await asyncio.gather(*(place.sh(f"sleep 0.1; echo {n}; exit {n}") for n in range(6)))
    assert [(result.stdout, result.exit_code) for result in results] == [
        (f"{n}\n".encode(), n) for n in range(6)
    ]


@pytest.mark.parametrize(
    ("argv", "cwd", "text"),
    [
        (["no-such-program"], None, "was not started"),
        (["/bin/sh"], "absent", "was not started in"),
        ([], None, "is not a command"),
        (["a\0b"], None, "is not a command"),
    ],
)
async def test_what_cannot_be_started_is_an_error_that_says_why(
    place: Place, argv: list[str], cwd: str | None, text: str
) -> None:
    with pytest.raises(ProviderError, match=text):
        await place.box.run(argv, cwd=cwd)
    after = await place.sh("pwd", cwd="src")
    assert after.stdout.strip().decode() == str(place.workspace / "src")


async def test_an_error_of_the_listener_ends_the_command_and_is_raised(place: Place) -> None:
    def broken(_fd: int, _data: bytes) -> None:
        raise ValueError("the listener is broken")

    with pytest.raises(ValueError, match="listener is broken"):
        await place.sh("echo x; exec sleep 7654325", on_output=broken)
    assert alive("7654325") == []


OUTER = """
import asyncio, os, sys
from pathlib import Path
from veilig.providers.sandbox import Mounts, own, stand
async def main():
    box = await stand(Mounts(Path(sys.argv[1])), hide=frozenset(sys.argv[2].split(",")), require=frozenset())
    own(box.workspace, box.uid, protected=(".git",))
    await box.run(["/bin/sh", "-c", "setsid sleep 7654326 & exec sleep 7654326"],
                  on_output=lambda *_: None, timeout_s=60)
asyncio.run(main())
"""


async def test_when_the_outside_is_killed_everything_inside_dies(place: Place) -> None:
    await place.box.close()
    hidden = ",".join({"bubblewrap", "landlock", "container"} - {place.box.wall.name})
    outer = subprocess.Popen([sys.executable, "-c", OUTER, str(place.workspace), hidden])
    try:
        await until(lambda: len(alive("7654326")) == 2)
    finally:
        outer.kill()
        outer.wait()
    await until(lambda: not alive("7654326"))


async def until(condition: Callable[[], bool], *, timeout_s: float = 20) -> None:
    """Wait for something outside this process, of which no event tells."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "did not come about"
        await asyncio.sleep(0.02)
