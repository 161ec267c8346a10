"""What did the copy look like after each act, and how is it brought back to one of them?

A state is a manifest (path -> size, time, mode, SHA-256) under a content id; texts lie once each in a store
beside the copy. Only files whose size or time changed are read again. The text that a file had when the copy
was made is taken from the user's tree, if it is still that text.
"""

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from veilig.core.errors import ProviderError
from veilig.core.limits import SOURCE_FILE_BYTES_MAX, WORKSPACE_FILES_MAX
from veilig.providers.copying import LEFT_BEHIND
from veilig.providers.sandbox.wall import PROTECTED_PATHS
from veilig.providers.tree import Tree

_FILE_BYTES_MAX = 64 << 20  # a larger artefact is named, not kept


@dataclass(frozen=True, slots=True)
class Entry:
    """One regular file. sha: of its bytes; empty when it was too large to keep."""

    size: int
    mtime_ns: int
    mode: int
    sha: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A state: its id, and what differs from the one before."""

    tree: str
    changed: tuple[str, ...]
    made: tuple[str, ...]
    gone: tuple[str, ...]


class Snapshots:
    """The states of one copy. `folder` is the session's own, outside the copy."""

    def __init__(self, tree: Tree, folder: Path, source: Path) -> None:
        self._tree = tree
        self._root = tree.root
        self._store = folder / "states"
        self._source = source
        self._now: dict[str, Entry] = {}
        self._id = ""

    def begin(self) -> str:
        """The first state, when the copy is fresh: its texts are those of the user's tree."""
        self._now, self._id = {}, ""
        self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.take(keep=False).tree

    def take(self, *, keep: bool = True) -> Taken:
        """The state now. keep: texts that changed are stored."""
        if not self._id and keep:
            self._recall()
        before, found = self._now, self._walk()
        changed: list[str] = []
        made: list[str] = []
        for path, entry in found.items():
            was = before.get(path)
            if was is not None and (was.size, was.mtime_ns, was.mode) == (
                entry.size,
                entry.mtime_ns,
                entry.mode,
            ):
                found[path] = was
                continue
            found[path] = self._read(path, entry, keep=keep)
            if was is None:
                made.append(path)
            elif was.sha != found[path].sha or was.mode != entry.mode:
                changed.append(path)
        gone = [path for path in before if path not in found]
        if made or changed or gone or not self._id:
            self._id = self._write(found)
        self._now = found
        return Taken(self._id, tuple(sorted(changed)), tuple(sorted(made)), tuple(sorted(gone)))

    def text(self, tree: str, path: str) -> bytes | None:
        """The bytes a file had in a state, None when it was not there. Raises ProviderError for lost ones."""
        entry = self._load(tree).get(path)
        return None if entry is None else self._bytes(path, entry)

    def knows(self, tree: str) -> bool:
        """Whether this state was kept."""
        return any((self._store / tree[:2]).glob(f"{tree}*"))

    def restore(self, tree: str) -> Taken:
        """Bring the copy back; returns what that changed. Raises ProviderError before anything is changed.

        Every step from the root on is taken without following links: programs behind the wall may lay some.
        """
        wanted = self._load(tree)
        self.take()
        contents = {
            path: self._bytes(path, entry)
            for path, entry in wanted.items()
            if (now := self._now.get(path)) is None or (now.sha, now.mode) != (entry.sha, entry.mode)
        }
        for path in [path for path in self._now if path not in wanted]:
            self._tree.delete(path)
        for path, data in contents.items():
            self._tree.put(path, data, wanted[path].mode)
        return self.take()

    def differing(self, tree: str) -> list[str]:
        """Paths that are not as they were in a state."""
        if not self._id:
            self._recall()  # a new process has not looked yet
        was = self._load(tree)
        paths = sorted({*was, *self._now})
        return [
            p for p in paths if (a := was.get(p)) is None or (b := self._now.get(p)) is None or a.sha != b.sha
        ]

    # --- the parts ---------------------------------------------------------------------------------

    def _walk(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        stack = [""]
        while stack:
            folder = stack.pop()
            try:
                entries = list(os.scandir(self._root / folder))
            except OSError:
                continue  # made unreadable, or gone meanwhile: nothing of it can be brought back either
            for entry in entries:
                path = f"{folder}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in LEFT_BEHIND and entry.name not in PROTECTED_PATHS:
                        stack.append(f"{path}/")
                    continue
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(info.st_mode) and entry.name not in PROTECTED_PATHS:
                    found[path] = Entry(info.st_size, info.st_mtime_ns, stat.S_IMODE(info.st_mode), "")
            if len(found) > WORKSPACE_FILES_MAX:
                raise ProviderError(f"the copy holds more than {WORKSPACE_FILES_MAX} files")
        return found

    def _read(self, path: str, entry: Entry, *, keep: bool) -> Entry:
        if entry.size > _FILE_BYTES_MAX:
            return entry
        try:
            data = self._tree.read_bytes(path, _FILE_BYTES_MAX)
        except ProviderError:
            data = None
        if data is None:
            return entry  # not readable for us, or a link by now: named by its time, never kept
        sha = hashlib.sha256(data).hexdigest()
        if keep:
            self._keep(sha, data)
        return Entry(entry.size, entry.mtime_ns, entry.mode, sha)

    def _keep(self, sha: str, data: bytes) -> None:
        place = self._store / sha[:2] / sha
        if not place.exists():
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = place.with_suffix(".new")
            fresh.write_bytes(data)
            fresh.chmod(0o600)
            fresh.replace(place)

    def _write(self, found: dict[str, Entry]) -> str:
        rows = {path: [e.size, e.mtime_ns, e.mode, e.sha] for path, e in sorted(found.items())}
        text = json.dumps(rows, separators=(",", ":")).encode("utf-8", "surrogateescape")
        sha = hashlib.sha256(text).hexdigest()
        self._keep(sha, text)
        (self._store / "now").write_text(sha)
        return sha[:16]

    def _load(self, tree: str) -> dict[str, Entry]:
        places = (
            [p for p in (self._store / tree[:2]).glob(f"{tree}*") if p.suffix == ""]
            if len(tree) == 16
            else []
        )
        if len(places) != 1:
            raise ProviderError(
                f"this session knows no state {tree!r} of its copy", fix="see `veilig sessions`"
            )
        rows = json.loads(places[0].read_bytes().decode("utf-8", "surrogateescape"))
        return {path: Entry(*row) for path, row in rows.items()}

    def _recall(self) -> None:
        """After a restart: the last state that was written down."""
        try:
            last = (self._store / "now").read_text()
        except OSError:
            self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
            return
        self._id = last[:16]
        self._now = self._load(self._id)

    def _bytes(self, path: str, entry: Entry) -> bytes:
        for place in (self._store / entry.sha[:2] / entry.sha, self._source / path):
            try:
                data = place.read_bytes()
            except OSError:
                continue
            if entry.sha and hashlib.sha256(data).hexdigest() == entry.sha:
                return data
        raise ProviderError(
            f"{path}: the text it had then is lost",
            why="it was too large to keep" if not entry.sha else "the user's own file has changed since",
            fix="nothing was changed; choose another state",
        )


def as_text(data: bytes | None) -> str | None:
    """A source text, None for what no diff can show."""
    if data is None or len(data) > SOURCE_FILE_BYTES_MAX:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
