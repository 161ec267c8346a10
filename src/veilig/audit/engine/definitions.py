"""What do imports, `def` and `class` bind?"""

import ast
from functools import partial
from typing import cast

from veilig.audit.engine.frame import Engine, Frame, opaque
from veilig.audit.engine.source import (
    ClassInfo,
    FunctionInfo,
    ModuleInfo,
    class_info,
    function_info,
    namespace,
    resolve_relative,
)
from veilig.audit.engine.value import Class, Func, Import, Module, Opaque, Value


def run_import(frame: Frame, node: ast.stmt) -> None:
    """`import a.b as c`."""
    assert isinstance(node, ast.Import)
    project = frame.engine.project
    for alias in node.names:
        frame.engine.notes.asked.add(f"f:{alias.name}")
        found = project.find(alias.name, frame.module)
        if alias.asname:
            value: Value = Module(found) if found is not None else opaque(_alias(frame, alias.name))
            frame.state.env[alias.asname] = value
            continue
        top = alias.name.partition(".")[0]
        frame.engine.notes.asked.add(f"f:{top}")
        root = project.find(top, frame.module)
        if root is None and found is not None:
            root = namespace(project, top)
        frame.state.env[top] = Module(root) if root is not None else opaque(_alias(frame, top))


def _alias(frame: Frame, qual: str) -> str:
    return frame.engine.knowledge.aliases.get(qual, qual)


def run_import_from(frame: Frame, node: ast.stmt) -> None:
    """`from .a import b`; a star import brings every public name of a project module."""
    assert isinstance(node, ast.ImportFrom)
    engine = frame.engine
    name = resolve_relative(frame.module, node.level, node.module) if node.level else node.module or ""
    project = engine.project
    engine.notes.asked.add(f"f:{name}")
    found = project.modules.get(name) if node.level else project.find(name, frame.module)
    for alias in node.names:
        target = alias.asname or alias.name
        if alias.name == "*":
            names = engine.module_globals(found) if found is not None else {}
            frame.state.env.update({k: v for k, v in names.items() if not k.startswith("_")})
            continue
        full = f"{name}.{alias.name}" if name else alias.name
        engine.notes.asked.add(f"f:{full}")
        inner = project.modules.get(full)
        if inner is None and not node.level:
            inner = project.find(full, frame.module)
        value = Module(inner) if inner is not None else opaque(_alias(frame, full))
        if found is not None:
            value = Import(full, find=partial(_imported, engine, found, alias.name, value))
        frame.state.env[target] = value


def _imported(engine: Engine, module: ModuleInfo, name: str, otherwise: Value) -> Value:
    """What the module calls `name`, through further imports; `otherwise` when it has no such name."""
    seen: set[str] = set()
    while module.path not in seen:
        seen.add(module.path)
        value = engine.module_globals(module).get(name)
        if not isinstance(value, Import):
            return otherwise if value is None else value
        step = cast("partial[Value]", value.find)
        _, module, name, otherwise = step.args
    return otherwise


def function_of(
    frame: Frame, node: ast.FunctionDef | ast.AsyncFunctionDef, owner: ClassInfo | None
) -> FunctionInfo:
    """The one FunctionInfo of this definition."""
    infos = frame.engine.functions
    info = infos.get(node)
    if info is None:
        info = infos[node] = function_info(frame.module, node, frame.scope, owner)
        program = frame.engine.project.programs.get(frame.module.path)
        info.called = program is not None and node.name in program.called
    return info


def run_function(frame: Frame, node: ast.stmt) -> None:
    """A function definition; decorators of the project are called, those of others are seen through."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    info = function_of(frame, node, frame.class_info)
    closure = {**(frame.closure or {}), **frame.state.env} if frame.func is not None else frame.closure
    plain = Func(info, closure)
    if closure is not None:
        closure[node.name] = plain
    value: Value = plain
    for decorator in reversed(node.decorator_list):
        found = frame.eval(decorator)
        if isinstance(found, Func):
            result = frame.engine.invoke(frame, found, [value], {}, decorator)
            if not isinstance(result, Opaque):
                value = result
    frame.state.env[node.name] = value
    if node not in frame.engine.entered and frame.module is frame.engine.home:
        frame.engine.entered.add(node)
        if frame.class_info is None or frame.func is not None:
            target = value if isinstance(value, Func) else plain
            frame.engine.entries.append(
                (plain, frame.state if frame.func is None else frame.state.fork(), target)
            )


def run_class(frame: Frame, node: ast.stmt) -> None:
    """A class definition: its body runs once, its methods become entry points."""
    assert isinstance(node, ast.ClassDef)
    engine = frame.engine
    info = engine.classes.get(node)
    if info is None:
        info = engine.classes[node] = class_info(frame.module, node, frame.scope)
    bases = tuple(frame.eval(base) for base in node.bases)
    for decorator in node.decorator_list:
        frame.eval(decorator)
    closure = {**(frame.closure or {}), **frame.state.env} if frame.func is not None else frame.closure
    body = Frame(
        engine=engine,
        module=frame.module,
        state=frame.state.fork(),
        scope=info.qualname,
        closure=closure,
        depth=frame.depth,
        class_info=info,
    )
    body.state.env = {}
    body.run(node.body)
    cls = Class(info, bases, body.state.env, closure)
    frame.state.heap.update(body.state.heap)
    frame.state.env[node.name] = cls
    if node not in engine.entered and frame.module is engine.home:
        engine.entered.add(node)
        for value in list(cls.env.values()):
            if isinstance(value, Func) and value.info.owner is info:
                state = frame.state if frame.func is None else frame.state.fork()
                engine.entries.append((Func(value.info, value.closure, cls), state, value))


EXECUTORS = {
    ast.Import: run_import,
    ast.ImportFrom: run_import_from,
    ast.FunctionDef: run_function,
    ast.AsyncFunctionDef: run_function,
    ast.ClassDef: run_class,
}
