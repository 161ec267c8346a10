"""What of a value that was seen once may be different later: empty stores, names that functions assign?

A store that is empty after loading is filled by what runs later. Taken as empty for ever,
`if row is None: return` would end every function that reads it.
"""

import ast
from collections.abc import Iterable

from veilig.audit.engine.source import ClassInfo, ModuleInfo
from veilig.audit.engine.state import State
from veilig.audit.engine.value import UNKNOWN, Const, Dict, HeapObject, Instance, Opaque, Ref, Seq, Value


def opened(thing: HeapObject) -> HeapObject:
    """The container, with room for more when it is empty."""
    if isinstance(thing, Instance) or thing.items or thing.rest is not None:
        return thing
    return (
        Seq(thing.kind, (), UNKNOWN) if isinstance(thing, Seq) and thing.kind != "tuple" else _mapping(thing)
    )


def _mapping(thing: HeapObject) -> HeapObject:
    return Dict({}, UNKNOWN) if isinstance(thing, Dict) else thing


def open_stores(state: State, keys: Iterable[int]) -> None:
    """Every empty container of the heap may hold something when it is looked at later, and a field that a
    method assigns something else."""
    for key in keys:
        thing = state.heap[key]
        if isinstance(thing, Instance):
            changing = _assigned_later(thing.cls.info)
            attrs = {
                n: Opaque() if n in changing and isinstance(v, Const) else v for n, v in thing.attrs.items()
            }
            more: HeapObject = Instance(thing.cls, attrs, thing.taints)
        else:
            more = opened(thing)
        if more is not thing:
            state.heap[key] = more


def assigned_by_functions(module: ModuleInfo) -> set[str]:
    """Names of the module that its functions declare as global."""
    if not module.has_outer_names:
        return set()
    return {
        name
        for function, _ in module.functions
        for node in ast.walk(function)
        if isinstance(node, ast.Global)
        for name in node.names
    }


def open_object(state: State, ref: Ref, cls: ClassInfo) -> None:
    """The object as it may be found when one of its methods is called: others ran before."""
    held = state.get(ref)
    if not isinstance(held, Instance):
        return
    changing = _assigned_later(cls)
    attrs: dict[str, Value] = {}
    for name, value in held.attrs.items():
        thing = state.get(value) if isinstance(value, Ref) else None
        if thing is not None and isinstance(value, Ref):
            state.put(value, opened(thing))
        attrs[name] = Opaque() if name in changing and isinstance(value, Const) else value
    state.put(ref, Instance(held.cls, attrs, held.taints))


def _assigned_later(cls: ClassInfo) -> frozenset[str]:
    """Fields that methods other than `__init__` assign."""
    if cls.changing is None:
        cls.changing = frozenset(
            target.attr
            for item in cls.node.body
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name != "__init__"
            for node in ast.walk(item)
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Attribute)
            and isinstance(target.value, ast.Name)
            and target.value.id == "self"
        )
    return cls.changing
