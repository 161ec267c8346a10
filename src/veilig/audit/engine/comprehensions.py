"""What do comprehensions give, and what do their conditions prove about the elements?"""

import ast

from veilig.audit.engine.assignment import assign
from veilig.audit.engine.frame import Frame
from veilig.audit.engine.guards import facts_of
from veilig.audit.engine.origins import each_of
from veilig.audit.engine.state import constant, truth
from veilig.audit.engine.value import Const, Ref, Seq, Value, apply_facts

UNROLLED_MAX = 8


def evaluate_comprehension(frame: Frame, node: ast.expr) -> Value:
    """A list, set or generator: one element stands for all, short known sequences are kept apart."""
    assert isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp)
    kind = "set" if isinstance(node, ast.SetComp) else "list"
    env, facts = frame.state.env, frame.state.facts
    frame.state.env = dict(env)
    try:
        exact = _exact(frame, node)
        if exact is not None:
            return frame.new_seq(kind, *exact)
        if not _enter(frame, node.generators):
            return frame.new_seq(kind)
        element = apply_facts(frame.eval(node.elt), frame.state.facts)
        return frame.new_seq(kind, rest=element)
    finally:
        frame.state.env, frame.state.facts = env, facts


def _exact(frame: Frame, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> list[Value] | None:
    if len(node.generators) != 1 or node.generators[0].ifs:
        return None
    only = node.generators[0]
    iterable = frame.eval(only.iter)
    held = frame.state.get(iterable) if isinstance(iterable, Ref) else None
    if not isinstance(held, Seq) or held.rest is not None or len(held.items) > UNROLLED_MAX:
        return None
    found: list[Value] = []
    for value in held.items:
        assign(frame, only.target, value, only.iter)
        found.append(frame.eval(node.elt))
    return found


def evaluate_dict_comprehension(frame: Frame, node: ast.expr) -> Value:
    """A mapping: known only as far as its one key is constant."""
    assert isinstance(node, ast.DictComp)
    env, facts = frame.state.env, frame.state.facts
    frame.state.env = dict(env)
    try:
        if not _enter(frame, node.generators):
            return frame.new_dict({})
        key = frame.eval(node.key)
        value = apply_facts(frame.eval(node.value), frame.state.facts)
        known = constant(key)
        if isinstance(key, Const) and isinstance(known, str | int):
            return frame.new_dict({known: value})
        return frame.new_dict({}, value)
    finally:
        frame.state.env, frame.state.facts = env, facts


def _enter(frame: Frame, generators: list[ast.comprehension]) -> bool:
    """Bind the targets and learn the conditions; False when a condition never holds."""
    for generator in generators:
        iterable = frame.eval(generator.iter)
        assign(frame, generator.target, each_of(frame, iterable), generator.iter)
        for condition in generator.ifs:
            test = frame.eval(condition)
            if truth(frame.state, test) is False:
                return False
            frame.learn(facts_of(test)[0])
        if generator.ifs:  # what was proved goes with the values into objects made of them
            env, facts = frame.state.env, frame.state.facts
            for part in ast.walk(generator.target):
                if isinstance(part, ast.Name) and part.id in env:
                    env[part.id] = apply_facts(env[part.id], facts)
    return True


EVALUATORS = {
    ast.ListComp: evaluate_comprehension,
    ast.SetComp: evaluate_comprehension,
    ast.GeneratorExp: evaluate_comprehension,
    ast.DictComp: evaluate_dict_comprehension,
}
