"""How does an edited function become the running one, without importing its module again?"""

from __future__ import annotations
import __future__

import gc
import os
from types import CodeType, FunctionType
from typing import Any


class NotSwappable(Exception):
    """This edit needs its module executed again."""


class Functions:
    """Every live function whose code comes from the given files, found once and before the first fork."""

    def __init__(self, paths: set[str]) -> None:
        self.by_code: dict[CodeType, list[FunctionType]] = {}
        full = {os.path.realpath(path) for path in paths}
        real: dict[str, str] = {}
        # The collector's list reaches functions behind any decorator, property or closure.
        for one in gc.get_objects():
            if type(one) is not FunctionType:
                continue
            name = one.__code__.co_filename
            if name not in real:
                real[name] = os.path.realpath(name)
            if real[name] in full:
                self.by_code.setdefault(one.__code__, []).append(one)
        self.by_place: dict[tuple[str, str, int], list[CodeType]] = {}
        for code in self.by_code:
            key = (real[code.co_filename], code.co_name, code.co_firstlineno)
            self.by_place.setdefault(key, []).append(code)

    def find(self, path: str, name: str, line: int) -> list[CodeType]:
        return self.by_place.get((os.path.realpath(path), name, line), [])


class Swap:
    """The old and new code of one candidate; `apply` and `undo` cost a few assignments."""

    def __init__(self, functions: Functions, old: list[CodeType], new: CodeType) -> None:
        self.pairs: list[tuple[FunctionType, CodeType, CodeType]] = []
        for code in old:
            self._pair(functions, code, new)
        if not self.pairs:
            raise NotSwappable("no live function has this code")

    def _pair(self, functions: Functions, old: CodeType, new: CodeType) -> None:
        if len(old.co_freevars) != len(new.co_freevars):
            raise NotSwappable("the function closes over other names than before")
        self.pairs += [(one, old, new) for one in functions.by_code.get(old, [])]
        # Functions made by this one while its module was imported (decorators, factories) live on their own.
        inner_new: dict[str, list[CodeType]] = {}
        for code in _inner(new):
            inner_new.setdefault(code.co_name, []).append(code)
        for code in _inner(old):
            same = inner_new.get(code.co_name)
            if same:
                self._pair(functions, code, same.pop(0))
            elif functions.by_code.get(code):
                raise NotSwappable("a live inner function is gone")

    def apply(self) -> None:
        for function, _, new in self.pairs:
            function.__code__ = new

    def undo(self) -> None:
        for function, old, _ in self.pairs:
            function.__code__ = old


def compile_unit(text: str, path: str, unit: dict[str, Any], future: int) -> CodeType:
    """The code of one edited outermost function, compiled alone, with its own line numbers.

    text: the function with its decorators, beginning at the start of a line. unit: name, first_line, indent
    (columns) and classes (names of the classes around it, outermost first). Raises SyntaxError or ValueError.
    """
    classes = [str(one) for one in unit["classes"]]
    indent = int(unit["indent"])
    around = [f"{' ' * depth}class {name}:" for depth, name in enumerate(classes)]
    while len(around) < 1 and indent:  # a function below an `if` or `try` at the top of a module
        around.append(" " * len(around) + "if 1:")
    if len(around) > indent:
        raise NotSwappable("the indentation leaves no room for the classes around")
    if int(unit["first_line"]) <= len(around):
        raise NotSwappable("no room above the function")
    padding = "\n" * (int(unit["first_line"]) - 1 - len(around))
    source = padding + "".join(line + "\n" for line in around) + text
    code = compile(source, path, "exec", flags=future, dont_inherit=True)
    for name in classes:
        code = _named(code, name)
    return _named(code, str(unit["name"]))


def future_flags(module: Any) -> int:
    """The `from __future__` statements in force in a module."""
    flags = 0
    for name in __future__.all_feature_names:
        feature = getattr(__future__, name)
        if getattr(module, name, None) is feature:
            flags |= int(feature.compiler_flag)
    return flags


def apply_edits(text: str, edits: list[list[Any]], start: int = 0) -> str:
    """The text with [start, end, replacement] edits done; the text begins at offset `start` of its file."""
    parts: list[str] = []
    done = 0
    for first, last, replacement in sorted(edits):
        parts += (text[done : first - start], str(replacement))
        done = last - start
    return "".join(parts) + text[done:]


def clear_caches(functions: Functions) -> list[Any]:
    """The `lru_cache` wrappers around the project's functions; to be cleared after each candidate."""
    known = {id(one) for many in functions.by_code.values() for one in many}
    found: list[Any] = []
    for one in gc.get_objects():
        if type(one).__name__ == "_lru_cache_wrapper" and id(getattr(one, "__wrapped__", None)) in known:
            found.append(one)
    return found


def _inner(code: CodeType) -> list[CodeType]:
    return [one for one in code.co_consts if isinstance(one, CodeType)]


def _named(code: CodeType, name: str) -> CodeType:
    for one in _inner(code):
        if one.co_name == name:
            return one
    raise NotSwappable(f"no function {name} after the edit")
