"""How are supervisord's programs seen, stopped and started? XML-RPC over its Unix socket.

Whoever holds the socket may do everything to everything of it, so only the broker does. A program that a
person stopped is STOPPED; ours are ended by a signal instead of a stop, so that a crash of ours between the
end and the start never looks like a person's wish.
"""

import asyncio
import xmlrpc.client
from collections.abc import Sequence
from typing import Any, cast

from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal import processes_table as kernel
from veilig.providers.heal.substrate import Done, Seen
from veilig.providers.heal.unix_http import ask

SOCKET = "/var/run/supervisor.sock"
STOP_S = 2.0  # after TERM; a program that needs longer says so with stopwaitsecs
KILL_S = 3.0
START_S = 15.0  # until supervisord calls it RUNNING: startsecs, and a loaded machine
POLL_S = 0.05
ALREADY_STARTED, NOT_RUNNING, BAD_NAME = 60, 70, 10
_RUN = {
    "STOPPED": Run.STOPPED,
    "STARTING": Run.STARTING,
    "RUNNING": Run.RUNNING,
    "BACKOFF": Run.DOWN,
    "STOPPING": Run.RUNNING,
    "EXITED": Run.DOWN,
    "FATAL": Run.DOWN,
    "UNKNOWN": Run.UNKNOWN,
}


class Fault(ProviderError):
    """supervisord said no; `code` is its fault code."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(what, why=f"supervisord answers with fault {code}")
        self.code = code


def place(service: Service) -> tuple[str, str]:
    """(socket, program) of a unit written SOCKET#PROGRAM, PROGRAM or nothing (then the service's name)."""
    socket, mark, program = service.unit.rpartition("#")
    return (socket if mark else SOCKET), program or service.name


class SupervisordSubstrate:
    """Programs of one or several supervisords, named by their sockets."""

    name = "supervisord"

    async def capability(self, service: Service) -> tuple[Capability, str]:
        """Does the daemon answer us? It knows no rights per method: who may ask may do all."""
        socket, program = place(service)
        try:
            state = cast(dict[str, Any], await _call(socket, "supervisor.getState"))
            info = await _info(socket, program)
        except ProviderError as error:
            return Capability.UNKNOWN, str(error)
        if info is None:
            return Capability.UNKNOWN, f"supervisord knows no program {program!r}"
        if state.get("statename") != "RUNNING":
            return Capability.READONLY, f"supervisord is {state.get('statename')}"
        return Capability.READ_WRITE, "its own restarts are counted when seen; set autorestart=false"

    async def look(self, services: Sequence[Service]) -> list[Seen]:
        """One question per socket."""
        known: dict[str, dict[str, dict[str, Any]] | str] = {}
        for socket in {place(service)[0] for service in services}:
            try:
                known[socket] = await _all(socket)
            except ProviderError as error:
                known[socket] = str(error).replace("\n", " ")
        return [_seen(service, known) for service in services]

    async def restart(self, service: Service, incarnation: str) -> Done:
        """End what runs by signals, then start it."""
        socket, program = place(service)
        await self._end(service, incarnation)
        info = await _info(socket, program)
        if info is not None and info["statename"] == "STOPPED" and not incarnation:
            raise ProviderError(f"{service.name} was stopped by a person", why="nothing was done")
        try:
            await _call(socket, "supervisor.startProcess", program, False)
        except Fault as fault:
            if fault.code != ALREADY_STARTED:
                raise
        return await self._up(service, incarnation)

    async def stop(self, service: Service, incarnation: str) -> Done:
        """By supervisord's own stop: it stays down until somebody starts it."""
        await self._fence(service, incarnation)
        socket, program = place(service)
        await _call(socket, "supervisor.stopProcess", program, True)
        return Done(True, f"{service.name} is stopped")

    async def scale(self, group: str, current: int, replicas: int) -> Done:
        """Never: numprocs is fixed in its configuration."""
        del current, replicas
        raise ProviderError(
            f"{group} cannot be scaled", why="supervisord's numprocs is fixed", fix="use containers"
        )

    async def close(self) -> None:
        """Nothing is held between two questions."""

    async def _fence(self, service: Service, incarnation: str) -> None:
        (seen,) = await self.look([service])
        if seen.run is Run.UNKNOWN:
            raise ProviderError(f"{service.name} cannot be seen", why=seen.why)
        if seen.incarnation != incarnation:
            now = seen.incarnation or "nothing"
            raise ProviderError(
                f"{service.name} is another one by now",
                why=f"{now} runs, the act meant {incarnation or 'nothing'}",
            )

    async def _end(self, service: Service, incarnation: str) -> None:
        await self._fence(service, incarnation)
        if not incarnation:
            return
        socket, program = place(service)
        for number, patience_s in (("CONT", 0.0), ("TERM", STOP_S), ("KILL", KILL_S)):
            try:
                await _call(socket, "supervisor.signalProcess", program, number)
            except Fault as fault:
                if fault.code == NOT_RUNNING:
                    return
                raise
            for _ in range(round(patience_s / POLL_S)):
                (seen,) = await self.look([service])
                if seen.incarnation != incarnation:
                    return
                await asyncio.sleep(POLL_S)
        raise ProviderError(f"{service.name} does not end", why=f"TERM and KILL, {STOP_S + KILL_S:g} s")

    async def _up(self, service: Service, before: str) -> Done:
        """Wait for a new incarnation; supervisord's own RUNNING comes after startsecs."""
        seen = Seen(service.name, Run.UNKNOWN)
        for _ in range(round(START_S / POLL_S)):
            (seen,) = await self.look([service])
            if seen.incarnation not in ("", before):
                return Done(True, f"{service.name} was started", seen.incarnation)
            if seen.run is Run.DOWN and seen.exit:
                break
            await asyncio.sleep(POLL_S)
        return Done(False, f"{service.name} did not come up: {seen.text or seen.exit or seen.run}")


def _seen(service: Service, known: dict[str, dict[str, dict[str, Any]] | str]) -> Seen:
    socket, program = place(service)
    programs = known[socket]
    if isinstance(programs, str):
        return Seen(service.name, Run.UNKNOWN, programs)
    info = programs.get(program)
    if info is None:
        return Seen(service.name, Run.UNKNOWN, f"supervisord knows no program {program!r}")
    run = _RUN.get(str(info["statename"]), Run.UNKNOWN)
    pid = int(info["pid"])
    proc = kernel.read(pid, argv=False) if pid else None
    if proc is not None and proc.alive and run in (Run.RUNNING, Run.STARTING):
        return Seen(
            service.name,
            Run.FROZEN if proc.frozen else Run.RUNNING,  # startsecs is no health: the probe says it
            incarnation=proc.incarnation,
            started_s=proc.started_s,
            pids=(pid,),
            managed=True,
        )
    if run in (Run.RUNNING, Run.STARTING):
        run = Run.DOWN  # its last word, and the process is gone
    text = str(info.get("spawnerr") or info.get("description") or "")
    status = int(info.get("exitstatus") or 0)
    ended = "a signal" if status < 0 else f"exit {status}"  # it says -1 for each of them
    held = "supervisord says STOPPED" if run is Run.STOPPED else ""
    return Seen(
        service.name, run, exit=ended if info.get("stop") else "", held_by=held, managed=True, text=text
    )


async def _all(socket: str) -> dict[str, dict[str, Any]]:
    """Every program by `name` and by `group:name`."""
    found: dict[str, dict[str, Any]] = {}
    for info in cast(list[dict[str, Any]], await _call(socket, "supervisor.getAllProcessInfo")):
        found[f"{info['group']}:{info['name']}"] = info
        if info["group"] == info["name"]:
            found[str(info["name"])] = info
    return found


async def _info(socket: str, program: str) -> dict[str, Any] | None:
    return (await _all(socket)).get(program)


async def _call(socket: str, method: str, *arguments: Any) -> Any:
    """One XML-RPC call. Raises Fault for supervisord's no, ProviderError when it does not answer."""
    body = xmlrpc.client.dumps(arguments, method).encode()
    answer = await ask(socket, "POST", "/RPC2", body, "text/xml")
    if answer.status != 200:
        raise ProviderError(f"supervisord at {socket} answers {answer.status}", why=answer.text[:200])
    try:
        values, _ = xmlrpc.client.loads(answer.body)
    except xmlrpc.client.Fault as fault:
        raise Fault(f"{method}: {fault.faultString}", int(fault.faultCode)) from fault
    except Exception as error:  # the parser of the standard library raises many kinds
        raise ProviderError(f"supervisord at {socket} speaks no XML-RPC", why=str(error)) from error
    return values[0] if values else None
