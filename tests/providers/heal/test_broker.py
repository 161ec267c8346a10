"""Does the broker act only when everything it checks by itself agrees, and once?"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet import Fleet, alive, until
from veilig.core.action import Action, FreeSpace, RestartService, StopService
from veilig.core.action_json import digest, to_json
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError
from veilig.core.policy import load
from veilig.core.provider import Found, Permit
from veilig.core.signal import Run
from veilig.providers.heal import broker_wire as wire
from veilig.providers.heal.broker_client import BrokerClient, Lost
from veilig.providers.heal.broker_run import Charge
from veilig.providers.heal.places import Places
from veilig.providers.heal.stop import go_on, stop

POLICY = """
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - name: "worker-*"
        actions: [restart]
        max_restarts_per_hour: 3
"""

CLOCK = SystemClock()


class Bench:
    """A fleet, a policy and brokers that start as the product starts them."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet, self.home, self.policy = fleet, folder / "home", folder / "veilig.yaml"
        self.policy.write_text(POLICY)
        self.clients: list[BrokerClient] = []
        self.count = 0

    def client(self, **more: object) -> BrokerClient:
        charge = Charge(str(self.fleet.file), str(self.home), str(self.policy))
        made = BrokerClient(replace(charge, **more), CLOCK, os.environ)
        self.clients.append(made)
        return made

    @property
    def places(self) -> Places:
        return Places.of(self.home, str(self.fleet.file))

    def permit(self, action: Action, **more: object) -> Permit:
        self.count += 1
        made = Permit(
            f"r{self.count}", digest(action), CLOCK.boottime_s() + 60, load(self.policy).digest, "s1",
            str, str, lambda _a, _b: None,
        )  # fmt: skip
        return replace(made, **more)

    async def restart(self, client: BrokerClient, name: str, **more: object) -> dict[str, Any]:
        seen = {one.service: one for one in (await client.look()).seen}
        action = RestartService(name, seen[name].incarnation)
        return await client.act(action, self.permit(action, **more), ailing=False)


@pytest.fixture
async def bench(fleet: Fleet, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(fleet, tmp_path)
    fleet.add("worker-1")
    fleet.add("worker-2")
    fleet.start("worker-1", wait=False)
    fleet.start("worker-2", wait=False)
    until(lambda: fleet.answers("worker-1") and fleet.answers("worker-2"))
    yield made
    for client in made.clients:
        await client.close()


async def crash(client: BrokerClient) -> None:
    """The broker is killed; the client has noticed when this returns."""
    os.kill(client.pid, signal.SIGKILL)
    assert client._reading is not None
    await client._reading


async def refused(act: Awaitable[object], match: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await act
    assert match in str(caught.value), str(caught.value)


async def test_a_crashed_service_in_scope_is_restarted_once(bench: Bench) -> None:
    client = bench.client()
    look = await client.look()
    assert [(s.service, s.run) for s in look.seen] == [("worker-1", Run.RUNNING), ("worker-2", Run.RUNNING)]
    assert (look.holds, dict(look.foreign)) == ((), {"worker-1": 0, "worker-2": 0})
    bench.fleet.kill("worker-1")
    reply = await bench.restart(client, "worker-1")
    assert reply["ok"], reply
    until(lambda: bench.fleet.answers("worker-1"))
    look = await client.look()
    assert look.seen[0].incarnation == reply["incarnation"]
    assert (look.foreign["worker-1"], len(look.own["worker-1"]), len(look.starts["worker-1"])) == (0, 1, 1)
    assert len(bench.fleet.starts("worker-2")) == 1


async def test_a_service_that_answers_again_is_not_restarted_without_people(bench: Bench) -> None:
    client = bench.client()
    await refused(bench.restart(client, "worker-1"), "needs people")
    assert len(bench.fleet.starts("worker-1")) == 1
    reply = await bench.restart(client, "worker-1", approval="a1")
    assert reply["ok"], reply


async def test_names_out_of_scope_are_refused_by_the_broker_too(bench: Bench) -> None:
    bench.fleet.add("db")
    client = bench.client()
    await refused(bench.restart(client, "db"), "no rule covers the name 'db'")
    action = RestartService("nobody", "")
    await refused(client.act(action, bench.permit(action), ailing=False), "no such service")
    stopping = StopService("worker-1", "")
    await refused(client.act(stopping, bench.permit(stopping), ailing=False), "no rule that covers")
    assert bench.fleet.starts("db") == []


async def test_a_message_is_refused_when_forged_changed_late_replayed_or_of_another_policy(
    bench: Bench,
) -> None:
    client = bench.client()
    bench.fleet.kill("worker-1")
    await client.look()
    action = RestartService("worker-1", "")
    good = bench.permit(action)
    body: dict[str, Any] = {
        "op": "act", "action": to_json(action), "ref": good.ref, "digest": good.digest, "policy": good.policy,
        "approval": "", "deadline_s": good.deadline_s, "boot": CLOCK.boot_id(), "ailing": False,
    }  # fmt: skip

    async def send(message: dict[str, Any]) -> dict[str, Any]:
        return await client._ask(message, 20)

    await refused(send(body), "not signed")
    await refused(send({**wire.sign(body, client._key), "ref": "other"}), "not signed")
    await refused(send(wire.sign(body, b"k" * 32)), "not signed")
    await refused(send(wire.sign({**body, "hmac": 7}, client._key) | {"hmac": 7}), "not signed")
    other = to_json(RestartService("worker-2", ""))
    await refused(send(wire.sign({**body, "action": other}, client._key)), "its digest differs")
    await refused(send(wire.sign({**body, "deadline_s": 1.0}, client._key)), "after its deadline")
    await refused(send(wire.sign({**body, "boot": "another"}, client._key)), "after its deadline")
    await refused(send(wire.sign({**body, "policy": "0" * 64}, client._key)), "policy is not the one")
    await refused(send(wire.sign({**body, "action": {"kind": "x"}}, client._key)), "unknown kind")
    await refused(send({"op": "act"}), "not signed")
    await refused(send({"op": "shutdown"}), "no such request")
    await refused(send({"op": "inspect"}), "no known shape")
    assert len(bench.fleet.starts("worker-1")) == 1
    assert (await send(wire.sign(body, client._key)))["ok"]
    await refused(send(wire.sign(body, client._key)), "begun before")
    until(lambda: bench.fleet.answers("worker-1"))
    assert len(bench.fleet.starts("worker-1")) == 2


async def test_a_stale_incarnation_is_refused_and_spends_an_attempt(bench: Bench) -> None:
    client = bench.client()
    bench.fleet.kill("worker-1")
    await client.look()
    action = RestartService("worker-1", "77:88")
    reply = await client.act(action, bench.permit(action), ailing=False)
    assert not reply["ok"]
    assert "not the one that was meant" in reply["detail"]
    assert len((await client.look()).own["worker-1"]) == 1


async def test_the_budget_holds_across_crashes_of_the_broker_and_counts_starts_of_others(
    bench: Bench,
) -> None:
    client = bench.client()
    await client.look()
    for _ in range(2):
        bench.fleet.kill("worker-1")
        assert (await bench.restart(client, "worker-1"))["ok"]
        until(lambda: bench.fleet.answers("worker-1"))
        await crash(client)
    bench.fleet.kill("worker-1")
    bench.fleet.start("worker-1")
    await client.look()
    await crash(client)
    look = await client.look()
    assert (len(look.own["worker-1"]), look.foreign["worker-1"]) == (2, 1)
    bench.fleet.kill("worker-1")
    await refused(bench.restart(client, "worker-1"), "budget service.restart/service:worker-1 is spent")
    assert len(bench.fleet.starts("worker-1")) == 4


async def test_two_healers_observe_both_and_one_acts(bench: Bench) -> None:
    first, second = bench.client(), bench.client(home=str(bench.home / "other"))
    assert (await first.look()).holds == ()
    (hold,) = (await second.look()).holds
    assert hold.startswith("another healer acts here: pid ")
    bench.fleet.kill("worker-1")
    await refused(bench.restart(second, "worker-1"), "another healer acts here")
    assert (await bench.restart(first, "worker-1"))["ok"]
    await first.close()
    until(lambda: bench.fleet.answers("worker-1"))
    assert (await second.look()).holds == ()


async def test_a_second_healer_with_the_same_home_counts_nothing_until_it_may(bench: Bench) -> None:
    first, second = bench.client(), bench.client()
    await first.look()
    look = await second.look()
    assert len(look.holds) == 2
    assert dict(look.foreign) == {}
    bench.fleet.kill("worker-1")
    await refused(bench.restart(second, "worker-1"), "another healer")
    await first.close()
    while (await second.look()).holds:  # it tries again once a second
        await asyncio.sleep(0.1)
    assert (await bench.restart(second, "worker-1"))["ok"]


async def test_the_kill_switch_holds_at_once_and_until_it_is_taken_back(bench: Bench) -> None:
    client = bench.client()
    bench.fleet.kill("worker-1")
    await client.look()
    stop(bench.places.heal, "ann", "switch maintenance")
    await refused(bench.restart(client, "worker-1"), "healing was stopped by ann: switch maintenance")
    assert (await client.look()).holds == ("healing was stopped by ann: switch maintenance",)
    assert go_on(bench.places.heal)
    assert (await bench.restart(client, "worker-1"))["ok"]


async def test_a_policy_that_changes_or_breaks_stops_the_act(bench: Bench) -> None:
    client = bench.client()
    bench.fleet.kill("worker-1")
    await client.look()
    action = RestartService("worker-1", "")
    decided = bench.permit(action)
    bench.policy.write_text(POLICY.replace("enabled: true", "enabled: false"))
    await refused(client.act(action, decided, ailing=False), "policy is not the one")
    await refused(client.act(action, bench.permit(action), ailing=False), "not enabled")
    bench.policy.write_text("nonsense: [")
    await refused(client.act(action, decided, ailing=False), "veilig.yaml")
    bench.policy.write_text(POLICY)
    assert (await client.act(action, decided, ailing=False))["ok"]


async def test_a_services_file_that_changed_stops_the_act(bench: Bench) -> None:
    client = bench.client()
    bench.fleet.kill("worker-1")
    await client.look()
    bench.fleet.file.write_text(json.dumps({"services": bench.fleet.entries}) + " ")
    await refused(bench.restart(client, "worker-1"), "the services file has changed")


async def test_what_a_person_stopped_is_not_started(bench: Bench) -> None:
    client = bench.client()
    bench.fleet.kill("worker-1")
    (bench.fleet.base / "worker-1" / "STOPPED_BY_OPERATOR").touch()
    await refused(bench.restart(client, "worker-1"), "a person stopped worker-1")
    assert len(bench.fleet.starts("worker-1")) == 1


async def test_a_damaged_journal_stops_every_act_and_looking_goes_on(bench: Bench) -> None:
    client = bench.client()
    bench.fleet.kill("worker-1")
    assert (await bench.restart(client, "worker-1"))["ok"]
    await client.close()
    data = bench.places.journal.read_bytes()
    bench.places.journal.write_bytes(data.replace(b"worker-1", b"worker-9", 1))
    again = bench.client()
    look = await again.look()
    assert "is not what was written" in look.holds[0]
    assert look.seen[0].run is Run.RUNNING
    bench.fleet.kill("worker-1")
    await refused(bench.restart(again, "worker-1"), "is not what was written")


async def test_a_broker_that_reads_only_changes_nothing(bench: Bench) -> None:
    client = bench.client(readonly=True)
    bench.fleet.kill("worker-1")
    held = await client.capabilities()
    assert held["worker-1"][0] == "readonly"
    await refused(bench.restart(client, "worker-1"), "readonly")


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_broker_killed_around_the_start_is_never_repeated_blindly(bench: Bench, moment: str) -> None:
    client = bench.client()
    bench.fleet.kill("worker-1")
    await client.look()
    action = RestartService("worker-1", "")
    task = asyncio.create_task(client.act(action, bench.permit(action), ailing=False))
    begun: Callable[[], bool] = lambda: b'"what":"act"' in bench.places.journal.read_bytes()  # noqa: E731
    started: Callable[[], bool] = lambda: len(bench.fleet.starts("worker-1")) == 2  # noqa: E731
    while not (begun if moment == "before" else started)():
        await asyncio.sleep(0.001)
    os.kill(client.pid, signal.SIGKILL)
    with contextlib.suppress(Lost):  # on a slow machine the answer is there before the program has begun
        await task
    while client._writer is not None:
        await asyncio.sleep(0.001)
    look = await client.look()  # a new broker
    running = look.seen[0].run is Run.RUNNING
    if running:
        until(lambda: bench.fleet.answers("worker-1"))
    assert await client.inspect(action) is (Found.DONE if running else Found.UNKNOWN)
    assert (len(look.own["worker-1"]), look.foreign["worker-1"]) == (1, 0)
    assert len(bench.fleet.starts("worker-1")) <= 2


async def test_an_act_the_broker_never_saw_has_not_happened(bench: Bench) -> None:
    assert await bench.client().inspect(RestartService("worker-1", "")) is Found.NOT_DONE


async def test_the_broker_ends_with_its_healer_and_services_go_on(bench: Bench) -> None:
    client = bench.client()
    bench.fleet.kill("worker-1")
    assert (await bench.restart(client, "worker-1"))["ok"]
    pid = client.pid
    assert os.getsid(pid) == pid
    await client.close()
    assert not alive(pid)
    until(lambda: bench.fleet.answers("worker-1"))


async def test_files_that_nobody_recorded_as_spare_need_people(bench: Bench) -> None:
    place = bench.fleet.base / "worker-1" / "data" / "keep.db"
    place.write_text("precious")
    info = place.stat()
    action = FreeSpace("worker-1", ((str(place), info.st_size, info.st_mtime_ns, info.st_ino),))
    client = bench.client()
    await refused(client.act(action, bench.permit(action), ailing=False), "needs people")
    changed = FreeSpace("worker-1", ((str(place), info.st_size, 1, info.st_ino),))
    reply = await client.act(changed, bench.permit(changed, approval="a1"), ailing=False)
    assert (reply["ok"], place.read_text()) == (False, "precious")
    assert "changed meanwhile" in reply["detail"]
    assert (await client.act(action, bench.permit(action, approval="a2"), ailing=False))["ok"]
    assert not place.exists()
