"""Where in the project did it crash, and which statement, function and expected value belong to it?"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from veilig.repair.denials_paths import is_test_path
from veilig.repair.edit import Edit, LineMap
from veilig.repair.recipes.project_index import tree_of
from veilig.repair.recipes.proposal import Context

type Function = ast.FunctionDef | ast.AsyncFunctionDef
type Draft = tuple[str, tuple[Edit, ...], float]  # title, edits, cost

EMPTY = ("None", "0", "''", "[]", "{}", "False", "()")


@dataclass(frozen=True, slots=True)
class Site:
    """One line of a project file that a failure points at; `expected`: an empty value a test asks for."""

    path: str
    line: int
    lines: LineMap
    tree: ast.Module
    expected: str = ""

    def nodes[T: ast.AST](self, kind: type[T]) -> Iterator[T]:
        """Nodes of a kind that the line is part of, the outermost first."""
        statement = self.statement()
        for node in ast.walk(statement or self.tree):
            if isinstance(node, kind) and self.covers(node):
                yield node

    def covers(self, node: ast.AST) -> bool:
        first = getattr(node, "lineno", None)
        return first is not None and first <= self.line <= (getattr(node, "end_lineno", None) or first)

    def statement(self) -> ast.stmt | None:
        """The innermost statement around the line."""
        around = [n for n in ast.walk(self.tree) if isinstance(n, ast.stmt) and self.covers(n)]
        return max(around, key=lambda n: (n.lineno, -(n.end_lineno or n.lineno))) if around else None

    def function(self) -> Function | None:
        """The innermost function around the line."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        around = [n for n in ast.walk(self.tree) if isinstance(n, kinds) and self.covers(n)]
        return max(around, key=lambda n: n.lineno) if around else None

    def text(self, node: ast.AST) -> str:
        return self.lines.source(node)

    def put(self, node: ast.AST, text: str) -> Edit:
        """Replace a node."""
        return Edit(self.path, *self.lines.span(node), text)

    def before(self, statement: ast.stmt, *rows: str) -> Edit:
        """Whole lines before a statement, with its indentation."""
        start = self.lines.line_start(statement.lineno)
        indent = self.indent(statement)
        return Edit(self.path, start, start, "".join(f"{indent}{row}\n" for row in rows))

    def after(self, statement: ast.stmt, *rows: str) -> Edit:
        """Whole lines behind a statement, with its indentation."""
        end = self.lines.line_end(statement.end_lineno or statement.lineno)
        indent = self.indent(statement)
        return Edit(self.path, end, end, "".join(f"\n{indent}{row}" for row in rows))

    def indent(self, statement: ast.stmt) -> str:
        row = self.lines.line_text(statement.lineno)
        return row[: len(row) - len(row.lstrip())]

    def defaults(self) -> tuple[str, ...]:
        """What a guard may return: the empty value that the test expects, or that the function is about."""
        if self.expected:
            return (self.expected,)
        own = self._returned()
        return (own, "None") if own else ("None",)

    def _returned(self) -> str:
        """The empty value of the one kind that the function returns everywhere; empty when there is none."""
        function = self.function()
        found = [n.value for n in ast.walk(function) if isinstance(n, ast.Return)] if function else []
        kinds = {_EMPTY_OF.get(type(value), "") for value in found if value is not None}
        plain = [value.value for value in found if isinstance(value, ast.Constant)]
        if plain and len(plain) == len(found):
            return "False" if all(isinstance(value, bool) for value in plain) else ""
        return kinds.pop() if len(kinds) == 1 else ""


_EMPTY_OF: dict[type[ast.AST], str] = {
    ast.List: "[]",
    ast.ListComp: "[]",
    ast.Dict: "{}",
    ast.DictComp: "{}",
}


def site_of(context: Context) -> Site | None:
    """The innermost frame in a project file that is no test; None when the failure never was in one."""
    failure = context.failure
    if failure is None:
        return None
    places = [(frame.path, frame.line) for frame in failure.frames] or [(failure.path, failure.line)]
    wanted = next((e for frame in failure.frames if (e := expected(frame.text))), "")
    for path, line in reversed(places):
        tree = tree_of(context.files[path]) if path.endswith(".py") and path in context.files else None
        if tree is not None and not is_test_path(path):
            return Site(path, line, LineMap(context.files[path]), tree, wanted)
    return None


def expected(text: str, *, any_literal: bool = False) -> str:
    """The literal on the right of `assert f() == literal` or `is None`: an empty one, or any one."""
    try:
        (statement,) = ast.parse(text.strip()).body
    except (SyntaxError, ValueError):
        return ""
    if not isinstance(statement, ast.Assert) or not isinstance(statement.test, ast.Compare):
        return ""
    value = statement.test.comparators[-1]
    shown = ast.unparse(value)
    return shown if shown in EMPTY or (any_literal and isinstance(value, ast.Constant)) else ""
