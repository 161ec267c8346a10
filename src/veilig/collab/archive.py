"""May this archive be unpacked? Somebody else's zip or tar, into a new folder, or not at all.

Regular files and folders only: links, devices, absolute paths, `..`, encrypted members, more than the bounds
or a file named twice refuse the whole archive, before or while it is unpacked; nothing is left then.
"""

import contextlib
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Final

from veilig.collab.roles import Refused

FILES_MAX: Final = 20_000
BYTES_MAX: Final = 512 << 20  # unpacked
FILE_BYTES_MAX: Final = 64 << 20
PATH_CHARS_MAX: Final = 1024
DEPTH_MAX: Final = 64
CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Unpacked:
    """How much came out."""

    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Member:
    path: str
    folder: bool
    content: Callable[[], IO[bytes]] | None


def unpack(archive: Path, into: Path) -> Unpacked:
    """Unpack into the new folder `into`. Raises Refused (400); the folder is gone then."""
    try:
        into.mkdir(mode=0o700, parents=True)
        return _unpack(archive, into)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        NotImplementedError,
        ValueError,
    ) as error:
        shutil.rmtree(into, ignore_errors=True)
        raise _bad("this archive cannot be read", str(error)[:200]) from error
    except RuntimeError as error:  # zipfile's word for an encrypted member
        shutil.rmtree(into, ignore_errors=True)
        raise _bad("this archive cannot be read", str(error)[:200]) from error
    except OSError as error:
        shutil.rmtree(into, ignore_errors=True)
        raise _bad("this archive cannot be unpacked", error.strerror or str(error)[:200]) from error
    except Refused:
        shutil.rmtree(into, ignore_errors=True)
        raise


def _unpack(archive: Path, into: Path) -> Unpacked:
    with contextlib.closing(_members(archive)) as members:
        return _all(members, into)


def _all(members: Iterator[_Member], into: Path) -> Unpacked:
    files = size = 0
    seen: set[str] = set()
    for member in members:
        parts = _parts(member.path)
        if not parts:
            continue
        if (place := into.joinpath(*parts)) == into or not place.is_relative_to(into):
            raise _bad(f"{member.path[:200]!r} would leave its folder")
        if member.folder:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            continue
        files += 1
        folded = "/".join(parts).casefold()
        if folded in seen:
            raise _bad(f"{member.path[:200]!r} is there twice", "one of both would win in silence")
        seen.add(folded)
        if files > FILES_MAX:
            raise _bad(f"more than {FILES_MAX} files")
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        size += _copy(member, place, BYTES_MAX - size)
    if not files:
        raise _bad("there is no file in it")
    return Unpacked(files, size)


def _copy(member: _Member, place: Path, left: int) -> int:
    if member.content is None:
        raise _bad(f"{member.path[:200]!r} is neither a file nor a folder", "links and devices are refused")
    written = 0
    with member.content() as source, place.open("xb") as out:
        place.chmod(0o600)
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > min(left, FILE_BYTES_MAX):  # what the header says is the sender's word
                raise _bad(
                    f"{member.path[:200]!r} is too large",
                    f"a file may have {FILE_BYTES_MAX >> 20} MiB, all together {BYTES_MAX >> 20} MiB",
                )
            out.write(chunk)
    return written


def _members(archive: Path) -> Generator[_Member]:
    with archive.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == b"PK":
        with zipfile.ZipFile(archive) as packed:
            if len(packed.infolist()) > 2 * FILES_MAX:
                raise _bad(f"more than {FILES_MAX} files")
            for info in packed.infolist():
                mode = info.external_attr >> 16
                plain = (mode & 0o170000) in (0, 0o100000, 0o040000)
                content = None if info.is_dir() or not plain else partial(packed.open, info)
                yield _Member(info.filename, info.is_dir(), content)
        return
    if magic[:2] != b"\x1f\x8b":
        raise _bad("it is neither a zip nor a tar.gz")
    with tarfile.open(archive, "r:gz") as tar:
        for count, entry in enumerate(tar):
            if count > 2 * FILES_MAX:
                raise _bad(f"more than {FILES_MAX} files")
            yield _Member(entry.name, entry.isdir(), partial(_file, tar, entry) if entry.isreg() else None)


def _file(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(entry)
    if content is None:
        raise _bad(f"{entry.name[:200]!r} has no content")
    return content


def _parts(path: str) -> tuple[str, ...]:
    if len(path) > PATH_CHARS_MAX or "\0" in path or "\\" in path or not path.isprintable():
        raise _bad(f"{path[:100]!r} is no path that can be unpacked")
    pure = PurePosixPath(path)
    parts = tuple(p for p in pure.parts if p != ".")
    if pure.is_absolute() or ".." in parts or len(parts) > DEPTH_MAX or any(len(p) > 250 for p in parts):
        raise _bad(f"{path[:200]!r} would leave its folder")
    return parts


def _bad(what: str, why: str = "") -> Refused:
    return Refused(
        f"the archive was refused: {what}", status=400, why=why, fix="pack it anew, plain files only"
    )
