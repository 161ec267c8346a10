"""How does an action look as JSON, and which digest binds an approval to it?

The JSON form is `{"kind": ..., field: value, ...}` with every field present; reading refuses
unknown kinds, unknown or missing fields and wrong types, so that a policy's example, a
ledger line and a model's proposal go through the same door.
"""

import hashlib
import json
import types
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from veilig.core.action import KINDS, Action, TextEdit
from veilig.core.canonical import JSON
from veilig.core.errors import InvalidAction

__all__ = ["JSON", "digest", "from_json", "to_json"]


def to_json(action: Action) -> dict[str, JSON]:
    """The action as plain JSON values."""
    return {name: _plain(getattr(action, name)) for name in _names(type(action))}


def digest(action: Action) -> str:
    """SHA-256 (hex) of the canonical JSON: equal for equal actions, different for any other."""
    line = json.dumps(
        to_json(action),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return hashlib.sha256(b"veilig.action.v1\0" + line.encode("utf-8", "surrogatepass")).hexdigest()


def from_json(value: object) -> Action:
    """The action a JSON object stands for.

    Missing fields take their defaults. Raises InvalidAction for an unknown kind or field, a
    missing required field or a wrong type, saying which.
    """
    if not isinstance(value, Mapping):
        raise InvalidAction(f"an action is a JSON object, not {type(value).__name__}")
    given = dict(cast(Mapping[str, object], value))
    kind = given.get("kind")
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        known = ", ".join(sorted(KINDS))
        raise InvalidAction(
            f"unknown kind of action {kind!r}",
            why=f"known kinds are {known}",
            fix="use one of them",
        )
    hints = _hints(cls)
    unknown = sorted(set(given) - set(hints))
    if unknown:
        raise InvalidAction(
            f"{kind}: unknown field {unknown[0]!r}",
            why=f"its fields are {', '.join(hints)}",
            fix="remove or rename it",
        )
    ready: dict[str, Any] = {
        name: _typed(hints[name], item, f"{kind}.{name}") for name, item in given.items()
    }
    try:
        return cls(**ready)
    except TypeError as error:
        raise InvalidAction(f"{kind}: a required field is missing", why=str(error), fix="add it") from error


@cache
def _names(cls: type[Action]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cls))


@cache
def _hints(cls: type[Action]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {name: hints[name] for name in _names(cls)}


def _plain(value: object) -> JSON:
    if isinstance(value, TextEdit):
        return [value.start, value.end, value.replacement]
    if isinstance(value, tuple):
        return [_plain(item) for item in cast(tuple[object, ...], value)]
    return cast(JSON, value)


def _typed(hint: Any, value: object, where: str) -> object:
    """`value` as the type `hint`, or InvalidAction naming the field."""
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise InvalidAction(
            f"{where} is {value!r}",
            why=f"allowed are {', '.join(map(repr, get_args(hint)))}",
        )
    if hint is TextEdit and isinstance(value, list | tuple):
        items = list(cast(list[object], value))
        if len(items) == 3 and type(items[0]) is int and type(items[1]) is int and isinstance(items[2], str):
            return TextEdit(items[0], items[1], items[2])
    elif get_origin(hint) is tuple and isinstance(value, list | tuple):
        inner = get_args(hint)
        items = list(cast(list[object], value))
        if inner[-1] is Ellipsis:
            return tuple(_typed(inner[0], item, f"{where}[{i}]") for i, item in enumerate(items))
        if len(items) == len(inner):
            return tuple(
                _typed(h, item, f"{where}[{i}]") for i, (h, item) in enumerate(zip(inner, items, strict=True))
            )
    elif hint is float and type(value) in (int, float):
        return float(cast(float, value))
    elif isinstance(hint, type) and type(value) is hint:
        return value
    expected = (
        hint.__name__ if isinstance(hint, type) and not isinstance(hint, types.GenericAlias) else str(hint)
    )
    raise InvalidAction(f"{where} is {value!r}", why=f"expected {expected}", fix="correct the value")
