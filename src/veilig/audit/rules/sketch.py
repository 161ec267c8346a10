"""What does a module look like before anything is followed: its functions, their decorators, their text?"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from veilig.audit.engine.program import Program, alone
from veilig.audit.engine.source import ModuleInfo, dotted
from veilig.audit.engine.walk import own_nodes, walk

type FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
type Kinds = dict[type[ast.AST], list[ast.AST]]

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
    walked: list[ast.AST] = field(default_factory=list[ast.AST])
    walked_own: list[ast.AST] = field(default_factory=list[ast.AST])
    called: list[ast.Call] | None = None
    given: dict[str, list[ast.expr]] | None = None  # see slices.py
    own_given: dict[str, list[ast.expr]] | None = None
    sorted_nodes: Kinds = field(default_factory=dict[type[ast.AST], list[ast.AST]])
    sorted_own: Kinds = field(default_factory=dict[type[ast.AST], list[ast.AST]])

    @property
    def name(self) -> str:
        """The function's own name."""
        return self.node.name

    @property
    def parameters(self) -> list[str]:
        """Names of all parameters that can be given by name or position."""
        spec = self.node.args
        return [p.arg for p in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]

    @property
    def nodes(self) -> list[ast.AST]:
        """Every node of the function, nested functions included; walked once."""
        if not self.walked:
            self.walked = walk(self.node)
        return self.walked

    @property
    def own(self) -> list[ast.AST]:
        """Every node inside, without those of nested functions and classes; walked once."""
        if not self.walked_own:
            self.walked_own = list(own_nodes(self.node))
        return self.walked_own

    def calls(self) -> list[ast.Call]:
        """Every call inside."""
        if self.called is None:
            self.called = [node for node in self.each(ast.Call) if isinstance(node, ast.Call)]
        return self.called

    def each(self, *kinds: type[ast.AST]) -> list[ast.AST]:
        """Of `nodes` those of these kinds, in order."""
        return _each(self.nodes, self.sorted_nodes, kinds)

    def own_each(self, *kinds: type[ast.AST]) -> list[ast.AST]:
        """Of `own` those of these kinds, in order."""
        return _each(self.own, self.sorted_own, kinds)


@dataclass(slots=True, eq=False)
class Sketch:
    """One module for rules that look at its shape."""

    module: ModuleInfo
    text: str
    web: str
    program: Program
    walked: list[ast.AST] = field(default_factory=list[ast.AST])
    functions: list[FunctionSketch] = field(default_factory=list[FunctionSketch])
    shared: dict[str, object] = field(default_factory=dict[str, object])  # what several rules work out once
    sorted_nodes: Kinds = field(default_factory=dict[type[ast.AST], list[ast.AST]])
    registered: frozenset[str] | None = None

    @property
    def nodes(self) -> list[ast.AST]:
        """Every node of the module; walked once."""
        if not self.walked:
            self.walked = walk(self.module.tree)
        return self.walked

    def each(self, *kinds: type[ast.AST]) -> list[ast.AST]:
        """Of `nodes` those of these kinds, in order."""
        return _each(self.nodes, self.sorted_nodes, kinds)

    def bases_of(self, owner: ast.ClassDef) -> list[str]:
        """Names of the bases of a class, those of base classes of this module included."""
        found: list[str] = []
        waiting = [owner]
        classes = {node.name: node for node in self.module.tree.body if isinstance(node, ast.ClassDef)}
        while waiting:
            for base in waiting.pop().bases:
                name = dotted(base)
                if name not in found:
                    found.append(name)
                    if name in classes:
                        waiting.append(classes[name])
        return found

    def everywhere(self) -> Iterator[ast.AST]:
        """Every node of every module of the program."""
        for module in self.program.modules:
            yield from walk(module.tree)

    @property
    def program_text(self) -> str:
        """The text of the whole program."""
        return self.program.text

    @property
    def after_requests(self) -> frozenset[str]:
        """Names of what the program asks to be called after each request."""
        if self.registered is None:
            found = re.findall(r"after(?:_app)?_request\((\w+)\)", self.program_text)
            self.registered = frozenset(found)
        return self.registered

    def is_view(self, function: FunctionSketch) -> bool:
        """Whether requests reach the function: routed, a method of a view class, or a Django view."""
        if any(ROUTE.search(name) for name in function.decorators) and self.web:
            return True
        owner = function.owner
        if owner is not None:
            return function.name in VIEW_METHODS and any(map(_VIEW_BASES.search, self.bases_of(owner)))
        return self.web == "django" and function.parameters[:1] == ["request"]


def sketch(module: ModuleInfo, program: Program | None = None) -> Sketch:
    """The sketch of a parsed module as part of its program. Comments are left out: they decide nothing."""
    text = "\n".join(module.lines)
    match = WEB.search(text)
    web = match.group(1) if match else ""
    if program is None:
        program = alone(module)
    result = Sketch(module, text, "django" if web == "rest_framework" else web, program)
    renamed = {
        alias.asname: alias.name
        for statement in module.imports
        for alias in statement.names
        if alias.asname and alias.asname != alias.name
    }
    for node, owner in module.functions:
        first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
        last = node.end_lineno or node.lineno
        source = _COMMENT.sub("", "\n".join(module.lines[first - 1 : last]))
        body = _COMMENT.sub("", "\n".join(module.lines[node.lineno - 1 : last]))
        names = tuple(_own_name(dotted(item), renamed) for item in node.decorator_list)
        result.functions.append(FunctionSketch(node, source, body, names, owner))
    return result


def _own_name(name: str, renamed: Mapping[str, str]) -> str:
    """The name without the one that an import gave it."""
    first, dot, rest = name.partition(".")
    return f"{renamed.get(first, first)}{dot}{rest}"


def _each(nodes: list[ast.AST], known: Kinds, kinds: tuple[type[ast.AST], ...]) -> list[ast.AST]:
    """Sorted once by kind: most rules look at one kind in a hundred nodes."""
    if not known and nodes:
        for node in nodes:
            same = known.get(node.__class__)
            if same is None:
                known[node.__class__] = [node]
            else:
                same.append(node)
    there = [kind for kind in kinds if kind in known]
    if len(there) > 1:
        return [node for node in nodes if node.__class__ in there]
    return known[there[0]] if there else []


def constants(node: ast.AST) -> Iterator[str]:
    """Every literal text inside."""
    for item in walk(node):
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            yield item.value


def names_in(function: FunctionSketch, value: ast.AST, rounds: int = 3) -> set[str]:
    """Names and constant keys that make up the value, local variables followed back to what they hold."""
    given: dict[str, list[ast.expr]] = {}
    for node in function.each(ast.Assign, ast.AnnAssign, ast.AugAssign):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    given.setdefault(target.id, []).append(node.value)
    found: set[str] = set()
    fresh: list[ast.AST] = [value]
    for _ in range(rounds):
        names: set[str] = set()
        for item in fresh:
            for part in walk(item):
                if isinstance(part, ast.Name | ast.Attribute | ast.Subscript):
                    name = last_name(part)
                    if name:
                        names.add(name)
        fresh = [expr for name in names - found for expr in given.get(name, ())]
        found |= names
    return found


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
