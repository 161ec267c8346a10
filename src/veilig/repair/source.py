"""Where in a module's text does each piece of its syntax stand, and which names are in reach there?"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from veilig.repair.edit import LineMap, parse

NAMES_MAX = 24  # variables offered at one place; more than a reader could hold in mind
_KEYWORDS_OF_SELF = frozenset({"self", "cls"})

type Function = ast.FunctionDef | ast.AsyncFunctionDef
type Block = list[ast.stmt]


@dataclass(frozen=True, slots=True)
class Unit:
    """An outermost function: the smallest piece that can be compiled and swapped alone.

    start, end: character offsets of whole lines, decorators included. indent: columns.
    classes: names of the classes around it, outermost first.
    """

    path: str
    name: str
    first_line: int
    indent: int
    classes: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Scope:
    """What can be written at one place: names in order of nearness, best first."""

    variables: tuple[str, ...]
    attributes: tuple[str, ...]  # of self or of anything, as this class or function uses them
    callables: tuple[str, ...]  # functions of the module and called names, never methods
    methods: tuple[str, ...]
    integers: tuple[int, ...]
    strings: tuple[str, ...]
    expressions: tuple[str, ...]  # other expressions of the same function, as they are written
    conditions: tuple[str, ...]


class Source:
    """One parsed module with parents, spans and scopes. Raises SyntaxError when the text does not parse."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.tree = parse(text, path)
        self.lines = LineMap(text)
        self.parents: dict[ast.AST, ast.AST] = {}
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
        self._scopes: dict[ast.AST, Scope] = {}
        self._written: dict[ast.AST, dict[str, list[ast.expr]]] = {}
        self._texts: dict[str, list[ast.stmt]] = {}
        self._dotted: dict[str, list[str]] = {}
        self._units: dict[ast.AST, Unit | None] = {}

    def span(self, node: ast.AST) -> tuple[int, int]:
        return self.lines.span(node)

    def segment(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        while (above := self.parents.get(node)) is not None:
            yield above
            node = above

    def function(self, node: ast.AST) -> Function | None:
        """The innermost function around a node."""
        for above in self.ancestors(node):
            if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
                return above
        return None

    def statement(self, node: ast.AST) -> ast.stmt | None:
        if isinstance(node, ast.stmt):
            return node
        return next((above for above in self.ancestors(node) if isinstance(above, ast.stmt)), None)

    def block(self, statement: ast.stmt) -> Block:
        """The list of statements that holds this one."""
        above = self.parents[statement]
        for name in ("body", "orelse", "finalbody"):
            block = getattr(above, name, None)
            if isinstance(block, list) and statement in block:
                return block  # pyright: ignore[reportUnknownVariableType]  # `ast` types fields loosely
        for case in getattr(above, "handlers", []) + getattr(above, "cases", []):
            if statement in case.body:
                return case.body
        return [statement]

    @cached_property
    def statements(self) -> tuple[ast.stmt, ...]:
        return tuple(node for node in ast.walk(self.tree) if isinstance(node, ast.stmt))

    def header_lines(self, statement: ast.stmt) -> list[int]:
        """The lines that belong to the statement itself, without the blocks inside it."""
        lines = list(self._first_lines(statement))
        for handler in getattr(statement, "handlers", []):
            lines.append(handler.lineno)
        return lines

    def _first_lines(self, statement: ast.stmt) -> range:
        first = statement.lineno
        body = getattr(statement, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
            return range(first, max(body[0].lineno, first + 1))
        if isinstance(statement, ast.Match):
            return range(first, max(statement.cases[0].pattern.lineno, first + 1))
        return range(first, (statement.end_lineno or first) + 1)

    def own_nodes(self, statement: ast.stmt) -> Iterator[ast.AST]:
        """The nodes of the statement's header, without the statements in its blocks."""
        stack: list[ast.AST] = [statement]
        while stack:
            node = stack.pop()
            yield node
            children = [one for one in ast.iter_child_nodes(node) if not isinstance(one, ast.stmt)]
            stack.extend(reversed(children))

    def indent_of(self, statement: ast.stmt) -> str:
        start = self.lines.line_start(statement.lineno)
        return self.text[start : self.lines.at(statement.lineno, statement.col_offset)]

    def stands_alone(self, statement: ast.stmt) -> bool:
        """True when the statement has its lines to itself: no `;`, no `if x: y` on one line."""
        start, end = self.span(statement)
        before = self.text[self.lines.line_start(statement.lineno) : start]
        after = self.text[end : self.lines.line_end(statement.end_lineno or statement.lineno)]
        return not before.strip() and (not after.strip() or after.strip().startswith("#"))

    def lines_span(self, statement: ast.stmt) -> tuple[int, int]:
        """Offsets of the statement's whole lines, the last line break included."""
        first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", []))])
        last = statement.end_lineno or statement.lineno
        return self.lines.line_start(first), self.lines.line_start(last + 1)

    def unit(self, node: ast.AST) -> Unit | None:
        """The outermost function around a node; None at module or class level, in defaults and decorators."""
        outer: Function | None = None
        below: ast.AST = node
        for above in self.ancestors(node):
            if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
                outer = above if any(below is one for one in above.body) else None
            below = above
        if outer is None:
            return None
        if outer not in self._units:
            self._units[outer] = self._make_unit(outer)
        return self._units[outer]

    def _make_unit(self, function: Function) -> Unit | None:
        start, end = self.lines_span(function)
        line = self.lines.position(start)[0]
        indent = self.text[start : self.lines.at(line, len(self.text[start:end]))]
        indent = indent[: len(indent) - len(indent.lstrip(" \t"))]
        if "\t" in indent or not self.text[start:end].strip() or ";" in self._before(function):
            return None
        classes = [one.name for one in self.ancestors(function) if isinstance(one, ast.ClassDef)]
        return Unit(self.path, function.name, line, len(indent), tuple(reversed(classes)), start, end)

    def _before(self, function: Function) -> str:
        start = self.span(function)[0]
        return self.text[self.lines.line_start(function.lineno) : start]

    def scope(self, node: ast.AST) -> Scope:
        """The scope of the innermost function around a node (or of the module)."""
        place: ast.AST = self.function(node) or self.tree
        if place not in self._scopes:
            self._scopes[place] = self._make_scope(place)
        return self._scopes[place]

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        return next((one for one in self.ancestors(node) if isinstance(one, ast.ClassDef)), None)

    def _make_scope(self, place: ast.AST) -> Scope:
        called = {id(one.func) for one in ast.walk(place) if isinstance(one, ast.Call)}
        variables: dict[str, None] = {}
        callables: dict[str, None] = {}
        methods: dict[str, None] = {}
        attributes: dict[str, None] = {}
        if isinstance(place, ast.FunctionDef | ast.AsyncFunctionDef):
            variables.update(dict.fromkeys(parameters(place)))
        for one in ast.walk(place):
            if isinstance(one, ast.Name):
                (callables if id(one) in called else variables)[one.id] = None
            elif isinstance(one, ast.Attribute):
                (methods if id(one) in called else attributes)[one.attr] = None
        callables.update(dict.fromkeys(self.functions))
        around = self.class_of(place)
        if around is not None:
            for one in ast.walk(around):
                if not isinstance(one, ast.Attribute) or not isinstance(one.value, ast.Name):
                    continue
                if one.value.id in _KEYWORDS_OF_SELF and one.attr not in methods:
                    attributes[one.attr] = None
        imported = {name for name in variables if name in self.imported}
        kept = [name for name in variables if name not in _KEYWORDS_OF_SELF | imported]
        constants = [one for one in ast.walk(place) if isinstance(one, ast.Constant)]
        strings = dict.fromkeys(one.value for one in constants if isinstance(one.value, str))
        integers = dict.fromkeys(one.value for one in constants if type(one.value) is int)
        return Scope(
            tuple(kept[:NAMES_MAX]),
            tuple(attributes)[:NAMES_MAX],
            tuple(callables)[:NAMES_MAX],
            tuple(methods)[:NAMES_MAX],
            tuple(integers)[:12],
            tuple(one for one in strings if len(one) < 60)[:12],
            self._expressions(place),
            self._conditions(place),
        )

    def _expressions(self, place: ast.AST) -> tuple[str, ...]:
        kinds = (ast.Call, ast.Attribute, ast.Subscript, ast.BinOp)
        found = dict.fromkeys(
            self.segment(one)
            for one in ast.walk(place)
            if isinstance(one, kinds) and isinstance(getattr(one, "ctx", ast.Load()), ast.Load)
        )
        return tuple(one for one in found if len(one) <= 40 and "\n" not in one)[:NAMES_MAX]

    def _conditions(self, place: ast.AST) -> tuple[str, ...]:
        tests = [one.test for one in ast.walk(place) if isinstance(one, ast.If | ast.While | ast.IfExp)]
        found = dict.fromkeys(self.segment(one) for one in tests)
        return tuple(one for one in found if len(one) <= 60 and "\n" not in one)[:12]

    @cached_property
    def functions(self) -> dict[str, Function]:
        """Functions at the module's top level, by name."""
        return {
            one.name: one for one in self.tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    @cached_property
    def constants(self) -> dict[str, ast.stmt]:
        """The last assignment of each name at the module's top level."""
        found: dict[str, ast.stmt] = {}
        for one in self.tree.body:
            targets = one.targets if isinstance(one, ast.Assign) else [getattr(one, "target", None)]
            found.update((target.id, one) for target in targets if isinstance(target, ast.Name))
        return found

    @cached_property
    def signatures(self) -> dict[str, Function]:
        """Every function and method of the module by its bare name; the last definition wins."""
        return {
            one.name: one
            for one in ast.walk(self.tree)
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    def same(self, function: Function, text: str) -> list[ast.expr]:
        """The expressions of a function that read exactly this text, none inside another."""
        if function not in self._written:
            written: dict[str, list[ast.expr]] = {}
            for one in ast.walk(function):
                if isinstance(one, ast.Name | ast.Attribute | ast.Call | ast.Subscript) and isinstance(
                    getattr(one, "ctx", ast.Load()), ast.Load
                ):
                    written.setdefault(self.segment(one), []).append(one)
            self._written[function] = written
        return self._written[function].get(text, [])

    def written(self, text: str) -> list[ast.stmt]:
        """The statements of the module that read exactly this text, in order."""
        if not self._texts:
            for one in self.statements:
                if not hasattr(one, "body"):
                    self._texts.setdefault(self.segment(one), []).append(one)
        return self._texts.get(text, [])

    def dotted(self, base: str) -> list[str]:
        """The attributes that this module takes from a name, as `base.attribute`, in order of appearance."""
        if base not in self._dotted:
            found = {
                f"{base}.{one.attr}": None
                for one in ast.walk(self.tree)
                if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == base
            }
            self._dotted[base] = list(found)
        return self._dotted[base]

    @cached_property
    def imported(self) -> frozenset[str]:
        found: set[str] = set()
        for one in ast.walk(self.tree):
            if isinstance(one, ast.Import | ast.ImportFrom):
                found.update((name.asname or name.name).split(".")[0] for name in one.names)
        return frozenset(found)


def parameters(function: Function) -> list[str]:
    """All parameter names, in order."""
    arguments = function.args
    several = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    stars = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [one.arg for one in several + stars]


def normal(text: str) -> str:
    """The text with runs of blanks made one, for telling repeated candidates apart."""
    return re.sub(r"[ \t]+", " ", text)
