"""What becomes of an act when the healer is killed in the middle of it? It ends, once, and counts once."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet import Fleet, alive, until
from veilig.core.action import RestartService
from veilig.core.clock import SystemClock
from veilig.core.provider import Found
from veilig.providers.heal.broker_client import BrokerClient
from veilig.providers.heal.broker_run import Charge
from veilig.providers.heal.journal import Journal
from veilig.providers.heal.places import Places

pytestmark = pytest.mark.slow

POLICY = """
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "worker-*", actions: [restart], max_restarts_per_hour: 3}
"""
SLOW_END = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), sys.exit()))
"""
HEALER = """
import asyncio, json, os, sys
from pathlib import Path
from veilig.core.action import RestartService
from veilig.core.action_json import digest
from veilig.core.clock import SystemClock
from veilig.core.policy import load
from veilig.core.provider import Permit
from veilig.providers.heal.broker_client import BrokerClient
from veilig.providers.heal.broker_run import Charge

async def main():
    charge = Charge(**json.loads(sys.argv[1]))
    client, clock = BrokerClient(charge, SystemClock(), os.environ), SystemClock()
    seen = {s.service: s for s in (await client.look()).seen}
    action = RestartService("worker-1", seen["worker-1"].incarnation)
    print(json.dumps([client.pid, action.incarnation]), flush=True)
    sys.stdin.readline()
    permit = Permit("r1", digest(action), clock.boottime_s() + 60, load(Path(charge.policy)).digest, "s", str,
                    str, print, "a1")
    await client.act(action, permit, ailing=False)
    print("done", flush=True)
    sys.stdin.readline()
asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["before", "intent", "stopped", "started", "after"])
async def test_a_healer_killed_at_any_moment_leaves_one_whole_act_or_none(
    fleet: Fleet, tmp_path: Path, moment: str
) -> None:
    fleet.add("worker-1")
    app = fleet.base / "worker-1" / "app.py"
    app.write_text(SLOW_END + app.read_text())
    pid = fleet.start("worker-1")
    policy = fleet.base / "veilig.yaml"
    policy.write_text(POLICY)
    charge = Charge(str(fleet.file), str(tmp_path / "home"), str(policy))
    places = Places.of(Path(charge.home), charge.services)
    healer = subprocess.Popen(
        [sys.executable, "-c", HEALER, json.dumps(charge.to_json())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    fleet.children.append(healer)
    assert healer.stdout is not None
    assert healer.stdin is not None
    broker, incarnation = json.loads(healer.stdout.readline())
    if moment != "before":
        healer.stdin.write(b"\n")
        healer.stdin.flush()
    until({
        "before": lambda: True,
        "intent": lambda: b'"what":"act"' in places.journal.read_bytes(),
        "stopped": lambda: not alive(pid),
        "started": lambda: len(fleet.starts("worker-1")) == 2,
        "after": lambda: b'"what":"done"' in places.journal.read_bytes(),
    }[moment])  # fmt: skip
    healer.send_signal(signal.SIGKILL)
    healer.wait()
    healer.stdin.close()
    healer.stdout.close()
    until(lambda: not alive(broker))
    until(lambda: fleet.answers("worker-1"))
    acted = moment != "before"
    assert len(fleet.starts("worker-1")) == 1 + acted
    client = BrokerClient(charge, SystemClock(), os.environ)
    look = await client.look()
    assert len(look.own.get("worker-1", ())) == int(acted)
    assert look.foreign["worker-1"] == 0
    found = await client.inspect(RestartService("worker-1", incarnation))
    assert found is (Found.DONE if acted else Found.NOT_DONE)
    await client.close()
    with Journal(places.journal, SystemClock()) as journal:
        assert journal.starts("worker-1").own == int(acted)


async def test_a_service_that_a_killed_broker_left_down_is_known_to_be_in_doubt(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.add("worker-1")
    pid = fleet.start("worker-1")
    policy = fleet.base / "veilig.yaml"
    policy.write_text(POLICY)
    charge = Charge(str(fleet.file), str(tmp_path / "home"), str(policy))
    places = Places.of(Path(charge.home), charge.services)
    healer = subprocess.Popen(
        [sys.executable, "-c", HEALER, json.dumps(charge.to_json())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    fleet.children.append(healer)
    assert healer.stdout is not None
    assert healer.stdin is not None
    broker, incarnation = json.loads(healer.stdout.readline())
    os.kill(pid, signal.SIGSTOP)
    healer.stdin.write(b"\n")
    healer.stdin.flush()
    while not (places.journal.exists() and b'"what":"act"' in places.journal.read_bytes()):
        await asyncio.sleep(0)
    os.kill(broker, signal.SIGKILL)
    healer.kill()
    healer.wait()
    healer.stdin.close()
    healer.stdout.close()
    until(lambda: not alive(broker))
    client = BrokerClient(charge, SystemClock(), os.environ)
    look = await client.look()
    assert len(look.own["worker-1"]) == 1
    found = await client.inspect(RestartService("worker-1", incarnation))
    assert found is (Found.DONE if len(fleet.starts("worker-1")) == 2 else Found.UNKNOWN)
    await client.close()
    if alive(pid):
        os.kill(pid, signal.SIGKILL)
