"""In which state of its files was a service last well, and what changed since?

What is recorded: the files a start has loaded, once the service has been well for a while after it. A file
changed after the start is not proven by it: the version before it stays the good one until a start with the
new one went well (a service that reads its configuration again without a start is judged the same way). A
state that replaces another must be well for longer than the first one, so that a deploy which fails after
some seconds does not become its own way back. Contents are kept by their SHA-256, files 0600, folders 0700.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from veilig.core.errors import ProviderError
from veilig.core.service import Inventory, Service
from veilig.core.signal import Change
from veilig.providers.heal.good_files import FileNow, Files
from veilig.providers.heal.good_parse import PARSED_BYTES, Parsed, changed_keys, parse

FIRST_S = 1.0  # up for so long and well, and the first state of a service is recorded
REPLACE_S = 10.0  # well for so long, and a new state takes the place of a good one
STATES_KEPT = 5
_SLACK_S = 0.1  # the kernel stamps files on a coarse clock, and starts in ticks of 10 ms
_VERSION = 1
_VOLATILE = 3  # contents within one life of the service


@dataclass(frozen=True, slots=True)
class Kept:
    """One file of a good state. proven: a start that went well has loaded it."""

    path: str
    kind: str
    sha: str
    mode: int
    uid: int
    gid: int
    link: str = ""
    proven: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """The files of a service while it was well. digest: SHA-256 over their paths and contents.

    aside: files that were only found, and were written after the start: likely by the service itself. They
    belong to no state until a start finds them there.
    """

    digest: str
    files: tuple[Kept, ...]
    recorded_s: float
    aside: tuple[str, ...] = ()

    def file(self, path: str) -> Kept | None:
        """What it says of this path."""
        return next((kept for kept in self.files if kept.path == path), None)


@dataclass(slots=True)
class _Watched:
    """What we know of one service beside the disk. loaded: its files when this incarnation was first seen."""

    states: list[State]
    mark: tuple[int, int] = (0, 0)
    incarnation: str = ""
    loaded: dict[str, FileNow] = field(default_factory=dict[str, FileNow])
    well_since_s: float | None = None
    settled: bool = False
    failed: bool = False
    contents: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    volatile: set[str] = field(default_factory=set[str])


class GoodStates:
    """Good states of the services of one inventory, kept below `folder`.

    `wall_s` gives seconds since 1970, to compare with the times of files. Not safe for two writers at once:
    one healer acts at a time.
    """

    def __init__(
        self, folder: Path, inventory: Inventory, *, wall_s: Callable[[], float] = time.time
    ) -> None:
        self.folder = folder
        self.files = Files(inventory)
        self.notes: dict[str, str] = {}
        self._wall_s = wall_s
        self._known: dict[str, _Watched] = {}

    def note(
        self, service: Service, *, incarnation: str, started_s: float, now_s: float, well: bool
    ) -> State | None:
        """Say how a service is now (boot clock); a state that has just become the good one is returned."""
        known = self._watched(service)
        if known.incarnation != incarnation:
            known.incarnation, known.settled, known.well_since_s = incarnation, False, None
            known.failed = False
            known.loaded = self.files.scan(service) if incarnation else {}
            known.contents.clear()
        if not well or not incarnation:
            known.well_since_s = None
            known.failed = True
            return None
        if known.well_since_s is None:
            known.well_since_s = now_s
        # The first state: a service that is well when it is first seen has been so since its start.
        always = not known.states and not known.failed
        well_s = now_s - (min(known.well_since_s, started_s) if always else known.well_since_s)
        if known.settled or well_s < (REPLACE_S if known.states else FIRST_S):
            return None
        known.settled = True
        return self._record(service, known, self._wall_s() - (now_s - started_s))

    def digest(self, service: Service) -> str:
        """Of the last-good state; "" while there is none."""
        states = self._watched(service).states
        return states[0].digest if states else ""

    def state(self, service: Service, digest: str) -> State | None:
        """A kept state by its digest."""
        return next((one for one in self._watched(service).states if one.digest == digest), None)

    def kept(self, service: Service) -> tuple[State, ...]:
        """Every good state that is kept, the newest first."""
        return tuple(self._watched(service).states)

    def changes(self, service: Service) -> tuple[Change, ...]:
        """Files that differ from the last-good state, the latest change first; empty while there is none."""
        known = self._watched(service)
        states = known.states
        now = self.files.scan(service)
        _learn(known, now)
        if not states:  # nothing to compare with: only what cannot be right is told
            first = (self._change(service, path, None, now[path]) for path in service.config if path in now)
            return tuple(one for one in first if one.valid is False)
        good = {kept.path: kept for kept in states[0].files}
        for path, kept in good.items():
            if path not in now and (seen := self.files.read(path, kept.kind, named=True)) is not None:
                now[path] = seen  # found in another way then; it is still there
        moved = tuple(
            os.path.realpath(path) + "/" for path, kept in good.items()
            if kept.link and path in now and now[path].sha != kept.sha
        )  # fmt: skip
        found = [
            self._change(service, path, good.get(path), now.get(path))
            for path in {**good, **now}
            if path not in known.volatile
            and path not in states[0].aside
            and _sha(good.get(path)) != _sha(now.get(path))
            and not (path not in good and path.startswith(moved))
        ]
        return tuple(sorted(found, key=lambda one: (one.age_s, one.path)))

    def content(self, service: Service, sha: str) -> bytes:
        """What a kept file held. Raises ProviderError when it is not there or not what was kept."""
        path = self._object(service, sha)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ProviderError(
                f"the content {sha[:12]} of {service.name} is not kept", why=str(error)
            ) from error
        if hashlib.sha256(data).hexdigest() != sha:
            raise ProviderError(f"{path} is not what was kept", why="its SHA-256 differs from its name")
        return data

    def keep(self, service: Service, data: bytes) -> str:
        """Keep these bytes durably; their SHA-256."""
        sha = hashlib.sha256(data).hexdigest()
        if not self._object(service, sha).exists():
            write_durably(self._object(service, sha), data)
        return sha

    # --- recording ----------------------------------------------------------------------------------

    def _record(self, service: Service, known: _Watched, started_wall_s: float) -> State | None:
        before = {kept.path: kept for kept in known.states[0].files} if known.states else {}
        files: list[Kept] = []
        now = self.files.scan(service)
        for path in {**before, **now}:
            kept = _choice(before.get(path), now.get(path), known.loaded.get(path), started_wall_s + _SLACK_S)
            if kept is not None and path not in known.volatile:
                files.append(kept)
        known_paths = {kept.path for kept in files}
        aside = tuple(sorted(path for path in now if path not in known_paths))
        state = replace(_state(files, self._wall_s()), aside=aside)
        if not files or (known.states and known.states[0].digest == state.digest):
            return None
        try:
            for kept in files:
                if not kept.link and not self._object(service, kept.sha).exists():
                    self._keep_file(service, kept)
            states = [state, *(one for one in known.states if one.digest != state.digest)][:STATES_KEPT]
            self._write(service, states)
        except (OSError, ProviderError) as error:
            self.notes[service.name] = f"{service.name}: its good state cannot be kept: {error}"
            known.settled = False  # tried again at the next look
            return None
        self.notes.pop(service.name, None)
        known.states, known.mark = states, _mark(self._place(service) / "good.json")
        return state

    def _keep_file(self, service: Service, kept: Kept) -> None:
        data = Path(kept.path).read_bytes()
        if self.keep(service, data) != kept.sha:
            raise ProviderError(f"{kept.path} changed while it was read")

    def _write(self, service: Service, states: Iterable[State]) -> None:
        body = {"v": _VERSION, "service": service.name, "states": [asdict(state) for state in states]}
        write_durably(self._place(service) / "good.json", json.dumps(body, indent=1).encode())
        self._tidy(service, {kept.sha for state in states for kept in state.files})

    def _tidy(self, service: Service, wanted: set[str]) -> None:
        """Contents that no state needs go; what a restore has replaced is named by its undo record."""
        for record in self._place(service).glob("undo-*.json"):
            with contextlib.suppress(OSError, ValueError):
                wanted |= {str(item["sha"]) for item in json.loads(record.read_bytes())["files"]}
        for path in (self._place(service) / "objects").glob("*"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    # --- reading ------------------------------------------------------------------------------------

    def _watched(self, service: Service) -> _Watched:
        """What is known, with the states as they are on disk: another process may record or restore."""
        mark = _mark(self._place(service) / "good.json")
        known = self._known.get(service.name)
        if known is None:
            known = self._known[service.name] = _Watched(self._read(service), mark)
        elif known.mark != mark:
            known.states, known.mark = self._read(service), mark
        return known

    def _read(self, service: Service) -> list[State]:
        place = self._place(service) / "good.json"
        try:
            body = cast(dict[str, Any], json.loads(place.read_bytes()))
            if body["v"] != _VERSION or body["service"] != service.name:
                raise ValueError("of another version or service")
            return [_checked(item) for item in body["states"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.notes[service.name] = f"{place}: unreadable, so nothing is known to be good: {error}"
            return []

    def _change(self, service: Service, path: str, good: Kept | None, now: FileNow | None) -> Change:
        kind = now.kind if now else good.kind if good else "version"
        changed_s = now.changed_s if now else _folder_time(path)
        age_s = round(max(self._wall_s() - changed_s, 0.0), 2)
        valid, why = None, ""
        if now and now.link:
            why = f"points to {now.link}"
        elif now:
            valid, why = self._judged(service, path, good)
        return Change(path, kind, _sha(good), _sha(now), valid, why, age_s)

    def _judged(self, service: Service, path: str, good: Kept | None) -> tuple[bool | None, str]:
        """Does the file parse, which keys changed? One that did not parse when it was good says nothing."""
        after = _parsed(path, lambda: Path(path).read_bytes())
        before = Parsed()
        if good is not None and not good.link:
            before = _parsed(path, lambda: self._object(service, good.sha).read_bytes())
        if after.valid is None or (before.valid is False and after.valid is False):
            return None, ""
        if not after.valid:
            return False, after.why
        keys = changed_keys(before.value, after.value) if before.valid and before.value is not None else ()
        return True, f"changed: {', '.join(keys)}" if keys else ""

    def _place(self, service: Service) -> Path:
        return self.folder / service.name

    def _object(self, service: Service, sha: str) -> Path:
        if not sha.isalnum():
            raise ProviderError(f"{sha!r} is no SHA-256")
        return self._place(service) / "objects" / sha


def _learn(known: _Watched, now: Mapping[str, FileNow]) -> None:
    """A file only found, that gets content after content without a start, is the service's own work."""
    for path, file in now.items():
        if not file.named:
            contents = known.contents.setdefault(path, set())
            contents.add(file.sha)
            if len(contents) >= _VOLATILE:
                known.volatile.add(path)


def _choice(good: Kept | None, now: FileNow | None, loaded: FileNow | None, started_s: float) -> Kept | None:
    """Which version of a file goes into the new state: the one that this start has loaded.

    It was there before the start, and was the same when the incarnation was first seen. Else the one known
    to be good; else, of a file that the operator named, the one there is, marked as not proven.
    """
    if now is None:
        return good if good is not None and loaded is not None else None  # removed after the start
    same = loaded is not None and loaded.sha == now.sha
    early = now.changed_s <= started_s or (good is None and now.written_s <= started_s)
    if (same and early) or (good is not None and good.sha == now.sha):
        return Kept(now.path, now.kind, now.sha, now.mode, now.uid, now.gid, now.link)
    if good is not None:
        return good
    if not now.named:
        return None
    return Kept(now.path, now.kind, now.sha, now.mode, now.uid, now.gid, now.link, proven=False)


def _state(files: Iterable[Kept], now_s: float) -> State:
    ordered = tuple(sorted(files, key=lambda kept: kept.path))
    pairs = json.dumps([[kept.path, kept.sha] for kept in ordered]).encode()
    return State(hashlib.sha256(pairs).hexdigest(), ordered, now_s)


def _checked(item: Mapping[str, Any]) -> State:
    state = _state((Kept(**kept) for kept in item["files"]), float(item["recorded_s"]))
    state = replace(state, aside=tuple(str(path) for path in item.get("aside", ())))
    if state.digest != item["digest"]:
        raise ValueError("a state is not what its digest says")
    return state


def _mark(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return (0, 0)
    return (state.st_ino, state.st_mtime_ns)


def _sha(file: Kept | FileNow | None) -> str:
    return file.sha if file is not None else ""


def _parsed(path: str, read: Callable[[], bytes]) -> Parsed:
    try:
        data = read()
    except OSError:
        return Parsed()
    return parse(path, data) if len(data) <= PARSED_BYTES else Parsed()


def _folder_time(path: str) -> float:
    """When a file went, at the latest: its folder was changed then."""
    try:
        return Path(path).parent.stat().st_mtime
    except OSError:
        return 0.0


def write_durably(path: Path, data: bytes) -> None:
    """Write a file of ours in one step: 0600, synced, its folder too. Raises OSError."""
    for folder in reversed((path.parent, *path.parent.parents)):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
