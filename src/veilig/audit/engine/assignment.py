"""Where does a value go: a variable, a field, an element, a pattern of targets?"""

import ast

from veilig.audit.engine.attributes import set_attribute
from veilig.audit.engine.frame import CallSite, Frame, opaque, short_source
from veilig.audit.engine.origins import part_of
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import MISSING, as_values, constant, deep_taints, join_values
from veilig.audit.engine.value import (
    Dict,
    Instance,
    Opaque,
    OriginKind,
    Ref,
    Seq,
    Value,
    apply_facts,
    merge_taints,
    with_taints,
)


def assign(frame: Frame, target: ast.expr, value: Value, node: ast.AST) -> None:
    """Put `value` where `target` says; `node` is the expression it came from."""
    match target:
        case ast.Name(id=name):
            if value.taints:
                value = with_taints(value, frame.move(value.taints, target, f"assigned to {name}"))
            _bind(frame, name, value)
            frame.engine.listener.on_assign(frame, name, value, node)
        case ast.Attribute(value=owner, attr=name):
            thing = frame.eval(owner)
            set_attribute(frame, thing, name, value)
            path = f"{dotted(owner)}.{name}"
            if isinstance(thing, Opaque) and thing.qual and not thing.qual.startswith("?"):
                path = f"{thing.qual}.{name}"
            frame.engine.listener.on_assign(frame, path, value, node)
        case ast.Subscript(value=owner, slice=index):
            thing = frame.eval(owner)
            _set_item(frame, thing, frame.eval(index), value, node)
            _held_by_unknown(frame, owner, thing, value)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            _unpack(frame, elements, value, node)
        case ast.Starred(value=inner):
            assign(frame, inner, value, node)
        case _:
            frame.eval(target)


def _held_by_unknown(frame: Frame, owner: ast.expr, thing: Value, value: Value) -> None:
    """A local container nobody knows, such as what a file held: from here on it holds this as well."""
    if not isinstance(owner, ast.Name) or not isinstance(thing, Opaque) or owner.id not in frame.state.env:
        return
    given = deep_taints(frame.state, value)
    secret = tuple(taint for taint in given if taint.origin.kind is OriginKind.SECRET)
    if secret:
        frame.state.env[owner.id] = with_taints(thing, merge_taints(thing.taints, secret))


def _bind(frame: Frame, name: str, value: Value) -> None:
    if name in frame.outer_names:
        outer = frame.closure if frame.closure is not None and name in frame.closure else None
        if outer is None:
            outer = frame.engine.module_globals(frame.module)
        old = outer.get(name)
        # Other functions may run before or after: both values are possible there.
        settled = value if old is None else join_values(frame.state, old, value)
        frame.engine.write_outside(outer, name, settled)
    frame.state.env[name] = value


def _unpack(frame: Frame, targets: list[ast.expr], value: Value, node: ast.AST) -> None:
    held = frame.state.get(value) if isinstance(value, Ref) else None
    starred = [i for i, target in enumerate(targets) if isinstance(target, ast.Starred)]
    if isinstance(held, Seq) and held.rest is None:
        items = list(held.items)
        if not starred and len(items) == len(targets):
            for target, element in zip(targets, items, strict=True):
                assign(frame, target, element, node)
            return
        if len(starred) == 1 and len(items) >= len(targets) - 1:
            first, after = starred[0], len(targets) - starred[0] - 1
            stop = len(items) - after
            middle = frame.new_seq("list", *items[first:stop])
            for target, element in zip(targets, [*items[:first], middle, *items[stop:]], strict=True):
                assign(frame, target, element, node)
            return
    for index, target in enumerate(targets):
        if isinstance(value, Opaque):
            element: Value = opaque("", part_of(frame, value.taints, index))
        else:
            element = as_values(frame.state, value)
        assign(frame, target, element, node)


def _set_item(frame: Frame, thing: Value, key: Value, value: Value, node: ast.AST) -> None:
    known = constant(key)
    value = apply_facts(value, frame.state.facts)
    if isinstance(thing, Opaque) and thing.qual and isinstance(node, ast.expr):
        call = ast.copy_location(ast.Call(func=node, args=[], keywords=[]), node)
        site = CallSite(call, f"{thing.qual}.__setitem__", "__setitem__", thing, [key, value], {})
        frame.engine.listener.on_call(frame, site)
    if isinstance(known, str):
        owner = thing.qual if isinstance(thing, Opaque) else ""
        frame.engine.listener.on_assign(frame, f"{owner}[{known}]" if owner else known, value, node)
    elif isinstance(thing, Opaque) and thing.qual:
        frame.engine.listener.on_assign(frame, f"{thing.qual}[{short_source(node)}]", value, node)
    if not isinstance(thing, Ref):
        return
    held = frame.state.get(thing)
    if isinstance(held, Dict):
        if isinstance(known, str | bytes | int | float | bool) or known is None:
            frame.state.put(thing, Dict({**held.items, known: value}, held.rest))
        elif known is MISSING:
            rest = value if held.rest is None else join_values(frame.state, held.rest, value)
            frame.state.put(thing, Dict(held.items, rest))
    elif isinstance(held, Seq):
        items = held.items
        if isinstance(known, int) and held.rest is None and -len(items) <= known < len(items):
            changed = list(items)
            changed[known] = value
            frame.state.put(thing, Seq(held.kind, tuple(changed)))
        else:
            rest = value if held.rest is None else join_values(frame.state, held.rest, value)
            frame.state.put(thing, Seq(held.kind, items, rest))
    elif isinstance(held, Instance):
        frame.state.put(thing, Instance(held.cls, held.attrs, merge_taints(held.taints, value.taints)))
