"""How does the healer ask the broker? It starts one, gives it a key of this run, and speaks a line at a time.

The broker has a session of its own, so that a key press at the healer's terminal does not end it amid an act;
it ends when the healer's end of the socket does.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import Any

import veilig
from veilig.core.action import Action
from veilig.core.action_json import JSON, digest, to_json
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.provider import Found, Permit
from veilig.providers.heal import broker_wire as wire
from veilig.providers.heal.broker_run import Charge, clean_environment
from veilig.providers.heal.places import Places
from veilig.providers.heal.substrate import Seen

START_S = 20.0  # a loaded machine starts an interpreter in two
ANSWER_S = 60.0  # the longest act: a polite stop, a kill, a free port, a start
AGAIN_S = 0.5  # a broker that ends at once is not started in a circle
# Run by its path: importing the package around it would take three times as long.
_PROGRAM = Path(veilig.__file__).parent / "app" / "broker.py"


class Lost(ProviderError):
    """The broker ended before it answered: what it did is not known here, its journal knows."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look of the broker. foreign: starts by others in the last hour. starts, own: their boot times."""

    seen: tuple[Seen, ...] = ()
    foreign: Mapping[str, int] = field(default_factory=dict[str, int])
    starts: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    own: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    in_flight: frozenset[str] = frozenset()
    holds: tuple[str, ...] = ()


class BrokerClient:
    """One broker at a time, started when needed."""

    def __init__(
        self, charge: Charge, clock: Clock, environment: Mapping[str, str], standing: Path | None = None
    ) -> None:
        """standing: the socket of a broker that runs already, as any user; the charge has its key."""
        self._charge, self._clock, self._environment = charge, clock, environment
        self._standing = standing
        self._process: Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._key = b""
        self._count = 0
        self._started_s = -1e9
        self._starting: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the broker that runs now; 0 for none."""
        return self._process.pid if self._process is not None else 0

    async def look(self) -> Look:
        """Everything the broker sees. Raises ProviderError when there is none."""
        reply = await self._ask({"op": "look"}, ANSWER_S)
        try:
            return Look(
                tuple(wire.seen_from_json(one) for one in reply["seen"]),
                dict(reply["foreign"]),
                {name: tuple(times) for name, times in reply["starts"].items()},
                {name: tuple(times) for name, times in reply["own"].items()},
                frozenset(reply["in_flight"]),
                tuple(text for text in (reply["stop"], reply["lease"], reply["journal"]) if text),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ProviderError("the broker's look cannot be read", why=repr(error)) from error

    async def capabilities(self) -> dict[str, tuple[Capability, str]]:
        """By service: what it was found to hold, and what is not enforced."""
        reply = await self._ask({"op": "capabilities"}, ANSWER_S)
        return {name: wire.capability_from_json(one) for name, one in dict(reply["capabilities"]).items()}

    async def act(self, action: Action, permit: Permit, *, ailing: bool) -> dict[str, Any]:
        """Its answer: ok, detail, incarnation. Raises Lost when it ended meanwhile, else ProviderError."""
        await self._ready()
        message: dict[str, JSON] = {
            "op": "act",
            "action": to_json(action),
            "ref": permit.ref,
            "digest": digest(action),
            "policy": permit.policy,
            "approval": permit.approval,
            "deadline_s": permit.deadline_s,
            "boot": self._clock.boot_id(),
            "ailing": ailing,
        }
        return await self._ask(wire.sign(message, self._key), ANSWER_S)

    async def show(self, action: Action) -> str:
        """What the act would touch, for people. Raises ProviderError."""
        reply = await self._ask({"op": "show", "action": to_json(action)}, ANSWER_S)
        return str(reply["shown"])

    async def inspect(self, action: Action) -> Found:
        """After a crash of the healer: did this act happen?"""
        reply = await self._ask({"op": "inspect", "digest": digest(action)}, ANSWER_S)
        return Found(reply["found"])

    async def close(self) -> None:
        """The broker finishes what it has begun, and ends."""
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
            self._starting = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        process, self._process = self._process, None
        if process is not None:
            try:
                await asyncio.to_thread(process.wait, ANSWER_S)
            except TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
        if self._reading is not None:
            await self._reading
            self._reading = None

    # --- the socket ---------------------------------------------------------------------------------

    async def _ask(self, message: dict[str, JSON], limit_s: float) -> dict[str, Any]:
        await self._ready()
        writer = self._writer
        if writer is None:
            raise Lost("the broker has ended", why="its socket is closed", fix="it is started again")
        self._count += 1
        number = self._count
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            writer.write(wire.line({**message, "id": number}))
            await writer.drain()
            async with asyncio.timeout(limit_s):
                reply = await future
        except TimeoutError as error:
            raise Lost(
                f"the broker did not answer within {limit_s:.0f} s", why="its journal knows"
            ) from error
        except OSError as error:
            raise Lost("the broker has ended", why=str(error), fix="it is started again") from error
        finally:
            self._waiting.pop(number, None)
        if reply.get("refused"):
            raise ProviderError(str(reply["what"]), why=str(reply["why"]), fix=str(reply["fix"]))
        return reply

    async def _ready(self) -> None:
        """One start for all who wait; who gives up waiting does not end it."""
        if self._writer is not None:
            return
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._begin())
        await asyncio.shield(self._starting)

    async def _begin(self) -> None:
        await asyncio.sleep(max(0.0, self._started_s + AGAIN_S - time.monotonic()))
        self._started_s = time.monotonic()
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        if self._standing is not None:
            await self._connect(self._standing)
        else:
            await self._start()

    async def _connect(self, place: Path) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(str(place), limit=wire.LINE_BYTES_MAX)
        except OSError as error:
            raise ProviderError(f"no broker answers at {place}", why=str(error), fix="start it") from error
        self._key = bytes.fromhex(self._charge.key)
        await self._greeted(reader, writer, f"see the log of the broker at {place}")

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        places = Places.of(Path(self._charge.home), self._charge.services, self._charge.part)
        try:
            self._process = await asyncio.to_thread(_launch, places, theirs, self._environment)
        except OSError as error:
            ours.close()
            raise ProviderError("the broker cannot be started", why=str(error)) from error
        finally:
            theirs.close()
        self._key = secrets.token_bytes(wire.KEY_BYTES)
        reader, writer = await asyncio.open_connection(sock=ours, limit=wire.LINE_BYTES_MAX)
        writer.write(wire.line(replace(self._charge, key=self._key.hex()).to_json()))
        await self._greeted(reader, writer, f"see {places.logs}/broker.log")

    async def _greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str) -> None:
        try:
            await writer.drain()
            async with asyncio.timeout(START_S):
                first = await wire.read_line(reader)
        except OSError as error:  # a TimeoutError is one
            writer.close()
            raise ProviderError("the broker did not come up", why=where) from error
        if first is None or not first.get("ready"):
            writer.close()
            said = first or {"what": "it ended at once", "why": where}
            raise ProviderError(f"the broker did not come up: {said.get('what')}", why=str(said.get("why")))
        self._writer = writer
        self._reading = asyncio.create_task(self._read(reader, writer))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand each answer to who waits for it; at the end everybody is told."""
        why = "the broker has ended"
        try:
            while (reply := await wire.read_line(reader)) is not None:
                waiting = self._waiting.get(int(reply.get("id") or 0))
                if waiting is not None and not waiting.done():
                    waiting.set_result(reply)
        except ProviderError as error:
            why = error.what
        finally:
            writer.close()
            if self._writer is writer:
                self._writer = None
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(Lost(why, why="what it did last stands in its journal"))


def _launch(places: Places, theirs: socket.socket, environment: Mapping[str, str]) -> Popen[bytes]:
    places.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    output = os.open(places.logs / "broker.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        return Popen(
            [sys.executable, "-I", str(_PROGRAM), str(theirs.fileno())],
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(theirs.fileno(),),
            env=clean_environment(environment),
            cwd="/",
            start_new_session=True,
        )
    finally:
        with contextlib.suppress(OSError):
            os.close(output)
