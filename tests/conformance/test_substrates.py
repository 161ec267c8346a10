"""Does every keeper of services see, fence, restart and spare them alike?

One test for all of them: a new keeper is one more class here.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from engine import IMAGE, NoEngine, OwnEngine
from fleet import alive
from systemd import Manager, NoSystemd
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import HOLD_FILE, Service
from veilig.core.signal import Run
from veilig.providers.heal.containers import ContainerSubstrate
from veilig.providers.heal.processes import ProcessSubstrate
from veilig.providers.heal.substrate import Seen, Substrate
from veilig.providers.heal.supervisord import SupervisordSubstrate
from veilig.providers.heal.systemd import SystemdSubstrate

PROGRAM = "echo $$ >> starts; while :; do sleep 0.2; done"


class Stand(ABC):
    """Two running services, "one" and "two", and a keeper for them. Each start adds a line to a file."""

    substrate: Substrate

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("one", "two"):
            (folder / name).mkdir()
            script = folder / name / "run.sh"
            script.write_text(f"#!/bin/bash\ncd {folder / name}\n{PROGRAM}\n")
            script.chmod(0o755)

    @abstractmethod
    def begin(self) -> None: ...
    @abstractmethod
    def end(self) -> None: ...
    @abstractmethod
    def service(self, name: str) -> Service: ...
    @abstractmethod
    def hold(self, name: str) -> None:
        """As a person stops a service and wants it down."""

    def starts(self, name: str) -> list[int]:
        place = self.folder / name / "starts"
        return [int(line) for line in place.read_text().split()] if place.exists() else []

    async def seen(self, name: str, *wanted: Run) -> Seen:
        """Once it is in one of these states."""
        async with asyncio.timeout(20):
            while (now := (await self.substrate.look([self.service(name)]))[0]).run not in wanted:
                await asyncio.sleep(0.05)
        return now


class Processes(Stand):
    """Plain processes with pidfiles."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        services = [self.service("one"), self.service("two")]
        self.substrate = ProcessSubstrate(services, base=folder, logs=folder / "logs")
        self.children: list[subprocess.Popen[bytes]] = []

    def service(self, name: str) -> Service:
        place = self.folder / name
        return Service(
            name, cmd=(str(place / "run.sh"),), folder=str(place), pidfile=str(place / "pid"),
            log=(str(place / "log"),), hold=(str(place / HOLD_FILE),),
        )  # fmt: skip

    def begin(self) -> None:
        for name in ("one", "two"):
            child = subprocess.Popen([str(self.folder / name / "run.sh")], start_new_session=True)
            self.children.append(child)
            (self.folder / name / "pid").write_text(str(child.pid))

    def hold(self, name: str) -> None:
        (self.folder / name / HOLD_FILE).touch()
        os.kill(self.starts(name)[-1], signal.SIGKILL)

    def end(self) -> None:
        for pid in {*self.starts("one"), *self.starts("two")}:
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for child in self.children:
            child.wait()


class Supervisord(Stand):
    """Programs of a real supervisord."""

    substrate = SupervisordSubstrate()

    def begin(self) -> None:
        if not shutil.which("supervisord"):
            pytest.skip("NO SUPERVISORD WAS TESTED: apt-get install supervisor")
        self.sockets = Path(tempfile.mkdtemp(prefix="sv-"))  # a socket's path has 108 bytes at most
        parts = [
            f"[unix_http_server]\nfile={self.sockets}/s",
            f"[supervisord]\nlogfile={self.folder}/log\npidfile={self.folder}/pid\nnodaemon=true",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
            f"[supervisorctl]\nserverurl=unix://{self.sockets}/s",
        ]
        for name in ("one", "two"):
            parts.append(f"[program:{name}]\ncommand={self.folder / name / 'run.sh'}\nautorestart=false")
            parts.append("startsecs=0\nstopasgroup=true\nkillasgroup=true\nstopwaitsecs=1")
        (self.folder / "s.conf").write_text("\n".join(parts) + "\n")
        command = ["supervisord", "-c", str(self.folder / "s.conf")]
        self.daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def service(self, name: str) -> Service:
        return Service(name, provider="supervisord", unit=f"{self.sockets}/s#{name}")

    def hold(self, name: str) -> None:
        command = ["supervisorctl", "-c", str(self.folder / "s.conf"), "stop", name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def end(self) -> None:
        if hasattr(self, "daemon"):
            self.daemon.terminate()
            self.daemon.wait(20)
            shutil.rmtree(self.sockets)


class Containers(Stand):
    """Containers of a real engine; they see the host's pids, so that what they write of themselves fits."""

    user = 0
    engines: ClassVar[dict[int, OwnEngine | NoEngine]] = {}

    def begin(self) -> None:
        if self.user not in self.engines:
            try:
                self.engines[self.user] = OwnEngine(self.user)
            except NoEngine as error:
                self.engines[self.user] = error
        engine = self.engines[self.user]
        if isinstance(engine, NoEngine):
            pytest.skip(f"NO CONTAINER ENGINE OF USER {self.user} WAS TESTED: {engine}")
        self.engine = engine
        self.substrate = ContainerSubstrate([self.service("one"), self.service("two")], "0" * 16, {})
        for name in ("one", "two"):
            place = f"{self.folder}/{name}"
            options = ["--network", "none", "--pid", "host", "-v", f"{place}:{place}"]
            self.engine.podman("run", "-d", "--name", name, *options, IMAGE, "sh", f"{place}/run.sh")

    def service(self, name: str) -> Service:
        return Service(name, provider="container", unit=f"{self.engine.socket}#{name}")

    def hold(self, name: str) -> None:
        self.engine.podman("stop", "-t", "1", name)

    def end(self) -> None:
        if hasattr(self, "engine"):
            self.engine.clear()


class Rootless(Containers):
    """The same of a rootless engine, in folders that its user may enter."""

    user = 64323  # nobody's

    def __init__(self, folder: Path) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="ve-rootless-")))
        for place in (self.folder, self.folder / "one", self.folder / "two"):
            os.chown(place, self.user, self.user)

    def end(self) -> None:
        super().end()
        shutil.rmtree(self.folder)


class Systemd(Stand):
    """Units of a real user manager."""

    def begin(self) -> None:
        try:
            self.manager = Manager()
        except NoSystemd as error:
            pytest.skip(f"NO SYSTEMD WAS TESTED: {error}")
        self.substrate = SystemdSubstrate(SystemClock(), self.manager.environment)
        for name in ("one", "two"):
            self.manager.unit(name, f"ExecStart={self.folder / name / 'run.sh'}", "TimeoutStopSec=2")
            self.manager.ctl("start", name)

    def service(self, name: str) -> Service:
        return Service(name, provider="systemd", unit=f"user:{name}.service")

    def hold(self, name: str) -> None:
        self.manager.ctl("stop", name)

    def end(self) -> None:
        if hasattr(self, "manager"):
            self.manager.close()


@pytest.fixture(scope="module", autouse=True)
def engines() -> Iterator[None]:
    yield
    for engine in Containers.engines.values():
        if isinstance(engine, OwnEngine):
            engine.close()
    Containers.engines.clear()


KEEPERS: dict[str, type[Stand]] = {
    "process": Processes,
    "supervisord": Supervisord,
    "container": Containers,
    "rootless": Rootless,
    "systemd": Systemd,
}


@pytest.fixture(params=list(KEEPERS.values()), ids=list(KEEPERS))
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    kind: type[Stand] = request.param
    made = kind(tmp_path)
    try:
        made.begin()
        for name in ("one", "two"):
            await made.seen(name, Run.RUNNING)
            async with asyncio.timeout(60):
                while not made.starts(name):
                    await asyncio.sleep(0.02)
        yield made
        await made.substrate.close()
    finally:
        made.end()


async def test_each_service_is_seen_in_the_order_asked_with_its_identity(stand: Stand) -> None:
    two, one = await stand.substrate.look([stand.service("two"), stand.service("one")])
    assert (two.service, one.service) == ("two", "one")
    for seen in (one, two):
        assert seen.run is Run.RUNNING
        assert seen.pids[0] == stand.starts(seen.service)[0]
        assert seen.incarnation
        assert seen.started_s > 0
        assert not seen.held_by
    assert one.incarnation != two.incarnation
    assert (await stand.substrate.capability(stand.service("one")))[0] is Capability.READ_WRITE


async def test_a_name_nobody_knows_is_unknown_and_no_error(stand: Stand) -> None:
    stranger, known = await stand.substrate.look([stand.service("nobody"), stand.service("one")])
    assert (stranger.run, known.run) == (Run.UNKNOWN, Run.RUNNING)
    assert stranger.why


async def test_a_restart_makes_one_new_incarnation_and_spares_the_other(stand: Stand) -> None:
    before, bystander = await stand.substrate.look([stand.service("one"), stand.service("two")])
    done = await stand.substrate.restart(stand.service("one"), before.incarnation)
    after, other = await stand.substrate.look([stand.service("one"), stand.service("two")])
    assert done.ok
    assert after.incarnation == done.incarnation != before.incarnation
    assert other.incarnation == bystander.incarnation
    assert not alive(before.pids[0])
    while len(stand.starts("one")) < 2:
        await asyncio.sleep(0.02)
    assert (len(stand.starts("one")), len(stand.starts("two"))) == (2, 1)


async def test_a_dead_one_is_down_and_is_started_once(stand: Stand) -> None:
    before = await stand.seen("one", Run.RUNNING)
    os.kill(before.pids[0], signal.SIGKILL)
    down = await stand.seen("one", Run.DOWN)
    assert (down.incarnation, down.held_by) == ("", "")
    done = await stand.substrate.restart(stand.service("one"), "")
    assert (await stand.seen("one", Run.RUNNING)).incarnation == done.incarnation
    while len(stand.starts("one")) < 2:
        await asyncio.sleep(0.02)
    assert len(stand.starts("one")) == 2


@pytest.mark.parametrize("stale", ["", "1:1"])
@pytest.mark.parametrize("verb", ["restart", "stop"])
async def test_a_stale_fence_changes_nothing(stand: Stand, stale: str, verb: str) -> None:
    before = await stand.seen("one", Run.RUNNING)
    act = stand.substrate.restart if verb == "restart" else stand.substrate.stop
    with pytest.raises(ProviderError):
        await act(stand.service("one"), stale)
    assert (await stand.seen("one", Run.RUNNING)).incarnation == before.incarnation
    assert len(stand.starts("one")) == 1


async def test_a_fence_of_a_dead_incarnation_starts_nothing(stand: Stand) -> None:
    before = await stand.seen("one", Run.RUNNING)
    os.kill(before.pids[0], signal.SIGKILL)
    await stand.seen("one", Run.DOWN)
    with pytest.raises(ProviderError):
        await stand.substrate.restart(stand.service("one"), before.incarnation)
    assert (await stand.seen("one", Run.DOWN)).incarnation == ""


async def test_what_a_person_stopped_is_held_and_never_started(stand: Stand) -> None:
    await asyncio.to_thread(stand.hold, "one")
    seen = await stand.seen("one", Run.STOPPED)
    assert seen.held_by
    with pytest.raises(ProviderError):
        await stand.substrate.restart(stand.service("one"), "")
    assert (await stand.seen("one", Run.STOPPED)).incarnation == ""
    assert len(stand.starts("one")) == 1


async def test_a_stop_leaves_it_down_and_the_other_up(stand: Stand) -> None:
    before = await stand.seen("one", Run.RUNNING)
    assert (await stand.substrate.stop(stand.service("one"), before.incarnation)).ok
    after = await stand.seen("one", Run.DOWN, Run.STOPPED)
    assert after.incarnation == ""
    await stand.seen("two", Run.RUNNING)


async def test_what_cannot_be_scaled_says_so(stand: Stand) -> None:
    with pytest.raises(ProviderError, match="cannot be scaled"):
        await stand.substrate.scale("one", 1, 2)


@pytest.mark.parametrize("stand", [Containers, Rootless], ids=["container", "rootless"], indirect=True)
async def test_a_memory_limit_that_is_not_held_is_said(stand: Containers) -> None:
    stand.engine.podman(
        "run", "-d", "--network", "none", "-m", "60m", "--name", "small", IMAGE, "sleep", "99"
    )
    said = (await stand.substrate.capability(stand.service("small")))[1]
    try:
        stand.engine.podman("exec", "small", "dd", "if=/dev/zero", "of=/dev/null", "bs=90M", "count=1")
        held = False
    except NoEngine:
        held = True
    assert ("not enforced" in said) is not held
