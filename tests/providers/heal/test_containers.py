"""Containers of a real engine: seen, restarted, fenced, scaled by true copies, left alone when stopped."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine import IMAGE, NoEngine, OwnEngine
from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal.containers import ContainerSubstrate
from veilig.providers.heal.containers_api import Engine, default_socket

LOOP = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
MAKER = "0123456789abcdef"


@pytest.fixture(scope="module")
def shared() -> Iterator[OwnEngine]:
    try:
        made = OwnEngine()
    except NoEngine as error:
        pytest.skip(f"NO CONTAINER ENGINE WAS TESTED: {error}")
    yield made
    made.close()


@dataclass(frozen=True)
class World:
    """An engine with no container, and the substrate over it."""

    engine: OwnEngine
    substrate: ContainerSubstrate

    def service(self, name: str, group: str = "") -> Service:
        return _service(self.engine, name, group)

    async def seen(self, name: str, run: Run):
        """What is seen once it is in this state."""
        async with asyncio.timeout(90):
            while (now := (await self.substrate.look([self.service(name)]))[0]).run is not run:
                await asyncio.sleep(0.05)
        return now


def _service(engine: OwnEngine, name: str, group: str = "") -> Service:
    return Service(name, provider="container", unit=f"{engine.socket}#{name}", group=group)


@pytest.fixture
def world(shared: OwnEngine) -> Iterator[World]:
    services = [_service(shared, "w-1", "w"), _service(shared, "one")]
    yield World(shared, ContainerSubstrate(services, MAKER, {}))
    shared.clear()


async def test_a_running_one_has_identity_label_and_pids_and_may_be_changed(world: World) -> None:
    identity = world.engine.run("one", *LOOP)
    seen = await world.seen("one", Run.RUNNING)
    assert seen.incarnation.startswith(f"{identity}@")
    assert seen.managed
    assert seen.pids[0] == world.engine.inspect("one")["State"]["Pid"]
    held, text = await world.substrate.capability(world.service("one"))
    assert (held, text) == (Capability.READ_WRITE, "")


async def test_one_without_the_label_is_not_managed(world: World) -> None:
    world.engine.podman("run", "-d", "--network", "none", "--name", "plain", IMAGE, *LOOP)
    world.engine.run("no", *LOOP, options=("--label", "veilig.managed=false"))
    for name in ("plain", "no"):
        assert not (await world.seen(name, Run.RUNNING)).managed


async def test_a_restart_is_one_new_incarnation_of_it_alone(world: World) -> None:
    for name in ("one", "two"):
        world.engine.run(name, *LOOP)
    before, other = await world.substrate.look([world.service("one"), world.service("two")])
    done = await world.substrate.restart(world.service("one"), before.incarnation)
    after, same = await world.substrate.look([world.service("one"), world.service("two")])
    assert done.ok
    assert after.incarnation == done.incarnation != before.incarnation
    assert same.incarnation == other.incarnation


async def test_one_made_anew_under_the_same_name_is_not_the_one_that_was_meant(world: World) -> None:
    world.engine.run("one", *LOOP)
    before = await world.seen("one", Run.RUNNING)
    world.engine.clear()
    world.engine.run("one", *LOOP)
    with pytest.raises(ProviderError, match="another one by now"):
        await world.substrate.restart(world.service("one"), before.incarnation)


async def test_the_beginning_of_an_id_is_no_name(world: World) -> None:
    identity = world.engine.run("one", *LOOP)
    (seen,) = await world.substrate.look([world.service(identity[:6])])
    assert seen.run is Run.UNKNOWN


async def test_one_killed_from_outside_is_down_and_can_be_started(world: World) -> None:
    world.engine.run("one", *LOOP)
    os.kill((await world.seen("one", Run.RUNNING)).pids[0], signal.SIGKILL)
    down = await world.seen("one", Run.DOWN)
    assert (down.exit, down.held_by) == ("signal 9", "")
    assert (await world.substrate.restart(world.service("one"), "")).ok


async def test_one_that_crashes_says_how_and_ends_a_start_as_failed(world: World) -> None:
    world.engine.run("one", "sh", "-c", "exit 3")
    assert (await world.seen("one", Run.DOWN)).exit == "exit 3"
    assert not (await world.substrate.restart(world.service("one"), "")).ok


@pytest.mark.parametrize("verb", ["stop", "kill"])
async def test_one_that_a_person_ended_through_the_engine_is_held(world: World, verb: str) -> None:
    world.engine.run("one", *LOOP)
    await world.seen("one", Run.RUNNING)
    await asyncio.to_thread(world.engine.podman, verb, "one")
    assert (await world.seen("one", Run.STOPPED)).held_by
    with pytest.raises(ProviderError, match="stopped by a person"):
        await world.substrate.restart(world.service("one"), "")


async def test_a_stop_through_the_api_which_podman_does_not_record_is_held_by_its_polite_end(
    world: World,
) -> None:
    world.engine.run("one", *LOOP)
    await world.seen("one", Run.RUNNING)
    await Engine(world.engine.socket).call("POST", "/containers/one/stop?t=5")
    assert (await world.seen("one", Run.STOPPED)).held_by


async def test_a_stop_that_ends_in_a_kill_is_held_because_it_was_seen(world: World) -> None:
    world.engine.run("one", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    await world.seen("one", Run.RUNNING)
    stop = asyncio.create_task(asyncio.to_thread(world.engine.podman, "stop", "-t", "2", "one"))
    async with asyncio.timeout(90):
        while not (seen := (await world.substrate.look([world.service("one")]))[0]).held_by:
            await asyncio.sleep(0.05)
    assert seen.run is Run.RUNNING
    with pytest.raises(ProviderError, match="stopped by a person"):
        await world.substrate.restart(world.service("one"), seen.incarnation)
    await stop
    assert (await world.seen("one", Run.STOPPED)).exit == "signal 9"


async def test_one_that_was_never_started_is_held(world: World) -> None:
    world.engine.podman("create", "--network", "none", "--name", "one", IMAGE, *LOOP)
    assert (await world.seen("one", Run.STOPPED)).held_by == "it was made and never started"


async def test_a_paused_one_is_frozen_and_restarted_all_the_same(world: World) -> None:
    world.engine.run("one", *LOOP)
    try:
        world.engine.podman("pause", "one")
    except NoEngine as error:
        pytest.skip(f"NO PAUSE WAS TESTED: {error}")
    frozen = await world.seen("one", Run.FROZEN)
    done = await world.substrate.restart(world.service("one"), frozen.incarnation)
    assert done.ok
    assert (await world.seen("one", Run.RUNNING)).incarnation == done.incarnation


async def test_a_signal_that_freezes_it_is_seen_as_frozen(world: World) -> None:
    world.engine.run("one", *LOOP)
    os.kill((await world.seen("one", Run.RUNNING)).pids[0], signal.SIGSTOP)
    frozen = await world.seen("one", Run.FROZEN)
    assert (await world.substrate.restart(world.service("one"), frozen.incarnation)).ok


async def test_its_engine_s_own_restarts_are_said(world: World) -> None:
    world.engine.run("one", *LOOP, options=("--restart", "always"))
    assert "always" in (await world.substrate.capability(world.service("one")))[1]


async def test_nobody_at_the_socket_is_unknown_with_its_why(tmp_path: Path) -> None:
    service = Service("a", provider="container", unit=f"{tmp_path}/none.sock#a")
    substrate = ContainerSubstrate([service], MAKER, {})
    (now,) = await substrate.look([service])
    assert now.run is Run.UNKNOWN
    assert "does not answer" in now.why
    assert (await substrate.capability(service))[0] is Capability.UNKNOWN


def test_an_engine_that_is_no_unix_socket_is_refused() -> None:
    assert default_socket({"DOCKER_HOST": "unix:///a/b"}) == "/a/b"
    with pytest.raises(ProviderError, match="tcp://"):
        default_socket({"DOCKER_HOST": "tcp://example.org:2375"})


# --- groups ---------------------------------------------------------------------------------------


async def test_a_new_replica_is_a_true_copy_with_a_new_name_and_our_label(
    world: World, tmp_path: Path
) -> None:
    rights = ("--cap-drop", "CHOWN", "-e", "MODE=a b", "-v", f"{tmp_path}:/data:ro", "--memory", "64m")
    world.engine.run("w-1", *LOOP, group="w", options=rights)
    world.engine.run("other", *LOOP, group="v")
    done = await world.substrate.scale("w", 1, 2)
    assert done.ok, done.detail
    (name,) = [one for one in world.engine.names() if one.startswith("w-") and one != "w-1"]
    first, second = world.engine.inspect("w-1"), world.engine.inspect(name)
    for key in ("Image", "Path", "Args", "EffectiveCaps"):
        assert first[key] == second[key]
    assert first["HostConfig"]["Memory"] == second["HostConfig"]["Memory"] == 64 << 20
    assert "MODE=a b" in second["Config"]["Env"]
    assert second["Mounts"][0]["RW"] is False
    assert second["Config"]["Labels"]["veilig.made_by"] == MAKER
    (seen,) = await world.substrate.look([world.service("w-1", "w")])
    assert (seen.replicas, seen.replicas_own) == (2, 1)


async def test_only_those_that_we_made_are_taken_away(world: World) -> None:
    for name in ("w-1", "w-2"):
        world.engine.run(name, *LOOP, group="w")
    assert (await world.substrate.scale("w", 2, 4)).ok
    with pytest.raises(ProviderError, match="only 2 of its replicas"):
        await world.substrate.scale("w", 4, 1)
    assert len(world.engine.names()) == 4
    assert (await world.substrate.scale("w", 4, 2)).ok
    assert sorted(world.engine.names()) == ["w-1", "w-2"]


async def test_a_group_of_another_size_than_was_meant_stays(world: World) -> None:
    world.engine.run("w-1", *LOOP, group="w")
    with pytest.raises(ProviderError, match="another size"):
        await world.substrate.scale("w", 2, 3)
    assert world.engine.names() == ["w-1"]


async def test_two_scalers_at_once_make_no_more_than_one_of_them_may(world: World) -> None:
    world.engine.run("w-1", *LOOP, group="w")
    results = await asyncio.gather(
        world.substrate.scale("w", 1, 2), world.substrate.scale("w", 1, 2), return_exceptions=True
    )
    assert sum(isinstance(one, ProviderError) for one in results) == 1
    assert len(world.engine.names()) == 2


@pytest.mark.parametrize("options", [("-p", "127.0.0.1:47123:80"), ("--network", "host")])
async def test_one_whose_port_of_the_host_is_taken_is_not_copied(
    world: World, options: tuple[str, ...]
) -> None:
    labels = ("--label", "veilig.managed=true", "--label", "veilig.group=w")
    try:
        world.engine.podman("run", "-d", "--name", "w-1", *labels, *options, IMAGE, *LOOP)
    except NoEngine as error:
        pytest.skip(f"NOT TESTED, this engine has no such network: {error}")
    with pytest.raises(ProviderError, match="cannot be scaled"):
        await world.substrate.scale("w", 1, 2)
    assert world.engine.names() == ["w-1"]


async def test_a_group_without_our_label_is_not_copied(world: World) -> None:
    world.engine.run("w-1", *LOOP, group="w", options=("--label", "veilig.managed=no"))
    with pytest.raises(ProviderError, match=r"veilig\.managed"):
        await world.substrate.scale("w", 1, 2)


async def test_a_replica_that_ends_at_once_is_removed_again_and_said(world: World, tmp_path: Path) -> None:
    once = f"test -e {tmp_path}/begun && exit 4; echo > {tmp_path}/begun; while :; do sleep 0.1; done"
    world.engine.run("w-1", "sh", "-c", once, group="w", options=("-v", f"{tmp_path}:{tmp_path}"))
    await world.seen("w-1", Run.RUNNING)
    done = await world.substrate.scale("w", 1, 2)
    assert not done.ok
    assert "ended at once" in done.detail
    assert world.engine.names() == ["w-1"]
