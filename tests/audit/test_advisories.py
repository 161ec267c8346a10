"""Does the advisory database find what is known, unite what is one, and never call no data green?"""

import gzip
import json
from datetime import date
from pathlib import Path
from time import process_time

import pytest

from veilig.audit.advisories import AdvisoryDatabase, locate
from veilig.audit.advisories_severity import Severity, cvss3_base_score, rating
from veilig.audit.advisories_source import AdvisoryError
from veilig.audit.advisories_versions import Affected, Event, lowest_clean
from veilig.audit.dependencies import Requirement, read_dependencies

SNAPSHOT = Path(__file__).parents[2] / "data" / "advisories" / "pypi-advisories.jsonl.gz"


def record(name: str, package: str, *events: dict[str, str], **more: object) -> dict[str, object]:
    affected = {
        "package": package,
        "ecosystem": "PyPI",
        "ranges": [{"type": "ECOSYSTEM", "events": list(events)}],
        "versions": more.pop("versions", []),
    }
    return {
        "id": name,
        "aliases": [],
        "published": "2024-01-01",
        "summary": "s",
        "affected": [affected],
        **more,
    }


WORST = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
META = {"_meta": {"source": "test", "commit_date": "2024-10-10"}}
RECORDS = [
    record("PYSEC-1", "Demo_Pkg", {"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "2.0"},
           {"fixed": "2.3"}, aliases=["CVE-2024-1"], severity=[{"type": "CVSS_V3", "score": WORST}],
           database_specific={"cwe_ids": ["CWE-79"]}),
    record("GHSA-1", "demo-pkg", {"introduced": "0"}, {"fixed": "1.2"}, aliases=["CVE-2024-1"]),
    record("PYSEC-2", "demo-pkg", {"introduced": "0"}, {"fixed": "1.4"}),
    record("PYSEC-3", "demo-pkg", {"introduced": "0"}, {"last_affected": "0.5"}),
    record("PYSEC-4", "demo-pkg", {"introduced": "0"}, withdrawn="2024-02-02"),
    record("PYSEC-5", "listed", versions=["1.0"]),
    record("PYSEC-6", "open", {"introduced": "0"}),
]  # fmt: skip


def database(
    tmp_path: Path, *records: dict[str, object], meta: dict[str, object] | None = None
) -> AdvisoryDatabase:
    source = tmp_path / "advisories.jsonl"
    source.write_text("\n".join(json.dumps(row) for row in (meta or META, *(records or RECORDS))))
    return AdvisoryDatabase.build(source, tmp_path / "state" / "advisories.sqlite")


def pin(name: str, version: str | None) -> Requirement:
    return Requirement(name, version, f"=={version}", "requirements.txt", 4)


def test_aliases_are_one_row_and_the_clean_version_clears_every_advisory(tmp_path: Path) -> None:
    hits = database(tmp_path).match([pin("demo-pkg", "1.0")])
    assert [(hit.id, hit.aliases) for hit in hits] == [("CVE-2024-1", ("GHSA-1", "PYSEC-1")), ("PYSEC-2", ())]
    first = hits[0]
    assert (first.severity, first.score, first.cwes) == (Severity.CRITICAL, 9.8, ("CWE-79",))
    assert (first.lowest_clean, first.lowest_clean_in_branch) == ("1.4", None)
    assert (first.path, first.line) == ("requirements.txt", 4)
    assert hits[1].severity is Severity.UNKNOWN


@pytest.mark.parametrize(
    ("name", "version", "hit"),
    [
        ("demo-pkg", "1.3", True),
        ("demo-pkg", "1.4", False),
        ("demo-pkg", "1.4rc1", True),
        ("demo-pkg", "2.0", True),
        ("demo-pkg", "2.3", False),
        ("demo-pkg", "2.2.9+local", True),
        ("listed", "1.0", True),
        ("listed", "1.0.0", True),
        ("listed", "1.1", False),
        ("open", "99", True),
        ("unknown", "1", False),
    ],
)
def test_the_value_where_a_version_turns_clean(tmp_path: Path, name: str, version: str, hit: bool) -> None:
    assert bool(database(tmp_path).match([pin(name, version)])) is hit


def test_no_clean_version_is_invented(tmp_path: Path) -> None:
    assert database(tmp_path).match([pin("open", "1.0")])[0].lowest_clean is None
    assert database(tmp_path).match([pin("demo-pkg", None)]) == []


def test_a_clean_version_in_the_same_branch_is_told_apart() -> None:
    affected = [
        Affected((tuple(Event(*pair) for pair in events),), frozenset())
        for events in (
            [("introduced", "0"), ("fixed", "1.2.5"), ("introduced", "1.3.0"), ("fixed", "1.3.2")],
            [("introduced", "1.2.0"), ("fixed", "1.3.4")],
        )
    ]
    assert lowest_clean("1.2.0", affected) == "1.3.4"
    assert lowest_clean("1.2.0", affected, same_branch=True) is None
    assert lowest_clean("1.2.0", affected[:1], same_branch=True) == "1.2.5"


def test_an_event_without_an_order_never_hides_a_vulnerability() -> None:
    assert Affected(((Event("introduced", "odd!"), Event("fixed", "2.0")),), frozenset()).covers("1.0")
    assert Affected(((Event("introduced", "0"), Event("fixed", "odd!")),), frozenset()).covers("1.0")


@pytest.mark.parametrize(
    ("vector", "score"),
    [
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
        ("CVSS:3.0/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", 1.8),
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H", 9.9),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", None),
        ("nonsense", None),
    ],
)
def test_base_scores_agree_with_published_ones(vector: str, score: float | None) -> None:
    assert cvss3_base_score(vector) == score


def test_an_unrated_advisory_is_not_low() -> None:
    assert rating(None) is Severity.UNKNOWN


def test_old_and_undated_data_says_so(tmp_path: Path) -> None:
    found = database(tmp_path)
    assert found.age_days(date(2024, 10, 17)) == 7
    assert found.warning(date(2024, 10, 17)) == ""
    assert "8 days old" in found.warning(date(2024, 10, 18))
    assert "future" in found.warning(date(2024, 10, 9))
    undated = database(tmp_path, *RECORDS, meta={"_meta": {"source": "x"}})
    assert "without a date" in undated.warning(date(2024, 10, 10))


BAD = {
    "empty": "",
    "only the meta line": json.dumps(META),
    "not JSON": json.dumps(META) + "\n{",
    "not an object": json.dumps(META) + "\n[]",
    "not an OSV record": json.dumps(META) + '\n{"id": "x"}',
}


@pytest.mark.parametrize("text", BAD.values(), ids=list(BAD))
def test_bad_sources_are_errors_and_leave_the_database_as_it_was(tmp_path: Path, text: str) -> None:
    good = database(tmp_path)
    source = tmp_path / "bad.jsonl"
    source.write_text(text)
    with pytest.raises(AdvisoryError, match="not assessed"):
        AdvisoryDatabase.build(source, tmp_path / "state" / "advisories.sqlite")
    assert good.match([pin("demo-pkg", "1.0")])
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["advisories.sqlite"]


def test_a_missing_or_damaged_database_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AdvisoryError, match="not assessed"):
        AdvisoryDatabase.open(tmp_path / "gone.sqlite")
    (tmp_path / "torn.sqlite").write_bytes(b"SQLite format 3\x00 torn")
    with pytest.raises(AdvisoryError, match="not assessed"):
        AdvisoryDatabase.open(tmp_path / "torn.sqlite")
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(gzip.compress(b"{}")[:-4])
    with pytest.raises(AdvisoryError, match="not assessed"):
        AdvisoryDatabase.open(torn)


def test_the_data_is_looked_for_where_the_operator_said_first(tmp_path: Path) -> None:
    state, checkout = tmp_path / "state", tmp_path / "checkout"
    with pytest.raises(AdvisoryError, match="no advisory data"):
        locate({}, state, checkout)
    snapshot = checkout / "data" / "advisories" / "pypi-advisories.jsonl.gz"
    snapshot.parent.mkdir(parents=True)
    snapshot.touch()
    assert locate({}, state, checkout) == snapshot
    state.mkdir()
    (state / "advisories.sqlite").touch()
    assert locate({}, state, checkout) == state / "advisories.sqlite"
    chosen = tmp_path / "mine.jsonl"
    with pytest.raises(AdvisoryError, match="VEILIG_ADVISORIES"):
        locate({"VEILIG_ADVISORIES": str(chosen)}, state, checkout)
    chosen.touch()
    assert locate({"VEILIG_ADVISORIES": str(chosen)}, state, checkout) == chosen


def test_the_shipped_snapshot_finds_a_known_vulnerable_pin_quickly(tmp_path: Path) -> None:
    built = AdvisoryDatabase.build(SNAPSHOT, tmp_path / "advisories.sqlite")
    assert built.advisories > 2600
    assert "days old" in built.warning(date(2026, 11, 21))
    text = "jinja2==2.10\nflask==0.12\nurllib3==1.24.1\nrequests==2.19.0\n" * 1
    found = read_dependencies({"requirements.txt": text})
    started = process_time()
    hits = AdvisoryDatabase.open(tmp_path / "advisories.sqlite").match(found.pinned)
    assert process_time() - started < 1.0  # measured 0.01 s; loose, since machines are shared
    assert {hit.requirement.name for hit in hits} == {"jinja2", "flask", "urllib3", "requests"}
    names = [hit.id for hit in hits]
    assert len(names) == len(set(names))
    for hit in hits:
        assert hit.lowest_clean is None or not built.covers(hit.requirement.name, hit.lowest_clean)
    memory = AdvisoryDatabase.open(SNAPSHOT).match(found.pinned)
    assert memory == hits
