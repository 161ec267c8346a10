"""Which components does a project have, as a CycloneDX bill of materials?"""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from veilig.audit.vex import purl

SPEC = "1.6"


def to_cyclonedx(
    components: Sequence[tuple[str, str, str]],
    pins: Sequence[Mapping[str, Any]] = (),
    *,
    version: str,
    timestamp: str,
) -> str:
    """CycloneDX 1.6 JSON: every pinned distribution once, its vulnerabilities, and where it is pinned.

    components: (name, version, file). pins: vulnerable ones as the audit worker lists them. The serial
    number is made from the content: the same components give the same document for one timestamp.
    Source: CycloneDX 1.6 JSON reference.
    """
    places: dict[tuple[str, str], set[str]] = {}
    for name, pinned, path in components:
        places.setdefault((name, pinned), set()).add(path)
    rows = [
        {
            "type": "library",
            "bom-ref": purl(name, pinned),
            "name": name,
            "version": pinned,
            "purl": purl(name, pinned),
            "evidence": {"occurrences": [{"location": path} for path in sorted(files)]},
        }
        for (name, pinned), files in sorted(places.items())
    ]
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).digest()
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
        "version": 1,
        "metadata": {
            "timestamp": timestamp,
            "tools": {"components": [{"type": "application", "name": "veilig", "version": version}]},
        },
        "components": rows,
        "vulnerabilities": _vulnerabilities(pins),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _vulnerabilities(pins: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    affected: dict[str, set[str]] = {}
    for pin in pins:
        for name in str(pin.get("rule", "")).split(", "):
            affected.setdefault(name, set()).add(purl(str(pin["package"]), str(pin["version"])))
    return [
        {"id": name, "affects": [{"ref": ref} for ref in sorted(refs)]}
        for name, refs in sorted(affected.items())
    ]
