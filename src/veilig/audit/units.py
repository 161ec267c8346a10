"""What does each module of one program show, and what was looked at for it?

A module is judged in two steps: it is followed (values, across files), then its shape is looked at. The
results are plain data: they travel between processes and into the memory, and say what they depend on.
"""

import ast
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from veilig.audit.detect import Detector, Hit
from veilig.audit.engine.frame import Engine
from veilig.audit.engine.program import Facts, build, facts_of, joined, spelt_import
from veilig.audit.engine.run import follow_unit, new_engine
from veilig.audit.engine.source import ModuleInfo, Project, Shelf, UnparsableError, module_name, parse
from veilig.audit.finding import Confidence, Incomplete, Severity, Skipped, Step
from veilig.audit.options import TEST_PATH, ScanConfig
from veilig.audit.rows import rows_of
from veilig.audit.rules.rule import Rule
from veilig.audit.shapes import look_at_shapes

NOBODY = frozenset[str]()
LINES_PREPARED_MAX = 60_000  # kept from finding the facts: room is left for what the first modules import
LINES_HELD_MAX = 100_000  # then trees and values are let go: what is needed again is read again

type Texts = Mapping[str, str]
type Stop = tuple[str, int, int, str]
type Row = tuple[str, str, str, int, int, int, int, str, str, str, list[Stop]]


@dataclass(slots=True, eq=False)
class Part:
    """What one step showed: hits as rows, what was not followed, paths and questions it depends on."""

    hits: "list[Row]" = field(default_factory=list["Row"])
    incomplete: list[list[str]] = field(default_factory=list[list[str]])
    touched: list[str] = field(default_factory=list[str])
    asked: list[str] = field(default_factory=list[str])


@dataclass(slots=True, eq=False)
class Unit:
    """One module, judged: followed, and looked at (nothing for a test module)."""

    flow: Part
    shape: Part


@dataclass(slots=True, eq=False)
class FileFacts:
    """What is known of a file without reading it: a reason when it is not analysed, else its facts."""

    skipped: str
    lines: int
    facts: Facts | None


class World:
    """The modules of one program and everything that is shared while they are judged."""

    def __init__(
        self, texts: Texts, config: ScanConfig, known: Mapping[str, FileFacts] | None = None
    ) -> None:
        """known: of files whose text is the same as when it was found."""
        self.texts = texts
        self._config = config
        self.files: dict[str, FileFacts] = dict(known or {})
        self._modules: dict[str, ModuleInfo] = {}
        self._engine: Engine | None = None
        self._members: dict[str, frozenset[str]] | None = None
        self._shelf = Shelf()
        self._rules = {rule.id: rule for rule in config.rules}

    def prepare(self, lines_held_max: int = LINES_PREPARED_MAX) -> int:
        """Find the facts of what nobody knows yet, so that a child process need not; trees beyond the bound
        are let go again. Returns the lines whose trees are held.
        """
        held = 0
        for path in sorted(self.texts):
            if path in self._modules or not self._enter(path):
                continue
            held += self.files[path].lines
            if held > lines_held_max:
                self._modules[path].forget()
        self._shelf.lines += min(held, lines_held_max)
        return min(held, lines_held_max)

    def judge(self, paths: Iterable[str], old: Mapping[str, Unit], deadline: float) -> dict[str, Unit]:
        """These modules in order; steps that `old` holds are taken over (a step that was not kept is absent).

        deadline: by time.monotonic(); what comes later is reported as not followed.
        """
        self.prepare()
        judged: dict[str, Unit] = {}
        for path in paths:
            module = self._modules.get(path)
            if module is None:
                continue
            if self._shelf.lines > LINES_HELD_MAX:
                self.forget()
            engine = self._ready()
            judged[path] = self._judge(engine, module, old.get(path), deadline)
        return judged

    def _enter(self, path: str) -> bool:
        """Whether the file had to be read."""
        text, known = self.texts[path], self.files.get(path)
        is_test = not self._config.include_tests and TEST_PATH.search(path) is not None
        if known is not None and known.facts is not None:
            self._modules[path] = unread(path, text, known.facts, is_test=is_test)
            self._modules[path].shelf = self._shelf
            return False
        elif known is not None:
            return False
        else:
            try:
                module = _parsed(path, text, self._config, is_test=is_test)
            except UnparsableError as error:
                self.files[path] = FileFacts(str(error), 0, None)
                return False
            self.files[path] = FileFacts("", len(module.lines), facts_of(module))
            self._modules[path] = module
            module.shelf = self._shelf
            return True

    def _ready(self) -> Engine:
        if self._engine is None:
            facts = {p: f.facts for p, f in self.files.items() if f.facts is not None}
            project: Project = build(self._modules, facts)
            detector = Detector(self._config.rules, Lines(self._modules))
            self._engine = new_engine(project, self._config.knowledge, detector)
        return self._engine

    def forget(self) -> None:
        """Let go of trees and values: what is needed again is read again."""
        if self._engine is not None:
            self._engine.let_go()
        self._engine, self._shelf.lines = None, 0
        for module in self._modules.values():
            module.forget()

    def _judge(self, engine: Engine, module: ModuleInfo, old: Unit | None, deadline: float) -> Unit:
        detector = engine.listener
        assert isinstance(detector, Detector)
        flow = old.flow if old is not None else None
        if flow is None or flow.touched == []:
            unit = follow_unit(engine, module, lambda: time.monotonic() > deadline)
            own = sorted(path for path in unit.notes.touched if path in self.texts)
            flow = Part(rows(unit.told.values()), notices(unit.incomplete), own, sorted(unit.notes.asked))
        shape = old.shape if old is not None else Part()
        if module.is_test:
            return Unit(flow, Part(touched=[module.path]))
        if shape.touched == []:
            program = engine.project.programs[module.path]
            program.asked = set()
            detector.turn(None)
            failed = look_at_shapes(module, detector, self._config.rules, program)
            shape = Part(
                rows(detector.turn(None).values()), notices(failed), [module.path], sorted(program.asked)
            )
        return Unit(flow, shape)

    def members(self, path: str) -> frozenset[str]:
        """The paths of the program that the file is in; nothing for a file that is not analysed."""
        if self._members is None:
            self.prepare()
            self._members = {}
            for group in self._groups():
                paths = frozenset(module.path for module in group)
                self._members |= dict.fromkeys(paths, paths)
        return self._members.get(path, NOBODY)

    def _groups(self) -> list[list[ModuleInfo]]:
        project = Project()
        for path in sorted(self._modules):
            project.add(self._modules[path])
        return joined(project)

    def is_test(self, path: str) -> bool:
        """Whether the file is read, but not reported on."""
        outside = not self._config.include_tests and TEST_PATH.search(path) is not None
        return outside and not self.files[path].skipped

    def hits(self, part: Part, lines: "TextLines") -> list[Hit]:
        """The hits of a part, as they were; those of rules that are not there any more are left out."""
        return [hit_of(row, self._rules[row[0]], lines) for row in part.hits if row[0] in self._rules]


def _parsed(path: str, text: str, config: ScanConfig, *, is_test: bool) -> ModuleInfo:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise UnparsableError("not a relative path inside the root")
    if len(text) > config.file_bytes_max:
        raise UnparsableError(f"larger than {config.file_bytes_max} characters")
    return parse(path, text, is_test=is_test)


def unread(path: str, text: str, facts: Facts, *, is_test: bool) -> ModuleInfo:
    """A module that is read when somebody asks."""
    module = ModuleInfo(path, module_name(path), _NOTHING, [], path.endswith("__init__.py"), is_test, text)
    module.imports = list(map(spelt_import, facts.imports))
    module.forget()
    return module


_NOTHING = ast.Module([], [])


@dataclass(slots=True, eq=False)
class Lines:
    """Source lines by path."""

    modules: Mapping[str, ModuleInfo]

    def get(self, path: str, default: list[str], /) -> list[str]:
        """The lines, or the default when there is no such module."""
        module = self.modules.get(path)
        return module.lines if module is not None else default


@dataclass(slots=True, eq=False)
class TextLines:
    """Source lines by path, of texts nobody parsed."""

    texts: Texts
    split: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def get(self, path: str, default: list[str], /) -> list[str]:
        """The lines, or the default when there is no such text."""
        if path not in self.split:
            self.split[path] = rows_of(self.texts[path]) if path in self.texts else default
        return self.split[path]


def rows(hits: Iterable[Hit]) -> "list[Row]":
    """Hits as plain data, without source lines."""
    return [
        (
            hit.rule.id, hit.frame_path, hit.scope, *_place(hit.node), hit.message, hit.severity.value,
            hit.confidence.value, [(step.path, step.line, step.column, step.what) for step in hit.flow],
        )
        for hit in hits
    ]  # fmt: skip


def _place(node: ast.AST) -> tuple[int, int, int, int]:
    line: int = getattr(node, "lineno", 1)
    column: int = getattr(node, "col_offset", 0)
    end: int = getattr(node, "end_lineno", None) or line
    return line, column, end, getattr(node, "end_col_offset", None) or column


def hit_of(row: "Row", rule: Rule, lines: Lines | TextLines) -> Hit:
    """The hit a row stands for; its node knows its place only."""
    _, path, scope, line, column, end, end_column, message, severity, confidence, flow = row
    node = ast.Pass(lineno=line, col_offset=column, end_lineno=end, end_col_offset=end_column)
    steps: list[Step] = []
    for at, number, where, what in flow:
        there = lines.get(at, [])
        text = there[number - 1].strip()[:200] if 0 < number <= len(there) else ""
        steps.append(Step(at, number, where, text, what))
    return Hit(rule, path, scope, node, message, Severity(severity), Confidence(confidence), tuple(steps))


def notices(incomplete: Sequence[Incomplete]) -> list[list[str]]:
    """Notices as plain data."""
    return [[item.path, item.function, item.reason] for item in incomplete]


def skipped_of(files: Mapping[str, FileFacts]) -> list[Skipped]:
    """The files that are not analysed, in path order."""
    return [Skipped(path, files[path].skipped) for path in sorted(files) if files[path].skipped]
