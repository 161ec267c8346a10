"""Who calls this function from outside, and which of its parameters do they decide?"""

import ast
import re

from veilig.audit.engine.attributes import find_member, outer_bases
from veilig.audit.engine.calls import all_fields
from veilig.audit.engine.frame import Frame, opaque
from veilig.audit.engine.open_world import open_object
from veilig.audit.engine.source import FunctionInfo, ModuleInfo, dotted, resolve_relative
from veilig.audit.engine.value import (
    Class,
    Func,
    Instance,
    Opaque,
    OriginKind,
    Ref,
    Value,
    numbered,
)

_FLASK_NUMBER = re.compile(r"<(?:int|float|uuid)(?:\([^)]*\))?:(\w+)>")

_ROUTED = re.compile(r"\.(route|get|post|put|patch|delete)$")
_INJECTED = re.compile(r"(\w+) = Annotated\[.*(?:Depends|Security)")
_VARIABLE = re.compile(r"[<{*(]|/:")

PLAIN_TYPES = frozenset({"str", "int", "float", "bool", "bytes", "dict", "list", "Request"})
ALIAS_STEPS_MAX = 5  # modules that hand a name on
IDENTIFIERS = frozenset({"pk", "id"})
# What a cloud function and a WSGI application are called with: the first is what somebody sent.
CALLED_BY_SERVERS = {("event", "context"), ("environ", "start_response")}
HANDLER_VERBS = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "dispatch", "prepare"})


def parameter_values(frame: Frame, func: Func) -> tuple[list[Value], dict[str, Value]]:
    """Arguments for analysing the function on its own: what outsiders decide is tainted."""
    info = func.info
    node = info.node
    spec = node.args
    names = [*spec.posonlyargs, *spec.args]
    args: list[Value] = []
    kwargs: dict[str, Value] = {}
    if isinstance(func.bound, Class):
        static = "staticmethod" in info.decorators
        if not static and names:
            receiver: Value = func.bound
            if "classmethod" not in info.decorators:
                receiver = standing_instance(frame, func.bound)
            args.append(receiver)
            names = names[1:]
    kind, harmless = outside_caller(frame, info)
    view = False
    for index, parameter in enumerate(names):
        value, is_request = _parameter(frame, func, parameter, kind, harmless, view)
        view = view or (is_request and index == 0)
        args.append(value)
    for parameter in spec.kwonlyargs:
        kwargs[parameter.arg] = _parameter(frame, func, parameter, kind, harmless, view)[0]
    return args, kwargs


def outside_caller(frame: Frame, info: FunctionInfo) -> tuple[OriginKind | None, set[str]]:
    """Who fills the parameters, by decorator, and which of them can only be numbers."""
    knowledge = frame.engine.knowledge
    if isinstance(info.node, ast.Lambda):
        return None, set()
    harmless: set[str] = set()
    found: OriginKind | None = None
    named = tuple(p.arg for p in info.node.args.args[:2])
    if named in CALLED_BY_SERVERS and info.owner is None:
        return OriginKind.REMOTE, {named[1]}
    for name, decorator in zip(info.decorators, info.node.decorator_list, strict=True):
        kind = knowledge.entry_decorators.get(name.rpartition(".")[2])
        if kind is None or "." not in name:
            continue
        found = kind
        first = decorator.args[0] if isinstance(decorator, ast.Call) and decorator.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            harmless.update(_FLASK_NUMBER.findall(first.value))
    return found, harmless


def has_literal_route(info: FunctionInfo) -> bool:
    """Whether the function answers fixed addresses only, so that the path of the request is no news."""
    if isinstance(info.node, ast.Lambda):
        return False
    routes = [
        decorator.args[0]
        for name, decorator in zip(info.decorators, info.node.decorator_list, strict=True)
        if _ROUTED.search(name) and isinstance(decorator, ast.Call) and decorator.args
    ]
    return bool(routes) and all(
        isinstance(route, ast.Constant) and isinstance(route.value, str) and not _VARIABLE.search(route.value)
        for route in routes
    )


def _parameter(
    frame: Frame, func: Func, parameter: ast.arg, kind: OriginKind | None, harmless: set[str], view: bool
) -> tuple[Value, bool]:
    """One parameter's value, and whether it is a web request."""
    knowledge = frame.engine.knowledge
    info = func.info
    name = parameter.arg
    shown = _alias(frame, info, parameter.annotation)
    inner = shown
    if shown is not parameter.annotation and isinstance(shown, ast.Subscript):
        inner = shown.slice.elts[0] if isinstance(shown.slice, ast.Tuple) else shown.slice
    annotation = dotted(inner) if inner is not None else ""
    if isinstance(parameter.annotation, ast.Constant) and isinstance(parameter.annotation.value, str):
        annotation = parameter.annotation.value
    last = annotation.rpartition(".")[2]
    if _depends(info, parameter):
        filled = _filled_by_request(frame, info, parameter)
        return (filled if filled is not None else opaque("")), False
    typed = _project_class(frame, info, parameter.annotation)
    if typed is not None and outer_bases(typed) == [] and kind is None:
        return standing_instance(frame, typed), False  # a request of its own, such as one that is sent
    if name in knowledge.request_parameters or last in ("Request", "HttpRequest", "WebSocket"):
        return opaque("http.request"), True
    if typed is not None:
        if kind is None:
            return standing_instance(frame, typed), False
        return _model(frame, typed, parameter, kind), False
    if last == "int" and kind is OriginKind.REMOTE and not _limited(info, parameter, shown):
        return opaque("", numbered(frame.source(parameter, kind, name))), False
    if name == "start_response" and name in harmless:
        return opaque("wsgi.start_response"), False
    if last in knowledge.harmless_types or name in harmless or _harmless_default(info, name):
        return opaque(""), False
    if _handled_error(info, parameter):
        return opaque("exception", frame.source(parameter, OriginKind.ERROR, f"exception {name}")), False
    if kind is not None:
        return opaque("", frame.source(parameter, kind, name)), False
    if view and _is_django(frame, info) and name not in IDENTIFIERS and not name.endswith("_id"):
        return opaque("", frame.source(parameter, OriginKind.REMOTE, name)), False
    frame.engine.notes.asked.add(f"c:{info.name}")
    if info.called or info.name.startswith("__") or frame.module.is_test:
        return opaque(""), False
    if info.owner is not None and info.name not in HANDLER_VERBS and not _is_web(func):
        return opaque("", frame.source(parameter, OriginKind.PARAMETER, name)), False
    if _is_web(func) and info.name in HANDLER_VERBS:
        return opaque("", frame.source(parameter, OriginKind.REMOTE, name)), False
    return opaque("", frame.source(parameter, OriginKind.PARAMETER, name)), False


_HANDLER = re.compile(r"(^|\.)(errorhandler|app_errorhandler|exception_handler)$")
_INTERNAL = re.compile(
    r"(^|\.)(Exception|BaseException|OSError|RuntimeError|\w*Database\w*|SQLAlchemyError|Error)$|^500$"
)


def _handled_error(info: FunctionInfo, parameter: ast.arg) -> bool:
    """The parameter is whatever went wrong inside: `@app.errorhandler(Exception)`."""
    if isinstance(info.node, ast.Lambda):
        return False
    spec = info.node.args
    last = [*spec.posonlyargs, *spec.args][-1:]
    return parameter in last and any(
        _HANDLER.search(name)
        and isinstance(decorator, ast.Call)
        and any(_INTERNAL.search(ast.unparse(argument)) for argument in decorator.args)
        for name, decorator in zip(info.decorators, info.node.decorator_list, strict=True)
    )


def _depends(info: FunctionInfo, parameter: ast.arg) -> bool:
    """Annotated[..., Depends(f)], written out or under a name of this module: f decides, not the client."""
    annotation = parameter.annotation
    if re.match(r"(\w+\.)?(Depends|Security)\(", _called_default(info, parameter.arg)):
        return True
    if annotation is None:
        return False
    if isinstance(annotation, ast.Subscript):
        return re.search(r"\b(Depends|Security)\(", ast.unparse(annotation)) is not None
    if not isinstance(annotation, ast.Name):
        return False
    module = info.module
    if module.injected is None:
        found = map(_INJECTED.match, module.lines)
        module.injected = frozenset(match[1] for match in found if match)
    return annotation.id in module.injected


def _filled_by_request(frame: Frame, info: FunctionInfo, parameter: ast.arg) -> Value | None:
    """`size: Size = Depends()`: the class is filled from the query; None for any other dependency."""
    if not re.search(r"Depends\(\s*\)", _called_default(info, parameter.arg)):
        return None
    typed = _project_class(frame, info, parameter.annotation)
    return _model(frame, typed, parameter, OriginKind.REMOTE) if typed is not None else None


def _called_default(info: FunctionInfo, name: str) -> str:
    """The default as it is spelt, when it is a call."""
    default = _default_of(info, name)
    return ast.unparse(default) if isinstance(default, ast.Call) else ""


def _alias(frame: Frame, info: FunctionInfo, annotation: ast.expr | None) -> ast.expr | None:
    """What a name for `Annotated[...]` stands for, defined here or where it is imported from."""
    if not isinstance(annotation, ast.Name) or annotation.id in PLAIN_TYPES:
        return annotation
    module, name = info.module, annotation.id
    for _ in range(ALIAS_STEPS_MAX):
        found = _annotated(module).get(name)
        if found is not None:
            return found
        origin = _imported_from(frame, module, name)
        if origin is None:
            break
        module, name = origin
        frame.engine.notes.touched.add(module.path)
    return annotation


def _annotated(module: ModuleInfo) -> dict[str, ast.Subscript]:
    """The names that a module gives to `Annotated[...]`."""
    if module.annotated is None:
        module.annotated = {}
        for statement in reversed(module.tree.body if "Annotated" in (module.source or "") else []):
            target = statement.targets[0] if isinstance(statement, ast.Assign) else None
            if (
                isinstance(statement, ast.Assign)
                and isinstance(target, ast.Name)
                and isinstance(statement.value, ast.Subscript)
                and dotted(statement.value.value).endswith("Annotated")
            ):
                module.annotated[target.id] = statement.value
    return module.annotated


def _imported_from(frame: Frame, module: ModuleInfo, name: str) -> tuple[ModuleInfo, str] | None:
    """The module of the project that the name is imported from, and what it is called there."""
    project = frame.engine.project
    for node in module.imports:
        if not isinstance(node, ast.ImportFrom):
            continue
        for item in node.names:
            if (item.asname or item.name) == name:
                base = resolve_relative(module, node.level, node.module) if node.level else node.module or ""
                found = project.modules.get(base) if node.level else project.find(base, module)
                return None if found is None else (found, item.name)
    return None


def _limited(info: FunctionInfo, parameter: ast.arg, shown: ast.expr | None) -> bool:
    """Whether the declaration bounds the number: Query(le=100), Annotated[int, Field(lt=50)]."""
    line = info.module.text(parameter.lineno) + (ast.unparse(shown) if shown is not None else "")
    return re.search(r"\b(le|lt|multiple_of|ge=.*le)=|conint|Path\(|Depends", line) is not None


def _is_web(func: Func) -> bool:
    bound = func.bound
    if not isinstance(bound, Class):
        return False
    return any(
        base.endswith(("View", "Resource", "RequestHandler", "HTTPEndpoint", "ViewSet", "Handler"))
        for base in outer_bases(bound)
    )


def _is_django(_frame: Frame, info: FunctionInfo) -> bool:
    return any("django" in line for line in info.module.lines[:60] if "import" in line)


def _default_of(info: FunctionInfo, name: str) -> ast.expr | None:
    spec = info.node.args
    names = [*spec.posonlyargs, *spec.args]
    defaults = dict(
        zip([p.arg for p in names[len(names) - len(spec.defaults) :]], spec.defaults, strict=True)
    )
    return defaults.get(name)


def _harmless_default(info: FunctionInfo, name: str) -> bool:
    default = _default_of(info, name)
    return isinstance(default, ast.Constant) and isinstance(default.value, int | float | bool)


def _project_class(frame: Frame, _info: FunctionInfo, annotation: ast.expr | None) -> Class | None:
    if isinstance(annotation, ast.Subscript) and dotted(annotation.value).rpartition(".")[2] == "Annotated":
        inner = annotation.slice
        annotation = inner.elts[0] if isinstance(inner, ast.Tuple) and inner.elts else None
    if not isinstance(annotation, ast.Name | ast.Attribute):
        return None
    value = frame.eval(annotation)
    return value if isinstance(value, Class) else None


def _model(frame: Frame, cls: Class, parameter: ast.arg, kind: OriginKind) -> Value:
    """An object whose fields the caller fills; fields with a harmless type are harmless."""
    harmless = frame.engine.knowledge.harmless_types
    bases = outer_bases(cls)
    if any(base.rpartition(".")[2] in ("Enum", "StrEnum", "IntEnum") for base in bases):
        return opaque("")
    types: dict[str, str] = {}
    _field_types(cls, types)
    attrs: dict[str, Value] = {}
    for name in all_fields(cls):
        if types.get(name, "") in harmless:
            attrs[name] = opaque("")
        else:
            attrs[name] = opaque("", frame.source(parameter, kind, f"{parameter.arg}.{name}"))
        if types.get(name) == "int" and kind is OriginKind.REMOTE and not _bounded_field(cls, name):
            label = f"{parameter.arg}.{name}"
            attrs[name] = opaque("", numbered(frame.source(parameter, kind, label)))
    return frame.state.new(Instance(cls, attrs))


def _bounded_field(cls: Class, name: str) -> bool:
    """Whether the class says how large the number may be."""
    for item in cls.info.node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id == name:
            return _BOUND.search(ast.unparse(item)) is not None
    return re.search(rf"validator\([^)]*['\"]{name}['\"]", ast.unparse(cls.info.node)) is not None


_BOUND = re.compile(r"\b(le|lt|multiple_of)=|conint|confloat|Literal")


def _field_types(cls: Class, types: dict[str, str]) -> None:
    for base in cls.bases:
        if isinstance(base, Class):
            _field_types(base, types)
    for item in cls.info.node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            name = dotted(item.annotation).rpartition(".")[2]
            if isinstance(item.annotation, ast.Subscript) and name == "Literal":
                name = "int"
            types[item.target.id] = name


def standing_instance(frame: Frame, cls: Class) -> Ref:
    """An object of the class as its `__init__` leaves it when nobody knows the arguments."""
    engine = frame.engine
    ref = frame.state.new(Instance(cls, {}))
    found = find_member(cls, "__init__")
    if found is None or not isinstance(found[0], Func) or found[0].info.node in engine.stack:
        return ref
    init = found[0].info
    spec = init.node.args
    count = len(spec.posonlyargs) + len(spec.args) - 1
    live = frame.live
    engine.invoke(frame, Func(init, found[0].closure, ref), [Opaque() for _ in range(count)], {}, init.node)
    frame.live = live
    open_object(frame.state, ref, cls.info)
    return ref
