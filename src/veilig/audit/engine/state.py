"""What holds at one point of the program, and what holds when two ways of getting there meet?"""

from dataclasses import dataclass, field
from itertools import count
from operator import is_not
from typing import Any

from veilig.audit.engine.value import (
    LITERALS,
    NONE,
    Class,
    Const,
    Dict,
    Facts,
    Func,
    HeapObject,
    Import,
    Instance,
    Module,
    Opaque,
    Ref,
    Seq,
    Taints,
    Value,
    apply_facts,
    either_facts,
    merge_taints,
)

JOIN_DEPTH_MAX = 4  # deeper structure is flattened to its taints
DEEP_TAINT_NODES_MAX = 60
ITEMS_MAX = 64  # known elements of one container; more go to `rest`

_keys = count(1)


def new_key() -> int:
    """A heap key or origin uid nobody has used in this process."""
    return next(_keys)


@dataclass(slots=True, eq=False)
class State:
    """Variables, heap and guard facts. `base` is the shared heap of finished modules: read, never written."""

    env: dict[str, Value]
    heap: dict[int, HeapObject]
    base: dict[int, HeapObject]
    facts: Facts = field(default_factory=dict[int, frozenset[str]])

    def fork(self) -> "State":
        """A copy whose changes the original does not see (heap objects themselves are never changed in
        place)."""
        return State(dict(self.env), dict(self.heap), self.base, self.facts)

    def get(self, ref: Ref) -> HeapObject | None:
        """What the reference holds here; None when it is not known any more."""
        found = self.heap.get(ref.key)
        return found if found is not None else self.base.get(ref.key)

    def put(self, ref: Ref, thing: HeapObject) -> None:
        """From here on `ref` holds `thing`."""
        self.heap[ref.key] = thing

    def new(self, thing: HeapObject) -> Ref:
        """A fresh reference to `thing`."""
        ref = Ref(new_key())
        self.heap[ref.key] = thing
        return ref


def seq(state: State, kind: str, items: list[Value], rest: Value | None = None) -> Ref:
    """A new sequence; beyond ITEMS_MAX the positions are forgotten."""
    if len(items) > ITEMS_MAX:
        for item in items[ITEMS_MAX:]:
            rest = item if rest is None else join_values(state, rest, item)
        items = items[:ITEMS_MAX]
    return state.new(Seq(kind, tuple(items), rest))


def deep_taints(state: State, value: Value | None) -> Taints:
    """The taints of the value and of everything it holds."""
    if value is None:
        return ()
    if not isinstance(value, Ref):
        return value.taints
    found: Taints = ()
    stack: list[Value] = [value]
    seen: set[int] = set()
    budget = DEEP_TAINT_NODES_MAX
    while stack and budget:
        budget -= 1
        item = stack.pop()
        if not isinstance(item, Ref):
            found = merge_taints(found, item.taints)
            continue
        if item.key in seen:
            continue
        seen.add(item.key)
        thing = state.get(item)
        if isinstance(thing, Instance):
            found = merge_taints(found, thing.taints)
        if thing is not None:
            stack.extend(children(thing))
    return found


def children(thing: HeapObject) -> list[Value]:
    """Every value directly inside a heap object."""
    if isinstance(thing, Seq):
        inside = list(thing.items)
        if thing.rest is not None:
            inside.append(thing.rest)
        return inside
    if isinstance(thing, Dict):
        inside = list(thing.items.values())
        if thing.rest is not None:
            inside.append(thing.rest)
        return inside
    return list(thing.attrs.values())


def same_const(left: Const, right: Const) -> bool:
    """Equal and of one type: True is not 1 here."""
    return type(left.value) is type(right.value) and left.value == right.value


def join_values(state: State, left: Value, right: Value, depth: int = 0) -> Value:
    """One value that stands for either; new containers are put on `state`'s heap."""
    if left is right:
        return left
    if isinstance(left, Const) and isinstance(right, Const):
        if same_const(left, right):
            return left
        # A choice between literals stays untainted; None beside a value is the value.
        if left.value is None:
            return right
        return left if right.value is None else Opaque(LITERALS)
    if isinstance(left, Ref) and isinstance(right, Ref):
        return _join_refs(state, left, right, depth)
    for value, other in ((left, right), (right, left)):
        if isinstance(value, Const):
            if value.value is None or isinstance(other, Ref | Func | Class):
                return other
            if isinstance(other, Opaque):
                return Opaque(other.qual, other.taints) if other.prefix or other.when_true else other
    if isinstance(left, Func) and isinstance(right, Func) and left.info is right.info:
        return left
    for value, other in ((left, right), (right, left)):
        if isinstance(value, Ref) and isinstance(other, Opaque) and not other.taints:
            return _or_unknown(state, value)
    taints = merge_taints(deep_taints(state, left), deep_taints(state, right))
    if isinstance(left, Opaque) and isinstance(right, Opaque):
        prefix = left.prefix if left.prefix == right.prefix else ""
        qual = left.qual if left.qual == right.qual else left.qual or right.qual
        if left.qual != right.qual and (left.qual.startswith(LITERALS) or right.qual.startswith(LITERALS)):
            both_literal = left.qual.startswith(LITERALS) and right.qual.startswith(LITERALS)
            qual = LITERALS if both_literal else ""
        return Opaque(
            qual,
            taints,
            prefix,
            either_facts(left.when_true, right.when_true),
            either_facts(left.when_false, right.when_false),
        )
    return Opaque("", taints)


def _or_unknown(state: State, ref: Ref) -> Value:
    """What the reference holds, or something nobody knows: its parts stay apart, more may follow."""
    held = state.get(ref)
    if isinstance(held, Seq) and held.rest is None:
        return state.new(Seq(held.kind, held.items, Opaque()))
    if isinstance(held, Dict) and held.rest is None:
        return state.new(Dict(held.items, Opaque()))
    return ref


def _join_refs(state: State, left: Ref, right: Ref, depth: int) -> Value:
    if left.key == right.key:
        return left
    one, two = state.get(left), state.get(right)
    if one is None or two is None:
        return right if one is None else left
    if depth < JOIN_DEPTH_MAX:
        merged = join_objects(state, one, two, depth + 1)
        if merged is not None:
            return state.new(merged)
    return Opaque("", merge_taints(deep_taints(state, left), deep_taints(state, right)))


def join_objects(state: State, one: HeapObject, two: HeapObject, depth: int = 0) -> HeapObject | None:
    """One object that stands for either; None when they have nothing in common."""
    if one is two:
        return one
    if isinstance(one, Seq) and isinstance(two, Seq):
        return _join_seqs(state, one, two, depth)
    if isinstance(one, Dict) and isinstance(two, Dict):
        rest = _join_optional(state, one.rest, two.rest, depth)
        return Dict(_join_maps(state, one.items, two.items, depth), rest)
    if isinstance(one, Instance) and isinstance(two, Instance) and one.cls.info is two.cls.info:
        taints = merge_taints(one.taints, two.taints)
        return Instance(one.cls, _join_maps(state, one.attrs, two.attrs, depth), taints)
    return None


def _join_seqs(state: State, one: Seq, two: Seq, depth: int) -> Seq:
    short, long = sorted((one.items, two.items), key=len)
    items = tuple(join_values(state, a, b, depth) for a, b in zip(short, long, strict=False))
    rest = _join_optional(state, one.rest, two.rest, depth)
    for item in long[len(short) :]:
        rest = item if rest is None else join_values(state, rest, item, depth)
    return Seq(one.kind, items, rest)


def _join_optional(state: State, left: Value | None, right: Value | None, depth: int) -> Value | None:
    if left is None or right is None:
        return right if left is None else left
    return join_values(state, left, right, depth)


def _join_maps[K](state: State, left: dict[K, Value], right: dict[K, Value], depth: int) -> dict[K, Value]:
    merged = dict(left)
    for key, value in right.items():
        mine = merged.get(key)
        if mine is None:
            merged[key] = value
        elif mine is not value:
            merged[key] = join_values(state, mine, value, depth)
    return merged


def differ[K, V](left: dict[K, V], right: dict[K, V]) -> bool:
    """Whether `right` holds anything `left` does not hold, by identity; in C, most meetings differ in
    nothing."""
    return any(map(is_not, map(left.get, right), right.values()))


def join_states(left: State | None, right: State | None) -> State | None:
    """What holds after either way; a way that ended (None) does not count."""
    if left is None or right is None:
        return right if left is None else left
    common = left.facts if left.facts is right.facts else either_facts(left.facts, right.facts)
    merged = State(dict(left.env), dict(left.heap), left.base, common)
    for key, thing in right.heap.items() if differ(left.heap, right.heap) else ():
        mine = left.heap.get(key)
        if mine is None:
            merged.heap[key] = thing
        elif mine is not thing:
            both = join_objects(merged, mine, thing)
            if both is not None:
                merged.heap[key] = both
    settle = left.facts is not right.facts
    for name, value in right.env.items() if settle or differ(left.env, right.env) else ():
        mine = left.env.get(name)
        if mine is value:
            continue
        if settle:
            value = apply_facts(value, right.facts)
        if mine is None:
            merged.env[name] = value
        else:
            mine = mine.get() if isinstance(mine, Import) else mine
            value = value.get() if isinstance(value, Import) else value
            merged.env[name] = join_values(merged, apply_facts(mine, left.facts) if settle else mine, value)
    if settle:
        for name in left.env.keys() - right.env.keys():
            merged.env[name] = apply_facts(left.env[name], left.facts)
    return merged


def constant(value: Value | None) -> Any:
    """The Python value of a constant, or the `MISSING` mark when it is not one."""
    return value.value if isinstance(value, Const) else MISSING


MISSING = object()


def truth(state: State, value: Value) -> bool | None:
    """Whether the value is true; None when it is not known."""
    if isinstance(value, Const):
        try:
            return bool(value.value)
        except (TypeError, ValueError):
            return None
    if isinstance(value, Func | Class | Module):
        return True
    if isinstance(value, Ref):
        thing = state.get(value)
        if isinstance(thing, Seq) and thing.items:
            return True
    return None


def as_values(state: State, value: Value) -> Value:
    """One value that stands for any element of `value` when iterated."""
    if isinstance(value, Const):
        if isinstance(value.value, str) and value.value:
            return Const(value.value) if len(value.value) == 1 else Opaque(LITERALS)
        return Opaque()
    if isinstance(value, Ref):
        thing = state.get(value)
        if isinstance(thing, Seq):
            result: Value | None = thing.rest
            for item in thing.items:
                result = item if result is None else join_values(state, result, item)
            return result if result is not None else NONE
        if isinstance(thing, Dict):
            keys = [Const(key) for key in thing.items]
            if len(keys) == 1 and thing.rest is None:
                return keys[0]
            return Opaque()
        return Opaque("", deep_taints(state, value))
    qual = f"{value.qual}[]" if isinstance(value, Opaque) and value.qual else ""
    return Opaque(qual, value.taints)
