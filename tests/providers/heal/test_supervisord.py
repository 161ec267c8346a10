"""Programs of a real supervisord: seen, restarted once, fenced, and left alone when a person stopped them."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal.supervisord import SupervisordSubstrate

pytestmark = pytest.mark.skipif(
    not shutil.which("supervisord"), reason="supervisord is not installed: apt-get install supervisor"
)


@dataclass(frozen=True)
class Daemon:
    """A running supervisord with three programs."""

    socket: str
    folder: Path

    def service(self, name: str) -> Service:
        return Service(name, provider="supervisord", unit=f"{self.socket}#{name}")

    def ctl(self, *words: str) -> None:
        config = str(self.folder / "s.conf")
        subprocess.run(["supervisorctl", "-c", config, *words], check=False, capture_output=True)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    socket = f"/tmp/veilig-sv-{os.getpid()}.sock"  # a socket's path has 108 bytes at most
    programs = {
        "steady": "sleep 1000",
        "deaf": """bash -c 'trap "" TERM; while true; do sleep 1000 & wait; done'""",
        "short": "bash -c 'exit 3'",
    }
    parts = [
        f"[unix_http_server]\nfile={socket}",
        f"[supervisord]\nlogfile={tmp_path}/log\npidfile={tmp_path}/pid\nnodaemon=true",
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        f"[supervisorctl]\nserverurl=unix://{socket}",
    ]
    for name, command in programs.items():
        parts.append(
            f"[program:{name}]\ncommand={command}\nautorestart=false\nstartsecs=0\nkillasgroup=true\nstopwaitsecs=1"
        )
    (tmp_path / "s.conf").write_text("\n".join(parts) + "\n")
    child = subprocess.Popen(["supervisord", "-c", str(tmp_path / "s.conf")], stdout=subprocess.DEVNULL)
    yield Daemon(socket, tmp_path)
    child.send_signal(signal.SIGTERM)
    child.wait(20)


async def seen(substrate: SupervisordSubstrate, service: Service, run: Run, patience_s: float = 15.0):
    """What is seen once it is in state `run`."""
    async with asyncio.timeout(patience_s):
        while (now := (await substrate.look([service]))[0]).run is not run:
            await asyncio.sleep(0.05)
    return now


async def test_a_running_program_has_an_identity_and_may_be_changed(daemon: Daemon) -> None:
    substrate = SupervisordSubstrate()
    first = await seen(substrate, daemon.service("steady"), Run.RUNNING)
    assert first.incarnation and first.pids and not first.held_by
    assert (await substrate.capability(daemon.service("steady")))[0] is Capability.READ_WRITE
    assert (await substrate.capability(daemon.service("nobody")))[0] is Capability.UNKNOWN


@pytest.mark.parametrize("name", ["steady", "deaf"])
async def test_a_restart_gives_exactly_one_new_incarnation(daemon: Daemon, name: str) -> None:
    substrate = SupervisordSubstrate()
    first = await seen(substrate, daemon.service(name), Run.RUNNING)
    done = await substrate.restart(daemon.service(name), first.incarnation)
    now = await seen(substrate, daemon.service(name), Run.RUNNING)
    assert done.ok
    assert now.incarnation == done.incarnation != first.incarnation


async def test_a_stale_incarnation_is_refused_and_nothing_is_done(daemon: Daemon) -> None:
    substrate = SupervisordSubstrate()
    first = await seen(substrate, daemon.service("steady"), Run.RUNNING)
    for stale in ("", "1:1"):
        with pytest.raises(ProviderError, match="another one by now"):
            await substrate.restart(daemon.service("steady"), stale)
    assert (await substrate.look([daemon.service("steady")]))[0].incarnation == first.incarnation


async def test_one_that_died_is_down_and_can_be_started(daemon: Daemon) -> None:
    substrate = SupervisordSubstrate()
    first = await seen(substrate, daemon.service("steady"), Run.RUNNING)
    os.kill(first.pids[0], signal.SIGKILL)
    down = await seen(substrate, daemon.service("steady"), Run.DOWN)
    assert not down.incarnation and not down.held_by
    assert (await substrate.restart(daemon.service("steady"), "")).ok


async def test_one_that_a_person_stopped_is_held_and_never_started(daemon: Daemon) -> None:
    substrate = SupervisordSubstrate()
    await seen(substrate, daemon.service("steady"), Run.RUNNING)
    await asyncio.to_thread(daemon.ctl, "stop", "steady")
    held = await seen(substrate, daemon.service("steady"), Run.STOPPED)
    assert held.held_by
    with pytest.raises(ProviderError, match="stopped by a person"):
        await substrate.restart(daemon.service("steady"), "")


async def test_one_that_ends_at_once_says_how(daemon: Daemon) -> None:
    substrate, service = SupervisordSubstrate(), daemon.service("short")
    async with asyncio.timeout(15):  # supervisord learns of an end a moment after the kernel
        while not (down := await seen(substrate, service, Run.DOWN)).exit:
            await asyncio.sleep(0.05)
    assert down.exit == "exit 3"


async def test_a_frozen_one_is_seen_as_frozen_and_ended_all_the_same(daemon: Daemon) -> None:
    substrate = SupervisordSubstrate()
    first = await seen(substrate, daemon.service("steady"), Run.RUNNING)
    os.kill(first.pids[0], signal.SIGSTOP)
    await seen(substrate, daemon.service("steady"), Run.FROZEN)
    assert (await substrate.restart(daemon.service("steady"), first.incarnation)).ok


async def test_nobody_at_the_socket_is_unknown_with_its_why(tmp_path: Path) -> None:
    service = Service("a", provider="supervisord", unit=f"{tmp_path}/none.sock#a")
    (now,) = await SupervisordSubstrate().look([service])
    assert now.run is Run.UNKNOWN
    assert "does not answer" in now.why
