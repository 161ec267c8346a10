"""In which order is a whole project followed, and what is said when a bound is reached?"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from veilig.audit.engine import calls, comprehensions, definitions, expressions, fstrings, statements
from veilig.audit.engine.entry import has_literal_route, parameter_values
from veilig.audit.engine.frame import (
    STEPS_PER_ENTRY_MAX,
    STEPS_TO_FINISH_MAX,
    Engine,
    Entry,
    Frame,
    Listener,
    OutOfBudgetError,
    Told,
)
from veilig.audit.engine.guards import evaluate_compare
from veilig.audit.engine.invoke import activate, invoke, run_body
from veilig.audit.engine.kept import ENTRIES_AGAIN_MAX, Kept
from veilig.audit.engine.knowledge import Knowledge
from veilig.audit.engine.loading import Load, Notes, NotLoadedError
from veilig.audit.engine.open_world import assigned_by_functions, open_stores
from veilig.audit.engine.source import ModuleInfo, Project
from veilig.audit.engine.state import State
from veilig.audit.engine.value import Class, Const, Func, HeapObject, Opaque
from veilig.audit.finding import Incomplete

EVALUATORS = {
    **expressions.EVALUATORS,
    **comprehensions.EVALUATORS,
    **fstrings.EVALUATORS,
    **calls.EVALUATORS,
    ast.Compare: evaluate_compare,
}
EXECUTORS = {**statements.EXECUTORS, **definitions.EXECUTORS}


def new_engine(project: Project, knowledge: Knowledge, listener: Listener) -> Engine:
    """An engine that has not looked at anything yet."""
    engine = Engine(
        project=project,
        knowledge=knowledge,
        listener=listener,
        evaluators=EVALUATORS,
        executors=EXECUTORS,
        invoke=invoke,
    )
    engine.run_module = run_module
    return engine


def run_module(engine: Engine, load: Load) -> None:
    """Run the module's body once; its names and heap are shared with every function afterwards."""
    module, names = load.module, load.names
    frame = Frame(engine=engine, module=module, state=State(names, {}, engine.base))
    for statement in module.tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            names[statement.name] = Func(definitions.function_of(frame, statement, None))
    try:
        frame.run(module.tree.body)
    except NotLoadedError:
        raise
    except (OutOfBudgetError, RecursionError) as error:
        if isinstance(error, RecursionError) and not engine.loads.grounded(module):
            raise NotLoadedError(module) from error  # it may only be the stack of whoever asked
        engine.incomplete.append(Incomplete(module.path, "<module>", reason(error)))
    except Exception as error:  # noqa: BLE001  # as in _follow_entry
        engine.incomplete.append(Incomplete(module.path, "<module>", mistake(error)))
    open_stores(frame.state, list(frame.state.heap))
    names.update(frame.state.env)
    for name in assigned_by_functions(module):
        if isinstance(names.get(name), Const):
            names[name] = Opaque()
    for key, thing in frame.state.heap.items():
        engine.base.setdefault(key, thing)  # what other modules made stays as they left it


def reason(error: Exception) -> str:
    """Why the analysis of one entry point stopped."""
    if isinstance(error, OutOfBudgetError):
        return f"needs more than {STEPS_PER_ENTRY_MAX + STEPS_TO_FINISH_MAX} steps"
    return "nested too deeply to follow"


def mistake(error: Exception) -> str:
    """A mistake of the analysis itself, for the report."""
    return f"the analysis failed with {type(error).__name__}: {error}"[:200]


@dataclass(slots=True, eq=False)
class Unit:
    """What following one module's functions from outside showed, and what was looked at for it."""

    told: Told
    incomplete: list[Incomplete]
    notes: Notes


def follow_unit(engine: Engine, module: ModuleInfo, out_of_time: Callable[[], bool]) -> Unit:
    """Follow one module and every function in it, each from outside. The answer does not depend on what was
    followed before.

    out_of_time: asked before each entry point; once true, everything left is reported as incomplete.
    """
    if out_of_time():
        late = Incomplete(module.path, "<module>", "the scan ran out of time")
        return Unit({}, [late], Notes())
    while True:
        try:
            return _follow_unit(engine, module, out_of_time)
        except NotLoadedError as missing:
            engine.loads.ground(engine, missing.module)


def _follow_unit(engine: Engine, module: ModuleInfo, out_of_time: Callable[[], bool]) -> Unit:
    notes = engine.notes = Notes()
    engine.loads.names(engine, module)
    load = engine.loads.known[module.path]
    engine.listener.turn(dict(load.told))
    engine.entries, engine.entered = list(load.entries), set(load.entered)
    engine.incomplete, engine.home, engine.summaries = list(load.incomplete), module, {}
    kept, followed = Kept(engine.base), list["Entry"]()
    try:
        while engine.entries:
            entry = engine.entries.pop()
            if out_of_time():
                info = entry[0].info
                engine.incomplete.append(
                    Incomplete(info.module.path, info.qualname, "the scan ran out of time")
                )
                continue
            _follow_entry(engine, entry, kept)
            followed.append(entry)
        if kept.changed and len(followed) <= ENTRIES_AGAIN_MAX and not out_of_time():
            _follow_again(engine, followed, kept)
    finally:
        engine.roll_back()
    notes.touched = engine.loads.reached(notes.touched)
    for path in notes.touched:
        if path in engine.loads.known:
            notes.asked |= engine.loads.known[path].notes.asked
    return Unit(engine.listener.turn(None), engine.incomplete, notes)


def _follow_again(engine: Engine, entries: list[Entry], kept: Kept) -> None:
    """Each entry once more, finding what the others left behind."""
    engine.roll_back()
    engine.summaries = {}
    left = kept.left
    for entry in entries:
        _follow_entry(engine, entry, None, left)
    engine.entries = []


def _follow_entry(
    engine: Engine, entry: Entry, kept: Kept | None, left: Mapping[int, HeapObject] | None = None
) -> None:
    func, state, decorated = entry
    info = func.info
    engine.renew()
    engine.parts.clear()
    engine.grants.clear()
    engine.literal_route = has_literal_route(info)
    engine.stack.clear()
    outer = Frame(
        engine=engine,
        module=info.module,
        state=State(dict(state.env), {} if state.heap is engine.base else dict(state.heap), engine.base),
        scope=info.qualname,
    )
    outer.state.heap.update(left or {})
    try:
        args, kwargs = parameter_values(outer, func)
        target = Func(info, func.closure)
        if isinstance(func.bound, Class) and args:
            target = Func(info, func.closure, args[0])
            args = args[1:]
        if decorated.info is not info:
            invoke(outer, decorated, args, kwargs, info.node)
        inner = activate(outer, target, [*([target.bound] if target.bound else []), *args], kwargs, None)
        run_body(inner)
        if kept is not None:
            kept.note(inner.state)
    except NotLoadedError:
        raise
    except (OutOfBudgetError, RecursionError) as error:
        engine.incomplete.append(Incomplete(info.module.path, info.qualname, reason(error)))
    except Exception as error:  # noqa: BLE001  # our own mistake must not cost the rest of the tree, and must be seen
        engine.incomplete.append(Incomplete(info.module.path, info.qualname, mistake(error)))
