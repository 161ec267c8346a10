"""Which small edit makes a JSON, TOML, YAML or INI file readable again?"""

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from heapq import heappop, heappush
from pathlib import PurePosixPath
from typing import Any

import yaml

from veilig.repair.edit import BOM, edits_between
from veilig.repair.recipes.proposal import Confidence, Defect, Needs, Proposal
from veilig.repair.recipes.syntax import whole_file_changes

RECIPE = "config-syntax"
REMOVES = "removes the line"
YAML_CHARACTERS_MAX = 200_000  # the pure-Python reader needs about 1 s for this; larger files are data
ERRORS_MAX, ROUNDS_MAX = 4, 12  # a file with more is no slip of a hand
SEVERAL_CHARACTERS_MAX = 40_000  # some hundred readings of it are tried
_LINE = re.compile(r"line\s+(\d+)")


class _UniqueLoader(yaml.SafeLoader):
    """Reads like safe_load, and takes a key that is given twice for the error it is."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(getattr(key, "value", ""))
            if isinstance(key, yaml.ScalarNode) and name in seen and name != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {name!r}", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _read_yaml(text: str) -> None:
    # Tags such as !Ref belong to the tool that reads the file: they are no error of syntax.
    class Loader(_UniqueLoader):
        pass

    def any_tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> None:
        del loader, suffix, node

    Loader.add_multi_constructor("!", any_tag)  # pyright: ignore[reportUnknownMemberType]  # untyped stub
    for _ in yaml.load_all(text, Loader=Loader):  # derived from SafeLoader, foreign tags become None
        pass


def _read_ini(text: str) -> None:
    try:
        configparser.RawConfigParser(allow_no_value=True).read_string(text)
    except AttributeError as error:  # CPython 3.12: a continued line below a key without a value
        raise ValueError("a continued line below a key that has no value") from error


def _read_unit(text: str) -> None:
    """A unit file of systemd: sections, `Key=value` lines, and lines that a backslash continues."""
    continued = False
    for number, row in enumerate(text.split("\n"), 1):
        line = row.strip()
        header = re.fullmatch(r"\[[^\[\]]+\]", line)
        if (
            line
            and line[0] not in "#;"
            and not continued
            and not header
            and ("=" not in line or line[0] == "[")
        ):
            raise ValueError(f"neither a section nor Key=value in line {number}")
        continued = line.endswith("\\")


_READERS: Mapping[str, Callable[[str], object]] = {
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".ini": _read_ini,
    ".cfg": _read_ini,
    ".service": _read_unit,
    ".timer": _read_unit,
    ".socket": _read_unit,
}


def trouble_of(path: str, text: str) -> tuple[int, str] | None:
    """(line, message) of the first syntax error, None when the file is readable or of no known kind."""
    suffix = PurePosixPath(path).suffix
    reader = _READERS.get(suffix)
    if reader is None or (reader is _read_yaml and len(text) > YAML_CHARACTERS_MAX):
        return None
    try:
        reader(text.removeprefix(BOM))
    except json.JSONDecodeError as error:
        return error.lineno, error.msg
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        return (mark.line + 1 if mark else 1), error.problem or "not valid YAML"
    except (yaml.YAMLError, tomllib.TOMLDecodeError, configparser.Error, ValueError, RecursionError) as error:
        match = _LINE.search(str(error).replace("[line ", "line "))
        return int(match[1]) if match else 1, str(error).split("\n")[0]
    return None


def detect(path: str, text: str) -> list[Defect]:
    """The first syntax error of a configuration file."""
    trouble = trouble_of(path, text)
    return [] if trouble is None else [Defect("config-syntax", path, *trouble)]


def propose(path: str, text: str) -> list[Proposal]:
    """Edits after which the file is readable, smallest first; empty when it already is."""
    trouble = trouble_of(path, text)
    if trouble is None:
        return []
    found: list[Proposal] = []
    seen: set[str] = set()
    for cost, title, new in sorted(_candidates(path, text, trouble[0]), key=lambda item: item[0]):
        if new in seen or new == text:
            continue
        seen.add(new)
        if trouble_of(path, new) is None:
            confidence = Confidence.MEDIUM if found else Confidence.HIGH
            edits = edits_between(path, text, new)
            lost = _lost(text, new) if title == REMOVES else ""
            asks = f"is the line {lost!r} not needed?" if lost else ""
            found.append(
                Proposal(RECIPE, title, path, edits, cost, Needs.TESTS, confidence, trouble[0], decision=asks)
            )
    return found[:5] or _several(path, text, trouble)


def _several(path: str, text: str, first: tuple[int, str]) -> list[Proposal]:
    """The same for a file with several errors: edits one after the other, each of which reads further.

    Only where a grammar is strict: YAML takes too many wrong edits for sense.
    """
    strict = PurePosixPath(path).suffix in (".toml", ".json") and len(text) <= SEVERAL_CHARACTERS_MAX
    waiting: list[tuple[float, tuple[str, ...], str, tuple[int, str]]] = [(0.0, (), text, first)]
    for _ in range(ROUNDS_MAX if strict else 0):
        if not waiting:
            break
        spent, titles, now, trouble = heappop(waiting)
        for cost, title, new in sorted(_candidates(path, now, trouble[0]), key=lambda item: item[0]):
            if title == REMOVES or new == now:
                continue
            said, left = (*titles, title), trouble_of(path, new)
            if left is None:
                edits, name = edits_between(path, text, new), ", ".join(said)
                price = spent + cost
                return [Proposal(RECIPE, name, path, edits, price, Needs.TESTS, Confidence.MEDIUM, first[0])]
            further = left[0] > trouble[0] or (left[0] == trouble[0] and left[1] != trouble[1])
            if further and len(said) < ERRORS_MAX:
                heappush(waiting, (spent + cost, said, new, left))
    return []


def _candidates(path: str, text: str, line: int) -> Iterator[tuple[float, str, str]]:
    for change in whole_file_changes(text):
        yield change.cost, change.title, change.spans[0][2]
    suffix = PurePosixPath(path).suffix
    if suffix == ".json":
        yield from _json(text)
    rows = text.split("\n")
    for number in (line, line - 1, line + 1):
        if 1 <= number <= len(rows):
            far = 0.0 if number == line else 0.3
            for cost, title, row in _row(suffix, rows[number - 1]):
                fixed = [*rows[: number - 1], *([row] if row is not None else []), *rows[number:]]
                yield cost + far, title, "\n".join(fixed)
    if suffix in (".ini", ".cfg"):
        yield from _earlier(text, line)
    if suffix in (".yaml", ".yml"):
        yield from _dashes(rows)
    if suffix in (".yaml", ".yml"):
        spaced = re.sub(r"^[ \t]+", lambda m: m.group().expandtabs(2), text, flags=re.MULTILINE)
        yield 1.0, "tabs to spaces", spaced


def _json(text: str) -> Iterator[tuple[float, str, str]]:
    strings = r'"(?:\\.|[^"\\\n])*"'
    bare = re.sub(rf"({strings})|//[^\n]*|/\*.*?\*/", lambda m: m[1] or "", text, flags=re.DOTALL)
    comma = re.sub(rf"({strings})|,(\s*[}}\]])", lambda m: m[1] or m[2], text)
    yield 1.0, "removes the trailing comma", comma
    yield 1.3, "removes the comments", bare
    yield (
        1.5,
        "removes comments and trailing commas",
        re.sub(rf"({strings})|,(\s*[}}\]])", lambda m: m[1] or m[2], bare),
    )
    quoted = re.sub(r"'([^'\"\n]*)'", r'"\1"', text)
    yield 1.2, "double quotes", quoted
    yield 1.4, "quotes the keys", re.sub(r"([{,]\s*)([A-Za-z_]\w*)(\s*:)", r'\1"\2"\3', text)
    literals = {"True": "true", "False": "false", "None": "null"}
    yield (
        1.2,
        "true, false, null",
        re.sub(rf"({strings})|\b(True|False|None)\b", lambda m: m[1] or literals[m[2]], text),
    )
    yield 1.1, "adds the missing comma", re.sub(r'(["}\]\w])(\s*\n\s*")', r"\1,\2", text)
    for closer in ("}", "]", "]}", "}}"):
        yield 1.6, f"closes with {closer}", text.rstrip() + closer + "\n"


def _row(suffix: str, row: str) -> Iterator[tuple[float, str, str | None]]:
    ending = "\r" if row.endswith("\r") else ""
    body = row.removesuffix("\r")
    if suffix == ".toml":
        yield 1.0, "= for :", re.sub(r"^(\s*[\w.\"-]+)\s*:\s*", r"\1 = ", body) + ending
        yield (
            1.0,
            "quotes the value",
            re.sub(r"^(\s*[\w.\"-]+\s*=\s*)([^\s\"'\[{#][^#]*?)(\s*(?:#.*)?)$", r'\1"\2"\3', body) + ending,
        )
        yield (
            1.1,
            "closes the string",
            re.sub(r"^(\s*[\w.\"-]+\s*=\s*)([\"'])([^\"']*)$", r"\1\2\3\2", body) + ending,
        )
        yield 0.95, "removes the trailing comma", re.sub(r"\s*,(\s*(?:#.*)?)$", r"\1", body) + ending
        yield 1.2, "closes the list", f"{body.rstrip().rstrip(',')}]{ending}"
        yield 1.2, "closes the string", f'{body.rstrip()}"{ending}'
        yield 1.2, "closes the table header", re.sub(r"^(\s*\[[\w.\"-]+)\s*$", r"\1]", body) + ending
        yield (
            1.3,
            "true and false",
            re.sub(r"=\s*(True|False)\b", lambda m: f"= {m[1].lower()}", body) + ending,
        )
        yield 1.4, "adds the missing comma", f"{body},{ending}"
    elif suffix in (".yaml", ".yml"):
        yield 1.0, "space after the colon", re.sub(r"^(\s*(?:- )?[\w.-]+):(?=[^\s:])", r"\1: ", body) + ending
        yield 1.0, "adds the missing colon", re.sub(r"^(\s*(?:- )?[\w.-]+)\s*$", r"\1:", body) + ending
        yield (
            1.1,
            "quotes the value",
            re.sub(r"^(\s*(?:- )?[\w.-]+:\s+)([^\"'].*?)\s*$", r'\1"\2"', body) + ending,
        )
        yield 1.1, "colon for =", re.sub(r"^(\s*[\w.-]+)\s*=\s*", r"\1: ", body) + ending
        yield 1.2, "closes the string", re.sub(r"([\"'])([^\"']*)$", r"\1\2\1", body) + ending
        # A bare word that is indented would join the text above it, and nobody would notice.
        for width in (1, 2, 4) if re.match(r"\s*(?:- |[^\s#][^#]*:)", body) else ():
            yield 1.3 + width / 10, "indents the line", " " * width + row
            yield 1.35 + width / 10, "unindents the line", row.removeprefix(" " * width)
    elif suffix in (".ini", ".cfg", ".service", ".timer", ".socket"):
        yield 1.0, "closes the section header", re.sub(r"^(\s*\[[^\]]+)\s*$", r"\1]", body) + ending
        yield 1.2, "unindents the line", row.lstrip()
    yield 2.5, REMOVES, None


def _dashes(rows: list[str]) -> Iterator[tuple[float, str, str]]:
    """A line between the items of a list, as deep as they are, that lost its dash."""
    for number in range(1, len(rows)):
        above = re.match(r"( *)- ", rows[number - 1])
        if above and re.match(rf"{above[1]}[^\s#:-][^:]*$", rows[number]):
            fixed = [*rows[:number], f"{above[1]}- {rows[number].lstrip()}", *rows[number + 1 :]]
            yield 0.9, "adds the missing dash", "\n".join(fixed)


def _lost(text: str, new: str) -> str:
    """A setting that only the old text has; one that is written twice is not lost."""
    kept = {row.strip() for row in new.split("\n")}
    return next((s for row in text.split("\n") if re.search(r"\w", s := row.strip()) and s not in kept), "")


def _earlier(text: str, line: int) -> Iterator[tuple[float, str, str]]:
    """An option given twice: the later value is the one that lenient readers take."""
    rows = text.split("\n")
    name = re.match(r"\s*([\w.-]+)\s*[=:]", rows[line - 1]) if line <= len(rows) else None
    for number in range(line - 2, -1, -1) if name else ():
        if rows[number].lstrip().startswith("["):
            return
        if name and re.match(rf"\s*{re.escape(name[1])}\s*[=:]", rows[number]):
            yield 2.4, REMOVES, "\n".join([*rows[:number], *rows[number + 1 :]])
            return
