"""How is a session driven by a process of its own? Started, found again after a restart, asked to stop.

A driver outlives whoever started it: a server that is killed leaves its sessions at work, or resumable. It is
the program `veilig.app.driver`, with the session's id on its command line, so that it can be recognised.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from veilig.core.errors import ProviderError

MODULE: Final = "veilig.app.driver"


def start_driver(
    session: str, work: Mapping[str, Any], *, environment: Mapping[str, str], log: Path, cwd: Path
) -> int:
    """The pid of a new process that does `work` as `session`. Raises ProviderError.

    log: where what it prints goes; a later start of the same session begins it anew.
    """
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, session],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                cwd=cwd,
                env=dict(environment),
                start_new_session=True,
            )
    except OSError as error:
        raise ProviderError(f"cannot start session {session}", why=str(error), fix="free memory") from error
    # Its end must be collected, or it stays a zombie for as long as the server lives.
    told = json.dumps(dict(work)).encode()
    threading.Thread(target=_attend, args=(process, told), name=f"driver-{session}", daemon=True).start()
    return process.pid


def _attend(process: "subprocess.Popen[bytes]", told: bytes) -> None:
    process.communicate(told)  # a driver that died before it read leaves its reason in the log


def find_driver(session: str) -> int:
    """The pid of the process of ours that drives this session; 0 when there is none."""
    wanted = [MODULE.encode(), session.encode()]
    with os.scandir("/proc") as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            try:
                if entry.stat().st_uid != os.getuid():
                    continue
                words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # ended in this moment
            if words[-3:-1] == wanted:
                return int(entry.name)
    return 0


def stop_driver(session: str) -> bool:
    """Ask the process to stop between two acts, as Ctrl-C does; whether there was one."""
    pid = find_driver(session)
    if not pid:
        return False
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise ProviderError(f"cannot stop session {session}", why=str(error)) from error
    return True
