"""What does a reader see when everything is taken away that only separates, colours or overwrites?

The compact view of a text: lower case, no white space, quotes, brackets, colons or percent signs, no
terminal escapes, no zero-width characters, and without what a backspace or a cursor movement to the left
took back. `View.raw` leads from a position in the view to the byte in the text.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass

SEPARATORS = b" \t\r\n\x0b\x0c\0'\"`,+\\[](){}:%"
ESCAPE_BYTES_MAX = 2048  # a terminal title; a longer one is text
CURSOR_STEPS_MAX = 256  # cursor movements further than a line are not followed
GAP_BYTES_MAX = 256  # two characters further apart than this are not read as neighbours

_LOWER = bytes(range(256)).lower()
_ZERO_WIDTH = rb"\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xa4]|\xef\xbb\xbf|\xc2\xad"
_HAS_ZERO_WIDTH = re.compile(_ZERO_WIDTH)
_SEP = re.escape(SEPARATORS)
_TOKEN = re.compile(
    rb"(?P<osc>\x1b\][^\x07\x1b]{0,%d}(?:\x07|\x1b\\)?)" % ESCAPE_BYTES_MAX
    + rb"|(?P<csi>\x1b\[(?P<count>[0-?]{0,64})[ -/]{0,8}(?P<final>[@-~]))"
    + rb"|(?P<esc>\x1b[^\[\]\x1b]?)|(?P<bs>\x08)|(?P<zero>" + _ZERO_WIDTH + rb")"
    + rb"|(?P<sep>[" + _SEP + rb"]+)"
    + rb"|(?P<keep>[^" + _SEP + rb"\x1b\x08\xe2\xef\xc2]+|[\xe2\xef\xc2])"
)  # fmt: skip
_OPEN_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}|\][^\x07\x1b]{0,%d}\x1b?)?\Z" % ESCAPE_BYTES_MAX)


def compact(data: bytes) -> bytes:
    """The compact view of bytes that hold no escapes and no zero-width characters."""
    return data.translate(_LOWER, SEPARATORS)


def needs_folding(data: bytes) -> bool:
    """Whether the view is more than a deletion of separators."""
    return b"\x1b" in data or b"\x08" in data or (not data.isascii() and bool(_HAS_ZERO_WIDTH.search(data)))


def open_escape(data: bytes) -> int:
    """Where a terminal escape starts that the end of `data` cuts off; len(data) when there is none."""
    at = data.rfind(b"\x1b", max(0, len(data) - ESCAPE_BYTES_MAX - 8))
    if at > 0 and data[at - 1 : at + 1] != b"\x1b\x1b" and data[at:] == b"\x1b":
        opener = data.rfind(b"\x1b]", max(0, at - ESCAPE_BYTES_MAX), at)
        at = opener if opener >= 0 else at
    return at if at >= 0 and _OPEN_ESCAPE.match(data, at) else len(data)


@dataclass(frozen=True, slots=True)
class View:
    """Compact bytes, and for each run of kept bytes where it starts in the view and in the raw bytes."""

    data: bytes
    starts: list[int]
    raw_starts: list[int]

    def raw(self, at: int) -> int:
        """The raw position of view position `at` (which must lie inside the view)."""
        run = bisect_right(self.starts, at) - 1
        return self.raw_starts[run] + at - self.starts[run]

    def pieces(self, start: int, end: int) -> list[tuple[int, int]]:
        """View range [start, end) cut where two neighbours stand more than GAP_BYTES_MAX raw bytes apart."""
        cuts = [start]
        run = bisect_right(self.starts, start)
        while run < len(self.starts) and self.starts[run] < end:
            if self.raw_starts[run] - self.raw(self.starts[run] - 1) > GAP_BYTES_MAX:
                cuts.append(self.starts[run])
            run += 1
        return list(zip(cuts, [*cuts[1:], end], strict=True))


def build(data: bytes) -> View:
    """The view of `data` with its map."""
    runs: list[tuple[int, int, bool]] = []  # raw start, length, kept (separators count as columns, too)
    for token in _TOKEN.finditer(data):
        kind = token.lastgroup
        if kind == "keep":
            runs.append((token.start(), token.end() - token.start(), True))
        elif kind == "sep":
            runs.append((token.start(), token.end() - token.start(), False))
        elif kind == "bs":
            _take_back(runs, 1, data)
        elif kind == "csi" and token["final"] in (b"C", b"D"):
            steps = min(int(token["count"]) if token["count"].isdigit() else 1, CURSOR_STEPS_MAX)
            if token["final"] == b"D":
                _take_back(runs, steps, data)
            elif steps:
                runs.append((token.start(), steps, False))
    starts: list[int] = []
    raw_starts: list[int] = []
    pieces: list[bytes] = []
    at = 0
    for raw, length, kept in runs:
        if kept:
            starts.append(at)
            raw_starts.append(raw)
            pieces.append(data[raw : raw + length])
            at += length
    return View(b"".join(pieces).translate(_LOWER), starts, raw_starts)


def _take_back(runs: list[tuple[int, int, bool]], steps: int, data: bytes) -> None:
    """Drop the last `steps` columns of the current line: what follows overwrites them."""
    while steps and runs:
        raw, length, kept = runs[-1]
        if not kept and b"\n" in data[raw : raw + length] and data[raw] != 0x1B:
            return
        runs.pop()
        if length > steps:
            runs.append((raw, length - steps, kept))
            return
        steps -= length
