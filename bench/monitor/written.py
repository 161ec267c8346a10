"""Which texts were written for the monitor? Reads the files of pairs_written/ (CC0).

A line of a pair holds alternatives, `{harmful|harmless}`; all of a line take the same side, so that both
sides have one form.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pairs import everyday, pairs

SOURCES = Path(__file__).parents[2] / "src" / "veilig"
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
    for style in ("requests", "questions", "styles", "long"):
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


@dataclass(frozen=True, slots=True)
class Row:
    """One text to learn from. pair: the number that it shares with its twin; -1: it has none."""

    text: str
    harmful: int
    source: str
    group: str = ""
    pair: int = -1
    train: bool = True


def class_table() -> dict[str, list[str]]:
    """Classes of words: name -> entries."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in PLACE.with_name("concepts.txt").read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("## "):
            name = line[3:]
        else:
            found.setdefault(name, []).extend(line.split())
    return found


def own_rows(prose: list[str]) -> list[Row]:
    """Everything written here. prose: harmless texts.

    Among those and among our own code a part of the pairs is hidden: intent may be one sentence of many.
    """
    dice = random.Random(7)
    code = _code(dice)
    dice.shuffle(code)
    dice.shuffle(prose)
    rows, twins = [], list(direct())
    for at, pair in enumerate([*twins, *framed()]):
        source = "direct" if at < len(twins) else "framed"
        rows += _both(pair.harmful, pair.harmless, source, pair.group, at)
    for at, (technique, _, bad, good) in enumerate(pairs(), 100_000):
        rows += _both(bad, good, "techniques", technique, at)
    for at, pair in enumerate([*twins, *list(framed())[::3]]):
        rest = (code if at % 3 or not prose else prose)[at % 300 % max(1, len(prose))]
        form = (
            "{}\n\n" + rest.replace("{", "").replace("}", "")
            if at % 2
            else rest.replace("{", "").replace("}", "") + "\n\n{}"
        )
        rows += _both(
            form.format(pair.harmful), form.format(pair.harmless), "context", pair.group, 200_000 + at
        )
    rows += [Row(text, 0, "everyday") for text in everyday()]
    rows += [Row(text, 0, "harmless", kind) for kind, text in harmless()]
    return rows + [Row(text, 0, "code") for text in code[300:600]]


def _both(bad: str, good: str, source: str, group: str, pair: int) -> list[Row]:
    return [Row(bad, 1, source, group, pair), Row(good, 0, source, group, pair)]


def _code(dice: random.Random) -> list[str]:
    found: list[str] = []
    for file in sorted(SOURCES.glob("*/*.py"))[::3]:
        text = file.read_text().splitlines()
        found += ["\n".join(text[at : at + dice.randint(8, 40)]) for at in range(0, len(text) - 20, 40)]
    return found
