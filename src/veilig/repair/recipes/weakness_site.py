"""What stands at the place of a finding, and what do the names there mean?"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from veilig.audit.finding import Finding
from veilig.repair.edit import BOM, Edit, LineMap, newline_of, parse
from veilig.repair.recipes.import_edits import import_edit
from veilig.repair.recipes.proposal import Confidence, Needs, Proposal

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Site:
    """One finding in its parsed file, with the other files of the project for context."""

    finding: Finding
    files: Mapping[str, str]
    lines: LineMap
    tree: ast.Module
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict[ast.AST, ast.AST], repr=False)
    names: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    @classmethod
    def at(cls, finding: Finding, files: Mapping[str, str]) -> "Site":
        """The site of a finding; KeyError for an unknown file, SyntaxError for one that does not parse."""
        text = files[finding.path]
        tree = parse(text, finding.path)
        site = cls(finding, files, LineMap(text), tree)
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node):
                site.parents[child] = node
            if isinstance(node, ast.Import):
                for alias in node.names:
                    site.names[alias.asname or alias.name.split(".")[0]] = (
                        alias.name if alias.asname else alias.name.split(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    site.names[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
        return site

    def at_line(self, path: str, line: int, column: int = 0) -> "Site | None":
        """The site of another line, of this file or another one; None when it cannot be read."""
        there = replace(self.finding, path=path, line=line, column=column, end_line=line, end_column=column)
        if path == self.finding.path:
            return replace(self, finding=there)
        try:
            return Site.at(there, self.files)
        except (KeyError, SyntaxError, ValueError, RecursionError):
            return None

    def trail(self) -> Iterator["Site"]:
        """The finding's place, then the places its value passed on the way there, the nearest first."""
        yield self
        seen = {(self.finding.path, self.finding.line)}
        for step in reversed(self.finding.flow):
            if (step.path, step.line) not in seen:
                seen.add((step.path, step.line))
                there = self.at_line(step.path, step.line, step.column)
                if there is not None:
                    yield there

    def source(self, node: ast.AST) -> str:
        """The text of a node as written."""
        return self.lines.source(node)

    def replace(self, node: ast.AST, text: str) -> Edit:
        """An edit that puts `text` in place of a node."""
        start, end = self.lines.span(node)
        return Edit(self.finding.path, start, end, text)

    def insert(self, offset: int, text: str) -> Edit:
        """An edit that inserts text."""
        return Edit(self.finding.path, offset, offset, text)

    def add_import(self, module: str, name: str = "") -> tuple[Edit, ...]:
        """Edits that make `module` or `from module import name` available."""
        return import_edit(self.finding.path, self.lines, self.tree, module, name)

    def uses(self, *modules: str) -> bool:
        """Whether this file imports one of the top-level modules."""
        return any(name.split(".")[0] in modules for name in self.names.values())

    def name_of(self, node: ast.AST) -> str:
        """The dotted name an expression stands for, its first part resolved through the imports."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Call):
            parts.append(f"{self.name_of(node.func)}()")
        elif isinstance(node, ast.Name):
            parts.append(self.names.get(node.id, node.id))
        else:
            parts.append("")
        return ".".join(reversed(parts))

    def nodes[T: ast.AST](self, *kinds: type[T]) -> list[T]:
        """Nodes of some kinds that begin on the finding's lines, the ones nearest to its column first.

        When none begins there, those that span its line, innermost first.
        """
        last = max(self.finding.end_line, self.finding.line)
        begins: list[T] = []
        spans: list[T] = []
        for node in ast.walk(self.tree):
            if not isinstance(node, kinds):
                continue
            first, end = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0) or 0
            if self.finding.line <= first <= last:
                begins.append(node)
            elif first <= self.finding.line <= end:
                spans.append(node)
        begins.sort(key=lambda node: (abs(getattr(node, "lineno", 0) - self.finding.line), self._gap(node)))
        return begins + spans[::-1]

    def _gap(self, node: ast.AST) -> int:
        # The engine's column may be that of the call or that of the argument inside it.
        return abs(getattr(node, "col_offset", 0) - self.finding.column)

    def calls(self, *names: str, suffix: tuple[str, ...] = ()) -> Iterator[ast.Call]:
        """Calls at the finding that have one of the `names`, or whose last part is in `suffix`."""
        for call in self.nodes(ast.Call):
            name = self.name_of(call.func)
            if name in names or (suffix and name.rsplit(".", 1)[-1] in suffix):
                yield call

    def function(self, node: ast.AST) -> Function | None:
        """The function around a node."""
        up = self.parents.get(node)
        while up is not None and not isinstance(up, ast.FunctionDef | ast.AsyncFunctionDef):
            up = self.parents.get(up)
        return up

    def statement(self, node: ast.AST) -> ast.stmt:
        """The innermost statement around a node."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def indent(self, statement: ast.stmt) -> str:
        """The indentation of a statement's line."""
        line = self.lines.line_text(statement.lineno)
        return line[: len(line) - len(line.lstrip(" \t"))]

    def before(self, statement: ast.stmt, rows: list[str]) -> Edit | None:
        """An edit that puts whole lines before a statement; None when the statement shares its line."""
        start = self.lines.line_start(statement.lineno)
        indent = self.indent(statement)
        if self.lines.text[start : self.lines.span(statement)[0]].strip(f" \t{BOM}"):
            return None
        newline = "\r\n" if "\r\n" in self.lines.text else "\n"
        return self.insert(start, "".join(f"{indent}{row}{newline}" for row in rows))

    def assigned(self, name: ast.Name) -> ast.Assign | None:
        """The only assignment of a local name in its function (or module); None when there are more."""
        scope: ast.AST = self.function(name) or self.tree
        found: list[ast.Assign] = []
        for node in ast.walk(scope):
            if isinstance(node, ast.Name) and node.id == name.id and isinstance(node.ctx, ast.Store):
                parent = self.parents[node]
                if not isinstance(parent, ast.Assign) or len(parent.targets) != 1:
                    return None
                found.append(parent)
            elif isinstance(node, ast.arg) and node.arg == name.id:
                return None
        return found[0] if len(found) == 1 else None

    def uses_of(self, name: ast.Name) -> int:
        """How often a local name is read in its function."""
        scope: ast.AST = self.function(name) or self.tree
        return sum(
            isinstance(node, ast.Name) and node.id == name.id and isinstance(node.ctx, ast.Load)
            for node in ast.walk(scope)
        )

    def free_name(self, wish: str) -> str:
        """A name that the file does not use yet."""
        taken = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)} | set(self.names)
        taken |= {node.arg for node in ast.walk(self.tree) if isinstance(node, ast.arg)}
        candidate, number = wish, 2
        while candidate in taken:
            candidate, number = f"{wish}_{number}", number + 1
        return candidate

    def proposal(
        self,
        title: str,
        *edits: Edit,
        cost: float = 1.0,
        confidence: Confidence = Confidence.HIGH,
        decision: str = "",
    ) -> Proposal:
        """A proposal for this finding; a re-scan and the tests decide whether it is good."""
        return Proposal(
            recipe=f"cwe-{self.finding.cwe}",
            title=title,
            path=self.finding.path,
            edits=tuple(self._as_indented(edit) for edit in dict.fromkeys(edits)),
            cost=cost,
            needs=Needs.RESCAN,
            confidence=confidence,
            line=self.finding.line,
            decision=decision,
        )

    def _as_indented(self, edit: Edit) -> Edit:
        """The edit with tabs for its levels of four blanks where the file indents with tabs."""
        text = self.files.get(edit.path, "")
        row = text[text.rfind("\n", 0, edit.start) + 1 :].partition("\n")[0]
        if edit.replacement == "    " and row.startswith("\t"):
            return replace(edit, replacement="\t")
        tabbed = re.sub(r"(?m)^(\t+)((?: {4})+)", lambda m: m[1] + "\t" * (len(m[2]) // 4), edit.replacement)
        return replace(edit, replacement=tabbed)

    def set_keyword(self, call: ast.Call, keyword: str, value: str) -> Edit:
        """An edit that gives a call a keyword argument, in place of the one it has."""
        for item in call.keywords:
            if item.arg == keyword:
                return self.replace(item.value, value)
        end = self.lines.span(call)[1] - 1
        args: list[ast.AST] = [*call.args, *call.keywords]
        if not args:
            return self.insert(end, f"{keyword}={value}")
        return self.insert(*self.more_arguments(call, f"{keyword}={value}"))

    def more_arguments(self, call: ast.Call, text: str) -> tuple[int, str]:
        """Where further arguments go, and their text: on a line of their own where the last one has one."""
        last = max([*call.args, *call.keywords], key=lambda item: self.lines.span(item)[1])
        start, end = self.lines.span(last)
        line = self.lines.line_text(getattr(last, "lineno", call.lineno))
        first = self.lines.text[self.lines.line_start(getattr(last, "lineno", call.lineno)) : start]
        if getattr(last, "lineno", call.lineno) > call.lineno and not first.strip():
            indent = line[: len(line) - len(line.lstrip())]
            return end, f",{newline_of(self.lines.text)}{indent}{text}"
        return end, f", {text}"

    def replace_whole(self, node: ast.AST, text: str) -> Edit:
        """Like `replace`, with the parentheses right around the node."""
        start, end = self.lines.span(node)
        source = self.lines.text
        called = start > 1 and (source[start - 2].isalnum() or source[start - 2] in "_)]")
        if source[start - 1 : start] == "(" and source[end : end + 1] == ")" and not called:
            start, end = start - 1, end + 1
        return Edit(self.finding.path, start, end, text)


def keyword_of(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword argument, None when it is not given."""
    return next((item.value for item in call.keywords if item.arg == name), None)


def is_constant(node: ast.AST | None, value: object) -> bool:
    """Whether a node is the literal `value`, of the same type."""
    return isinstance(node, ast.Constant) and type(node.value) is type(value) and node.value == value
