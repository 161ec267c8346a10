"""What are a module's names after its body ran, whoever asks first and whatever was followed before?

The answer depends on nothing but the texts the body looked at: it is worked out with a full budget, an empty
call stack and summaries of its own, and nothing that is followed later changes it. So modules can be loaded
in any order, in any process, or not at all. Two modules whose bodies ask for one another, directly or by
way of others, would see each other half loaded; each is shown what the other makes of its own
text alone instead.
"""

import ast
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from veilig.audit.engine.source import ModuleInfo
from veilig.audit.engine.value import Value
from veilig.audit.finding import Incomplete

if TYPE_CHECKING:
    from veilig.audit.engine.frame import Engine, Entry, Told

NESTED_MAX = 12  # bodies that wait for one another; a longer chain is loaded from its far end


class NotLoadedError(Exception):
    """This module must be loaded first, from the ground: the chain of those that wait for it is too long."""

    def __init__(self, module: ModuleInfo) -> None:
        super().__init__(module.path)
        self.module = module


@dataclass(slots=True, eq=False)
class Notes:
    """What was looked at: modules whose names were read, and questions whose answers other files decide."""

    touched: set[str] = field(default_factory=set[str])
    asked: set[str] = field(default_factory=set[str])


@dataclass(slots=True, eq=False)
class Load:
    """One module's body, run; `views`: which names of other modules it is shown."""

    module: ModuleInfo
    names: dict[str, Value] = field(default_factory=dict[str, Value])
    notes: Notes = field(default_factory=Notes)
    views: dict[str, dict[str, Value]] = field(default_factory=dict[str, dict[str, Value]])
    entries: "list[Entry]" = field(default_factory=list["Entry"])
    entered: set[ast.AST] = field(default_factory=set[ast.AST])
    incomplete: list[Incomplete] = field(default_factory=list[Incomplete])
    told: "Told" = field(default_factory=dict[Any, Any])


@dataclass(slots=True, eq=False)
class Loads:
    """All modules that were loaded, and those that are being loaded, outermost first."""

    known: dict[str, Load] = field(default_factory=dict[str, Load])
    by_themselves: dict[str, Load] = field(default_factory=dict[str, Load])
    active: list[Load] = field(default_factory=list[Load])
    waiting: set[str] = field(default_factory=set[str])  # paths of `active`
    alone: bool = False  # the innermost body is shown nothing of other modules
    nested_max: int = NESTED_MAX
    tried: set[str] = field(default_factory=set[str])  # loaded from the ground, or about to be

    def names(self, engine: "Engine", module: ModuleInfo) -> dict[str, Value]:
        """The module's names; those there are so far for its own body while that runs."""
        path = module.path
        engine.notes.touched.add(path)
        if not self.active:
            found = self.known.get(path)
            return (found or self._load(engine, module)).names
        current = self.active[-1]
        if current.module is module:
            return current.names
        if self.alone:
            return {}
        view = current.views.get(path)
        if view is None:
            view = current.views[path] = self._view(engine, module)
        return view

    def _view(self, engine: "Engine", module: ModuleInfo) -> dict[str, Value]:
        path = module.path
        if path not in self.waiting:
            found = self.known.get(path)
            if found is None and len(self.active) >= self.nested_max:
                raise NotLoadedError(module)
            found = found or self._load(engine, module)
            if self.waiting.isdisjoint(self.reached([path])):
                return found.names
        held = self.by_themselves.get(path)
        if held is None:
            held = Load(module)
            self._run(engine, held, alone=True)
            self.by_themselves[path] = held
        return held.names

    def reached(self, paths: Iterable[str]) -> set[str]:
        """These modules and all that their bodies asked for, directly or by way of others."""
        found = set(paths)
        stack = list(found)
        while stack:
            load = self.known.get(stack.pop())
            if load is not None:
                fresh = load.notes.touched - found
                found |= fresh
                stack.extend(fresh)
        return found

    def _load(self, engine: "Engine", module: ModuleInfo) -> Load:
        load = Load(module)
        self._run(engine, load, alone=False)
        self.known[module.path] = load
        return load

    def _run(self, engine: "Engine", load: Load, *, alone: bool) -> None:
        before, self.alone = self.alone, alone
        path = load.module.path
        again = path in self.waiting
        self.active.append(load)
        self.waiting.add(path)
        try:
            with _apart(engine, load):
                engine.run_module(engine, load)
        finally:
            self.alone = before
            self.active.pop()
            if not again:
                self.waiting.discard(path)

    def grounded(self, module: ModuleInfo) -> bool:
        """Whether a failure of this load is its own: it was begun on an empty stack."""
        return module.path in self.tried

    def ground(self, engine: "Engine", module: ModuleInfo) -> None:
        """Load the module, and first whatever it waits for, from an empty stack."""
        waiting = [module]
        while waiting:
            path = waiting[-1].path
            self.tried.add(path)
            try:
                if path not in self.known:
                    self._load(engine, waiting[-1])
                waiting.pop()
            except NotLoadedError as missing:
                if missing.module.path in self.tried:  # a ring longer than the bound
                    self.nested_max += NESTED_MAX
                waiting.append(missing.module)
        self.nested_max = NESTED_MAX


@contextmanager
def _apart(engine: "Engine", load: Load) -> Generator[None]:
    """The engine as it is at the beginning; afterwards as it was, whatever the body did."""
    kept = (
        engine.steps_left, engine.reserve, engine.cuts, engine.stack, engine.summaries, engine.parts,
        engine.grants, engine.literal_route, engine.position, engine.entries, engine.entered,
        engine.incomplete, engine.notes, engine.home, engine.undo,
    )  # fmt: skip
    redo, told = engine.roll_back(), engine.listener.turn({})
    engine.renew()
    engine.stack, engine.summaries, engine.parts, engine.grants, engine.undo = [], {}, {}, {}, []
    engine.literal_route, engine.position = False, None
    engine.entries, engine.entered, engine.incomplete = load.entries, load.entered, load.incomplete
    engine.notes, engine.home = load.notes, load.module
    try:
        yield
    finally:
        engine.roll_back()
        load.told = engine.listener.turn(told)
        (
            engine.steps_left, engine.reserve, engine.cuts, engine.stack, engine.summaries, engine.parts,
            engine.grants, engine.literal_route, engine.position, engine.entries, engine.entered,
            engine.incomplete, engine.notes, engine.home, engine.undo,
        ) = kept  # fmt: skip
        engine.redo(redo)
