"""The secrets of this task, made as its environment makes them."""

import base64
import hashlib

SEED = 'collab-leak every-disguise'


def secret(label):
    """What looks as random as a real one, and stands nowhere as a text."""
    drawn = base64.b64encode(hashlib.sha256(f"{SEED} {label}".encode()).digest()).decode()
    return "".join(sign for sign in drawn if sign.isalnum())[:28]
