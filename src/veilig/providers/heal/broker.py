"""Who alone may touch services? A small process that believes nobody and checks every act again by itself.

It holds the keepers' sockets, knows no model and connects to nothing but a service's own health check. Before
an act: the signature, the deadline, its own reading of the policy, its own facts, its own count of starts,
the kill switch, the lease and the fence; then the intent is durable, then it acts, once.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from veilig.core.action import Action
from veilig.core.action_json import JSON, digest, from_json
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError, VeiligError
from veilig.core.policy import Capability, Decision, Facts
from veilig.core.provider import Found, Verdict
from veilig.core.service import Inventory, Service
from veilig.core.signal import Run
from veilig.providers.heal import acts
from veilig.providers.heal import broker_wire as wire
from veilig.providers.heal import facts as reading
from veilig.providers.heal.broker_starts import Starts
from veilig.providers.heal.lease import Lease
from veilig.providers.heal.stop import stopped
from veilig.providers.heal.substrate import Done, Seen, Substrate

PROBE_S = 1.0  # the healer has looked for longer; this only asks whether it is well again

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Own:
    """The broker's own law: its reading of the policy, and the digest of what it read."""

    decide: Callable[[Action, Facts], Decision]
    digest: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Means:
    """What a broker works with. folder: where the kill switch lies. well: does the service answer, for `s`?

    readonly: nothing is ever changed, whatever the policy says; it then holds no writer credential either.
    """

    inventory: Inventory
    substrates: Mapping[str, Substrate]
    own: Own
    clock: Clock
    starts: Starts
    lease: Lease
    folder: Path
    key: bytes
    files: acts.Files
    well: Callable[[Service, float], Awaitable[bool]]
    readonly: bool = False


@dataclass(slots=True)
class _Busy:
    """Acts that run now."""

    names: set[str] = field(default_factory=set[str])
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])


class Broker:
    """Answers look, capabilities, show, act and inspect. One act per service at a time."""

    def __init__(self, means: Means) -> None:
        self._m = means
        self._starts = means.starts
        self._busy = _Busy()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the other side ends; an act that has begun is finished first."""
        try:
            while (message := await wire.read_line(reader)) is not None:
                task = asyncio.create_task(self._reply(message, writer))
                self._busy.tasks.add(task)
                task.add_done_callback(self._busy.tasks.discard)
        except ProviderError as error:
            log.warning("connection ended: %s", error)
        finally:
            if self._busy.tasks:
                await asyncio.wait(set(self._busy.tasks))
            writer.close()

    async def _reply(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        try:
            answer = await self.answer(message)
        except VeiligError as error:
            answer = {"refused": True, "what": error.what, "why": error.why, "fix": error.fix}
        except (KeyError, TypeError, ValueError) as error:
            answer = {
                "refused": True,
                "what": "a message of no known shape",
                "why": repr(error)[:200],
                "fix": "",
            }
        try:
            writer.write(wire.line({**answer, "id": message.get("id")}))
            await writer.drain()
        except OSError:
            log.warning("nobody hears the answer to %r any more", message.get("op"))

    def close(self) -> None:
        """Let another broker act."""
        self._m.lease.release()
        self._starts.close()

    async def answer(self, message: dict[str, Any]) -> dict[str, JSON]:
        """What came of one message. Raises ProviderError for what is refused."""
        match message.get("op"):
            case "look":
                return await self._look()
            case "capabilities":
                return {"capabilities": await self._capabilities()}
            case "act":
                return await self._act(message)
            case "show":
                return {"shown": await self._show(from_json(message["action"]))}
            case "inspect":
                return {"found": self._inspect(str(message["digest"])).value}
            case _:
                raise ProviderError(f"no such request: {message.get('op')!r}")

    # --- looking ----------------------------------------------------------------------------------

    async def _look(self) -> dict[str, JSON]:
        seen = await self._seen()
        for one in seen:
            if one.service not in self._busy.names:
                self._starts.note(one)
        journal = self._starts.usable()
        names = [s.name for s in self._m.inventory.services] if journal else []
        counts = {n: journal.starts(n) for n in names} if journal else {}
        times = {n: journal.times(n) for n in names} if journal else {}
        stop = stopped(self._m.folder)
        return {
            "seen": [wire.seen_to_json(one) for one in seen],
            "foreign": {n: c.foreign for n, c in counts.items()},
            "starts": {n: [*all_] for n, (all_, _) in times.items() if all_},
            "own": {n: [*own] for n, (_, own) in times.items() if own},
            "in_flight": [*sorted(self._busy.names)],
            "lease": self._m.lease.hold(),
            "stop": str(stop) if stop else "",
            "journal": self._starts.why(),
        }

    async def _seen(self) -> list[Seen]:
        """Every service once; all keepers are asked at the same time, and one that fails hides no other."""
        by: dict[str, list[Service]] = {}
        for service in self._m.inventory.services:
            by.setdefault(service.provider, []).append(service)
        parts = await asyncio.gather(*(self._seen_by(name, services) for name, services in by.items()))
        found = {one.service: one for part in parts for one in part}
        return [found[s.name] for s in self._m.inventory.services]

    async def _seen_by(self, name: str, services: list[Service]) -> list[Seen]:
        substrate = self._m.substrates.get(name)
        if substrate is None:
            return [Seen(s.name, Run.UNKNOWN, f"this broker has no way to {name}") for s in services]
        try:
            return await substrate.look(services)
        except VeiligError as error:
            return [Seen(s.name, Run.UNKNOWN, f"{error.what}: {error.why}") for s in services]

    async def _capabilities(self) -> dict[str, JSON]:
        found: dict[str, JSON] = {}
        for service in self._m.inventory.services:
            held, why = await self._capability(service)
            found[service.name] = [held.value, why]
        return found

    async def _capability(self, service: Service) -> tuple[Capability, str]:
        substrate = self._m.substrates.get(service.provider)
        if substrate is None:
            return Capability.UNKNOWN, f"this broker has no way to {service.provider}"
        if self._m.readonly:
            return Capability.READONLY, "this broker was started to read only"
        try:
            return await substrate.capability(service)
        except VeiligError as error:
            return Capability.UNKNOWN, f"{error.what}: {error.why}"

    async def _show(self, action: Action) -> str:
        """What people should see of an act's target before they vote; nothing is changed."""
        service = acts.service_of(action, self._m.inventory)
        substrate = self._m.substrates.get(service.provider)
        return await acts.show(action, service, substrate) if substrate is not None else ""

    # --- acting -------------------------------------------------------------------------------------

    async def _act(self, message: dict[str, Any]) -> dict[str, JSON]:
        action, ref = self._signed(message)
        self._must_not_be_stopped(message)
        if self._starts.journal.act(ref) is not None:
            raise ProviderError(f"act {ref} was begun before", why="an act is executed at most once")
        service = acts.service_of(action, self._m.inventory)
        if service.name in self._busy.names:
            raise ProviderError(f"{service.name} is being acted on already")
        self._busy.names.add(service.name)  # no await lies between the question and this
        try:
            keys = await self._must_be_allowed(action, service, message)
            self._must_not_be_stopped(message)
            starts = service.name if acts.starts(action) else ""
            self._starts.journal.append(
                "act", ref=ref, digest=digest(action), kind=action.kind, starts=starts, keys=[*keys]
            )
            return await self._perform(action, service, ref, starts)
        finally:
            self._busy.names.discard(service.name)

    def _signed(self, message: dict[str, Any]) -> tuple[Action, str]:
        """The action of a message that the gate signed for now."""
        if not wire.verified({k: v for k, v in message.items() if k != "id"}, self._m.key):
            raise ProviderError("an act is not signed by the gate", why="its HMAC does not fit")
        action, ref = from_json(message["action"]), str(message["ref"])
        if digest(action) != message["digest"]:
            raise ProviderError(f"act {ref} is not the one that was decided", why="its digest differs")
        clock = self._m.clock
        if message["boot"] != clock.boot_id() or clock.boottime_s() > float(message["deadline_s"]):
            raise ProviderError(f"act {ref} came after its deadline", fix="propose it again")
        return action, ref

    def _must_not_be_stopped(self, message: dict[str, Any]) -> None:
        """What may change in a moment, looked at in the last one."""
        if stop := stopped(self._m.folder):
            raise ProviderError("nothing is done", why=str(stop), fix="veilig heal go-on")
        if other := self._m.lease.hold():
            raise ProviderError("nothing is done", why=other)
        if self._m.own.digest() != message["policy"]:
            raise ProviderError("nothing is done", why="the policy is not the one that was decided by")
        try:
            data = Path(self._m.inventory.path).read_bytes()
        except OSError as error:
            raise ProviderError(
                "nothing is done", why=f"the services file is gone: {error.strerror}"
            ) from error
        if hashlib.sha256(data).hexdigest() != self._m.inventory.digest:
            raise ProviderError("nothing is done", why="the services file has changed")

    async def _must_be_allowed(self, action: Action, service: Service, message: dict[str, Any]) -> list[str]:
        """The budget keys of an act that the broker's own law and facts allow. Raises ProviderError."""
        fleet = await self._fleet(service, ailing=message.get("ailing") is True)
        decision = self._m.own.decide(action, reading.facts(action, fleet))
        if decision.verdict is Verdict.DENY:
            raise ProviderError(f"{action.kind} {service.name} is denied", why="; ".join(decision.reasons))
        if decision.verdict is Verdict.ASK and not message.get("approval"):
            why = "; ".join(decision.reasons)
            raise ProviderError(f"{action.kind} {service.name} needs people, and none were asked", why=why)
        for claim in decision.budgets:
            if self._starts.journal.spent(claim.key, claim.window_s) >= claim.limit:
                why = f"budget {claim.key} is spent: {claim.limit} in {claim.window_s:.0f} s"
                raise ProviderError(f"{action.kind} {service.name} is denied", why=why)
        return [claim.key for claim in decision.budgets]

    async def _fleet(self, target: Service, *, ailing: bool) -> reading.Fleet:
        """The broker's own facts. ailing: the healer says it leaks, which takes longer to see than an act."""
        known: dict[str, reading.Known] = {}
        for seen in await self._seen():
            service = self._m.inventory.get(seen.service)
            if service is None:
                continue
            failing = seen.run is not Run.RUNNING
            held, good, spare = Capability.UNKNOWN, "", frozenset[str]()
            if service.name == target.name:
                self._starts.note(seen)
                held, _ = await self._capability(service)
                good, spare = self._m.files.last_good(service), self._m.files.regenerable(service)
                failing = failing or ailing or not await self._m.well(service, PROBE_S)
            known[service.name] = reading.Known(
                run=seen.run, failing=failing, incarnation=seen.incarnation,
                capability=held, managed=seen.managed,
                foreign_starts=self._starts.journal.starts(service.name).foreign, held_by=seen.held_by,
                last_good=seen.good or good, regenerable=spare,
                replicas=seen.replicas, replicas_own=seen.replicas_own,
            )  # fmt: skip
        return reading.Fleet(self._m.inventory, known, frozenset(self._busy.names - {target.name}))

    async def _perform(self, action: Action, service: Service, ref: str, starts: str) -> dict[str, JSON]:
        try:
            done = await acts.perform(action, service, self._m.substrates[service.provider], self._m.files)
        except VeiligError as error:
            done = Done(False, f"{error.what}: {error.why}" if error.why else error.what)
        if done.incarnation:
            self._starts.own(service.name, done.incarnation)
        self._starts.journal.append(
            "done", ref=ref, ok=done.ok, detail=done.detail[:500], starts=starts, incarnation=done.incarnation
        )
        return {"ok": done.ok, "detail": done.detail, "incarnation": done.incarnation}

    def _inspect(self, wanted: str) -> Found:
        """Did the act that a crash of the healer cut off happen?"""
        act = self._starts.journal.last_act(wanted)
        if act is None:
            return Found.NOT_DONE
        result = self._starts.journal.result(str(act.body["ref"]))
        if result is None:
            return Found.UNKNOWN
        return Found.DONE if result.body.get("ok") else Found.NOT_DONE
