"""What does a pyproject.toml ask for (PEP 621, PEP 735, Poetry)?"""

import re
import tomllib
from collections.abc import Iterator
from typing import Any, cast

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as ParsedRequirement

from veilig.audit.dependencies_types import Found, Requirement, canonical

_PIN = re.compile(r"===?\s*([^\s,;*]+)$")


def read_pyproject(path: str, text: str, found: Found) -> None:
    """Add the requirements of one pyproject.toml; unreadable TOML is reported as not assessed."""
    try:
        data = tomllib.loads(text.removeprefix("\ufeff"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found.skip(path, path, 1, f"not valid TOML: {error}")
        return
    taken: set[int] = set()
    for entry in _strings(data):
        _pep508(path, text, entry, taken, found)
    for name, spec in _poetry(data):
        _poetry_entry(path, text, name, spec, found)


def _table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _strings(data: dict[str, Any]) -> Iterator[str]:
    project = _table(data.get("project"))
    groups: list[object] = [
        project.get("dependencies"),
        *_table(project.get("optional-dependencies")).values(),
        *_table(data.get("dependency-groups")).values(),
        _table(data.get("build-system")).get("requires"),
        _table(_table(data.get("tool")).get("uv")).get("dev-dependencies"),
    ]
    for group in groups:
        yield from (entry for entry in _list(group) if isinstance(entry, str))


def _pep508(path: str, text: str, entry: str, taken: set[int], found: Found) -> None:
    place = _quoted_place(text, entry, taken)
    line = text.count("\n", 0, place) + 1 if place >= 0 else 1
    try:
        parsed = ParsedRequirement(entry)
    except InvalidRequirement as error:
        found.skip(entry[:80], path, line, f"not a valid requirement: {error}")
        return
    if parsed.url:
        found.skip(canonical(parsed.name), path, line, "installed from a URL: no version to compare")
        return
    body = re.match(r"\s*[\w.-]+\s*(?:\[[^\]]*\])?\s*\(?\s*([^;)]*)", entry)
    written = body[1].strip() if body else ""
    offset = body.start(1) if body else len(entry)
    pin = _PIN.match(written)
    if pin:
        offset += pin.start(1)
    length = len(pin[1]) if pin else len(written)
    start = place + offset if place >= 0 else -1
    column = start - (text.rfind("\n", 0, start) + 1) if start >= 0 else 0
    found.add(
        Requirement(
            canonical(parsed.name), pin[1] if pin else None, written, path, line, column, column + length,
            start, start + length if start >= 0 else -1, written=parsed.name,
        )
    )  # fmt: skip


def _quoted_place(text: str, entry: str, taken: set[int]) -> int:
    """Offset of the string inside its quotes, each place used once; -1 when it is not there verbatim."""
    for match in re.finditer(rf"(['\"]){re.escape(entry)}\1", text):
        if match.start() not in taken:
            taken.add(match.start())
            return match.start() + 1
    return -1


def _poetry(data: dict[str, Any]) -> Iterator[tuple[str, object]]:
    poetry = _table(_table(data.get("tool")).get("poetry"))
    tables = [poetry.get("dependencies"), poetry.get("dev-dependencies")]
    tables += [_table(group).get("dependencies") for group in _table(poetry.get("group")).values()]
    for table in tables:
        yield from ((name, spec) for name, spec in _table(table).items() if name.lower() != "python")


def _poetry_entry(path: str, text: str, name: str, spec: object, found: Found) -> None:
    written = spec if isinstance(spec, str) else _table(spec).get("version")
    row = re.search(rf"^[ \t]*['\"]?{re.escape(name)}['\"]?[ \t]*=.*$", text, re.MULTILINE)
    line = text.count("\n", 0, row.start()) + 1 if row else 1
    if not isinstance(written, str):
        found.skip(canonical(name), path, line, "no version given (path, git or URL)")
        return
    # Poetry reads a bare version as an exact pin; a caret, tilde or star leaves it open.
    pin = re.fullmatch(r"\s*(?:===?\s*)?(\d[^\s,*^~<>=]*)\s*", written)
    start = column = end = -1
    value = row.group().rfind(written) if row else -1
    if row and value >= 0:
        start = row.start() + value + (pin.start(1) if pin else 0)
        end = start + (len(pin[1]) if pin else len(written))
        column = start - row.start()
    found.add(
        Requirement(
            canonical(name), pin[1] if pin else None, written, path, line, max(column, 0),
            max(column, 0) + max(end - start, 0), start, end, written=name,
        )
    )  # fmt: skip
