"""Do a checkout, a zip and GitHub's own JSON make the same database, and is bad data refused by name?"""

import json
import os
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path

import pytest

from veilig.audit.advisories import AdvisoryDatabase, VulnerablePin
from veilig.audit.advisories_files import AdvisoryError
from veilig.audit.advisories_severity import Severity, cvss4_base_score
from veilig.audit.dependencies import Requirement

YAML = """\
id: PYSEC-2024-1
aliases: [CVE-2024-1]
modified: 2024-10-01T12:00:00Z
published: 2024-09-01T12:00:00Z
summary: a flaw
affected:
- package:
    name: Demo_Pkg
    ecosystem: PyPI
  ranges:
  - type: ECOSYSTEM
    events:
    - introduced: '0'
    - fixed: 1.10
  versions: [1.2, 1.9]
"""
GHSA = {
    "ghsa_id": "GHSA-aaaa-bbbb-cccc",
    "cve_id": "CVE-2024-1",
    "summary": "a flaw",
    "severity": "high",
    "published_at": "2024-09-01T12:00:00Z",
    "updated_at": "2024-10-03T12:00:00Z",
    "withdrawn_at": None,
    "cwes": [{"cwe_id": "CWE-79"}],
    "vulnerabilities": [
        {"package": {"ecosystem": "pip", "name": "demo-pkg"}, "vulnerable_version_range": ">= 1.0, < 1.10",
         "first_patched_version": "1.10"},
        {"package": {"ecosystem": "npm", "name": "demo-pkg"}, "vulnerable_version_range": "< 9"},
    ],
}  # fmt: skip
NPM = {
    "id": "GHSA-npm",
    "modified": "2024-10-02T00:00:00Z",
    "affected": [{"package": {"ecosystem": "npm", "name": "left"}}],
}


def match(path: Path, version: str, tmp_path: Path) -> list[VulnerablePin]:
    database = AdvisoryDatabase.build(path, tmp_path / "state" / "advisories.sqlite")
    pin = Requirement("demo-pkg", version, f"=={version}", "requirements.txt", 1)
    return database.match([pin])


def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "advisory-database"
    (folder / "vulns" / "demo").mkdir(parents=True)
    (folder / ".github" / "workflows").mkdir(parents=True)
    (folder / "vulns" / "demo" / "PYSEC-2024-1.yaml").write_text(YAML)
    (folder / ".github" / "workflows" / "ci.yml").write_text("id: [broken")
    (folder / "package.json").write_text('{"name": "no advisory"}')
    return folder


def test_a_checkout_in_yaml_keeps_versions_as_text(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    (found,) = match(folder, "1.9", tmp_path)
    assert (found.id, found.lowest_clean, found.severity) == ("CVE-2024-1", "1.10", Severity.UNKNOWN)
    assert match(folder, "1.10", tmp_path) == []


def test_a_zip_counts_what_it_leaves_out_and_dates_itself(tmp_path: Path) -> None:
    source = tmp_path / "all.zip"
    gone = {**NPM, "id": "PYSEC-9", "withdrawn": "2024-01-01T00:00:00Z"}
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("GHSA-npm.json", json.dumps(NPM))
        archive.writestr("PYSEC-9.json", json.dumps(gone))
        archive.writestr("a/PYSEC-2024-1.yaml", YAML)
    database = AdvisoryDatabase.build(source, tmp_path / "a.sqlite", facts={"synced_at": "now"})
    assert database.as_of() == date(2024, 10, 2)
    assert database.names() == {"demo-pkg"}
    kept = {k: database.meta[k] for k in ("withdrawn", "other_ecosystems", "license", "synced_at")}
    assert kept == {"withdrawn": "1", "other_ecosystems": "1", "license": "CC-BY-4.0", "synced_at": "now"}
    assert len(database.meta["sha256"]) == 64
    assert not (tmp_path / "a.sqlite").stat().st_mode & 0o222


@pytest.mark.parametrize(("version", "hit"), [("0.9", False), ("1.0", True), ("1.9", True), ("1.10", False)])
def test_githubs_own_form_has_the_same_ranges(version: str, hit: bool, tmp_path: Path) -> None:
    source = tmp_path / "ghsa.json"
    source.write_text(json.dumps([GHSA]))
    found = match(source, version, tmp_path)
    assert [(f.id, f.severity, f.cwes) for f in found] == (
        [("CVE-2024-1", Severity.HIGH, ("CWE-79",))] if hit else []
    )


def test_two_sources_make_one_row_and_the_rating_of_either(tmp_path: Path) -> None:
    ghsa = tmp_path / "ghsa.json"
    ghsa.write_text(json.dumps(GHSA))
    database = AdvisoryDatabase.build(checkout(tmp_path), tmp_path / "a.sqlite", ghsa)
    (found,) = database.match([Requirement("demo-pkg", "1.9", "==1.9", "r.txt", 1)])
    assert (found.id, found.aliases) == ("CVE-2024-1", ("GHSA-aaaa-bbbb-cccc", "PYSEC-2024-1"))
    assert found.severity is Severity.HIGH


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b'{"id": "X", "affected": [{"package": {"ecosystem": "PyPI"}}]}', "not an OSV record"),
        ("a.json", b"{", "not JSON"),
        ("a.yaml", b"a: [", "not YAML"),
        ("a.yaml", b"a: &a [x]\nb: [" + b"*a," * 101 + b"]", "aliases"),
        ("a.jsonl", b"[]\n", "not a JSON object"),
        ("a.zip", b"PK no zip", "not a zip"),
        ("a.jsonl.zst", b"x", "unpack it first"),
        ("a.json", b"[]", "no advisories"),
        ("a.json", b"{}", "not an OSV record"),
    ],
)
def test_bad_data_is_refused_and_the_old_database_stays(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    target = tmp_path / "state" / "advisories.sqlite"
    AdvisoryDatabase.build(checkout(tmp_path), target)
    before = target.read_bytes()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AdvisoryError) as caught:
        AdvisoryDatabase.build(tmp_path / name, target)
    assert says in f"{caught.value.why} {caught.value.fix}"
    assert name in caught.value.what
    assert target.read_bytes() == before


def test_cvss_4_needs_its_package_and_never_guesses() -> None:
    pytest.importorskip("cvss")
    worst = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"
    assert cvss4_base_score(worst) == 9.3
    assert cvss4_base_score("CVSS:4.0/AV:N") is None


@pytest.mark.outside_gate
def test_the_command_makes_the_database_and_tells_its_age(tmp_path: Path) -> None:
    home = {k: v for k, v in os.environ.items() if not k.startswith("VEILIG_")}
    home["VEILIG_HOME"] = str(tmp_path / "home")
    program = "import sys, argparse; from veilig.cli import advisories as a; p = argparse.ArgumentParser();"
    program += "a.options(p); sys.exit(a.run(p.parse_args(sys.argv[1:])))"

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", program, *words]
        return subprocess.run(argv, env=home, capture_output=True, text=True, check=False)

    made = call("sync", "--from", str(checkout(tmp_path)), "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["advisories"] == 1
    told = call("status")
    assert (told.returncode, "as of   2024-10-01" in told.stdout, "days old" in told.stdout) == (
        0,
        True,
        True,
    )
    refused = call("sync", "--from", "http://127.0.0.1:9/all.zip")
    assert refused.returncode != 0
    assert "the database is as it was" in refused.stderr
