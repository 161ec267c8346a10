"""How are services watched and healed, for the gate? Signals come from here, acts go to the broker.

The provider has no power of its own: it looks, it asks the broker to act, and it believes an act only when
another look shows it. The facts for the law come from here too, never from a planner.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from veilig.core.action import (
    Action,
    ChangeDatabase,
    FreeSpace,
    Notify,
    RollBack,
    ScaleDown,
    ScaleUp,
    StopService,
    WatchSignals,
)
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError, UsageError
from veilig.core.policy import Capability, Facts
from veilig.core.policy_model import Channel
from veilig.core.provider import Found, Outcome, Permit, Status, must_fit
from veilig.core.service import Inventory, Service
from veilig.core.service_file import parse_services
from veilig.core.signal import Answer, Run
from veilig.providers.heal import acts, good_shown, notify
from veilig.providers.heal import facts as reading
from veilig.providers.heal.among import Among
from veilig.providers.heal.broker_client import BrokerClient, Look, Lost
from veilig.providers.heal.broker_run import Charge
from veilig.providers.heal.good import GoodStates
from veilig.providers.heal.places import Places
from veilig.providers.heal.probes import probe
from veilig.providers.heal.sampler import Sampler
from veilig.providers.heal.stop import stopped
from veilig.providers.heal.watch import Watch

VERIFY_S = 5.0  # how long an act may hold up the watch over everybody else
WRONG_S = 2.0  # a service that answers that it is not well may still be loading
ALIVE_S = 1.0  # a service that nobody can ask has started when it lives for so long
POLL_S = 0.1
REREAD_S = 2.0  # an edited services file counts soon
RETRY_S = 30.0  # capabilities are tried again: rights change


class HealProvider:
    """Performs signals.watch, people.notify and, through the broker, what changes services.

    home: the state folder. policy: the file the command line names, None for the usual places. answered:
    (how far the ledger was read, approvals decided since) for a mark. channels: as the policy says now.
    """

    kinds = acts.KINDS | {"signals.watch", "people.notify"}

    def __init__(
        self,
        inventory: Inventory,
        *,
        clock: Clock,
        home: Path,
        policy: str | None = None,
        act: bool = False,
        readonly: bool = False,
        environment: Mapping[str, str],
        seal: Callable[[str], str] = str,
        answered: Callable[[int], tuple[int, list[str]]] = lambda after: (after, []),
        channels: Callable[[], Sequence[Channel]] = tuple,
        alerts: Callable[[str], tuple[str, ...]] = lambda _name: (),
        broker: Path | None = None,
        broker_key: str = "",
        said: Callable[[], list[JSON]] = list,
        among: Among | None = None,
    ) -> None:
        """broker, broker_key: the socket and key (hex) of a broker that stands by itself; None: start one.

        said: what models said of incidents since it was asked last. among: where others heal beside it.
        """
        self._among = among or Among()
        self._inventory, self._clock, self._environment = inventory, clock, environment
        self._channels = channels
        named = policy or environment.get("VEILIG_POLICY") or ""
        law = str(Path(named).absolute()) if named else ""
        places = Places.of(home, inventory.path, inventory.part)
        names = tuple(s.name for s in inventory.services) if inventory.part else ()
        self._broker = BrokerClient(
            Charge(
                inventory.path,
                str(home),
                law,
                act=act,
                readonly=readonly,
                key=broker_key,
                part=inventory.part,
                names=names,
            ),
            clock,
            environment,
            broker,
        )
        self._folder = places.heal
        self._look = Look()
        self._capabilities: dict[str, tuple[Capability, str]] = {}
        self._tried_s = -1e9
        self._storm = reading.Storm(len(inventory.services))
        self._well: dict[str, str] = {}
        self._good = GoodStates(places.good, inventory)
        self.sampler = Sampler(
            inventory,
            self._ask,
            clock,
            good=self._good,
            seal=seal,
            alerts=alerts,
            news=self._note,
        )
        self._answered, self._read_to = answered, 0
        self.watch = Watch(self.sampler, clock, answered=self._people, said=said)

    async def open(self) -> None:
        """Start the broker and begin to look. Raises ProviderError when there can be no broker."""
        await self._try_capabilities()
        await self.sampler.start()

    async def close(self) -> None:
        """Stop looking, let the broker finish and end; services go on."""
        await self.sampler.close()
        await self._broker.close()

    @property
    def capabilities(self) -> Mapping[str, tuple[Capability, str]]:
        """By service: what was found by trying, and what is not enforced."""
        return self._capabilities

    # --- looking ------------------------------------------------------------------------------------

    async def _ask(self) -> Look:
        """The broker's look; a broker that is gone is started again by the next one."""
        try:
            self._look = await self._broker.look()
        except ProviderError:
            self._look = replace(Look(), holds=("the broker cannot be asked",))
            raise
        if time.monotonic() - self._tried_s > RETRY_S:
            await self._try_capabilities()
        return self._look

    async def _try_capabilities(self) -> None:
        self._tried_s = time.monotonic()
        self._capabilities = await self._broker.capabilities()

    def _people(self) -> tuple[str, ...]:
        """Approvals that people have decided since this was asked last."""
        self._read_to, decided = self._answered(self._read_to)
        return tuple(decided)

    def _note(self) -> None:
        """After each look: who has been well, and is this a storm?"""
        now_s = self._clock.boottime_s()
        for name, sample in self.sampler.samples.items():
            if sample.answer is Answer.OK and sample.incarnation:
                self._well[name] = sample.incarnation
            explained = any(not need.up for need in sample.needs) or bool(sample.held_by)
            self._storm.see(name, reading.fails(sample) and not explained, now_s)
        self.watch.news()

    # --- the law's facts ------------------------------------------------------------------------------

    def facts(self, action: Action) -> Facts:
        """What the law may take for true of this action's target now; strict where nothing is known."""
        managed = {seen.service: seen.managed for seen in self._look.seen}
        known: dict[str, reading.Known] = {}
        for service in self._inventory.services:
            sample = self.sampler.samples.get(service.name)
            if sample is None:
                continue
            well = self._well.get(service.name, "") == sample.incarnation != ""
            known[service.name] = replace(
                reading.of_sample(sample, service, well_before=well),
                capability=self._capabilities.get(service.name, (Capability.UNKNOWN, ""))[0],
                managed=managed.get(service.name, False),
                foreign_starts=self._foreign(service.name),
            )
        return reading.facts(
            action, reading.Fleet(self._inventory, known, self._look.in_flight, self._holds())
        )

    def _holds(self) -> tuple[str, ...]:
        """What stops every act now."""
        stop = stopped(self._folder)  # a broker that stands by itself has a switch of its own, too
        ours = (str(stop),) if stop and str(stop) not in self._look.holds else ()
        storm = self._storm.holds(self._clock.boottime_s())
        return (*self._look.holds, *ours, *storm, *self._among.holds())

    def _foreign(self, name: str) -> int | None:
        """Starts by others in the last hour: those that the broker saw, and those of healers before."""
        seen = self._look.foreign.get(name)
        if seen is None:
            return None
        shift_s, own = self._clock.wall_s() - self._clock.boottime_s(), set(self._look.own.get(name, ()))
        known = tuple(at + shift_s for at in self._look.starts.get(name, ()) if at not in own)
        return seen + self._among.forgotten(name, known, self._clock.wall_s())

    def _ailing(self, action: Action) -> bool:
        name = acts.service_of(action, self._inventory).name
        sample, service = self.sampler.samples.get(name), self._inventory.get(name)
        return sample is not None and service is not None and reading.leaks(sample, service)

    async def show(self, action: Action) -> str:
        """What a change would touch, as its keeper sees it now; "" where it says no more than the action."""
        if isinstance(action, RollBack) and (service := self._inventory.get(action.service)) is not None:
            return await asyncio.to_thread(good_shown.shown, action, service, self._good)
        return await self._broker.show(action) if isinstance(action, ChangeDatabase) else ""

    # --- the gate's provider ----------------------------------------------------------------------------

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """Do it. Raises ProviderError when it could not be done."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        if isinstance(action, WatchSignals):
            return await self._watch(action)
        if isinstance(action, Notify):
            said = await notify.tell(action, self._channels(), self._environment)
            return Outcome(True, said)
        if action.kind not in acts.KINDS:
            raise ProviderError(f"healing does not perform {action.kind}", why="the gate was wired wrongly")
        before = self._clock.boottime_s()
        try:
            reply = await self._broker.act(action, permit, ailing=self._ailing(action))
        except Lost as error:
            why = f"{error.what}; what became of {action.kind} {action.target} is not known"
            return Outcome(False, why, Status.IN_DOUBT)
        finally:
            self.sampler.look_again()
        status = Status.DONE if reply["ok"] else Status.FAILED
        data: dict[str, JSON] = {"incarnation": str(reply["incarnation"]), "begun_s": before}
        if acts.starts(action) and reply["incarnation"]:
            name = acts.service_of(action, self._inventory).name
            self.sampler.note_own(name, str(reply["incarnation"]))
        return Outcome(bool(reply["ok"]), str(reply["detail"]), status, data)

    async def _watch(self, action: WatchSignals) -> Outcome:
        if (action.inventory, action.digest) != (self._inventory.path, self._inventory.digest):
            raise ProviderError("another services file is watched here", why="the session is of another one")
        until_s = self._clock.boottime_s() + action.timeout_s
        while True:
            left_s = max(0.0, until_s - self._clock.boottime_s())
            data = await self.watch.wait(action.seen, min(left_s, REREAD_S))
            if data.get("samples") or data.get("answered") or left_s <= REREAD_S or self._among.leaving():
                break
            if self._replaced():
                return Outcome(False, "the services file changed", Status.FAILED, {"reload": True})
        data["holds"] = "; ".join(self._holds())  # that there are none any more is news to what was refused
        samples = data.get("samples")
        count = len(samples) if isinstance(samples, list) else 0
        return Outcome(True, f"{count} of {len(self._inventory.services)} services changed", data=data)

    def _replaced(self) -> bool:
        """Does the services file say something else by now? One that cannot be read is only a note."""
        try:
            now = Path(self._inventory.path).read_bytes()
            if hashlib.sha256(now).hexdigest() == self._inventory.digest:
                self.sampler.notes.pop("services", None)
                return False
            parse_services(now, self._inventory.path)
        except (OSError, UsageError) as error:
            said = str(error).partition("\n")[0]
            self.sampler.notes["services"] = f"the services file changed and cannot be used: {said}"
            return False
        return True

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """Look independently: a new incarnation that lives and answers, files as they should be."""
        del permit
        if not outcome.ok or isinstance(action, WatchSignals | Notify):
            return outcome
        here = acts.service_of(action, self._inventory).provider != "kubernetes"
        if isinstance(action, RollBack) and here and (wrong := _not_as_named(action)):
            return replace(
                outcome, ok=False, detail=f"{wrong} is not what it should be", status=Status.FAILED
            )
        if acts.starts(action):
            return await self._verify_start(acts.service_of(action, self._inventory), outcome)
        if isinstance(action, FreeSpace):
            left = _there(action)
            return replace(outcome, data={**outcome.data, "left": [*left[:20]]})
        seen = {one.service: one for one in (await self._broker.look()).seen}
        target = seen[acts.service_of(action, self._inventory).name]
        if isinstance(action, ChangeDatabase):
            await self._looked(target.service)  # what comes next must not be decided by an older picture
            if action.argument in {one.id for one in target.backends}:
                return replace(outcome, ok=False, detail="the session is still there", status=Status.FAILED)
        if isinstance(action, StopService) and target.incarnation:
            return replace(outcome, ok=False, detail="it still runs", status=Status.FAILED)
        if isinstance(action, ScaleUp | ScaleDown) and target.replicas != action.replicas:
            why = f"{target.replicas} replicas are there, not {action.replicas}"
            return replace(outcome, ok=False, detail=why, status=Status.FAILED)
        return outcome

    async def _verify_start(self, service: Service, outcome: Outcome) -> Outcome:
        """Alive under the new incarnation and, if it can be asked, well within VERIFY_S."""
        begun = time.monotonic()
        wrong_since, said, healthy = 0.0, "it does not answer yet", False
        while True:
            seen = {one.service: one for one in (await self._broker.look()).seen}[service.name]
            after_s = time.monotonic() - begun
            daemon = seen.exit in ("", "exit 0") and after_s < ALIVE_S  # it may go into the background
            if (seen.run is Run.DOWN or not seen.incarnation) and not daemon:
                ended = f" ({seen.exit})" if seen.exit else ""
                return self._started(outcome, False, after_s, f"it ended again at once{ended}", ok=False)
            result = await probe(replace(service, health_timeout_s=min(1.0, service.health_timeout_s)))
            after_s = time.monotonic() - begun
            if result.answer is Answer.OK or (result.answer is Answer.NONE and after_s >= ALIVE_S):
                healthy, said = True, f"it is well after {after_s:.1f} s"
                break
            if result.answer is Answer.ERROR:
                wrong_since = wrong_since or time.monotonic()
                said = f"it answers {result.status or 'that it is not well'}"
                if time.monotonic() - wrong_since >= WRONG_S:
                    return self._started(outcome, False, after_s, said, ok=False)
            if after_s >= VERIFY_S:
                break
            await asyncio.sleep(POLL_S)
        return self._started(outcome, healthy, time.monotonic() - begun, said, ok=True)

    async def _looked(self, name: str) -> None:
        """Until the sampler has a picture of this service that is newer than now, or VERIFY_S."""
        now_s = self._clock.boottime_s()
        self.sampler.look_again()
        while self._clock.boottime_s() < now_s + VERIFY_S:
            sample = self.sampler.samples.get(name)
            if sample is not None and sample.t_s > now_s:
                return
            await asyncio.sleep(POLL_S)

    def _started(self, outcome: Outcome, healthy: bool, after_s: float, said: str, *, ok: bool) -> Outcome:
        self.sampler.look_again()
        data: dict[str, JSON] = {**outcome.data, "healthy": healthy, "after_s": round(after_s, 2)}
        status = Status.DONE if ok else Status.FAILED
        return Outcome(ok, f"{outcome.detail}; {said}", status, data, outcome.ref)

    async def inspect(self, action: Action) -> Found:
        """After a crash: the broker's journal knows of its acts; a look may be repeated, a message not."""
        if isinstance(action, WatchSignals):
            return Found.NOT_DONE
        if isinstance(action, Notify):
            return Found.UNKNOWN
        found = await self._broker.inspect(action)
        if self._among.incarnations is None:
            return found
        name = acts.service_of(action, self._inventory).name
        seen = {one.service: one for one in (await self._broker.look()).seen}
        return self._among.found(action, found, seen.get(name))


def _there(action: FreeSpace) -> list[JSON]:
    return [path for path, *_ in action.files if os.path.lexists(path)]


def _not_as_named(action: RollBack) -> str:
    """The first file that is not what the act should have made of it; "" when all are."""
    for path, _, then in action.files:
        if Path(path).is_symlink():
            continue  # its name stands for where it points, which is not its content
        try:
            now = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            now = ""
        if now != then:
            return path
    return ""
