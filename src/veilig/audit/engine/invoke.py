"""What does a call of a project function return and change, and when may an earlier answer be used again?"""

import ast
from dataclasses import dataclass

from veilig.audit.engine.frame import CALL_DEPTH_MAX, CallSite, Frame
from veilig.audit.engine.state import State, children, deep_taints, differ, join_states, join_values
from veilig.audit.engine.value import (
    NO_FACTS,
    NONE,
    Class,
    Const,
    Dict,
    Facts,
    Func,
    HeapObject,
    Instance,
    Method,
    Module,
    Opaque,
    Ref,
    Seq,
    Taints,
    Value,
    both_facts,
    either_facts,
    merge_taints,
    weakened,
    with_taints,
)

PLAIN_DEPTH_MAX = 4  # calls that carry nothing of interest are not followed further down
KEY_NODES_MAX = 40  # larger arguments are not compared with earlier ones: the function just runs
SUMMARIES_PER_FUNCTION_MAX = 24


@dataclass(slots=True, eq=False)
class Summary:
    """What one call gave. Only calls without effect on what existed before are kept."""

    value: Value
    facts: Facts
    returns: bool
    made: dict[int, HeapObject]


def invoke(frame: Frame, target: Func, args: list[Value], kwargs: dict[str, Value], node: ast.AST) -> Value:
    """The value of calling a project function here; its effects are in `frame.state` afterwards."""
    engine = frame.engine
    info = target.info
    if engine.stack and info.node is engine.stack[-1] and isinstance(node, ast.Call):
        engine.listener.on_call(frame, CallSite(node, "<recursion>", "", None, args, kwargs))
    if info.node in engine.stack or frame.depth >= CALL_DEPTH_MAX:
        return _guess(frame, args, kwargs)
    if frame.depth >= PLAIN_DEPTH_MAX and not any(
        deep_taints(frame.state, value) for value in (*args, *kwargs.values())
    ):
        return Opaque()
    if target.bound is not None:
        args = [target.bound, *args]
    key = _key(frame.state, target, args, kwargs)
    known = engine.summaries.setdefault(info.node, {})
    found = known.get(key) if key is not None else None
    if isinstance(found, Summary):
        return _replay(frame, found)
    before = dict(frame.state.heap)
    facts_before = frame.state.facts
    env_before = frame.state.env
    inner = activate(frame, target, args, kwargs, node)
    value, returns = run_body(inner)
    after = inner.state
    changed = differ(after.heap, before)
    if not changed and len(after.heap) > len(before):
        _forget_garbage(after, before, value)
    frame.state = State(env_before, after.heap, after.base, after.facts)
    if not returns and not info.is_generator:
        frame.live = False
    if (
        key is not None
        and not changed
        and not info.writes_outside
        and len(known) < SUMMARIES_PER_FUNCTION_MAX
    ):
        made = {at: thing for at, thing in after.heap.items() if at not in before}
        gained = {uid: kinds for uid, kinds in after.facts.items() if facts_before.get(uid) != kinds}
        if not made or len(made) < KEY_NODES_MAX:
            known[key] = Summary(value, gained, returns, made)
    return value


def _forget_garbage(after: State, before: dict[int, HeapObject], value: Value) -> None:
    """Drop what the call made and nobody can reach any more; functions may close over anything, so they
    keep all."""
    kept: dict[int, HeapObject] = {}
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Ref):
            thing = after.heap.get(item.key)
            if thing is not None and item.key not in before and item.key not in kept:
                kept[item.key] = thing
                stack.extend(children(thing))
        elif isinstance(item, Method):
            stack.append(item.receiver)
        elif not isinstance(item, Const | Opaque):
            return
    after.heap.clear()
    after.heap.update(before)
    after.heap.update(kept)


def _guess(frame: Frame, args: list[Value], kwargs: dict[str, Value]) -> Value:
    """Recursion or too deep: what went in may come out, less surely."""
    taints: Taints = ()
    for value in (*args, *kwargs.values()):
        taints = merge_taints(taints, deep_taints(frame.state, value))
    return Opaque("", weakened(taints))


def activate(
    frame: Frame, target: Func, args: list[Value], kwargs: dict[str, Value], node: ast.AST | None
) -> Frame:
    """A frame for the function with its parameters bound."""
    info = target.info
    inner = Frame(
        engine=frame.engine,
        module=info.module,
        state=State({}, frame.state.heap, frame.state.base, frame.state.facts),
        func=info,
        scope=info.qualname,
        closure=target.closure,
        depth=frame.depth + 1,
    )
    if isinstance(target.bound, Class):
        inner.self_class = inner.self_value = target.bound
    elif isinstance(target.bound, Ref):
        held = frame.state.get(target.bound)
        if isinstance(held, Instance):
            inner.self_class, inner.self_value = held.cls, target.bound
    bind(inner, info.node.args, args, dict(kwargs))
    if node is not None:
        for name, value in inner.state.env.items():
            if value.taints:
                moved = frame.move(value.taints, node, f"passed to {info.name}() as {name}")
                inner.state.env[name] = with_taints(value, moved)
    return inner


def bind(inner: Frame, spec: ast.arguments, args: list[Value], kwargs: dict[str, Value]) -> None:
    """Parameters from arguments the way Python does it; what is not given has its default."""
    env = inner.state.env
    unknown = kwargs.pop("**", None)
    names = [*spec.posonlyargs, *spec.args]
    for parameter, value in zip(names, args, strict=False):
        env[parameter.arg] = value
    if spec.vararg is not None:
        env[spec.vararg.arg] = inner.new_seq("tuple", *args[len(names) :])
    first_default = len(names) - len(spec.defaults)
    defaults: dict[str, ast.expr | None] = {
        parameter.arg: spec.defaults[index - first_default] if index >= first_default else None
        for index, parameter in enumerate(names)
    }
    defaults.update({p.arg: default for p, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)})
    for name, default in defaults.items():
        if name in env:
            continue
        if name in kwargs:
            env[name] = kwargs.pop(name)
        elif unknown is not None:
            env[name] = Opaque("", deep_taints(inner.state, unknown))
        else:
            env[name] = inner.eval(default) if default is not None else Opaque()
    if spec.kwarg is not None:
        items: dict[object, Value] = {name: value for name, value in kwargs.items()}  # noqa: C416
        env[spec.kwarg.arg] = inner.new_dict(items, unknown)


def run_body(inner: Frame) -> tuple[Value, bool]:
    """The returned value and whether the call comes back; `inner.state` holds what is left behind."""
    assert inner.func is not None
    node = inner.func.node
    engine = inner.engine
    position = engine.position
    engine.stack.append(node)
    try:
        if isinstance(node, ast.Lambda):
            return inner.eval(node.body), True
        inner.run(node.body)
    finally:
        engine.stack.pop()
        engine.position = position
    if inner.live:
        inner.returns.append((NONE, inner.state))
    value, state = _meet(inner)
    if state is None:
        return NONE, False
    inner.state = state
    if inner.func.is_generator:
        return inner.new_seq("generator", rest=inner.yields if inner.yields is not None else Opaque()), True
    return value, True


def _meet(inner: Frame) -> tuple[Value, State | None]:
    """All returns as one; a boolean result remembers what held where it was true and where it was false."""
    returns = inner.returns
    if not returns:
        return NONE, None
    value, state = returns[0]
    if len(returns) == 1:
        return value, state
    held: Facts | None = None
    failed: Facts | None = None
    merged: State | None = None
    result: Value | None = None
    for value, state in returns:
        when_true, when_false = _proofs(value, state)
        if when_true is not None:
            held = when_true if held is None else either_facts(held, when_true)
        if when_false is not None:
            failed = when_false if failed is None else either_facts(failed, when_false)
        settled = State({}, state.heap, state.base, state.facts)
        merged = join_states(merged, settled)
        assert merged is not None
        result = value if result is None else join_values(merged, result, value)
    assert result is not None
    if (held or failed) and not isinstance(result, Const | Ref | Func | Class):
        taints = result.taints
        qual = result.qual if isinstance(result, Opaque | Method) else ""
        result = Opaque(qual, taints, "", held or NO_FACTS, failed or NO_FACTS)
    return result, merged


def _proofs(value: Value, state: State) -> tuple[Facts | None, Facts | None]:
    """Facts when this return is taken as true, and as false; None where it cannot be."""
    if isinstance(value, Const):
        return (state.facts, None) if value.value else (None, state.facts)
    if isinstance(value, Opaque):
        if value.when_true or value.when_false:
            return both_facts(state.facts, value.when_true), both_facts(state.facts, value.when_false)
        return state.facts, state.facts
    return state.facts, None


def _replay(frame: Frame, summary: Summary) -> Value:
    frame.learn(summary.facts)
    if not summary.returns:
        frame.live = False
        return summary.value
    if not summary.made:
        return summary.value
    fresh: dict[int, Ref] = {at: frame.state.new(thing) for at, thing in summary.made.items()}
    for at, thing in summary.made.items():
        frame.state.put(fresh[at], _renamed_object(thing, fresh))
    return _renamed(summary.value, fresh)


def _renamed(value: Value, fresh: dict[int, Ref]) -> Value:
    if isinstance(value, Ref):
        return fresh.get(value.key, value)
    if isinstance(value, Method):
        return Method(_renamed(value.receiver, fresh), value.name, value.qual, value.taints)
    if isinstance(value, Func) and isinstance(value.bound, Ref):
        return Func(value.info, value.closure, _renamed(value.bound, fresh))
    return value


def _renamed_object(thing: HeapObject, fresh: dict[int, Ref]) -> HeapObject:
    match thing:
        case Seq():
            rest = None if thing.rest is None else _renamed(thing.rest, fresh)
            return Seq(thing.kind, tuple(_renamed(item, fresh) for item in thing.items), rest)
        case Dict():
            rest = None if thing.rest is None else _renamed(thing.rest, fresh)
            return Dict({key: _renamed(item, fresh) for key, item in thing.items.items()}, rest)
        case Instance():
            attrs = {key: _renamed(item, fresh) for key, item in thing.attrs.items()}
            return Instance(thing.cls, attrs, thing.taints)


def _key(state: State, target: Func, args: list[Value], kwargs: dict[str, Value]) -> object | None:
    """A hashable picture of the arguments with everything they hold; None when it would be too large."""
    budget = [KEY_NODES_MAX]
    seen: dict[int, int] = {}
    try:
        parts = tuple(_frozen(state, value, seen, budget) for value in args)
        named = tuple((name, _frozen(state, kwargs[name], seen, budget)) for name in sorted(kwargs))
    except (OverflowError, TypeError):
        return None
    return (id(target.closure) if target.closure is not None else 0, parts, named)


def _frozen(state: State, value: Value, seen: dict[int, int], budget: list[int]) -> object:
    budget[0] -= 1
    if budget[0] < 0:
        raise OverflowError
    match value:
        case Const():
            return ("c", type(value.value).__name__, value.value)
        case Opaque():
            return ("o", value.qual, value.prefix, _frozen_taints(state, value.taints), bool(value.when_true))
        case Ref():
            if value.key in seen:
                return ("r", seen[value.key])
            seen[value.key] = len(seen)
            thing = state.get(value)
            match thing:
                case Seq():
                    rest = None if thing.rest is None else _frozen(state, thing.rest, seen, budget)
                    return (
                        thing.kind,
                        tuple(_frozen(state, v, seen, budget) for v in thing.items),
                        rest,
                        value.key,
                    )
                case Dict():
                    rest = None if thing.rest is None else _frozen(state, thing.rest, seen, budget)
                    items = tuple((k, _frozen(state, v, seen, budget)) for k, v in thing.items.items())
                    return ("d", items, rest, value.key)
                case Instance():
                    attrs = tuple((k, _frozen(state, v, seen, budget)) for k, v in thing.attrs.items())
                    return ("i", id(thing.cls), attrs, _frozen_taints(state, thing.taints), value.key)
                case None:
                    return ("?",)
        case Func():
            bound = None if value.bound is None else _frozen(state, value.bound, seen, budget)
            return ("f", id(value.info), id(value.closure), bound)
        case Class() | Module():
            return ("k", id(value.info))
        case Method():
            return ("m", value.qual, _frozen(state, value.receiver, seen, budget))
        case _:
            raise OverflowError


def _frozen_taints(state: State, taints: Taints) -> object:
    if not taints:
        return ()
    return tuple((t.origin.uid, t.safe, t.weak, state.facts.get(t.origin.uid)) for t in taints)
