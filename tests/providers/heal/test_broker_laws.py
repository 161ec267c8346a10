"""What does a broker never do, whatever is asked, whoever dies, and however often it starts anew?

A state machine over the real broker, journal, lease, kill switch and policy; only the services, the clock and
the deaths are played.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kernel import AGENT, Clock
from veilig.core.action import Action, RestartService
from veilig.core.action_json import digest, to_json
from veilig.core.errors import ProviderError, VeiligError
from veilig.core.policy import Capability, Decision, Facts, decide, parse
from veilig.core.service import Service
from veilig.core.service_file import parse_services
from veilig.core.signal import Run
from veilig.providers.heal import broker_wire as wire
from veilig.providers.heal.broker import Broker, Means, Own
from veilig.providers.heal.broker_starts import Starts
from veilig.providers.heal.journal import HOUR_S, Journal
from veilig.providers.heal.lease import Lease
from veilig.providers.heal.stop import go_on, stop
from veilig.providers.heal.substrate import Done, Seen

TEXT = """
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "worker-*", actions: [restart], max_restarts_per_hour: 3}
"""
LAWS = {True: parse(TEXT), False: parse(TEXT.replace("enabled: true", "enabled: false"))}
FILE = b"""{"worker-1": {"cmd": "a"}, "worker-2": {"cmd": "b"}, "xworker-1": {"cmd": "c"}}"""
NAMES = ("worker-1", "worker-2", "xworker-1")
OFTEN = st.sampled_from(("worker-1", "worker-1", "worker-1", "worker-2", "xworker-1"))  # few acts, no news
KEY = b"k" * 32


class Death(BaseException):
    """kill -9 of the broker, at this very point."""


@dataclass
class Keeper:
    """Three services that live and die as told; every effect is written down with its circumstances."""

    name: str = "process"
    runs: dict[str, str] = field(default_factory=dict[str, str])
    ill: set[str] = field(default_factory=set[str])
    held: set[str] = field(default_factory=set[str])
    born: dict[str, float] = field(default_factory=dict[str, float])
    count: int = 0
    death: str = ""
    effects: list[str] = field(default_factory=list[str])
    clock: Clock = field(default_factory=Clock)

    def start(self, name: str) -> str:
        self.count += 1
        self.runs[name], self.born[name] = f"i{self.count}", self.clock.boot_s
        return self.runs[name]

    async def capability(self, service: Service) -> tuple[Capability, str]:
        return Capability.READ_WRITE, ""

    async def look(self, services: Sequence[Service]) -> list[Seen]:
        return [self._seen(s.name) for s in services]

    def _seen(self, name: str) -> Seen:
        runs = self.runs.get(name, "")
        held = "held" if name in self.held else ""
        run = Run.RUNNING if runs else Run.STOPPED if held else Run.DOWN
        return Seen(name, run, "", runs, self.born.get(name, 0.0), held_by=held, managed=True)

    async def restart(self, service: Service, incarnation: str) -> Done:
        if self.death == "before":
            raise Death
        if self.runs.get(service.name, "") != incarnation:
            raise ProviderError("not the one that was meant")
        self.effects.append(service.name)
        made = self.start(service.name)
        if self.death == "after":
            raise Death
        return Done(True, "started", made)

    async def stop(self, service: Service, incarnation: str) -> Done:
        raise ProviderError("nobody asked for that")

    async def scale(self, group: str, current: int, replicas: int) -> Done:
        raise ProviderError("nobody asked for that")

    async def close(self) -> None: ...


class NoFiles:
    def last_good(self, service: Service) -> str:
        return ""

    def regenerable(self, service: Service) -> frozenset[str]:
        return frozenset()

    def restore(self, service: Service, files: Sequence[tuple[str, str, str]], to: str) -> str:
        raise ProviderError("nothing is kept")


class Brokers(RuleBasedStateMachine):
    """One broker after another over one journal."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        base = Path(self.folder.name)
        (base / "services.json").write_bytes(FILE)
        self.base, self.clock = base, Clock()
        self.keeper = Keeper(clock=self.clock)
        self.enabled, self.stopped, self.boots = True, False, 1
        self.real_s = 0.0
        self.acts: list[tuple[float, str]] = []
        self.foreign: list[tuple[float, str]] = []
        self.sent: list[dict[str, Any]] = []
        self.done: set[str] = set()
        self.ran: set[str] = set(NAMES)  # in this boot: the first start after a reboot is no restart
        for name in NAMES:
            self.keeper.start(name)
        self.begin()

    def begin(self) -> None:
        inventory = parse_services(FILE, str(self.base / "services.json"))
        own = Own(self.decide, lambda: LAWS[self.enabled].digest)
        self.broker = Broker(
            Means(
                inventory=inventory,
                substrates={"process": self.keeper},
                own=own,
                clock=self.clock,
                starts=Starts(lambda: Journal(self.base / "journal", self.clock), self.clock),
                lease=Lease(self.base / "services.json"),
                folder=self.base / "heal",
                key=KEY,
                files=NoFiles(),
                well=self.well,
            )
        )
        self.run({"op": "look"})

    def decide(self, action: Action, facts: Facts) -> Decision:
        return decide(LAWS[self.enabled], action, AGENT, replace(facts, now_wall_s=self.clock.wall))

    async def well(self, service: Service, limit_s: float) -> bool:
        return service.name not in self.keeper.ill

    def run(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None when it was refused, or when the broker died of it."""
        try:
            return asyncio.run(self.broker.answer(message))
        except Death:
            self.again()
        except (VeiligError, KeyError):
            return None
        return None

    def again(self) -> None:
        self.keeper.death = ""
        self.broker.close()
        self.begin()

    # --- the world ---------------------------------------------------------------------------------

    @rule(name=OFTEN, how=st.sampled_from(["dies", "ill", "well"]))
    def fares(self, name: str, how: str) -> None:
        if how == "dies":
            self.keeper.runs[name] = ""
        elif how == "ill":
            self.keeper.ill.add(name)
        else:
            self.keeper.ill.discard(name)
        self.run({"op": "look"})

    @rule(name=OFTEN)
    def is_started_by_others(self, name: str) -> None:
        self.keeper.runs[name] = ""
        self.clock.boot_s += 1.0
        self.real_s += 1.0
        self.run({"op": "look"})
        self.keeper.start(name)
        if self.run({"op": "look"}) is not None and name in self.ran:
            self.foreign.append((self.real_s, name))
        self.ran.add(name)

    @rule(name=OFTEN, held=st.sampled_from([False, False, True]))
    def a_person_holds(self, name: str, held: bool) -> None:
        (self.keeper.held.add if held else self.keeper.held.discard)(name)

    @rule(on=st.sampled_from([False, False, True]))
    def a_person_pulls_the_switch(self, on: bool) -> None:
        if on:
            stop(self.base / "heal", "ann", "")
        else:
            go_on(self.base / "heal")
        self.stopped = on

    @rule(enabled=st.sampled_from([True, True, False]))
    def the_policy_changes(self, enabled: bool) -> None:
        self.enabled = enabled

    @rule(seconds=st.sampled_from([1.0, 300.0, 1800.0, 3599.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.boot_s += seconds
        self.real_s += seconds

    @rule(jump=st.floats(-1e7, 1e7))
    def the_wall_clock_is_set(self, jump: float) -> None:
        self.clock.wall += jump

    @rule()
    def the_broker_dies(self) -> None:
        self.again()

    @rule(up=st.floats(0, 30))
    def the_machine_reboots(self, up: float) -> None:
        self.boots += 1
        self.real_s += up
        self.clock.boot, self.clock.boot_s = f"boot-{self.boots}", up
        for name in NAMES:
            self.keeper.runs[name] = ""
        self.ran.clear()
        self.again()

    # --- what is asked -------------------------------------------------------------------------------

    @rule(
        name=OFTEN,
        dies=st.sampled_from([True, True, False]),
        fence=st.sampled_from(["right", "right", "right", "stale"]),
        approval=st.sampled_from(["", "", "a1"]),
        forged=st.sampled_from([False, False, False, False, True]),
        death=st.sampled_from(["", "", "", "", "before", "after"]),
    )
    def is_asked_to_restart(
        self, name: str, dies: bool, fence: str, approval: str, forged: bool, death: str
    ) -> None:
        if dies:
            self.fares(name, "dies")
        incarnation = self.keeper.runs.get(name, "") if fence == "right" else "i0"
        action = RestartService(name, incarnation)
        message: dict[str, Any] = {
            "op": "act", "action": to_json(action), "ref": f"r{len(self.sent)}", "digest": digest(action),
            "policy": LAWS[self.enabled].digest, "approval": approval, "boot": self.clock.boot,
            "deadline_s": self.clock.boot_s + 60.0, "ailing": False,
        }  # fmt: skip
        signed: dict[str, Any] = dict(wire.sign(message, b"x" * 32 if forged else KEY))
        self.sent.append(signed)
        self.ask(signed, forged, death)

    @rule(back=st.integers(1, 3), dies=st.booleans())
    def an_old_message_is_replayed(self, back: int, dies: bool) -> None:
        if len(self.sent) >= back:
            message = self.sent[-back]
            if dies:
                self.fares(str(message["action"]["service"]), "dies")
            self.ask(message, False, "")

    @rule(others=st.lists(st.booleans(), min_size=2, max_size=5))
    def crashes_again_and_again(self, others: list[bool]) -> None:
        """Started by others, or by us, each time."""
        for by_others in others:
            if by_others:
                self.is_started_by_others("worker-1")
            else:
                self.is_asked_to_restart("worker-1", True, "right", "", False, "")

    def ask(self, message: dict[str, Any], forged: bool, death: str) -> None:
        """Ask, and judge each effect by what was true just before it."""
        name = str(message["action"]["service"])
        seen = self.keeper.runs.get(name, "")
        healthy = bool(seen) and name not in self.keeper.ill
        before = len(self.keeper.effects)
        late = message["boot"] != self.clock.boot or self.clock.boot_s > message["deadline_s"]
        self.keeper.death = death
        self.run(message)
        self.keeper.death = ""
        if len(self.keeper.effects) == before:
            return
        assert self.keeper.effects[before:] == [name], "another one was restarted"
        assert name.startswith("worker-"), "out of scope"
        assert (
            not forged
            and message["hmac"] == wire.sign({k: v for k, v in message.items() if k != "hmac"}, KEY)["hmac"]
        )
        assert self.enabled and not self.stopped and name not in self.keeper.held
        assert message["policy"] == LAWS[self.enabled].digest
        assert message["action"]["incarnation"] == seen
        assert not healthy or message["approval"], "a healthy one was restarted and nobody was asked"
        assert not late
        assert message["ref"] not in self.done, "done twice"
        recent = [n for t, n in (*self.acts, *self.foreign) if n == name and self.real_s - t < HOUR_S]
        assert len(recent) < 3, "over budget, starts of others counted"
        self.done.add(str(message["ref"]))
        self.acts.append((self.real_s, name))
        self.ran.add(name)

    @invariant()
    def never_more_than_three_starts_in_any_hour(self) -> None:
        for at, name in self.acts:
            assert sum(1 for t, n in self.acts if n == name and at <= t < at + HOUR_S) <= 3

    def teardown(self) -> None:
        self.broker.close()
        self.folder.cleanup()


TestBrokers = Brokers.TestCase
TestBrokers.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_a_single_crash_with_free_budget_is_healed() -> None:
    """Else a broker that refuses everything would pass."""
    world = Brokers()
    world.fares("worker-1", "dies")
    world.is_asked_to_restart("worker-1", False, "right", "", False, "")
    assert world.keeper.effects == ["worker-1"]
    world.fares("worker-1", "ill")
    world.is_asked_to_restart("worker-1", False, "right", "", False, "after")
    assert world.keeper.effects == ["worker-1", "worker-1"]
    world.teardown()
