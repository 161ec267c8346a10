"""What does a pip requirements file ask for?"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from posixpath import normpath

from veilig.audit.dependencies_types import (
    NOT_AMONG,
    Found,
    Requirement,
    canonical,
    is_requirements_file,
)

_NAME = re.compile(r"\s*(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?P<extras>\[[^\]]*\])?\s*")
_SPEC = re.compile(r"\(?\s*(?P<spec>(?:(?:===|~=|==|!=|<=|>=|<|>)\s*[^\s,;)#\\]+\s*(?:,\s*)?)+)\)?")
_PIN = re.compile(r"===?\s*(?P<version>[^\s,;)*]+)$")
_INCLUDE = re.compile(r"\s*(?:-r|--requirement|-c|--constraint)[\s=]*(?P<target>\S+)")


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    start: int
    number: int


def read_requirements(path: str, files: Mapping[str, str], found: Found) -> None:
    """Add the requirements of one file; files it includes are read on their own when they are present."""
    for line in _logical_lines(files[path]):
        text = line.text.split(" #", 1)[0] if " #" in line.text else line.text
        stripped = text.strip()
        if not stripped or stripped.startswith("#"):
            continue
        include = _INCLUDE.match(text)
        if include:
            _included(path, line.number, include["target"], files, found)
        elif stripped.startswith(("-e", "--editable")):
            found.skip(
                stripped.split(maxsplit=1)[-1], path, line.number, "editable install: no version to compare"
            )
        elif not stripped.startswith("-"):
            _requirement(path, line, text, found)


def _included(path: str, number: int, target: str, files: Mapping[str, str], found: Found) -> None:
    resolved = normpath(str(PurePosixPath(path).parent / target))
    if resolved not in files:
        found.skip(target, path, number, NOT_AMONG)
    elif not is_requirements_file(resolved):
        read_requirements(resolved, files, found)


def _logical_lines(text: str) -> Iterator[_Line]:
    """Lines with their backslash continuations joined; a joint keeps the offsets of its first line."""
    offset, number = 0, 1
    lines = text.splitlines(keepends=True)
    index = 0
    while index < len(lines):
        start, first, joined = offset, number, ""
        while True:
            row = lines[index]
            offset += len(row)
            number += 1
            index += 1
            joined += row
            # The continuation stays in the text as it is, so that offsets into it remain true.
            if not row.rstrip("\r\n").endswith("\\") or index == len(lines):
                break
        body = joined.replace("\\\r\n", "   ").replace("\\\n", "  ")
        bom = 1 if start == 0 and body.startswith("\ufeff") else 0
        yield _Line(body[bom:].rstrip("\r\n"), start + bom, first)


def _requirement(path: str, line: _Line, text: str, found: Found) -> None:
    name = _NAME.match(text)
    if not name or "://" in text.split(";", maxsplit=1)[0].split("@", maxsplit=1)[0]:
        found.skip(
            text.strip()[:80], path, line.number, "not a requirement that can be compared (URL or path)"
        )
        return
    rest = text[name.end() :]
    if rest.startswith("@"):
        found.skip(canonical(name["name"]), path, line.number, "installed from a URL: no version to compare")
        return
    if rest.strip() and not rest.lstrip().startswith((";", "--", "(", "=", "~", "!", "<", ">")):
        found.skip(text.strip()[:80], path, line.number, "the line is not a valid requirement")
        return
    spec = _SPEC.match(rest)
    written = spec["spec"].strip().rstrip(",").strip() if spec else ""
    start, end = line.start + name.end(), line.start + name.end()
    version = None
    if spec:
        start = line.start + name.end() + spec.start("spec")
        end = start + len(written)
        pin = _PIN.match(written)
        if pin:
            version = pin["version"]
            start += pin.start("version")
    column = start - line.start
    found.add(
        Requirement(
            canonical(name["name"]), version, written, path, line.number, column, column + end - start,
            start, end, written=name["name"], hashed="--hash" in line.text,
        )
    )  # fmt: skip
