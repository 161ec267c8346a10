"""Which change of indentation or block structure may repair a syntax error?"""

import re
from collections.abc import Iterator

from veilig.repair.edit import LineMap, newline_of
from veilig.repair.recipes.syntax_change import Change, Span, Trouble, code_end, indent_of

_AFTER = re.compile(r"on line (\d+)")


def block_changes(lines: LineMap, trouble: Trouble) -> Iterator[Change]:
    """Changes for the messages of IndentationError, and for `await` and `return` outside a function."""
    message = trouble.message
    if "expected an indented block" in message:
        yield from _missing_block(lines, trouble)
    elif "unexpected indent" in message:
        yield from _unexpected_indent(lines, trouble.line)
    elif "unindent does not match" in message or "inconsistent use of tabs" in message:
        yield from _bad_unindent(lines, trouble.line)
    elif "outside async function" in message or "outside of an asynchronous function" in message:
        yield from _make_async(lines, trouble.line)
    elif "outside function" in message:
        yield from _indent_into(lines, trouble.line)
    if "expected 'except' or 'finally' block" in message:
        yield from _close_try(lines, trouble.line)


def _code_line_before(lines: LineMap, line: int) -> int:
    """The nearest line above that holds code; 0 when there is none."""
    for above in range(line - 1, 0, -1):
        row = lines.line_text(above).strip()
        if row and not row.startswith("#"):
            return above
    return 0


def _block(lines: LineMap, line: int) -> list[int]:
    """The line and those below that are indented at least as much, blank lines at the end left out."""
    width = len(indent_of(lines.line_text(line)))
    rows = [line]
    for below in range(line + 1, len(lines.starts) + 1):
        row = lines.line_text(below)
        if row.strip() and len(indent_of(row)) < width:
            break
        if row.strip():
            rows.append(below)
    return rows


def _reindent(lines: LineMap, rows: list[int], old: str, new: str) -> tuple[Span, ...]:
    return tuple(
        (lines.line_start(row), lines.line_start(row) + len(old), new)
        for row in rows
        if lines.line_text(row).startswith(old)
    )


def _missing_block(lines: LineMap, trouble: Trouble) -> Iterator[Change]:
    match = _AFTER.search(trouble.message)
    header = int(match.group(1)) if match else _code_line_before(lines, trouble.line)
    if header == 0:
        return
    outer = indent_of(lines.line_text(header))
    inner = outer + ("\t" if outer.startswith("\t") else "    ")
    row = lines.line_text(trouble.line)
    if row.strip() and indent_of(row) == outer and trouble.line > header:
        siblings = _run_of_siblings(lines, trouble.line, outer)
        yield Change(1.2, "indents the block", _reindent(lines, siblings, outer, inner))
        yield Change(1.4, "indents the line", _reindent(lines, [trouble.line], outer, inner))
    elif row.strip() and trouble.line > header:
        rows = _block(lines, trouble.line)
        yield Change(1.8, "indents the block", _reindent(lines, rows, indent_of(row), inner))
    # A header over several lines ends where its colon stands: the last code line before the error.
    last = max(_code_line_before(lines, trouble.line), header)
    if trouble.line <= header:
        last = header
    at = code_end(lines.text, lines.line_start(last), lines.line_end(last))
    if lines.text[at - 1 : at] == ":":
        tail = lines.line_end(last)
        yield Change(
            1.3, "adds the missing body: pass", ((tail, tail, f"{newline_of(lines.text)}{inner}pass"),)
        )


def _run_of_siblings(lines: LineMap, line: int, outer: str) -> list[int]:
    """Lines from `line` on up to a blank line, a definition or a line further out."""
    rows: list[int] = []
    for below in range(line, len(lines.starts) + 1):
        row = lines.line_text(below)
        if not row.strip() or not row.startswith(outer):
            break
        if (
            below > line
            and indent_of(row) == outer
            and row.lstrip().startswith(("def ", "class ", "@", "async def"))
        ):
            break
        rows.append(below)
    return rows


def _unexpected_indent(lines: LineMap, line: int) -> Iterator[Change]:
    above = _code_line_before(lines, line)
    old = indent_of(lines.line_text(line))
    levels: list[str] = []
    for row in range(above, max(above - 40, 0), -1):
        if lines.line_text(row).strip():
            level = indent_of(lines.line_text(row))
            if level not in levels and len(level) < len(old):
                levels.append(level)
    if not above:
        levels = [""]
    for rank, level in enumerate(levels[:4]):
        rows = _block(lines, line)
        yield Change(1.0 + rank * 0.4, "removes the extra indentation", _reindent(lines, rows, old, level))
        if len(rows) > 1:
            only = _reindent(lines, [line], old, level)
            yield Change(1.3 + rank * 0.4, "removes the extra indentation of one line", only)
    if above:
        # The line above may have lost its colon's block: `else` typed away, or a header without a colon.
        end = code_end(lines.text, lines.line_start(above), lines.line_end(above))
        if lines.text[end - 1 : end] != ":":
            yield Change(1.6, "adds the missing colon", ((end, end, ":"),))


def _bad_unindent(lines: LineMap, line: int) -> Iterator[Change]:
    old = indent_of(lines.line_text(line))
    levels: list[str] = []
    for row in range(line - 1, max(line - 80, 0), -1):
        if lines.line_text(row).strip():
            level = indent_of(lines.line_text(row))
            if level not in levels:
                levels.append(level)
    levels.sort(key=lambda level: abs(len(level.expandtabs(4)) - len(old.expandtabs(4))))
    rows = _block(lines, line)
    for rank, level in enumerate(levels[:4]):
        yield Change(1.0 + rank * 0.3, "aligns the indentation", _reindent(lines, [line], old, level))
        yield Change(
            1.1 + rank * 0.3, "aligns the indentation of the block", _reindent(lines, rows, old, level)
        )


def _make_async(lines: LineMap, line: int) -> Iterator[Change]:
    width = len(indent_of(lines.line_text(line)))
    for above in range(line, 0, -1):
        row = lines.line_text(above)
        match = re.match(r"[ \t]*(?=def\s)", row)
        if match and (len(match.group()) < width or above == line):
            at = lines.line_start(above) + match.end()
            name = row.strip().split("(")[0].removeprefix("def ")
            yield Change(1.5, f"makes {name} an async function", ((at, at, "async "),))
            return


def _indent_into(lines: LineMap, line: int) -> Iterator[Change]:
    """`return` at module level: it and the lines above it up to a definition have lost their indentation."""
    old = indent_of(lines.line_text(line))
    for first in range(line, 0, -1):
        above = _code_line_before(lines, first)
        if not above:
            return
        level = indent_of(lines.line_text(above))
        if len(level) > len(old):
            rows = [row for row in range(first, line + 1) if lines.line_text(row).strip()]
            yield Change(1.2, "indents into the function above", _reindent(lines, rows, old, level))
            return


def _close_try(lines: LineMap, line: int) -> Iterator[Change]:
    """A `try` whose handler lost its indentation or was never written; a bare handler is never offered."""
    row = lines.line_text(line)
    for above in range(line - 1, 0, -1):
        text = lines.line_text(above)
        if text.strip().startswith("try"):
            at = lines.line_start(line)
            yield Change(
                3.0,
                "adds an empty finally",
                ((at, at, f"{indent_of(text)}finally:{newline_of(lines.text)}{indent_of(text)}    pass\n"),),
            )
            if row.strip().startswith(("except", "finally")):
                spans = _reindent(lines, [line], indent_of(row), indent_of(text))
                yield Change(1.0, "aligns the handler with its try", spans)
            return
