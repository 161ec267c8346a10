"""Do the bounds of a group hold at every instant when several ask the broker at once? P12, P13, P19.

Several healers ask one broker, and two brokers ask for one services file; the keeper is slow, so that all of
it really happens at the same time.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from kernel import AGENT, Clock
from veilig.core.action import Action, RestartService, ScaleUp
from veilig.core.action_json import digest, to_json
from veilig.core.errors import ProviderError, VeiligError
from veilig.core.policy import Capability, Decision, Facts, decide, parse
from veilig.core.service import Inventory, Service
from veilig.core.signal import Run
from veilig.providers.heal import broker_wire as wire
from veilig.providers.heal.broker import Broker, Means, Own
from veilig.providers.heal.broker_starts import Starts
from veilig.providers.heal.journal import Journal
from veilig.providers.heal.lease import Lease
from veilig.providers.heal.stop import stop
from veilig.providers.heal.substrate import Done, Seen

KEY = b"k" * 32
TEXT = """
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "worker-*", actions: [restart], max_restarts_per_hour: 3, max_in_flight: LIMIT}
    containers: {actions: [scale_up], max_scale: 6}
"""


@dataclass
class Slow:
    """A keeper whose acts take a few turns of the loop; it notes what was true at the worst instant."""

    name: str = "process"
    replicas: int = 4
    running: set[str] = field(default_factory=set[str])
    most: int = 0
    acts: list[str] = field(default_factory=list[str])

    async def capability(self, service: Service) -> tuple[Capability, str]:
        await asyncio.sleep(0)
        return Capability.READ_WRITE, ""

    async def look(self, services: Sequence[Service]) -> list[Seen]:
        await asyncio.sleep(0)
        return [Seen(s.name, Run.DOWN, managed=True, replicas=self.replicas) for s in services]

    async def restart(self, service: Service, incarnation: str) -> Done:
        self.running.add(service.name)
        self.most = max(self.most, len(self.running))
        for _ in range(20):
            await asyncio.sleep(0)
        self.running.discard(service.name)
        self.acts.append(service.name)
        return Done(True, "started", "i1")

    async def stop(self, service: Service, incarnation: str) -> Done:
        raise ProviderError("nobody asked for that")

    async def scale(self, group: str, current: int, replicas: int) -> Done:
        if current != self.replicas:
            raise ProviderError("another number runs now")
        for _ in range(20):
            await asyncio.sleep(0)
        self.replicas += replicas - current
        self.acts.append(f"{group} {replicas}")
        return Done(True, "scaled", "")

    async def close(self) -> None: ...


class NoFiles:
    def last_good(self, service: Service) -> str:
        return ""

    def regenerable(self, service: Service) -> frozenset[str]:
        return frozenset()

    def restore(self, service: Service, files: Sequence[tuple[str, str, str]], to: str) -> str:
        raise ProviderError("nothing is kept")


@dataclass
class Town:
    folder: Path
    limit: int = 1
    keeper: Slow = field(default_factory=Slow)
    clock: Clock = field(default_factory=Clock)
    count: int = 0

    def __post_init__(self) -> None:
        file = self.folder / "services.json"
        file.write_bytes(b"{}")
        services = tuple(Service(f"worker-{n}", group="") for n in range(8))
        self.inventory = Inventory(str(file), hashlib.sha256(b"{}").hexdigest(), services)
        self.law = parse(TEXT.replace("LIMIT", str(self.limit)))

    def broker(self, home: str) -> Broker:
        async def well(service: Service, limit_s: float) -> bool:
            await asyncio.sleep(0)
            return False

        def decided(action: Action, facts: Facts) -> Decision:
            return decide(self.law, action, AGENT, replace(facts, now_wall_s=self.clock.wall))

        journal = self.folder / home / "journal"
        return Broker(
            Means(
                inventory=self.inventory,
                substrates={"process": self.keeper},
                own=Own(decided, lambda: self.law.digest),
                clock=self.clock,
                starts=Starts(lambda: Journal(journal, self.clock), self.clock),
                lease=Lease(Path(self.inventory.path)),
                folder=self.folder / home,
                key=KEY,
                files=NoFiles(),
                well=well,
            )
        )

    def message(self, action: Action) -> dict[str, Any]:
        self.count += 1
        return dict(
            wire.sign(
                {
                    "op": "act", "action": to_json(action), "ref": f"r{self.count}", "digest": digest(action),
                    "policy": self.law.digest, "approval": "", "boot": self.clock.boot,
                    "deadline_s": self.clock.boot_s + 60.0, "ailing": False,
                },
                KEY,
            )
        )  # fmt: skip


async def asked(broker: Broker, message: dict[str, Any]) -> bool:
    try:
        return bool((await broker.answer(message))["ok"])
    except VeiligError:
        return False


@pytest.mark.parametrize("limit", [1, 2])
async def test_no_more_than_the_groups_bound_are_restarted_at_one_instant(tmp_path: Path, limit: int) -> None:
    town = Town(tmp_path, limit)
    broker = town.broker("a")
    for _ in range(6):
        waves = [town.message(RestartService(f"worker-{n}", "")) for n in range(8)]
        staggered = [asyncio.create_task(asked(broker, message)) for message in waves[:1]]
        for message in waves[1:]:
            await asyncio.sleep(0.001)
            staggered.append(asyncio.create_task(asked(broker, message)))
        await asyncio.gather(*staggered)
        town.clock.boot_s += 4000
    broker.close()
    assert 1 <= town.keeper.most <= limit
    assert len(town.keeper.acts) >= 6


async def test_scalers_that_ask_at_once_never_pass_max_scale(tmp_path: Path) -> None:
    town = Town(tmp_path)
    broker = town.broker("a")
    for _ in range(5):
        current = town.keeper.replicas
        wishes = [ScaleUp("worker-1", current, current + step) for step in (1, 2, 2, 1)]
        await asyncio.gather(*(asked(broker, town.message(wish)) for wish in wishes))
        assert town.keeper.replicas <= 6
        town.clock.boot_s += 400
    broker.close()
    assert town.keeper.replicas == 6


async def test_of_two_brokers_for_one_file_only_one_acts(tmp_path: Path) -> None:
    town = Town(tmp_path)
    first, second = town.broker("a"), town.broker("b")
    one = [asked(first, town.message(RestartService("worker-1", ""))) for _ in range(3)]
    two = [asked(second, town.message(RestartService("worker-1", ""))) for _ in range(3)]
    said = await asyncio.gather(*(item for pair in zip(one, two, strict=True) for item in pair))
    assert sum(said) == 1
    first.close()
    assert await asked(second, town.message(RestartService("worker-2", "")))
    second.close()


async def test_no_act_starts_once_the_stop_is_durable(tmp_path: Path) -> None:
    town = Town(tmp_path)
    broker = town.broker("a")
    tasks = [
        asyncio.create_task(asked(broker, town.message(RestartService(f"worker-{n}", "")))) for n in range(8)
    ]
    stop(tmp_path / "a", "ann", "drill")
    begun = set(town.keeper.running)
    await asyncio.gather(*tasks)
    assert set(town.keeper.acts) <= begun
    broker.close()
