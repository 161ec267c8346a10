"""What does a terminal show of this text? Rows as a reader sees them, without anything that acts on a screen.

A small line model: carriage return, backspace, tab, cursor left, right, up, down and to a column, erasing in
the line and of the screen. Colours, titles, hyperlinks and every other escape disappear. What a program wrote
over is gone, as on the screen.
"""

import re
from typing import Final

COLUMNS_MAX: Final = 4096  # a longer line is broken here
ROWS_MAX: Final = 20_000  # of one piece of output; the oldest go first
UP_MAX: Final = 200  # rows that a program may go back up: a screen, not the whole record
TAB: Final = 8

_TOKEN = re.compile(
    r"\x1b\](?:[^\x07\x1b]{0,4096})(?:\x07|\x1b\\)?"  # title, hyperlink, clipboard
    r"|\x1b[PX^_](?:[^\x1b]{0,4096})(?:\x1b\\)?"  # device strings
    r"|\x1b\[(?P<arg>[0-?]{0,64})[ -/]{0,8}(?P<final>[@-~])"
    r"|\x1b[ -/]{0,8}[0-~]?"
    r"|(?P<control>[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff])"
    r"|(?P<text>[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+)",
    re.DOTALL,
)
_PLAIN = re.compile(
    r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]*\Z"
)


def rendered(text: str) -> str:
    """The rows that `text` leaves on a screen, joined by line feeds."""
    if _PLAIN.match(text):
        return text
    screen = _Screen()
    for token in _TOKEN.finditer(text):
        if token["text"] is not None:
            screen.write(token["text"])
        elif token["control"] is not None:
            screen.control(token["control"])
        elif token["final"] is not None:
            screen.escape(token["arg"], token["final"])
    return screen.text()


class _Screen:
    def __init__(self) -> None:
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0

    def write(self, text: str) -> None:
        at = 0
        while at < len(text):
            if self.column >= COLUMNS_MAX:
                self.line_feed()
                self.column = 0
            part = text[at : at + COLUMNS_MAX - self.column]
            row = self.rows[self.row]
            if len(row) < self.column:
                row.extend(" " * (self.column - len(row)))
            row[self.column : self.column + len(part)] = part
            self.column += len(part)
            at += len(part)

    def control(self, char: str) -> None:
        match char:
            case "\n" | "\x0b" | "\x0c":
                self.line_feed()
                self.column = 0  # what programs print was never in raw mode: a line feed begins a line
            case "\r":
                self.column = 0
            case "\b":
                self.column = max(0, self.column - 1)
            case "\t":
                self.column = min(COLUMNS_MAX - 1, (self.column // TAB + 1) * TAB)
            case _:
                return

    def line_feed(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])
        if len(self.rows) > ROWS_MAX:
            del self.rows[0]
            self.row -= 1

    def escape(self, given: str, final: str) -> None:
        numbers = [int(n) if n.isdigit() else 0 for n in given.split(";")]
        steps = min(max(1, numbers[0]), COLUMNS_MAX)
        row = self.rows[self.row]
        match final:
            case "D":
                self.column = max(0, self.column - steps)
            case "C":
                self.column = min(COLUMNS_MAX - 1, self.column + steps)
            case "G" | "`":
                self.column = min(COLUMNS_MAX - 1, steps - 1)
            case "A" | "F":
                self.row = max(0, len(self.rows) - UP_MAX, self.row - steps)
                self.column = 0 if final == "F" else self.column
            case "B" | "E":
                self.row = min(len(self.rows) - 1, self.row + steps)
                self.column = 0 if final == "E" else self.column
            case "K" if numbers[0] == 0:
                del row[self.column :]
            case "K":
                end = len(row) if numbers[0] == 2 else min(len(row), self.column + 1)
                row[:end] = " " * end
            case "P":
                del row[self.column : self.column + steps]
            case "J" if numbers[0] in (2, 3):
                self.rows, self.row = [[]], 0
            case "J" if numbers[0] == 0:
                del row[self.column :]
                del self.rows[self.row + 1 :]
            case "H" | "f":  # to the top of a screen that we do not have: what follows begins a row
                self.row, self.column = len(self.rows) - 1, 0
            case _:
                return

    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self.rows)
