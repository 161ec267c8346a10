"""Where do copies and results lie when any machine may need them? Pieces named by what they hold.

A folder (which may be a network file system), or whatever fsspec reaches (s3://bucket/prefix). What lies
there is as it was in the copies, secrets included: who may read the place, and its encryption, are the
operator's.
"""

import contextlib
import hashlib
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from veilig.core.errors import ProviderError, UsageError

_NAME: Final = re.compile(r"[0-9a-f]{64}")
_PART: Final = re.compile(r"[0-9a-f]{2}")
GOING: Final = ".going"  # moved away, to be removed
KNOWN_S: Final = 3600.0  # so long is believed that a piece is there
FRESH_S: Final = 6 * 3600.0  # an object that is older is written again when somebody needs it
YOUNG_S: Final = 24 * 3600.0  # nothing younger is removed: somebody may be about to name it
ID_FILE: Final = "store-id"  # tells two stores apart


@dataclass(frozen=True, slots=True)
class Piece:
    """What is kept under a name. modified: seconds since 1970."""

    name: str
    size_bytes: int
    modified: float


class Store(ABC):
    """Bytes by their SHA-256. Every method raises ProviderError when the place cannot be used."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}  # name -> when it was surely there and young

    def put(self, data: bytes) -> str:
        """Keep these bytes; their name. What is there already is not sent again, but is young from now on."""
        name = hashlib.sha256(data).hexdigest()
        now_s = time.monotonic()
        if now_s - self._known.get(name, -KNOWN_S) >= KNOWN_S:
            place = f"{name[:2]}/{name}"
            if not self._freshen(place):
                self._write(place, data)
            self._known[name] = now_s
        return name

    def get(self, name: str) -> bytes:
        """The bytes of this name. Raises ProviderError when they are gone, or not what they were."""
        if not _NAME.fullmatch(name):
            raise ProviderError(f"{name[:80]!r} is no name in a store", why="a name is 64 hexadecimal digits")
        data = self._read(f"{name[:2]}/{name}")
        if data is None or hashlib.sha256(data).hexdigest() != name:
            why = "it is not there" if data is None else "its bytes are not those that were kept"
            raise ProviderError(
                f"the store cannot give {name[:16]}", why=why, fix="see that all workers use one store"
            )
        return data

    def identity(self) -> str:
        """What tells this store from any other; made at the first use."""
        if (known := self._read(ID_FILE)) is None:
            self._write(ID_FILE, os.urandom(16).hex().encode())
            known = self._read(ID_FILE)
        return (known or b"").decode("ascii", "replace")

    @abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """Everything that is kept, in no order."""

    @abstractmethod
    def drop(self, name: str, before: float) -> bool:
        """Remove one, unless somebody has put it again since `before` (seconds since 1970)."""

    @abstractmethod
    def _freshen(self, place: str) -> bool:
        """Whether it is there, and young enough now to outlive a look at what nobody needs."""

    @abstractmethod
    def _read(self, place: str) -> bytes | None: ...

    @abstractmethod
    def _write(self, place: str, data: bytes) -> None: ...


class FolderStore(Store):
    """A store in a folder, mode 0700."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot(folder, error) from error

    def pieces(self) -> Iterator[Piece]:
        """Everything that is kept; what a look that died was about to remove is there again."""
        try:
            for part in sorted(p for p in self.folder.iterdir() if _PART.fullmatch(p.name)):
                for file in sorted(part.iterdir()):
                    if file.name.endswith(GOING):
                        self._back(file, part / file.name[1 : -len(GOING)])
                for file in sorted(part.iterdir()):
                    with contextlib.suppress(FileNotFoundError):
                        if _NAME.fullmatch(file.name):
                            info = file.stat()
                            yield Piece(file.name, info.st_size, info.st_mtime)
        except OSError as error:
            raise _cannot(self.folder, error) from error

    def drop(self, name: str, before: float) -> bool:
        """Moved away, then looked at: whoever puts it meanwhile finds it gone, or has made it young."""
        file = self.folder / name[:2] / name
        going = file.with_name(f".{name}{GOING}")
        try:
            file.rename(going)
            if going.stat().st_mtime >= before:
                self._back(going, file)
                return False
            going.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _cannot(self.folder, error) from error
        return True

    @staticmethod
    def _back(going: Path, file: Path) -> None:
        with contextlib.suppress(FileExistsError):
            os.link(going, file)
        going.unlink(missing_ok=True)

    def _freshen(self, place: str) -> bool:
        try:
            os.utime(self.folder / place)
        except FileNotFoundError:
            return False
        except PermissionError:  # another user's: written anew, as ours
            return False
        except OSError as error:
            raise _cannot(self.folder, error) from error
        return True

    def _read(self, place: str) -> bytes | None:
        try:
            return (self.folder / place).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _cannot(self.folder, error) from error

    def _write(self, place: str, data: bytes) -> None:
        made = self.folder / place
        fresh = made.with_name(f".{made.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            made.parent.mkdir(mode=0o700, exist_ok=True)
            with fresh.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if place == ID_FILE:
                os.link(fresh, made)  # the first of several wins
                fresh.unlink()
            else:
                fresh.replace(made)
        except FileExistsError:
            fresh.unlink(missing_ok=True)
        except OSError as error:
            raise _cannot(self.folder, error) from error


class FarStore(Store):
    """A store behind fsspec: one object per piece."""

    def __init__(self, url: str) -> None:
        super().__init__()
        try:
            import fsspec.core
        except ImportError as error:
            raise UsageError(f"the store {url!r} needs fsspec", fix="install veilig[fleet]") from error
        self._shown = url.partition("?")[0]
        try:
            self._fs, self._root = _reached(fsspec.core, url)
        except (ImportError, ValueError) as error:
            why, fix = str(error), "install what fsspec names for this address, s3fs for s3://"
            raise UsageError(f"the store {self._shown!r} cannot be used", why=why, fix=fix) from error

    def pieces(self) -> Iterator[Piece]:
        """Everything that is kept. Raises ProviderError where the place cannot say how old it is."""
        found: dict[str, Any] = self._try(lambda: self._fs.find(self._root, detail=True))
        for path, info in found.items():
            name = path.rpartition("/")[2]
            if _NAME.fullmatch(name):
                modified = self._modified(path)
                if modified is None:
                    raise ProviderError(
                        f"the store {self._shown!r} does not say how old its pieces are",
                        why="what somebody is putting there now could be removed",
                        fix="use the place's own rules of expiry",
                    )
                yield Piece(name, int(info.get("size") or 0), modified)

    def drop(self, name: str, before: float) -> bool:
        """Looked at once more just before: such a place has nothing that does both at once."""
        path = f"{self._root}/{name[:2]}/{name}"
        modified = self._modified(path)
        if modified is None or modified >= before:
            return False
        self._try(lambda: self._fs.rm_file(path))
        return True

    def _freshen(self, place: str) -> bool:
        modified = self._modified(f"{self._root}/{place}")
        return modified is not None and time.time() - modified < FRESH_S

    def _modified(self, path: str) -> float | None:
        def ask() -> float | None:
            try:
                self._fs.invalidate_cache()
                return float(self._fs.modified(path).timestamp())
            except (FileNotFoundError, NotImplementedError):
                return None

        return self._try(ask)

    def _read(self, place: str) -> bytes | None:
        def read() -> bytes | None:
            try:
                return bytes(self._fs.cat_file(f"{self._root}/{place}"))
            except FileNotFoundError:
                return None

        return self._try(read)

    def _write(self, place: str, data: bytes) -> None:
        self._try(lambda: self._fs.pipe_file(f"{self._root}/{place}", data))

    def _try(self, fn: Any) -> Any:
        try:
            return fn()
        except Exception as error:  # every file system of fsspec has errors of its own
            raise _cannot(self._shown, error) from error


def open_store(address: str) -> Store:
    """The store at a folder or an address. Raises ProviderError, UsageError."""
    scheme, mark, rest = address.partition("://")
    if not mark or scheme == "file":
        return FolderStore(Path(rest if mark else address).expanduser().absolute())
    return FarStore(address)


def _reached(library: Any, url: str) -> tuple[Any, str]:
    """Fsspec's file system for an address, and the path in it; the library has no types."""
    return library.url_to_fs(url)


def _cannot(where: object, error: Exception) -> ProviderError:
    return ProviderError(
        f"the store {str(where)!r} cannot be used",
        why=f"{type(error).__name__}: {error}"[:300],
        fix="see that it is reachable and may be written by this user",
        retry_after_s=2.0,
    )
