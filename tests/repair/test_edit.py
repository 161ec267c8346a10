"""Do edits and diffs change exactly what they say, in every kind of text?"""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.repair.edit import Edit, EditError, LineMap, Patch, apply, parse, unified


def test_edits_apply_in_any_order_and_keep_the_rest() -> None:
    edits = [Edit("a.py", 4, 5, "X"), Edit("a.py", 0, 1, "Y"), Edit("a.py", 2, 2, "++")]
    assert apply("abcdef", edits) == "Yb++cdXf"


def test_touching_edits_are_allowed_and_overlapping_ones_are_refused() -> None:
    assert apply("abcd", [Edit("a", 0, 2, "X"), Edit("a", 2, 4, "Y")]) == "XY"
    with pytest.raises(EditError, match="overlap"):
        apply("abcd", [Edit("a", 0, 3, "X"), Edit("a", 2, 4, "Y")])


def test_an_edit_may_reach_the_end_of_the_text_but_not_one_further() -> None:
    assert apply("ab", [Edit("a", 2, 2, "!")]) == "ab!"
    with pytest.raises(EditError, match="leaves the text"):
        apply("ab", [Edit("a", 2, 3, "!")])


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\\b"])
def test_an_edit_cannot_name_a_path_outside_the_project(path: str) -> None:
    with pytest.raises(EditError):
        Edit(path, 0, 0, "")


def test_a_patch_creates_and_removes_files() -> None:
    after = Patch((Edit("pkg/__init__.py", 0, 0, ""),), removed=("random.py",)).apply({"random.py": "x"})
    assert after == {"pkg/__init__.py": ""}
    with pytest.raises(EditError, match="no such file"):
        Patch((Edit("gone.py", 0, 3, ""),)).apply({})


@given(st.text(), st.data())
def test_line_map_finds_every_position_again(text: str, data: st.DataObject) -> None:
    lines = LineMap(text)
    offset = data.draw(st.integers(0, len(text)))
    line, column = lines.position(offset)
    if not text.startswith("\ufeff"):
        assert lines.starts[line - 1] + column == offset


def test_utf8_columns_of_ast_point_at_the_right_characters() -> None:
    text = '\ufeffü = "größe"; call(ü)\r\nx = "ß" + ü\n'
    lines = LineMap(text)
    names = [lines.source(node) for node in ast.walk(parse(text)) if isinstance(node, ast.Name | ast.Call)]
    assert sorted(names) == sorted(["ü", "call(ü)", "call", "ü", "x", "ü"])


CASES = {
    "changed": ({"a.py": "one\ntwo\nthree\n"}, {"a.py": "one\n2\nthree\n"}),
    "no newline at the end": ({"a.py": "one\ntwo"}, {"a.py": "one\n2"}),
    "newline added at the end": ({"a.py": "one"}, {"a.py": "one\n"}),
    "carriage returns": ({"a.py": "one\r\ntwo\r\n"}, {"a.py": "one\r\n2\r\n"}),
    "byte order mark": ({"a.py": "\ufeffone\ntwo\n"}, {"a.py": "\ufeffone\n2\n"}),
    "form feed": ({"a.py": "one\x0ctwo\nx\n"}, {"a.py": "one\x0ctwo\ny\n"}),
    "new file": ({}, {"pkg/new.py": "x = 1\n"}),
    "deleted file": ({"old.py": "x = 1\n", "k": "k\n"}, {"k": "k\n"}),
    "space in the name": ({"a b.py": "one\n"}, {"a b.py": "two\n"}),
    "two files": ({"a": "1\n", "b": "1\n"}, {"a": "2\n", "b": "2\n"}),
}
GIT_ONLY = {
    "empty new file": ({"k": "k\n"}, {"k": "k\n", "pkg/__init__.py": ""}),
    "not ascii": ({"größe.py": "one\n"}, {"größe.py": "two\n"}),
}


def _write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode())


def _read(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): p.read_bytes().decode() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("before", "after"), [*CASES.values(), *GIT_ONLY.values()], ids=[*CASES, *GIT_ONLY])
def test_git_apply_turns_before_into_after(
    tmp_path: Path, before: dict[str, str], after: dict[str, str]
) -> None:
    _write(tmp_path, before)
    _run(["git", "apply", "--whitespace=nowarn", "-"], tmp_path, unified(before, after))
    assert _read(tmp_path) == after


@pytest.mark.skipif(shutil.which("patch") is None, reason="the program `patch` is not installed")
@pytest.mark.parametrize(("before", "after"), CASES.values(), ids=list(CASES))
def test_patch_p1_turns_before_into_after(
    tmp_path: Path, before: dict[str, str], after: dict[str, str]
) -> None:
    _write(tmp_path, before)
    _run(["patch", "-p1", "-s", "--binary"], tmp_path, unified(before, after))
    assert _read(tmp_path) == after


def _run(argv: list[str], cwd: Path, text: str) -> None:
    done = subprocess.run(argv, cwd=cwd, input=text.encode(), capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr.decode() + text


@settings(max_examples=15, deadline=None)
@given(old=st.text("ab\r\n", max_size=12), new=st.text("ab\r\n", max_size=12))
def test_git_apply_agrees_for_any_text(old: str, new: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if old == new:
        return
    root = tmp_path_factory.mktemp("diff")
    _write(root, {"f": old})
    _run(["git", "apply", "--whitespace=nowarn", "-"], root, unified({"f": old}, {"f": new}))
    assert _read(root) == {"f": new}


def test_equal_texts_have_an_empty_diff() -> None:
    assert unified({"a": "x"}, {"a": "x"}) == ""
