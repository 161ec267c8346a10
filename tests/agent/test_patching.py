"""Edits as models write them: they fit exactly, or nothing is changed and the model is told why."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.agent.patching import PatchError, patch_paths, patched, replaced

LINES = st.lists(st.sampled_from(["a", "b", "  c", "", "def f():", "    return 1", "x = 2"]), max_size=12)


def as_patch(path: str, old: list[str], new: list[str]) -> str:
    """A patch as a careful model writes it: one hunk with everything around it."""
    rows = [row for row in difflib.ndiff(old, new) if not row.startswith("?")]
    body = [f"{row[0]}{row[2:]}" for row in rows]
    return "\n".join(["*** Begin Patch", f"*** Update File: {path}", "@@", *body, "*** End Patch"])


@given(LINES, LINES)
def test_a_patch_from_one_text_to_another_makes_the_other(old: list[str], new: list[str]) -> None:
    before, after = "".join(f"{x}\n" for x in old), "".join(f"{x}\n" for x in new)
    got = patched(as_patch("a.py", old, new), {"a.py": before})
    assert got.get("a.py", before) == after


def test_context_is_found_though_its_blanks_were_copied_badly() -> None:
    patch = "*** Begin Patch\n*** Update File: a.py\n@@ def f():\n-return 1\n+    return 2\n*** End Patch"
    assert patched(patch, {"a.py": "def f():\n    return 1\n"}) == {"a.py": "def f():\n    return 2\n"}


def test_an_anchor_says_which_of_two_equal_places_is_meant() -> None:
    text = "def f():\n    return 1\n\ndef g():\n    return 1\n"
    patch = "*** Begin Patch\n*** Update File: a.py\n@@ def g():\n-    return 1\n+    return 2\n*** End Patch"
    assert patched(patch, {"a.py": text}) == {"a.py": text[:-2] + "2\n"}


def test_files_are_made_moved_and_removed() -> None:
    patch = (
        "*** Begin Patch\n*** Add File: new.py\n+a = 1\n*** Delete File: old.py\n"
        "*** Update File: was.py\n*** Move to: is.py\n@@\n-b\n+c\n*** End Patch"
    )
    assert patch_paths(patch) == ("new.py", "old.py", "was.py", "is.py")
    texts = {"new.py": None, "old.py": "x\n", "was.py": "b\n", "is.py": None}
    assert patched(patch, texts) == {"new.py": "a = 1\n", "old.py": None, "was.py": None, "is.py": "c\n"}


def test_line_ends_and_a_missing_last_one_are_kept() -> None:
    patch = "*** Begin Patch\n*** Update File: a.py\n@@\n-b\n+c\n*** End Patch"
    assert patched(patch, {"a.py": "a\r\nb\r\n"}) == {"a.py": "a\r\nc\r\n"}
    assert patched(patch, {"a.py": "a\nb"}) == {"a.py": "a\nc"}
    assert replaced("a\r\nb\r\n", "a.py", "a\nb\n", "c\n") == "c\r\n"


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ("nonsense", "begins with"),
        ("*** Begin Patch\n*** End Patch", "changes no file"),
        ("*** Begin Patch\n+a\n*** End Patch", "names no file"),
        ("*** Begin Patch\n*** Update File: gone.py\n@@\n-a\n+b\n*** End Patch", "no such file"),
        ("*** Begin Patch\n*** Add File: a.py\n+a\n*** End Patch", "exists already"),
        ("*** Begin Patch\n*** Update File: a.py\n@@\n-zzz\n+b\n*** End Patch", "do not stand there"),
        ("*** Begin Patch\n*** Update File: a.py\n@@\n*b\n*** End Patch", "a line begins with ' '"),
    ],
)
def test_a_patch_that_does_not_fit_says_why(patch: str, why: str) -> None:
    with pytest.raises(PatchError, match=why):
        patched(patch, {"a.py": "a\n", "gone.py": None})


@pytest.mark.parametrize(
    ("text", "old", "new", "why"),
    [
        ("a a\n", "a", "b", "2 times"),
        ("a\n", "zzz", "b", "does not stand there exactly"),
        ("a\n", "a", "a", "the same"),
        (None, "a", "b", "no such file"),
        ("a\n", "", "b", "exists already"),
    ],
)
def test_a_replacement_that_is_not_clear_is_refused(text: str | None, old: str, new: str, why: str) -> None:
    with pytest.raises(PatchError, match=why):
        replaced(text, "a.py", old, new)


@given(st.text("ab\n", min_size=1), st.text("ab\n", min_size=1), st.text("abc\n"))
def test_a_replacement_replaces_once_or_not_at_all(text: str, old: str, new: str) -> None:
    try:
        got = replaced(text, "a.py", old, new)
    except PatchError:
        assert text.count(old) != 1 or old == new
    else:
        assert got == text.replace(old, new, 1)
        assert text.count(old) == 1
