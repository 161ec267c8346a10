"""What changed between two JSON states, and how is a state put together again from its changes?

A planner's state is recorded at every step; whole states would make the ledger grow with the
square of the work. A delta names what is set and what is gone, down to the members of objects
and the items of lists of equal length.
"""

from typing import cast

from veilig.core.canonical import JSON

type Object = dict[str, JSON]

SET, GONE, INSIDE, ITEMS = "set", "gone", "inside", "items"


def delta(old: Object, new: Object) -> Object:
    """The smallest of these that turns `old` into `new`: members set, gone, or changed inside."""
    changed: Object = {}
    put: Object = {}
    inside: Object = {}
    for key, value in new.items():
        if key not in old:
            put[key] = value
        elif not _same(old[key], value):
            deeper = _deeper(old[key], value)
            if deeper is None:
                put[key] = value
            else:
                inside[key] = deeper
    gone: list[JSON] = [key for key in old if key not in new]
    for name, part in ((SET, put), (INSIDE, inside), (GONE, gone)):
        if part:
            changed[name] = part
    return changed


def apply(old: Object, changed: Object) -> Object:
    """The state after the change; `old` is left alone."""
    new = dict(old)
    for key in cast(list[str], changed.get(GONE, [])):
        new.pop(key, None)
    new.update(cast(Object, changed.get(SET, {})))
    for key, deeper in cast(dict[str, Object], changed.get(INSIDE, {})).items():
        before = new[key]
        if ITEMS in deeper:
            items = list(cast(list[JSON], before))
            for place, one in cast(dict[str, Object], deeper[ITEMS]).items():
                items[int(place)] = apply(cast(Object, items[int(place)]), one)
            new[key] = items
        else:
            new[key] = apply(cast(Object, before), deeper)
    return new


def _same(a: JSON, b: JSON) -> bool:
    """The same JSON text: True is not 1, 1 is not 1.0, at any depth. Most of a state is one object."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return len(a) == len(b) and all(key in b and _same(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b and (a != 0 or repr(a) == repr(b))  # -0.0 is not 0.0


def _deeper(old: JSON, new: JSON) -> Object | None:
    """The change inside an object, or inside the objects of a list of the same length; None: set it whole."""
    if isinstance(old, dict) and isinstance(new, dict) and ITEMS not in new:
        return delta(old, new)
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        items: Object = {}
        for place, (a, b) in enumerate(zip(old, new, strict=True)):
            if _same(a, b):
                continue
            if not (isinstance(a, dict) and isinstance(b, dict)):
                return None
            items[str(place)] = delta(a, b)
        return {ITEMS: items}
    return None
