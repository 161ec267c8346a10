"""Accounts in a JSON file."""

import hashlib
import json
import pathlib


def _read(path):
    place = pathlib.Path(path)
    return json.loads(place.read_text()) if place.exists() else {}


def register(path, name, password):
    """Store a new account; ValueError when the name is taken."""
    accounts = _read(path)
    if name in accounts:
        raise ValueError("taken")
    accounts[name] = hashlib.md5(password.encode()).hexdigest()
    pathlib.Path(path).write_text(json.dumps(accounts))


def sign_in(path, name, password):
    """Whether that is the password of the account."""
    return _read(path).get(name) == hashlib.md5(password.encode()).hexdigest()
