"""A strict reader of unified diffs: what `unified` writes comes back, anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.repair.edit import EditError, unified
from veilig.repair.patch import apply_unified

LINES = st.lists(st.sampled_from(["a", "b", "", "x = 1", "\r", "é", "\f"]), max_size=8)
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + end, LINES, st.sampled_from(["", "\n"]))
NAMES = st.sampled_from(["a.py", "pkg/b c.py", 'q"uote.txt', "é/ü.md"])


@given(st.dictionaries(NAMES, TEXTS), st.dictionaries(NAMES, TEXTS))
def test_a_diff_turns_the_old_files_into_the_new_ones(before: dict[str, str], after: dict[str, str]) -> None:
    got = dict(before)
    for path, text in apply_unified(before, unified(before, after)).items():
        if text is None:
            del got[path]
        else:
            got[path] = text
    assert got == after


def test_a_diff_for_another_text_is_refused() -> None:
    diff = unified({"a": "1\n2\n3\n"}, {"a": "1\nX\n3\n"})
    assert apply_unified({"a": "1\n2\n3\n"}, diff) == {"a": "1\nX\n3\n"}
    with pytest.raises(EditError, match="do not stand there"):
        apply_unified({"a": "1\nother\n3\n"}, diff)
    with pytest.raises(EditError, match="is not there"):
        apply_unified({}, diff)


@pytest.mark.parametrize(
    "diff",
    [
        "nonsense",
        "diff --git a/x b/x\nrename from x\n",
        "diff --git a/x b/x\n--- a/x\n",
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a",
    ],
    ids=["no header", "rename", "no plus", "cut hunk"],
)
def test_a_diff_that_cannot_be_read_is_refused(diff: str) -> None:
    with pytest.raises(EditError):
        apply_unified({"x": "a\n"}, diff)
