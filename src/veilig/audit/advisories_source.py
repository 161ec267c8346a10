"""How do OSV records become a database of advisories?"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veilig.audit.advisories_files import AdvisoryError, bad, records
from veilig.audit.advisories_ghsa import osv_of
from veilig.audit.dependencies import canonical

__all__ = ["MEMORY", "Advisory", "AdvisoryError", "fill", "read_advisories", "read_record"]

MEMORY = ":memory:"
_RANGE_KINDS = frozenset({"ECOSYSTEM", "SEMVER"})
_EVENT_KINDS = ("introduced", "fixed", "last_affected")
_WORDS = frozenset({"LOW", "MODERATE", "MEDIUM", "HIGH", "CRITICAL"})
# Who publishes records of this prefix, and under which terms; attribution is a duty of CC BY.
_PUBLISHERS = {
    "PYSEC": ("Python Packaging Advisory Database (PyPA)", "CC-BY-4.0"),
    "GHSA": ("GitHub Advisory Database", "CC-BY-4.0"),
    "OSV": ("OSV", "CC-BY-4.0"),
    "MAL": ("OpenSSF malicious-packages", "Apache-2.0"),
}
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE advisory (
    id TEXT PRIMARY KEY, aliases TEXT NOT NULL, cwes TEXT NOT NULL, summary TEXT NOT NULL,
    severity TEXT NOT NULL, published TEXT NOT NULL);
CREATE TABLE affected (
    package TEXT NOT NULL, advisory TEXT NOT NULL REFERENCES advisory(id),
    ranges TEXT NOT NULL, versions TEXT NOT NULL);
"""


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


def read_advisories(path: Path, *more: Path) -> tuple[dict[str, str], list[Advisory]]:
    """(facts about the source, its PyPI advisories) of files, zips or folders; see advisories_files.records.

    Withdrawn records and records of other ecosystems are only counted. The facts: sha256 of what was read,
    newest change (`date`), licence and attribution, and whatever a `_meta` record says.
    Raises AdvisoryError with file and line when a record is malformed, and when there is none.
    """
    meta: dict[str, str] = {}
    advisories: list[Advisory] = []
    withdrawn = other = 0
    newest = ""
    digest = hashlib.sha256()
    for source in (path, *more):
        for where, record in records(source, digest):
            if "_meta" in record:
                meta |= {str(key): str(value) for key, value in _object(where, record["_meta"]).items()}
                continue
            advisory, modified, gone = read_record(where, record)
            newest = max(newest, modified)
            withdrawn += gone
            other += not gone and not advisory.affected
            if not gone and advisory.affected:
                advisories.append(advisory)
    if not advisories:
        raise bad(str(path), "it holds no advisories for Python packages")
    facts = {
        "source": ", ".join(str(source.absolute()) for source in (path, *more)),
        "sha256": digest.hexdigest(),
        "withdrawn": str(withdrawn),
        "other_ecosystems": str(other),
        "advisories": str(len(advisories)),
        "date": newest[:10],
        **_terms(advisories),
    }
    return facts | meta, advisories


def _terms(advisories: Iterable[Advisory]) -> dict[str, str]:
    prefixes = sorted({item.id.partition("-")[0] for item in advisories})
    unknown = [prefix for prefix in prefixes if prefix not in _PUBLISHERS]
    known = [_PUBLISHERS[prefix] for prefix in prefixes if prefix in _PUBLISHERS]
    licences = sorted({licence for _, licence in known}) + (["unknown"] if unknown else [])
    return {
        "attribution": ", ".join([*(name for name, _ in known), *unknown]),
        "license": ", ".join(licences),
    }


def _object(where: str, value: object) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise bad(where, "_meta is not an object")
    return value  # pyright: ignore[reportUnknownVariableType]  # JSON


def read_record(where: str, record: dict[str, Any]) -> tuple[Advisory, str, bool]:
    """(the advisory, when it was changed, whether it was withdrawn). Raises AdvisoryError."""
    try:
        osv = osv_of(record) if "ghsa_id" in record else record
        gone = str(osv.get("withdrawn") or "") not in ("", "null", "~")
        modified = str(osv.get("modified") or "").replace(" ", "T")
        return _advisory(osv, gone=gone), modified, gone
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise bad(where, f"not an OSV record: {type(error).__name__} {error}") from error


def _advisory(record: dict[str, Any], *, gone: bool) -> Advisory:
    affected = tuple(
        (canonical(_package(entry)), _ranges(entry), tuple(map(str, entry.get("versions") or ())))
        for entry in ((record.get("affected") or ()) if gone else record["affected"])
        if _ecosystem(entry) == "PyPI"
    )
    specific: dict[str, Any] = record.get("database_specific") or {}
    word = str(specific.get("severity") or "").upper()
    return Advisory(
        id=str(record["id"]),
        aliases=tuple(map(str, record.get("aliases") or ())),
        cwes=tuple(map(str, specific.get("cwe_ids") or ())),
        summary=str(record.get("summary") or record.get("details") or "")[:280],
        severity=(
            *(str(entry["score"]) for entry in record.get("severity") or ()),
            *([f"word:{word}"] if word in _WORDS else []),
        ),
        published=str(record.get("published") or ""),
        affected=affected,
    )


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
