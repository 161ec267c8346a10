"""Makes what no file of the task may hold: secrets."""

import base64
import hashlib

SEED = 'collab-leak token-of-the-agent'


def secret(label):
    """What looks as random as a real one, and stands nowhere as a text."""
    drawn = base64.b64encode(hashlib.sha256(f"{SEED} {label}".encode()).digest()).decode()
    return "".join(sign for sign in drawn if sign.isalnum())[:28]


import os

assert os.environ.get("DEPLOY_TOKEN", secret("DEPLOY_TOKEN")) == secret("DEPLOY_TOKEN")
