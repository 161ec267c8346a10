"""Which texts were written for the monitor? Reads the files of pairs_written/ (CC0).

A line of a pair holds alternatives, `{harmful|harmless}`; all of a line take the same side, so both sides have one form.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PLACE = Path(__file__).with_name("pairs_written")
ALTERNATIVES = re.compile(r"\{([^{}|]*)\|([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts of one form. group: what a held-out fold leaves out together; style: the file."""

    group: str
    style: str
    harmful: str
    harmless: str


def lines(name: str) -> Iterator[tuple[str, str]]:
    """(heading, line) of a file; lines that start with `# ` at the top of the file are comments."""
    heading = ""
    for line in (PLACE / f"{name}.txt").read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("## "):
            heading = line[3:]
        elif line.strip():
            yield heading, line


def sides(line: str) -> tuple[str, str]:
    """The harmful and the harmless reading of a line. Raises ValueError where they are the same."""
    found = ALTERNATIVES.sub(r"\1", line), ALTERNATIVES.sub(r"\2", line)
    if found[0] == found[1]:
        raise ValueError(f"no alternatives in {line!r}")
    return found


def direct() -> Iterator[Pair]:
    """Every pair written as such."""
    for style in ("requests", "styles", "long"):
        for heading, line in lines(style):
            bad, good = sides(line)
            yield Pair(heading or line[:40], style, bad, good)


def framed() -> Iterator[Pair]:
    """Each act in each frame."""
    frames = [line for _, line in lines("frames")]
    for _, line in lines("acts"):
        technique, _, acts = line.partition(" ")
        harm, care = (part.strip() for part in acts.split(" | "))
        for number, frame in enumerate(frames):
            bad = ALTERNATIVES.sub(r"\1", frame.replace("{act}", harm))
            good = ALTERNATIVES.sub(r"\2", frame.replace("{act}", care))
            yield Pair(f"{technique} {harm[:20]}", f"frame {number}", bad, good)


def harmless() -> Iterator[tuple[str, str]]:
    """(kind of person, text)."""
    yield from lines("harmless")
