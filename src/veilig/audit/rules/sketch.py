"""What does a module look like before anything is followed: its functions, their decorators, their text?"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from veilig.audit.engine.source import ModuleInfo, dotted

type FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

WEB = re.compile(
    r"^\s*(?:from|import)\s+(flask|django|fastapi|starlette|aiohttp|tornado|bottle|quart|sanic|"
    r"rest_framework|falcon)\b",
    re.MULTILINE,
)
ROUTE = re.compile(r"(^|\.)(route|get|post|put|patch|delete|api_view|api_route|view|websocket|action)$")
_COMMENT = re.compile(r"(?m)^\s*#.*$|\s#\s.*$")
_VIEW_BASES = re.compile(r"(View|Resource|RequestHandler|HTTPEndpoint|ViewSet|Handler|View\w*Mixin)$")
VIEW_METHODS = frozenset(
    {"get", "post", "put", "patch", "delete", "list", "create", "update", "destroy", "retrieve"}
)


@dataclass(slots=True, eq=False)
class FunctionSketch:
    """One function: `text` is its source with decorators and without comments, `body` without decorators."""

    node: FunctionNode
    text: str
    body: str
    decorators: tuple[str, ...]
    owner: ast.ClassDef | None = None

    @property
    def name(self) -> str:
        """The function's own name."""
        return self.node.name

    @property
    def parameters(self) -> list[str]:
        """Names of all parameters that can be given by name or position."""
        spec = self.node.args
        return [p.arg for p in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]

    def calls(self) -> Iterator[ast.Call]:
        """Every call inside."""
        for node in ast.walk(self.node):
            if isinstance(node, ast.Call):
                yield node


@dataclass(slots=True, eq=False)
class Sketch:
    """One module for rules that look at its shape."""

    module: ModuleInfo
    text: str
    web: str
    functions: list[FunctionSketch] = field(default_factory=list[FunctionSketch])

    def is_view(self, function: FunctionSketch) -> bool:
        """Whether requests reach the function: routed, a method of a view class, or a Django view."""
        if any(ROUTE.search(name) for name in function.decorators) and self.web:
            return True
        owner = function.owner
        if owner is not None:
            bases = [dotted(base) for base in owner.bases]
            return function.name in VIEW_METHODS and any(_VIEW_BASES.search(base) for base in bases)
        return self.web == "django" and function.parameters[:1] == ["request"]


def sketch(module: ModuleInfo) -> Sketch:
    """The sketch of a parsed module. Text of comments is left out: it decides nothing."""
    text = "\n".join(module.lines)
    match = WEB.search(text)
    web = match.group(1) if match else ""
    result = Sketch(module, text, "django" if web == "rest_framework" else web)
    for node, owner in module.functions:
        first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
        last = node.end_lineno or node.lineno
        source = _COMMENT.sub("", "\n".join(module.lines[first - 1 : last]))
        body = _COMMENT.sub("", "\n".join(module.lines[node.lineno - 1 : last]))
        names = tuple(dotted(item) for item in node.decorator_list)
        result.functions.append(FunctionSketch(node, source, body, names, owner))
    return result


def constants(node: ast.AST) -> Iterator[str]:
    """Every literal text inside."""
    for item in ast.walk(node):
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            yield item.value


def last_name(node: ast.expr | None) -> str:
    """The last part of a name, or the constant key of an item: `a.password`, `form["password"]`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        first = node.args[0] if node.args else None
        return str(first.value) if isinstance(first, ast.Constant) else ""
    return ""
