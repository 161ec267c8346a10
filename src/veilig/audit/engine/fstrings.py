"""What text does an f-string give?"""

import ast

from veilig.audit.engine.arithmetic import FORMULA, is_literal
from veilig.audit.engine.frame import Frame, opaque
from veilig.audit.engine.state import constant, deep_taints
from veilig.audit.engine.value import (
    LITERALS,
    UNKNOWN,
    Const,
    Opaque,
    Value,
    apply_facts,
    cleaned,
    merge_taints,
)

NUMBER_FORMATS = frozenset("dbcoxXeEfFgGn%")


def evaluate_fstring(frame: Frame, node: ast.expr) -> Value:
    """An f-string: a constant when every part is one."""
    assert isinstance(node, ast.JoinedStr)
    known: str | None = ""
    prefix = ""
    taints = ()
    fixed = True
    for part in node.values:
        value = frame.eval(part)
        text = constant(value)
        fixed = fixed and is_literal(value)
        if known is not None and isinstance(text, str):
            known += text
            continue
        if known is not None:
            prefix = known
            if isinstance(value, Opaque) and value.prefix:
                prefix += value.prefix
        known = None
        value = apply_facts(value, frame.state.facts)
        taints = merge_taints(taints, deep_taints(frame.state, value))
    if known is not None:
        return Const(known)
    if fixed:
        return opaque(LITERALS, (), prefix)
    if prefix and prefix[0] not in FORMULA:
        taints = cleaned(taints, ("csv",))
    return opaque("", frame.move(taints, node, "put into a string"), prefix)


def evaluate_formatted(frame: Frame, node: ast.expr) -> Value:
    """`{value!r:spec}` inside an f-string."""
    assert isinstance(node, ast.FormattedValue)
    value = frame.eval(node.value)
    spec = ""
    if node.format_spec is not None:
        text = constant(frame.eval(node.format_spec))
        spec = text if isinstance(text, str) else ""
    if isinstance(value, Const) and node.conversion == -1:
        try:
            return Const(format(value.value, spec)) if len(spec) < 8 else UNKNOWN
        except (ValueError, TypeError):
            return UNKNOWN
    taints = deep_taints(frame.state, value)
    if spec and spec[-1] in NUMBER_FORMATS:
        taints = cleaned(taints, ("*",))
    if node.conversion in (ord("r"), ord("a")):
        taints = cleaned(taints, ("log", "header"))
    qual = LITERALS if is_literal(value) else ""
    return opaque(qual, taints, value.prefix if isinstance(value, Opaque) else "")


EVALUATORS = {ast.JoinedStr: evaluate_fstring, ast.FormattedValue: evaluate_formatted}
