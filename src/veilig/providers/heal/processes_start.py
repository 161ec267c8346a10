"""How is a service's process started so that it runs as it ran before, and outlives whoever started it?

User, folder and environment are those of the last instance that was seen; else what the services file says.
They are remembered in memory only, for an environment may hold secrets.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from typing import Any

from veilig.core.errors import ProviderError
from veilig.core.service import Service
from veilig.providers.heal import processes_match as match
from veilig.providers.heal import processes_table as kernel

PIDFILE_S = 0.25  # a service that writes its own pidfile does so first of all
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "SHELL")


@dataclass(frozen=True, slots=True)
class Manner:
    """How an instance ran: its environment, folder, and user when that was another than ours."""

    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str = ""
    user: tuple[int, int] | None = None


def manner_of(pid: int, before: Manner) -> Manner:
    """How the running process `pid` was started; what may not be read stays as it was known before."""
    return Manner(
        kernel.environment(pid) or before.environment,
        kernel.link(pid, "cwd") or before.cwd,
        kernel.user(pid) or before.user,
    )


def start(service: Service, last: Manner, base: Path, logs: Path) -> int:
    """The pid of one new process, a child of ours in a session of its own. Raises ProviderError."""
    environment = _environment(service, last)
    cwd = folder(service, last, base)
    argv = list(service.cmd)
    user = last.user if last.user and os.geteuid() == 0 and last.user[0] != 0 else None
    output = _output(service, logs, user)
    options: dict[str, Any] = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    program = _program(argv[0], cwd, environment)
    try:
        if _is_text(program):  # a script without its first line: a shell would run it, the kernel does not
            argv, program = ["/bin/sh", program, *argv[1:]], "/bin/sh"
        child = Popen(
            argv, executable=program, cwd=cwd, env=environment, stdin=DEVNULL, stdout=output, stderr=STDOUT,
            start_new_session=True, **options,
        )  # fmt: skip
        child.returncode = 0  # we wait for it by its pid; Popen would warn that it outlives the object
        return child.pid
    except (OSError, ValueError) as error:
        raise ProviderError(
            f"{service.name} cannot be started", why=f"{argv[0]} in {cwd}: {error}", fix="look at its `cmd`"
        ) from error
    finally:
        if output != DEVNULL:
            os.close(output)


def _program(word: str, cwd: str, environment: Mapping[str, str]) -> str:
    """What the command's first word names: from the service's folder, else on its own PATH."""
    if "/" in word:
        return word if word.startswith("/") else str(Path(cwd) / word)
    return shutil.which(word, path=environment.get("PATH", _PATH)) or word


def _is_text(program: str) -> bool:
    with open(program, "rb") as file:  # noqa: PTH123  # a missing one raises here, with its name
        first = file.read(64)
    return bool(first) and not first.startswith((b"#!", b"\x7fELF")) and b"\0" not in first


def _environment(service: Service, last: Manner) -> dict[str, str]:
    seen = last.environment or {name: os.environ[name] for name in _KEPT if name in os.environ}
    own = {name: value for name, value in seen.items() if not name.startswith("VEILIG_")}
    return {"PATH": _PATH, "LANG": "C.UTF-8", **own, **dict(service.env)}


def folder(service: Service, last: Manner, base: Path) -> str:
    """Where the last instance ran; else the first likely folder in which the command's files exist."""
    files = match.named_files(service.cmd)
    likely = [last.cwd, *match.folders(service, base)]
    there = [place for place in likely if place and Path(place).is_dir()]
    fit = [p for p in there if not files or any((Path(p) / name).exists() for name in files)]
    return next(iter(fit or there), "/")


def _output(service: Service, logs: Path, user: tuple[int, int] | None) -> int:
    """A descriptor that appends to the service's log, or to a file of ours when it names none that can be."""
    for place in (service.log[0] if service.log else "", str(logs / f"{service.name}.log")):
        if not place:
            continue
        with contextlib.suppress(OSError):
            fresh = not Path(place).exists()
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            made = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o644)
            if fresh and user:
                os.fchown(made, *user)
            return made
    return DEVNULL


async def write_pidfile(service: Service, pid: int) -> str:
    """Its pid stands in its pidfile, written by itself or else by us; a remark when that cannot be."""
    if not service.pidfile:
        return ""
    place, until = Path(service.pidfile), time.monotonic() + PIDFILE_S
    while time.monotonic() < until:
        if _there(place):
            return ""
        await asyncio.sleep(0.02)
    return _write(place, pid)


def _there(place: Path) -> bool:
    return place.exists()


def _write(place: Path, pid: int) -> str:
    """Whole or not at all, and never over one that the service has written meanwhile."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{pid}\n")
            Path(temporary).chmod(0o644)
            os.link(temporary, place)
        finally:
            Path(temporary).unlink()
    except FileExistsError:
        return ""
    except OSError as error:
        return f"; its pidfile cannot be written ({error.strerror})"
    return ""
