"""How does an advisory in GitHub's own JSON form read as an OSV record?"""

import re
from typing import Any, cast

_BOUND = re.compile(r"(?P<sign><=|>=|=|<|>)\s*(?P<version>[^\s,]+)")
_ECOSYSTEMS = {"pip": "PyPI"}


def osv_of(record: dict[str, Any]) -> dict[str, Any]:
    """The OSV form of one advisory of GitHub's REST API (`ghsa_id`, `vulnerabilities`).

    An exclusive lower bound (`> 1.0`) becomes an inclusive one, because OSV has no other: one version more
    is covered, never one less. Raises KeyError, TypeError or ValueError when the record is malformed.
    Source: GitHub REST API, "Global security advisories"; OSV schema.
    """
    names = [str(item["value"]) for item in record.get("identifiers") or ()]
    cve = record.get("cve_id")
    aliases = sorted({*names, *([str(cve)] if cve else [])} - {str(record["ghsa_id"])})
    cwes = [str(item["cwe_id"]) for item in record.get("cwes") or ()]
    return {
        "id": str(record["ghsa_id"]),
        "aliases": aliases,
        "published": record.get("published_at") or "",
        "modified": record.get("updated_at") or "",
        "withdrawn": record.get("withdrawn_at"),
        "summary": record.get("summary") or "",
        "severity": [{"type": "CVSS", "score": vector} for vector in _vectors(record)],
        "affected": [_affected(item) for item in record["vulnerabilities"]],
        "database_specific": {"cwe_ids": cwes, "severity": record.get("severity") or ""},
    }


def _vectors(record: dict[str, Any]) -> list[str]:
    one: dict[str, Any] = record.get("cvss") or {}
    several: dict[str, Any] = record.get("cvss_severities") or {}
    nested = [cast("dict[str, Any]", value or {}).get("vector_string") for value in several.values()]
    return list(dict.fromkeys(str(v) for v in (one.get("vector_string"), *nested) if v))


def _affected(item: dict[str, Any]) -> dict[str, Any]:
    package: dict[str, Any] = item["package"]
    ecosystem = str(package["ecosystem"])
    events: list[dict[str, str]] = []
    versions: list[str] = []
    written = str(item.get("vulnerable_version_range") or "")
    bounds = list(_BOUND.finditer(written))
    for bound in bounds:
        sign, version = bound["sign"], bound["version"]
        if sign == "=":
            versions.append(version)
        elif sign in (">", ">="):
            events.append({"introduced": version})
        else:
            events.append({"fixed" if sign == "<" else "last_affected": version})
    if not versions and not any("introduced" in event for event in events):
        events.insert(0, {"introduced": "0"})  # also when the range says nothing: everything is covered
    patched = item.get("first_patched_version")
    named = cast("dict[str, Any]", patched).get("identifier") if isinstance(patched, dict) else patched
    if named and not any("fixed" in event for event in events) and events:
        events = [event for event in events if "last_affected" not in event] + [{"fixed": str(named)}]
    ranges = [{"type": "ECOSYSTEM", "events": events}] if events else []
    return {
        "package": {"ecosystem": _ECOSYSTEMS.get(ecosystem, ecosystem), "name": str(package["name"])},
        "ranges": ranges,
        "versions": versions,
    }
