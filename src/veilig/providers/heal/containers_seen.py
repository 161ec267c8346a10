"""What does an engine's description of a container mean? Running, frozen, down, or stopped by a person.

No engine says for certain who ended a container. Signs of a person's wish, each said in `held_by`: a stop or
kill among the engine's events (podman 4.3 does not record every stop, Docker keeps the last 256 events); that
it was seen while its engine was stopping it; an end by TERM or with exit 0, since a crash is neither; a
restart policy that should have brought it back; a container that was made and never started. Everything else
is DOWN. Not told from a crash: on podman, a stop of one that ignores TERM while nobody looked.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal import processes_table as kernel
from veilig.providers.heal.containers_copy import MANAGED, part
from veilig.providers.heal.substrate import Seen

AGAIN_S = 5.0  # within this an engine has begun to restart what it is told to restart
RECENT_S = 15.0  # a kill or restart so long before the end is what ended it
POLITE = (0, 143)  # 143: TERM
_BY_ITSELF = ("always", "unless-stopped")
_NO_END = frozenset({"1", "10", "12", "18", "28", "HUP", "USR1", "USR2", "CONT", "WINCH"})
_ALIVE = frozenset({"running", "paused", "stopping"})


def ended(container: Mapping[str, Any]) -> bool:
    """It ran, and runs no more."""
    return status(container) in ("exited", "stopped", "dead")


def status(container: Mapping[str, Any]) -> str:
    """The engine's word, in lower case."""
    return str(part(container, "State").get("Status", "")).lower()


def started(container: Mapping[str, Any]) -> str:
    """When it was started the last time, as its engine writes it."""
    return str(part(container, "State").get("StartedAt", ""))


def life(container: Mapping[str, Any]) -> str:
    """Id and start of its last life, over or not."""
    return f"{container['Id']}@{started(container)}"


def incarnation(container: Mapping[str, Any]) -> str:
    """Id and start: never the same for two starts. Empty when nothing runs."""
    state = part(container, "State")
    if status(container) not in _ALIVE or not state.get("Pid"):
        return ""
    return life(container)


def wall_s(stamp: object) -> float:
    """An engine's time as seconds of the wall clock, 0 for never."""
    try:
        found = datetime.fromisoformat(str(stamp)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return max(found, 0.0)


def seen(service: Service, container: Mapping[str, Any], held: str) -> Seen:
    """held: why its end was a person's wish (see `wish`), "" when nothing says so."""
    state = part(container, "State")
    managed = is_managed(part(container, "Config").get("Labels"))
    restarts = int(container.get("RestartCount") or 0)
    text = str(state.get("Error") or "")
    now = incarnation(container)
    if now:
        main = _main(container)
        run = Run.RUNNING
        if status(container) == "paused":
            run, text = Run.FROZEN, "paused through its engine"
        elif main is not None and main.frozen:
            run = Run.FROZEN
        started_s = main.started_s if main else _boot_s(wall_s(state.get("StartedAt")))
        pids = kernel.family(main.pid) if main else ()
        return Seen(
            service.name, run, "", now, started_s, pids=pids, held_by=held, managed=managed,
            restarts=restarts, text=text,
        )  # fmt: skip
    run = Run.DOWN
    if held:
        run = Run.STOPPED
    elif ended(container) and comes_back(container):
        run, text = Run.STARTING, "its engine is about to restart it"
    elif status(container) in ("removing", ""):
        run = Run.UNKNOWN
    return Seen(
        service.name, run, "it is being removed" if run is Run.UNKNOWN else "", exit=_exit(container),
        held_by=held, managed=managed, restarts=restarts, text=text,
    )  # fmt: skip


def is_managed(labels: object) -> bool:
    """Does it carry veilig.managed with anything but a no?"""
    value = cast(Mapping[str, object], labels or {}).get(MANAGED)
    return value is not None and str(value).lower() not in ("", "0", "no", "false")


def comes_back(container: Mapping[str, Any]) -> bool:
    """Does its engine restart it by itself, and has it not had the time yet?"""
    policy = part(part(container, "HostConfig"), "RestartPolicy").get("Name")
    since_s = time.time() - wall_s(part(container, "State").get("FinishedAt"))
    return policy in _BY_ITSELF and since_s < AGAIN_S


def wish(container: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    """By which a person keeps it down, "" when nothing says so. events: of this container, oldest first."""
    state = part(container, "State")
    if status(container) in ("created", "configured"):
        failed = state.get("Error") or state.get("ExitCode")
        return "" if failed else "it was made and never started"
    if not ended(container):
        return ""
    finished_s = wall_s(state.get("FinishedAt"))
    last = ""
    for event in events:
        last = _asked(event, finished_s) or last
    if last in ("stop", "kill"):
        return f"its engine was asked to {last} it"
    if last == "restart":
        return ""  # somebody wants it up, and that was cut off
    code = int(state.get("ExitCode") or 0)
    if code in POLITE and not state.get("OOMKilled"):
        return f"it ended with exit {code}, as after a stop: a crash does not"
    policy = part(part(container, "HostConfig"), "RestartPolicy").get("Name")
    if policy in _BY_ITSELF and not comes_back(container):
        return f"its restart policy is {policy} and its engine leaves it down"
    return ""


def _asked(event: Mapping[str, Any], finished_s: float) -> str:
    """stop, kill or restart, when this event is one that can have led to the end; start takes all back."""
    action = str(event.get("Action") or event.get("status") or "")
    if action in ("start", "stop"):
        return action
    recent = finished_s - float(event.get("time") or 0) <= RECENT_S
    if action == "restart" and recent:
        return action
    if action != "kill" or not recent:
        return ""
    number = str(part(part(event, "Actor"), "Attributes").get("signal", "")).upper().removeprefix("SIG")
    return "kill" if number not in _NO_END else ""


def _exit(container: Mapping[str, Any]) -> str:
    state = part(container, "State")
    if not ended(container) and not state.get("ExitCode"):
        return ""
    if state.get("OOMKilled"):
        return "killed for memory"
    code = int(state.get("ExitCode") or 0)
    return f"signal {code - 128}" if 128 < code < 192 else f"exit {code}"


def _main(container: Mapping[str, Any]) -> kernel.Proc | None:
    """Its first process, if this machine's kernel shows it to be of this container (an engine in a virtual
    machine tells pids of its own)."""
    pid = int(part(container, "State").get("Pid") or 0)
    proc = kernel.read(pid, argv=False) if pid else None
    if proc is None or not proc.alive:
        return None
    identity = str(container["Id"])
    if identity in cgroups(pid):
        return proc
    # Without systemd, rootless podman gives a container no cgroup; its monitor names it to the kernel.
    monitor = kernel.read(proc.ppid)
    return proc if monitor is not None and identity in monitor.argv else None


def cgroups(pid: int) -> str:
    """The kernel's word on where a process belongs; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _boot_s(start_s: float) -> float:
    """A time of the wall clock on the boot clock."""
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - (time.time() - start_s), 0.0)


def memory_unbounded(container: Mapping[str, Any]) -> str:
    """Is its memory limit one that the kernel knows? What is not held is said; "" when all is well."""
    limit = int(part(container, "HostConfig").get("Memory") or 0)
    pid = int(part(container, "State").get("Pid") or 0)
    groups = cgroups(pid) if pid else ""
    if groups and _main(container) is not None and str(container["Id"]) not in groups:
        # Rootless on cgroup v1: limits are taken, dropped, and in its description there were none.
        return "it has no cgroup of its own, so that limits of memory and CPU are not enforced"
    if not limit or not groups:
        return ""
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        places = {
            "memory": Path(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"),
            "": Path(f"/sys/fs/cgroup{path}/memory.max"),
        }
        place = places.get("memory" if "memory" in controllers.split(",") else controllers)
        if place is None:
            continue
        try:
            if int(place.read_text()) <= limit:
                return ""
        except (OSError, ValueError):
            continue
    return f"its memory limit of {limit} bytes is not enforced"
