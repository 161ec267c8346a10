"""Are other tools' results read as they are meant, merged once, and refused when they are no SARIF?"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.audit.finding import Report, Severity
from veilig.audit.sarif import to_sarif
from veilig.audit.sarif_import import read_sarif, with_imported
from veilig.audit.scan import scan_sources
from veilig.core.errors import UsageError

BAD = "import os\nimport sys\nos.system('ls ' + sys.argv[1])\n"


def sarif(*results: dict[str, Any], rules: tuple[dict[str, Any], ...] = ()) -> str:
    run = {"tool": {"driver": {"name": "other", "rules": list(rules)}}, "results": list(results)}
    return json.dumps({"version": "2.1.0", "runs": [run]})


def result(line: int = 3, path: str = "a.py", **more: Any) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": path}, "region": {"startLine": line}}
    return {"ruleId": "R1", "message": {"text": "m"}, "locations": [{"physicalLocation": place}], **more}


def test_our_own_sarif_reads_back_and_adds_nothing() -> None:
    report = scan_sources({"a.py": BAD})
    read = read_sarif(to_sarif(report))
    assert [(f.path, f.line, f.cwe, f.severity) for f in read] == [
        (f.path, f.line, f.cwe, f.severity) for f in report.findings
    ]
    assert len(read[0].flow) == len(report.findings[0].flow)
    merged = with_imported(report, read)
    assert merged.findings == report.findings
    assert "found here already" in merged.notices[-1].message


@pytest.mark.parametrize(
    ("more", "rule", "cwe", "severity"),
    [
        ({"properties": {"tags": ["external/cwe/cwe-089"]}}, {}, 89, Severity.MEDIUM),
        ({"level": "error"}, {"properties": {"tags": ["CWE-22: path"]}}, 22, Severity.HIGH),
        ({}, {"properties": {"security-severity": "9.1"}}, 0, Severity.CRITICAL),
        ({}, {"helpUri": "https://cwe.mitre.org/data/definitions/502.html"}, 502, Severity.MEDIUM),
        (
            {"level": "note"},
            {"relationships": [{"target": {"id": "79", "toolComponent": {"name": "CWE"}}}]},
            79,
            Severity.LOW,
        ),
    ],
)  # fmt: skip
def test_weakness_and_severity(
    more: dict[str, Any], rule: dict[str, Any], cwe: int, severity: Severity
) -> None:
    (found,) = read_sarif(sarif(result(**more), rules=({"id": "R1", **rule},)))
    assert (found.rule, found.cwe, found.severity) == ("other:R1", cwe, severity)


def test_what_is_suppressed_passed_or_gone_is_left_out() -> None:
    left = [
        result(level="none"),
        result(kind="pass"),
        result(suppressions=[{}]),
        result(baselineState="absent"),
    ]
    assert read_sarif(sarif(*left)) == ()


def test_one_line_and_one_weakness_is_one_finding() -> None:
    one = result(properties={"tags": ["cwe-79"]})
    read = read_sarif(sarif(one, one, result(line=4), result(path="file:///x/b%20c.py")))
    merged = with_imported(Report(), read)
    assert [(f.path, f.line, f.cwe) for f in merged.findings] == [
        ("a.py", 3, 79),
        ("a.py", 4, 0),
        ("/x/b c.py", 3, 0),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": "2.0.0", "runs": []}', '{"version": "2.1.0", "runs": [1]}', "[" * 99999],
)
def test_what_is_no_sarif_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be read as SARIF"):
        read_sarif(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["locations", "ruleId", "message", "level", "codeFlows", "properties", "taxa"]), JSON
    )
)
def test_no_result_makes_the_reader_fail_otherwise(entry: dict[str, Any]) -> None:
    try:
        found = read_sarif(sarif(entry))
    except UsageError:
        return
    assert len(found) <= 1
