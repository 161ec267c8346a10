"""How do OSV records become a database of advisories?"""

import gzip
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from veilig.audit.dependencies import canonical
from veilig.core.errors import EXIT_INCOMPLETE, VeiligError

MEMORY = ":memory:"
SOURCE_BYTES_MAX = 1 << 29  # 512 MiB unpacked: all of OSV's PyPI records many times over; more is a bomb
_RANGE_KINDS = frozenset({"ECOSYSTEM", "SEMVER"})
_EVENT_KINDS = ("introduced", "fixed", "last_affected")
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE advisory (
    id TEXT PRIMARY KEY, aliases TEXT NOT NULL, cwes TEXT NOT NULL, summary TEXT NOT NULL,
    severity TEXT NOT NULL, published TEXT NOT NULL);
CREATE TABLE affected (
    package TEXT NOT NULL, advisory TEXT NOT NULL REFERENCES advisory(id),
    ranges TEXT NOT NULL, versions TEXT NOT NULL);
"""


class AdvisoryError(VeiligError):
    """The advisory data is missing, damaged or empty: dependencies were not assessed."""

    exit_code = EXIT_INCOMPLETE


@dataclass(frozen=True, slots=True)
class Advisory:
    """One OSV record, reduced to PyPI; `affected` is (canonical package, ranges of events, versions)."""

    id: str
    aliases: tuple[str, ...]
    cwes: tuple[str, ...]
    summary: str
    severity: tuple[str, ...]
    published: str
    affected: tuple[tuple[str, tuple[tuple[tuple[str, str], ...], ...], tuple[str, ...]], ...]


def read_advisories(path: Path) -> tuple[dict[str, str], list[Advisory]]:
    """(the `_meta` line, the advisories) of a .jsonl or .jsonl.gz; withdrawn ones are only counted.

    Raises AdvisoryError with the line number when a line is not an OSV record, and when there is none.
    """
    meta: dict[str, str] = {}
    advisories: list[Advisory] = []
    withdrawn = size = 0
    opener = gzip.open if path.name.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                size += len(line)
                if size > SOURCE_BYTES_MAX:
                    raise _bad(path, number, f"more than {SOURCE_BYTES_MAX} characters unpacked")
                if not line.strip():
                    continue
                record = _record(path, number, line)
                if "_meta" in record:
                    meta |= {str(key): str(value) for key, value in record["_meta"].items()}
                elif record.get("withdrawn"):
                    withdrawn += 1
                else:
                    advisories.append(_advisory(path, number, record))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _bad(path, 0, str(error)) from error
    if not advisories:
        raise _bad(path, 0, "it holds no advisories")
    return meta | {"withdrawn": str(withdrawn), "advisories": str(len(advisories))}, advisories


def _record(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _bad(path, number, f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise _bad(path, number, "not a JSON object")
    return cast("dict[str, Any]", record)


def _advisory(path: Path, number: int, record: dict[str, Any]) -> Advisory:
    try:
        affected = tuple(
            (canonical(_package(entry)), _ranges(entry), tuple(map(str, entry.get("versions") or ())))
            for entry in record["affected"]
            if _ecosystem(entry) == "PyPI"
        )
        specific: dict[str, Any] = record.get("database_specific") or {}
        return Advisory(
            id=str(record["id"]),
            aliases=tuple(map(str, record.get("aliases") or ())),
            cwes=tuple(map(str, specific.get("cwe_ids") or ())),
            summary=str(record.get("summary") or record.get("details") or "")[:280],
            severity=tuple(str(entry["score"]) for entry in record.get("severity") or ()),
            published=str(record.get("published") or ""),
            affected=affected,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _bad(path, number, f"not an OSV record: {type(error).__name__} {error}") from error


def _package(entry: dict[str, Any]) -> str:
    package: Any = entry["package"]
    return package if isinstance(package, str) else str(package["name"])


def _ecosystem(entry: dict[str, Any]) -> str:
    package: Any = entry["package"]
    return str(entry.get("ecosystem", "PyPI") if isinstance(package, str) else package["ecosystem"])


def _ranges(entry: dict[str, Any]) -> tuple[tuple[tuple[str, str], ...], ...]:
    return tuple(
        tuple((kind, str(event[kind])) for event in item["events"] for kind in _EVENT_KINDS if kind in event)
        for item in entry.get("ranges") or ()
        if item["type"] in _RANGE_KINDS
    )


def fill(connection: sqlite3.Connection, meta: dict[str, str], advisories: Iterable[Advisory]) -> None:
    """Write schema and rows into an empty database and make them durable."""
    connection.executescript(_SCHEMA)
    connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted(meta.items()))
    for item in advisories:
        lists = (item.aliases, item.cwes, item.severity)
        aliases, cwes, severity = (json.dumps(entry) for entry in lists)
        # One id in several files is one advisory: the later record counts, its packages are all kept.
        connection.execute(
            "INSERT OR REPLACE INTO advisory VALUES (?, ?, ?, ?, ?, ?)",
            (item.id, aliases, cwes, item.summary, severity, item.published),
        )
        connection.executemany(
            "INSERT INTO affected VALUES (?, ?, ?, ?)",
            [
                (name, item.id, json.dumps(ranges), json.dumps(versions))
                for name, ranges, versions in item.affected
            ],
        )
    connection.execute("CREATE INDEX affected_package ON affected(package)")
    connection.commit()


def _bad(path: Path, number: int, why: str) -> AdvisoryError:
    where = f"{path}:{number}" if number else str(path)
    return AdvisoryError(
        f"{where}: not usable as advisory data; dependencies were not assessed",
        why=why,
        fix="get the snapshot again, or point VEILIG_ADVISORIES at another file",
    )
