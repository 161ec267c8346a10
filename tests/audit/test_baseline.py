"""Does a baseline hide exactly what was known, and a diff show exactly what it added?"""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.audit.baseline import Baseline, added_lines, baseline_of, gone, only_added, without_known
from veilig.audit.scan import scan_sources
from veilig.core.errors import UsageError

BAD = """\
import os
import sys


def run():
    os.system("ls " + sys.argv[1])
"""
WORSE = BAD + "    os.system('cat ' + sys.argv[2])\n"


def test_known_findings_are_suppressed_and_new_ones_stay_even_when_lines_move() -> None:
    before = scan_sources({"a.py": BAD})
    known = Baseline.from_json(baseline_of([before], "2026-11-21").to_json())
    after = scan_sources({"a.py": "# moved\n\n" + WORSE})
    shown = without_known(after, known)
    assert [f.line for f in shown.findings] == [9]
    assert [(s.finding.line, s.reason) for s in shown.suppressed] == [(8, "in the baseline of 2026-11-21")]
    assert gone([shown], known) == ()


def test_what_is_fixed_is_a_notice_so_that_the_baseline_shrinks() -> None:
    known = baseline_of([scan_sources({"a.py": BAD})], "")
    (notice,) = gone([scan_sources({"a.py": "x = 1\n"})], known)
    assert (notice.path, notice.line) == ("a.py", 6)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"version": 2, "known": []}', '{"version": 1, "known": [{}]}', "{" * 9000]
)
def test_an_unreadable_baseline_is_an_error_and_never_an_empty_one(text: str) -> None:
    with pytest.raises(UsageError, match="not a baseline"):
        Baseline.from_json(text)


DIFF = """\
diff --git a/a.py b/a.py
index 1..2 100644
--- a/a.py
+++ b/a.py
@@ -5,2 +5,3 @@ def run():
 def run():
     os.system("ls " + sys.argv[1])
+    os.system('cat ' + sys.argv[2])
\\ No newline at end of file
diff --git a/gone.py b/gone.py
--- a/gone.py
+++ /dev/null
@@ -1 +0,0 @@
-x = 1
"""


def test_a_diff_names_its_added_lines() -> None:
    assert added_lines(DIFF) == {"a.py": frozenset({7})}
    assert added_lines("") == {}
    assert added_lines("diff --git a/x b/x\nrename from x\nrename to y\n") == {}
    quoted = '--- "a/\\303\\274.py"\n+++ "b/\\303\\274.py"\n@@ -0,0 +1,2 @@\n+a\n+++ b/no.py\n'
    assert added_lines(quoted) == {"ü.py": frozenset({1, 2})}


@pytest.mark.parametrize("text", ["no diff", DIFF.replace("-5,2 +5,3", "-5,9 +5,9")])
def test_what_is_no_whole_diff_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        added_lines(text)


def test_only_findings_on_added_lines_are_shown() -> None:
    report = only_added(scan_sources({"a.py": WORSE, "b.py": BAD}), added_lines(DIFF))
    assert [(f.path, f.line) for f in report.findings] == [("a.py", 7)]


@given(st.text(alphabet="+-@ ,019\n\\ab/d", max_size=200))
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    with contextlib.suppress(UsageError):
        added_lines(text)


def test_a_form_feed_in_a_diff_moves_no_line_and_hides_none() -> None:
    diff = "--- a/m.py\n+++ b/m.py\n@@ -1,2 +1,3 @@\n x = 1  # \x0c page\n+# \u2028 two\n+os.system(q)\n"
    assert added_lines(diff.replace("-1,2 +1,3", "-1 +1,3")) == {"m.py": frozenset({2, 3})}


def test_a_line_that_looks_like_a_head_is_the_content_of_its_hunk() -> None:
    diff = "--- a/m.txt\n+++ b/m.txt\n@@ -1 +1,3 @@\n x\n+++ b/other.py\n+y\n"
    assert added_lines(diff) == {"m.txt": frozenset({2, 3})}
