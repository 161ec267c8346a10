"""What is the abstract value of an expression (everything but calls, comparisons and comprehensions)?"""

import ast
from typing import Any

from veilig.audit.engine.arithmetic import binary, is_literal, tell_repeat
from veilig.audit.engine.attributes import attribute
from veilig.audit.engine.frame import Frame, opaque
from veilig.audit.engine.guards import facts_of, verdict
from veilig.audit.engine.origins import FIRST, NAMES, RESOLVED, SECOND, part_of
from veilig.audit.engine.source import function_info
from veilig.audit.engine.state import (
    MISSING,
    as_values,
    constant,
    deep_taints,
    join_values,
    seq,
    truth,
)
from veilig.audit.engine.value import (
    ATTACKER,
    LITERALS,
    NONE,
    UNKNOWN,
    Const,
    Dict,
    Facts,
    Func,
    Instance,
    Opaque,
    Ref,
    Seq,
    Value,
    apply_facts,
    both_facts,
    cleaned,
    either_facts,
)

INSIDE = frozenset({"inside"})


def evaluate_constant(_frame: Frame, node: ast.expr) -> Value:
    """A literal."""
    assert isinstance(node, ast.Constant)
    return Const(node.value)


def evaluate_name(frame: Frame, node: ast.expr) -> Value:
    """A variable; names nobody defines are builtins or come from a star import."""
    assert isinstance(node, ast.Name)
    value = frame.lookup(node.id)
    if value is not None:
        return value
    return opaque(frame.engine.knowledge.aliases.get(node.id, node.id))


def evaluate_attribute(frame: Frame, node: ast.expr) -> Value:
    """`thing.name`."""
    assert isinstance(node, ast.Attribute)
    return attribute(frame, frame.eval(node.value), node.attr, node)


def evaluate_subscript(frame: Frame, node: ast.expr) -> Value:
    """`thing[key]`."""
    assert isinstance(node, ast.Subscript)
    thing = frame.eval(node.value)
    if isinstance(node.slice, ast.Slice):
        return _slice(frame, thing, node.slice)
    return item(frame, thing, frame.eval(node.slice))


def item(frame: Frame, thing: Value, key: Value) -> Value:
    """The value under a key or index, as exactly as both are known."""
    known = constant(key)
    chosen = tuple(t for t in key.taints if t.origin.kind not in ATTACKER)
    if chosen and not isinstance(thing, Opaque):  # a random place of a known alphabet: random too
        return opaque("", chosen)
    if isinstance(thing, Const):
        return _const_item(thing.value, known)
    if isinstance(thing, Ref):
        held = frame.state.get(thing)
        if isinstance(held, Seq):
            return _seq_item(frame, thing, held, known)
        if isinstance(held, Dict):
            return _dict_item(frame, thing, held, known)
        if isinstance(held, Instance):
            return opaque("", deep_taints(frame.state, thing))
        return UNKNOWN
    if isinstance(thing, Opaque):
        part = known if known is not MISSING else None
        grants = {0: FIRST, 1: SECOND}.get(part, frozenset[str]()) if type(part) is int else frozenset[str]()
        qual = f"{thing.qual}[]" if thing.qual else ""
        if thing.qual == NAMES and isinstance(known, int):
            return opaque("", cleaned(part_of(frame, thing.taints, part), ("path",)))
        if thing.qual.startswith(RESOLVED):  # an address looked up: what is known of it is known of the name
            return opaque(RESOLVED, thing.taints)
        sources = frame.engine.knowledge.source_names
        if isinstance(known, str) and qual in sources:
            return opaque(qual, frame.source_part(thing.qual, known, sources[qual]))
        return opaque(qual, part_of(frame, thing.taints, part, grants))
    return UNKNOWN


def _const_item(value: object, key: object) -> Value:
    if key is MISSING:
        return opaque(LITERALS) if isinstance(value, str | bytes) else UNKNOWN
    try:
        holder: Any = value
        found: object = holder[key]
    except (TypeError, IndexError, KeyError):
        return UNKNOWN
    return Const(found) if isinstance(found, str | bytes | int) else UNKNOWN


def _seq_item(frame: Frame, ref: Ref, held: Seq, key: object) -> Value:
    if isinstance(key, int) and not isinstance(key, bool):
        if held.rest is None and -len(held.items) <= key < len(held.items):
            return held.items[key]
        if held.rest is not None and 0 <= key < len(held.items):
            return held.items[key]
    return as_values(frame.state, ref)


def _dict_item(frame: Frame, _ref: Ref, held: Dict, key: object) -> Value:
    if key is not MISSING:
        found = held.items.get(key)
        if found is not None:
            return found
        return held.rest if held.rest is not None else UNKNOWN
    result = held.rest
    for value in held.items.values():
        result = value if result is None else join_values(frame.state, result, value)
    return result if result is not None else UNKNOWN


def _slice(frame: Frame, thing: Value, node: ast.Slice) -> Value:
    bounds: list[Any] = []
    for bound in (node.lower, node.upper, node.step):
        value = constant(frame.eval(bound)) if bound is not None else None
        bounds.append(value)
    exact = all(bound is None or isinstance(bound, int) for bound in bounds)
    if isinstance(thing, Const):
        value: Any = thing.value
        if exact and isinstance(value, str | bytes) and bounds[2] != 0:
            return Const(value[slice(*bounds)])
        return UNKNOWN
    held = frame.state.get(thing) if isinstance(thing, Ref) else None
    if isinstance(held, Seq):
        if exact and held.rest is None and bounds[2] != 0:
            return frame.new_seq(held.kind, *held.items[slice(*bounds)])
        assert isinstance(thing, Ref)
        return frame.new_seq(held.kind, rest=as_values(frame.state, thing))
    if is_literal(thing):
        return opaque(LITERALS)
    taints = deep_taints(frame.state, thing)
    if bounds == [1, -1, None]:  # the inside of something in quotes or brackets
        return opaque("", part_of(frame, taints, "[1:-1]", INSIDE))
    if bounds in ([None, 1, None], [0, 1, None]):
        return opaque("", part_of(frame, taints, "[:1]", FIRST))
    if bounds == [1, 2, None]:
        return opaque("", part_of(frame, taints, "[1:2]", SECOND))
    return opaque("", part_of(frame, taints, None))


def evaluate_binary(frame: Frame, node: ast.expr) -> Value:
    """`a + b + c …`: the left-deep chain is walked in a loop, so that long sums need no stack."""
    assert isinstance(node, ast.BinOp)
    chain: list[ast.BinOp] = []
    left: ast.expr = node
    while isinstance(left, ast.BinOp):
        chain.append(left)
        left = left.left
    value = frame.eval(left)
    for link in reversed(chain):
        right = frame.eval(link.right)
        if type(link.op) is ast.Mult:
            tell_repeat(frame, link, value, right)
        value = binary(frame, link.op, value, right)
    return value


def evaluate_unary(frame: Frame, node: ast.expr) -> Value:
    """`not x`, `-x`, `+x`, `~x`."""
    assert isinstance(node, ast.UnaryOp)
    value = frame.eval(node.operand)
    if isinstance(node.op, ast.Not):
        known = truth(frame.state, value)
        if known is not None:
            return Const(not known)
        held, failed = facts_of(value)
        return verdict(failed, held)
    known_value: Any = constant(value)
    if isinstance(known_value, int | float):
        try:
            match node.op:
                case ast.USub():
                    return Const(-known_value)
                case ast.UAdd():
                    return Const(+known_value)
                case _:
                    return Const(~int(known_value))
        except (OverflowError, ValueError):
            return UNKNOWN
    return opaque("", cleaned(value.taints, ("*",)))


def evaluate_boolean(frame: Frame, node: ast.expr) -> Value:
    """`a and b`, `a or b`: later operands see what the earlier ones proved."""
    assert isinstance(node, ast.BoolOp)
    conjunction = isinstance(node.op, ast.And)
    before = frame.state.facts
    result: Value | None = None
    held: Facts | None = None
    failed: Facts | None = None
    for operand in node.values:
        value = frame.eval(operand)
        known = truth(frame.state, value)
        if known is not None and known is not conjunction:
            result = value if result is None else join_values(frame.state, result, value)
            break
        if known is not None and operand is not node.values[-1]:
            continue
        when_true, when_false = facts_of(value)
        if conjunction:
            held = both_facts(held, when_true) if held is not None else when_true
            failed = either_facts(failed, when_false) if failed is not None else when_false
            frame.learn(when_true)
        else:
            failed = both_facts(failed, when_false) if failed is not None else when_false
            held = either_facts(held, when_true) if held is not None else when_true
            frame.learn(when_false)
            value = apply_facts(value, when_true)
        result = value if result is None else join_values(frame.state, result, value)
    frame.state.facts = before
    assert result is not None
    if (held or failed) and isinstance(result, Opaque | Const) and truth(frame.state, result) is None:
        qual, taints = (result.qual, result.taints) if isinstance(result, Opaque) else ("", ())
        return Opaque(qual, taints, "", held or {}, failed or {})
    return result


def evaluate_choice(frame: Frame, node: ast.expr) -> Value:
    """`a if test else b`; a known test takes one side only."""
    assert isinstance(node, ast.IfExp)
    test = frame.eval(node.test)
    known = truth(frame.state, test)
    if known is not None:
        return frame.eval(node.body if known else node.orelse)
    held, failed = facts_of(test)
    before = frame.state.facts
    frame.learn(held)
    yes = apply_facts(frame.eval(node.body), frame.state.facts)
    frame.state.facts = before
    frame.learn(failed)
    no = apply_facts(frame.eval(node.orelse), frame.state.facts)
    frame.state.facts = before
    return join_values(frame.state, yes, no)


def evaluate_sequence(frame: Frame, node: ast.expr) -> Value:
    """A list, tuple or set display."""
    assert isinstance(node, ast.List | ast.Tuple | ast.Set)
    items: list[Value] = []
    rest: Value | None = None
    for element in node.elts:
        if isinstance(element, ast.Starred):
            value = frame.eval(element.value)
            held = frame.state.get(value) if isinstance(value, Ref) else None
            if isinstance(held, Seq) and held.rest is None and rest is None:
                items.extend(held.items)
                continue
            value = as_values(frame.state, value)
        else:
            value = frame.eval(element)
            if rest is None:
                items.append(value)
                continue
        rest = value if rest is None else join_values(frame.state, rest, value)
    kind = {ast.List: "list", ast.Tuple: "tuple", ast.Set: "set"}[type(node)]
    return seq(frame.state, kind, items, rest)


def evaluate_dict(frame: Frame, node: ast.expr) -> Value:
    """A dict display; each entry with a constant key is also an assignment for the rules."""
    assert isinstance(node, ast.Dict)
    items: dict[object, Value] = {}
    rest: Value | None = None
    for key, entry in zip(node.keys, node.values, strict=True):
        value = frame.eval(entry)
        if key is None:
            held = frame.state.get(value) if isinstance(value, Ref) else None
            if isinstance(held, Dict):
                items.update(held.items)
                value = held.rest
            if value is not None:
                rest = value if rest is None else join_values(frame.state, rest, value)
            continue
        known = constant(frame.eval(key))
        if isinstance(known, str | bytes | int | float | bool) or known is None:
            items[known] = value
            if isinstance(known, str):
                frame.engine.listener.on_assign(frame, known, value, entry)
        else:
            rest = value if rest is None else join_values(frame.state, rest, value)
    return frame.new_dict(items, rest)


def evaluate_lambda(frame: Frame, node: ast.expr) -> Value:
    """A lambda: a function with what it sees now."""
    assert isinstance(node, ast.Lambda)
    infos = frame.engine.functions
    info = infos.get(node)
    if info is None:
        info = infos[node] = function_info(frame.module, node, frame.scope)
    return Func(info, {**(frame.closure or {}), **frame.state.env} if frame.func is not None else None)


def evaluate_walrus(frame: Frame, node: ast.expr) -> Value:
    """`name := value`."""
    assert isinstance(node, ast.NamedExpr)
    value = frame.eval(node.value)
    frame.state.env[node.target.id] = value
    return value


def evaluate_inner(frame: Frame, node: ast.expr) -> Value:
    """`await x` and a starred value: the value itself."""
    assert isinstance(node, ast.Await | ast.Starred)
    return frame.eval(node.value)


def evaluate_yield(frame: Frame, node: ast.expr) -> Value:
    """`yield x`: remembered as an element of what the generator gives."""
    assert isinstance(node, ast.Yield | ast.YieldFrom)
    value = frame.eval(node.value) if node.value is not None else NONE
    if isinstance(node, ast.YieldFrom):
        value = as_values(frame.state, value)
    value = apply_facts(value, frame.state.facts)
    frame.yields = value if frame.yields is None else join_values(frame.state, frame.yields, value)
    return UNKNOWN


EVALUATORS = {
    ast.Constant: evaluate_constant,
    ast.Name: evaluate_name,
    ast.Attribute: evaluate_attribute,
    ast.Subscript: evaluate_subscript,
    ast.BinOp: evaluate_binary,
    ast.UnaryOp: evaluate_unary,
    ast.BoolOp: evaluate_boolean,
    ast.IfExp: evaluate_choice,
    ast.List: evaluate_sequence,
    ast.Tuple: evaluate_sequence,
    ast.Set: evaluate_sequence,
    ast.Dict: evaluate_dict,
    ast.Lambda: evaluate_lambda,
    ast.NamedExpr: evaluate_walrus,
    ast.Await: evaluate_inner,
    ast.Starred: evaluate_inner,
    ast.Yield: evaluate_yield,
    ast.YieldFrom: evaluate_yield,
}
