"""What does a patched function answer where the tests do not look?

The arguments that tests give to the edited functions are recorded and varied a little. Patches that pass
the same tests but answer differently here are different guesses; those that agree are one guess written
in several ways. Source of the idea: differential testing of plausible patches.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import itertools
import pickle
import random
import re
import sys
from types import CodeType, FunctionType
from typing import Any, cast

from veilig_worker_items import Clock, OutOfTime, run_item

INPUTS_MAX = 24  # recorded calls per function
VARIANTS = 4  # per recorded call, and one with each parameter that has a default left out
PICKLE_BYTES_MAX = 20_000
CALL_CPU_S = 0.05
LATE_MAX = 10  # a candidate that hangs on so many inputs is not asked further
SHOWN_CHARS_MAX = 2_000
YIELDS_MAX = 200
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


def record(units: dict[int, list[CodeType]], items: list[Any], limit_s: float) -> list[list[Any]]:
    """Calls of the units' code that the tests make: [unit, arguments as hex of a pickle], none twice."""
    by_code = {code: number for number, codes in units.items() for code in codes}
    found: dict[tuple[int, str], None] = {}
    counts = dict.fromkeys(units, 0)

    def look(frame: Any, event: str, _argument: Any) -> None:
        number = by_code.get(frame.f_code) if event == "call" else None
        if number is None or counts[number] >= INPUTS_MAX:
            return
        with contextlib.suppress(Exception):  # what cannot be pickled cannot be asked again
            data = pickle.dumps(_arguments(frame), protocol=4)
            key = (number, data.hex())
            if len(data) <= PICKLE_BYTES_MAX and key not in found:
                found[key] = None
                counts[number] += 1

    clock = Clock()
    for place, item in enumerate(items):
        following = items[place + 1] if place + 1 < len(items) else None
        sys.setprofile(look)
        try:
            run_item(item, clock, limit_s, following)
        finally:
            sys.setprofile(None)
        if all(count >= INPUTS_MAX for count in counts.values()):
            break
    return [list(one) for one in found]


def varied(inputs: list[list[Any]], functions: dict[int, FunctionType]) -> list[list[Any]]:
    """The recorded calls and their neighbours; the same for the same calls, whatever the machine."""
    dice = random.Random(0)
    made: dict[tuple[int, str], None] = {(int(number), str(data)): None for number, data in inputs}
    for number, data in list(made):
        for place, value in _defaults(functions.get(number)):
            with contextlib.suppress(Exception):
                positional, keywords = pickle.loads(bytes.fromhex(data))  # noqa: S301  (our own pickle)
                if isinstance(place, int):
                    positional[place] = value
                else:
                    keywords[place] = value
                made[number, pickle.dumps((positional, keywords), protocol=4).hex()] = None
        for _ in range(VARIANTS):
            with contextlib.suppress(Exception):  # a value that refuses to be changed has no neighbours
                positional, keywords = pickle.loads(bytes.fromhex(data))  # noqa: S301  (our own pickle)
                _change_one(positional, keywords, dice)
                made[number, pickle.dumps((positional, keywords), protocol=4).hex()] = None
    return [list(one) for one in made]


def _defaults(function: FunctionType | None) -> list[tuple[int | str, Any]]:
    """Place or name of each parameter that has a default, and the default."""
    if function is None:
        return []
    values = function.__defaults__ or ()
    first = function.__code__.co_argcount - len(values)
    found: list[tuple[int | str, Any]] = [(first + place, value) for place, value in enumerate(values)]
    return [*found, *(function.__kwdefaults__ or {}).items()]


def answers(functions: dict[int, FunctionType], inputs: list[list[Any]]) -> list[str]:
    """A word per input: a digest of what came back and of the arguments after it, `!Type`, or `late`."""
    clock = Clock()
    said: list[str] = []
    late = 0
    for number, data in inputs:
        if late >= LATE_MAX:
            said.append("unasked")
            continue
        try:
            positional, keywords = pickle.loads(bytes.fromhex(data))  # noqa: S301  (our own pickle)
        except Exception:  # noqa: BLE001  (a class of the tests that cannot be made again)
            said.append("unasked")
            continue
        said.append(_ask(functions[int(number)], positional, keywords, clock))
        late += said[-1] == "late"
    return said


def _ask(function: FunctionType, positional: list[Any], keywords: dict[str, Any], clock: Clock) -> str:
    clock.start(CALL_CPU_S)
    try:
        got: Any = function(*positional, **keywords)
        if inspect.iscoroutine(got):
            got = asyncio.run(got)
        if inspect.isgenerator(got):
            got = list(itertools.islice(got, YIELDS_MAX))
        said = hashlib.blake2b(
            _shown([got, positional]).encode("utf-8", "replace"), digest_size=6
        ).hexdigest()
    except OutOfTime:
        said = "late"
    except BaseException as error:  # noqa: BLE001  (whatever it raises is its answer)
        said = f"!{type(error).__name__}"
    clock.stop()
    return "late" if clock.fires else said


def _arguments(frame: Any) -> tuple[list[Any], dict[str, Any]]:
    code = frame.f_code
    names = code.co_varnames
    positional = [frame.f_locals[name] for name in names[: code.co_argcount]]
    end = code.co_argcount + code.co_kwonlyargcount
    keywords = {name: frame.f_locals[name] for name in names[code.co_argcount : end]}
    if code.co_flags & inspect.CO_VARARGS:
        positional += frame.f_locals[names[end]]
        end += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        keywords.update(frame.f_locals[names[end]])
    return positional, keywords


def _change_one(positional: list[Any], keywords: dict[str, Any], dice: random.Random) -> None:
    places: list[Any] = [*range(len(positional)), *keywords]
    place = dice.choice(places)
    if isinstance(place, int):
        positional[place] = _changed(positional[place], dice)
    else:
        keywords[place] = _changed(keywords[place], dice)


def _changed(value: Any, dice: random.Random) -> Any:
    """A neighbour of a value, of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return dice.choice([value + 1, value - 1, value * 2, 0, 1])
    if isinstance(value, float):
        return dice.choice([value + 1, value / 2, -value, 0.0])
    kind = cast("type[Any]", type(value))
    if issubclass(kind, (str, bytes, list, tuple)):
        return _resized(value, dice)
    if issubclass(kind, (dict, set)):
        return _without(value, dice)
    inside: Any = getattr(value, "__dict__", None)
    if isinstance(inside, dict) and inside:
        name = dice.choice(sorted(cast("dict[str, Any]", inside)))
        setattr(value, name, _changed(inside[name], dice))
    return value


def _resized(value: Any, dice: random.Random) -> Any:
    if not value:
        return value
    at = dice.randrange(len(value))
    kind = dice.randrange(5)
    if kind == 0:
        return value[:at] + value[at + 1 :]
    if kind == 1:
        return value[: at + 1] + value[at:]
    if kind == 2:
        return value[::-1]
    if kind == 3:
        return value[:0]
    kind = cast("type[Any]", type(value))
    if issubclass(kind, (str, bytes)):
        return value[at:] + value[:at]
    items: list[Any] = list(value)
    items[at] = _changed(items[at], dice)
    return kind(items)


def _without(value: Any, dice: random.Random) -> Any:
    if not value:
        return value
    key = dice.choice(sorted(value, key=repr))
    if not hasattr(value, "keys"):
        value.discard(key)
    elif dice.random() < 0.5:
        value[key] = _changed(value[key], dice)
    else:
        del value[key]
    return value


def _shown(value: Any, depth: int = 4) -> str:
    """The value as text without addresses; objects that only show their address by what they hold."""
    kind = cast("type[Any]", type(value))
    if issubclass(kind, (list, tuple)) and depth:
        return kind.__name__ + ",".join(_shown(one, depth - 1) for one in value)
    if issubclass(kind, dict) and depth:
        return "dict" + ",".join(f"{_shown(k, 1)}:{_shown(v, depth - 1)}" for k, v in value.items())
    if issubclass(kind, (set, frozenset)):
        return "set" + ",".join(sorted(_shown(one, 1) for one in value))
    text = repr(value)[:SHOWN_CHARS_MAX]
    inside: Any = getattr(value, "__dict__", None)
    if depth and ADDRESS.search(text) and isinstance(inside, dict) and not issubclass(kind, type):
        return kind.__name__ + _shown(inside, depth - 1)
    return f"{kind.__name__} {ADDRESS.sub('', text)}"
