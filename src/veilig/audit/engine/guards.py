"""What does a comparison that held, or failed, tell about the values compared?"""

import ast
import operator
from collections.abc import Callable
from typing import Any

from veilig.audit.engine.frame import Frame, opaque
from veilig.audit.engine.origins import TEXT_KINDS, facts_about, first_characters
from veilig.audit.engine.probes import denied_by
from veilig.audit.engine.state import MISSING, constant, deep_taints
from veilig.audit.engine.value import (
    ATTACKER,
    EVERY_KIND,
    NO_FACTS,
    Class,
    Const,
    Dict,
    Facts,
    Func,
    Method,
    Module,
    Opaque,
    OriginKind,
    Ref,
    Seq,
    Taints,
    Value,
    both_facts,
    either_facts,
)

EVERYTHING = frozenset({EVERY_KIND, "size"})
BOUNDED = frozenset({"size"})
PATH = frozenset({"path"})
OPERATOR = frozenset({OriginKind.ENVIRONMENT, OriginKind.LOCAL})

_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], object]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def evaluate_compare(frame: Frame, node: ast.expr) -> Value:
    """A comparison: a constant where both sides are known, else a value that carries what it proves."""
    assert isinstance(node, ast.Compare)
    values = [frame.eval(node.left), *(frame.eval(item) for item in node.comparators)]
    frame.engine.listener.on_compare(frame, node, values)
    result: Value | None = None
    sides = [node.left, *node.comparators]
    for index, op in enumerate(node.ops):
        one = _pair(frame, op, values[index], values[index + 1])
        if isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) and isinstance(one, Opaque):
            one = _factors(frame, op, sides[index], sides[index + 1], one)
        result = one if result is None else _and(result, one)
    return result if result is not None else opaque("")


def _factors(frame: Frame, op: ast.cmpop, left: ast.expr, right: ast.expr, result: Opaque) -> Value:
    """`w * h > LIMIT`: what bounds the product bounds both."""
    product, below = (left, True) if isinstance(left, ast.BinOp) else (right, False)
    if not isinstance(product, ast.BinOp) or not isinstance(product.op, ast.Mult | ast.Add):
        return result
    taints: Taints = ()
    for part in ast.walk(product):
        if isinstance(part, ast.Name | ast.Attribute):
            taints += frame.eval(part).taints
    if not attacked(taints):
        return result
    facts = facts_about(frame, taints, BOUNDED)
    bounded_when_true = isinstance(op, ast.Lt | ast.LtE) is below
    return verdict(facts, NO_FACTS, negate=not bounded_when_true)


def _and(left: Value, right: Value) -> Value:
    for value, other in ((left, right), (right, left)):
        if isinstance(value, Const):
            return value if not value.value else other
    held, failed = facts_of(left), facts_of(right)
    return Opaque("", (), "", both_facts(held[0], failed[0]), either_facts(held[1], failed[1]))


def facts_of(value: Value) -> tuple[Facts, Facts]:
    """What is known when the value is true, and when it is false."""
    if isinstance(value, Opaque):
        return value.when_true, value.when_false
    return NO_FACTS, NO_FACTS


def verdict(held: Facts, failed: Facts, *, negate: bool = False) -> Value:
    """An unknown truth value that proves `held` when true and `failed` when false."""
    return Opaque("", (), "", failed, held) if negate else Opaque("", (), "", held, failed)


def _pair(frame: Frame, op: ast.cmpop, left: Value, right: Value) -> Value:
    folded = _fold(frame, op, left, right)
    if folded is not None:
        return folded
    negate = isinstance(op, ast.NotEq | ast.NotIn | ast.IsNot)
    if isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
        return _equal(frame, left, right, negate)
    if isinstance(op, ast.In | ast.NotIn):
        return _contained(frame, left, right, negate)
    return _bounded(frame, op, left, right)


def _bounded(frame: Frame, op: ast.cmpop, left: Value, right: Value) -> Value:
    """`n < LIMIT` bounds n where it holds, `n > LIMIT` where it does not."""
    below = isinstance(op, ast.Lt | ast.LtE)
    one, two = left.taints, right.taints
    if attacked(one) == attacked(two):
        return opaque("")
    facts = facts_about(frame, one or two, BOUNDED)
    return verdict(facts, NO_FACTS, negate=below is not attacked(one))


def _fold(frame: Frame, op: ast.cmpop, left: Value, right: Value) -> Value | None:
    one, two = constant(left), constant(right)
    if isinstance(op, ast.Is | ast.IsNot):
        known: bool | None = None
        if one is not MISSING and two is not MISSING:
            known = one is two or (type(one) is type(two) and one == two)
        elif any(isinstance(v, Const) and v.value is None for v in (left, right)) and any(
            isinstance(v, Func | Class | Module | Method | Ref) for v in (left, right)
        ):
            known = False
        return None if known is None else Const(known is not isinstance(op, ast.IsNot))
    if isinstance(op, ast.In | ast.NotIn):
        if one is MISSING:
            return None
        inside = _inside(frame, one, right)
        return None if inside is None else Const(inside is not isinstance(op, ast.NotIn))
    if one is MISSING or two is MISSING:
        return None
    try:
        return Const(bool(_ORDER[type(op)](one, two)))
    except (TypeError, KeyError, ValueError, RecursionError):
        return None


def _inside(frame: Frame, item: object, container: Value) -> bool | None:
    try:
        if isinstance(container, Const):
            holder: Any = container.value
            return bool(operator.contains(holder, item)) if isinstance(holder, str | bytes) else None
        thing = frame.state.get(container) if isinstance(container, Ref) else None
        if isinstance(thing, Dict) and thing.rest is None:
            return item in thing.items
        if isinstance(thing, Seq) and thing.rest is None:
            known = [value.value for value in thing.items if isinstance(value, Const)]
            return item in known if len(known) == len(thing.items) else None
    except TypeError:
        return None
    return None


def attacked(taints: Taints) -> bool:
    """Whether an attacker decides part of the value."""
    return any(taint.origin.kind in ATTACKER for taint in taints)


def _sent(taints: Taints) -> Taints:
    """What somebody outside decides; not what the operator of this installation set."""
    return tuple(t for t in taints if t.origin.kind not in OPERATOR)


def _asks_an_operator(one: Taints, two: Taints) -> bool:
    """A value from outside meets a list or name that the operator configured."""
    return attacked(_sent(one)) and attacked(two) and not attacked(_sent(two))


def _equal(frame: Frame, left: Value, right: Value, negate: bool) -> Value:
    for value, other in ((left, right), (right, left)):
        if isinstance(value, Const) and value.value is None and isinstance(other, Opaque):
            # `m is None`: the value was a test itself; None is its false.
            if other.when_true or other.when_false:
                return verdict(other.when_false, other.when_true, negate=negate)
            return verdict(facts_about(frame, other.taints, EVERYTHING), NO_FACTS, negate=negate)
    for value, other in ((left, right), (right, left)):
        if isinstance(value, Const) and isinstance(value.value, bool) and isinstance(other, Opaque):
            held, failed = facts_of(other)
            if held or failed:
                flip = negate is value.value
                return verdict(held, failed, negate=flip)
    one, two = deep_taints(frame.state, left), deep_taints(frame.state, right)
    if _asks_an_operator(one, two):
        return verdict(facts_about(frame, _sent(one), EVERYTHING), NO_FACTS, negate=negate)
    if _asks_an_operator(two, one):
        return verdict(facts_about(frame, _sent(two), EVERYTHING), NO_FACTS, negate=negate)
    if attacked(one) != attacked(two):
        literal = constant(right if one else left)
        unlike = first_characters(frame, one or two, literal if isinstance(literal, str) else "")
        return verdict(facts_about(frame, one or two, EVERYTHING), unlike, negate=negate)
    if one and two:
        names = f"{getattr(left, 'qual', '')} {getattr(right, 'qual', '')}"
        if "basename()" in names or "secure_filename()" in names or ".name" in names:
            held = both_facts(facts_about(frame, one, PATH), facts_about(frame, two, PATH))
            return verdict(held, NO_FACTS, negate=negate)
        if "commonpath()" in names or "commonprefix()" in names:
            held = both_facts(facts_about(frame, one, EVERYTHING), facts_about(frame, two, PATH))
            return verdict(held, NO_FACTS, negate=negate)
    return opaque("")


def _single_characters(frame: Frame, container: Value) -> bool:
    """Whether the allow-list is an alphabet: it says which characters may come, not which values."""
    thing = frame.state.get(container) if isinstance(container, Ref) else None
    if not isinstance(thing, Seq) or thing.rest is not None:
        return False
    known = [constant(item) for item in thing.items]
    return (
        len(known) > 1
        and all(isinstance(item, str) and len(item) == 1 for item in known)
        and (not all(item.isalnum() for item in known))
    )


def _letters(frame: Frame, container: Value) -> str:
    """The characters a text or a list of texts is made of."""
    known = constant(container)
    if isinstance(known, str):
        return known
    thing = frame.state.get(container) if isinstance(container, Ref) else None
    items = [constant(item) for item in thing.items] if isinstance(thing, Seq) else []
    return "".join(item for item in items if isinstance(item, str))


def _contained(frame: Frame, left: Value, right: Value, negate: bool) -> Value:
    one, two = deep_taints(frame.state, left), deep_taints(frame.state, right)
    if attacked(two) and isinstance(right, Opaque) and right.qual.endswith(".parents"):
        return verdict(facts_about(frame, two, PATH), NO_FACTS, negate=negate)
    if _asks_an_operator(one, two):
        one, two = _sent(one), ()
    if attacked(one) and not attacked(two):
        kinds = TEXT_KINDS if _single_characters(frame, right) else EVERYTHING
        unlike = first_characters(frame, one, _letters(frame, right))
        return verdict(facts_about(frame, one, kinds), unlike, negate=negate)
    if attacked(two) and not attacked(one):
        literal = constant(left)
        absent = facts_about(frame, two, denied_by(literal))
        return verdict(NO_FACTS, absent, negate=negate)
    return opaque("")
