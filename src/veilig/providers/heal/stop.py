"""Has somebody stopped all healing? A durable file: who, why, when; looked at right before each act.

Whoever may write the state folder may stop and go on. A file that cannot be read counts as a stop.
"""

import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from veilig.core.errors import LedgerError

FILE = "STOP"


@dataclass(frozen=True, slots=True)
class Stopped:
    """Who stopped healing, why, and when (seconds since 1970; 0 where nobody can tell)."""

    who: str
    why: str
    at_s: float = 0.0

    def __str__(self) -> str:
        return f"healing was stopped by {self.who}" + (f": {self.why}" if self.why else "")


def stop(folder: Path, who: str, why: str) -> None:
    """No act starts any more, from now on and after every crash. Raises LedgerError when that is not sure."""
    body = json.dumps({"who": who, "why": why, "at_s": time.time()}).encode()
    place = folder / FILE
    draft = folder / f".{FILE}.{os.getpid()}.{threading.get_ident()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # its mere existence stops, whatever becomes of the text: a full disk takes the text and not the stop
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
        there = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(there)
        finally:
            os.close(there)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise LedgerError(
            f"cannot write {place}", why=str(error), fix="end the healers by their pid, or set enabled: false"
        ) from error


def go_on(folder: Path) -> bool:
    """Take the stop back; false when there was none. Raises LedgerError."""
    try:
        (folder / FILE).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LedgerError(f"cannot remove {folder / FILE}", why=str(error)) from error
    return True


def stopped(folder: Path) -> Stopped | None:
    """The stop that holds now."""
    try:
        data = (folder / FILE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Stopped("somebody", f"the stop file cannot be read: {error.strerror}")
    if not data:  # the moment between the stop and its words
        return Stopped("somebody", "the stop file holds no words yet")
    try:
        body = cast(dict[str, Any], json.loads(data))
        return Stopped(str(body["who"]), str(body["why"]), float(body["at_s"]))
    except (ValueError, KeyError, TypeError):
        return Stopped("somebody", "the stop file holds no JSON")
