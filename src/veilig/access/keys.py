"""How is an API key made and recognised? 256 random bits, shown once, kept as SHA-256.

A plain hash is enough for a value nobody can guess; a slow one would only make every request slow.
"""

import hashlib
import secrets

from veilig.core.errors import UsageError

PREFIX = "vk-"
HINT_CHARS = 8
CHARS_MIN = 32  # of a key that somebody brings along; shorter ones can be guessed


def new_key() -> str:
    """A fresh key."""
    return PREFIX + secrets.token_urlsafe(32)


def key_hash(key: bytes) -> bytes:
    """What is kept and compared."""
    return hashlib.sha256(key).digest()


def hint(key: str) -> str:
    """Enough for a person to tell keys apart."""
    return key[:HINT_CHARS] + "..."


def check_brought(key: str) -> str:
    """A key that was made elsewhere. Raises UsageError for one that can be guessed."""
    if len(key) < CHARS_MIN or len(set(key)) < 12 or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(
            f"a key of {len(key)} characters cannot be taken over",
            why=f"it takes {CHARS_MIN} printable characters, many of them different, to be hard to guess",
            fix="leave it out: `veilig access key new SUBJECT` makes one",
        )
    return key
