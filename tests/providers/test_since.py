"""Which lines does a project gain since a revision, when its files are named and made to hide?"""

import os
import subprocess
from pathlib import Path

import pytest

from veilig.audit.baseline import added_lines
from veilig.core.errors import UsageError
from veilig.providers.since import added_since

CODE = "import os\nos.system(input())\n"


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *who, "-C", str(folder), *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "old.py").write_text("x = 1\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def test_one_name_that_is_no_utf_8_does_not_hide_the_other_files(repository: Path) -> None:
    (repository / "new.py").write_text(CODE)
    Path(os.fsdecode(os.fsencode(repository) + b"/odd\xff.py")).write_text(CODE)
    found = added_lines(added_since(repository, "HEAD"))
    assert found == {"new.py": frozenset({1, 2}), "odd\\udcff.py": frozenset({1, 2})}


def test_a_new_file_that_is_not_read_is_named_and_an_old_one_is_not(repository: Path) -> None:
    (repository / "large.py").write_text("x = 1\n" * 400_000)
    (repository / "link.py").symlink_to("old.py")
    assert set(added_lines(added_since(repository, "HEAD"))) == {"large.py", "link.py"}
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "second")
    assert added_since(repository, "HEAD") == ""
    (repository / "link.py").unlink()
    (repository / "link.py").symlink_to("large.py")
    (repository / "old.py").unlink()
    assert set(added_lines(added_since(repository, "HEAD"))) == {"link.py"}


def test_a_repository_inside_is_new_as_a_whole_or_since_what_is_recorded_of_it(repository: Path) -> None:
    inner = repository / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "a.py").write_text(CODE)
    assert added_lines(added_since(repository, "HEAD")) == {"inner/a.py": frozenset({1, 2})}
    git(inner, "add", "-A")
    git(inner, "commit", "-qm", "inner")
    git(repository, "add", "inner")  # a gitlink, as a submodule is one
    git(repository, "commit", "-qm", "outer")
    assert added_since(repository, "HEAD") == ""
    (inner / "a.py").write_text(f"{CODE}y = 2\n")
    assert added_lines(added_since(repository, "HEAD", "here/")) == {"here/inner/a.py": frozenset({3})}


def test_git_that_does_not_list_the_files_is_an_error_and_no_empty_diff(repository: Path) -> None:
    (repository / "new.py").write_text(CODE)
    (repository / ".git/index").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="does not list the files"):
        added_since(repository, "HEAD")


def test_a_removed_file_is_a_change_and_one_of_a_sparse_checkout_is_not(repository: Path) -> None:
    (repository / "sub").mkdir()
    (repository / "sub/far.py").write_text("x = 1\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "second")
    git(repository, "update-index", "--skip-worktree", "sub/far.py")
    (repository / "sub/far.py").unlink()
    assert added_since(repository, "HEAD") == ""
    (repository / "old.py").unlink()
    diff = added_since(repository, "HEAD")
    assert "+++ /dev/null" in diff
    assert "old.py" in diff
    assert added_lines(diff) == {}
