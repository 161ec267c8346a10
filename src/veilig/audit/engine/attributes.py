"""What does `thing.name` mean: a method, a field, part of a request, or a name in another module?"""

import ast

from veilig.audit.engine.frame import Frame, opaque
from veilig.audit.engine.origins import facts_about, part_of
from veilig.audit.engine.source import namespace
from veilig.audit.engine.value import (
    LITERALS,
    NO_FACTS,
    UNKNOWN,
    Class,
    Const,
    Dict,
    Func,
    Import,
    Instance,
    Method,
    Module,
    Opaque,
    OriginKind,
    Partial,
    Ref,
    Seq,
    Value,
)

HOST = frozenset({"url", "redirect"})
# Parts of a parsed address or path whose check says something about the whole.
GRANTS = {"netloc": HOST, "hostname": HOST, "name": frozenset({"path"}), "stem": frozenset[str]()}
INTERNAL = frozenset({"is_private"})
BASES_DEPTH_MAX = 8
# What an exception says about itself that tells nothing of the inside.
NO_SECRET_PARTS = frozenset({"code", "name", "status_code", "__class__", "description", "status", "title"})


def attribute(frame: Frame, thing: Value, name: str, node: ast.AST) -> Value:
    """The value of `thing.name`; properties of the project are run."""
    match thing:
        case Opaque():
            return _of_opaque(frame, thing, name)
        case Ref():
            return _of_ref(frame, thing, name, node)
        case Module():
            return _of_module(frame, thing, name)
        case Class():
            return _of_class(frame, thing, name)
        case Const():
            return Method(thing, name, f"{type(thing.value).__name__}.{name}")
        case Func() | Partial():
            return Method(thing, name, f"function.{name}")
        case Method():
            return opaque(f"{thing.qual}.{name}", thing.taints)


def _of_opaque(frame: Frame, thing: Opaque, name: str) -> Value:
    knowledge = frame.engine.knowledge
    if not thing.qual:
        return opaque(f"?.{name}", part_of(frame, thing.taints, f".{name}", GRANTS.get(name, frozenset())))
    qual = f"{thing.qual}.{name}"
    qual = knowledge.aliases.get(qual, qual)
    fixed = knowledge.constants.get(qual)
    if fixed is not None:
        return Const(fixed)
    kind = knowledge.source_names.get(qual)
    if kind is None and name in knowledge.request_parts and thing.qual in knowledge.requests:
        kind = OriginKind.REMOTE
    if name == "path" and kind is OriginKind.REMOTE and frame.engine.literal_route:
        return opaque(LITERALS)
    if kind is not None:
        return opaque(qual, frame.source_part(thing.qual, name, kind))
    if not thing.taints or name == "parents":  # `base in path.parents` is about the path itself
        return opaque(qual, thing.taints)
    taints = part_of(frame, thing.taints, f".{name}", GRANTS.get(name, frozenset()))
    if name in NO_SECRET_PARTS:
        taints = tuple(taint for taint in taints if taint.origin.kind is not OriginKind.ERROR)
    if name == "is_global":  # of an IP address: not one inside
        return Opaque(qual, taints, "", facts_about(frame, thing.taints, HOST), NO_FACTS)
    if name in INTERNAL:
        return Opaque(qual, taints, "", NO_FACTS, facts_about(frame, thing.taints, HOST))
    if name in ("netloc", "hostname"):  # an address without a host stays on this site
        return Opaque(qual, taints, "", NO_FACTS, facts_about(frame, thing.taints, HOST))
    return opaque(qual, taints)


def _of_module(frame: Frame, thing: Module, name: str) -> Value:
    found = frame.engine.module_globals(thing.info).get(name)
    if found is not None:
        return found.get() if isinstance(found, Import) else found
    project, full = frame.engine.project, f"{thing.info.name}.{name}"
    frame.engine.notes.asked.add(f"f:{full}")
    inner = project.modules.get(full) or namespace(project, full)
    return Module(inner) if inner is not None else opaque(f"{thing.info.name}.{name}")


def find_member(cls: Class, name: str, depth: int = 0) -> tuple[Value, Class] | None:
    """The class attribute and the class that defines it, base classes of the project included."""
    found = cls.env.get(name)
    if found is not None:
        return found.get() if isinstance(found, Import) else found, cls
    if depth < BASES_DEPTH_MAX:
        for base in cls.bases:
            if isinstance(base, Class):
                inherited = find_member(base, name, depth + 1)
                if inherited is not None:
                    return inherited
    return None


def outer_bases(cls: Class, depth: int = 0) -> list[str]:
    """Qualified names of all base classes that are not the project's."""
    names: list[str] = []
    for base in cls.bases:
        if isinstance(base, Opaque):
            names.append(base.qual)
        elif isinstance(base, Class) and depth < BASES_DEPTH_MAX:
            names.extend(outer_bases(base, depth + 1))
    return names


def _of_class(_frame: Frame, thing: Class, name: str) -> Value:
    found = find_member(thing, name)
    if found is not None:
        member = found[0]
        if isinstance(member, Func) and "classmethod" in member.info.decorators:
            return Func(member.info, member.closure, thing)
        return member
    bases = outer_bases(thing)
    return opaque(f"{bases[0]}.{name}") if bases else opaque(f"{thing.info.qualname}.{name}")


def _of_ref(frame: Frame, ref: Ref, name: str, node: ast.AST) -> Value:
    thing = frame.state.get(ref)
    match thing:
        case Instance():
            return _of_instance(frame, ref, thing, name, node)
        case Seq():
            return Method(ref, name, f"{thing.kind}.{name}")
        case Dict():
            return Method(ref, name, f"dict.{name}")
        case None:
            return UNKNOWN


def _of_instance(frame: Frame, ref: Ref, thing: Instance, name: str, node: ast.AST) -> Value:
    value = thing.attrs.get(name)
    if value is not None:
        return value
    found = find_member(thing.cls, name)
    if found is not None:
        return bind(frame, found[0], ref, thing.cls, node)
    if name == "__class__":
        return thing.cls
    if name == "__dict__":
        fields: dict[object, Value] = {key: value for key, value in thing.attrs.items()}  # noqa: C416
        return frame.new_dict(fields)
    bases = outer_bases(thing.cls)
    for base in bases:
        for known, parts in frame.engine.knowledge.handler_bases.items():
            if base == known or base.endswith("." + known):
                kind = parts.get(name)
                if kind is not None:
                    return opaque(f"{known}.{name}", frame.source_part(base, name, kind))
    if name == "request" and bases:
        return opaque("http.request")
    taints = part_of(frame, thing.taints, f".{name}")
    if bases:
        qual = f"{bases[0]}().{name}"
        return opaque(frame.engine.knowledge.aliases.get(qual, qual), taints)
    return opaque(f"?.{name}", taints)


def bind(frame: Frame, member: Value, ref: Value, cls: Class, node: ast.AST) -> Value:
    """A class member seen through an object: methods are bound, properties run."""
    if not isinstance(member, Func):
        return member
    decorators = member.info.decorators
    if "staticmethod" in decorators:
        return member
    if "classmethod" in decorators:
        return Func(member.info, member.closure, cls)
    bound = Func(member.info, member.closure, ref)
    if any(name.rpartition(".")[2] in ("property", "cached_property") for name in decorators):
        return frame.engine.invoke(frame, bound, [], {}, node)
    return bound


def set_attribute(frame: Frame, thing: Value, name: str, value: Value) -> None:
    """`thing.name = value` on what the heap knows; anything else has no fields to remember."""
    if not isinstance(thing, Ref):
        return
    held = frame.state.get(thing)
    if isinstance(held, Instance):
        attrs = dict(held.attrs)
        attrs[name] = value
        frame.state.put(thing, Instance(held.cls, attrs, held.taints))


def instance_of(frame: Frame, cls: Class, attrs: dict[str, Value]) -> Ref:
    """A new object of the class on the heap."""
    return frame.state.new(Instance(cls, attrs))
