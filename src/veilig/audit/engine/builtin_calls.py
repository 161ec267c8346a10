"""What do Python's own functions give, where their result can be known or keeps structure?"""

from collections.abc import Callable

from veilig.audit.engine.arithmetic import FIXED, is_literal
from veilig.audit.engine.attributes import attribute, set_attribute
from veilig.audit.engine.frame import CallSite, Frame, opaque
from veilig.audit.engine.guards import verdict
from veilig.audit.engine.origins import facts_about
from veilig.audit.engine.state import MISSING, as_values, constant, deep_taints, seq
from veilig.audit.engine.value import (
    LITERALS,
    NO_FACTS,
    NONE,
    NUMBER,
    UNKNOWN,
    Const,
    Dict,
    Func,
    Instance,
    Opaque,
    Partial,
    Ref,
    Seq,
    Value,
    cleaned,
    numbered,
)

type Builtin = Callable[[Frame, CallSite], Value | None]

NUMERIC = frozenset({"int", "float", "bool", "complex", "uuid.UUID", "decimal.Decimal"})


def _number(frame: Frame, site: CallSite) -> Value | None:
    if not site.args:
        return None
    known = constant(site.args[0])
    function = {"int": int, "float": float, "bool": bool}.get(site.qual)
    if known is not MISSING and function is not None and len(site.args) == 1:
        try:
            return Const(function(known)) if len(str(known)) < 40 else UNKNOWN
        except (TypeError, ValueError, OverflowError):
            return UNKNOWN
    taints = deep_taints(frame.state, site.args[0])
    if site.qual != "bool":
        # It raises on anything that is no number: after it, the text itself is a number too.
        frame.learn(facts_about(frame, taints, NUMBER))
    elif isinstance(site.args[0], Opaque):
        return site.args[0]
    if site.qual in ("int", "float"):
        return opaque(f"{site.qual}()", numbered(taints))
    return opaque(f"{site.qual}()", cleaned(taints, ("*",)))


def _text(frame: Frame, site: CallSite) -> Value | None:
    if not site.args:
        return Const("")
    value = site.args[0]
    known = constant(value)
    if isinstance(known, str | int | float | bool) or known is None:
        return Const(str(known))
    if isinstance(value, Opaque):
        return opaque(value.qual, cleaned(value.taints, ("nosql",)), value.prefix)
    return opaque("", deep_taints(frame.state, value))


def _length(frame: Frame, site: CallSite) -> Value | None:
    value = site.args[0] if site.args else None
    if isinstance(value, Const) and isinstance(value.value, str | bytes):
        return Const(len(value.value))
    held = frame.state.get(value) if isinstance(value, Ref) else None
    if isinstance(held, Seq) and held.rest is None:
        return Const(len(held.items))
    return UNKNOWN


def _sequence(frame: Frame, site: CallSite) -> Value | None:
    kind = site.qual.rpartition(".")[2]
    if not site.args:
        return frame.new_seq(kind)
    value = site.args[0]
    held = frame.state.get(value) if isinstance(value, Ref) else None
    if isinstance(held, Seq):
        if kind == "reversed" and held.rest is None:
            return frame.new_seq("list", *held.items[::-1])
        if kind in ("sorted", "set", "frozenset"):
            return (
                frame.new_seq("list", rest=as_values(frame.state, value))
                if held.items or held.rest
                else value
            )
        return frame.state.new(Seq(kind, held.items, held.rest))
    if isinstance(held, Dict) and held.rest is None:
        return seq(frame.state, kind, [Const(key) for key in held.items])
    return frame.new_seq(kind, rest=as_values(frame.state, value))


def _mapping(frame: Frame, site: CallSite) -> Value | None:
    value = site.args[0] if site.args else None
    held = frame.state.get(value) if isinstance(value, Ref) else None
    items: dict[object, Value] = dict(held.items) if isinstance(held, Dict) else {}
    rest = held.rest if isinstance(held, Dict) else None
    if value is not None and not isinstance(held, Dict):
        rest = opaque("", deep_taints(frame.state, value))
    items.update({key: item for key, item in site.kwargs.items() if key != "**"})
    unknown = site.kwargs.get("**")
    for key, item in site.kwargs.items():
        frame.engine.listener.on_assign(frame, key, item, site.node)
    return frame.new_dict(items, unknown if unknown is not None else rest)


def _filled(frame: Frame, site: CallSite) -> Value | None:
    """collections.defaultdict: one value that the factory made stands under every key."""
    factory = site.args[0] if site.args else None
    rest: Value = UNKNOWN
    if isinstance(factory, Opaque) and factory.qual in ("list", "set", "collections.deque"):
        rest = frame.new_seq(factory.qual.rpartition(".")[2])
    elif isinstance(factory, Opaque) and factory.qual == "dict":
        rest = frame.new_dict({})
    elif isinstance(factory, Func):
        rest = frame.engine.invoke(frame, factory, [], {}, site.node)
    return frame.new_dict({}, rest)


def _enumerate(frame: Frame, site: CallSite) -> Value | None:
    value = site.args[0] if site.args else UNKNOWN
    held = frame.state.get(value) if isinstance(value, Ref) else None
    if isinstance(held, Seq) and held.rest is None and len(site.args) == 1:
        pairs = [frame.new_seq("tuple", Const(i), item) for i, item in enumerate(held.items)]
        return seq(frame.state, "list", pairs)
    return frame.new_seq("list", rest=frame.new_seq("tuple", UNKNOWN, as_values(frame.state, value)))


def _zip(frame: Frame, site: CallSite) -> Value | None:
    elements = [as_values(frame.state, value) for value in site.args]
    return frame.new_seq("list", rest=frame.new_seq("tuple", *elements))


def _next(frame: Frame, site: CallSite) -> Value | None:
    return as_values(frame.state, site.args[0]) if site.args else UNKNOWN


def _getattr(frame: Frame, site: CallSite) -> Value | None:
    if len(site.args) < 2:
        return UNKNOWN
    name = constant(site.args[1])
    if isinstance(name, str):
        return attribute(frame, site.args[0], name, site.node)
    held = frame.state.get(site.args[0]) if isinstance(site.args[0], Ref) else None
    if isinstance(held, Instance):
        return UNKNOWN
    return opaque("getattr()", deep_taints(frame.state, site.args[0]))


def _setattr(frame: Frame, site: CallSite) -> Value | None:
    if len(site.args) > 2:
        name = constant(site.args[1])
        if isinstance(name, str):
            set_attribute(frame, site.args[0], name, site.args[2])
    return NONE


def _harmless_nodes(frame: Frame, kinds: Value) -> bool:
    """An allow-list of kinds of syntax with which nobody reaches an attribute or imports anything."""
    held = frame.state.get(kinds) if isinstance(kinds, Ref) else None
    if not isinstance(held, Seq) or held.rest is not None or len(held.items) < 2:
        return False
    names = [item.qual if isinstance(item, Opaque) else "" for item in held.items]
    mighty = (
        "Attribute",
        "Subscript",
        "Lambda",
        "GeneratorExp",
        "ListComp",
        "JoinedStr",
        "Import",
        "AST",
        "expr",
    )
    return all(name.startswith("ast.") and name.removeprefix("ast.") not in mighty for name in names)


def _isinstance(frame: Frame, site: CallSite) -> Value | None:
    if len(site.args) != 2:
        return UNKNOWN
    kind = site.args[1]
    harmless = isinstance(kind, Opaque) and kind.qual in NUMERIC
    taints = deep_taints(frame.state, site.args[0])
    if _harmless_nodes(frame, kind):
        return verdict(facts_about(frame, taints, frozenset({"code"})), NO_FACTS)
    if isinstance(kind, Opaque) and kind.qual == "str":  # text, so no query operator hides in it
        return verdict(facts_about(frame, taints, frozenset({"nosql"})), NO_FACTS)
    return verdict(facts_about(frame, taints, NUMBER), NO_FACTS) if harmless else UNKNOWN


def _partial(_frame: Frame, site: CallSite) -> Value | None:
    return Partial(site.args[0], tuple(site.args[1:]), dict(site.kwargs)) if site.args else UNKNOWN


def _character(_frame: Frame, site: CallSite) -> Value | None:
    known = constant(site.args[0]) if site.args else MISSING
    try:
        if site.qual == "chr" and isinstance(known, int):
            return Const(chr(known))
        if site.qual == "ord" and isinstance(known, str):
            return Const(ord(known))
    except (ValueError, TypeError, OverflowError):
        return UNKNOWN
    if site.args and is_literal(site.args[0]):
        return opaque(LITERALS)
    return UNKNOWN


def _quantified(frame: Frame, site: CallSite) -> Value | None:
    """any() and all() over a generator: what the element test proves is lost, except for `all(... in
    ALLOWED)`."""
    value = site.args[0] if site.args else None
    held = frame.state.get(value) if isinstance(value, Ref) else None
    if isinstance(held, Seq) and isinstance(held.rest, Opaque) and not held.items:
        test = held.rest
        if site.qual == "all":
            return verdict(test.when_true, NO_FACTS)
        return verdict(NO_FACTS, test.when_false)
    return UNKNOWN


def _identity(_frame: Frame, site: CallSite) -> Value | None:
    return site.args[-1] if site.args else UNKNOWN


def _text_buffer(frame: Frame, site: CallSite) -> Value | None:
    return frame.new_seq("buffer", *site.args[:1])


def _field(frame: Frame, site: CallSite) -> Value | None:
    """dataclasses.field and pydantic.Field: the default, or what the factory makes."""
    default = site.kwargs.get("default") or (site.args[0] if site.args else None)
    if default is not None:
        return default
    factory = site.kwargs.get("default_factory")
    if isinstance(factory, Func):
        return frame.engine.invoke(frame, factory, [], {}, site.node)
    if isinstance(factory, Opaque) and factory.qual in ("list", "set", "tuple"):
        return frame.new_seq(factory.qual)
    if isinstance(factory, Opaque) and factory.qual == "dict":
        return frame.new_dict({})
    return UNKNOWN


def _bytes(_frame: Frame, site: CallSite) -> Value | None:
    if site.args and isinstance(constant(site.args[0]), int) and not isinstance(constant(site.args[0]), bool):
        return opaque(FIXED)
    return None


def _config(frame: Frame, site: CallSite) -> Value | None:
    del site
    return frame.new_dict({})


BUILTINS: dict[str, Builtin] = {
    "int": _number,
    "float": _number,
    "bool": _number,
    "uuid.UUID": _number,
    "decimal.Decimal": _number,
    "str": _text,
    "len": _length,
    "list": _sequence,
    "tuple": _sequence,
    "set": _sequence,
    "frozenset": _sequence,
    "sorted": _sequence,
    "reversed": _sequence,
    "iter": _sequence,
    "collections.deque": _sequence,
    "dict": _mapping,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _filled,
    "enumerate": _enumerate,
    "zip": _zip,
    "next": _next,
    "getattr": _getattr,
    "setattr": _setattr,
    "isinstance": _isinstance,
    "functools.partial": _partial,
    "chr": _character,
    "ord": _character,
    "hex": _character,
    "oct": _character,
    "any": _quantified,
    "all": _quantified,
    "io.StringIO": _text_buffer,
    "io.BytesIO": _text_buffer,
    "configparser.ConfigParser": _config,
    "configparser.RawConfigParser": _config,
    "configparser.SafeConfigParser": _config,
    "typing.cast": _identity,
    "dataclasses.field": _field,
    "pydantic.Field": _field,
    "bytes": _bytes,
    "asyncio.run": _identity,
    "asyncio.create_task": _identity,
}
