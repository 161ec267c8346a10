"""How is one fleet watched and healed? Policy, ledger, broker and planner become one endless session."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from veilig.app.fleet_others import Others, seen_before
from veilig.app.heal_adviser import Adviser, ByPeople, Overheard
from veilig.app.wiring import Ended, Setting, Watcher, operator_policy
from veilig.core.action import Action, WatchSignals
from veilig.core.action_json import JSON
from veilig.core.actor import Actor, ActorKind
from veilig.core.clock import SystemClock
from veilig.core.errors import SessionError
from veilig.core.gate import Gate
from veilig.core.ledger import Ledger
from veilig.core.lock import SessionLock
from veilig.core.policy import Facts, Policy
from veilig.core.policy_world import matching
from veilig.core.provider import Approver, Finish
from veilig.core.service import Inventory
from veilig.core.service_file import read_services
from veilig.core.session import Budget, Session, View, fold
from veilig.heal.planner import HealOptions, HealPlanner
from veilig.heal.shards import Shard, part_of
from veilig.home import Home, find_home, local_person
from veilig.law import Laws, find_laws
from veilig.providers.heal import stop as kill_switch
from veilig.providers.heal.alerts import Alerts, receiver
from veilig.providers.heal.among import Among
from veilig.providers.heal.metrics import endpoint
from veilig.providers.heal.prometheus import Queries
from veilig.providers.heal.provider import HealProvider

KIND = "heal"
HOUR_MS = 3_600_000
ALERTS_TOKEN = "VEILIG_ALERTS_TOKEN"  # the environment variable with the receiver's bearer token
FOLDER = "heal"  # of the home: the kill switch, last-good states, journals
DECIDED = ("approval.voted", "approval.expired")


@dataclass(frozen=True, slots=True)
class Watched:
    """What the command line wants watched. act: it may act where the policy states no mode.

    stands_by: it waits while another healer is at work on the same services, and takes over.
    broker, broker_key: socket and key of a broker that runs already; "": one is started.
    shard: the part of the file that a worker of a fleet heals; None: all of it.
    """

    services: Path
    once: bool = False
    act: bool = False
    metrics: str = ""
    alerts: str = ""
    broker: str = ""
    broker_key: str = ""
    model: str = ""  # who is asked for a hypothesis where people are needed; "": nobody
    stands_by: bool = True
    shard: Shard | None = None


async def heal(wanted: Watched, setting: Setting, watcher: Watcher, approver: Approver | None) -> Ended:
    """Watch until stopped, or look once. A services file that changes is read again."""
    while True:
        inventory = read_services(wanted.services)
        if wanted.shard is not None:
            inventory = part_of(inventory, wanted.shard)
        try:
            ended = await _Healing(wanted, inventory, setting, watcher, approver).go()
        except SessionError as error:
            if error.retry_after_s is None or not wanted.stands_by:
                raise
            if (standing_by := getattr(watcher, "standing_by", None)) is not None:
                standing_by(error.what)
            await asyncio.sleep(error.retry_after_s)  # it takes over when the other one ends
            continue
        if wanted.once or not ended.finish.data.get("reload"):
            return ended


class _Healing:
    """One session of one inventory, with everything around it."""

    def __init__(
        self,
        wanted: Watched,
        inventory: Inventory,
        setting: Setting,
        watcher: Watcher,
        approver: Approver | None,
    ) -> None:
        self.wanted = wanted
        self.environment = setting.environment
        self.inventory = inventory
        self.watcher = watcher
        self.clock = SystemClock()
        self.home: Home = find_home(setting.environment)
        folder = Path(inventory.path).parent
        self.laws: Laws = find_laws(folder, setting.policy, setting.environment, act=wanted.act)
        policy = self.laws.operator
        self.redactor = self.home.redactor(setting.environment)
        self.ledger: Ledger = self.home.open_ledger(policy)
        self.session, self.resuming = self._session(setting.session)
        self._hold = setting.hold
        if self._hold is not None:
            self.ledger = self._hold.fence(self.ledger)
        self._others, among = self._beside()
        self._alerts = Alerts(inventory, self.clock.boottime_s, self._news)
        self._queries = Queries(inventory, self._news)
        self.planner: HealPlanner | None = None
        law = self.laws.law(self.clock, self._facts)
        self.adviser: Adviser | None = None
        if wanted.model:
            self.adviser = Adviser(
                wanted.model, setting, self.ledger, law, self.redactor, self.clock, self.laws.digest,
                inventory.path,
            )  # fmt: skip
        self.provider = HealProvider(
            inventory,
            clock=self.clock,
            home=self.home.path,
            policy=setting.policy,
            act=wanted.act,
            environment=setting.environment,
            seal=self.redactor.seal,
            answered=self._answered,
            channels=lambda: self.laws.operator.healing.channels,
            alerts=lambda name: (*self._alerts.of(name), *self._queries.of(name)),
            broker=Path(wanted.broker).absolute() if wanted.broker else None,
            broker_key=wanted.broker_key,
            said=self.adviser.said if self.adviser else list,
            among=among,
        )
        self.gate = Gate(
            session=self.session,
            ledger=self.ledger,
            law=law,
            guards=[ByPeople(lambda: self.planner)],
            providers=[self._hold.around(self.provider) if self._hold else self.provider],
            redactor=self.redactor,
            clock=self.clock,
            approver=approver,
        )

    def _facts(self, action: Action) -> Facts:
        found = replace(self.provider.facts(action), root=str(Path(self.inventory.path).parent))
        if self._others is None or isinstance(action, WatchSignals):
            return found
        around = self._others.look()
        unhealthy = found.unhealthy | around.unhealthy | around.in_flight
        return replace(found, in_flight=found.in_flight | around.in_flight, unhealthy=unhealthy)

    def _beside(self) -> tuple[Others | None, Among | None]:
        """Who heals the other parts of the file, and what those saw who healed this one before."""
        if self.wanted.shard is None or self._hold is None:
            return None, None
        others = Others(self.ledger, self.session, self.wanted.shard, self.clock)
        before = seen_before(self.ledger, self.session)
        return others, Among(others.holds, self._hold.leaving, before.starts, before.incarnations)

    def _answered(self, after: int) -> tuple[int, list[str]]:
        """(how far the ledger was read, the approvals that people decided since `after`)."""
        size = self.ledger.size()
        events = self.ledger.events(after=after, names=DECIDED)
        return size, sorted({str(e.body["approval"]) for e in events})

    def _session(self, named: str) -> tuple[str, bool]:
        """The watch over this file that a crash or a stop left open, else a new one; or what was named."""
        if named:
            return named, any(True for _ in self.ledger.events(session=named, names=("session.started",)))
        if not self.wanted.once:
            started = [
                e
                for e in self.ledger.events(names=("session.started",))
                if e.body["kind"] == KIND and e.body["source"] == self.inventory.path
            ]
            for event in reversed(started):
                view = fold(event.session, self.ledger.events(session=event.session))
                if view.ended not in ("done", "failed") and not view.options.get("once"):
                    return event.session, True
        return f"{KIND}-{os.urandom(4).hex()}", False

    async def go(self) -> Ended:
        """Run until the planner has finished (`once`, a new services file) or the task is cancelled."""
        try:
            with SessionLock(self.home.session(self.session)):
                self.watcher.began(self.session, self.laws.names())
                await self.provider.open()
                async with self._doors():
                    self._armed()
                    finish = await self._work()
                await asyncio.to_thread(self.ledger.checkpoint)
                return Ended(self.session, finish, self._events(), None)
        finally:
            if self.adviser is not None:
                await self.adviser.close()
            await self.provider.close()
            self.ledger.close()

    async def _work(self) -> Finish:
        from veilig import __version__

        engine, planner = self._engine()
        if self.resuming:
            return await engine.go_on(__version__, lambda view: planner.again(view.state, _out(view)))
        model: dict[str, JSON] = {"model": self.wanted.model} if self.wanted.model else {}
        part: dict[str, JSON] = {"part": self.wanted.shard.part} if self.wanted.shard else {}
        options: dict[str, JSON] = {"once": self.wanted.once, **model, **part}
        return await engine.run(KIND, self.inventory.path, options, __version__)

    @asynccontextmanager
    async def _doors(self) -> AsyncGenerator[None]:
        """What comes in from Prometheus and Alertmanager, and what goes out to collectors, while it runs."""
        asking = asyncio.create_task(self._queries.run())
        notes = self.inventory.notes if self.wanted.shard else ()  # nobody sees a worker's terminal
        self.provider.sampler.more_notes = lambda: (
            *self._queries.notes.values(),
            *self._alerts.notes,
            *notes,
        )
        servers: list[asyncio.Server] = []
        try:
            if self.wanted.metrics:
                samples = self.provider.sampler.samples
                servers.append(await endpoint(self.wanted.metrics, lambda: samples, self.clock.boottime_s))
            if self.wanted.alerts:
                token = self.environment.get(ALERTS_TOKEN, "")
                servers.append(await receiver(self.wanted.alerts, self._alerts, token=token))
            yield
        finally:
            asking.cancel()
            for server in servers:
                server.close()

    def _news(self) -> None:
        self.provider.sampler.look_again()

    def _armed(self) -> None:
        """Tell the watcher what is watched, what acts, and what is not enforced."""
        if (armed := getattr(self.watcher, "armed", None)) is None:
            return
        services = self.inventory.services
        limits: dict[str, list[str]] = {}
        for name, (capability, why) in self.provider.capabilities.items():
            limits.setdefault(f"{capability}: {why}" if why else str(capability), []).append(name)
        lines = [f"services {len(services)} of {self.inventory.path}"]
        lines += [f"broker   {', '.join(sorted(names))}: {said}" for said, names in sorted(limits.items())]
        if off := switched_off(self.home.path):
            lines.append(f"stopped  {off}")
        armed(lines, list(self.inventory.notes))

    def _events(self) -> int:
        return sum(1 for _ in self.ledger.events(session=self.session))

    def _engine(self) -> tuple[Session, HealPlanner]:
        healing = self.laws.operator.healing
        channels = tuple(one.name for one in healing.channels)
        options = HealOptions(self.wanted.once, channels, healing.scale_down_own)
        planner = HealPlanner(self.inventory, options)
        engine = Session(
            self.session,
            gate=self.gate,
            ledger=self.ledger,
            planner=planner,
            actor=Actor(f"agent:{KIND}", ActorKind.AGENT),
            budget=Budget(),
            policy=self.laws.digest,
            watcher=Overheard(self.watcher, self.adviser) if self.adviser else self.watcher,
            endless=True,
            leaving=self._hold.leaving if self._hold else None,
        )
        return engine, planner


def _out(view: View) -> Action | None:
    """The act that was out when the session stopped, if nobody knows how it ended."""
    turn = view.last
    unknown = turn is not None and turn.started and turn.outcome is None
    return turn.action if turn and unknown and not isinstance(turn.action, WatchSignals) else None


async def stop(reason: str, setting: Setting) -> str:
    """Let no act start any more; the ledger says who and why. Returns who. Raises LedgerError."""
    home = find_home(setting.environment)
    policy = operator_policy(home, setting)
    who = local_person(policy).id
    why = home.redactor(setting.environment).seal(reason)
    await asyncio.to_thread(kill_switch.stop, home.path / FOLDER, who, why)
    await _switched(home, policy, "stopped", who, why)
    return who


async def go_on(setting: Setting) -> bool:
    """Let acts start again; false when they were not stopped. Raises LedgerError."""
    home = find_home(setting.environment)
    policy = operator_policy(home, setting)
    was = await asyncio.to_thread(kill_switch.go_on, home.path / FOLDER)
    if was:
        await _switched(home, policy, "started", local_person(policy).id, "")
    return was


async def _switched(home: Home, policy: Policy, state: str, who: str, why: str) -> None:
    body: dict[str, JSON] = {"state": state, "actor": who, "reason": why}
    with home.open_ledger(policy) as ledger:
        await ledger.submit(lambda tx: tx.append("heal.switched", KIND, body))


def starts_left(ledger: Ledger, policy: Policy, name: str) -> str:
    """Like `2 of 3 left`, counting the acts of the last hour that this ledger knows."""
    rules = matching(policy.healing, name)
    limit = min((rule.restarts_per_hour for rule in rules), default=0)
    if not limit:
        return "no restarts" if rules else "out of scope"
    key = f"service.restart/service:{name}"
    used = ledger.transact(lambda tx: tx.count(key, tx.now_ms() - HOUR_MS), durable=False)
    return f"{max(0, limit - used)} of {limit} left"


def switched_off(home: Path) -> str:
    """Who stopped healing and why; "" when nobody did."""
    found = kill_switch.stopped(home / FOLDER)
    return str(found) if found else ""
