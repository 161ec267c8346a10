"""Does a broker that stands by itself speak only to whom it should?"""

import asyncio
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet import Fleet, until
from veilig.app.broker import own_law
from veilig.core.action import RestartService
from veilig.core.action_json import digest
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError
from veilig.core.policy import load
from veilig.core.provider import Permit
from veilig.providers.heal.broker_client import BrokerClient
from veilig.providers.heal.broker_run import Charge, listen

POLICY = """
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "worker-*", actions: [restart], max_restarts_per_hour: 3}
"""
KEY = "5a" * 32
CLOCK = SystemClock()


@pytest.fixture
def place(fleet: Fleet) -> Path:
    fleet.add("worker-1")
    (fleet.base / "veilig.yaml").write_text(POLICY)
    return Path(tempfile.mkdtemp(prefix="veilig-broker-")) / "broker.sock"


@pytest.fixture
async def charge(fleet: Fleet, place: Path, tmp_path: Path) -> AsyncIterator[Charge]:
    made = Charge(str(fleet.file), str(tmp_path / "home"), str(fleet.base / "veilig.yaml"), key=KEY)
    serving = asyncio.create_task(listen(place, made, own_law, frozenset({os.getuid()})))
    while not place.exists() and not serving.done():
        await asyncio.sleep(0.01)
    yield made
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert not place.exists()
    place.parent.rmdir()


async def test_healers_of_its_users_look_and_act_through_it(
    charge: Charge, place: Path, fleet: Fleet
) -> None:
    client = BrokerClient(charge, CLOCK, {}, place)
    (seen,) = (await client.look()).seen
    assert seen.service == "worker-1"
    action = RestartService("worker-1", "")
    permit = Permit(
        "r1", digest(action), CLOCK.boottime_s() + 60, load(Path(charge.policy)).digest, "s1",
        str, str, lambda _a, _b: None,
    )  # fmt: skip
    assert (await client.act(action, permit, ailing=False))["ok"]
    until(lambda: fleet.starts("worker-1"))
    await client.close()
    again = BrokerClient(charge, CLOCK, {}, place)
    with pytest.raises(ProviderError, match="begun before"):
        await again.act(action, permit, ailing=False)
    wrong = BrokerClient(replace(charge, key="66" * 32), CLOCK, {}, place)
    with pytest.raises(ProviderError, match="not signed"):
        await wrong.act(action, replace(permit, ref="r2"), ailing=False)
    await again.close()
    await wrong.close()


SPEAK = """
import os, socket, sys
os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
print(s.makefile().readline())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: another user cannot be played")
async def test_other_users_are_told_no(charge: Charge, place: Path) -> None:
    place.parent.chmod(0o755)
    assert stat.S_ISSOCK(place.stat().st_mode)
    said = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", SPEAK, str(place)], capture_output=True, text=True, check=False
    )
    assert "uid 65534" in said.stdout, said
    assert "seen" not in said.stdout


async def test_a_key_that_is_too_short_is_no_charge(charge: Charge) -> None:
    with pytest.raises(ProviderError, match="no usable charge"):
        Charge.from_json({**charge.to_json(), "key": "00"})
    with pytest.raises(ProviderError, match="no usable charge"):
        Charge.from_json({**charge.to_json(), "sudo": True})


async def test_where_nobody_listens_the_error_says_so(tmp_path: Path, charge: Charge) -> None:
    with pytest.raises(ProviderError, match="no broker answers"):
        await BrokerClient(charge, CLOCK, {}, tmp_path / "none").look()


async def test_the_command_stands_until_it_is_ended_and_keeps_its_key_to_itself(
    fleet: Fleet, place: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    words = ["broker", "--socket", str(place), "--services", str(fleet.file), "--key", str(key)]
    words += ["--policy", str(fleet.base / "veilig.yaml")]
    environment = {**os.environ, "VEILIG_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "veilig.cli.main", *words]
    broker = subprocess.Popen(command, env=environment)
    fleet.children.append(broker)
    until(place.exists, 20)
    charge = Charge(str(fleet.file), str(tmp_path / "home"), str(fleet.base / "veilig.yaml"), key=KEY)
    client = BrokerClient(charge, CLOCK, {}, place)
    assert (await client.look()).holds == ()
    await client.close()
    assert KEY not in Path(f"/proc/{broker.pid}/cmdline").read_text()
    broker.terminate()
    assert await asyncio.to_thread(broker.wait, 20) == 0
    assert not place.exists()
    place.parent.rmdir()
    key.chmod(0o644)
    refused = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, env=environment, check=False
    )
    assert refused.returncode == 2
    assert "others may read" in refused.stderr
