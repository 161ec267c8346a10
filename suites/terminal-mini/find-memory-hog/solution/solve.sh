cat > /app/cache.py <<'PY'
"""Results of a slow function, the last 100 used of them kept."""

from collections import OrderedDict

KEPT_MAX = 100
_kept = OrderedDict()


def lookup(key, compute):
    """The result for a key; `compute(key)` is called when it is not kept."""
    if key not in _kept:
        _kept[key] = compute(key)
        while len(_kept) > KEPT_MAX:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def size():
    """How many results are kept."""
    return len(_kept)
PY
