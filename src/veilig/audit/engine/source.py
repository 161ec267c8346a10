"""What modules, classes and functions does the project have, and which names does it call?"""

import ast
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from veilig.audit.engine.walk import FIELDS, own_nodes, walk
from veilig.audit.rows import rows_of

if TYPE_CHECKING:
    from veilig.audit.engine.program import Program

FORGETTABLE = frozenset(
    {
        "tree", "lines", "handlers", "decorated", "functions", "has_yield", "has_outer_names", "injected",
        "annotated", "named",
    }
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Shelf:
    """How many lines were read again since the trees were let go."""

    lines: int = 0


type FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(slots=True, eq=False)
class ModuleInfo:
    """One file. `name` is dotted as seen from the scanned root.

    What takes room (`tree`, `lines`, `functions` and so on) may be forgotten: it is read from `source` again
    when somebody asks.
    """

    path: str
    name: str
    tree: ast.Module
    lines: list[str]
    is_package: bool
    is_test: bool = False
    source: str | None = None
    mentioned: set[str] = field(default_factory=set[str])  # names called or used as a value somewhere
    invoked: set[str] = field(default_factory=set[str])  # names called
    handlers: list[ast.ExceptHandler] = field(default_factory=list[ast.ExceptHandler])
    decorated: list[ast.AST] = field(default_factory=list[ast.AST])
    functions: list[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.ClassDef | None]] = field(
        default_factory=list[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.ClassDef | None]]
    )
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list[ast.Import | ast.ImportFrom])
    has_yield: bool = True
    has_outer_names: bool = True
    injected: frozenset[str] | None = None  # names of annotations that a dependency fills; found when asked
    annotated: "dict[str, ast.Subscript] | None" = None  # names for `Annotated[...]`; found when asked
    shelf: "Shelf | None" = None  # where it is noted that the module was read again
    named: "dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] | None" = None  # functions; when asked

    if not TYPE_CHECKING:  # a checker would take every misspelt name for one of these

        def __getattr__(self, name: str) -> object:
            """What was forgotten, read again. Raises AttributeError for a name that never was."""
            if name not in FORGETTABLE or self.source is None:
                raise AttributeError(name)
            again = parse(self.path, self.source, is_test=self.is_test)
            for item in FORGETTABLE:
                setattr(self, item, getattr(again, item))
            if self.shelf is not None:
                self.shelf.lines += len(again.lines)
            return getattr(self, name)

    def by_name(self, name: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Its functions of that name, in order."""
        if self.named is None:
            self.named = {}
            for node, _ in self.functions:
                self.named.setdefault(node.name, []).append(node)
        return self.named.get(name, [])

    def forget(self) -> None:
        """Let go of what can be read again."""
        for item in FORGETTABLE if self.source is not None else ():
            with suppress(AttributeError):
                delattr(self, item)

    def text(self, line: int) -> str:
        """The source line, 1-based, without its margin."""
        return self.lines[line - 1].strip() if 0 < line <= len(self.lines) else ""


@dataclass(slots=True, eq=False)
class FunctionInfo:
    """One function, method or lambda of the project."""

    module: ModuleInfo
    node: FunctionNode
    name: str
    qualname: str
    owner: "ClassInfo | None" = None
    is_generator: bool = False
    decorators: tuple[str, ...] = ()
    called: bool = False  # somebody in the project calls something of that name
    writes_outside: bool = False  # global or nonlocal names: effects the heap does not show


@dataclass(slots=True, eq=False)
class ClassInfo:
    """One class of the project; `fields` are annotated names in order, for dataclasses and models."""

    module: ModuleInfo
    node: ast.ClassDef
    name: str
    qualname: str
    fields: tuple[str, ...] = ()
    decorators: tuple[str, ...] = ()
    changing: frozenset[str] | None = None  # fields that its methods assign later; found when asked


class UnparsableError(Exception):
    """The file is not Python this interpreter can parse; the text says why."""


def parse(path: str, text: str, *, is_test: bool = False) -> ModuleInfo:
    """The module at `path` (relative, posix). Raises UnparsableError; never lets a hostile file break the
    caller."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, filename=path)
    except SyntaxError as error:
        where = f" (line {error.lineno})" if error.lineno else ""
        raise UnparsableError(
            f"not parsable as Python {sys.version_info[0]}.{sys.version_info[1]}: {error.msg}{where}"
        ) from error
    except ValueError as error:
        raise UnparsableError(f"not parsable: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise UnparsableError("nested too deeply to parse") from error
    lines = rows_of(text)
    module = ModuleInfo(path, module_name(path), tree, lines, path.endswith("__init__.py"), is_test, text)
    module.has_yield = "yield" in text
    module.has_outer_names = "global " in text or "nonlocal " in text
    _survey(module)
    return module


def module_name(path: str) -> str:
    """`pkg/mod.py` -> `pkg.mod`, `pkg/__init__.py` -> `pkg`."""
    parts = list(PurePosixPath(path).with_suffix("").parts)
    if parts and parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def dotted(node: ast.expr | None) -> str:
    """`a.b.c` for a chain of names, calls shown by their callee; empty for anything else."""
    parts: list[str] = []
    while node is not None:
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Name):
            parts.append(node.id)
            return ".".join(reversed(parts))
        elif isinstance(node, ast.Subscript):
            node = node.value
        else:
            return ""
    return ""


def function_info(
    module: ModuleInfo, node: FunctionNode, prefix: str = "", owner: ClassInfo | None = None
) -> FunctionInfo:
    """What the engine needs to know about a function before it runs it."""
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    decorators = () if isinstance(node, ast.Lambda) else tuple(dotted(item) for item in node.decorator_list)
    generator = (
        module.has_yield
        and not isinstance(node, ast.Lambda)
        and any(isinstance(item, ast.Yield | ast.YieldFrom) for item in own_nodes(node))
    )
    qualname = f"{prefix}.{name}" if prefix else name
    outside = module.has_outer_names and any(
        isinstance(item, ast.Global | ast.Nonlocal) for item in walk(node)
    )
    return FunctionInfo(module, node, name, qualname, owner, generator, decorators, writes_outside=outside)


def class_info(module: ModuleInfo, node: ast.ClassDef, prefix: str = "") -> ClassInfo:
    """What the engine needs to know about a class."""
    names = tuple(
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    )
    qualname = f"{prefix}.{node.name}" if prefix else node.name
    return ClassInfo(module, node, node.name, qualname, names, tuple(dotted(d) for d in node.decorator_list))


@dataclass(slots=True, eq=False)
class Project:
    """All parsed modules, found by dotted name the way an import statement would."""

    modules: dict[str, ModuleInfo] = field(default_factory=dict[str, ModuleInfo])
    by_path: dict[str, ModuleInfo] = field(default_factory=dict[str, ModuleInfo])
    by_suffix: dict[str, list[ModuleInfo]] = field(default_factory=dict[str, list[ModuleInfo]])
    packages: set[str] = field(default_factory=set[str])
    namespaces: dict[str, ModuleInfo] = field(default_factory=dict[str, ModuleInfo])
    programs: "dict[str, Program]" = field(default_factory=dict[str, "Program"])

    def add(self, module: ModuleInfo) -> None:
        """Make the module importable and note which names it mentions."""
        self.modules[module.name] = module
        self.by_path[module.path] = module
        parts = module.name.split(".")
        for start in range(len(parts)):
            self.by_suffix.setdefault(".".join(parts[start:]), []).append(module)
            self.packages.add(".".join(parts[:start]))

    def line(self, path: str, number: int) -> str:
        """The source line of any module, without its margin; empty when there is none."""
        module = self.by_path.get(path)
        return module.text(number) if module is not None else ""

    def find(self, name: str, importer: ModuleInfo) -> ModuleInfo | None:
        """The module an absolute import of `name` in `importer` means; None when it is not the project's.

        A module of the standard library is never taken from the project: a file called `random.py` deep in
        a tree must not hide what `import random` does everywhere else.
        """
        if name.partition(".")[0] in sys.stdlib_module_names:
            return None
        found = self.modules.get(name)
        if found is not None:
            return found
        folder = importer.name.rpartition(".")[0]
        while folder:
            found = self.modules.get(f"{folder}.{name}")
            if found is not None:
                return found
            folder = folder.rpartition(".")[0]
        candidates = self.by_suffix.get(name, [])
        return candidates[0] if len(candidates) == 1 else None


def namespace(project: Project, name: str) -> ModuleInfo | None:
    """A package without `__init__.py`; None when no module of the project lies in it."""
    if name not in project.packages:
        return None
    found = project.namespaces.get(name)
    if found is None:
        tree = ast.Module(body=[], type_ignores=[])
        found = project.namespaces[name] = ModuleInfo(f"{name}/", name, tree, [], True)
    return found


def _survey(module: ModuleInfo) -> None:
    """One walk over the tree for everything that is asked about the whole module."""
    mentioned = module.mentioned
    owners: dict[ast.AST, ast.ClassDef] = {}
    stack: list[ast.AST] = [module.tree]
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind is ast.Name:
            mentioned.add(node.id)  # type: ignore[attr-defined]
            continue
        if kind is ast.Constant:
            continue
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute | ast.Name):
                module.invoked.add(function.attr if isinstance(function, ast.Attribute) else function.id)
        if kind is ast.Attribute:
            mentioned.add(node.attr)  # type: ignore[attr-defined]
        elif kind is ast.ExceptHandler:
            module.handlers.append(node)  # type: ignore[arg-type]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module.imports.append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.decorator_list:
                module.decorated.append(node)
            if not isinstance(node, ast.ClassDef):
                module.functions.append((node, owners.pop(node, None)))
            else:
                for item in node.body:
                    if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                        owners[item] = node
        for name in FIELDS[kind]:
            child = getattr(node, name, None)
            if child is None:
                continue
            if child.__class__ is list:
                stack.extend([item for item in child if item is not None])
            else:
                stack.append(child)


def resolve_relative(module: ModuleInfo, level: int, name: str | None) -> str:
    """The absolute dotted name of `from ..name import`."""
    parts = module.name.split(".") if module.name else []
    drop = level - 1 if module.is_package else level
    kept = parts[: len(parts) - drop] if drop else parts
    return ".".join([*kept, name] if name else kept)
