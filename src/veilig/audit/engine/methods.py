"""What do methods of strings, lists, dicts and sets do to what is known about them?"""

from typing import Any

from veilig.audit.engine.external import call_outside
from veilig.audit.engine.frame import CallSite, Frame, opaque
from veilig.audit.engine.knowledge import words
from veilig.audit.engine.state import MISSING, as_values, constant, deep_taints, join_values, seq
from veilig.audit.engine.value import (
    NONE,
    PREFIX_CHARS_MAX,
    UNKNOWN,
    Const,
    Dict,
    Method,
    Opaque,
    Ref,
    Seq,
    Value,
    apply_facts,
    merge_taints,
)

PURE_TEXT_METHODS = frozenset(
    words(
        "upper lower strip lstrip rstrip title capitalize casefold swapcase startswith endswith "
        "replace split "
        "rsplit splitlines find rfind index count isdigit isalpha isalnum isnumeric isdecimal isidentifier "
        "isspace islower isupper partition rpartition removeprefix removesuffix encode decode hex zfill"
    )
)
TEXT_CHARS_MAX = 20_000


def call_method(frame: Frame, method: Method, site: CallSite) -> Value:
    """The value of a method call on a constant or a container."""
    receiver = method.receiver
    if isinstance(receiver, Const):
        return _on_constant(frame, method, receiver, site)
    if isinstance(receiver, Ref):
        held = frame.state.get(receiver)
        if frame.state.facts:  # what is kept outlives the guard: what the guard proved is kept with it
            site.args = [apply_facts(value, frame.state.facts) for value in site.args]
        if isinstance(held, Seq):
            return _on_seq(frame, method.name, receiver, held, site)
        if isinstance(held, Dict):
            return _on_dict(frame, method.name, receiver, held, site)
    return call_outside(frame, Opaque(method.qual, method.taints), site, tell=False)


def _on_constant(frame: Frame, method: Method, receiver: Const, site: CallSite) -> Value:
    if method.name == "join" and site.args:
        return _joined_text(frame, receiver, site.args[0])
    if method.name == "format" and isinstance(receiver.value, str):
        return _formatted(frame, receiver.value, site)
    known = [constant(value) for value in site.args]
    if method.name in PURE_TEXT_METHODS and MISSING not in known and not site.kwargs:
        text: Any = receiver.value
        try:
            result: object = getattr(text, method.name)(*known)
        except (TypeError, ValueError, AttributeError, LookupError, OverflowError):
            return UNKNOWN
        if isinstance(result, list | tuple):
            parts: list[Value] = [Const(part) for part in result]  # type: ignore[reportUnknownVariableType]  # str or bytes
            return seq(frame.state, "list", parts)
        if isinstance(result, str | bytes) and len(result) > TEXT_CHARS_MAX:
            return UNKNOWN
        return Const(result)
    taints = ()
    for value in (*site.args, *site.kwargs.values()):
        taints = merge_taints(taints, deep_taints(frame.state, value))
    return opaque(f"{method.qual}()", taints)


def _joined_text(frame: Frame, glue: Const, parts: Value) -> Value:
    held = frame.state.get(parts) if isinstance(parts, Ref) else None
    if isinstance(held, Seq) and held.rest is None and isinstance(glue.value, str):
        known = [constant(item) for item in held.items]
        if all(isinstance(item, str) for item in known):
            text = glue.value.join(known)
            return Const(text) if len(text) <= TEXT_CHARS_MAX else UNKNOWN
        prefix = ""
        for item in known:
            if not isinstance(item, str):
                break
            prefix += item + glue.value
        prefix = prefix[:PREFIX_CHARS_MAX]
        return opaque("", deep_taints(frame.state, parts), prefix)
    return opaque("", deep_taints(frame.state, parts))


def _formatted(frame: Frame, template: str, site: CallSite) -> Value:
    values = [*site.args, *site.kwargs.values()]
    known = [constant(value) for value in site.args]
    if MISSING not in known and not site.kwargs and len(template) < 2_000:
        try:
            return Const(template.format(*known)) if "{:" not in template else UNKNOWN
        except (ValueError, LookupError, TypeError, AttributeError):
            return UNKNOWN
    taints = ()
    for value in values:
        taints = merge_taints(taints, deep_taints(frame.state, value))
    first = template.find("{")
    return opaque("", frame.move(taints, site.node, "formatted into a string"), template[: max(first, 0)])


def _on_seq(frame: Frame, name: str, ref: Ref, held: Seq, site: CallSite) -> Value:
    state = frame.state
    first = site.args[0] if site.args else None
    match name:
        case "append" | "add" | "appendleft" | "write" if first is not None:
            if held.rest is None:
                items = [first, *held.items] if name == "appendleft" else [*held.items, first]
                grown = state.get(seq(state, held.kind, items))
                assert grown is not None
                state.put(ref, grown)
            else:
                state.put(ref, Seq(held.kind, held.items, join_values(state, held.rest, first)))
            return NONE
        case "insert" if len(site.args) > 1:
            index = constant(first)
            if held.rest is None and isinstance(index, int):
                items = list(held.items)
                items.insert(index, site.args[1])
                state.put(ref, Seq(held.kind, tuple(items)))
            else:
                rest = held.rest or site.args[1]
                state.put(ref, Seq(held.kind, held.items, join_values(state, rest, site.args[1])))
            return NONE
        case "extend" | "update" if first is not None:
            more = state.get(first) if isinstance(first, Ref) else None
            if isinstance(more, Seq) and more.rest is None and held.rest is None:
                state.put(ref, Seq(held.kind, held.items + more.items))
            else:
                extra = as_values(state, first)
                rest = extra if held.rest is None else join_values(state, held.rest, extra)
                state.put(ref, Seq(held.kind, held.items, rest))
            return NONE
        case "pop" | "popleft":
            return _pop(frame, ref, held, 0 if name == "popleft" else constant(first) if first else -1)
        case "clear":
            state.put(ref, Seq(held.kind, ()))
            return NONE
        case "copy":
            return state.new(held)
        case "sort" | "reverse" | "remove" | "discard":
            rest = as_values(state, ref) if held.items or held.rest is not None else None
            if name == "reverse" and held.rest is None:
                state.put(ref, Seq(held.kind, held.items[::-1]))
            elif name == "remove" and held.rest is None and constant(first) is not MISSING:
                kept = [item for item in held.items if constant(item) != constant(first)]
                state.put(ref, Seq(held.kind, tuple(kept)))
            else:
                state.put(ref, Seq(held.kind, (), rest))
            return NONE
        case "index" | "count":
            return UNKNOWN
        case _:
            return opaque("", deep_taints(state, ref))


def _pop(frame: Frame, ref: Ref, held: Seq, index: object) -> Value:
    if held.rest is None and isinstance(index, int) and -len(held.items) <= index < len(held.items):
        items = list(held.items)
        value = items.pop(index)
        frame.state.put(ref, Seq(held.kind, tuple(items)))
        return value
    return as_values(frame.state, ref)


def _on_dict(frame: Frame, name: str, ref: Ref, held: Dict, site: CallSite) -> Value:
    state = frame.state
    first = site.args[0] if site.args else None
    known = constant(first)
    if name == "set" and len(site.args) == 3:  # a configparser: option of a section
        state.put(ref, Dict({**held.items, (known, constant(site.args[1])): site.args[2]}, held.rest))
        return NONE
    if name == "get" and len(site.args) == 2 and (known, constant(site.args[1])) in held.items:
        return held.items[known, constant(site.args[1])]
    if name == "get" and "fallback" in site.kwargs:  # an option nobody set here: a file may, or it has this
        return site.kwargs["fallback"]
    match name:
        case "get" | "pop" | "setdefault" if first is not None:
            default = site.args[1] if len(site.args) > 1 else NONE
            return _lookup(frame, name, ref, held, known, default)
        case "update":
            _update(frame, ref, held, site)
            return NONE
        case "values":
            values = list(held.items.values())
            return seq(state, "list", values, held.rest)
        case "keys":
            if held.rest is None:
                return seq(state, "list", [Const(key) for key in held.items])
            return frame.new_seq("list", rest=UNKNOWN)
        case "items":
            pairs = [frame.new_seq("tuple", Const(key), value) for key, value in held.items.items()]
            rest = frame.new_seq("tuple", UNKNOWN, held.rest) if held.rest is not None else None
            return seq(state, "list", pairs, rest)
        case "copy":
            return state.new(held)
        case "clear":
            state.put(ref, Dict({}))
            return NONE
        case _:
            return opaque("", deep_taints(state, ref))


def _lookup(frame: Frame, name: str, ref: Ref, held: Dict, key: object, default: Value) -> Value:
    state = frame.state
    if key is not MISSING:
        found = held.items.get(key)
        if found is None:
            found = default if held.rest is None else join_values(state, held.rest, default)
            if name == "setdefault":
                state.put(ref, Dict({**held.items, key: found}, held.rest))
        elif name == "pop":
            state.put(ref, Dict({k: v for k, v in held.items.items() if k != key}, held.rest))
        return found
    if name == "setdefault" and isinstance(default, Ref) and _says_nothing(held.rest):
        state.put(ref, Dict(held.items, default))  # what is put into it is found under any key
        return default
    result = default if held.rest is None else join_values(state, default, held.rest)
    for value in held.items.values():
        result = join_values(state, result, value)
    return result


def _says_nothing(value: Value | None) -> bool:
    return value is None or (isinstance(value, Opaque) and not value.taints)


def _update(frame: Frame, ref: Ref, held: Dict, site: CallSite) -> None:
    state = frame.state
    items = dict(held.items)
    rest = held.rest
    for value in site.args:
        more = state.get(value) if isinstance(value, Ref) else None
        if isinstance(more, Dict):
            items.update(more.items)
            extra = more.rest
        else:
            extra = as_values(state, value)
        if extra is not None:
            rest = extra if rest is None else join_values(state, rest, extra)
    items.update({key: value for key, value in site.kwargs.items() if key != "**"})
    state.put(ref, Dict(items, rest))
