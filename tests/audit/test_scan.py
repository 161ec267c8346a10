"""Does a scan survive anything, say what it did not see, and keep its findings stable?"""

import ast
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilig.audit.collect import collect
from veilig.audit.finding import Confidence, Report, Severity
from veilig.audit.report import render_text
from veilig.audit.sarif import to_sarif
from veilig.audit.scan import ScanConfig, scan_sources
from veilig.core.errors import UsageError

BAD = "import os\nfrom flask import request\ndef f():\n    os.system(request.args['q'])\n"
STDLIB = Path(os.__file__).parent


def worker(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "veilig.audit.worker", str(root), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


HOSTILE = {
    "deep parentheses": "x = " + "(" * 10_000 + ")" * 10_000,
    "deep lists": "x = " + "[" * 150 + "]" * 150,
    "deep unary": "x = " + "-" * 10_000 + "1",
    "deep attributes": "x = a" + ".b" * 10_000,
    "deep calls": "x = a" + "()" * 5_000,
    "long sum": "x = 1" + " + 1" * 10_000,
    "deep subscripts": "x = a" + "[0]" * 5_000,
    "deep ifs": "\n".join(" " * depth + "if x:" for depth in range(95)) + "\n" + " " * 95 + "pass",
    "long elif": "if a:\n    pass\n" + "elif a:\n    pass\n" * 3_000,
    "deep lambdas": "x = " + "lambda: " * 3_000 + "1",
    "deep conditionals": "x = " + "1 if a else " * 3_000 + "1",
    "null byte": "x = 1\0",
    "not python": "def (",
    "huge power": "x = 9 ** 9 ** 9\ny = 'a' * 10 ** 12\nz = 1 << 10 ** 9\nw = '%1000000000d' % 1",
    "calls itself": "def f(x):\n    return f(f(x))\nf(f)\nclass A(A):\n    pass\nA().b.c()",
    "classes in a circle": "class A:\n    pass\nA.b = A\nclass B(A):\n    def __init__(self):\n"
    "        self.x = B()\nB()",
    "lone surrogate": "x = '\ud800'",
    "bad escape": "x = '\\d\\q'",
    "evil pattern": "import re\ndef f(x):\n    return re.fullmatch('(a+)+$' , x) or re.match('(' * 50, x)",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_reported_and_the_rest_is_analysed(text: str):
    report = scan_sources({"a_hostile.py": text, "z.py": BAD})
    assert [f.path for f in report.findings if f.rule == "command-injection"] == ["z.py"]
    assert {item.path for item in (*report.skipped, *report.incomplete)} <= {"a_hostile.py"}


def test_ten_thousand_levels_of_nesting_are_skipped_with_a_reason():
    report = scan_sources({"deep.py": HOSTILE["deep parentheses"], "z.py": BAD})
    assert [item.path for item in report.skipped] == ["deep.py"]
    assert report.files == 1


def test_functions_calling_each_other_without_end_come_to_an_end():
    body = "\n".join(
        f"def f{i}(x):\n" + "".join(f"    f{j}(x + {j})\n" for j in range(12)) for i in range(12)
    )
    report = scan_sources({"web.py": body, "z.py": BAD})
    assert "command-injection" in {finding.rule for finding in report.findings}


def test_a_scan_that_runs_out_of_time_says_so():
    report = scan_sources({"z.py": BAD}, ScanConfig(seconds_max=0.0))
    assert report.incomplete
    assert report.exit_code() == 3


def tree(root: Path) -> None:
    (root / "ok.py").write_text(BAD)
    (root / "latin.py").write_bytes(b"x = '\xe9'\n")
    (root / "declared.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    (root / "binary.py").write_bytes(b"\x00\x01\x02")
    with (root / "large.py").open("wb") as handle:
        handle.truncate(50 << 20)
    (root / "loop").symlink_to(root)
    (root / "gone.py").symlink_to(root / "nowhere.py")
    (root / "pipe.py").parent.mkdir(exist_ok=True)
    os.mkfifo(root / "pipe.py")
    deep = root
    for _ in range(45):
        deep /= "d"
        deep.mkdir()
    (deep / "far.py").write_text(BAD)


def test_files_that_cannot_be_read_are_skipped_with_a_reason_each(tmp_path: Path):
    tree(tmp_path)
    collected = collect(tmp_path)
    assert set(collected.files) == {"ok.py", "declared.py"}
    reasons = {item.path: item.reason for item in collected.skipped}
    assert {"latin.py", "binary.py", "large.py", "loop", "gone.py", "pipe.py"} <= set(reasons)
    assert any("directories deep" in reason for reason in reasons.values())


@pytest.mark.outside_gate
def test_the_worker_prints_a_report_that_reads_back_and_exits_1_on_findings(tmp_path: Path):
    tree(tmp_path)
    done = worker(tmp_path, "--json")
    report = Report.from_json(done.stdout)
    assert done.returncode == 1
    assert [finding.path for finding in report.findings] == ["ok.py"]
    assert len(report.skipped) == 7


@pytest.mark.outside_gate
def test_the_worker_exits_0_on_clean_3_on_unparsed_and_2_on_a_missing_root(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1\n")
    assert worker(tmp_path).returncode == 0
    (tmp_path / "b.py").write_text("def (")
    assert worker(tmp_path).returncode == 3
    assert worker(tmp_path / "nowhere").returncode == 2


@pytest.mark.outside_gate
def test_nothing_of_the_audited_code_is_run(tmp_path: Path):
    proof = tmp_path / "proof"
    (tmp_path / "setup.py").write_text(f"open({str(proof)!r}, 'w').write('run')\n")
    (tmp_path / "conftest.py").write_text(f"open({str(proof)!r}, 'w').write('run')\n")
    worker(tmp_path)
    assert not proof.exists()


def test_a_report_reads_back_unchanged():
    report = scan_sources({"z.py": BAD, "broken.py": "def ("})
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.pop("skipped"),
        lambda raw: raw.update(surprise=1),
        lambda raw: raw.update(version=99),
        lambda raw: raw.update(files="many"),
        lambda raw: raw["findings"][0].update(severity="cosmic"),
        lambda raw: raw["findings"][0].update(line=True),
        lambda raw: raw.update(findings={}),
    ],
)
def test_a_report_with_other_members_is_refused(change):
    raw = json.loads(scan_sources({"z.py": BAD}).to_json())
    change(raw)
    with pytest.raises(UsageError):
        Report.from_json(json.dumps(raw))


def test_fingerprints_survive_moved_lines_and_tell_equal_lines_apart():
    twice = BAD + "    os.system(request.args['q'])\n"
    before = scan_sources({"z.py": twice}).findings
    after = scan_sources({"z.py": "# a comment\n\n" + twice}).findings
    assert [f.fingerprint for f in before] == [f.fingerprint for f in after]
    assert len({f.fingerprint for f in before}) == 2


def suppressed(comment: str) -> Report:
    text = BAD.replace("['q'])", f"['q'])  {comment}")
    return scan_sources({"z.py": text}, ScanConfig(today="2026-06-01"))


def test_a_suppression_with_a_reason_silences_and_is_counted():
    report = suppressed("# veilig: ignore[CWE-78] reason=only admins reach it until=2026-06-01")
    assert report.findings == ()
    assert [(item.reason, item.until) for item in report.suppressed] == [
        ("only admins reach it", "2026-06-01")
    ]
    assert report.exit_code() == 0


@pytest.mark.parametrize(
    "comment",
    [
        "# veilig: ignore[CWE-78]",
        "# veilig: ignore[CWE-78] reason=",
        "# veilig: ignore[CWE-78] reason=old until=2026-05-31",
        "# veilig: ignore[CWE-78] reason=odd until=tomorrow",
    ],
)
def test_a_suppression_without_reason_or_after_its_day_does_not_count_and_is_noticed(comment: str):
    report = suppressed(comment)
    assert len(report.findings) == 1
    assert len(report.notices) == 1


def test_a_suppression_of_another_weakness_silences_nothing():
    report = suppressed("# veilig: ignore[CWE-79] reason=wrong one")
    assert len(report.findings) == 1


def test_test_files_are_not_reported_on_unless_asked():
    files = {"tests/test_x.py": BAD, "test_y.py": BAD}
    report = scan_sources(files)
    assert report.findings == ()
    assert report.outside_profile == ("test_y.py", "tests/test_x.py")
    assert len(scan_sources(files, ScanConfig(include_tests=True)).findings) == 2


def test_patterns_are_shown_only_when_asked_for():
    text = "try:\n    pass\nexcept Exception:\n    pass\n"
    assert scan_sources({"a.py": text}).findings == ()
    asked = scan_sources({"a.py": text}, ScanConfig(include_pattern=True))
    assert [finding.confidence for finding in asked.findings] == [Confidence.PATTERN]


def test_a_command_line_source_weighs_less_than_a_request():
    local = scan_sources({"a.py": "import os, sys\nos.system(sys.argv[1])\n"}).findings[0]
    remote = scan_sources({"a.py": BAD}).findings[0]
    assert (local.severity, remote.severity) == (Severity.HIGH, Severity.CRITICAL)


def test_the_text_report_shows_the_flow_and_never_a_control_character():
    report = scan_sources({"z.py": BAD.replace("os.system(", "os.system('\x1b[2J\u202e' + ")})
    text = render_text(report)
    assert "request.args" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "1 weakness (1 critical)" in text


def test_sarif_carries_cwe_flow_and_fingerprint():
    run = json.loads(to_sarif(scan_sources({"z.py": BAD, "b.py": "def ("})))["runs"][0]
    (result,) = run["results"]
    assert result["ruleId"] == "command-injection"
    assert "external/cwe/cwe-078" in run["tool"]["driver"]["rules"][0]["properties"]["tags"]
    assert result["partialFingerprints"]["primaryLocationLineHash"]
    steps = result["codeFlows"][0]["threadFlows"][0]["locations"]
    assert steps[0]["location"]["physicalLocation"]["artifactLocation"]["uri"] == "z.py"
    assert run["invocations"][0]["executionSuccessful"] is False
    assert "b.py" in json.dumps(run["invocations"][0]["toolExecutionNotifications"])


MODULES = sorted(path for path in STDLIB.glob("*.py") if path.stat().st_size < 25_000)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.sampled_from(MODULES), st.data())
def test_a_scan_never_raises_on_rearranged_real_code(path: Path, data: st.DataObject):
    body = ast.parse(path.read_text()).body
    chosen = data.draw(st.lists(st.sampled_from(body), min_size=1, max_size=12))
    text = "\n".join(ast.unparse(statement) for statement in chosen)
    report = scan_sources({path.name: text}, ScanConfig(include_pattern=True))
    assert report.files + len(report.skipped) == 1
    assert Report.from_json(report.to_json()) == report


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200))
def test_a_scan_never_raises_on_any_text(text: str):
    report = scan_sources({"a.py": text})
    assert report.files + len(report.skipped) == 1


def test_today_is_used_when_no_day_is_given():
    tomorrow = (datetime.now(UTC).date() + timedelta(days=1)).isoformat()
    text = BAD.replace("['q'])", f"['q'])  # veilig: ignore[CWE-78] reason=known until={tomorrow}")
    assert scan_sources({"z.py": text}).findings == ()
