"""Did a candidate leave something behind that the next one would see?"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, cast

VALUE_DEPTH = 3
PLAIN = (int, float, complex, str, bytes, bool, type(None))
SKIPPED = (ModuleType, FunctionType, BuiltinFunctionType, type)


class State:
    """The modules' data globals, the tests' parameters, working directory, environment."""

    def __init__(self, modules: list[Any], items: list[Any]) -> None:
        self.spaces: list[dict[str, Any]] = [vars(module) for module in modules]
        self.fixed: list[Any] = []
        for module in modules:
            space = cast("dict[str, Any]", vars(module))
            members: list[Any] = list(space.values())
            for one in members:
                if isinstance(one, type) and one.__module__ == module.__name__:
                    self.fixed.append(vars(one))
                elif isinstance(one, FunctionType) and one.__defaults__:
                    self.fixed.append(one.__defaults__)
        for item in items:
            callspec: Any = getattr(item, "callspec", None)
            parameters: Any = getattr(callspec, "params", None)
            if parameters:
                self.fixed.append(parameters)

    def digest(self) -> bytes:
        parts: list[Any] = [len(sys.path), _directory(), hash(frozenset(os.environ.items()))]
        for space in self.spaces:
            parts.append(_mutable(space))
        for one in self.fixed:
            parts.append(_mutable(one) if hasattr(one, "items") else _frozen(one))
        return hashlib.blake2b(repr(parts).encode("utf-8", "backslashreplace"), digest_size=16).digest()


def _mutable(space: Any) -> list[Any]:
    found: list[Any] = []
    for name, value in list(space.items()):
        if isinstance(value, SKIPPED) or (isinstance(name, str) and name.startswith("__")):
            continue
        found.append((name, value if isinstance(value, PLAIN) else _frozen(value)))
    return found


def _frozen(value: Any) -> Any:
    with contextlib.suppress(Exception):  # anything may refuse to be pickled, in its own way
        return pickle.dumps(value, protocol=4)
    try:
        return _shallow(value, VALUE_DEPTH)
    except Exception:  # noqa: BLE001  (a proxy such as flask.request fails at every attribute outside of its context)
        return id(value)


def _shallow(value: Any, depth: int) -> Any:
    kind = cast("type[Any]", type(value))
    if isinstance(value, PLAIN):
        return value
    if depth == 0:
        return id(value)
    if issubclass(kind, dict):
        return [(_shallow(key, 1), _shallow(one, depth - 1)) for key, one in list(value.items())]
    if issubclass(kind, (list, tuple)):
        return [_shallow(one, depth - 1) for one in value]
    if issubclass(kind, (set, frozenset)):
        return sorted(repr(one) for one in value)
    inside: Any = getattr(value, "__dict__", None)
    if inside is not None and not isinstance(value, SKIPPED):
        return [type(value).__name__, id(value), _shallow(inside, depth - 1)]
    return (type(value).__name__, id(value))


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return "<gone>"
