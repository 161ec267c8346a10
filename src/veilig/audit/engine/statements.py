"""What does a statement change, and where does control go after it?"""

import ast

from veilig.audit.engine.arithmetic import binary
from veilig.audit.engine.assignment import assign
from veilig.audit.engine.expressions import item
from veilig.audit.engine.external import ENDED
from veilig.audit.engine.frame import Frame
from veilig.audit.engine.guards import facts_of
from veilig.audit.engine.origins import EACH, each_of, facts_about
from veilig.audit.engine.state import State, as_values, join_values, truth
from veilig.audit.engine.value import (
    EVERY_KIND,
    NONE,
    Class,
    Const,
    Facts,
    Opaque,
    OriginKind,
    Ref,
    Seq,
    Value,
    apply_facts,
    both_facts,
)

LOOP_PASSES = 2
UNROLLED_MAX = 6  # a loop over this many known elements is followed element by element


def run_expression(frame: Frame, node: ast.stmt) -> None:
    """A call for its effect; some calls never come back."""
    assert isinstance(node, ast.Expr)
    value = frame.eval(node.value)
    if isinstance(value, Opaque) and value.qual == ENDED:
        frame.live = False


def run_assign(frame: Frame, node: ast.stmt) -> None:
    """`a = b = value`."""
    assert isinstance(node, ast.Assign)
    value = frame.eval(node.value)
    for target in node.targets:
        assign(frame, target, value, node.value)


def run_annotated(frame: Frame, node: ast.stmt) -> None:
    """`a: T = value`; without a value nothing happens."""
    assert isinstance(node, ast.AnnAssign)
    if node.value is not None:
        assign(frame, node.target, frame.eval(node.value), node.value)


def run_augmented(frame: Frame, node: ast.stmt) -> None:
    """`a += value`; a list grows in place."""
    assert isinstance(node, ast.AugAssign)
    old = frame.eval(node.target)
    value = frame.eval(node.value)
    held = frame.state.get(old) if isinstance(old, Ref) else None
    if isinstance(old, Ref) and isinstance(held, Seq) and isinstance(node.op, ast.Add):
        more = frame.state.get(value) if isinstance(value, Ref) else None
        if isinstance(more, Seq) and more.rest is None and held.rest is None:
            frame.state.put(old, Seq(held.kind, held.items + more.items))
        else:
            extra = as_values(frame.state, value)
            rest = extra if held.rest is None else join_values(frame.state, held.rest, extra)
            frame.state.put(old, Seq(held.kind, held.items, rest))
        return
    assign(frame, node.target, binary(frame, node.op, old, value), node.value)


def run_return(frame: Frame, node: ast.stmt) -> None:
    """Control leaves with a value and what was known about it."""
    assert isinstance(node, ast.Return)
    value = frame.eval(node.value) if node.value is not None else NONE
    if node.value is not None:
        frame.engine.listener.on_return(frame, value, node)
    frame.returns.append((apply_facts(value, frame.state.facts), frame.state))
    frame.live = False


def run_raise(frame: Frame, node: ast.stmt) -> None:
    """Control leaves to a handler, if any: the state is remembered for it."""
    assert isinstance(node, ast.Raise)
    if node.exc is not None:
        frame.eval(node.exc)
    if frame.caught is not None:
        frame.caught.append(frame.state)
    frame.live = False


def run_assert(frame: Frame, node: ast.stmt) -> None:
    """An assertion proves nothing: `python -O` removes it."""
    assert isinstance(node, ast.Assert)
    frame.eval(node.test)


def run_break(frame: Frame, _node: ast.stmt) -> None:
    """Out of the loop."""
    frame.breaks.append(frame.state)
    frame.live = False


def run_continue(frame: Frame, _node: ast.stmt) -> None:
    """Back to the head of the loop."""
    frame.continues.append(frame.state)
    frame.live = False


def run_if(frame: Frame, node: ast.stmt) -> None:
    """A known test takes one side; otherwise both, each knowing what the test proved. `elif` chains need no
    stack."""
    assert isinstance(node, ast.If)
    outs: list[State] = []
    before = frame.state
    current: list[ast.stmt] = [node]
    while len(current) == 1 and isinstance(current[0], ast.If):
        link = current[0]
        test = frame.eval(link.test)
        known = truth(frame.state, test)
        held, failed = facts_of(test)
        if known is not False:
            rest = None if known else frame.state.fork()
            frame.learn(held)
            out = frame.branch(frame.state, link.body)
            if out is not None:
                outs.append(out)
            if rest is None:
                frame.resume(_join_all(frame, outs), before)
                return
            frame.state, frame.live = rest, True
        frame.learn(failed)
        current = link.orelse
    out = frame.branch(frame.state, current)
    if out is not None:
        outs.append(out)
    frame.resume(_join_all(frame, outs), before)


def _join_all(frame: Frame, states: list[State]) -> State | None:
    result: State | None = None
    for state in states:
        result = frame.join(result, state)
    return result


def run_for(frame: Frame, node: ast.stmt) -> None:
    """A loop over elements: known short sequences one by one, anything else in LOOP_PASSES joined passes."""
    assert isinstance(node, ast.For | ast.AsyncFor)
    iterable = frame.eval(node.iter)
    breaks, continues = frame.breaks, frame.continues
    frame.breaks, frame.continues = [], []
    before = frame.state
    held = before.get(iterable) if isinstance(iterable, Ref) else None
    if isinstance(held, Seq) and held.rest is None and len(held.items) <= UNROLLED_MAX:
        out: State | None = before
        for element in held.items:
            if out is None:
                break
            out = _pass(frame, node, out, element)
    else:
        out = before
        for _ in range(LOOP_PASSES):
            element = each_of(frame, iterable)
            again = _pass(frame, node, out.fork(), element)
            out = frame.join(out, again) or out
            if again is not None and not frame.breaks:
                out.facts = both_facts(out.facts, _of_all(frame, element, again))
    out = frame.branch(out, node.orelse) if out is not None and node.orelse else out
    for state in frame.breaks:
        out = frame.join(out, state)
    frame.breaks, frame.continues = breaks, continues
    frame.resume(out, before)


def _of_all(frame: Frame, element: Value, after: State) -> Facts:
    """What the body proved of every element, and so of the whole they come from; of none it holds as well."""
    found: dict[int, frozenset[str]] = {}
    for taint in element.taints:
        whole, granted = frame.engine.grants.get(taint.origin.uid, (0, frozenset[str]()))
        if granted is EACH and whole in after.facts:
            found[whole] = after.facts[whole]
    return found


def _pass(frame: Frame, node: ast.For | ast.AsyncFor, state: State, element: Value) -> State | None:
    frame.state, frame.live = state, True
    assign(frame, node.target, element, node.iter)
    out = frame.branch(frame.state, node.body)
    for other in frame.continues:
        out = frame.join(out, other)
    frame.continues.clear()
    return out


def run_while(frame: Frame, node: ast.stmt) -> None:
    """A loop on a condition, in LOOP_PASSES joined passes; `while True` is left by break only."""
    assert isinstance(node, ast.While)
    breaks, continues = frame.breaks, frame.continues
    frame.breaks, frame.continues = [], []
    before = frame.state
    out: State | None = before
    endless = False
    for _ in range(LOOP_PASSES):
        frame.state, frame.live = out.fork() if out is not None else before.fork(), True
        test = frame.eval(node.test)
        known = truth(frame.state, test)
        endless = known is True and isinstance(node.test, ast.Constant)
        if known is False:
            break
        frame.learn(facts_of(test)[0])
        again = frame.branch(frame.state, node.body)
        for other in frame.continues:
            again = frame.join(again, other)
        frame.continues.clear()
        out = frame.join(out, again)
    if endless:
        out = None
    elif out is not None:
        frame.state, frame.live = out.fork(), True
        frame.learn(facts_of(frame.eval(node.test))[1])
        out = frame.branch(frame.state, node.orelse)
    for state in frame.breaks:
        out = frame.join(out, state)
    frame.breaks, frame.continues = breaks, continues
    frame.resume(out, before)


def _speaks_for_us(frame: Frame, handler: ast.ExceptHandler) -> bool:
    """Every exception caught here is a class of the project: its text was written for whoever reads it."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return all(kind is not None and isinstance(frame.eval(kind), Class) for kind in kinds)


def run_try(frame: Frame, node: ast.stmt) -> None:
    """Handlers start from anywhere in the body: its beginning, its end and every raise."""
    assert isinstance(node, ast.Try | ast.TryStar)
    before = frame.state.fork()
    outer, frame.caught = frame.caught, []
    fallback = frame.state
    out = frame.branch(frame.state, node.body)
    thrown = before
    for state in [*frame.caught, *([out] if out is not None else [])]:
        thrown = frame.join(thrown, state) or thrown
    # What the body proved may not have been proved yet when it failed.
    thrown = thrown.fork() if thrown is before else thrown
    frame.caught = outer
    if out is not None and node.orelse:
        out = frame.branch(out, node.orelse)
    for handler in node.handlers:
        state = thrown.fork()
        frame.state, frame.live = state, True
        if handler.name:
            taints = (
                ()
                if _speaks_for_us(frame, handler)
                else frame.source(handler, OriginKind.ERROR, f"exception {handler.name}")
            )
            state.env[handler.name] = Opaque("exception", taints)
        frame.run(handler.body)
        if frame.live:
            out = frame.join(out, frame.state)
    if node.finalbody:
        if out is None:
            frame.branch((thrown if node.handlers else fallback).fork(), node.finalbody)
        else:
            out = frame.branch(out, node.finalbody)
    frame.resume(out, fallback)


def run_with(frame: Frame, node: ast.stmt) -> None:
    """`with a as b`: the context value itself stands for what `__enter__` gives."""
    assert isinstance(node, ast.With | ast.AsyncWith)
    for entry in node.items:
        value = frame.eval(entry.context_expr)
        if entry.optional_vars is not None:
            assign(frame, entry.optional_vars, value, entry.context_expr)
    frame.run(node.body)


def run_match(frame: Frame, node: ast.stmt) -> None:
    """Cases with literal patterns are folded when the subject is known."""
    assert isinstance(node, ast.Match)
    subject = frame.eval(node.subject)
    before = frame.state
    outs: list[State] = []
    exhausted = False
    for case in node.cases:
        fits = _matches(frame, case.pattern, subject)
        if fits is False:
            continue
        frame.state, frame.live = before.fork(), True
        _bind_pattern(frame, case.pattern, subject)
        if case.guard is not None:
            test = frame.eval(case.guard)
            if truth(frame.state, test) is False:
                continue
            frame.learn(facts_of(test)[0])
            fits = None
        frame.run(case.body)
        if frame.live:
            outs.append(frame.state)
        if fits is True:
            exhausted = True
            break
    if not exhausted:
        outs.append(before.fork())
    frame.resume(_join_all(frame, outs), before)


def _matches(frame: Frame, pattern: ast.pattern, subject: Value) -> bool | None:
    if isinstance(pattern, ast.MatchAs) and pattern.pattern is None:
        return True
    if isinstance(pattern, ast.MatchValue) and isinstance(subject, Const):
        value = frame.eval(pattern.value)
        return value.value == subject.value if isinstance(value, Const) else None
    if isinstance(pattern, ast.MatchSingleton) and isinstance(subject, Const):
        return pattern.value is subject.value
    if isinstance(pattern, ast.MatchOr):
        answers = [_matches(frame, inner, subject) for inner in pattern.patterns]
        return True if True in answers else None if None in answers else False
    return None


def _bind_pattern(frame: Frame, pattern: ast.pattern, subject: Value) -> None:
    env = frame.state.env
    match pattern:
        case ast.MatchValue():
            frame.learn(_literal_facts(frame, subject))
        case ast.MatchOr(patterns=patterns):
            if all(isinstance(inner, ast.MatchValue) for inner in patterns):
                frame.learn(_literal_facts(frame, subject))
        case ast.MatchAs(pattern=inner, name=name):
            if inner is not None:
                _bind_pattern(frame, inner, subject)
            if name:
                env[name] = subject
        case ast.MatchSequence(patterns=patterns):
            for index, inner in enumerate(patterns):
                _bind_pattern(frame, inner, item(frame, subject, Const(index)))
        case ast.MatchMapping(keys=keys, patterns=patterns, rest=rest):
            for key, inner in zip(keys, patterns, strict=True):
                _bind_pattern(frame, inner, item(frame, subject, frame.eval(key)))
            if rest:
                env[rest] = subject
        case ast.MatchStar(name=name):
            if name:
                env[name] = subject
        case ast.MatchClass(patterns=patterns, kwd_patterns=more):
            for inner in (*patterns, *more):
                _bind_pattern(frame, inner, Opaque("", subject.taints))
        case _:
            pass


def _literal_facts(frame: Frame, subject: Value) -> dict[int, frozenset[str]]:
    return dict(facts_about(frame, subject.taints, frozenset({EVERY_KIND})))


def run_delete(frame: Frame, node: ast.stmt) -> None:
    """`del name` forgets it."""
    assert isinstance(node, ast.Delete)
    for target in node.targets:
        if isinstance(target, ast.Name):
            frame.state.env.pop(target.id, None)


def run_global(frame: Frame, node: ast.stmt) -> None:
    """Names that belong to the module or the enclosing function from here on."""
    assert isinstance(node, ast.Global | ast.Nonlocal)
    frame.outer_names.update(node.names)


EXECUTORS = {
    ast.Expr: run_expression,
    ast.Assign: run_assign,
    ast.AnnAssign: run_annotated,
    ast.AugAssign: run_augmented,
    ast.Return: run_return,
    ast.Raise: run_raise,
    ast.Assert: run_assert,
    ast.Break: run_break,
    ast.Continue: run_continue,
    ast.If: run_if,
    ast.For: run_for,
    ast.AsyncFor: run_for,
    ast.While: run_while,
    ast.Try: run_try,
    ast.TryStar: run_try,
    ast.With: run_with,
    ast.AsyncWith: run_with,
    ast.Match: run_match,
    ast.Delete: run_delete,
    ast.Global: run_global,
    ast.Nonlocal: run_global,
}
