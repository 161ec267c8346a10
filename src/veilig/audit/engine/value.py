"""What can the engine know about a value: a constant, a container, an object, or where it came from?

These classes are slotted but not frozen: the engine makes millions of them, and a frozen dataclass costs
three times
as much to construct. Nothing assigns to them after birth; heap objects are replaced, never changed in place.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from veilig.audit.engine.source import ClassInfo, FunctionInfo, ModuleInfo

EVERY_KIND = "*"  # a sanitiser that leaves nothing an attacker can use: int(), an allow-list, a digest
NUMBER = frozenset({EVERY_KIND})  # what int() proves; an allow-list also bounds the "size"
TAINTS_MAX = 6  # more origins on one value add nothing a reader would look at
PREFIX_CHARS_MAX = 200


class OriginKind(StrEnum):
    """Who decides what the value is."""

    REMOTE = "remote"  # whoever sends a request
    LOCAL = "local"  # whoever starts the program: arguments, stdin
    ENVIRONMENT = "environment"
    STORED = "stored"  # a database row or file an attacker may have filled before
    PARAMETER = "parameter"  # an argument of a function nobody in the project calls
    SECRET = "secret"  # not dangerous but precious: passwords, tokens, keys
    RANDOM = "random"  # predictable numbers
    ARCHIVE = "archive"  # whoever made an archive chose the names in it
    CLOCK = "clock"  # the time of day: known to everybody
    ERROR = "error"  # text of an exception or traceback


ATTACKER = frozenset(
    {
        OriginKind.REMOTE,
        OriginKind.LOCAL,
        OriginKind.ENVIRONMENT,
        OriginKind.STORED,
        OriginKind.PARAMETER,
        OriginKind.ARCHIVE,
    }
)


PREDICTABLE = frozenset({OriginKind.RANDOM, OriginKind.CLOCK})


@dataclass(slots=True, eq=False)
class Hop:
    """One stop on the way; `before` leads back to the source."""

    path: str
    line: int
    column: int
    what: str
    before: "Hop | None" = None


@dataclass(slots=True, eq=False)
class Origin:
    """One evaluation of one source; guards are remembered per origin, so `uid` is new at every evaluation."""

    uid: int
    kind: OriginKind
    label: str
    whole: "Origin | None" = None  # what it is a part of: an allow-list that has the whole has the part


@dataclass(slots=True, eq=False)
class Taint:
    """A value depends on `origin`; `safe` names the uses it was made harmless for; `weak`: an unknown call
    between."""

    origin: Origin
    hop: Hop
    safe: frozenset[str] = frozenset()
    weak: bool = False


type Taints = tuple[Taint, ...]
type Facts = Mapping[int, frozenset[str]]

NO_FACTS: Facts = {}
NO_TAINTS: Taints = ()


@dataclass(slots=True, eq=False)
class Const:
    """A value known exactly: str, bytes, int, float, bool, None, Ellipsis or complex."""

    value: object
    taints: ClassVar[Taints] = ()


@dataclass(slots=True, eq=False)
class Opaque:
    """Anything else: `qual` spells how it was reached ("sqlite3.connect().cursor"), `prefix` is its known
    beginning.

    when_true / when_false: what is known about origins if this value, used as a condition, holds or fails.
    """

    qual: str = ""
    taints: Taints = ()
    prefix: str = ""
    when_true: Facts = field(default_factory=dict[int, frozenset[str]])
    when_false: Facts = field(default_factory=dict[int, frozenset[str]])


@dataclass(slots=True, eq=False)
class Import(Opaque):
    """What another module of the project calls `name`, looked up when somebody asks: until then nothing is
    loaded."""

    find: "Callable[[], Value]" = field(default=lambda: UNKNOWN)

    def get(self) -> "Value":
        """The value itself."""
        return self.find()


@dataclass(slots=True, eq=False)
class Ref:
    """A container or object of the program: its contents are in the state's heap under `key`."""

    key: int
    taints: ClassVar[Taints] = ()


@dataclass(slots=True, eq=False)
class Func:
    """A function of the project, with what it closes over and, for a method, the object it is bound to."""

    info: FunctionInfo
    closure: "dict[str, Value] | None" = None
    bound: "Value | None" = None
    taints: ClassVar[Taints] = ()


@dataclass(slots=True, eq=False)
class Class:
    """A class of the project, `bases` resolved."""

    info: ClassInfo
    bases: "tuple[Value, ...]"
    env: "dict[str, Value]"
    closure: "dict[str, Value] | None" = None
    taints: ClassVar[Taints] = ()


@dataclass(slots=True, eq=False)
class Module:
    """A module of the project."""

    info: ModuleInfo
    taints: ClassVar[Taints] = ()


@dataclass(slots=True, eq=False)
class Method:
    """A method that is not the project's own, on a known receiver: `x.append`, `"".join`."""

    receiver: "Value"
    name: str
    qual: str
    taints: Taints = ()


@dataclass(slots=True, eq=False)
class Partial:
    """functools.partial over a callable."""

    target: "Value"
    args: "tuple[Value, ...]"
    kwargs: "dict[str, Value]"
    taints: ClassVar[Taints] = ()


type Value = Const | Opaque | Ref | Func | Class | Module | Method | Partial


@dataclass(slots=True, eq=False)
class Seq:
    """list, tuple, set or deque: elements known by position, `rest` stands for any number of further ones."""

    kind: str
    items: tuple[Value, ...]
    rest: Value | None = None


@dataclass(slots=True, eq=False)
class Dict:
    """Values by constant key; `rest` stands for values under keys nobody knows."""

    items: dict[object, Value]
    rest: Value | None = None


@dataclass(slots=True, eq=False)
class Instance:
    """An object of a project class and its attributes."""

    cls: Class
    attrs: dict[str, Value]
    taints: Taints = ()


type HeapObject = Seq | Dict | Instance

NONE = Const(None)
UNKNOWN = Opaque()
LITERALS = "<literals>"  # one of several literals


def merge_taints(left: Taints, right: Taints) -> Taints:
    """Both sets of taints; the same origin twice keeps what is safe on both and the better proven way."""
    if not left or left is right:
        return right
    if not right:
        return left
    merged = {taint.origin.uid: taint for taint in left}
    for taint in right:
        seen = merged.get(taint.origin.uid)
        if seen is None:
            merged[taint.origin.uid] = taint
        elif seen is not taint:
            best = taint if seen.weak and not taint.weak else seen
            merged[taint.origin.uid] = Taint(
                best.origin, best.hop, seen.safe & taint.safe, seen.weak and taint.weak
            )
    return tuple(merged.values())[:TAINTS_MAX]


def cleaned(taints: Taints, kinds: Iterable[str]) -> Taints:
    """The taints after a sanitiser for `kinds`; EVERY_KIND removes what an attacker decides."""
    kinds = frozenset(kinds)
    if not taints or not kinds:
        return taints
    kept: list[Taint] = []
    for taint in taints:
        if EVERY_KIND in kinds and taint.origin.kind in ATTACKER:
            continue
        if taint.origin.kind in PREDICTABLE:  # whatever is made of it can be computed again
            kept.append(taint)
            continue
        kept.append(Taint(taint.origin, taint.hop, taint.safe | kinds, taint.weak))
    return tuple(kept)


def numbered(taints: Taints) -> Taints:
    """The taints of a number made from the value: harmless as text, still chosen by whoever sent it."""
    return tuple(Taint(t.origin, t.hop, t.safe | NUMBER, t.weak) for t in taints)


def weakened(taints: Taints) -> Taints:
    """The taints after a call nobody knows: still there, less sure."""
    return tuple(t if t.weak else Taint(t.origin, t.hop, t.safe, True) for t in taints)


def moved(taints: Taints, path: str, line: int, column: int, what: str) -> Taints:
    """The taints with one more stop on their way; the same line twice in a row counts once."""
    result: list[Taint] = []
    for taint in taints:
        hop = taint.hop
        if hop.line != line or hop.path != path:
            hop = Hop(path, line, column, what, hop)
        result.append(Taint(taint.origin, hop, taint.safe, taint.weak))
    return tuple(result)


def with_taints(value: Value, taints: Taints) -> Value:
    """The same value, with other taints where the kind of value has any."""
    if isinstance(value, Opaque):
        if value.taints is taints:
            return value
        return Opaque(value.qual, taints, value.prefix, value.when_true, value.when_false)
    if isinstance(value, Method):
        return Method(value.receiver, value.name, value.qual, taints)
    return value


def facts_on(facts: Facts, origin: Origin) -> frozenset[str]:
    """What is known about the origin: of itself, and by way of the whole that it is a part of."""
    known = facts.get(origin.uid, _NOTHING)
    whole = origin.whole
    while whole is not None:
        if EVERY_KIND in facts.get(whole.uid, _NOTHING):
            return known | NUMBER
        whole = whole.whole
    return known


_NOTHING: frozenset[str] = frozenset()


def apply_facts(value: Value, facts: Facts) -> Value:
    """The value once what is known about its origins is written into it, so that it survives leaving the
    branch."""
    if not facts or not value.taints:
        return value
    if not any(facts_on(facts, taint.origin) for taint in value.taints):
        return value
    result: Taints = ()
    for taint in value.taints:
        result += cleaned((taint,), facts_on(facts, taint.origin))
    return with_taints(value, result)


def both_facts(left: Facts, right: Facts) -> Facts:
    """What is known when both conditions are."""
    if not left:
        return right
    if not right:
        return left
    return {uid: left.get(uid, frozenset()) | right.get(uid, frozenset()) for uid in {*left, *right}}


def either_facts(left: Facts, right: Facts) -> Facts:
    """What is known when one of two conditions is, nobody knows which."""
    if not left or not right:
        return NO_FACTS
    found: dict[int, frozenset[str]] = {}
    for uid, kinds in left.items():
        other = right.get(uid, frozenset())
        common = other if EVERY_KIND in kinds else kinds if EVERY_KIND in other else kinds & other
        if common:
            found[uid] = common
    return found
