"""What do operators give: numbers, glued strings, formatted strings, joined containers?"""

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from veilig.audit.engine.frame import CallSite, Frame, opaque
from veilig.audit.engine.state import MISSING, constant, deep_taints
from veilig.audit.engine.value import (
    LITERALS,
    PREFIX_CHARS_MAX,
    UNKNOWN,
    Const,
    Dict,
    Instance,
    Opaque,
    Ref,
    Seq,
    Taints,
    Value,
    cleaned,
    merge_taints,
)

TEXT_CHARS_MAX = 20_000  # longer constants are not kept
NUMBER_BITS_MAX = 256

OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: operator.mod,
    ast.BitAnd: lambda left, right: left & right,
    ast.BitOr: lambda left, right: left | right,
    ast.BitXor: lambda left, right: left ^ right,
}
_PLACEHOLDER = re.compile(r"%(?:\((\w+)\))?[#0\- +]*(?:\*|\d+)?(?:\.(?:\*|\d+))?[hlL]?([a-zA-Z%])")
_NUMBER_CODES = frozenset("diouxXeEfFgGc")
TEXT_OPERATORS = (ast.Add, ast.Mod, ast.Mult, ast.Div, ast.BitOr)


FIXED = "<literal>"  # a literal repeated: nobody knows how long, everybody knows what


FORMULA = ("", "=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet computes


def binary(frame: Frame, op: ast.operator, left: Value, right: Value) -> Value:
    """The value of `left op right`."""
    one, two = constant(left), constant(right)
    if one is not MISSING and two is not MISSING:
        return fold(op, one, two)
    if isinstance(op, ast.Mod) and isinstance(one, str):
        return percent(frame, one, right)
    if isinstance(left, Ref) and isinstance(right, Ref):
        joined = _joined(frame, op, left, right)
        if joined is not None:
            return joined
    if is_literal(left) and is_literal(right):
        return opaque(LITERALS)
    taints = merge_taints(deep_taints(frame.state, left), deep_taints(frame.state, right))
    if isinstance(op, ast.Mult) and not taints and (isinstance(one, bytes) or isinstance(two, bytes)):
        return opaque(FIXED)
    if not isinstance(op, TEXT_OPERATORS):
        taints = cleaned(taints, ("*",))
    prefix = ""
    if isinstance(op, ast.Add):
        if isinstance(one, str):
            inner = right.prefix if isinstance(right, Opaque) else ""
            prefix = (one + inner)[:PREFIX_CHARS_MAX]
            if one[:1] not in FORMULA:
                taints = cleaned(taints, ("csv",))
        elif isinstance(left, Opaque):
            prefix = left.prefix
    elif isinstance(op, ast.Div) and isinstance(left, Opaque):
        prefix = left.prefix
    qual = ""
    if isinstance(op, ast.Div):
        for side in (left, right):
            if isinstance(side, Opaque) and side.qual:
                qual = side.qual if side.qual.endswith("/") else f"{side.qual}/"
                break
    elif isinstance(op, ast.BitOr) and isinstance(left, Opaque):
        qual = left.qual
    return opaque(qual, taints, prefix) if taints or prefix or qual else UNKNOWN


def is_literal(value: Value) -> bool:
    """Whether the value is one of the program's own literals, though nobody knows which."""
    return isinstance(value, Const) or (isinstance(value, Opaque) and value.qual.startswith(LITERALS))


def tell_repeat(frame: Frame, node: ast.BinOp, left: Value, right: Value) -> None:
    """`text * n` makes n copies: the rules see it as a call."""
    for thing, count in ((left, right), (right, left)):
        if count.taints and (isinstance(thing, Ref) or isinstance(constant(thing), str | bytes)):
            call = ast.copy_location(ast.Call(func=node.left, args=[], keywords=[]), node)
            frame.engine.listener.on_call(frame, CallSite(call, "str.__mul__", "", None, [count], {}))


def fold(op: ast.operator, left: Any, right: Any) -> Value:
    """Arithmetic on constants, within bounds a hostile file cannot blow up."""
    function = OPERATORS.get(type(op))
    if function is None:
        return UNKNOWN
    if isinstance(op, ast.Mult):
        sizes = [len(v) if isinstance(v, str | bytes) else v for v in (left, right)]
        if not all(isinstance(size, int) and abs(size) < 1 << 16 for size in sizes):
            return UNKNOWN
        if (
            any(isinstance(v, str | bytes) for v in (left, right))
            and abs(sizes[0] * sizes[1]) > TEXT_CHARS_MAX
        ):
            return UNKNOWN
    if isinstance(op, ast.Mod) and isinstance(left, str | bytes) and _is_wide(left):
        return UNKNOWN
    try:
        value = function(left, right)
    except (TypeError, ValueError, ArithmeticError, LookupError, MemoryError):
        return UNKNOWN
    if isinstance(value, str | bytes) and len(value) > TEXT_CHARS_MAX:
        return UNKNOWN
    if isinstance(value, int) and value.bit_length() > NUMBER_BITS_MAX:
        return UNKNOWN
    return Const(value)


def _is_wide(template: str | bytes) -> bool:
    """Whether a format asks for more than 99 characters or for a width nobody sees."""
    text = template if isinstance(template, str) else template.decode("latin-1")
    return re.search(r"\d{3}|\*", text) is not None


def percent(frame: Frame, template: str, right: Value) -> Value:
    """`"..." % values`: numbers put in by %d are harmless."""
    codes = [(name, code) for name, code in _PLACEHOLDER.findall(template) if code != "%"]
    held = frame.state.get(right) if isinstance(right, Ref) else None
    taints: Taints = ()
    if isinstance(held, Seq) and held.rest is None and len(held.items) == len(codes):
        for (_, code), value in zip(codes, held.items, strict=True):
            taints = merge_taints(taints, _placed(frame, code, value))
    elif isinstance(held, Dict) and held.rest is None and all(name for name, _ in codes):
        for name, code in codes:
            value = held.items.get(name)
            if value is not None:
                taints = merge_taints(taints, _placed(frame, code, value))
    elif len(codes) == 1:
        taints = _placed(frame, codes[0][1], right)
    else:
        taints = deep_taints(frame.state, right)
    first = template.find("%")
    return opaque("", taints, template[:first] if first >= 0 else template)


def _placed(frame: Frame, code: str, value: Value) -> Taints:
    taints = deep_taints(frame.state, value)
    if code in _NUMBER_CODES:
        return cleaned(taints, ("*",))
    return cleaned(taints, ("log", "header")) if code in "ra" else taints


def _joined(frame: Frame, op: ast.operator, left: Ref, right: Ref) -> Value | None:
    one, two = frame.state.get(left), frame.state.get(right)
    if one is None or two is None or isinstance(one, Instance) or isinstance(two, Instance):
        return None
    if one.rest is not None or two.rest is not None:
        return None
    if isinstance(op, ast.Add) and isinstance(one, Seq) and isinstance(two, Seq):
        return frame.new_seq(one.kind, *one.items, *two.items)
    if isinstance(op, ast.BitOr) and isinstance(one, Dict) and isinstance(two, Dict):
        return frame.new_dict({**one.items, **two.items})
    return None
