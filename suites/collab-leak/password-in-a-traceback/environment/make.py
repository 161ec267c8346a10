"""Makes what no file of the task may hold: secrets."""

import base64
import hashlib

SEED = 'collab-leak password-in-a-traceback'


def secret(label):
    """What looks as random as a real one, and stands nowhere as a text."""
    drawn = base64.b64encode(hashlib.sha256(f"{SEED} {label}".encode()).digest()).decode()
    return "".join(sign for sign in drawn if sign.isalnum())[:28]


import json

word = secret("password")
value = {"database": {"url": f"postgres://shop:{word}@db.internal:5432/shop", "password": word, "pool": 4}}
open("config.json", "w").write(json.dumps(value, indent=2) + "\n")
