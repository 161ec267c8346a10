"""How is a PostgreSQL server seen, and changed where people approve it? Two roles, two connections.

`unit` of a service is the connection string of a role that only looks (SELECT and pg_monitor), `writer` that
of another one that may act; without it, or in a broker that only reads, nothing can be changed from here.
"""

import asyncio
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Gauge, Run
from veilig.providers.heal import postgres_acts as acts
from veilig.providers.heal import postgres_rights as rights
from veilig.providers.heal import postgres_sql as ask
from veilig.providers.heal.operator_command import run_once
from veilig.providers.heal.postgres_link import Denied, Link, Unreached
from veilig.providers.heal.substrate import Done, Seen

LOOK_S = 0.8  # a server that is slow must not hide the others: its last word is told meanwhile
ANEW_S = 5.0  # after an act
STALE_S = 10.0  # after that its last word is no news any more
TABLES_S = 30.0
RIGHTS_S = 120.0  # rights seldom change, and trying them takes a question per table
START_S = 40.0
POLL_S = 0.2
MAINTENANCE = frozenset({"vacuum", "analyze", "reindex"})
_CLEAN = {1: "shut down", 2: "shut down in recovery", 3: "shutting down"}  # DBState of pg_control


@dataclass(slots=True)
class _Kept:
    """What is held of one server between two looks."""

    watcher: Link
    writer: Link | None
    seen: Seen | None = None
    seen_at_s: float = -1e9
    looking: asyncio.Task[Seen] | None = None
    tables: tuple[Gauge, ...] = ()
    tables_at_s: float = -1e9
    rights: tuple[Capability, str] | None = None
    rights_at_s: float = -1e9
    trying: asyncio.Task[tuple[Capability, str]] | None = None
    work: asyncio.Task[Done] | None = None
    acting: asyncio.Lock = field(default_factory=asyncio.Lock)


class PostgresSubstrate:
    """Servers of PostgreSQL. readonly: no writer's connection string is even kept."""

    name = "postgres"

    def __init__(
        self,
        services: Sequence[Service],
        clock: Clock,
        environment: Mapping[str, str],
        *,
        readonly: bool = False,
    ) -> None:
        self._clock, self._environment = clock, environment
        self._kept = {
            s.name: _Kept(
                Link(s.unit, "veilig watch"),
                Link(s.writer, "veilig act") if s.writer and not readonly else None,
            )
            for s in services
            if s.provider == self.name
        }

    @property
    def writers(self) -> tuple[str, ...]:
        """Services that a connection of the acting role is kept for."""
        return tuple(name for name, kept in self._kept.items() if kept.writer is not None)

    # --- looking ------------------------------------------------------------------------------------

    async def look(self, services: Sequence[Service]) -> list[Seen]:
        """Each server within LOOK_S; one that is slower is told as it was."""
        return list(await asyncio.gather(*(self._look(service) for service in services)))

    async def _look(self, service: Service) -> Seen:
        kept = self._kept.get(service.name)
        if kept is None:
            return Seen(service.name, Run.UNKNOWN, "this broker was not told of it")
        await self._looked(service, kept, LOOK_S)
        now_s = time.monotonic()
        if kept.seen is None or now_s - kept.seen_at_s > STALE_S:
            for_s = now_s - max(kept.seen_at_s, 0.0)
            why = f"it has not answered for {for_s:.0f} s" if kept.seen else "it does not answer"
            return Seen(service.name, Run.UNKNOWN, why, managed=True)
        return kept.seen

    async def _looked(self, service: Service, kept: _Kept, limit_s: float) -> None:
        """One question at a time, whoever waits for its answer: looks and acts do so side by side."""
        task = kept.looking
        if task is None:
            task = kept.looking = asyncio.create_task(self._ask(service, kept))
        await asyncio.wait({task}, timeout=limit_s)
        if task.done() and kept.looking is task:
            kept.seen, kept.seen_at_s, kept.looking = task.result(), time.monotonic(), None

    async def _ask(self, service: Service, kept: _Kept) -> Seen:
        """Never raises what is expected of a server: that is part of the picture."""
        try:
            try:
                return await self._state(service, kept)
            except Unreached as error:
                if error.run is not Run.UNKNOWN:
                    raise
                return await self._state(service, kept)  # a connection that broke says nothing: once more
        except Unreached as error:
            return self._unreached(service, error)
        except ProviderError as error:
            return Seen(service.name, Run.UNKNOWN, f"{error.what}: {error.why}", managed=True)

    async def _state(self, service: Service, kept: _Kept) -> Seen:
        state = ask.state((await kept.watcher.rows(ask.STATE))[0])
        backends = ask.backends(await kept.watcher.rows(ask.BACKENDS, (ask.BACKENDS_MAX,)))
        if time.monotonic() - kept.tables_at_s > TABLES_S:
            few = (ask.DEAD_ROWS, ask.DEAD_ROWS)
            kept.tables = ask.tables(
                await kept.watcher.rows(ask.TABLES, few),
                await kept.watcher.rows(ask.OLDEST),
                await kept.watcher.rows(ask.INVALID),
            )
            kept.tables_at_s = time.monotonic()
        return Seen(
            service.name,
            Run.RUNNING,
            incarnation=str(state.started_us),
            started_s=self._clock.boottime_s() - state.up_s,
            managed=True,
            gauges=(*state.gauges, *kept.tables),
            backends=backends,
        )

    def _unreached(self, service: Service, error: Unreached) -> Seen:
        said = f"{error.what}: {error.why}" if error.why else error.what
        if error.full:
            full = Gauge("connections", 1.0, 1.0, "of all that may be had")
            return Seen(service.name, Run.RUNNING, said, managed=True, gauges=(full,))
        if error.run is Run.DOWN and (ended := _ended(service)):
            return Seen(service.name, Run.STOPPED, said, held_by=f"PostgreSQL was {ended}", managed=True)
        return Seen(service.name, error.run, said, managed=True, text=said)

    # --- what may be done -----------------------------------------------------------------------------

    async def capability(self, service: Service) -> tuple[Capability, str]:
        """Both roles tried. What was found is told at once while it is tried again, after RIGHTS_S."""
        kept = self._kept.get(service.name)
        if kept is None:
            return Capability.UNKNOWN, "this broker was not told of it"
        task = kept.trying
        if task is None and time.monotonic() - kept.rights_at_s > RIGHTS_S:
            task = kept.trying = asyncio.create_task(self._try(service, kept))
        if task is not None and (kept.rights is None or task.done()):
            found = await task
            if kept.trying is task:
                kept.trying = None
            return found
        return kept.rights or (Capability.UNKNOWN, "it was not tried yet")

    async def _try(self, service: Service, kept: _Kept) -> tuple[Capability, str]:
        """What was found; only an answer of the server is remembered."""
        try:
            kept.rights = await self._tried(service, kept)
        except Unreached as error:
            if error.full and kept.rights is not None:
                return kept.rights  # nobody's rights change because a server is full
            kept.rights = None
            return self._without_answer(service, error)
        except ProviderError as error:
            kept.rights = None
            return Capability.UNKNOWN, f"{error.what}: {error.why}"
        kept.rights_at_s = time.monotonic()
        return kept.rights

    def _without_answer(self, service: Service, error: Unreached) -> tuple[Capability, str]:
        if error.run is Run.DOWN and service.cmd and self._kept[service.name].writer is not None:
            return Capability.READ_WRITE, "it is down: nothing but its own command can be tried"
        return Capability.UNKNOWN, f"{error.what}: {error.why}"

    async def _tried(self, service: Service, kept: _Kept) -> tuple[Capability, str]:
        probe = Link(service.unit, "veilig rights")  # of its own: what is cancelled below must be idle
        try:
            watcher = await rights.of_watcher(probe)
            if watcher.writes:
                may = ", ".join(watcher.writes[:3])
                return Capability.NOT_ENFORCED, f"{watcher.role}, which should only look, may change {may}"
            notes = (
                [] if watcher.sees else [f"{watcher.role} sees no sessions of others: grant it pg_monitor"]
            )
            if watcher.untried:
                notes.append(f"{watcher.untried} tables could not be tried")
            if kept.writer is None:
                return Capability.READONLY, "; ".join(["no role that may act", *notes])
            ((pid,),) = await probe.rows("SELECT pg_backend_pid()")
            writer = await rights.of_writer(kept.writer, int(pid))
        finally:
            await probe.close()
        if writer.role == watcher.role:
            return Capability.READONLY, f"{writer.role} looks and acts: two roles are needed"
        if not writer.signals or not writer.sees:
            notes.append(
                f"{writer.role} cannot end sessions: grant it pg_signal_backend and pg_read_all_stats"
            )
        if not service.cmd:
            notes.append("it has no cmd: it cannot be restarted from here")
        return Capability.READ_WRITE, "; ".join(notes)

    # --- acting ---------------------------------------------------------------------------------------

    async def change(self, service: Service, verb: str, argument: str) -> Done:
        """One typed change by the writer's role. Raises ProviderError when nothing was done."""
        kept = self._kept.get(service.name)
        if kept is None or kept.writer is None:
            raise ProviderError(
                f"nothing here may change {service.name}",
                why="the broker only reads, or the services file names no writer",
            )
        async with kept.acting:
            try:
                if verb == "terminate_backend":
                    return await acts.terminate(kept.watcher, kept.writer, argument)
                if verb in MAINTENANCE:
                    return await self._maintain(service, kept, verb, argument)
            except Denied as error:
                raise ProviderError(f"{verb} {argument} was refused", why=error.why) from error
            finally:
                await self._look_anew(service, kept)
            if verb == "restart":
                return await self._restart(service, kept, argument)
        raise ProviderError(f"{verb} is nothing that is done to PostgreSQL here", why="nothing was done")

    async def _look_anew(self, service: Service, kept: _Kept) -> None:
        """What was seen before the act is no picture of it."""
        kept.tables_at_s = -1e9
        if kept.looking is not None:
            await self._looked(service, kept, ANEW_S)
        await self._looked(service, kept, ANEW_S)

    async def _maintain(self, service: Service, kept: _Kept, verb: str, argument: str) -> Done:
        """On a connection of its own, so that a session can be ended meanwhile; one at a time."""
        if kept.work is not None and not kept.work.done():
            raise ProviderError(
                f"{service.name} is still being maintained", why="one table or index at a time"
            )
        kept.work = asyncio.create_task(self._work(service, kept.watcher, verb, argument))
        done, _ = await asyncio.wait({kept.work}, timeout=acts.ANSWER_S)
        if not done:  # ending it midway wins nothing: it goes on under its own bound
            kept.work.add_done_callback(_heard)
            return Done(True, f"{verb} of {argument} goes on, {acts.MAINTENANCE_S} s at most")
        return kept.work.result()

    async def _work(self, service: Service, watcher: Link, verb: str, argument: str) -> Done:
        writer = Link(service.writer, "veilig act")
        try:
            return await acts.maintain(watcher, writer, verb, argument)
        finally:
            await writer.close()

    async def restart(self, service: Service, incarnation: str) -> Done:
        """By the operator's own command, as a change of a database."""
        return await self.change(service, "restart", incarnation)

    async def _restart(self, service: Service, kept: _Kept, incarnation: str) -> Done:
        if not service.cmd:
            raise ProviderError(
                f"{service.name} cannot be restarted from here",
                why="the services file names no command for it",
                fix="cmd: [pg_ctl, restart, -D, FOLDER] or what your system has",
            )
        before = await self._ask(service, kept)
        if before.run is Run.STOPPED or before.run is Run.UNKNOWN:
            raise ProviderError(f"{service.name} is {before.run}", why=before.held_by or before.why)
        if before.incarnation != incarnation:
            now = before.incarnation or "nothing"
            raise ProviderError(
                f"{service.name} is another one by now",
                why=f"{now} runs, the act meant {incarnation or 'nothing'}",
            )
        said = await run_once(service, self._environment, START_S)
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            now = await self._ask(service, kept)
            if now.run is Run.RUNNING and now.incarnation not in ("", incarnation):
                return Done(True, f"{service.name} was restarted", now.incarnation)
            await asyncio.sleep(POLL_S)
        return Done(
            False, f"{service.name} did not come back within {START_S:.0f} s: {said or 'nothing was said'}"
        )

    async def preview(self, service: Service, verb: str, argument: str) -> str:
        """What the change would touch, as the watcher's role sees it now."""
        kept = self._kept.get(service.name)
        if kept is None:
            return ""
        try:
            return await acts.told(kept.watcher, verb, argument)
        except ProviderError as error:
            return f"cannot be shown: {error.what}"

    async def stop(self, service: Service, incarnation: str) -> Done:
        """Never: whoever wants a database down does it."""
        del incarnation
        raise ProviderError(f"{service.name} is never stopped from here", why="nothing was done")

    async def scale(self, group: str, current: int, replicas: int) -> Done:
        """Never."""
        del current, replicas
        raise ProviderError(f"{group} cannot be scaled", why="a database server is one")

    async def close(self) -> None:
        """Hang up; servers go on."""
        for kept in self._kept.values():
            for task in (kept.looking, kept.trying, kept.work):
                if task is not None:
                    task.cancel()
                    await asyncio.wait({task})
            await kept.watcher.close()
            if kept.writer is not None:
                await kept.writer.close()


def _heard(work: "asyncio.Task[Done]") -> None:
    """Its end is seen in the statistics; an error of it is nobody's news any more."""
    if not work.cancelled():
        work.exception()


def _ended(service: Service) -> str:
    """Was it shut down in an orderly way, as its control file says? Crashes leave "in production" there.

    Source: src/include/catalog/pg_control.h, ControlFileData: two uint64 and uint32, then DBState.
    """
    for folder in service.data:
        try:
            data = (Path(folder) / "global" / "pg_control").read_bytes()[:20]
            return _CLEAN.get(struct.unpack_from("=i", data, 16)[0], "")
        except (OSError, struct.error):
            continue
    return ""
