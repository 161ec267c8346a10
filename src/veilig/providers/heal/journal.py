"""How often was each service started lately, and which acts were begun? The broker's own durable record.

Written and synced before the act, by one process at a time, on the boot clock: neither a crash nor a changed
wall clock gives a budget back. After a reboot only the new uptime counts as passed, which is never more than
what really passed. A torn last line is cut off; anything else that does not read stops every act.
"""

import fcntl
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from veilig.core.canonical import JSON, canonical
from veilig.core.clock import Clock
from veilig.core.errors import LedgerError

HOUR_S = 3600.0
KEEP_S = 2 * HOUR_S  # twice the longest window of a budget
COMPACT_BYTES = 4 << 20  # some ten thousand starts
_CHAIN = 16  # hex characters of the link to the line before: finds damage, does not prove who made it


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. passed_s: lower bound of the real seconds since the journal began; t_s: its boot clock."""

    what: str
    t_s: float
    boot: str
    passed_s: float
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """Starts of one service in the last hour: by us, and by others."""

    own: int = 0
    foreign: int = 0


class Journal:
    """One file, one writer. Entries: act (an intent), done, start (by others), seen (an incarnation)."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises LedgerError when the file cannot be read whole, or another process holds it."""
        self._path, self._clock = path, clock
        self._entries: list[Entry] = []
        self._link = ""
        self._descriptor = -1
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
            _sync_folder(path.parent)
        except BlockingIOError as error:
            self.close()
            raise LedgerError(
                f"{path} is written by another process", why="two writers would each give the whole budget",
                fix="wait for it, or end it", retry_after_s=5.0,
            ) from error  # fmt: skip
        except OSError as error:
            self.close()
            raise LedgerError(
                f"cannot use {path}", why=str(error), fix="nothing is healed without it"
            ) from error
        except LedgerError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # --- writing ----------------------------------------------------------------------------------

    def append(self, what: str, **body: JSON) -> Entry:
        """Durable when it returns. Raises LedgerError, and then nothing may be done."""
        entry = Entry(what, self._clock.boottime_s(), self._clock.boot_id(), self.passed_s(), body)
        line = _line(entry, self._link)
        try:
            written = os.write(self._descriptor, line)
            if written != len(line):
                os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
                raise OSError(28, "no space left for the whole line")
            os.fsync(self._descriptor)
        except OSError as error:
            raise LedgerError(
                f"cannot write {self._path}",
                why=str(error),
                fix="free space there; until then nothing is healed",
            ) from error
        self._link = _link(line)
        self._entries.append(entry)
        return entry

    # --- asking -----------------------------------------------------------------------------------

    def passed_s(self) -> float:
        """Lower bound of the real seconds from the journal's beginning until now."""
        now_s = self._clock.boottime_s()
        if not self._entries:
            return 0.0
        last = self._entries[-1]
        if last.boot != self._clock.boot_id():
            return last.passed_s + now_s
        return last.passed_s + max(0.0, now_s - last.t_s)

    def starts(self, service: str) -> Counts:
        """How often it was started in the last hour, attempts included."""
        recent = self._recent(HOUR_S)
        own = sum(1 for e in recent if e.what == "act" and e.body.get("starts") == service)
        foreign = sum(1 for e in recent if e.what == "start" and e.body.get("service") == service)
        return Counts(own, foreign)

    def spent(self, key: str, window_s: float) -> int:
        """Attempts under this budget key in the window."""
        return sum(1 for e in self._recent(window_s) if e.what == "act" and key in e.body.get("keys", ()))

    def times(self, service: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Boot clock of all starts of the last hour, and of ours among them, of this boot."""
        here = [e for e in self._recent(HOUR_S) if e.boot == self._clock.boot_id()]
        own = tuple(e.t_s for e in here if e.what == "act" and e.body.get("starts") == service)
        other = tuple(
            float(e.body.get("started_s", e.t_s))
            for e in here
            if e.what == "start" and e.body.get("service") == service
        )
        return tuple(sorted((*own, *other))), own

    def act(self, ref: str) -> Entry | None:
        """The intent of this name: each is executed at most once."""
        return next((e for e in reversed(self._entries) if e.what == "act" and e.body["ref"] == ref), None)

    def last_act(self, digest: str) -> Entry | None:
        """The last intent of all, if it was this one."""
        last = next((e for e in reversed(self._entries) if e.what == "act"), None)
        return last if last is not None and last.body.get("digest") == digest else None

    def result(self, ref: str) -> Entry | None:
        """What came of an act; None while it is open or when a crash cut it off."""
        return next((e for e in reversed(self._entries) if e.what == "done" and e.body["ref"] == ref), None)

    def open_act(self, service: str) -> Entry | None:
        """The last start of this service by us, of this boot, if nothing is known of what came of it."""
        last = next((e for e in reversed(self._entries) if e.body.get("starts") == service), None)
        return last if last and last.what == "act" and last.boot == self._clock.boot_id() else None

    def last_seen(self, service: str) -> str:
        """The incarnation last written down, of this boot; "" for none."""
        for entry in reversed(self._entries):
            if entry.boot != self._clock.boot_id():
                return ""
            if entry.what in ("seen", "start") and entry.body.get("service") == service:
                return str(entry.body["incarnation"])
            if entry.what == "done" and entry.body.get("starts") == service and entry.body.get("incarnation"):
                return str(entry.body["incarnation"])
        return ""

    def ours(self) -> dict[str, list[str]]:
        """Incarnations that acts of this boot made, by service."""
        found: dict[str, list[str]] = {}
        for entry in self._entries:
            if entry.what == "done" and entry.boot == self._clock.boot_id() and entry.body.get("incarnation"):
                found.setdefault(str(entry.body.get("starts", "")), []).append(str(entry.body["incarnation"]))
        return found

    def _recent(self, window_s: float) -> list[Entry]:
        now_s = self.passed_s()
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if now_s - entry.passed_s >= window_s:
                break
            found.append(entry)
        return found

    # --- reading ------------------------------------------------------------------------------------

    def _read(self) -> None:
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.ftruncate(self._descriptor, whole)  # a crash in the middle of a line: its act never began
        for number, line in enumerate(data[:whole].splitlines(keepends=True), 1):
            try:
                entry, link = _parsed(line)
            except (ValueError, KeyError, TypeError) as error:
                raise self._damaged(number, "it cannot be read") from error
            if link != self._link and number > 1:
                raise self._damaged(number, "it does not follow the line before")
            self._entries.append(entry)
            self._link = _link(line)
        if len(data) > COMPACT_BYTES:
            self._compact()

    def _damaged(self, number: int, why: str) -> LedgerError:
        return LedgerError(
            f"{self._path}:{number} is not what was written",
            why=f"{why}; how much of a budget is left cannot be known",
            fix="look at who changed it; an empty file starts anew, with whatever that forgets",
        )

    def _compact(self) -> None:
        """Leave out what no window reaches any more. The lock stays on a descriptor of the new file."""
        last_s = self.passed_s()
        latest = {e.body.get("service"): e for e in self._entries if e.what in ("seen", "start")}
        kept = [e for e in self._entries if last_s - e.passed_s < KEEP_S or e in latest.values()]
        link, lines = "", list[bytes]()
        for entry in kept:
            lines.append(_line(entry, link))
            link = _link(lines[-1])
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._path)
        _sync_folder(self._path.parent)
        os.close(self._descriptor)
        self._descriptor, self._entries, self._link = descriptor, kept, link


def _line(entry: Entry, link: str) -> bytes:
    body: dict[str, JSON] = {
        "what": entry.what, "t_s": entry.t_s, "boot": entry.boot, "passed_s": entry.passed_s,
        "body": entry.body, "after": link,
    }  # fmt: skip
    return canonical(body) + b"\n"


def _link(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:_CHAIN]


def _parsed(line: bytes) -> tuple[Entry, str]:
    value = cast(dict[str, Any], json.loads(line))
    body = value["body"]
    if not isinstance(body, dict) or not isinstance(value["what"], str):
        raise TypeError("not an entry")
    entry = Entry(
        value["what"],
        float(value["t_s"]),
        str(value["boot"]),
        float(value["passed_s"]),
        cast(dict[str, Any], body),
    )
    return entry, str(value["after"])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
