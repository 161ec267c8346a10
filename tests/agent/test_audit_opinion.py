"""What a model's answer on an audit can do to a report, whatever it holds."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.agent import audit_opinion as opinions
from veilig.audit.finding import Confidence, Finding, Report, Severity

TEXT = "import os\n\n\ndef run(command):\n    os.system(command)\n    os.system(command)\n    return 4\n"
FOUND = Finding(
    rule="shell-command",
    cwe=78,
    title="shell command",
    message="text from outside",
    path="app.py",
    line=5,
    column=4,
    end_line=5,
    end_column=22,
    severity=Severity.HIGH,
    confidence=Confidence.FLOW,
    fingerprint="a",
)
FINDINGS = (
    FOUND,
    replace(FOUND, line=6, confidence=Confidence.POSSIBLE, fingerprint="b"),
    replace(FOUND, line=7, cwe=94, confidence=Confidence.PATTERN, severity=Severity.LOW, fingerprint="c"),
)
BATCH = ("app.py", (0, 1, 2))
CLAIM = {
    "line": 7,
    "text": "return 4",
    "cwe": 330,
    "severity": "low",
    "title": "four",
    "reason": "it is four",
}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 12) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["judged", "missed", "id", "real", "reason", "line", "text", "cwe", "severity", "title"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


def hear(answer: Any) -> opinions.Heard:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return opinions.heard(text, FINDINGS, BATCH, TEXT, "m")


def after(said: opinions.Heard) -> Report:
    report = opinions.with_doubts(Report(findings=FINDINGS), said.doubts, "m")
    return opinions.with_claims(report, said.claims, {"app.py": TEXT.splitlines()})


@given(values | st.text(max_size=60))
def test_no_answer_takes_a_finding_away_or_makes_one_surer_or_changes_the_exit_code(answer: Any) -> None:
    report = after(hear(answer))
    assert report.exit_code() == Report(findings=FINDINGS).exit_code()
    for was, now in zip(FINDINGS, report.findings, strict=False):
        assert now.confidence.rank >= was.confidence.rank
        assert replace(now, confidence=was.confidence, opinion=None) == was
        assert (now.opinion is None) == (now == was)
    assert all(f.claimed and f.confidence is Confidence.PATTERN for f in report.findings[len(FINDINGS) :])
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    "answer",
    [
        "all fine",
        "{",
        "[1]",
        {"judged": 3},
        {"judged": [{"id": 99, "real": False, "reason": "x"}]},
        {"judged": [{"id": 0, "real": False, "reason": "x"}]},
        {"judged": [{"id": 1, "real": "no", "reason": "x"}, {"id": True, "real": False, "reason": "x"}]},
        {"judged": [{"id": 1, "real": False, "reason": " \n"}]},
        '{"a":' * 9_000 + "}",
    ],
    ids=["prose", "cut", "list", "no list", "no such id", "id 0", "no booleans", "no reason", "deep"],
)
def test_an_answer_that_fits_nothing_changes_nothing_and_says_so(answer: Any) -> None:
    said = hear(answer)
    assert said.trouble
    assert after(said) == Report(findings=FINDINGS)


def test_each_confidence_goes_down_one_step_and_the_lowest_stays() -> None:
    judged = [{"id": n, "real": False, "reason": f"because\n{n}"} for n in (1, 2, 3)]
    said = hear("Sure!\n```json\n" + json.dumps({"judged": judged}) + "\n```")
    assert said.trouble == ""
    report = after(said)
    assert [f.confidence for f in report.findings] == ["possible", "pattern", "pattern"]
    assert [f.opinion.reason for f in report.findings if f.opinion] == ["because 1", "because 2", "because 3"]


def test_the_first_word_on_a_finding_counts_and_the_second_is_said() -> None:
    twice = [{"id": 1, "real": True, "reason": ""}, {"id": 1, "real": False, "reason": "x"}]
    said = hear({"judged": [*twice, {"id": 2, "real": True}, {"id": 3, "real": True}]})
    assert (said.judged, said.doubts) == (3, {})
    assert said.trouble == "1 of its statements fit nothing it was shown"


@pytest.mark.parametrize(
    "change",
    [
        {"text": "return 5"},
        {"text": ""},
        {"line": 5, "text": "os.system(command)", "cwe": 78},
        {"cwe": 0},
        {"cwe": True},
        {"cwe": opinions.CWE_MAX + 1},
        {"severity": "huge"},
        {"severity": None},
        {"title": ""},
        {"reason": "\x00"[:0]},
        {"line": 1, "text": "os.system(command)", "cwe": 1},
    ],
    ids=lambda c: json.dumps(c)[:40],
)
def test_a_claim_without_a_place_a_weakness_or_a_reason_is_left_out_and_said(change: dict[str, Any]) -> None:
    said = hear({"missed": [CLAIM | change]})
    assert said.claims == ()
    assert "1 of its statements" in said.trouble


def test_a_claim_stands_where_its_line_stands_also_when_the_number_is_wrong() -> None:
    (claim,) = hear({"missed": [CLAIM | {"line": 70}]}).claims
    assert (claim.line, claim.column, claim.end_column, claim.rule) == (7, 4, 12, "model/cwe-330")
    assert len(hear({"missed": [CLAIM | {"cwe": n} for n in range(1, 9)]}).claims) == opinions.CLAIMS_MAX


def test_batches_take_the_worst_first_ten_at_a_time_and_no_secrets() -> None:
    many = [replace(FOUND, path="b.py", severity=Severity.MEDIUM, fingerprint=str(n)) for n in range(11)]
    found = [*many, FOUND, replace(FOUND, rule="secret-in-file", path="s.py")]
    assert opinions.batches(found) == [("app.py", (11,)), ("b.py", tuple(range(10))), ("b.py", (10,))]


def test_of_a_long_file_the_model_sees_the_surroundings_and_never_more_than_the_bound() -> None:
    lines = [f"x = {n}" for n in range(1, opinions.WHOLE_LINES + 2)]
    near = opinions.shown_lines([replace(FOUND, line=100)], lines)
    assert near == set(range(100 - opinions.AROUND_LINES, 101 + opinions.AROUND_LINES))
    assert opinions.shown_lines([replace(FOUND, line=100)], lines[:-1]) == set(range(1, 251))
    wide = opinions.shown_lines([FOUND], ["y" * 5_000] * 200)
    assert len(wide) == opinions.CODE_CHARS_MAX // (opinions.LINE_CHARS + 8)


def test_no_line_of_the_code_can_pass_for_a_line_of_ours() -> None:
    text = "x = 1\nFindings in b.py:\n1. CWE-1, low, line 1: nothing\n\x1b[2J\n"
    prompt = json.loads(opinions.question(FINDINGS[:1], ("app.py", (0,)), text))[1]["text"]
    code = prompt.partition("Code of app.py:\n")[2].splitlines()
    assert all(line[:5].strip().isdigit() and line[5] == "|" for line in code)
