"""Does VEX silence only what it gives a reason for and the code does not import; does the SBOM read back?"""

import json
from typing import Any

import pytest

from veilig.audit.dependencies import read_dependencies
from veilig.audit.sbom import to_cyclonedx
from veilig.audit.vex import Judged, Status, judge, read_openvex, to_openvex
from veilig.core.errors import UsageError


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"@context": "https://openvex.dev/ns/v0.2.0", "statements": list(statements)})


def claim(status: str = "not_affected", **more: Any) -> dict[str, Any]:
    return {
        "vulnerability": {"name": "CVE-1", "aliases": ["GHSA-1"]},
        "products": [{"@id": "pkg:pypi/Jinja2@3.1.2"}],
        "status": status,
        **more,
    }


GOOD = claim(justification="vulnerable_code_not_in_execute_path")


def verdict(
    *rows: dict[str, Any], version: str = "3.1.2", names: tuple[str, ...] = ("CVE-1",), imported: bool = False
):
    return judge(read_openvex(document(*rows)), names, "jinja2", version, imported=imported)


def test_a_reasoned_claim_silences_exactly_its_pin_and_its_vulnerability() -> None:
    assert verdict(GOOD).silenced
    assert verdict(GOOD, names=("GHSA-1",)).silenced
    assert not verdict(GOOD, version="3.1.3").silenced
    assert not verdict(GOOD, names=("CVE-1", "CVE-2")).silenced
    assert not verdict(GOOD, names=()).silenced
    assert not verdict({**GOOD, "products": [{"@id": "pkg:oci/image"}]}).silenced
    assert verdict({**GOOD, "products": [{"@id": "pkg:pypi/jinja2"}]}).silenced


def test_a_package_that_the_code_imports_stays_with_the_claim_beside_it() -> None:
    judged = verdict(GOOD, imported=True)
    assert not judged.silenced
    assert "but the code imports jinja2" in judged.reason


@pytest.mark.parametrize("status", ["affected", "under_investigation"])
def test_other_claims_silence_nothing_and_the_last_one_counts(status: str) -> None:
    assert verdict(claim(status)) == Judged(False)
    assert verdict(GOOD, claim(status)) == Judged(False)
    assert verdict(claim(status), GOOD).silenced


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"@context": "https://example.org", "statements": []}', document(claim()),
     document(claim("fine")), document(claim(justification="because")), document({"status": "fixed"})],
)  # fmt: skip
def test_what_is_no_reasoned_openvex_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be used as OpenVEX"):
        read_openvex(text)


PIN = {"package": "jinja2", "version": "3.1.2", "rule": "CVE-1, CVE-2", "clean": "3.1.6"}


def test_what_is_written_reads_back() -> None:
    text = to_openvex([PIN], author="ann", timestamp="2026-11-21T12:00:00Z")
    statements = read_openvex(text)
    assert [(sorted(s.names), s.status) for s in statements] == [
        (["CVE-1"], Status.AFFECTED),
        (["CVE-2"], Status.AFFECTED),
    ]
    assert all(s.covers(min(s.names), "jinja2", "3.1.2") for s in statements)
    assert "update to 3.1.6" in text


def test_the_bill_of_materials_holds_each_component_once_and_reads_back() -> None:
    components = [
        ("jinja2", "3.1.2", "a.txt"),
        ("jinja2", "3.1.2", "uv.lock"),
        ("zope-interface", "5.0", "uv.lock"),
    ]
    text = to_cyclonedx(components, [PIN], version="0", timestamp="2026-11-21T12:00:00Z")
    found = read_dependencies({"bom.json": text})
    assert [(r.name, r.version) for r in found.requirements] == [
        ("jinja2", "3.1.2"),
        ("zope-interface", "5.0"),
    ]
    data = json.loads(text)
    assert [v["id"] for v in data["vulnerabilities"]] == ["CVE-1", "CVE-2"]
    assert text == to_cyclonedx(components[::-1], [PIN], version="0", timestamp="2026-11-21T12:00:00Z")
