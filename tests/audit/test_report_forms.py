"""Do Markdown, HTML and SARIF say the same, and can the audited text add nothing of its own to them?"""

import gzip
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.audit.baseline import baseline_of, without_known
from veilig.audit.finding import Confidence, Finding, Report, Severity, Skipped, Step
from veilig.audit.html import picture, to_html
from veilig.audit.markdown import to_markdown
from veilig.audit.sarif import FileChange, Replacement, to_sarif
from veilig.audit.scan import scan_sources

BAD = """\
import os
import sys


def run():
    os.system("ls " + sys.argv[1])
"""
REPORT = scan_sources({"a b.py": BAD, "broken.py": "def"})


def finding(text: str) -> Finding:
    step = Step(text, 1, 0, text, text)
    return Finding("os-command", 78, text, text, text, 1, 0, 1, 1, Severity.HIGH, Confidence.FLOW, (step,))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, tuple(name for name, _ in attrs)))


def tags(page: str) -> list[tuple[str, tuple[str, ...]]]:
    parser = Tags()
    parser.feed(page)
    return parser.seen


def test_markdown_names_every_finding_and_everything_not_looked_at() -> None:
    text = to_markdown(REPORT, title="shop")
    assert "| high |" in text or "| critical |" in text
    assert "`a b.py:6`" in text
    assert "## Not looked at" in text
    assert "`broken.py`" in text


def test_the_page_is_one_file_with_a_picture_and_no_request() -> None:
    page = to_html(REPORT, pins=[{"severity": "", "title": "CVE-1: x 1", "path": "r.txt", "line": 1}])
    names = {tag for tag, _ in tags(page)}
    assert names.isdisjoint({"script", "link", "img", "iframe", "form"})
    assert "http://" not in page
    assert "https://" not in page
    assert "unknown" in page
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    assert ET.fromstring(svg).tag == "svg"


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_audited_text_adds_no_tag_to_the_page_and_no_line_to_the_markdown(text: str) -> None:
    hostile, plain = Report(findings=(finding(text),)), Report(findings=(finding("x"),))
    assert tags(to_html(hostile)) == tags(to_html(plain))
    assert to_markdown(hostile).count("\n") == to_markdown(plain).count("\n")


def test_markdown_escapes_links_images_html_and_mentions() -> None:
    text = to_markdown(Report(findings=(finding("![x](http://e) <b> @team a|b `c`"),)))
    assert "\\!\\[x\\]\\(http://e\\) \\<b\\> @\u200bteam a\\|b" in text


def test_the_picture_shows_the_worst_file_first_and_numbers_beside_the_bars() -> None:
    low = replace(finding("b.py"), severity=Severity.LOW)
    drawn = picture([low, low, finding("a.py")])
    assert drawn.index("a.py") < drawn.index("b.py")
    assert "H1" in drawn
    assert "L2" in drawn
    assert picture([]) == ""


def sarif(report: Report, **more: object) -> dict[str, object]:
    return json.loads(to_sarif(report, **more))["runs"][0]  # type: ignore[arg-type]


def test_sarif_has_what_code_scanning_asks_for() -> None:
    run = sarif(REPORT)
    (result,) = run["results"]  # type: ignore[misc]
    rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]  # type: ignore[index]
    assert rule["id"] == result["ruleId"]
    assert float(rule["properties"]["security-severity"]) >= 7
    assert rule["properties"]["precision"] in {"very-high", "high", "medium", "low"}
    assert len(rule["properties"]["tags"]) <= 20
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "a%20b.py", "uriBaseId": "%SRCROOT%"}
    assert result["partialFingerprints"]["primaryLocationLineHash"]
    assert len(result["codeFlows"][0]["threadFlows"][0]["locations"]) >= 2
    (taxonomy,) = run["taxonomies"]  # type: ignore[misc]
    relation = rule["relationships"][0]["target"]
    assert taxonomy["taxa"][relation["index"]]["id"] == relation["id"] == "78"
    assert run["invocations"][0]["executionSuccessful"] is False  # type: ignore[index]


def test_sarif_carries_fixes_as_regions() -> None:
    (found,) = REPORT.findings
    change = FileChange("a b.py", (Replacement(6, 4, 6, 35, "subprocess.run(...)"),))
    result = sarif(REPORT, fixes={found.fingerprint: ("use an argument list", (change,))})["results"][0]  # type: ignore[index]
    (fix,) = result["fixes"]
    assert fix["artifactChanges"][0]["replacements"][0]["insertedContent"]["text"] == "subprocess.run(...)"


def test_sarif_marks_the_baseline_as_external_and_stays_below_the_limits() -> None:
    known = without_known(REPORT, baseline_of([REPORT], "2026-11-21"))
    (result,) = sarif(known)["results"]  # type: ignore[misc]
    assert result["suppressions"][0]["kind"] == "external"
    many = tuple(replace(finding("a.py"), line=n, fingerprint=str(n)) for n in range(1, 6_001))
    worst = replace(finding("z.py"), severity=Severity.CRITICAL, fingerprint="w")
    text = to_sarif(Report(findings=(*many, worst), skipped=(Skipped("x.py", "too large"),)))
    run = json.loads(text)["runs"][0]
    assert len(run["results"]) == 5_000
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "z.py"
    told = [n["message"]["text"] for n in run["invocations"][0]["toolExecutionNotifications"]]
    assert "1001 less severe results were left out" in told
    assert len(gzip.compress(text.encode())) < 10 << 20


def test_the_same_report_gives_the_same_bytes() -> None:
    shuffled = replace(REPORT, findings=tuple(reversed(REPORT.findings)))
    assert to_sarif(REPORT) == to_sarif(shuffled)
