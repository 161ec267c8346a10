"""What does a call do: run a project function, build an object, use a container, or leave the project?"""

import ast

from veilig.audit.engine.attributes import attribute, find_member, instance_of, outer_bases
from veilig.audit.engine.builtin_calls import BUILTINS
from veilig.audit.engine.external import call_outside
from veilig.audit.engine.frame import CallSite, Frame, opaque
from veilig.audit.engine.methods import call_method
from veilig.audit.engine.origins import part_of
from veilig.audit.engine.state import as_values, deep_taints
from veilig.audit.engine.value import (
    UNKNOWN,
    Class,
    Const,
    Dict,
    Func,
    Instance,
    Method,
    Opaque,
    Partial,
    Ref,
    Seq,
    Value,
    with_taints,
)

# Methods of outside objects that call the function given to them: position of the function.
CALLBACKS = {
    "submit": 0,
    "to_thread": 0,
    "run_in_executor": 1,
    "call_soon": 0,
    "run_sync": 0,
    "start_soon": 0,
}
# Where nobody can say what an object is: what an application or request carries, and unknown values.
UNKNOWN_OWNERS = (
    "http.request.",
    "?",
    "flask.current_app.",
    "flask.g.",
    "fastapi.Depends",
    "aiohttp.web.Application()",
)
COMMON_METHODS = frozenset(
    {
        name
        for kind in (str, bytes, list, dict, set, int, tuple)
        for name in dir(kind)
        if not name.startswith("_")
    }
    | {
        "read",
        "write",
        "close",
        "open",
        "execute",
        "fetchall",
        "fetchone",
        "commit",
        "save",
        "send",
        "filter",
        "all",
        "first",
        "one",
        "query",
        "run",
        "start",
        "stop",
        "json",
        "form",
        "set",
        "put",
        "post",
        "delete",
        "load",
        "dump",
    }
)
TASK_METHODS = frozenset({"delay", "apply_async", "remote", "send", "s"})


def evaluate_call(frame: Frame, node: ast.expr) -> Value:
    """The value of a call."""
    assert isinstance(node, ast.Call)
    frame.engine.spend()
    receiver: Value | None = None
    function = node.func
    if isinstance(function, ast.Attribute):
        inner = function.value
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == "super":
            callee = _super_member(frame, function.attr)
        else:
            receiver = frame.eval(inner)
            callee = attribute(frame, receiver, function.attr, function)
            if isinstance(receiver, Opaque) and receiver.taints:
                # A method is no part of the value: what it proves, it proves about the whole receiver.
                callee = with_taints(callee, receiver.taints)
        name = function.attr
    else:
        callee = frame.eval(function)
        name = function.id if isinstance(function, ast.Name) else ""
    args, kwargs, splat = arguments(frame, node)
    qual = callee.qual if isinstance(callee, Opaque | Method) else ""
    site = CallSite(node, qual, name, receiver, args, kwargs, splat)
    return call(frame, callee, site)


def arguments(frame: Frame, node: ast.Call) -> tuple[list[Value], dict[str, Value], bool]:
    """Evaluated arguments; known * and ** contents are spread, unknown ones set the third result."""
    args: list[Value] = []
    kwargs: dict[str, Value] = {}
    splat = False
    for entry in node.args:
        if not isinstance(entry, ast.Starred):
            args.append(frame.eval(entry))
            continue
        value = frame.eval(entry.value)
        held = frame.state.get(value) if isinstance(value, Ref) else None
        if isinstance(held, Seq) and held.rest is None:
            args.extend(held.items)
        else:
            splat = True
            args.append(as_values(frame.state, value))
    for keyword in node.keywords:
        value = frame.eval(keyword.value)
        if keyword.arg is not None:
            kwargs[keyword.arg] = value
            continue
        held = frame.state.get(value) if isinstance(value, Ref) else None
        if isinstance(held, Dict):
            kwargs.update({key: item for key, item in held.items.items() if isinstance(key, str)})
            splat = splat or held.rest is not None
            if held.rest is not None:
                kwargs.setdefault("**", held.rest)
        else:
            splat = True
            kwargs.setdefault("**", value)
    return args, kwargs, splat


def call(frame: Frame, callee: Value, site: CallSite) -> Value:
    """The call by kind of callee."""
    match callee:
        case Func():
            return frame.engine.invoke(frame, callee, _spread(frame, callee, site), site.kwargs, site.node)
        case Class():
            return construct(frame, callee, site)
        case Partial():
            site = CallSite(
                site.node,
                site.qual,
                site.name,
                site.receiver,
                [*callee.args, *site.args],
                {**callee.kwargs, **site.kwargs},
                site.splat,
            )
            if isinstance(callee.target, Opaque | Method):
                site.qual = callee.target.qual
                site.name = callee.target.qual.rpartition(".")[2]
            return call(frame, callee.target, site)
        case Method(receiver=Func() as function):
            if callee.name in TASK_METHODS:
                return frame.engine.invoke(frame, function, site.args, site.kwargs, site.node)
            return UNKNOWN
        case Method():
            frame.engine.listener.on_call(frame, site)
            return call_method(frame, callee, site)
        case Ref():
            return _call_object(frame, callee, site)
        case Opaque():
            return _call_opaque(frame, callee, site)
        case _:
            return UNKNOWN


def _spread(frame: Frame, callee: Func, site: CallSite) -> list[Value]:
    """The arguments; what came in through a last * of unknown length may be any of those that are left."""
    open_end = site.node.args and isinstance(site.node.args[-1], ast.Starred)
    if not site.splat or not open_end or not site.args:  # `f(*(), **more)`: nothing came in by position
        return site.args
    spec = callee.info.node.args
    room = len(spec.posonlyargs) + len(spec.args) - (callee.bound is not None) - len(site.args)
    more: list[Value] = []
    for _ in range(max(room, 0)):  # each is a part of its own: what is known of one is not known of the next
        last = site.args[-1]
        more.append(opaque("", part_of(frame, last.taints, None)) if isinstance(last, Opaque) else last)
    return [*site.args, *more]


def _call_object(frame: Frame, ref: Ref, site: CallSite) -> Value:
    held = frame.state.get(ref)
    if isinstance(held, Instance):
        found = find_member(held.cls, "__call__")
        if found is not None and isinstance(found[0], Func):
            bound = Func(found[0].info, found[0].closure, ref)
            return frame.engine.invoke(frame, bound, site.args, site.kwargs, site.node)
    return UNKNOWN


def _call_opaque(frame: Frame, callee: Opaque, site: CallSite) -> Value:
    builtin = BUILTINS.get(callee.qual)
    if builtin is not None:
        frame.engine.listener.on_call(frame, site)
        value = builtin(frame, site)
        if value is not None:
            return value
        return call_outside(frame, callee, site, tell=False)
    if callee.qual in ("map", "filter") and site.args:
        return _mapped(frame, callee.qual, site)
    _run_callbacks(frame, site)
    if site.name == "as_manager" and isinstance(site.receiver, Class):  # Django: a manager with these methods
        return instance_of(frame, site.receiver, {})
    guessed = _only_method(frame, callee, site)
    if guessed is not None:
        return guessed
    return call_outside(frame, callee, site, tell=True)


def _only_method(frame: Frame, callee: Opaque, site: CallSite) -> Value | None:
    """A method of an unknown object, when exactly one class of the project has a method of that name."""
    if site.receiver is None or "." not in callee.qual or site.name in COMMON_METHODS:
        return None
    program = frame.engine.project.programs.get(frame.module.path)
    found = program.methods.get(site.name, ()) if program is not None else ()
    frame.engine.notes.asked.add(f"m:{site.name}")
    if len(found) != 1 or not callee.qual.startswith(UNKNOWN_OWNERS):
        return None
    if not any(deep_taints(frame.state, value) for value in (*site.args, *site.kwargs.values())):
        return None
    module, owner = found[0]
    cls = frame.engine.module_globals(module).get(owner)
    member = find_member(cls, site.name) if isinstance(cls, Class) else None
    if not isinstance(cls, Class) or member is None or not isinstance(member[0], Func):
        return None
    if {"staticmethod", "property"} & set(member[0].info.decorators):
        return None
    bound = Func(member[0].info, member[0].closure, instance_of(frame, cls, {}))
    return frame.engine.invoke(frame, bound, site.args, site.kwargs, site.node)


def _mapped(frame: Frame, qual: str, site: CallSite) -> Value:
    elements = [as_values(frame.state, value) for value in site.args[1:]]
    function = site.args[0]
    inner = CallSite(site.node, getattr(function, "qual", ""), "", None, elements, {})
    result = call(frame, function, inner) if not isinstance(function, Const) else UNKNOWN
    if qual == "filter":
        result = elements[0] if elements else UNKNOWN
    return frame.new_seq("list", rest=result)


def _run_callbacks(frame: Frame, site: CallSite) -> None:
    position = CALLBACKS.get(site.name)
    if position is not None and len(site.args) > position:
        function = site.args[position]
        if isinstance(function, Func):
            frame.engine.invoke(frame, function, site.args[position + 1 :], site.kwargs, site.node)
    target = site.kwargs.get("target")
    if isinstance(target, Func) and site.name in ("Thread", "Process", "Timer"):
        given = site.kwargs.get("args")
        held = frame.state.get(given) if isinstance(given, Ref) else None
        items = list(held.items) if isinstance(held, Seq) else []
        frame.engine.invoke(frame, target, items, {}, site.node)


def construct(frame: Frame, cls: Class, site: CallSite) -> Value:
    """A new object: `__init__` runs, or fields are filled as dataclasses and models fill them."""
    found = find_member(cls, "__init__")
    if found is not None and isinstance(found[0], Func):
        ref = instance_of(frame, cls, {})
        bound = Func(found[0].info, found[0].closure, ref)
        frame.engine.invoke(frame, bound, site.args, site.kwargs, site.node)
        return ref
    names = all_fields(cls)
    attrs: dict[str, Value] = dict(zip(names, site.args, strict=False))
    attrs.update({key: value for key, value in site.kwargs.items() if key != "**"})
    unknown = site.kwargs.get("**")
    if unknown is not None:
        for name in names:
            attrs.setdefault(name, opaque("", unknown.taints))
    for base in outer_bases(cls):
        inner = CallSite(site.node, base, base.rpartition(".")[2], None, site.args, site.kwargs, site.splat)
        frame.engine.listener.on_call(frame, inner)
    ref = instance_of(frame, cls, attrs)
    post = find_member(cls, "__post_init__")
    if post is not None and isinstance(post[0], Func):
        bound = Func(post[0].info, post[0].closure, ref)
        frame.engine.invoke(frame, bound, [], {}, site.node)
    return ref


def all_fields(cls: Class) -> list[str]:
    """Annotated fields in order, those of project base classes first."""
    names: list[str] = []
    for base in reversed(cls.bases):
        if isinstance(base, Class):
            names.extend(name for name in all_fields(base) if name not in names)
    names.extend(name for name in cls.info.fields if name not in names)
    return names


def _super_member(frame: Frame, name: str) -> Value:
    owner = frame.func.owner if frame.func is not None else None
    mine = frame.self_class
    cls = _find_class(mine, owner) if isinstance(mine, Class) and owner is not None else None
    if cls is not None:
        for base in cls.bases:
            found = find_member(base, name) if isinstance(base, Class) else None
            if found is not None and isinstance(found[0], Func):
                return Func(found[0].info, found[0].closure, frame.self_value)
        outer = outer_bases(cls)
        return opaque(f"{outer[0]}().{name}") if outer else opaque(f"object().{name}")
    return opaque(f"super().{name}")


def _find_class(cls: Class, info: object) -> Class | None:
    if cls.info is info:
        return cls
    for base in cls.bases:
        if isinstance(base, Class):
            found = _find_class(base, info)
            if found is not None:
                return found
    return None


EVALUATORS = {ast.Call: evaluate_call}
