"""Which versions does a lock file fix (uv, Poetry, PDM, PEP 751, Pipenv)?"""

import json
import re
import tomllib
from pathlib import PurePosixPath
from typing import Any, cast

from veilig.audit.dependencies_types import Found, Requirement, canonical


def read_lock(path: str, text: str, found: Found) -> None:
    """Add every locked version; a file that cannot be read is reported as not assessed."""
    if PurePosixPath(path).name == "Pipfile.lock":
        _pipfile(path, text, found)
        return
    try:
        data = tomllib.loads(text.removeprefix("\ufeff"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found.skip(path, path, 1, f"not valid TOML: {error}")
        return
    key = "packages" if PurePosixPath(path).name.startswith("pylock") else "package"
    packages = data.get(key, [])
    if not isinstance(packages, list):
        found.skip(path, path, 1, f"{key!r} is not a list of packages")
        return
    heads = re.finditer(rf"^\[\[{key}\]\]", text, re.MULTILINE)
    places = [text.count("\n", 0, head.start()) + 1 for head in heads]
    rows = cast("list[object]", packages)
    for index, row in enumerate(rows):
        line = places[index] if index < len(places) else 1
        if isinstance(row, dict):
            _package(path, line, cast("dict[str, Any]", row), found)
        else:
            found.skip(path, path, line, "a package entry is not a table")


def _package(path: str, line: int, row: dict[str, Any], found: Found) -> None:
    name, version = row.get("name"), row.get("version")
    source = row.get("source")
    if not isinstance(name, str):
        found.skip(path, path, line, "a package entry has no name")
    elif isinstance(source, dict) and {"editable", "virtual", "directory", "path"} & source.keys():
        found.skip(
            canonical(name), path, line, "part of this project or a local folder: no published version"
        )
    elif not isinstance(version, str):
        found.skip(canonical(name), path, line, "the lock file gives no version")
    else:
        found.add(
            Requirement(canonical(name), version, f"=={version}", path, line, written=name, locked=True)
        )


def _pipfile(path: str, text: str, found: Found) -> None:
    try:
        data: object = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        found.skip(path, path, 1, f"not valid JSON: {error}")
        return
    if not isinstance(data, dict):
        found.skip(path, path, 1, "not a Pipfile.lock: the top level is no object")
        return
    for section in ("default", "develop"):
        table = cast("dict[str, Any]", data).get(section)
        for name, entry in (cast("dict[str, Any]", table) if isinstance(table, dict) else {}).items():
            place = text.find(json.dumps(name))
            line = text.count("\n", 0, place) + 1 if place >= 0 else 1
            version = cast("dict[str, Any]", entry).get("version") if isinstance(entry, dict) else None
            if isinstance(version, str) and version.startswith("=="):
                pinned = version.lstrip("=")
                found.add(
                    Requirement(canonical(name), pinned, version, path, line, written=name, locked=True)
                )
            else:
                found.skip(canonical(name), path, line, "the lock file gives no version")
