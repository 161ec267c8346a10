"""What does a call of a project function return and change, and when may an earlier answer be used again?"""

import ast

from veilig.audit.engine.frame import CALL_DEPTH_MAX, CallSite, Frame
from veilig.audit.engine.state import State, children, deep_taints, join_states, join_values
from veilig.audit.engine.summary import Summary, call_key, replay, summarise
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
    Partial,
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
SUMMARIES_PER_FUNCTION_MAX = 24


def invoke(frame: Frame, target: Func, args: list[Value], kwargs: dict[str, Value], node: ast.AST) -> Value:
    """The value of calling a project function here; its effects are in `frame.state` afterwards."""
    engine = frame.engine
    info = target.info
    if engine.stack and info.node is engine.stack[-1] and isinstance(node, ast.Call):
        engine.listener.on_call(frame, CallSite(node, "<recursion>", "", None, args, kwargs))
    if target.bound is not None:
        args = [target.bound, *args]
    if info.node in engine.stack:
        return _guess(frame, args, kwargs)
    if frame.depth >= CALL_DEPTH_MAX or engine.steps_left <= engine.reserve:
        engine.cuts += 1
        _escape(frame, args, kwargs)
        return _guess(frame, args, kwargs)
    if frame.depth >= PLAIN_DEPTH_MAX and not any(
        deep_taints(frame.state, value) for value in (*args, *kwargs.values())
    ):
        return Opaque()
    known = engine.summaries.setdefault(info.node, {})
    call = call_key(frame, target, args, kwargs)
    found = known.get(call.key) if call is not None else None
    if call is not None and isinstance(found, Summary) and found.fits(frame):
        return replay(frame, found, call)
    before, cuts, steps = dict(frame.state.heap), engine.cuts, engine.steps_left - engine.reserve
    facts_before, env_before = frame.state.facts, frame.state.env
    reserve, engine.reserve = engine.reserve, engine.steps_left - max(steps * 2 // 3, 1)
    try:
        inner = activate(frame, target, args, kwargs, node)
        value, returns = run_body(inner)
    finally:
        engine.reserve = reserve
    after = inner.state
    _forget_garbage(after, before, value)
    frame.state = State(env_before, after.heap, after.base, after.facts)
    if not returns and not info.is_generator:
        frame.live = False
    if call is not None and not info.writes_outside and len(known) < SUMMARIES_PER_FUNCTION_MAX:
        gained = {uid: kinds for uid, kinds in after.facts.items() if facts_before.get(uid) != kinds}
        summary = summarise(call, before, after, value, gained)
        if summary is not None:
            summary.returns = returns
            if engine.cuts != cuts:
                summary.depth, summary.steps = frame.depth, steps
            known[call.key] = summary
    return value


def _escape(frame: Frame, args: list[Value], kwargs: dict[str, Value]) -> None:
    """What a call that is not entered may do to its arguments: put them into one another, change flags."""
    state = frame.state
    values = [*args, *kwargs.values()]
    for value in values:
        held = state.get(value) if isinstance(value, Ref) else None
        if held is None or not isinstance(value, Ref):
            continue
        given: Taints = ()
        for other in values:
            if other is not value:
                given = merge_taints(given, weakened(deep_taints(state, other)))
        if isinstance(held, Instance):
            flags = {
                name: Opaque()
                for name, item in held.attrs.items()
                if isinstance(item, Const) and not item.value
            }
            state.put(value, Instance(held.cls, {**held.attrs, **flags}, merge_taints(held.taints, given)))
        elif given:
            more = Opaque("", given)
            rest = more if held.rest is None else join_values(state, held.rest, more)
            state.put(
                value,
                Seq(held.kind, held.items, rest) if isinstance(held, Seq) else Dict(held.items, rest),
            )


def _forget_garbage(after: State, before: dict[int, HeapObject], value: Value) -> None:
    """Drop what the call made and nobody can reach any more; functions may close over anything, so they
    keep all."""
    if len(after.heap) <= len(before):
        return
    kept: dict[int, HeapObject] = {}
    stack = [value]
    for at, thing in after.heap.items():
        if (at in before or at in after.base) and before.get(at) is not thing:
            kept[at] = thing
            stack.extend(children(thing))
    while stack:
        item = stack.pop()
        if isinstance(item, Ref):
            thing = after.heap.get(item.key)
            if thing is not None and item.key not in before and item.key not in kept:
                kept[item.key] = thing
                stack.extend(children(thing))
        elif isinstance(item, Method):
            stack.append(item.receiver)
        elif isinstance(item, Partial):
            stack.extend((*item.args, *item.kwargs.values()))
        elif isinstance(item, Func) and item.closure is None:
            if item.bound is not None:
                stack.append(item.bound)
        elif not isinstance(item, Const | Opaque | Module):
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
