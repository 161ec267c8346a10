"""How does a piece of text change without losing its formatting, and what does the diff look like?"""

import ast
import difflib
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from veilig.core.errors import VeiligError

BOM = "\ufeff"
DIFF_CONTEXT_LINES = 3  # what `git diff` shows and `git apply` expects
_LINE_BREAK = re.compile(r"\r\n|\r|\n")  # the breaks that Python's tokenizer counts; form feed is none


class EditError(VeiligError):
    """Edits that overlap, lie outside the text, or name a file that is not there."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters [start, end) of one file; offsets count characters, a BOM included.

    An edit with start == end == 0 on a path that does not exist creates the file.
    """

    path: str
    start: int
    end: int
    replacement: str

    def __post_init__(self) -> None:
        if not self.path or self.path.startswith("/") or ".." in self.path.split("/") or "\\" in self.path:
            raise EditError(
                f"an edit cannot name the path {self.path!r}",
                why="edits name files inside the project, relative and with forward slashes",
                fix="give the path relative to the project root",
            )
        if self.start < 0 or self.end < self.start:
            raise EditError(
                f"{self.path}: the span {self.start}..{self.end} is not a span",
                why="start must be at least 0 and not after end",
                fix="this is a defect of the recipe that made the edit; report it",
            )


@dataclass(frozen=True, slots=True)
class Patch:
    """Edits on several files, and files that go away."""

    edits: tuple[Edit, ...] = ()
    removed: tuple[str, ...] = ()

    def apply(self, files: Mapping[str, str]) -> dict[str, str]:
        """All files after the patch; `files` is left alone.

        Raises EditError when edits overlap, lie outside a file, or name a file that is not there.
        """
        after = dict(files)
        by_path: dict[str, list[Edit]] = {}
        for edit in self.edits:
            by_path.setdefault(edit.path, []).append(edit)
        for path in self.removed:
            if path not in files or path in by_path:
                raise EditError(
                    f"{path}: cannot be removed",
                    why="it does not exist, or the same patch edits it",
                    fix="remove or edit a file, not both",
                )
            del after[path]
        for path, edits in by_path.items():
            text = files.get(path)
            if text is None and any(edit.end for edit in edits):
                raise EditError(
                    f"{path}: no such file",
                    why="only an edit at 0..0 may create a file",
                    fix="read the file again and make the edit anew",
                )
            after[path] = apply(text or "", edits)
        return after


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits done; they may come in any order, offsets belong to the text as given.

    Two insertions at one place keep their order. Raises EditError when spans overlap or leave the text.
    """
    ordered = sorted(edits, key=lambda edit: (edit.start, edit.end))
    parts: list[str] = []
    done = 0
    for edit in ordered:
        if edit.start < done:
            raise EditError(
                f"{edit.path}: edits overlap at character {edit.start}",
                why="two edits change the same characters, so their order would decide the result",
                fix="apply one, read the file again, and propose the other anew",
            )
        if edit.end > len(text):
            raise EditError(
                f"{edit.path}: edit {edit.start}..{edit.end} leaves the text of {len(text)} characters",
                why="the file changed after the edit was made, or the edit names another file",
                fix="read the file again and make the edit anew",
            )
        parts += (text[done : edit.start], edit.replacement)
        done = edit.end
    parts.append(text[done:])
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class LineMap:
    """Character offsets of (line, column), with the columns that `ast` gives: UTF-8 bytes, from 0."""

    text: str
    starts: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        first = 1 if self.text.startswith(BOM) else 0
        starts = (first, *(match.end() for match in _LINE_BREAK.finditer(self.text)))
        object.__setattr__(self, "starts", starts)

    def line_start(self, line: int) -> int:
        """Offset of the first character of a 1-based line; one past the last line is the end of the text."""
        if line - 1 < len(self.starts):
            return self.starts[max(line, 1) - 1]
        return len(self.text)

    def line_end(self, line: int) -> int:
        """Offset just behind the last character of the line, its line break excluded."""
        end = self.line_start(line + 1)
        while end > self.line_start(line) and self.text[end - 1] in "\r\n":
            end -= 1
        return end

    def line_text(self, line: int) -> str:
        return self.text[self.line_start(line) : self.line_end(line)]

    def at(self, line: int, utf8_column: int) -> int:
        """Offset of a 0-based column in UTF-8 bytes, as in `ast` (`col_offset`)."""
        start = self.line_start(line)
        row = self.text[start : self.line_start(line + 1)]
        if row.isascii():
            return start + min(utf8_column, len(row))
        return start + len(row.encode("utf-8", "surrogatepass")[:utf8_column].decode("utf-8", "ignore"))

    def span(self, node: ast.AST) -> tuple[int, int]:
        """[start, end) of an AST node that carries a position, as statements and expressions do."""
        line, column = getattr(node, "lineno", None), getattr(node, "col_offset", None)
        end_line, end_column = getattr(node, "end_lineno", None), getattr(node, "end_col_offset", None)
        if line is None or column is None or end_line is None or end_column is None:
            raise EditError(
                f"a {type(node).__name__} node has no position",
                why="only nodes made by parsing carry one",
                fix="this is a defect of the recipe that asked; report it",
            )
        return self.at(line, column), self.at(end_line, end_column)

    def source(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def position(self, offset: int) -> tuple[int, int]:
        """(1-based line, 0-based column in characters) of an offset."""
        line = max(bisect_right(self.starts, offset), 1)
        return line, max(offset - self.starts[line - 1], 0)


def parse(text: str, path: str = "<text>") -> ast.Module:
    """The module's AST; a BOM is no error. Raises SyntaxError, or ValueError on a null byte."""
    return ast.parse(text.removeprefix(BOM), filename=path)


def newline_of(text: str) -> str:
    """The line break that the text uses first; a newline when it has none."""
    match = _LINE_BREAK.search(text)
    return match.group() if match else "\n"


def unified(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """A diff that `git apply` and `patch -p1` take: changed, new and deleted files, in path order.

    Carriage returns, a BOM and a missing newline at the end of a file are kept as they are.
    """
    return "".join(
        _file_diff(path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    )


def _file_diff(path: str, old: str | None, new: str | None) -> str:
    quoted_a, quoted_b = _quoted(f"a/{path}"), _quoted(f"b/{path}")
    lines = [f"diff --git {quoted_a} {quoted_b}\n"]
    if old is None:
        lines.append("new file mode 100644\n")
    elif new is None:
        lines.append("deleted file mode 100644\n")
    if old or new:
        # A tab ends a name with a space in it; without it `patch` would cut the name.
        tab = "\t" if " " in path else ""
        lines.append("--- /dev/null\n" if old is None else f"--- {quoted_a}{tab}\n")
        lines.append("+++ /dev/null\n" if new is None else f"+++ {quoted_b}{tab}\n")
        lines += _hunks(old or "", new or "")
    return "".join(lines)


def _hunks(old: str, new: str) -> list[str]:
    result: list[str] = []
    hunks = difflib.unified_diff(_lines(old), _lines(new), n=DIFF_CONTEXT_LINES, lineterm="\n")
    for line in list(hunks)[2:]:
        result.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return result


def _lines(text: str) -> list[str]:
    # Only "\n" ends a line in a diff; str.splitlines would also cut at form feeds and lone carriage returns.
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _quoted(name: str) -> str:
    """The name as git writes it: C-quoted when it holds quotes, control or non-ASCII characters."""
    if name.isascii() and name.isprintable() and '"' not in name:
        return name
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    out: list[str] = []
    for byte in name.encode("utf-8", "surrogateescape"):
        char = chr(byte)
        out.append(escapes.get(char) or (char if 32 <= byte < 127 else f"\\{byte:03o}"))
    return f'"{"".join(out)}"'


def edits_between(path: str, old: str, new: str) -> tuple[Edit, ...]:
    """Small edits that turn `old` into `new`: changed runs of lines, cut to the characters that differ."""
    if old == new:
        return ()
    old_lines, new_lines = _lines(old), _lines(new)
    starts = [0]
    for line in old_lines:
        starts.append(starts[-1] + len(line))
    edits: list[Edit] = []
    matcher = difflib.SequenceMatcher(None, old_lines, new_lines, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            continue
        before, after = "".join(old_lines[i1:i2]), "".join(new_lines[j1:j2])
        head = 0
        while head < min(len(before), len(after)) and before[head] == after[head]:
            head += 1
        tail = 0
        while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
            tail += 1
        begin = starts[i1]
        edits.append(Edit(path, begin + head, begin + len(before) - tail, after[head : len(after) - tail]))
    return tuple(edits)
