"""Is a diff applied as it is meant, and refused when it does not fit?"""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.audit.patch_apply import apply_diff, without_binary
from veilig.core.errors import UsageError

TREE = {"a.py": "one\ntwo\nthree\n", "b.py": "x"}


def plain(path: str, before: str, after: str, old: str = "a/", new: str = "b/") -> str:
    rows = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{old}{path}", f"{new}{path}", lineterm=""
    )
    return "\n".join(rows) + "\n"


def test_a_change_gives_text_and_added_lines() -> None:
    done = apply_diff(TREE, plain("a.py", TREE["a.py"], "one\n2\n2.5\nthree\n"))
    assert (done.after, done.added) == ({"a.py": "one\n2\n2.5\nthree\n"}, {"a.py": frozenset({2, 3})})


def test_new_removed_and_renamed_files() -> None:
    made = apply_diff({}, "--- /dev/null\n+++ b/n.py\n@@ -0,0 +1,2 @@\n+a\n+b\n")
    assert (made.after, made.added) == ({"n.py": "a\nb\n"}, {"n.py": frozenset({1, 2})})
    assert apply_diff(TREE, "--- a/b.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n").after == {"b.py": None}
    moved = apply_diff(
        TREE, "diff --git a/a.py b/c.py\nsimilarity index 100%\nrename from a.py\nrename to c.py\n"
    )
    assert moved.after == {"a.py": None, "c.py": TREE["a.py"]}


def test_a_wrong_position_is_forgiven_and_a_wrong_line_is_not() -> None:
    shifted = "--- a.py\n+++ a.py\n@@ -90,1 +90,2 @@\n two\n+new\n"
    assert apply_diff(TREE, shifted).added == {"a.py": frozenset({3})}
    with pytest.raises(UsageError, match="do not stand there"):
        apply_diff(TREE, shifted.replace(" two", " other"))


def test_a_handle_in_the_context_matches_the_secret_in_the_tree() -> None:
    diff = "--- a/s.py\n+++ b/s.py\n@@ -1,1 +1,2 @@\n key = '‹secret:key#abcdef›'\n+x = 1\n"
    assert apply_diff({"s.py": "key = 'value'\n"}, diff).added == {"s.py": frozenset({2})}


@pytest.mark.parametrize(
    "diff",
    [
        "",
        "words",
        "--- a/../e.py\n+++ b/../e.py\n@@ -0,0 +1 @@\n+x\n",
        "--- a/gone.py\n+++ b/gone.py\n@@ -1 +1 @@\n-x\n+y\n",
        "--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,4 @@\n one\n",
        "--- /dev/null\n+++ /etc/x\n@@ -0,0 +1 @@\n+x\n",
    ],
)
def test_what_does_not_fit_is_refused(diff: str) -> None:
    with pytest.raises(UsageError):
        apply_diff(TREE, diff)


LINES = st.lists(st.sampled_from(["a", "b", "c", "", "+x", "-y", "--- q"]), min_size=1, max_size=8)


@given(LINES, LINES)
def test_every_diff_leads_from_one_text_to_the_other(before: list[str], after: list[str]) -> None:
    old, new = "\n".join(before) + "\n", "\n".join(after) + "\n"
    diff = plain("f", old, new)
    if diff.strip():
        done = apply_diff({"f": old}, diff)
        assert done.after == {"f": new}
        assert all(1 <= n <= len(after) for n in done.added["f"])


def test_a_binary_file_in_a_plain_diff_takes_no_other_file_with_it() -> None:
    diff = (
        "diff -ruN a/x.bin b/x.bin\nBinary files a/x.bin and b/x.bin differ\n"
        "--- a/new.py\t1970-01-01\n+++ b/new.py\t2026-01-01\n@@ -0,0 +1 @@\n+x = 1\n"
    )
    kept, binary = without_binary(diff)
    assert binary == ["b/x.bin"]
    assert apply_diff({}, kept).after == {"new.py": "x = 1\n"}
