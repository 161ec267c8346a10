"""Did a candidate leave something behind that the next one would see?"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, cast

VALUE_DEPTH = 3
LARGE_BYTES = 250  # of a pickle: beyond it, a value is looked at in full once per batch only
Key = Any  # (place of the module or class, name)
PLAIN = (int, float, complex, str, bytes, bool, type(None))
SKIPPED = (ModuleType, FunctionType, BuiltinFunctionType, type)


class State:
    """The modules' data globals, the tests' parameters, working directory, environment."""

    def __init__(self, modules: list[Any], items: list[Any]) -> None:
        self.spaces: list[Any] = [vars(module) for module in modules]
        self.fixed: list[Any] = []
        for module in modules:
            space = cast("dict[str, Any]", vars(module))
            members: list[Any] = list(space.values())
            for one in members:
                if isinstance(one, type) and one.__module__ == module.__name__:
                    self.spaces.append(vars(one))
                elif isinstance(one, FunctionType) and one.__defaults__:
                    self.fixed.append(one.__defaults__)
        for item in items:
            callspec: Any = getattr(item, "callspec", None)
            parameters: Any = getattr(callspec, "params", None)
            if parameters:
                self.fixed.append(parameters)

        self.counters: set[Key] = set()  # what changes whenever the tests run, and says nothing therefore
        self.large: set[Key] = set()

    def learn(self, once: dict[Key, Any], twice: dict[Key, Any]) -> set[Key]:
        """Leave out what merely counts: numbers that differ between two runs of the same code.

        Returns the other places of modules and classes that differ: registries that grow with every run.
        """
        changed = {
            key for key in once.keys() | twice.keys() if once.get(key) != twice.get(key) and key[0] >= 0
        }
        numbers = {key for key in changed if isinstance(once.get(key), (int, float))}
        self.counters |= numbers
        return changed - numbers

    def parts(self, quick: bool = False) -> dict[Key, Any]:
        """What can be compared between two moments; `quick` looks at large tables by their size only."""
        found: dict[Key, Any] = {
            (-1, "path"): len(sys.path),
            (-1, "folder"): _directory(),
            (-1, "environment"): hash(frozenset(os.environ.items())),
        }
        for place, space in enumerate(self.spaces):
            self._mutable(place, space, quick, found)
        for place, one in enumerate(self.fixed):
            if hasattr(one, "items"):
                self._mutable(-2 - place, one, quick, found)
            else:
                found[-2 - place, ""] = _frozen(one)
        for key in self.counters:
            found.pop(key, None)
        return found

    def _mutable(self, place: int, space: Any, quick: bool, found: dict[Key, Any]) -> None:
        for name, value in list(space.items()):
            if isinstance(value, SKIPPED) or (isinstance(name, str) and name.startswith("__")):
                continue
            key = (place, name)
            if isinstance(value, PLAIN):
                found[key] = value
            elif quick and key in self.large:
                found[key] = (id(value), len(value) if hasattr(value, "__len__") else 0)
            else:
                frozen = _frozen(value)
                if isinstance(frozen, bytes) and len(frozen) > LARGE_BYTES:
                    self.large.add(key)
                found[key] = frozen


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
