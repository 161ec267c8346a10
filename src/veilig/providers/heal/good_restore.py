"""How are files of a service brought back to its last-good state, and how is that undone?

Each file is fenced by what it is believed to be now; nothing is written when one of them is not. Parents are
opened one by one without following links, so that nobody can lead a write elsewhere. What is replaced is
kept first.
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from veilig.core.errors import ProviderError
from veilig.core.service import Service
from veilig.providers.heal.good import GoodStates, Kept, write_durably
from veilig.providers.heal.good_files import FileNow

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

type Named = tuple[str, str, str]  # path, SHA-256 now, SHA-256 then; "" for absent


@dataclass(frozen=True, slots=True)
class Restored:
    """The files that were written or removed, and the name by which `undo` takes it back."""

    files: tuple[str, ...]
    undo: str


def restore(good: GoodStates, service: Service, files: Sequence[Named], to: str) -> Restored:
    """Bring exactly these files to what the kept state `to` holds, with mode and owner.

    Raises ProviderError, with nothing written, when the state is not kept, a file does not belong to it, or
    one is not what it was believed to be; also when a write fails, after what was written was taken back.
    """
    state = good.state(service, to)
    if state is None:
        raise ProviderError(
            f"{service.name}: the state {to[:12]} is not kept",
            why="only recorded last-good states can be restored",
        )
    for path, _, then in files:
        kept = state.file(path)
        if (kept.sha if kept else "") != then:
            raise ProviderError(f"{path} is not {then[:12] or 'absent'} in the state {to[:12]}")
        if kept is not None and not kept.link:
            good.content(service, kept.sha)  # is there and whole, before anything is touched
    wanted = [(path, now, state.file(path)) for path, now, _ in files]
    return _replace(good, service, wanted)


def undo(good: GoodStates, service: Service, name: str) -> Restored:
    """Bring back what a restore has replaced, if nobody changed it since. Raises ProviderError."""
    record = good.folder / service.name / f"{name}.json"
    try:
        if not name.startswith("undo-") or not name[5:].isalnum():
            raise ValueError("no name of an undo record")
        items = cast(list[dict[str, Any]], json.loads(record.read_bytes())["files"])
        wanted = [(str(item["path"]), str(item["after"]), _as_kept(item)) for item in items]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProviderError(f"{service.name}: {name!r} cannot be taken back", why=str(error)) from error
    return _replace(good, service, wanted)


def _as_kept(item: dict[str, Any]) -> Kept | None:
    if not item["sha"]:
        return None
    fields = ("path", "kind", "sha", "mode", "uid", "gid", "link")
    return Kept(**{field: item[field] for field in fields})


def _replace(good: GoodStates, service: Service, wanted: list[tuple[str, str, Kept | None]]) -> Restored:
    before: list[tuple[str, FileNow | None]] = []
    for path, now, kept in wanted:
        seen = good.files.read(path, kept.kind if kept else "version", named=True)
        if (seen.sha if seen else "") != now or (seen is None and os.path.lexists(path)):
            raise ProviderError(
                f"{path} is not what it was when this was decided",
                why=f"expected {now[:12] or 'no file'}, found {seen.sha[:12] if seen else 'none'}",
                fix="look again, then decide again",
            )
        before.append((path, seen))
    name = _keep_undo(good, service, before, wanted)
    done: list[tuple[str, FileNow | None]] = []
    try:
        for (path, seen), (_, _, kept) in zip(before, wanted, strict=True):
            _put(path, kept, lambda kept=kept: good.content(service, kept.sha) if kept else b"")
            done.append((path, seen))
    except (OSError, ProviderError) as error:
        left = _take_back(good, service, done)
        raise ProviderError(
            f"{service.name}: the files could not be restored: {error}",
            why=f"these are half-way: {', '.join(left)}" if left else "all are as they were before",
        ) from error
    return Restored(tuple(path for path, _, _ in wanted), name)


def _keep_undo(
    good: GoodStates,
    service: Service,
    before: list[tuple[str, FileNow | None]],
    wanted: list[tuple[str, str, Kept | None]],
) -> str:
    """Write down, durably, what is about to be replaced; the record's name."""
    items: list[dict[str, Any]] = []
    try:
        for (path, seen), (_, _, kept) in zip(before, wanted, strict=True):
            after = kept.sha if kept else ""
            if seen is None:
                items.append({"path": path, "sha": "", "after": after})
                continue
            if not seen.link and good.keep(service, Path(path).read_bytes()) != seen.sha:
                raise ProviderError(f"{path} changed while it was read")
            items.append(asdict(_kept(seen)) | {"after": after})
        name = f"undo-{secrets.token_hex(8)}"
        body = {"v": 1, "service": service.name, "at_s": time.time(), "files": items}
        write_durably(good.folder / service.name / f"{name}.json", json.dumps(body).encode())
    except OSError as error:
        raise ProviderError(
            f"{service.name}: what would be replaced cannot be kept, so nothing is", why=str(error)
        ) from error
    return name


def _kept(seen: FileNow) -> Kept:
    return Kept(seen.path, seen.kind, seen.sha, seen.mode, seen.uid, seen.gid, seen.link)


def _take_back(good: GoodStates, service: Service, done: list[tuple[str, FileNow | None]]) -> list[str]:
    left: list[str] = []
    for path, seen in reversed(done):
        try:
            _put(
                path,
                _kept(seen) if seen else None,
                lambda seen=seen: good.content(service, seen.sha if seen else ""),
            )
        except (OSError, ProviderError):
            left.append(path)
    return left


def _put(path: str, kept: Kept | None, content: Callable[[], bytes]) -> None:
    """One file, in one step: written beside its place, synced, owned as before, renamed."""
    with parent(path) as (folder, name):
        if kept is None:
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
            return
        temporary = f".{name[:100]}.{secrets.token_hex(6)}"
        try:
            if kept.link:
                os.symlink(kept.link, temporary, dir_fd=folder)
                _own(temporary, kept, folder)
            else:
                _write(temporary, kept, content(), folder)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise


def _write(name: str, kept: Kept, data: bytes, folder: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        _own(name, kept, folder)
        os.fchmod(file.fileno(), kept.mode)  # after the owner: a change of owner drops set-id bits
        os.fsync(file.fileno())


def _own(name: str, kept: Kept, folder: int) -> None:
    """Its owner as before; one who is not root can only keep what is his own."""
    state = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if (state.st_uid, state.st_gid) != (kept.uid, kept.gid):
        os.chown(name, kept.uid, kept.gid, dir_fd=folder, follow_symlinks=False)


@contextlib.contextmanager
def parent(path: str) -> Generator[tuple[int, str]]:
    """The folder of an absolute path, opened part by part without following a link, and the last name.

    Raises ProviderError when a part is a link, no folder, or absent.
    """
    *parts, name = PurePosixPath(path).parts
    if not parts or parts[0] != "/" or name in ("", "..", "/") or ".." in parts:
        raise ProviderError(f"{path!r} is no absolute path of a file")
    folder = os.open("/", _FOLDER)
    try:
        for part in parts[1:]:
            try:
                deeper = os.open(part, _FOLDER, dir_fd=folder)
            except OSError as error:
                raise ProviderError(
                    f"{path}: {part!r} cannot be entered", why=error.strerror or str(error)
                ) from error
            os.close(folder)
            folder = deeper
        yield folder, name
    finally:
        os.close(folder)
