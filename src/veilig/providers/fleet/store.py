"""Where do copies and results lie when any machine may need them? Pieces named by what they hold.

A folder (which may be a network file system), or whatever fsspec reaches (s3://bucket/prefix). What lies
there is as it was in the copies, secrets included: who may read the place, and its encryption, are the
operator's.
"""

import hashlib
import os
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

from veilig.core.errors import ProviderError, UsageError

_NAME: Final = re.compile(r"[0-9a-f]{64}")
ID_FILE: Final = "store-id"  # tells two stores apart


class Store(ABC):
    """Bytes by their SHA-256. Every method raises ProviderError when the place cannot be used."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def put(self, data: bytes) -> str:
        """Keep these bytes; their name. What is there already is not sent again."""
        name = hashlib.sha256(data).hexdigest()
        place = f"{name[:2]}/{name}"
        if name not in self._known and not self._there(place):
            self._write(place, data)
        self._known.add(name)
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
    def _there(self, place: str) -> bool: ...

    @abstractmethod
    def _read(self, place: str) -> bytes | None: ...

    @abstractmethod
    def _write(self, place: str, data: bytes) -> None: ...


class FolderStore(Store):
    """A store in a folder, mode 0700."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot(folder, error) from error

    def _there(self, place: str) -> bool:
        return (self._folder / place).exists()

    def _read(self, place: str) -> bytes | None:
        try:
            return (self._folder / place).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _cannot(self._folder, error) from error

    def _write(self, place: str, data: bytes) -> None:
        made = self._folder / place
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
            raise _cannot(self._folder, error) from error


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

    def _there(self, place: str) -> bool:
        return bool(self._try(lambda: self._fs.exists(f"{self._root}/{place}")))

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
