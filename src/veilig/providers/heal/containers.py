"""How are containers seen, restarted and scaled? The Docker-compatible API over the engine's Unix socket.

Whoever holds that socket may do everything to everything of it, so only the broker does. A restart is one
request: the engine ends and starts by itself, so that a crash of ours between the two never looks like a
person's wish. Between our look and the request lie milliseconds that no engine lets us fence; the request
names the container's id, so that at least another container of that name is never hit.
"""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from veilig.core.errors import ProviderError, VeiligError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal import containers_seen as reading
from veilig.providers.heal.containers_api import Engine, Forbidden, Missing, default_socket
from veilig.providers.heal.containers_copy import GROUP, MADE_BY, copy_of, differs, part, why_not
from veilig.providers.heal.substrate import Done, Seen

STOP_S = 2  # after TERM, then KILL
START_S = 10.0  # until the engine tells a new incarnation
SHRINK_S = 5  # a replica that goes may finish what it is at; others wait for it meanwhile
SETTLE_S = 0.5  # a replica that cannot run has mostly said so by then
POLL_S = 0.1
NOBODY = "veilig-has-no-such-container"
_CARRIES_LOAD = frozenset({"running", "paused", "restarting", "stopping"})


class ContainerSubstrate:
    """Containers of one or several engines, named by their sockets.

    services: whose groups may be scaled. maker: what the replicas of ours carry as label veilig.made_by.
    """

    name = "container"

    def __init__(self, services: Iterable[Service], maker: str, environment: Mapping[str, str]) -> None:
        self._services = [service for service in services if service.provider == self.name]
        self._maker = maker
        self._environment = environment
        self._engines: dict[str, Engine] = {}
        self._wishes: dict[tuple[str, str], str] = {}
        self._stopping: set[str] = set()  # incarnations that somebody else's stop was seen to end
        self._acting: set[str] = set()
        self._scaling = asyncio.Lock()

    async def capability(self, service: Service) -> tuple[Capability, str]:
        """Does the engine take a change from us? Tried with a container that is not there."""
        try:
            engine, name = self._place(service)
            container = await engine.inspect(name)
        except ProviderError as error:
            return Capability.UNKNOWN, _line(error)
        try:
            await engine.call("POST", f"/containers/{NOBODY}/restart?t=0")
        except Missing:
            pass  # it would have, had there been one
        except Forbidden as error:
            return Capability.READONLY, _line(error)
        except ProviderError as error:
            return Capability.UNKNOWN, _line(error)
        policy = part(part(container, "HostConfig"), "RestartPolicy").get("Name") or "no"
        notes = [reading.memory_unbounded(container)]
        if policy != "no":
            notes.append(f"its engine restarts it too (restart policy {policy}); counted when seen")
        return Capability.READ_WRITE, "; ".join(note for note in notes if note)

    async def look(self, services: Sequence[Service]) -> list[Seen]:
        """One question per container, and one per group."""
        groups: dict[str, tuple[int, int]] = {}
        return [await self._look(service, groups) for service in services]

    async def restart(self, service: Service, incarnation: str) -> Done:
        """By the engine's own restart; a paused one is woken first, since engines restart no paused one."""
        engine, container, seen = await self._fenced(service, incarnation)
        if seen.held_by:
            raise ProviderError(
                f"{service.name} was stopped by a person", why=f"{seen.held_by}; nothing was done"
            )
        if seen.run is Run.STARTING:
            raise ProviderError(f"{service.name} is being started", why=seen.text)
        identity = str(container["Id"])
        path = f"/containers/{quote(identity)}"
        self._acting.add(identity)
        try:
            if reading.status(container) == "paused":
                await engine.call("POST", f"{path}/unpause")
            await engine.call("POST", f"{path}/restart?t={STOP_S}" if incarnation else f"{path}/start")
            return await self._up(service, engine, container, incarnation)
        finally:
            self._acting.discard(identity)

    async def stop(self, service: Service, incarnation: str) -> Done:
        """By the engine's own stop: it stays down until somebody starts it."""
        engine, container, _ = await self._fenced(service, incarnation)
        path = f"/containers/{quote(str(container['Id']))}"
        if reading.status(container) == "paused":
            await engine.call("POST", f"{path}/unpause")
        await engine.call("POST", f"{path}/stop?t={STOP_S}")
        return Done(True, f"{service.name} is stopped")

    async def scale(self, group: str, current: int, replicas: int) -> Done:
        """Copies of one that runs, each with a new name; fewer only by those that we made."""
        async with self._scaling:
            engine = self._engine_of(group)
            members = await self._running(engine, group)
            if not members:
                raise ProviderError(
                    f"{group} cannot be scaled", why=f"no container that runs has the label {GROUP}={group}"
                )
            if len(members) != current:
                raise ProviderError(
                    f"{group} has another size by now", why=f"{len(members)} run, the act meant {current}"
                )
            if replicas > current:
                return await self._grow(engine, group, members, replicas)
            return await self._shrink(engine, group, members, replicas)

    async def close(self) -> None:
        """Nothing is held between two questions."""

    # --- looking ----------------------------------------------------------------------------------

    def _place(self, service: Service) -> tuple[Engine, str]:
        """(engine, container) of a unit written SOCKET#NAME, NAME or nothing (then the service's name)."""
        socket, mark, name = service.unit.rpartition("#")
        socket = socket if mark else default_socket(self._environment)
        return self._engines.setdefault(socket, Engine(socket)), name or service.name

    async def _look(self, service: Service, groups: dict[str, tuple[int, int]]) -> Seen:
        try:
            engine, name = self._place(service)
            container = await engine.inspect(name)
            seen = reading.seen(service, container, await self._wish(engine, container))
            group = part(part(container, "Config"), "Labels").get(GROUP, "")
            if not group or group not in (service.group, service.name):
                return seen
            key = f"{engine.socket}#{group}"
            if key not in groups:
                members = await self._running(engine, group)
                groups[key] = len(members), len(self._own(members))
        except VeiligError as error:
            return Seen(service.name, Run.UNKNOWN, _line(error))
        count, own = groups[key]
        return replace(seen, replicas=count, replicas_own=own)

    async def _wish(self, engine: Engine, container: Mapping[str, Any]) -> str:
        """Why it is down, asked once per end: events are forgotten."""
        identity = str(container["Id"])
        if reading.status(container) == "stopping" and identity not in self._acting:
            self._stopping.add(reading.life(container))
            return "its engine is stopping it"
        if not reading.ended(container):
            return reading.wish(container, ())
        if reading.life(container) in self._stopping:
            return "its engine was seen stopping it"  # podman does not record every stop
        state = part(container, "State")
        key = identity, str(state.get("FinishedAt"))
        if key in self._wishes:
            return self._wishes[key]
        events = await engine.events(key[0], reading.wall_s(state.get("StartedAt")))
        found = reading.wish(container, events)
        if found:
            self._wishes = {one: why for one, why in self._wishes.items() if one[0] != key[0]}
            self._wishes[key] = found
        return found

    async def _fenced(self, service: Service, incarnation: str) -> tuple[Engine, dict[str, Any], Seen]:
        engine, name = self._place(service)
        container = await engine.inspect(name)
        seen = reading.seen(service, container, await self._wish(engine, container))
        if seen.run is Run.UNKNOWN:
            raise ProviderError(f"{service.name} cannot be seen", why=seen.why)
        if seen.incarnation != incarnation:
            raise ProviderError(
                f"{service.name} is another one by now",
                why=f"{seen.incarnation or 'nothing'} runs, the act meant {incarnation or 'nothing'}",
            )
        return engine, container, seen

    async def _up(self, service: Service, engine: Engine, old: Mapping[str, Any], before: str) -> Done:
        seen, started = Seen(service.name, Run.UNKNOWN), ""
        for _ in range(round(START_S / POLL_S)):
            container = await engine.inspect(str(old["Id"]))
            seen = reading.seen(service, container, "")
            if started and seen.incarnation == started:
                return Done(True, f"{service.name} was started", seen.incarnation)
            if seen.incarnation not in ("", before):
                started = seen.incarnation  # one that ends at once runs for a moment, too
                await asyncio.sleep(SETTLE_S)
                continue
            if reading.ended(container) and part(container, "State").get("StartedAt") != part(
                old, "State"
            ).get("StartedAt"):
                break  # it was started, and has ended again
            await asyncio.sleep(POLL_S)
        return Done(False, f"{service.name} did not come up: {seen.text or seen.exit or seen.run}")

    # --- scaling ----------------------------------------------------------------------------------

    def _engine_of(self, group: str) -> Engine:
        engines = {self._place(s)[0] for s in self._services if group in (s.group, s.name)}
        if len(engines) != 1:
            raise ProviderError(
                f"{group} cannot be scaled", why=f"its containers are with {len(engines)} engines, not one"
            )
        return engines.pop()

    async def _running(self, engine: Engine, group: str) -> list[dict[str, Any]]:
        """The replicas that there are, the oldest first."""
        found = await engine.labelled(GROUP, group)
        alive = [one for one in found if str(one.get("State", "")).lower() in _CARRIES_LOAD]
        return sorted(alive, key=lambda one: (float(one.get("Created") or 0), str(one["Id"])))

    def _own(self, members: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [one for one in members if part(one, "Labels").get(MADE_BY) == self._maker]

    async def _template(
        self, engine: Engine, group: str, members: Iterable[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The oldest that is labelled ours to manage, and of which there can be two."""
        why = "none of them has the label veilig.managed"
        for one in members:
            if str(one.get("State", "")).lower() != "running" or not reading.is_managed(one.get("Labels")):
                continue
            container = await engine.inspect(str(one["Id"]))
            why = why_not(container)
            if not why:
                return container
        raise ProviderError(f"{group} cannot be scaled", why=why)

    async def _grow(self, engine: Engine, group: str, members: list[dict[str, Any]], replicas: int) -> Done:
        template = await self._template(engine, group, members)
        made: list[str] = []
        while len(members) < replicas:
            name = f"{group}-{secrets.token_hex(4)}"
            try:
                await self._add(engine, template, name)
            except ProviderError as error:
                return Done(
                    False, f"{len(made)} replicas of {group} made ({', '.join(made)}); {_line(error)}"
                )
            made.append(name)
            members = await self._running(engine, group)
            if len(members) > replicas:  # somebody else scales as well
                await self._remove(engine, name)
                return Done(False, f"{group} is scaled by somebody else too: {name} was removed again")
        return Done(True, f"{group} has {len(members)} replicas, new: {', '.join(made) or 'none'}")

    async def _add(self, engine: Engine, template: Mapping[str, Any], name: str) -> None:
        """One more, or nothing at all. Raises ProviderError."""
        answer = await engine.call(
            "POST", f"/containers/create?name={quote(name)}", copy_of(template, self._maker)
        )
        identity = str(answer["Id"])
        try:
            unlike = differs(template, await engine.inspect(identity))
            if unlike:
                raise ProviderError(f"{name} is not what it was copied from", why=f"its {unlike} differs")
            await engine.call("POST", f"/containers/{identity}/start")
            await self._settled(engine, identity, name)
        except ProviderError:
            await self._remove(engine, identity)
            raise

    async def _settled(self, engine: Engine, identity: str, name: str) -> None:
        """Runs, and still does a moment later. Raises ProviderError with how it ended."""
        there, container = False, dict[str, Any]()
        for _ in range(round(START_S / POLL_S)):
            container = await engine.inspect(identity)
            if reading.ended(container):
                break
            if reading.incarnation(container):
                if there:
                    return
                there = True
                await asyncio.sleep(SETTLE_S)
            else:
                await asyncio.sleep(POLL_S)
        state = part(container, "State")
        why = str(state.get("Error") or f"{reading.status(container)}, exit {state.get('ExitCode')}")
        raise ProviderError(f"{name} ended at once", why=why)

    async def _shrink(self, engine: Engine, group: str, members: list[dict[str, Any]], replicas: int) -> Done:
        own = self._own(members)
        too_many = len(members) - replicas
        if too_many > len(own):
            raise ProviderError(
                f"{group} cannot be scaled to {replicas}",
                why=f"only {len(own)} of its replicas were made by us",
            )
        gone = [str(one["Id"]) for one in reversed(own)][:too_many]
        for identity in gone:
            await engine.call("POST", f"/containers/{identity}/stop?t={SHRINK_S}")
            await self._remove(engine, identity)
        return Done(True, f"{group} has {replicas} replicas, {len(gone)} of ours were removed")

    async def _remove(self, engine: Engine, name: str) -> None:
        try:
            await engine.call("DELETE", f"/containers/{quote(name)}?force=true&v=true")
        except Missing:
            return


def _line(error: VeiligError) -> str:
    return f"{error.what}: {error.why}" if error.why else error.what
