"""What does one call from outside leave in the program that the next one finds there?

A dict of a module, or a store object in one, is filled by one handler and read by another. Handlers are
followed one by one from the state after loading; then once more from there with what all of them left.
"""

from dataclasses import dataclass, field

from veilig.audit.engine.state import State, deep_taints, join_objects, new_key
from veilig.audit.engine.value import (
    Dict,
    HeapObject,
    Instance,
    Method,
    Opaque,
    Origin,
    OriginKind,
    Ref,
    Seq,
    Taint,
    Taints,
    Value,
)

ENTRIES_AGAIN_MAX = 60  # a module with more functions than that is no small store
OBJECTS_MAX = 200
DEPTH_MAX = 6


@dataclass(slots=True, eq=False)
class Kept:
    """Objects of the shared heap as calls from outside leave them."""

    base: dict[int, HeapObject]
    changed: dict[int, HeapObject] = field(default_factory=dict[int, HeapObject])
    made: dict[int, HeapObject] = field(default_factory=dict[int, HeapObject])

    def note(self, state: State) -> None:
        """Take in what the call left: shared objects that now hold something a stranger decides."""
        for key, thing in state.heap.items():
            if key not in self.base or self.base[key] is thing or len(self.made) > OBJECTS_MAX:
                continue
            if not any(t.origin.kind is OriginKind.REMOTE for t in deep_taints(state, Ref(key))):
                continue
            left = self._object(state, thing, DEPTH_MAX)
            before = self.changed.get(key)
            if before is not None:
                meeting = State({}, {**self.made, key: before}, self.base)
                left = join_objects(meeting, before, left) or left
                self.made.update({k: v for k, v in meeting.heap.items() if k != key})
            self.changed[key] = left

    @property
    def left(self) -> dict[int, HeapObject]:
        """What the next call finds, over the heap as it was after loading."""
        return {**self.made, **self.changed}

    def _object(self, state: State, thing: HeapObject, depth: int) -> HeapObject:
        rest = (
            None
            if isinstance(thing, Instance) or thing.rest is None
            else self._value(state, thing.rest, depth)
        )
        match thing:
            case Seq():
                return Seq(thing.kind, tuple(self._value(state, item, depth) for item in thing.items), rest)
            case Dict():
                return Dict({k: self._value(state, item, depth) for k, item in thing.items.items()}, rest)
            case Instance():
                attrs = {k: self._value(state, item, depth) for k, item in thing.attrs.items()}
                return Instance(thing.cls, attrs, _again(state, thing.taints))

    def _value(self, state: State, value: Value, depth: int) -> Value:
        """The value as the next call finds it: what was proved about it in this call is kept with it."""
        if isinstance(value, Ref):
            held = state.heap.get(value.key)
            if held is None or value.key in self.base:
                return value
            if depth == 0 or len(self.made) > OBJECTS_MAX:
                return Opaque("", _again(state, deep_taints(state, value)))
            inner = Ref(new_key())
            self.made[inner.key] = self._object(state, held, depth - 1)
            return inner
        if isinstance(value, Opaque | Method) and value.taints:
            return Opaque(value.qual, _again(state, value.taints), getattr(value, "prefix", ""))
        return value


def _again(state: State, taints: Taints) -> Taints:
    """The same taints for a later call: of another origin, and less sure, since the order is not known."""
    return tuple(
        Taint(
            Origin(new_key(), taint.origin.kind, taint.origin.label),
            taint.hop,
            taint.safe | state.facts.get(taint.origin.uid, frozenset()),
            True,
        )
        for taint in taints
    )
