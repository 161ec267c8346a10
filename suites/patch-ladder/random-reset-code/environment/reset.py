"""Codes that reset a password."""

import random
import string

LENGTH = 24


def reset_token() -> str:
    """A token for the reset link: letters and digits."""
    alphabet = string.ascii_letters + string.digits
    return "".join(random.choice(alphabet) for _ in range(LENGTH))


def matches(given: str, stored: str) -> bool:
    """Whether a token is the stored one."""
    return given == stored
