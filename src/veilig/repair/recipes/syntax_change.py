"""What is a candidate repair of a syntax error, and how is a damaged line read?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

Span = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A syntax error; lines from 1, columns in characters from 0."""

    line: int
    column: int
    end_line: int
    end_column: int
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """Spans of the damaged text to replace, and what that costs against other candidates."""

    cost: float
    title: str
    spans: tuple[Span, ...]


# Complete strings, comments, and single characters between them: enough to read what does not parse.
LEXEME = re.compile(
    r"(?P<string>[rRbBuUfF]{0,2}(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\""
    r"|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"))"
    r"|(?P<comment>\#[^\n]*)|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<word>[^\W\d]\w*)|(?P<number>\d[\w.]*)|(?P<newline>\n)|(?P<space>[^\S\n]+)"
    r"|(?P<operator>\*\*=?|//=?|>>=?|<<=?|->|:=|[-+*/%@&|^<>=!]=|[^\s])",
    re.DOTALL,
)
CLOSERS = {"(": ")", "[": "]", "{": "}"}


def lexemes(text: str, start: int = 0, end: int | None = None) -> Iterator[re.Match[str]]:
    """Tokens of a text that need not parse; an unterminated quote is an operator of one character."""
    return LEXEME.finditer(text, start, len(text) if end is None else end)


def code_end(text: str, start: int, end: int) -> int:
    """Offset behind the last token of [start, end) that is neither a comment nor space."""
    last = start
    for token in lexemes(text, start, end):
        if token.lastgroup not in ("comment", "space", "newline"):
            last = token.end()
    return last


def unclosed(text: str, upto: int) -> list[re.Match[str]]:
    """Opening brackets before `upto` that nothing has closed, outermost first."""
    stack: list[re.Match[str]] = []
    for token in lexemes(text, 0, upto):
        if token.lastgroup == "open":
            stack.append(token)
        elif token.lastgroup == "close" and stack and CLOSERS[stack[-1].group()] == token.group():
            stack.pop()
    return stack


def indent_of(line: str) -> str:
    """The spaces and tabs that a line starts with."""
    return line[: len(line) - len(line.lstrip(" \t"))]
