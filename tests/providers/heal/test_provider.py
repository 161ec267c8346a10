"""Does healing work through the gate: real services, real broker, real ledger, real policy?"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet import Fleet, alive, until
from kernel import AGENT, ANN
from veilig.core.action import Action, Notify, RestartService, RollBack, StopService, WatchSignals
from veilig.core.action_json import JSON
from veilig.core.actor import Actor
from veilig.core.clock import SystemClock
from veilig.core.gate import Gate, cast_vote
from veilig.core.gate_case import Law
from veilig.core.ledger import Ledger
from veilig.core.policy import Capability, Decision, decide, load
from veilig.core.provider import Found, Outcome, Status, Vote
from veilig.core.redact import Redactor
from veilig.providers.heal.places import Places
from veilig.providers.heal.provider import HealProvider
from veilig.providers.heal.stop import stop

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


class Healer:
    """A gate in front of the provider, as the product wires it."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet, self.home, self.policy = fleet, folder / "home", folder / "veilig.yaml"
        self.policy.write_text(POLICY)
        self.inventory = fleet.inventory()
        self.ledger = Ledger.open(folder / "ledger.db", anchor_dir=folder / "anchors", clock=CLOCK)
        self.provider = HealProvider(
            self.inventory, clock=CLOCK, home=self.home, policy=str(self.policy), environment=os.environ
        )
        law = Law(self._decide, lambda: load(self.policy).digest, lambda handle, action: False)
        self.gate = Gate(
            session="s1", ledger=self.ledger, law=law, providers=[self.provider],
            redactor=Redactor(b"k" * 32), clock=CLOCK,
        )  # fmt: skip
        self.mark = ""

    def _decide(self, action: Action, actor: Actor) -> Decision:
        facts = replace(self.provider.facts(action), now_wall_s=CLOCK.wall_s())
        return decide(load(self.policy), action, actor, facts)

    async def submit(self, action: Action) -> Outcome:
        return await self.gate.submit(action, AGENT)

    async def look(self, timeout_s: float = 10.0) -> dict[str, dict[str, JSON]]:
        """What the watch tells, by service."""
        action = WatchSignals(self.inventory.path, self.inventory.digest, self.mark, timeout_s)
        outcome = await self.submit(action)
        assert outcome.ok, outcome.detail
        self.mark = str(outcome.data["mark"])
        samples = outcome.data["samples"]
        assert isinstance(samples, list)
        return {str(one["service"]): one for one in samples if isinstance(one, dict)}

    async def until_run(self, name: str, run: str) -> dict[str, JSON]:
        for _ in range(100):
            seen = (await self.look(2.0)).get(name)
            if seen is not None and seen.get("run", "unknown") == run:
                return seen
        raise AssertionError(f"{name} was never {run}")


@pytest.fixture
async def healer(fleet: Fleet, tmp_path: Path) -> AsyncIterator[Healer]:
    for name in ("worker-1", "worker-2"):
        fleet.add(name)
    for name in ("worker-1", "worker-2"):
        fleet.start(name, wait=False)
    until(lambda: fleet.answers("worker-1") and fleet.answers("worker-2"))
    made = Healer(fleet, tmp_path)
    await made.provider.open()
    assert set(await made.look()) == {"worker-1", "worker-2"}
    yield made
    await made.provider.close()
    made.ledger.close()


async def test_a_crash_is_seen_healed_once_and_verified(healer: Healer) -> None:
    healer.fleet.kill("worker-1")
    await healer.until_run("worker-1", "down")
    outcome = await healer.submit(RestartService("worker-1", ""))
    assert (outcome.ok, outcome.data["healthy"]) == (True, True), outcome.detail
    assert healer.fleet.answers("worker-1")
    assert len(healer.fleet.starts("worker-1")) == 2
    assert len(healer.fleet.starts("worker-2")) == 1


async def test_a_healthy_service_is_the_last_capacity_and_asks(healer: Healer) -> None:
    facts = healer.provider.facts(RestartService("worker-1", ""))
    assert (facts.last_healthy, facts.capability, facts.known) == (True, Capability.READ_WRITE, True), (
        healer.provider.sampler.samples["worker-1"]
    )
    outcome = await healer.submit(RestartService("worker-1", "1:1"))
    assert outcome.status is Status.HELD


async def test_an_approved_act_reaches_the_broker_with_its_approval(healer: Healer) -> None:
    sample = (await healer.submit(WatchSignals(healer.inventory.path, healer.inventory.digest))).data[
        "samples"
    ]
    assert isinstance(sample, list)
    incarnation = next(
        str(s["incarnation"]) for s in sample if isinstance(s, dict) and s["service"] == "worker-1"
    )
    action = RestartService("worker-1", incarnation)
    held = await healer.submit(action)
    assert held.status is Status.HELD
    await cast_vote(healer.ledger, str(held.data["approval"]), Vote(ANN, True, "test"))
    outcome = await healer.submit(action)
    assert outcome.ok, outcome.detail
    assert len(healer.fleet.starts("worker-1")) == 2


async def test_a_hang_is_failing_capacity_and_healed(healer: Healer) -> None:
    pid = healer.fleet.pid("worker-1")
    os.kill(pid, signal.SIGSTOP)
    seen = await healer.until_run("worker-1", "frozen")
    outcome = await healer.submit(RestartService("worker-1", str(seen["incarnation"])))
    assert outcome.ok, outcome.detail
    assert not alive(pid)


async def test_the_fourth_start_in_an_hour_is_refused_by_the_law(healer: Healer) -> None:
    for _ in range(3):
        healer.fleet.kill("worker-1")
        await healer.until_run("worker-1", "down")
        assert (await healer.submit(RestartService("worker-1", ""))).ok
    healer.fleet.kill("worker-1")
    await healer.until_run("worker-1", "down")
    outcome = await healer.submit(RestartService("worker-1", ""))
    assert outcome.status is Status.REFUSED
    assert len(healer.fleet.starts("worker-1")) == 4


async def test_starts_by_others_spend_the_budget(healer: Healer) -> None:
    for _ in range(3):
        healer.fleet.kill("worker-1")
        await healer.until_run("worker-1", "down")
        healer.fleet.start("worker-1")
        await healer.until_run("worker-1", "running")
    healer.fleet.kill("worker-1")
    await healer.until_run("worker-1", "down")
    assert healer.provider.facts(RestartService("worker-1", "")).foreign_starts == 3
    outcome = await healer.submit(RestartService("worker-1", ""))
    assert (outcome.status, "others started it 3 times" in outcome.detail) == (Status.REFUSED, True)


async def test_a_service_that_ends_again_at_once_is_a_failed_act(healer: Healer) -> None:
    (healer.fleet.base / "worker-1" / "app.py").write_text("raise SystemExit(7)")
    healer.fleet.kill("worker-1")
    await healer.until_run("worker-1", "down")
    outcome = await healer.submit(RestartService("worker-1", ""))
    assert (outcome.ok, outcome.status, outcome.data["healthy"]) == (False, Status.FAILED, False)
    assert "it ended again at once (exit 7)" in outcome.detail


async def test_a_service_that_answers_that_it_is_ill_is_a_failed_act(healer: Healer) -> None:
    (healer.fleet.base / "worker-1" / "ill").touch()
    healer.fleet.kill("worker-1")
    await healer.until_run("worker-1", "down")
    outcome = await healer.submit(RestartService("worker-1", ""))
    assert (outcome.ok, outcome.data["healthy"]) == (False, False)
    assert "it answers 500" in outcome.detail


async def test_the_kill_switch_refuses_the_very_next_act(healer: Healer) -> None:
    healer.fleet.kill("worker-1")
    await healer.until_run("worker-1", "down")
    stop(Places.of(healer.home, healer.inventory.path).heal, "ann", "")
    assert not (await healer.submit(RestartService("worker-1", ""))).ok
    assert len(healer.fleet.starts("worker-1")) == 1
    await healer.look(0.5)
    holds = healer.provider.facts(RestartService("worker-1", "")).holds
    assert any("stopped by ann" in one for one in holds), holds


async def test_a_broker_that_dies_is_replaced_and_healing_goes_on(healer: Healer) -> None:
    os.kill(healer.provider._broker.pid, signal.SIGKILL)
    healer.fleet.kill("worker-1")
    await healer.until_run("worker-1", "down")
    outcome = await healer.submit(RestartService("worker-1", ""))
    assert outcome.ok, outcome.detail


async def test_a_rollback_restores_what_was_good_and_starts_it(healer: Healer) -> None:
    place = healer.fleet.base / "worker-1" / "app.py"
    service = healer.inventory.get("worker-1")
    assert service is not None
    until_s = time.monotonic() + 60
    while not healer.provider.facts(RestartService("worker-1", "")).last_good:
        await healer.look(0.5)
        assert time.monotonic() < until_s
    place.write_text("raise SystemExit('bad deploy')")
    healer.fleet.kill("worker-1")
    changes: list[JSON] = []
    seen: dict[str, JSON] = {}
    while not changes:
        seen = await healer.until_run("worker-1", "down")
        found = seen.get("changes", [])
        assert isinstance(found, list)
        changes = found
    assert isinstance(changes[0], dict)
    files = tuple((str(c["path"]), str(c["after"]), str(c["before"])) for c in changes if isinstance(c, dict))
    action = RollBack("worker-1", "", "version", str(seen["good"]), files)
    held = await healer.submit(action)
    assert held.status is Status.HELD, held.detail
    await cast_vote(healer.ledger, str(held.data["approval"]), Vote(ANN, True, "test"))
    outcome = await healer.submit(action)
    assert outcome.ok, outcome.detail
    assert healer.fleet.answers("worker-1")


async def test_names_and_files_out_of_scope_never_reach_the_broker(healer: Healer) -> None:
    for action in (RestartService("db", ""), StopService("worker-1", "")):
        assert (await healer.submit(action)).status is Status.REFUSED
    other = WatchSignals(healer.inventory.path, "0" * 64)
    assert not (await healer.submit(other)).ok


async def test_an_interrupted_act_is_looked_up_in_the_brokers_journal(healer: Healer) -> None:
    assert await healer.provider.inspect(RestartService("worker-1", "")) is Found.NOT_DONE
    healer.fleet.kill("worker-1")
    await healer.until_run("worker-1", "down")
    action = RestartService("worker-1", "")
    assert (await healer.submit(action)).ok
    assert await healer.provider.inspect(action) is Found.DONE
    assert await healer.provider.inspect(Notify("ops", "i1", "text")) is Found.UNKNOWN


async def test_many_looks_at_once_do_not_disturb_each_other(healer: Healer) -> None:
    looks = await asyncio.gather(*(healer.provider._broker.look() for _ in range(20)))
    assert {len(look.seen) for look in looks} == {2}


async def test_a_service_that_goes_into_the_background_counts_as_one_start(healer: Healer) -> None:
    place = healer.fleet.base / "worker-1" / "app.py"
    fork = "import os\nif os.fork():\n    os._exit(0)\nos.setsid()\n"
    place.write_text(f"{fork}open('pid', 'w').write(str(os.getpid()))\n{place.read_text()}")
    healer.fleet.kill("worker-1")
    await healer.until_run("worker-1", "down")
    outcome = await healer.submit(RestartService("worker-1", ""))
    assert (outcome.ok, outcome.data["healthy"]) == (True, True), outcome.detail
    look = await healer.provider._broker.look()
    assert (len(look.own["worker-1"]), look.foreign["worker-1"]) == (1, 0)
    assert healer.fleet.pid("worker-1") == healer.fleet.starts("worker-1")[-1]
