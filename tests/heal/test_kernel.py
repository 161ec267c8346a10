"""Does a heal session keep its promises with the real gate, ledger and session, dying at any moment?

The world and its judge are those of the simulation; time passes only in the provider.
"""

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from heal_fuzz import Story, Trouble, character, fleet_policy, fleet_services
from heal_sim import Healer, Kernel, Rules
from heal_world import World, inventory
from kernel import ANN
from veilig.core.action import Action, WatchSignals
from veilig.core.action_json import digest
from veilig.core.actor import Actor, ActorKind
from veilig.core.errors import ApprovalError
from veilig.core.gate import Gate, cast_vote
from veilig.core.gate_case import Law
from veilig.core.ledger import Ledger
from veilig.core.ledger_verify import verify
from veilig.core.provider import Found, Outcome, Permit, Vote, must_fit
from veilig.core.redact import Redactor
from veilig.core.session import Budget, Session, View
from veilig.core.signal import to_json
from veilig.heal.planner import HealPlanner

ACTS = frozenset({"service.restart", "service.rollback", "space.free", "container.scale_up"})
KINDS = ACTS | {"signals.watch", "people.notify"}
AGENT = Actor("agent:heal", ActorKind.AGENT)


class Killed(BaseException):
    """The healer's process is gone."""


class Over(BaseException):
    """The simulated hours are over."""


@dataclass
class WorldClock:
    """The world's own boot clock."""

    world: World

    def boottime_s(self) -> float:
        return self.world.now

    def boot_id(self) -> str:
        return "boot-1"

    def wall_s(self) -> float:
        return 1_800_000_000.0 + self.world.now


@dataclass
class Stage:
    """One world, one ledger, and a healer that may die before or after each act."""

    folder: Path
    seed: int
    hours: float
    acts: list[str] = field(default_factory=list[str])
    kills: int = 0

    def __post_init__(self) -> None:
        dice = self.dice = random.Random(self.seed)
        self.world = World(fleet_services(dice, 1))
        self.kernel = Kernel(self.world, fleet_policy(dice), random.Random(self.seed + 1), Rules())
        for sim in self.world.sims.values():
            character(dice, sim, "")
        self.until = self.world.now + self.hours * 3600
        self.clock = WorldClock(self.world)
        trouble = Trouble(dice, self.world, self.kernel, list[Healer](), Story(self.seed))
        trouble.gap = 0.1
        trouble.skip = {"fault_reboot", "fault_healer_ends"}  # other tests of the kernel have these
        self.world.at(5, trouble.strike)
        self.open()

    def open(self) -> None:
        anchors = self.folder / "anchors"
        self.ledger = Ledger.open(self.folder / "ledger.db", anchor_dir=anchors, clock=self.clock)

    def session(self) -> tuple[Session, HealPlanner]:
        kernel = self.kernel
        law = Law(lambda a, _: kernel.decide(a, None), lambda: kernel.policy.digest, lambda _h, _a: False)
        redactor = Redactor(b"k" * 32)
        gate = Gate(
            session="s1", ledger=self.ledger, law=law, providers=[self], redactor=redactor, clock=self.clock
        )
        planner = HealPlanner(inventory([s.spec for s in self.world.sims.values()]))
        engine = Session(
            "s1",
            gate=gate,
            ledger=self.ledger,
            planner=planner,
            actor=AGENT,
            budget=Budget(steps=10**9, wall_s=1e9),
            policy=lambda: kernel.policy.digest,
            endless=True,
        )
        return engine, planner

    # --- the provider -------------------------------------------------------------------------------

    @property
    def kinds(self) -> frozenset[str]:
        return KINDS

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        must_fit(permit, digest(action), self.clock.boottime_s())
        if isinstance(action, WatchSignals):
            return await self._watch(action)
        intents = [e.body["ref"] for e in self.ledger.events("s1", names=("action.started",))]
        assert intents[-1] == permit.ref, "P1: no durable intent before the act"
        self._die()
        outcome, takes_s = self.kernel.perform(action)
        self.acts.append(permit.ref)
        self.world.run_until(self.world.now + takes_s)
        self._die()
        return outcome

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        return outcome

    async def inspect(self, action: Action) -> Found:
        return Found.UNKNOWN

    def _die(self) -> None:
        if self.dice.random() < 0.05:
            self.kills += 1
            raise Killed

    async def _watch(self, action: WatchSignals) -> Outcome:
        world, end = self.world, self.world.now + action.timeout_s
        self._die()
        while world.now < end and not world.dirty:
            world.run_until(min(world.queue[0][0] if world.queue else end, end))
        if world.now > self.until:
            raise Over
        world.run_until(world.now + 0.05)
        for name in world.dirty:
            world.sims[name].news_s = world.now
        names = sorted(world.dirty | world.trouble()) if action.seen else sorted(world.sims)
        world.dirty = set()
        data: dict[str, Any] = {
            "mark": "m",
            "now_s": world.boot_s,
            "samples": [to_json(world.sample(name)) for name in names],
            "answered": await self._people(),
            "notes": [],
        }
        return Outcome(True, "", data=data)

    async def _people(self) -> list[str]:
        """Somebody looks at the inbox now and then."""
        if self.dice.random() > 0.1:
            return []
        asked = [str(e.body["approval"]) for e in self.ledger.events("s1", names=("approval.asked",))]
        answered: list[str] = []
        for one in asked[-1:]:
            try:
                await cast_vote(self.ledger, one, Vote(ANN, self.dice.random() < 0.7, "test"))
                answered.append(one)
            except ApprovalError:
                continue  # answered before, or expired
        return answered

    # --- the story ----------------------------------------------------------------------------------

    async def play(self) -> None:
        engine, planner = self.session()
        go: Any = engine.run("heal", "/srv/services.json", {}, "0.1")
        while True:
            try:
                await go
            except Over:
                return
            except Killed:
                self.ledger.close()
                self.open()
                engine, planner = self.session()
                go = engine.go_on("0.1", lambda view, planner=planner: planner.again(view.state, _out(view)))


def _out(view: View) -> Action | None:
    turn = view.last
    unknown = turn is not None and turn.started and turn.outcome is None
    return turn.action if turn and unknown and not isinstance(turn.action, WatchSignals) else None


async def story(folder: Path, seed: int, hours: float) -> Stage:
    stage = Stage(folder, seed, hours)
    await stage.play()
    return stage


def check(stage: Stage) -> None:
    """No breach, every act on record from proposal to intent, nothing done twice, the chain whole."""
    assert stage.kernel.breaches == [], f"seed {stage.seed}"
    events = list(stage.ledger.events("s1"))
    seen: dict[str, list[str]] = {}
    for event in events:
        if "ref" in event.body:
            seen.setdefault(str(event.body["ref"]), []).append(event.name)
    for ref in stage.acts:
        assert [n for n in seen[ref] if n in ("action.proposed", "action.decided", "action.started")] == [
            "action.proposed",
            "action.decided",
            "action.started",
        ]
    assert len(set(stage.acts)) == len(stage.acts)
    started = [e for e in events if e.name == "action.started"]
    claims = [c for e in started for c in cast(list[str], e.body.get("claims", []))]
    assert len(set(claims)) == len(claims), "P3: one approval was spent twice"
    stage.ledger.close()
    verify(stage.folder / "ledger.db", stage.folder / "anchors")


@pytest.mark.parametrize("seed", range(6))
async def test_a_heal_session_that_dies_at_any_moment_keeps_every_promise(tmp_path: Path, seed: int) -> None:
    check(await story(tmp_path, seed, 1.0))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("block", range(10))
async def test_two_hundred_sessions_that_die_at_any_moment_keep_every_promise(
    tmp_path: Path, block: int
) -> None:
    kills = acts = 0
    for seed in range(100 + 20 * block, 120 + 20 * block):
        folder = tmp_path / str(seed)
        folder.mkdir()
        stage = await story(folder, seed, 1.0)
        check(stage)
        kills, acts = kills + stage.kills, acts + len(stage.acts)
        await asyncio.sleep(0)
    print(f"block {block}: {acts} acts, {kills} kills")
