"""Which instructions does a Dockerfile hold? An own reader: the format is lines with a word in front."""

import json
import re
from dataclasses import dataclass
from typing import cast

from veilig.audit.languages.rule import Place, UnreadableError

WORDS = frozenset(
    {
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
        *("MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    }
)
_INSTRUCTION = re.compile(r"^\s*([A-Za-z]+)(?:\s+(.*))?$", re.DOTALL)
_HEREDOC = re.compile(r"<<-?\s*[\"']?(\w+)[\"']?")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its continuation lines and here-documents joined. `stage`: from 0, -1 before FROM."""

    word: str
    text: str
    line: int
    end_line: int
    stage: int

    def argv(self) -> list[str]:
        """The words, of the JSON form or split at blanks."""
        if self.text.startswith("["):
            try:
                return [str(w) for w in cast("list[object]", json.loads(self.text))]
            except ValueError:
                pass
        return self.text.split()


class Dockerfile:
    """A Dockerfile or Containerfile."""

    def __init__(self, path: str, text: str) -> None:
        """Raises UnreadableError when it holds no instruction at all."""
        self.path = path
        self.lines = text.splitlines()
        self.instructions = tuple(_instructions(self.lines))
        if not any(i.word == "FROM" for i in self.instructions):
            raise UnreadableError("not a Dockerfile: it has no FROM")

    def of(self, *words: str) -> tuple[Instruction, ...]:
        """The instructions of these kinds."""
        return tuple(i for i in self.instructions if i.word in words)

    @property
    def last_stage(self) -> int:
        """The stage that becomes the image."""
        return self.instructions[-1].stage


def place(instruction: Instruction, detail: str = "") -> Place:
    """The whole instruction."""
    return Place(instruction.line, 0, instruction.end_line, 0, detail=detail)


def _instructions(lines: list[str]) -> "list[Instruction]":
    found: list[Instruction] = []
    stage, index = -1, 0
    while index < len(lines):
        first = index
        if not lines[index].strip() or lines[index].lstrip().startswith("#"):
            index += 1
            continue
        parts: list[str] = []
        while index < len(lines):
            row = lines[index]
            index += 1
            if row.lstrip().startswith("#"):
                continue
            parts.append(row.rstrip().removesuffix("\\"))
            if not row.rstrip().endswith("\\"):
                break
        match = _INSTRUCTION.match("\n".join(parts))
        if match is None or match[1].upper() not in WORDS:
            continue
        word, text = match[1].upper(), (match[2] or "").strip()
        heredoc = _HEREDOC.search(text) if word in ("RUN", "COPY", "ADD") else None
        if heredoc:
            while index < len(lines) and lines[index].strip() != heredoc[1]:
                text += f"\n{lines[index]}"
                index += 1
            index += 1
        stage += word == "FROM"
        found.append(Instruction(word, text, first + 1, min(index, len(lines)), stage))
    return found
