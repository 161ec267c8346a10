"""How does a session's copy come to another machine? Its files as pieces, its shape as a list.

Everything in the session's folder travels: the copy, the originals of what changed, the states to come
back to. What does not: running programs, sockets, and whatever lies outside of the copy.
"""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from veilig.core.errors import ProviderError
from veilig.core.limits import WORKSPACE_BYTES_MAX, WORKSPACE_FILES_MAX
from veilig.providers.copying import LEFT_BEHIND
from veilig.providers.fleet.store import Store
from veilig.providers.tree import Tree

STAYS: Final = frozenset({"lock"})  # of this machine
FORM: Final = 1
_FILE_BYTES_MAX: Final = 256 << 20

type Seen = tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode


@dataclass(frozen=True, slots=True)
class Saved:
    """A state in the store: its name, and what was left out and why."""

    tree: str
    left: tuple[tuple[str, str], ...] = ()


class Copies:
    """The folder of one session, kept in the store; only what changed since the last look is read again."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._known: dict[str, tuple[Seen, str]] = {}

    @property
    def store(self) -> Store:
        """Where it is kept."""
        return self._store

    @property
    def folder(self) -> Path:
        """The folder on this machine."""
        return self._folder

    def save(self) -> Saved:
        """The folder as it is now. Raises ProviderError; nothing is half kept then."""
        return self._pack(frozenset())

    def save_source(self) -> Saved:
        """A project's folder, without what is made anew from it (environments, caches, history)."""
        return self._pack(frozenset(LEFT_BEHIND))

    def _pack(self, without: frozenset[str]) -> Saved:
        tree, rows, left = Tree(self._folder), list[list[Any]](), list[tuple[str, str]]()
        files = size_bytes = 0
        for path, info in _walk(self._folder, without):
            mode = stat.S_IMODE(info.st_mode)
            if stat.S_ISDIR(info.st_mode):
                rows.append([path, "d", mode, 0, ""])
            elif stat.S_ISLNK(info.st_mode):
                rows.append([path, "l", mode, 0, str((self._folder / path).readlink())])
            elif not stat.S_ISREG(info.st_mode):
                left.append((path, "not a regular file"))
            else:
                files, size_bytes = files + 1, size_bytes + info.st_size
                if files > 4 * WORKSPACE_FILES_MAX or size_bytes > 4 * WORKSPACE_BYTES_MAX:
                    raise ProviderError(
                        f"{self._folder} is too large to be kept", why=f"{files} files, {size_bytes} bytes"
                    )
                name = self._piece(tree, path, info)
                if name:
                    rows.append([path, "f", mode, info.st_mtime_ns, name])
                else:
                    left.append((path, "gone, unreadable or too large"))
        rows.sort()
        text = json.dumps({"form": FORM, "rows": rows}, separators=(",", ":"))
        return Saved(self._store.put(text.encode("utf-8", "surrogateescape")), tuple(left))

    def _piece(self, tree: Tree, path: str, info: os.stat_result) -> str:
        seen = (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
        known = self._known.get(path)
        if known is not None and known[0] == seen:
            return known[1]
        if info.st_size > _FILE_BYTES_MAX:
            return ""
        try:
            data = tree.read_bytes(path, _FILE_BYTES_MAX)
        except ProviderError:
            data = None  # a link or unreadable by now: programs behind the wall may be at work
        if data is None:
            return ""
        name = self._store.put(data)
        self._known[path] = (seen, name)
        return name

    def restore(self, name: str) -> None:
        """Make the folder what it was; what it holds now goes, save its lock. Raises ProviderError."""
        text = self._store.get(name).decode("utf-8", "surrogateescape")
        told: dict[str, Any] = json.loads(text)
        if told.get("form") != FORM:
            raise ProviderError(
                f"the copy {name[:16]} is written in form {told.get('form')!r}",
                why=f"this veilig reads form {FORM}", fix="let a newer worker take it",
            )  # fmt: skip
        rows: list[list[Any]] = told["rows"]
        for path, *_ in rows:
            _need_inside(path)
        self.empty()
        self._known.clear()
        try:
            self._lay(rows)
        except OSError as error:
            raise ProviderError(
                f"cannot lay out the copy {name[:16]} in {self._folder}", why=str(error), fix="free space"
            ) from error

    def _lay(self, rows: list[list[Any]]) -> None:
        tree, folders = Tree(self._folder), [row for row in rows if row[1] == "d"]
        for path, *_ in folders:
            (self._folder / path).mkdir(mode=0o700)
        for path, kind, mode, mtime_ns, piece in rows:
            if kind == "f":
                tree.put(path, self._store.get(piece), mode)
                os.utime(self._folder / path, ns=(mtime_ns, mtime_ns))
        for path, kind, _, _, target in rows:  # last: nothing is written through a link
            if kind == "l":
                (self._folder / path).symlink_to(target)
        for path, _, mode, _, _ in sorted(folders, reverse=True):
            (self._folder / path).chmod(mode)

    def empty(self) -> None:
        """Remove everything in the folder, save its lock. Raises ProviderError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            for inner, names, _ in os.walk(self._folder):
                for name in names:  # a project may make its own folders read-only
                    if not (place := Path(inner, name)).is_symlink():
                        place.chmod(0o700)
            for entry in self._folder.iterdir():
                if entry.name in STAYS:
                    continue
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        except OSError as error:
            raise ProviderError(f"cannot empty {self._folder}", why=str(error)) from error


def _walk(root: Path, without: frozenset[str]) -> Iterator[tuple[str, os.stat_result]]:
    stack = [""]
    while stack:
        folder = stack.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            if folder:
                continue  # made unreadable, or gone meanwhile: a later look at what is left says so
            raise ProviderError(f"cannot read {root}", why=str(error)) from error
        for entry in entries:
            path = f"{folder}{entry.name}"
            if (not folder and entry.name in STAYS) or entry.name in without:
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            yield path, info
            if stat.S_ISDIR(info.st_mode):
                stack.append(f"{path}/")


def _need_inside(path: str) -> None:
    """Raises ProviderError for a path that would leave the folder: a store may be shared."""
    if not path or path.startswith("/") or "\0" in path or set(path.split("/")) & {"", ".", ".."}:
        raise ProviderError(f"{path[:80]!r} in a kept copy would leave its folder", why="it was altered")
