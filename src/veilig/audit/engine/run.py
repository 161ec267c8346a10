"""In which order is a whole project followed, and what is said when a bound is reached?"""

import ast
from collections.abc import Callable

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
)
from veilig.audit.engine.guards import evaluate_compare
from veilig.audit.engine.invoke import activate, invoke, run_body
from veilig.audit.engine.knowledge import Knowledge
from veilig.audit.engine.source import ModuleInfo, Project
from veilig.audit.engine.state import State
from veilig.audit.engine.value import Class, Func, Value
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
    engine.load_module = load_module
    return engine


def load_module(engine: Engine, module: ModuleInfo) -> dict[str, Value]:
    """Run the module's body once; its names and heap are shared with every function afterwards."""
    names = engine.globals.setdefault(module.path, {})
    state = State(names, {}, engine.base)
    frame = Frame(engine=engine, module=module, state=state)
    hoisted = [s for s in module.tree.body if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef)]
    for statement in hoisted:
        info = definitions.function_of(frame, statement, None)
        names[statement.name] = Func(info)
    saved = engine.steps_left, engine.reserve
    engine.renew()
    stack, engine.stack = engine.stack, []
    try:
        frame.run(module.tree.body)
    except (OutOfBudgetError, RecursionError) as error:
        engine.incomplete.append(Incomplete(module.path, "<module>", reason(error)))
    except Exception as error:  # noqa: BLE001  # as in _follow_entry
        engine.incomplete.append(Incomplete(module.path, "<module>", mistake(error)))
    finally:
        engine.steps_left, engine.reserve = saved
        engine.stack = stack
    names.update(frame.state.env)
    engine.base.update(frame.state.heap)
    return names


def reason(error: Exception) -> str:
    """Why the analysis of one entry point stopped."""
    if isinstance(error, OutOfBudgetError):
        return f"needs more than {STEPS_PER_ENTRY_MAX + STEPS_TO_FINISH_MAX} steps"
    return "nested too deeply to follow"


def mistake(error: Exception) -> str:
    """A mistake of the analysis itself, for the report."""
    return f"the analysis failed with {type(error).__name__}: {error}"[:200]


def follow(engine: Engine, out_of_time: Callable[[], bool]) -> None:
    """Follow every module and every function of the project, each from outside.

    out_of_time: asked before each entry point; once true, everything left is reported as incomplete.
    """
    for module in engine.project.modules.values():
        if out_of_time():
            engine.incomplete.append(Incomplete(module.path, "<module>", "the scan ran out of time"))
            continue
        engine.module_globals(module)
    while engine.entries:
        entry = engine.entries.pop()
        if out_of_time():
            info = entry[0].info
            engine.incomplete.append(Incomplete(info.module.path, info.qualname, "the scan ran out of time"))
            continue
        _follow_entry(engine, entry)


def _follow_entry(engine: Engine, entry: Entry) -> None:
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
    except (OutOfBudgetError, RecursionError) as error:
        engine.incomplete.append(Incomplete(info.module.path, info.qualname, reason(error)))
    except Exception as error:  # noqa: BLE001  # our own mistake must not cost the rest of the tree, and must be seen
        engine.incomplete.append(Incomplete(info.module.path, info.qualname, mistake(error)))
