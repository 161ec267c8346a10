"""Who brings a locked package in, and does the code import it?"""

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, cast

from veilig.audit.dependencies_types import Requirement, canonical

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([A-Za-z_][\w.]*)[ \t]+import|import[ \t]+([^#\n;]+))", re.MULTILINE
)
# Distributions whose import name is not their own name; everything else is tried by its name.
_IMPORT_NAMES: Mapping[str, tuple[str, ...]] = {
    "attrs": ("attr", "attrs"),
    "beautifulsoup4": ("bs4",),
    "django-rest-framework": ("rest_framework",),
    "djangorestframework": ("rest_framework",),
    "gitpython": ("git",),
    "google-api-python-client": ("googleapiclient",),
    "mysqlclient": ("MySQLdb",),
    "opencv-python": ("cv2",),
    "opencv-python-headless": ("cv2",),
    "pillow": ("PIL",),
    "protobuf": ("google.protobuf",),
    "psycopg2-binary": ("psycopg2",),
    "pycryptodome": ("Crypto",),
    "pycryptodomex": ("Cryptodome",),
    "pyjwt": ("jwt",),
    "pymupdf": ("fitz",),
    "pyopenssl": ("OpenSSL",),
    "python-dateutil": ("dateutil",),
    "python-docx": ("docx",),
    "python-dotenv": ("dotenv",),
    "python-jose": ("jose",),
    "python-multipart": ("multipart", "python_multipart"),
    "python-ldap": ("ldap",),
    "pyyaml": ("yaml",),
    "pyzmq": ("zmq",),
    "scikit-image": ("skimage",),
    "scikit-learn": ("sklearn",),
    "setuptools": ("setuptools", "pkg_resources"),
    "sqlalchemy": ("sqlalchemy",),
    "typing-extensions": ("typing_extensions",),
    "websocket-client": ("websocket",),
}


class Reach(StrEnum):
    """How near a package is to the code; a label for the reader, never a reason to be silent."""

    IMPORTED = "imported"
    TRANSITIVE = "only brought in by another package"
    NOT_IMPORTED = "not imported"


def chains(files: Mapping[str, str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """(lock file, package) -> the way to it: a direct dependency first, the package last.

    The shortest way, by name where several are as short. Direct is what the project itself names: its own
    entry in the lock, else the pyproject.toml beside it, else what no other package needs. Locks without
    edges (Pipfile.lock, pins) give nothing. Unreadable files give nothing: read_dependencies reports them.
    """
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for path, text in sorted(files.items()):
        edges, own = _edges(path, text)
        if not edges:
            continue
        roots = own or _declared(files, path) & edges.keys()
        needed = {name for targets in edges.values() for name in targets}
        roots = roots or (edges.keys() - needed) or set(edges)
        for name, way in _ways(edges, sorted(roots)).items():
            found[path, name] = way
    return found


def _ways(edges: Mapping[str, Iterable[str]], roots: list[str]) -> dict[str, tuple[str, ...]]:
    ways: dict[str, tuple[str, ...]] = {root: (root,) for root in roots}
    waiting = list(roots)
    for name in waiting:  # grows while it is read: breadth first
        for target in sorted(edges.get(name, ())):
            if target not in ways:
                ways[target] = (*ways[name], target)
                waiting.append(target)
    return ways


def _edges(path: str, text: str) -> tuple[dict[str, set[str]], set[str]]:
    """(package -> what it needs, what the project itself needs) of one lock file."""
    name = PurePosixPath(path).name
    if name not in ("uv.lock", "poetry.lock", "pdm.lock") and not re.fullmatch(r"pylock(\..+)?\.toml", name):
        return {}, set()
    try:
        data = tomllib.loads(text.removeprefix("\ufeff"))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}, set()
    edges: dict[str, set[str]] = {}
    own: set[str] = set()
    rows: object = data.get("packages", data.get("package", []))
    for row in cast("list[object]", rows) if isinstance(rows, list) else []:
        if not isinstance(row, dict):
            continue
        package = cast("dict[str, Any]", row)
        source = package.get("source")
        targets = _targets(package)
        local = isinstance(source, dict) and {"editable", "virtual", "directory"} & source.keys()
        if local:
            own |= targets
        elif isinstance(package.get("name"), str):
            edges.setdefault(canonical(package["name"]), set()).update(targets)
    return (edges, own & edges.keys()) if any(edges.values()) else ({}, set())


def _targets(package: Mapping[str, Any]) -> set[str]:
    names: set[str] = set()
    groups: list[object] = [package.get("dependencies")]
    for key in ("optional-dependencies", "dev-dependencies"):  # uv: tables of lists
        nested = package.get(key)
        groups += cast("dict[str, object]", nested).values() if isinstance(nested, dict) else ()
    for group in groups:
        if isinstance(group, dict):  # Poetry: name -> constraint
            names |= {canonical(name) for name in cast("dict[str, object]", group)}
        for item in cast("list[object]", group) if isinstance(group, list) else ():
            if isinstance(item, str):  # PDM: requirement text
                match = re.match(r"[A-Za-z0-9][\w.-]*", item)
                names |= {canonical(match[0])} if match else set()
            elif isinstance(item, dict):  # uv, pylock: {name = ...}
                name = cast("dict[str, object]", item).get("name")
                names |= {canonical(name)} if isinstance(name, str) else set()
    return names


def _declared(files: Mapping[str, str], lock: str) -> set[str]:
    from veilig.audit.dependencies import read_dependencies

    beside = (PurePosixPath(lock).parent / "pyproject.toml").as_posix()
    if beside not in files:
        return set()
    return {item.name for item in read_dependencies({beside: files[beside]}).requirements}


def imported_names(sources: Iterable[str]) -> frozenset[str]:
    """Dotted names that Python sources import, read as lines: also what a docstring shows, never less."""
    names: set[str] = set()
    for text in sources:
        for match in _IMPORT.finditer(text):
            for name in (match[1] or match[2] or "").split(","):
                dotted = name.strip().split(" ")[0].strip("()\\ ")
                parts = dotted.split(".")
                names |= {".".join(parts[:length]) for length in range(1, len(parts) + 1)} - {""}
    return frozenset(names - sys.stdlib_module_names)


def reach(requirement: Requirement, way: tuple[str, ...], imported: frozenset[str]) -> Reach:
    """Whether the code imports the package, or only another package needs it."""
    names = _IMPORT_NAMES.get(requirement.name, ())
    guesses = {
        *names,
        requirement.name,
        requirement.name.replace("-", "_"),
        requirement.name.replace("-", "."),
    }
    guesses |= {guess.removeprefix("python_") for guess in guesses}
    if {guess.lower() for guess in guesses} & {name.lower() for name in imported}:
        return Reach.IMPORTED
    return Reach.TRANSITIVE if len(way) > 1 else Reach.NOT_IMPORTED


def package_of_import(name: str) -> str:
    """The distribution (canonical) that an import name most likely belongs to."""
    top = name.partition(".")[0]
    known = {module: package for package, modules in _IMPORT_NAMES.items() for module in modules}
    return known.get(name) or known.get(top) or canonical(top)
