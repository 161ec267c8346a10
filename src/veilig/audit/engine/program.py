"""Which modules are one program, and what does the program as a whole say when a rule asks?

Whoever asks about the whole is written down with the question (`asked`): an answer may be used again as long
as the same question has the same answer.
"""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import ModuleInfo, Project, resolve_relative
from veilig.audit.rows import rows_of

type Defined = tuple[str, str, str]  # name, class it stands in ("" for none), digest of its text
type Definition = ast.FunctionDef | ast.AsyncFunctionDef

EVERYTHING = "*"  # the question that any change may answer differently


@dataclass(slots=True, eq=False)
class Facts:
    """What the other files of a program may ask about one file, known without reading it again."""

    invoked: frozenset[str]
    mentioned: frozenset[str]
    defined: tuple[Defined, ...]  # functions, in order
    imports: tuple[str, ...]  # as `_spelt` writes them


def facts_of(module: ModuleInfo) -> Facts:
    """The facts of a parsed module."""
    defined = tuple(
        (node.name, owner.name if owner is not None else "", _digest(module, node))
        for node, owner in module.functions
    )
    imports = tuple(map(_spelt, module.imports))
    return Facts(frozenset(module.invoked), frozenset(module.mentioned), defined, imports)


def _digest(module: ModuleInfo, node: Definition) -> str:
    first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
    text = "\n".join(module.lines[first - 1 : node.end_lineno])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _spelt(node: ast.Import | ast.ImportFrom) -> str:
    names = " ".join(alias.name for alias in node.names)
    return names if isinstance(node, ast.Import) else f"{node.level} {node.module or '-'} {names}"


def spelt_import(text: str) -> ast.Import | ast.ImportFrom:
    """The statement that `_spelt` wrote. Raises ValueError for anything else."""
    first, *rest = text.split(" ")
    if not first.isdigit():
        return ast.Import([ast.alias(name) for name in (first, *rest)])
    module, *names = rest
    return ast.ImportFrom(None if module == "-" else module, [ast.alias(name) for name in names], int(first))


@dataclass(slots=True, eq=False)
class _Names:
    """Last names of everything called or passed on, for `name in mentioned`."""

    program: "Program"

    def __contains__(self, name: str) -> bool:
        self.program.asked.add(f"u:{name}")
        return name in self.program.mentioned_names


@dataclass(slots=True, eq=False)
class _Functions:
    """The functions of the program by name."""

    program: "Program"

    def only(self, name: str) -> Definition | None:
        """The function of that name, when there is one only; others are not read for it."""
        self.program.asked.add(f"d:{name}")
        where = self.program.defined.get(name)
        if where is None or len(where) > 1:
            return None
        found = where[0].by_name(name)
        return found[0] if len(found) == 1 else None

    def get(self, name: str, default: list[Definition]) -> list[Definition]:
        """Every function of that name, in path order."""
        self.program.asked.add(f"d:{name}")
        where = self.program.defined.get(name)
        if where is None:
            return default
        return [node for module in where for node in module.by_name(name)]


@dataclass(slots=True, eq=False)
class Program:
    """Modules that belong together: what one of them calls, another may define."""

    called: set[str] = field(default_factory=set[str])  # last names of everything called
    mentioned_names: set[str] = field(default_factory=set[str])  # and of what is passed on
    members: list[ModuleInfo] = field(default_factory=list[ModuleInfo])
    defined: dict[str, list[ModuleInfo]] = field(default_factory=dict[str, list[ModuleInfo]])
    methods: dict[str, list[tuple[ModuleInfo, str]]] = field(
        default_factory=dict[str, list[tuple[ModuleInfo, str]]]
    )
    asked: set[str] = field(default_factory=set[str])
    whole: str | None = None
    found: dict[str, str] = field(default_factory=dict[str, str])  # pattern -> path of the first that has it
    kept: dict[str, object] = field(default_factory=dict[str, object])

    @property
    def mentioned(self) -> _Names:
        """For `name in mentioned`: whether anything of that name is called or passed on."""
        return _Names(self)

    @property
    def functions(self) -> _Functions:
        """Its functions by name."""
        return _Functions(self)

    @property
    def modules(self) -> list[ModuleInfo]:
        """All its modules, in path order."""
        self.asked.add(EVERYTHING)
        return self.members

    @property
    def answers(self) -> dict[str, object]:
        """What rules worked out about the whole."""
        self.asked.add(EVERYTHING)
        return self.kept

    @property
    def text(self) -> str:
        """The source of all its modules, joined once."""
        self.asked.add(EVERYTHING)
        if self.whole is None:
            self.whole = "\n".join(line for module in self.members for line in rows_of(module.source or ""))
        return self.whole

    def has(self, pattern: str) -> bool:
        """Whether the regular expression is found anywhere in the source; searched once per pattern."""
        where = self.found.get(pattern)
        if where is None:
            found = (m.path for m in self.members if search(pattern, m.source or ""))
            where = self.found[pattern] = next(found, "")
        self.asked.add(f"h:{where}\n{pattern}")
        return where != ""

    def add(self, module: ModuleInfo, facts: Facts) -> None:
        """Note which names the module mentions, and which methods it defines."""
        self.called |= facts.invoked
        self.mentioned_names |= facts.mentioned
        self.members.append(module)
        for name in dict.fromkeys(name for name, _, _ in facts.defined):
            self.defined.setdefault(name, []).append(module)
        for name, owner, _ in facts.defined:
            if owner and not name.startswith("__"):
                self.methods.setdefault(name, []).append((module, owner))


def _imported(project: Project, module: ModuleInfo) -> Iterator[ModuleInfo]:
    for node in module.imports:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = resolve_relative(module, node.level, node.module) if node.level else node.module or ""
            names = [base, *(f"{base}.{alias.name}" if base else alias.name for alias in node.names)]
        for name in names:
            found = project.modules.get(name) or project.find(name, module)
            if found is not None:
                yield found


def joined(project: Project) -> list[list[ModuleInfo]]:
    """Modules of one folder, and modules that import one another, are one program; a tree may hold many."""
    leader: dict[str, str] = {}

    def find(path: str) -> str:
        while leader.setdefault(path, path) != path:
            leader[path] = leader[leader[path]]
            path = leader[path]
        return path

    for module in project.by_path.values():
        folder = str(PurePosixPath(module.path).parent)
        leader[find(module.path)] = find(f"{folder}/")
        for other in _imported(project, module):
            leader[find(other.path)] = find(module.path)
    groups: dict[str, list[ModuleInfo]] = {}
    for module in project.by_path.values():
        groups.setdefault(find(module.path), []).append(module)
    return list(groups.values())


def join_programs(project: Project, facts: Mapping[str, Facts]) -> None:
    """Make the project's programs; facts: of every module by path."""
    for group in joined(project):
        program = Program()
        for module in group:
            program.add(module, facts[module.path])
            project.programs[module.path] = program


def build(modules: Mapping[str, ModuleInfo], facts: Mapping[str, Facts] | None = None) -> Project:
    """A project of these modules, in path order; `facts` of those that were not read."""
    project = Project()
    for path in sorted(modules):
        project.add(modules[path])
    known: Mapping[str, Facts] = facts if facts is not None else {}
    join_programs(project, {p: known[p] if p in known else facts_of(m) for p, m in modules.items()})
    return project


def alone(module: ModuleInfo) -> Program:
    """A program of one module."""
    program = Program()
    program.add(module, facts_of(module))
    return program
