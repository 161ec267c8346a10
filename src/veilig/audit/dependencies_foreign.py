"""What do conda environments, SBOMs, installed metadata and the locks of JavaScript say?"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from email.parser import HeaderParser
from pathlib import PurePosixPath
from typing import Any, cast
from urllib.parse import unquote

from veilig.audit.dependencies_types import Found, Requirement, canonical

ENTRIES_MAX = 100_000  # more is no lock file of a project
YAML_BYTES_MAX = 16 << 20
NO_NPM = "an npm package: the advisory data holds Python packages only"


def foreign_reader(path: str) -> Callable[[str, str, Found], None] | None:
    """The reader for a file of this name, None when it is not one of these kinds."""
    name = PurePosixPath(path).name
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name == "METADATA" and PurePosixPath(path).parent.name.endswith(".dist-info"):
        return _metadata
    if name.endswith((".cdx.json", ".cyclonedx.json")) or name == "bom.json":
        return _cyclonedx
    return _spdx if name.endswith(".spdx.json") else None


def _object(path: str, text: str, found: Found) -> dict[str, Any] | None:
    try:
        data: object = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        found.skip(path, path, 1, f"not valid JSON: {error}")
        return None
    if not isinstance(data, dict):
        found.skip(path, path, 1, "the top level is no object")
        return None
    return cast("dict[str, Any]", data)


def _yaml(path: str, text: str, found: Found) -> dict[str, Any] | None:
    """YAML with every scalar as text; aliases are shared, never expanded, and nothing here walks deep."""
    import yaml

    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    if len(text) > YAML_BYTES_MAX:
        found.skip(path, path, 1, f"larger than {YAML_BYTES_MAX} characters")
        return None
    try:
        data: object = yaml.load(text, Loader=loader)  # noqa: S506  # a BaseLoader makes only text
    except (yaml.YAMLError, RecursionError) as error:
        found.skip(path, path, 1, f"not valid YAML: {' '.join(str(error).split())[:160]}")
        return None
    if not isinstance(data, dict):
        found.skip(path, path, 1, "the top level is no mapping")
        return None
    return cast("dict[str, Any]", data)


def _rows(value: object) -> list[Any]:
    return cast("list[Any]", value)[:ENTRIES_MAX] if isinstance(value, list) else []


def _table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


class _Places:
    """Line numbers of names that are asked for in the order in which they stand: one pass in all."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._number = text, 0, 1

    def line(self, name: str) -> int:
        """The line of the next place of `name`, else of its first one; 1 when it is nowhere."""
        place = self._text.find(name, self._at)
        if place < 0:
            place = self._text.find(name)
            return self._text.count("\n", 0, place) + 1 if place >= 0 else 1
        self._number += self._text.count("\n", self._at, place)
        self._at = place
        return self._number


def _pinned(path: str, line: int, name: str, version: str, *, locked: bool = True) -> Requirement:
    return Requirement(canonical(name), version, f"=={version}", path, line, written=name, locked=locked)


# --- Python, by other tools -----------------------------------------------------------------------


def _pipfile(path: str, text: str, found: Found) -> None:
    """Pipfile: what a project asks for; the lock beside it says what it gets."""
    try:
        data = tomllib.loads(text.removeprefix("\ufeff"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found.skip(path, path, 1, f"not valid TOML: {error}")
        return
    for section in ("packages", "dev-packages"):
        for name, entry in _table(data.get(section)).items():
            row = re.search(rf"^[ \t]*['\"]?{re.escape(name)}['\"]?[ \t]*=", text, re.MULTILINE)
            line = text.count("\n", 0, row.start()) + 1 if row else 1
            spec = entry if isinstance(entry, str) else _table(entry).get("version")
            if not isinstance(spec, str):
                found.skip(canonical(name), path, line, "no version given (path, git or URL)")
                continue
            pin = re.fullmatch(r"\s*===?\s*([^\s,;*]+)\s*", spec)
            written = "" if spec.strip() == "*" else spec
            found.add(
                Requirement(canonical(name), pin[1] if pin else None, written, path, line, written=name)
            )


_CONDA = re.compile(r"(?:[\w./-]+::)?(?P<name>[\w.-]+)\s*(?P<spec>.*)$")


def _conda(path: str, text: str, found: Found) -> None:
    """environment.yml: the pip section is read; conda's own packages have no advisories here."""
    data = _yaml(path, text, found)
    places = _Places(text)
    for entry in _rows((data or {}).get("dependencies")):
        if isinstance(entry, str):
            match = _CONDA.match(entry)
            if match and canonical(match["name"]) not in ("python", "pip"):
                reason = (
                    f"a conda package ({match['spec'].strip() or 'any version'}): it is numbered by conda"
                )
                found.skip(canonical(match["name"]), path, places.line(entry), reason)
            continue
        for item in _rows(_table(entry).get("pip")):
            if isinstance(item, str):
                _pip_line(path, places.line(item), item, found)


def _pip_line(path: str, line: int, item: str, found: Found) -> None:
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Parsed

    try:
        parsed = Parsed(item)
    except InvalidRequirement as error:
        found.skip(item[:80], path, line, f"not a valid requirement: {' '.join(str(error).split())[:120]}")
        return
    if parsed.url:
        found.skip(canonical(parsed.name), path, line, "installed from a URL: no version to compare")
        return
    pin = re.fullmatch(r"===?\s*([^\s,;*]+)", str(parsed.specifier))
    version = pin[1] if pin else None
    found.add(
        Requirement(
            canonical(parsed.name), version, str(parsed.specifier), path, line, written=parsed.name
        )
    )  # fmt: skip


def _metadata(path: str, text: str, found: Found) -> None:
    """*.dist-info/METADATA: one installed distribution."""
    head = HeaderParser().parsestr(text[:65_536])
    name, version = head.get("Name"), head.get("Version")
    if name and version:
        found.add(_pinned(path, _Places(text).line("\nVersion:") + 1, str(name), str(version)))
    else:
        found.skip(path, path, 1, "installed metadata without Name or Version")


# --- bills of materials ---------------------------------------------------------------------------

_PURL = re.compile(r"pkg:(?P<type>[a-z]+)/(?P<name>[^@?#]+)@(?P<version>[^?#]+)")


def _purl(path: str, line: int, purl: str, shown: str, found: Found) -> None:
    match = _PURL.match(purl)
    if match and match["type"] == "pypi":
        found.add(_pinned(path, line, unquote(match["name"]), unquote(match["version"])))
    elif match:
        found.skip(shown, path, line, f"a {match['type']} package: the data holds Python packages only")
    else:
        found.skip(shown, path, line, "the component has no package URL with a version")


def _cyclonedx(path: str, text: str, found: Found) -> None:
    data = _object(path, text, found)
    if data is None:
        return
    if data.get("bomFormat") != "CycloneDX":
        found.skip(path, path, 1, "not a CycloneDX document (bomFormat)")
        return
    places = _Places(text)
    for row in _components(data):
        name, purl = str(row.get("name", "?")), str(row.get("purl", ""))
        _purl(path, places.line(purl or json.dumps(name)), purl, name, found)


def _components(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Components with those inside of them, without recursion: nesting is the writer's choice."""
    waiting, count = _rows(data.get("components")), 0
    while waiting and count < ENTRIES_MAX:
        row = _table(waiting.pop(0))
        waiting = [*_rows(row.get("components")), *waiting]
        count += 1
        if row:
            yield row


def _spdx(path: str, text: str, found: Found) -> None:
    data = _object(path, text, found)
    if data is None:
        return
    if "spdxVersion" not in data:
        found.skip(path, path, 1, "not an SPDX 2 document (spdxVersion)")
        return
    places = _Places(text)
    for row in map(_table, _rows(data.get("packages"))):
        name = str(row.get("name", "?"))
        refs = map(_table, _rows(row.get("externalRefs")))
        purls = [str(ref.get("referenceLocator", "")) for ref in refs if ref.get("referenceType") == "purl"]
        _purl(path, places.line(json.dumps(name)), purls[0] if purls else "", name, found)


# --- JavaScript: read, and said to be not assessed ------------------------------------------------


def _package_lock(path: str, text: str, found: Found) -> None:
    data = _object(path, text, found)
    if data is None:
        return
    packages = _table(data.get("packages")) or _table(data.get("dependencies"))
    places = _Places(text)
    for key, row in list(packages.items())[:ENTRIES_MAX]:
        version = _table(row).get("version")
        name = key.rpartition("node_modules/")[2]
        if name and isinstance(version, str):
            found.skip(f"{name}@{version}", path, places.line(json.dumps(key)), NO_NPM)


_YARN = re.compile(
    r'^"?(?P<name>@?[^@"\s]+)@[^\n]*:\n(?:[ \t][^\n]*\n)*?[ \t]+version:? "?(?P<version>[^"\s]+)',
    re.MULTILINE,
)


def _yarn(path: str, text: str, found: Found) -> None:
    number = 0
    for number, match in enumerate(_YARN.finditer(text), 1):
        if number > ENTRIES_MAX:
            break
        line = text.count("\n", 0, match.start()) + 1
        found.skip(f"{match['name']}@{match['version']}", path, line, NO_NPM)
    if not number and re.search(r"^[^#\s]", text, re.MULTILINE):
        found.skip(path, path, 1, "not a yarn.lock that can be read")


def _pnpm(path: str, text: str, found: Found) -> None:
    data = _yaml(path, text, found)
    places = _Places(text)
    for key in list(_table((data or {}).get("packages")))[:ENTRIES_MAX]:
        name, _, version = str(key).lstrip("/").partition("(")[0].rpartition("@")
        found.skip(f"{name}@{version}" if name else str(key), path, places.line(str(key)), NO_NPM)


_BY_NAME: dict[str, Callable[[str, str, Found], None]] = {
    "Pipfile": _pipfile,
    "environment.yml": _conda,
    "environment.yaml": _conda,
    "conda.yml": _conda,
    "conda.yaml": _conda,
    "package-lock.json": _package_lock,
    "npm-shrinkwrap.json": _package_lock,
    "yarn.lock": _yarn,
    "pnpm-lock.yaml": _pnpm,
}
FOREIGN_NAMES = frozenset(_BY_NAME)
