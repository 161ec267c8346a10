"""How does the text of veilig.yaml become values that know where they stand?

A strict subset of YAML: one document of mappings, lists and scalars. Tags, anchors, aliases, merges,
duplicate keys and words that other YAML readers take for booleans or odd numbers are problems, not guesses.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from veilig.core.errors import PolicyError

POLICY_BYTES_MAX = 1 << 20  # 1 MiB: a policy nobody can read is no policy
DEPTH_MAX = 24  # the schema needs 8; deeper text is an attack on the reader
PROBLEMS_SHOWN = 10  # one screen; the rest is counted
LINE_CHARS_SHOWN = 140  # of the source line under a problem

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,17}")
# What YAML 1.1 or 1.2 readers disagree about: refused wherever it stands without quotes.
_DOUBTFUL = re.compile(
    r"(?i:yes|no|on|off|y|n|true|false|null|~)"
    r"|[-+]?\.(?i:inf|nan)|[-+]?[0-9][0-9_]*(:[0-9_]+)+(\.[0-9_]*)?"
    r"|[-+]?0[xX][0-9a-fA-F_]+|[-+]?0[oO]?[0-7_]+|[-+]?[0-9][0-9_]*\.?[0-9_]*([eE][-+]?[0-9]+)?"
    r"|[-+]?\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|=|<<"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something stands: line and column from 1, width in characters."""

    line: int
    column: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value: text, a whole or decimal number, or a boolean."""

    mark: Mark
    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    mark: Mark
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping: key -> where the key stands, and its value."""

    mark: Mark
    fields: "dict[str, tuple[Mark, Node]]"


@dataclass(frozen=True, slots=True)
class Broken:
    """Something already reported: nobody needs to hear of it twice."""

    mark: Mark


type Node = Scalar | Items | Fields | Broken


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a policy file, with the line it stands on."""

    source: str
    mark: Mark
    what: str
    expected: str = ""
    fix: str = ""
    line: str = ""

    def __str__(self) -> str:
        at = f"{self.source}:{self.mark.line}:{self.mark.column}"
        text = [f"{at}: {self.what}"]
        shown = printable(self.line[:LINE_CHARS_SHOWN])
        if shown.strip() and self.mark.column <= LINE_CHARS_SHOWN:
            gutter = f"{self.mark.line:>5} | "
            width = max(1, min(self.mark.width, len(shown) - self.mark.column + 1))
            text += [gutter + shown, " " * (len(gutter) + self.mark.column - 1) + "^" * width]
        if self.expected:
            text.append(f"  expected: {self.expected}")
        if self.fix:
            text.append(f"  fix: {self.fix}")
        return "\n".join(text)


class PolicyFileError(PolicyError):
    """The file does not validate; `problems` are all that were found, in the order of the file."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        shown = [str(p) for p in problems[:PROBLEMS_SHOWN]]
        if len(problems) > PROBLEMS_SHOWN:
            shown.append(f"and {len(problems) - PROBLEMS_SHOWN} more")
        super().__init__(
            "\n".join([f"{source} does not validate: {count}", *shown]),
            why="a policy that cannot be read whole stops every change; the last good one is not used",
            fix=f"correct it, then run `veilig policy check {source}`",
        )
        self.problems = problems


@dataclass(slots=True)
class Source:
    """The text of one file and the problems found in it so far."""

    name: str
    text: str
    lines: list[str]
    problems: list[Problem] = field(default_factory=list[Problem])

    def report(self, mark: Mark, what: str, expected: str = "", fix: str = "") -> Broken:
        """Note a problem and stand in for the value that has it."""
        line = self.lines[mark.line - 1] if 0 < mark.line <= len(self.lines) else ""
        self.problems.append(Problem(self.name, mark, what, expected, fix, line))
        return Broken(mark)

    def stop_if_invalid(self) -> None:
        """Raises PolicyFileError when there are problems."""
        if self.problems:
            ordered = sorted(self.problems, key=lambda p: (p.mark.line, p.mark.column))
            raise PolicyFileError(self.name, tuple(ordered))


def printable(text: str) -> str:
    """The same text with one visible character for each that a terminal would obey."""
    return "".join(c if c.isprintable() else ("\ufffd", " ")[c == "\t"] for c in text)


def open_source(data: bytes | str, name: str) -> Source:
    """The text of a policy. Raises PolicyFileError when it is too large, empty or not UTF-8."""
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    if len(data) > POLICY_BYTES_MAX:
        raise _refused(name, f"the file has {len(data)} bytes", f"at most {POLICY_BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _refused(name, f"byte {error.start} is not UTF-8", "UTF-8 text", line) from error
    return Source(name, text, text.split("\n"))


def _refused(name: str, what: str, expected: str, line: int = 1) -> PolicyFileError:
    source = Source(name, "", [])
    source.report(Mark(line, 1), what, expected)
    return PolicyFileError(name, tuple(source.problems))


def read_nodes(source: Source) -> Node:
    """The one document in `source`. Raises PolicyFileError when the text is no YAML of our subset."""
    import yaml

    for number, line in enumerate(source.lines, 1):
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        if "\t" in indent and line.strip():
            mark = Mark(number, indent.index("\t") + 1)
            source.report(mark, "a tab in the indentation", "spaces", "replace the tab by spaces")
    source.stop_if_invalid()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = _Reader(source, yaml.parse(source.text, Loader=loader), yaml).document()
    except yaml.YAMLError as error:
        mark, what, expected = _foreign(error)
        if mark.line > len(source.lines):  # the text ended too early: show where
            mark = Mark(len(source.lines), len(source.lines[-1]) + 1)
        node = source.report(mark, what, expected)
    except (ValueError, OverflowError, RecursionError) as error:  # PyYAML lets these out for bad escapes
        node = source.report(Mark(1, 1), f"this is no YAML: {error}", "a mapping of keys to values")
    return node


def _foreign(error: Any) -> tuple[Mark, str, str]:
    at = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    mark = Mark(at.line + 1, at.column + 1) if at is not None else Mark(1, 1)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
    return mark, f"this is no YAML: {printable(str(what))}", "a mapping of keys to values"


class _Reader:
    """Turns PyYAML's events into nodes; bounded in depth, and every surprise is reported where it stands."""

    def __init__(self, source: Source, events: Iterator[Any], yaml: Any) -> None:
        self._source = source
        self._events = events
        self._yaml = yaml

    def document(self) -> Node:
        """The only document; a second one is reported."""
        yaml, node = self._yaml, None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    what, fix = "a second document", "keep one policy in one file"
                    self._source.report(_mark(event), what, "the end of the file", fix)
                    return node
            elif isinstance(event, yaml.NodeEvent):
                node = self._node(event, 0)
                if isinstance(node, Broken):
                    return node
        if node is None:
            fix = "write at least `mode: propose`; without a file the built-in policy holds"
            return self._source.report(Mark(1, 1), "the file is empty", "a mapping of keys to values", fix)
        return node

    def _node(self, event: Any, depth: int) -> Node:
        yaml, mark = self._yaml, _mark(event)
        if isinstance(event, yaml.AliasEvent):
            return self._source.report(mark, f"alias *{event.anchor}", "a value", "write the value out")
        if event.anchor is not None:
            self._source.report(mark, f"anchor &{event.anchor}", "a value", "remove the anchor")
        if event.tag is not None:
            self._source.report(mark, f"tag {event.tag!r}", "a value without a tag", "remove the tag")
        if depth > DEPTH_MAX:
            self._source.report(mark, f"nested deeper than {DEPTH_MAX} levels", "a flatter file")
            self._source.stop_if_invalid()
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, mark)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(event, depth + 1))
            return Items(mark, tuple(items))
        return self._mapping(mark, depth)

    def _mapping(self, mark: Mark, depth: int) -> Node:
        fields: dict[str, tuple[Mark, Node]] = {}
        while not isinstance(event := next(self._events), self._yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if isinstance(key, Broken):
                continue
            if not isinstance(key, Scalar) or not isinstance(key.value, str):
                self._source.report(key.mark, "a key that is no text", "a name", "put it in quotes")
            elif key.value in fields:
                first = fields[key.value][0].line
                fix = "keep one of the two"
                self._source.report(key.mark, f"key {key.value!r} stands twice", f"only line {first}", fix)
            else:
                fields[key.value] = (key.mark, value)
        return Fields(mark, fields)

    def _scalar(self, event: Any, mark: Mark) -> Node:
        text = str(event.value)
        plain = event.style in (None, "") and bool(event.implicit[0])
        if not plain:
            return Scalar(mark, text)
        if text in ("true", "false"):
            return Scalar(mark, text == "true")
        if _WHOLE.fullmatch(text):
            return Scalar(mark, int(text))
        if _DECIMAL.fullmatch(text):
            return Scalar(mark, float(text))
        if text == "":
            return self._empty(mark)
        if _DOUBTFUL.fullmatch(text):
            what = f"{text!r} without quotes means different things to different readers"
            fix = f"write true, false, a plain decimal number, or the text {text!r} in quotes"
            return self._source.report(mark, what, "an unmistakable value", fix)
        return Scalar(mark, text)

    def _empty(self, mark: Mark) -> Broken:
        fix = "write the value, or remove the key so that its default holds"
        return self._source.report(mark, "a value is missing", "a value after the colon or dash", fix)


def _mark(event: Any) -> Mark:
    start, end = event.start_mark, event.end_mark
    width = end.column - start.column if end.line == start.line else 1
    return Mark(start.line + 1, start.column + 1, max(1, width))
