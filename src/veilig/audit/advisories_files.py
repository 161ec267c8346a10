"""Which advisory records lie in a file, a zip or a folder of advisories?"""

import gzip
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from veilig.core.errors import EXIT_INCOMPLETE, VeiligError

SOURCE_BYTES_MAX = 1 << 31  # 2 GiB unpacked: every ecosystem of OSV fits; more is a bomb
RECORD_BYTES_MAX = 16 << 20  # the largest published record has about 1 MiB
FILES_MAX = 2_000_000
SUFFIXES = (".json", ".yaml", ".yml")
# Parts of a checkout that hold no advisories.
LEFT_OUT = frozenset({".git", ".github", "node_modules", "__pycache__"})


class Digest(Protocol):
    """Takes every byte that was read, in order."""

    def update(self, data: bytes, /) -> None: ...


class AdvisoryError(VeiligError):
    """The advisory data is missing, damaged or empty: dependencies were not assessed."""

    exit_code = EXIT_INCOMPLETE


def bad(where: str, why: str) -> AdvisoryError:
    """The error for data that cannot be used; `where` is path, path:line or path!member."""
    return AdvisoryError(
        f"{where}: not usable as advisory data; dependencies were not assessed",
        why=why,
        fix="get the snapshot again, or point VEILIG_ADVISORIES at another file",
    )


def records(path: Path, digest: Digest | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, record) of everything that looks like an advisory, in a stable order.

    path: .jsonl or .jsonl.gz (one record per line), .json (one record or a list), .yaml, .zip, or a folder
    of such files. In a folder or zip, files that are no advisories (no `id` or `ghsa_id`) are passed over.
    digest: takes the bytes that were read. Raises AdvisoryError that names the file and line.
    """
    try:
        if path.is_dir():
            yield from _folder(path, digest)
        elif path.name.endswith(".zip"):
            yield from _zip(path, digest)
        elif path.name.endswith((".jsonl", ".jsonl.gz")):
            yield from _lines(path, digest)
        elif path.name.endswith(SUFFIXES):
            yield from _parsed(str(path), path.read_bytes(), digest)
        elif path.exists():
            packed = path.name.endswith((".zst", ".xz", ".bz2", ".tar", ".tgz", ".tar.gz"))
            why = "unpack it first" if packed else "known are folders, .zip, .jsonl, .jsonl.gz, .json, .yaml"
            raise bad(str(path), f"a file of this kind is not read: {why}")
        else:
            raise bad(str(path), "there is no such file or folder")
    except (OSError, EOFError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error) as error:
        raise bad(str(path), str(error)) from error


def is_advisory(record: dict[str, Any]) -> bool:
    """Whether an object of a folder is meant as an advisory (OSV, or GitHub's own form)."""
    return ("id" in record and "affected" in record) or "ghsa_id" in record


def _lines(path: Path, digest: Digest | None) -> Iterator[tuple[str, dict[str, Any]]]:
    opener = gzip.open if path.name.endswith(".gz") else open
    size = 0
    with opener(path, "rb") as lines:
        for number, raw in enumerate(cast("Iterator[bytes]", lines), 1):
            size += len(raw)
            where = f"{path}:{number}"
            if size > SOURCE_BYTES_MAX:
                raise bad(where, f"more than {SOURCE_BYTES_MAX} bytes unpacked")
            if digest is not None:
                digest.update(raw)
            if raw.strip():
                record = _json(where, raw)
                if not isinstance(record, dict):
                    raise bad(where, "not a JSON object")
                yield where, cast("dict[str, Any]", record)


def _folder(path: Path, digest: Digest | None) -> Iterator[tuple[str, dict[str, Any]]]:
    size = count = 0
    for folder, names, files in os.walk(path):
        names[:] = sorted(name for name in names if name not in LEFT_OUT)
        for name in sorted(files):
            file = Path(folder, name)
            if not name.endswith(SUFFIXES) or file.is_symlink():
                continue
            size += file.stat().st_size
            count += 1
            if size > SOURCE_BYTES_MAX or count > FILES_MAX:
                raise bad(str(path), f"more than {SOURCE_BYTES_MAX} bytes or {FILES_MAX} files")
            for where, record in _parsed(str(file), file.read_bytes(), digest):
                if is_advisory(record):
                    yield where, record


def _zip(path: Path, digest: Digest | None) -> Iterator[tuple[str, dict[str, Any]]]:
    with zipfile.ZipFile(path) as archive:
        members = sorted(archive.infolist(), key=lambda member: member.filename)
        size = 0
        for member in members:
            if member.is_dir() or not member.filename.endswith(SUFFIXES):
                continue
            where = f"{path}!{member.filename}"
            # The size in the directory is a claim: never read more than it may be.
            with archive.open(member) as file:
                data = file.read(RECORD_BYTES_MAX + 1)
            size += len(data)
            if size > SOURCE_BYTES_MAX:
                raise bad(where, f"more than {SOURCE_BYTES_MAX} bytes unpacked")
            for place, record in _parsed(where, data, digest):
                if is_advisory(record):
                    yield place, record


def _parsed(where: str, data: bytes, digest: Digest | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The record or records of one JSON or YAML file."""
    if len(data) > RECORD_BYTES_MAX and not where.endswith(".json"):
        raise bad(where, f"one record of more than {RECORD_BYTES_MAX} bytes")
    if digest is not None:
        digest.update(data)
    value = _json(where, data) if where.endswith(".json") else _yaml(where, data)
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    for item in items:
        if isinstance(item, dict):
            yield where, cast("dict[str, Any]", item)


def _json(where: str, data: bytes) -> object:
    try:
        return cast(object, json.loads(data))
    except (ValueError, RecursionError) as error:
        raise bad(where, f"not JSON: {error}") from error


_ALIAS = re.compile(rb"(?:^|[\s\[,:-])\*\w", re.MULTILINE)


def _yaml(where: str, data: bytes) -> object:
    """Every scalar as text: a version 1.10 must not become the number 1.1."""
    import yaml

    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    if b"&" in data and len(_ALIAS.findall(data)) > 100:
        raise bad(where, "more than 100 YAML aliases: no advisory needs them")
    try:
        return cast(object, yaml.load(data, Loader=loader))  # noqa: S506  # a BaseLoader makes only text
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise bad(where, f"not YAML: {' '.join(str(error).split())[:200]}") from error
