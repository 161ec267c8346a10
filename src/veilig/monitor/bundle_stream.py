"""Which objects does a large bundle hold? Read one at a time: a large feed costs a window of memory."""

import json
from collections.abc import Iterator
from typing import Final, TextIO

WINDOW_CHARS: Final = 1 << 20
OBJECT_CHARS_MAX: Final = 64 << 20  # one object longer than this is no indicator
NUMBER_TAIL: Final = 2
_BLANK: Final = " \t\r\n"


class _Window:
    """A part of the file, moved on as it is read."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, wanted: str) -> None:
        """Go past one character. Raises ValueError for another."""
        if (found := self.peek()) != wanted:
            raise ValueError(f"{wanted!r} expected, {found!r} found")
        self._at += 1

    def value(self) -> object:
        """The next JSON value. Raises ValueError when there is none."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                # a number may go on in the next window: 1 is what is read of "1", "1." and "1e-"
                if end + NUMBER_TAIL < len(self._text) or not self._more():
                    self._at = end
                    return value
            except ValueError:
                # cut in the middle, or wrong: only the rest can tell
                if len(self._text) - self._at > OBJECT_CHARS_MAX or not self._more():
                    raise

    def _more(self) -> bool:
        rest = self._text[self._at :]
        added = self._file.read(max(WINDOW_CHARS, len(rest)))
        if added:
            self._text, self._at = rest + added, 0
        return bool(added)


def objects(file: TextIO) -> Iterator[object]:
    """Each member of the top-level array `objects`, in order.

    Raises ValueError for what is not JSON or not UTF-8, RecursionError for what is nested too deep, and
    LookupError when there is no such array.
    """
    window = _Window(file)
    if window.peek() != "{":
        window.value()
        raise LookupError("the value is no object")
    window.take("{")
    seen = False
    while window.peek() != "}":
        name = window.value()
        if not isinstance(name, str):
            raise ValueError("a name expected")  # noqa: TRY004  # of JSON, not of Python
        window.take(":")
        if name == "objects" and window.peek() == "[":
            if seen:
                raise ValueError("`objects` stands there twice")
            seen = True
            yield from _members(window)
        else:
            window.value()
        if window.peek() != "}":
            window.take(",")
            if window.peek() == "}":
                raise ValueError("a name expected after the comma")
    window.take("}")
    if window.peek():
        raise ValueError("something follows the value")
    if not seen:
        raise LookupError("there is no array `objects`")


def _members(window: _Window) -> Iterator[object]:
    window.take("[")
    while window.peek() != "]":
        yield window.value()
        if window.peek() != "]":
            window.take(",")
            if window.peek() == "]":
                raise ValueError("a value expected after the comma")
    window.take("]")
