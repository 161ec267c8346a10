"""Which bytes stand for a JSON value? Exactly one sequence per value, so that a hash means something."""

import json
from collections.abc import Sequence
from typing import cast

from veilig.core.errors import LedgerError

type JSON = str | int | float | bool | list[JSON] | dict[str, JSON] | None

DEPTH_MAX = 64  # nothing that people read nests deeper; the C encoder would overflow near 1000

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
)


def canonical(value: JSON) -> bytes:
    """`value` as UTF-8 JSON: keys sorted by code point, no spaces, floats as Python's `repr`.

    Takes str, bool, None, int, finite float, list and dict with str keys, at most DEPTH_MAX deep.
    Raises LedgerError for anything else (tuple, bytes, NaN, lone surrogate, other keys), naming where.
    Not RFC 8785: that sorts by UTF-16 units and prints floats as JavaScript does.
    """
    return canonical_text(value).encode("utf-8")


def canonical_text(value: JSON) -> str:
    """As `canonical`, before encoding; every character of it can be encoded as UTF-8."""
    _check(value, "$", 0)
    try:
        text = _ENCODER.encode(value)
        if not text.isascii():
            text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _refuse("text holds a lone surrogate", "decode bytes with errors='replace' first") from error
    except ValueError as error:  # NaN, Infinity, or an integer beyond Python's digit limit
        raise _refuse(str(error), "use a finite number of a sane size") from error
    return text


def parse(text: str) -> JSON:
    """The value of a JSON text. Raises ValueError for anything that is not JSON (NaN, Infinity)."""
    try:
        return cast(JSON, _DECODER.decode(text))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _check(value: object, where: str, depth: int) -> None:
    if value is None or isinstance(value, str | int | float):
        return
    if depth >= DEPTH_MAX:
        raise _refuse(f"{where[:80]} nests deeper than {DEPTH_MAX}", "flatten the value")
    if isinstance(value, dict):
        for key, item in cast(dict[object, object], value).items():
            if not isinstance(key, str):
                raise _refuse(f"{where} has the key {key!r}", "keys are text")
            if not isinstance(item, str):  # the common case costs no call
                _check(item, f"{where}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(cast(Sequence[object], value)):
            if not isinstance(item, str):
                _check(item, f"{where}[{index}]", depth + 1)
    else:
        raise _refuse(
            f"{where} is {type(value).__name__}",
            "use str, int, float, bool, None, list or dict (a tuple is none)",
        )


def _refuse(why: str, fix: str) -> LedgerError:
    return LedgerError("a value cannot be written as canonical JSON", why=why, fix=fix)
