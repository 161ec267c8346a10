"""What did a call do the last time, and when may that answer be used again?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from veilig.audit.engine.frame import Frame
from veilig.audit.engine.state import State, join_objects
from veilig.audit.engine.value import (
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
)

KEY_NODES_MAX = 80  # larger arguments are not compared with earlier ones: the function just runs
EFFECTS_MAX = 60  # a call that makes or changes more than this is run again each time
DEPTH_ANY = -1


@dataclass(slots=True, eq=False)
class CallKey:
    """One call in abstract: `key` is equal for calls that cannot be told apart.

    refs: heap keys of the arguments and of all they hold, in the order in which they were met.
    held: closures whose identity is in the key; kept so that no other object takes it over.
    """

    key: object
    refs: list[int]
    held: list[object]


@dataclass(slots=True, eq=False)
class Summary:
    """What one call gave and did. Heap keys are those of that call; `replay` puts in the present ones.

    changed: contents of what existed before; before: what they were where no argument leads to them.
    depth, steps: where it was computed when calls below it were not entered; DEPTH_ANY when all were.
    """

    value: Value
    facts: Facts
    refs: list[int]
    held: list[object]
    made: dict[int, HeapObject]
    changed: dict[int, HeapObject]
    before: dict[int, HeapObject]
    returns: bool = True
    depth: int = DEPTH_ANY
    steps: int = 0

    def fits(self, frame: Frame) -> bool:
        """Whether running the call again here would show no more than this answer does."""
        if self.depth == DEPTH_ANY:
            return True
        engine = frame.engine
        return frame.depth >= self.depth and engine.steps_left - engine.reserve <= self.steps * 2


def summarise(
    call: CallKey, before: Mapping[int, HeapObject], after: State, value: Value, facts: Facts
) -> Summary | None:
    """The summary of a call that ran from heap `before` to `after`; None when it did too much to keep."""
    summary = Summary(value, facts, call.refs, call.held, {}, {}, {})
    own = set(call.refs)
    for at, thing in after.heap.items():
        old = before.get(at)
        if old is thing:
            continue
        if old is None:
            old = after.base.get(at)
        if old is thing:
            continue
        if old is None:
            summary.made[at] = thing
        else:
            summary.changed[at] = thing
            if at not in own:
                summary.before[at] = old
        if len(summary.made) + len(summary.changed) > EFFECTS_MAX:
            return None
    return summary


def replay(frame: Frame, summary: Summary, call: CallKey) -> Value:
    """Do to the present arguments what the summary's call did to its own."""
    frame.learn(summary.facts)
    if not summary.returns:
        frame.live = False
    if not summary.made and not summary.changed and not summary.refs:
        return summary.value
    state = frame.state
    fresh = {old: Ref(new) for old, new in zip(summary.refs, call.refs, strict=True)}
    for at, thing in summary.made.items():
        fresh[at] = state.new(thing)
    for at, thing in summary.made.items():
        state.put(fresh[at], _renamed_object(thing, fresh))
    for at, thing in summary.changed.items():
        ref = fresh.get(at) or Ref(at)
        result = _renamed_object(thing, fresh)
        expected = summary.before.get(at)
        if expected is not None:
            now = state.get(ref)
            if now is not None and now is not expected:
                result = join_objects(state, now, result) or result
        state.put(ref, result)
    return _renamed(summary.value, fresh)


def _renamed(value: Value, fresh: dict[int, Ref]) -> Value:
    match value:
        case Ref():
            return fresh.get(value.key, value)
        case Method():
            return Method(_renamed(value.receiver, fresh), value.name, value.qual, value.taints)
        case Func() if value.bound is not None:
            return Func(value.info, value.closure, _renamed(value.bound, fresh))
        case Partial():
            args = tuple(_renamed(item, fresh) for item in value.args)
            return Partial(
                _renamed(value.target, fresh), args, {k: _renamed(v, fresh) for k, v in value.kwargs.items()}
            )
        case _:
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


def call_key(frame: Frame, target: Func, args: list[Value], kwargs: dict[str, Value]) -> CallKey | None:
    """The key of this call; None when its arguments hold too much to compare."""
    picture = _Picture(frame.state)
    try:
        parts = tuple(picture.of(value) for value in args)
        named = tuple((name, picture.of(kwargs[name])) for name in sorted(kwargs))
        closure = id(target.closure) if target.closure is not None else 0
        key = (closure, parts, named, frame.engine.literal_route)
        hash(key)
    except (OverflowError, TypeError):
        return None
    if target.closure is not None:
        picture.held.append(target.closure)
    return CallKey(key, list(picture.seen), picture.held)


@dataclass(slots=True, eq=False)
class _Picture:
    """Turns values into hashable pictures that are equal when nothing can tell the values apart."""

    state: State
    seen: dict[int, int] = field(default_factory=dict[int, int])
    held: list[object] = field(default_factory=list[object])
    budget: int = KEY_NODES_MAX

    def of(self, value: Value) -> object:
        """The picture. Raises OverflowError beyond KEY_NODES_MAX nodes."""
        self.budget -= 1
        if self.budget < 0:
            raise OverflowError
        match value:
            case Const():
                return ("c", type(value.value).__name__, value.value)
            case Opaque():
                proof = 0
                if value.when_true or value.when_false:
                    proof = hash((frozenset(value.when_true.items()), frozenset(value.when_false.items())))
                return ("o", value.qual, value.prefix, self.taints(value.taints), proof)
            case Ref():
                at = self.seen.get(value.key)
                if at is not None:
                    return ("r", at)
                self.seen[value.key] = len(self.seen)
                return self.thing(self.state.get(value))
            case Func():
                bound = None if value.bound is None else self.of(value.bound)
                self.held.append(value.closure)
                return ("f", id(value.info), id(value.closure), bound)
            case Class() | Module():
                return ("k", id(value.info))
            case Method():
                return ("m", value.qual, self.of(value.receiver))
            case Partial():
                raise OverflowError

    def thing(self, thing: HeapObject | None) -> object:
        """The picture of what a reference holds."""
        match thing:
            case Seq():
                rest = None if thing.rest is None else self.of(thing.rest)
                return (thing.kind, tuple(self.of(item) for item in thing.items), rest)
            case Dict():
                rest = None if thing.rest is None else self.of(thing.rest)
                return ("d", tuple((k, self.of(item)) for k, item in thing.items.items()), rest)
            case Instance():
                attrs = tuple((k, self.of(item)) for k, item in thing.attrs.items())
                return ("i", id(thing.cls.info), attrs, self.taints(thing.taints))
            case None:
                return ("?",)

    def taints(self, taints: Taints) -> object:
        """The picture of taints with what is known about them here."""
        if not taints:
            return ()
        facts = self.state.facts
        return tuple((t.origin.uid, t.safe, t.weak, facts.get(t.origin.uid)) for t in taints)
