"""Who vouches, with a signature, that the ledger had this content at this size?

A checkpoint is one JSON line in `<ledger-id>.checkpoints` beside the anchor, signed with Ed25519.
Rewriting history with new, consistent hashes needs the key as well. `cryptography` is imported
only when a checkpoint is signed or checked.
"""

import fcntl
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from veilig.core.canonical import canonical, parse
from veilig.core.errors import LedgerError
from veilig.core.ledger_event import tampered
from veilig.core.ledger_file import sync_folder, unwritable

_CONTEXT = b"veilig.ledger.checkpoint.v1\0"
_KEY_BYTES = 32
_TEXT_FIELDS = ("ledger", "root", "hash", "boot", "key", "signature")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement about the first `size` events. root, hash, signature: hex; key: its short id."""

    ledger: str
    size: int
    root: str
    hash: str
    boot: str
    wall_ms: int
    key: str
    signature: str


class SigningKey:
    """The ledger's Ed25519 key, made (mode 0600) on first use.

    Raises LedgerError when it cannot be read, is no key, or others may read it.
    """

    __slots__ = ("_private", "id")

    def __init__(self, path: Path, *, create: bool) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # heavy

        if create:
            _create_key(path)
        self._private: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(_read_key(path))
        self.id = self._private.public_key().public_bytes_raw().hex()[:16]

    def sign(
        self, *, ledger: str, size: int, root: bytes, last: bytes, boot: str, wall_ms: int
    ) -> Checkpoint:
        """The signed checkpoint."""
        plain = Checkpoint(ledger, size, root.hex(), last.hex(), boot, wall_ms, self.id, "")
        signature = self._private.sign(_signed_bytes(plain)).hex()
        return Checkpoint(ledger, size, root.hex(), last.hex(), boot, wall_ms, self.id, signature)

    def signed(self, checkpoint: Checkpoint) -> bool:
        """Did this key sign exactly this checkpoint?"""
        from cryptography.exceptions import InvalidSignature  # heavy

        try:
            self._private.public_key().verify(bytes.fromhex(checkpoint.signature), _signed_bytes(checkpoint))
        except (InvalidSignature, ValueError):
            return False
        return checkpoint.key == self.id


def checkpoint_line(checkpoint: Checkpoint) -> bytes:
    """The checkpoint as one line of its file."""
    return canonical(asdict(checkpoint)) + b"\n"


def append_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Add one line, on disk when this returns. A line that a crash left half-written is removed first."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            content = os.pread(fd, os.fstat(fd).st_size, 0)
            whole = content.rfind(b"\n") + 1
            os.ftruncate(fd, whole)
            line = checkpoint_line(checkpoint)
            if os.pwrite(fd, line, whole) != len(line):
                raise LedgerError(
                    f"the checkpoint file {str(path)!r} was not written whole", fix="free space on that disk"
                )
            os.fsync(fd)
        finally:
            os.close(fd)
        if not content:
            sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def read_checkpoints(path: Path, ledger_id: str) -> tuple[list[Checkpoint], bool]:
    """The checkpoints in file order, and whether a half-written last line was left out.

    No file: none. Raises LedgerTampered for any other line that is no checkpoint of this ledger.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], False
    except OSError as error:
        raise unwritable(path, error) from error
    *lines, rest = content.split(b"\n")
    return [_parsed(line, number, ledger_id) for number, line in enumerate(lines, 1)], bool(rest)


def check_signatures(checkpoints: list[Checkpoint], key_file: Path) -> None:
    """Raises LedgerTampered for a wrong signature, LedgerError when the key is not there to check with."""
    if not checkpoints:
        return
    key = SigningKey(key_file, create=False)
    for number, checkpoint in enumerate(checkpoints, 1):
        if not key.signed(checkpoint):
            raise tampered(
                1, f"checkpoint {number} (size {checkpoint.size}) is not signed by the key {key.id}"
            )


def split_by_key(checkpoints: list[Checkpoint], key_file: Path) -> tuple[list[Checkpoint], list[Checkpoint]]:
    """Those that name this machine's key, and those of other machines. Raises LedgerError for a bad key."""
    if not checkpoints or not key_file.exists():
        return [], checkpoints
    ours = SigningKey(key_file, create=False).id
    return [c for c in checkpoints if c.key == ours], [c for c in checkpoints if c.key != ours]


def parse_checkpoint(line: bytes, ledger_id: str) -> Checkpoint:
    """The checkpoint in one stored line. Raises LedgerTampered."""
    return _parsed(line, 1, ledger_id)


def _parsed(line: bytes, number: int, ledger_id: str) -> Checkpoint:
    try:
        value = parse(line.decode())
        if not isinstance(value, dict) or canonical(value) != line:
            raise ValueError("not a canonical JSON object")
        texts = {name: value.pop(name) for name in _TEXT_FIELDS}
        size, wall_ms = value.pop("size"), value.pop("wall_ms")
        bad_number = type(size) is not int or type(wall_ms) is not int
        if value or bad_number or not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("other fields than a checkpoint has")
        checkpoint = Checkpoint(size=size, wall_ms=wall_ms, **texts)  # pyright: ignore[reportArgumentType]
        if checkpoint.ledger != ledger_id:
            raise ValueError("it belongs to another ledger")
        bytes.fromhex(checkpoint.root + checkpoint.hash)
    except (ValueError, KeyError, LedgerError) as error:
        raise tampered(1, f"line {number} of its checkpoints cannot be one: {error}") from error
    return checkpoint


def _signed_bytes(checkpoint: Checkpoint) -> bytes:
    fields = asdict(checkpoint)
    del fields["signature"]
    return _CONTEXT + canonical(fields)


def _create_key(path: Path) -> None:
    """Link a complete key into place: two processes that start together end with the same one."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(fd, os.urandom(_KEY_BYTES))  # an Ed25519 private key is 32 random bytes (RFC 8032)
            os.fsync(fd)
        finally:
            os.close(fd)
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def _read_key(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        key = path.read_bytes()
    except OSError as error:
        raise LedgerError(
            f"the ledger's key {str(path)!r} cannot be read",
            why=f"{error.strerror or error}; without it no checkpoint can be signed or checked",
            fix="restore the key, or make it readable for this user",
        ) from error
    if mode & 0o077:
        raise LedgerError(
            f"the ledger's key {str(path)!r} can be used by others",
            why=f"its mode is {mode & 0o777:o}; whoever reads it can rewrite history",
            fix=f"chmod 600 {path}, and make a new key if somebody else had access",
        )
    if len(key) != _KEY_BYTES:
        raise LedgerError(
            f"{str(path)!r} is not a ledger key",
            why=f"it has {len(key)} bytes, not {_KEY_BYTES}",
            fix="restore it",
        )
    return key
