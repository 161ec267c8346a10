"""How full is the disk under a service, and which of its files could go without loss?

Without loss: rotated logs beside a live one, caches by convention, and files in the service's own tmp folder
that nobody touched for a day. Never a live log, data, what a process has open, a link, a file with a second
name, a file of another owner, or anything outside the service's folders.
"""

import os
import re
import stat
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from veilig.core.service import Service
from veilig.core.signal import Disk
from veilig.providers.heal.proc import is_text, open_files, pids

FILES_MAX = 500  # named in one sample; more are named when these are gone
TMP_AGE_S = 86_400.0
DEPTH_MAX = 4
ENTRIES_MAX = 20_000
LOW_SHARE, LOW_BYTES = 0.10, 2 << 30  # a tenth, but on a large disk 2 GiB are room enough
FULL_SHARE, FULL_BYTES, FULL_BYTES_MIN = 0.01, 128 << 20, 64 << 10  # less than one write of a database

_CACHEDIR = b"Signature: 8a477f597d28d172789f06886806bc55"  # https://bford.info/cachedir/
_ROTATED = re.compile(
    r"(?:[.-](?:\d{1,4}|\d{4}-?\d{2}-?\d{2}(?:[T_-]?\d{2,6})?|\d{9,10}|old|prev|bak))+(?:\.(?:gz|bz2|xz|zst|zip|lz4))?"
)
_LOG_NAME = re.compile(r".+\.(?:log|out|err)")


def fullness(disk: Disk) -> int:
    """0: room; 1: little is left; 2: nothing can be relied on to be written."""
    full = max(FULL_BYTES_MIN, min(disk.total_bytes * FULL_SHARE, FULL_BYTES))
    if disk.free_bytes < full or 0 <= disk.free_inodes < 2:
        return 2
    return 1 if disk.free_bytes < min(disk.total_bytes * LOW_SHARE, LOW_BYTES) else 0


def disks(service: Service, *, deep: bool = False) -> tuple[Disk, ...]:
    """The file systems under its folder, logs, data; `deep`: with what could be removed where one is low."""
    found: dict[int, Disk] = {}
    folders = _folders(service)
    for folder in folders:
        try:
            device, seen = os.stat(folder).st_dev, os.statvfs(folder)  # noqa: PTH116  # of text
        except OSError:
            continue
        inodes = seen.f_favail if seen.f_files else -1
        disk = Disk(folder, seen.f_bavail * seen.f_frsize, seen.f_blocks * seen.f_frsize, inodes)
        found.setdefault(device, disk)
    if not deep or not any(fullness(disk) for disk in found.values()):
        return tuple(found.values())
    files = regenerable(service)
    return tuple(
        replace(disk, regenerable=tuple(row[:4] for row in files if row[4] == device))
        if fullness(disk)
        else disk
        for device, disk in found.items()
    )


type _Row = tuple[str, int, int, int, int]  # path, bytes, mtime in ns, inode, device


def regenerable(service: Service) -> tuple[_Row, ...]:
    """Files that can be removed without loss, oldest first, with their devices. Reads much of a folder."""
    kept = {
        os.path.realpath(path)
        for path in (*service.log, *service.data, *service.config, service.pidfile)
        if path
    }
    rows = {row[0]: row for row in (*_rotated(service), *_caches(service))}
    found = [row for path, row in rows.items() if not _below(path, kept)]
    held = _open_paths() if found else frozenset[str]()
    free = sorted((row for row in found if row[0] not in held), key=lambda row: (row[2], row[0]))
    return tuple(free[:FILES_MAX])


def _folders(service: Service) -> tuple[str, ...]:
    near = (*(os.path.dirname(path) for path in service.log), *service.data)  # noqa: PTH120  # of text
    return tuple(dict.fromkeys(path for path in (*near, service.folder) if path))


def _below(path: str, kept: Collection[str]) -> bool:
    return any(path == one or path.startswith(one + "/") for one in kept)


def _rotated(service: Service) -> Iterator[_Row]:
    """Files beside a live log that carry its name and a rotation's mark."""
    for folder in _log_folders(service):
        entries = _files(folder)
        live = {e.name for e in entries if e.path in service.log or _is_live(e.name, entries)}
        owners = {0} | {row[0] for e in entries if e.name in live for row in [_owner(e)] if row}
        for entry in entries:
            if entry.name not in live and any(_mark_of(entry.name, name) for name in live):
                yield from _row(entry.path, owners)


def _is_live(name: str, entries: Collection[os.DirEntry[str]]) -> bool:
    """A log by its name that has rotated ones beside it."""
    return bool(_LOG_NAME.fullmatch(name)) and any(_mark_of(e.name, name) for e in entries)


def _mark_of(name: str, live: str) -> bool:
    """app.log.1, app.log-20260101.gz, app-2026-01-01.log, app.1.log beside app.log."""
    stem, dot, suffix = live.rpartition(".")
    if name.startswith(live) and _ROTATED.fullmatch(name[len(live) :]):
        return True
    middle = name[len(stem) :].removesuffix(dot + suffix) if dot and name.startswith(stem) else ""
    return bool(middle) and name.endswith(dot + suffix) and bool(_ROTATED.fullmatch(middle))


def _log_folders(service: Service) -> tuple[str, ...]:
    found = [os.path.realpath(os.path.dirname(path)) for path in service.log]  # noqa: PTH120  # of text
    found += [os.path.realpath(path) for path in service.log if Path(path).is_dir()]
    for folder, _, _ in _walk(service):
        if Path(folder).name in ("log", "logs") or folder == os.path.realpath(service.folder):
            found.append(folder)
    return tuple(dict.fromkeys(found))


def _caches(service: Service) -> Iterator[_Row]:
    """What stands in folders that say of themselves that they can go; what is old in the service's tmp."""
    root = os.path.realpath(service.folder)
    try:
        owners = {os.stat(root).st_uid}  # noqa: PTH116  # of text
    except OSError:
        return
    old_ns = int((time.time() - TMP_AGE_S) * 1e9)
    cached: list[str] = []
    for folder, depth, entries in _walk(service):
        name = Path(folder).name
        inside = name in ("__pycache__", ".cache") or _below(folder, cached) or _tagged(entries)
        if inside and depth:
            cached.append(folder)
        in_tmp = depth > 0 and os.path.relpath(folder, root).split("/")[0] in ("tmp", "temp")
        for entry in entries:
            for row in _row(entry.path, owners):
                if (inside and depth and entry.name != "CACHEDIR.TAG") or (in_tmp and row[2] < old_ns):
                    yield row


def _tagged(entries: Collection[os.DirEntry[str]]) -> bool:
    tag = next((e.path for e in entries if e.name == "CACHEDIR.TAG"), "")
    try:
        return bool(tag) and Path(tag).read_bytes()[: len(_CACHEDIR)] == _CACHEDIR
    except OSError:
        return False


def _walk(service: Service) -> Iterator[tuple[str, int, list[os.DirEntry[str]]]]:
    """The service's folder and those below it on the way, with their depth and files; data is not entered."""
    root = os.path.realpath(service.folder) if service.folder else ""
    if root.count("/") < 2:
        return  # a folder of the machine
    data = {os.path.realpath(path) for path in service.data}
    left, looked = [(root, 0)], 0
    while left and looked < ENTRIES_MAX:
        folder, depth = left.pop(0)
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except OSError:
            continue
        looked += len(entries)
        yield folder, depth, [e for e in entries if e.is_file(follow_symlinks=False)]
        if depth < DEPTH_MAX:
            left += [
                (e.path, depth + 1) for e in entries if e.is_dir(follow_symlinks=False) and e.path not in data
            ]


def _files(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return [entry for entry in listing if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []


def _owner(entry: os.DirEntry[str]) -> tuple[int, ...]:
    try:
        return (entry.stat(follow_symlinks=False).st_uid,)
    except OSError:
        return ()


def _row(path: str, owners: Collection[int]) -> Iterator[_Row]:
    try:
        state = os.lstat(path)
    except OSError:
        return
    if is_text(path) and stat.S_ISREG(state.st_mode) and state.st_nlink == 1 and state.st_uid in owners:
        yield path, state.st_size, state.st_mtime_ns, state.st_ino, state.st_dev


def _open_paths() -> frozenset[str]:
    """Every path that a process we may look at has open. As root these are all."""
    found: set[str] = set()
    for pid in pids():
        held = open_files(pid)
        if held is not None:
            found |= held.paths
    return frozenset(found)
