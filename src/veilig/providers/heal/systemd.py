"""How are systemd's units seen, stopped and started? Through `systemctl`, of the system or of this user.

`unit` is `NAME.service` of the system, or `user:NAME.service` of the user that runs the broker. systemd has
no fence of its own: the invocation is looked at again right before the act, and a moment of doubt remains. A
unit that ended without a failure counts as stopped by a person: systemd tells both alike.
"""

import asyncio
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE

from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal import processes_table as kernel
from veilig.providers.heal.substrate import Done, Seen

LOOK_S = 4.0
ACT_S = 45.0  # a job waits for the unit's own TimeoutStopSec
UP_S = 10.0
POLL_S = 0.05
OUTPUT_BYTES_MAX = 4 << 20
_UNIT = re.compile(r"[A-Za-z0-9_@\\][A-Za-z0-9:_.\\@-]*\.service")  # no pattern, no option
_ASKED = (
    "LoadState", "ActiveState", "SubState", "Result", "InvocationID", "MainPID", "NRestarts", "Restart",
    "ExecMainCode", "ExecMainStatus", "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic",
    "StartLimitBurst", "MemoryMax", "Job",
)  # fmt: skip
_KILLED = ("2", "3")  # ExecMainCode: CLD_KILLED, CLD_DUMPED


def place(service: Service) -> tuple[str, str]:
    """("--user" or "--system", unit). Raises ProviderError for what is no name of one service unit."""
    scope, mark, rest = service.unit.partition(":")
    user = bool(mark) and scope == "user"
    unit = (rest if user else service.unit) or f"{service.name}.service"
    unit = unit if "." in unit else f"{unit}.service"
    if not _UNIT.fullmatch(unit):
        raise ProviderError(f"{unit!r} names no unit", why="NAME.service, or user:NAME.service")
    return ("--user" if user else "--system"), unit


class SystemdSubstrate:
    """Service units of the system's manager and of this user's."""

    name = "systemd"

    def __init__(self, clock: Clock, environment: Mapping[str, str]) -> None:
        self._clock, self._environment = clock, dict(environment)
        self._tried: dict[str, bool] = {}

    # --- looking ------------------------------------------------------------------------------------

    async def look(self, services: Sequence[Service]) -> list[Seen]:
        """One question per manager."""
        asked: dict[str, list[str]] = {}
        wrong: dict[str, str] = {}
        for service in services:
            try:
                scope, unit = place(service)
                asked.setdefault(scope, []).append(unit)
            except ProviderError as error:
                wrong[service.name] = error.what
        told = dict(
            zip(asked, await asyncio.gather(*(self._show(*one) for one in asked.items())), strict=True)
        )
        found: list[Seen] = []
        for service in services:
            if service.name in wrong:
                found.append(Seen(service.name, Run.UNKNOWN, wrong[service.name]))
                continue
            scope, unit = place(service)
            answer = told[scope]
            facts = answer if isinstance(answer, str) else answer.get(unit, "systemctl does not name it")
            found.append(self._seen(service, facts))
        return found

    async def _show(self, scope: str, units: Sequence[str]) -> dict[str, dict[str, str]] | str:
        """Properties by unit; why not, when its manager does not answer."""
        names = list(dict.fromkeys(units))
        words = ("show", "--no-pager", f"--property={','.join(_ASKED)}", "--", *names)
        try:
            text = await self._ask(scope, *words, limit_s=LOOK_S)
        except ProviderError as error:
            return f"{error.what}: {error.why}"
        blocks = [_properties(one) for one in text.split("\n\n")]
        if len(blocks) != len(names):
            return f"systemctl told of {len(blocks)} units, {len(names)} were asked"
        return dict(zip(names, blocks, strict=True))

    def _seen(self, service: Service, facts: Mapping[str, str] | str) -> Seen:
        if isinstance(facts, str):
            return Seen(service.name, Run.UNKNOWN, facts)
        load, active, sub = (facts.get(name, "") for name in ("LoadState", "ActiveState", "SubState"))
        if load == "masked":
            return Seen(service.name, Run.STOPPED, "it is masked", held_by="systemd: masked", managed=True)
        if load != "loaded":
            return Seen(service.name, Run.UNKNOWN, f"systemd says: {load or 'nothing'}")
        restarts, ended, text = (
            _number(facts, "NRestarts"),
            _end(facts),
            f"{active} ({sub}): {facts.get('Result')}",
        )
        pid = _number(facts, "MainPID")
        proc = kernel.read(pid, argv=False) if pid > 0 else None
        if active in ("active", "reloading", "activating", "deactivating") and sub != "auto-restart":
            if (proc is not None and proc.alive) or (active == "active" and not pid):
                starting = active == "activating"
                run = Run.STARTING if starting else Run.RUNNING
                return Seen(
                    service.name,
                    Run.FROZEN if proc is not None and proc.frozen else run,
                    incarnation=facts.get("InvocationID", ""),
                    started_s=proc.started_s if proc is not None else self._started_s(facts),
                    pids=(pid,) if proc is not None else (),
                    managed=True,
                    restarts=restarts,
                    exit=ended,
                )
            if active == "activating":
                return Seen(service.name, Run.STARTING, text, managed=True, restarts=restarts, exit=ended)
        if sub == "auto-restart":
            why = f"systemd starts it again by itself (Restart={facts.get('Restart')})"
            return Seen(
                service.name, Run.STARTING, why, managed=True, restarts=restarts, exit=ended, text=text
            )
        if active == "inactive" and facts.get("Result") == "success":
            held = "systemd says inactive: stopped, never started, or ended without a failure"
            return Seen(service.name, Run.STOPPED, text, held_by=held, managed=True, restarts=restarts)
        return Seen(service.name, Run.DOWN, exit=ended, managed=True, restarts=restarts, text=text)

    def _started_s(self, facts: Mapping[str, str]) -> float:
        """On the boot clock; systemd counts on the one that stands still in sleep."""
        mono_s = _number(facts, "ActiveEnterTimestampMonotonic") / 1e6
        return self._clock.boottime_s() - (time.monotonic() - mono_s) if mono_s > 0 else 0.0

    # --- what may be done -----------------------------------------------------------------------------

    async def capability(self, service: Service) -> tuple[Capability, str]:
        """Tried by starting what runs already: that changes nothing, and needs the right to start it."""
        scope, unit = place(service)
        facts = await self._show(scope, (unit,))
        if isinstance(facts, str):
            return Capability.UNKNOWN, facts
        known = facts[unit]
        if known.get("LoadState") != "loaded":
            return Capability.UNKNOWN, f"systemd says: {known.get('LoadState')}"
        notes: list[str] = []
        if known.get("Restart", "no") != "no":
            notes.append(
                f"Restart={known['Restart']}: systemd restarts it too, and that is counted; set Restart=no"
            )
        if known.get("MemoryMax", "infinity") != "infinity" and not _enforced():
            notes.append("MemoryMax is stated and not enforced here (no memory controller of cgroup v2)")
        if scope == "--system" and os.geteuid() != 0 and not self._tried.get(unit):
            if known.get("ActiveState") != "active":
                return Capability.UNKNOWN, "the right to start it can be tried only while it runs"
            try:
                await self._ask(scope, "--no-ask-password", "start", "--", unit, limit_s=LOOK_S)
            except ProviderError as error:
                return Capability.READONLY, error.why
            self._tried[unit] = True
        return Capability.READ_WRITE, "; ".join(notes)

    # --- acting ---------------------------------------------------------------------------------------

    async def restart(self, service: Service, incarnation: str) -> Done:
        """One job of the manager's; its own start limit is never reset."""
        scope, unit = place(service)
        seen = await self._fence(service, incarnation)
        if seen.run is Run.STOPPED:
            raise ProviderError(f"{service.name} was stopped by a person", why=seen.held_by)
        verb = "restart" if incarnation else "start"
        try:
            await self._ask(scope, "--no-ask-password", verb, "--", unit, limit_s=ACT_S)
        except ProviderError as error:
            (now,) = await self.look([service])  # its own words are better than systemctl's advice
            return Done(False, f"{service.name} was not started: {now.text or error.why or error.what}")
        until_s = time.monotonic() + UP_S
        while True:
            (now,) = await self.look([service])
            if now.run in (Run.RUNNING, Run.FROZEN) and now.incarnation not in ("", incarnation):
                return Done(True, f"{service.name} was started", now.incarnation)
            if now.run in (Run.DOWN, Run.STOPPED) or time.monotonic() > until_s:
                return Done(False, f"{service.name} did not come up: {now.text or now.why or now.run}")
            await asyncio.sleep(POLL_S)

    async def stop(self, service: Service, incarnation: str) -> Done:
        """By the manager: it stays down until somebody starts it."""
        scope, unit = place(service)
        await self._fence(service, incarnation)
        await self._ask(scope, "--no-ask-password", "stop", "--", unit, limit_s=ACT_S)
        return Done(True, f"{service.name} is stopped")

    async def scale(self, group: str, current: int, replicas: int) -> Done:
        """Never: a unit is one."""
        del current, replicas
        raise ProviderError(f"{group} cannot be scaled", why="a unit of systemd is one", fix="use containers")

    async def close(self) -> None:
        """Nothing is held between two questions."""

    async def _fence(self, service: Service, incarnation: str) -> Seen:
        (seen,) = await self.look([service])
        if seen.run is Run.UNKNOWN:
            raise ProviderError(f"{service.name} cannot be seen", why=seen.why)
        if seen.incarnation != incarnation:
            raise ProviderError(
                f"{service.name} is another one by now",
                why=f"{seen.incarnation or 'nothing'} runs, the act meant {incarnation or 'nothing'}",
            )
        return seen

    async def _ask(self, scope: str, *words: str, limit_s: float) -> str:
        """What systemctl prints. Raises ProviderError with its words when it fails."""
        environment = {**self._environment, "LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
        try:
            process = await asyncio.create_subprocess_exec(
                "systemctl", scope, *words, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment
            )
        except OSError as error:
            raise ProviderError("systemctl cannot be run", why=error.strerror or str(error)) from error
        try:
            async with asyncio.timeout(limit_s):
                out, complaint = await process.communicate()
        except TimeoutError as error:
            # The job goes on in the manager; only who waited for it ends.
            process.kill()
            await process.wait()
            raise ProviderError("systemd did not answer", why=f"within {limit_s:g} s") from error
        if process.returncode != 0:
            why = " ".join(complaint.decode("utf-8", "replace").split())[:300]
            raise ProviderError(f"systemctl ended with {process.returncode}", why=why)
        return out[:OUTPUT_BYTES_MAX].decode("utf-8", "replace").rstrip("\n")


def _properties(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {name: value for name, _, value in pairs}


def _number(facts: Mapping[str, str], name: str) -> int:
    text = facts.get(name, "")
    return int(text) if text.isdecimal() else -1 if name == "NRestarts" else 0


def _end(facts: Mapping[str, str]) -> str:
    """How its last main process ended."""
    code, status = facts.get("ExecMainCode", "0"), facts.get("ExecMainStatus", "")
    if code in ("", "0"):
        return ""
    return f"signal {status}" if code in _KILLED else f"exit {status}"


def _enforced() -> bool:
    """Can this system hold a service to its memory?"""
    try:
        return "memory" in Path("/sys/fs/cgroup/cgroup.controllers").read_text(encoding="ascii").split()
    except OSError:
        return False
