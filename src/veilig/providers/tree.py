"""How is a file below a folder touched when a stranger may have planted links in it?

Every step from the root to the file is opened without following links, so that what is read
or written lies below the root, whatever a sandboxed process put there meanwhile.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Generator
from pathlib import Path

from veilig.core.errors import ProviderError
from veilig.core.limits import SOURCE_FILE_BYTES_MAX

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def sha256(text: str) -> str:
    """SHA-256 (hex) of the text as UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class Tree:
    """Files below `root`, read and written as UTF-8 text, links never followed.

    owner: uid and gid that new files get, or None to keep ours.
    Every method raises ProviderError (what, why, fix) and leaves the tree as it was.
    """

    def __init__(self, root: Path, owner: tuple[int, int] | None = None) -> None:
        self.root = root
        self.owner = owner

    def read(self, path: str) -> str | None:
        """The text of one file, or None when there is none."""
        data = self.read_bytes(path)
        if data is None:
            return None
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ProviderError(
                f"{path}: not UTF-8 text", why=str(error), fix="it is left as it is"
            ) from error

    def read_bytes(self, path: str, most: int = SOURCE_FILE_BYTES_MAX) -> bytes | None:
        """The bytes of one file, or None when there is none."""
        with self._folder(path, create=False) as (folder, name):
            if folder is None:
                return None
            return self._read_in(folder, name, path, most)

    def write(self, path: str, text: str) -> None:
        """Create or replace the file in one step; its mode is kept."""
        self.put(path, text.encode("utf-8"))

    def put(self, path: str, data: bytes, mode: int | None = None) -> None:
        """The same with bytes, and with a mode when one is given."""
        with self._folder(path, create=True) as (folder, name):
            if folder is None:
                raise ProviderError(f"{path}: its folder cannot be made")
            standing, owner = self._standing(folder, name, path)
            fresh = f".veilig-{os.urandom(8).hex()}"
            try:
                self._write_in(folder, fresh, data, standing if mode is None else mode, owner)
                os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.unlink(fresh, dir_fd=folder)
                raise _cannot("write", path, error) from error

    def delete(self, path: str) -> None:
        """Remove one file; a missing one is an error."""
        with self._folder(path, create=False) as (folder, name):
            if folder is None:
                raise ProviderError(f"{path}: no such file", why="it cannot be removed")
            try:
                os.unlink(name, dir_fd=folder)
            except OSError as error:
                raise _cannot("remove", path, error) from error

    def _read_in(self, folder: int, name: str, path: str, most: int) -> bytes | None:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _cannot("read", path, error) from error
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(fd)
            raise ProviderError(f"{path}: not a regular file", why="devices, pipes and folders are not read")
        with os.fdopen(fd, "rb") as file:
            if info.st_size > most:
                raise ProviderError(f"{path}: {info.st_size} bytes", why=f"more than {most} are not edited")
            return file.read(most + 1)

    @staticmethod
    def _write_in(folder: int, name: str, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, mode, dir_fd=folder)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if owner:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)  # after the owner, whose change clears set-user-id
            os.fsync(file.fileno())

    def _standing(self, folder: int, name: str, path: str) -> tuple[int, tuple[int, int] | None]:
        """Mode and owner for what replaces `name`: those of the file that stands there."""
        try:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return 0o644, self.owner
        except OSError as error:
            raise _cannot("write", path, error) from error
        if stat.S_ISLNK(info.st_mode):
            raise ProviderError(
                f"{path}: a symbolic link", why="links are never written through", fix="name its target"
            )
        keep = os.geteuid() == 0  # nobody else may give files away
        return stat.S_IMODE(info.st_mode), (info.st_uid, info.st_gid) if keep else self.owner

    @contextlib.contextmanager
    def _folder(self, path: str, *, create: bool) -> Generator[tuple[int | None, str]]:
        """A descriptor of the file's folder (None when missing and not created) and the file's name."""
        *steps, name = path.split("/")
        if not name or name in (".", "..") or ".." in steps or "\0" in path:
            raise ProviderError(
                f"{path!r} names no file below the folder", why="nothing outside of it is touched"
            )
        try:
            fd = os.open(self.root, _DIRECTORY)
        except OSError as error:
            raise _cannot("open", str(self.root), error) from error
        try:
            for step in steps:
                deeper = self._enter(fd, step, path, create=create)
                if deeper is None:
                    yield None, name
                    return
                os.close(fd)
                fd = deeper
            yield fd, name
        finally:
            os.close(fd)

    def _enter(self, fd: int, step: str, path: str, *, create: bool) -> int | None:
        try:
            return os.open(step, _DIRECTORY, dir_fd=fd)
        except FileNotFoundError:
            if not create:
                return None
        except OSError as error:
            raise _cannot("enter", path, error) from error
        try:
            os.mkdir(step, 0o755, dir_fd=fd)
            if self.owner:
                os.chown(step, *self.owner, dir_fd=fd, follow_symlinks=False)
            return os.open(step, _DIRECTORY, dir_fd=fd)
        except OSError as error:
            raise _cannot("make a folder for", path, error) from error


def _cannot(verb: str, path: str, error: OSError) -> ProviderError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return ProviderError(
            f"cannot {verb} {path}", why="a symbolic link stands in its way", fix="links are never followed"
        )
    return ProviderError(f"cannot {verb} {path}", why=error.strerror or str(error), fix="nothing was changed")
