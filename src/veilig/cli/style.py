"""How does a line look? Colour carries state, never meaning alone; without a terminal there is none."""

import os
import sys
from typing import TextIO

_CODES = {"good": "32", "warn": "33", "bad": "31", "dim": "2", "bold": "1"}


class Style:
    """Colours for one stream: on for a terminal, off for pipes and when NO_COLOR is set."""

    def __init__(self, stream: TextIO = sys.stdout, *, force: bool | None = None) -> None:
        on = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.on = on if force is None else force
        self.live = stream.isatty()

    def __call__(self, kind: str, text: str) -> str:
        """`text` in the colour of `kind` (good, warn, bad, dim, bold)."""
        return f"\x1b[{_CODES[kind]}m{text}\x1b[0m" if self.on and text else text


def printable(text: str) -> str:
    """One line of foreign text that cannot move the cursor or recolour the terminal."""
    return "".join(c if c.isprintable() else " " for c in text.replace("\n", " ")).strip()


def cut(text: str, width: int) -> str:
    """At most `width` characters, the end replaced by an ellipsis."""
    return text if len(text) <= width else f"{text[: width - 1]}…"
