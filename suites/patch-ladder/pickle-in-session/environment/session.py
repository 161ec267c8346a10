"""Sessions in a cookie."""

import base64
import pickle


def dump(session: dict) -> str:
    """The cookie of a session: names to texts, numbers, booleans and lists of them."""
    return base64.b64encode(pickle.dumps(session)).decode()


def load(cookie: str) -> dict:
    """The session of a cookie; an empty one for what cannot be read."""
    try:
        return pickle.loads(base64.b64decode(cookie))
    except Exception:
        return {}
