"""Results of a slow function, kept."""

_kept = {}


def lookup(key, compute):
    """The result for a key; `compute(key)` is called when it is not kept."""
    if key not in _kept:
        _kept[key] = compute(key)
    return _kept[key]


def size():
    """How many results are kept."""
    return len(_kept)
