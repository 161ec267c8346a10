"""Where does the ledger end, according to a place outside the ledger?

A hash chain does not notice that its tail was cut off. So after every durable commit the size, the
hash and the root are written beside it: one small record, replaced in place, never ahead of what is
on disk. It may lag behind after a crash; a ledger shorter than its anchor has lost events.
"""

import fcntl
import hashlib
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from veilig.core.errors import LedgerError
from veilig.core.ledger_event import tampered
from veilig.core.ledger_file import sync_folder, unwritable

_MAGIC = b"veilhd1\n"
_RECORD = struct.Struct("<8sQ32s32s32s16s")  # magic, size, hash, root, SHA-256 of the path, checksum
_SLOT_BYTES = 512  # a disk sector: a power cut tears at most the slot that was being written
_SLOTS = 2


@dataclass(frozen=True, slots=True)
class Anchored:
    """Size, chain hash and Merkle root that the ledger had at a durable commit."""

    size: int
    hash: bytes
    root: bytes


class Anchor:
    """The head record of one ledger, shared by all its processes."""

    __slots__ = ("_fd", "_path_hash", "path")

    def __init__(self, path: Path, ledger: Path | str) -> None:
        self.path = path
        self._path_hash = path_hash(ledger)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise unwritable(path, error) from error

    def write(self, anchored: Anchored) -> None:
        """Replace the record unless another process wrote a newer one. Raises LedgerError."""
        try:
            with _locked(self._fd):
                slots = _slots(os.pread(self._fd, _SLOTS * _SLOT_BYTES, 0))
                newest = _newest(slots)
                if newest is not None and slots[newest] >= (anchored.size, b""):
                    return
                slot = 0 if newest is None else 1 - newest
                os.pwrite(self._fd, _packed(anchored, self._path_hash), slot * _SLOT_BYTES)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)


def create_anchor(path: Path, ledger: Path | str, anchored: Anchored) -> None:
    """Make the record (mode 0600), on disk when this returns; an existing one is kept. Raises LedgerError."""
    first = _packed(anchored, path_hash(ledger)).ljust(_SLOTS * _SLOT_BYTES, b"\0")
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")  # threads make one, too
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                os.write(fd, first)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.link(draft, path)
        except FileExistsError:
            return
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def read_anchor(path: Path) -> Anchored | None:
    """The newest intact record; None when there is no such file.

    Raises LedgerTampered when the file holds no intact record: it is never created without one.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unwritable(path, error) from error
    slots = _slots(data)
    newest = _newest(slots)
    if newest is None:
        raise tampered(1, f"its anchor {str(path)!r} is damaged")
    return _unpacked(data, newest)


def damaged_slots(path: Path) -> int:
    """How many slots of the record hold something that is no record (a power cut leaves at most one)."""
    data = path.read_bytes()
    return sum(
        1
        for i in range(_SLOTS)
        if _unpacked(data, i) is None and data[i * _SLOT_BYTES : (i + 1) * _SLOT_BYTES].strip(b"\0")
    )


def lost_ledger(anchor_dir: Path, ledger: Path | str) -> Path | None:
    """The anchor of a non-empty ledger that stood at this path, if there is one."""
    wanted = path_hash(ledger)
    try:
        found = sorted(anchor_dir.glob("*.head"))
        for path in found:
            data = path.read_bytes()
            for i in range(_SLOTS):
                record = _unpacked(data, i)
                if record is not None and record.size and _fields(data, i)[4] == wanted:
                    return path
    except OSError as error:
        raise unwritable(anchor_dir, error) from error
    return None


def path_hash(ledger: Path | str) -> bytes:
    """Names the place of a ledger without telling it."""
    if isinstance(ledger, str):
        return hashlib.sha256(ledger.encode()).digest()
    return hashlib.sha256(os.fsencode(ledger.resolve())).digest()


def behind(anchored: Anchored, size: int, source: str) -> LedgerError:
    """The error for a ledger that is shorter than what was anchored."""
    return tampered(
        size + 1,
        f"it holds {size} events and {source} vouches for {anchored.size}: the tail was cut, or it is old",
    )


def _packed(anchored: Anchored, place: bytes) -> bytes:
    body = _RECORD.pack(_MAGIC, anchored.size, anchored.hash, anchored.root, place, b"")[:-16]
    return body + hashlib.sha256(body).digest()[:16]


def _fields(data: bytes, slot: int) -> tuple[bytes, int, bytes, bytes, bytes, bytes]:
    return _RECORD.unpack_from(data, slot * _SLOT_BYTES)


def _unpacked(data: bytes, slot: int) -> Anchored | None:
    start = slot * _SLOT_BYTES
    if len(data) < start + _RECORD.size:
        return None
    magic, size, last, root, _, checksum = _fields(data, slot)
    body = data[start : start + _RECORD.size - 16]
    if magic != _MAGIC or hashlib.sha256(body).digest()[:16] != checksum:
        return None
    return Anchored(size, last, root)


def _slots(data: bytes) -> list[tuple[int, bytes]]:
    records = [_unpacked(data, i) for i in range(_SLOTS)]
    return [(-1, b"") if record is None else (record.size, record.hash) for record in records]


def _newest(slots: list[tuple[int, bytes]]) -> int | None:
    newest = max(range(_SLOTS), key=lambda i: slots[i][0])
    return None if slots[newest][0] < 0 else newest


@contextmanager
def _locked(fd: int) -> Generator[None]:
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
