"""What only systemd has: restarts of its own that are counted, a start limit that is kept, masks."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from systemd import Manager, NoSystemd
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal.substrate import Done, Seen
from veilig.providers.heal.systemd import SystemdSubstrate

WAIT_S = 60
SLEEPS = "ExecStart=/bin/sleep 1000"


@pytest.fixture(scope="module")
def manager() -> Iterator[Manager]:
    try:
        made = Manager()
    except NoSystemd as error:
        pytest.skip(f"NO SYSTEMD WAS TESTED: {error}")
    yield made
    made.close()


def unit(name: str) -> Service:
    return Service(name, provider="systemd", unit=f"user:{name}.service")


async def until(keeper: SystemdSubstrate, one: Service, true: Callable[[Seen], bool]) -> Seen:
    async with asyncio.timeout(WAIT_S):
        while True:
            (seen,) = await keeper.look([one])
            if true(seen):
                return seen
            await asyncio.sleep(0.05)


async def test_restarts_by_systemd_itself_are_counted_and_said(manager: Manager) -> None:
    manager.unit("eager", SLEEPS, "Restart=always", "RestartSec=0")
    manager.ctl("start", "eager")
    keeper, one = SystemdSubstrate(SystemClock(), manager.environment), unit("eager")
    before = await until(keeper, one, lambda seen: seen.run is Run.RUNNING)
    os.kill(before.pids[0], signal.SIGKILL)
    after = await until(
        keeper, one, lambda seen: seen.run is Run.RUNNING and seen.incarnation != before.incarnation
    )
    assert (before.restarts, after.restarts) == (0, 1)
    held, why = await keeper.capability(one)
    assert held is Capability.READ_WRITE
    assert "Restart=always: systemd restarts it too" in why


async def test_its_own_start_limit_is_never_reset(manager: Manager) -> None:
    starts = manager.folder / "starts"
    manager.unit("dies", f"ExecStart=/bin/sh -c 'echo x >> {starts}; exit 1'", "Restart=no")
    with (manager.units / "dies.service").open("a") as file:
        file.write("[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=600\n")
    manager.ctl("daemon-reload")
    manager.ctl("start", "dies")
    keeper, one = SystemdSubstrate(SystemClock(), manager.environment), unit("dies")
    done = Done(True, "")
    for _ in range(3):
        down = await until(keeper, one, lambda seen: seen.run is Run.DOWN and seen.exit != "")
        assert down.exit == "exit 1"
        done = await keeper.restart(one, "")
    assert not done.ok
    assert "exit-code" in done.detail
    assert len(starts.read_text().split()) == 2


async def test_a_masked_an_unknown_and_an_oddly_named_unit_are_left_alone(manager: Manager) -> None:
    (manager.units / "gone.service").symlink_to("/dev/null")
    manager.ctl("daemon-reload")
    manager.unit("kept", SLEEPS)
    manager.ctl("start", "kept")
    keeper = SystemdSubstrate(SystemClock(), manager.environment)
    odd = [
        Service("a", provider="systemd", unit=f"user:{name}")
        for name in ("*.service", "--all", "a b.service")
    ]
    gone, never, kept, *wrong = await keeper.look([unit("gone"), unit("never"), unit("kept"), *odd])
    assert (gone.run, never.run, kept.run) == (Run.STOPPED, Run.UNKNOWN, Run.RUNNING)
    assert [one.run for one in wrong] == [Run.UNKNOWN] * 3
    assert all("names no unit" in one.why for one in wrong)
    assert (await keeper.capability(unit("never")))[0] is Capability.UNKNOWN
    for one, fence in ((unit("gone"), ""), (unit("never"), ""), (unit("kept"), "1" * 32)):
        with pytest.raises(ProviderError):
            await keeper.restart(one, fence)
    with pytest.raises(ProviderError):
        await keeper.stop(odd[0], "")


async def test_a_manager_that_does_not_answer_leaves_its_units_unknown(tmp_path: os.PathLike[str]) -> None:
    nowhere = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)}
    keeper = SystemdSubstrate(SystemClock(), nowhere)
    (seen,) = await keeper.look([unit("one")])
    assert seen.run is Run.UNKNOWN
    assert seen.why
    assert (await keeper.capability(unit("one")))[0] is Capability.UNKNOWN
