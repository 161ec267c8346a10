"""Which lines did a project gain since a revision, committed or not? A diff, for `audit --since`."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from veilig.core.errors import UsageError
from veilig.core.limits import SOURCE_FILE_BYTES_MAX
from veilig.providers.history import blob_id, git_text
from veilig.repair.edit import unified

_REPOSITORY = "160000"  # git's mode of a submodule: its content is a commit
_LINK = "120000"  # git's mode of a symbolic link: its content is where it leads


def added_since(folder: Path, revision: str, shown: str = "") -> str:
    """A unified diff from `revision` to the files as they are, with untracked ones that git does not ignore.

    shown: the folder as the user wrote it, put before each path. Git is only asked for names and old
    contents; the comparison is ours, since git's own may run filters that the repository configures.
    A changed file that cannot be read is in it with its name, so that the report keeps what is said of it.
    Raises UsageError when there is no repository or no such commit, or when git does not name the files.
    """
    named = f"{revision}^{{commit}}"
    commit = git_text(folder, "rev-parse", "-q", "--verify", "--end-of-options", named)
    if commit is None:
        inside = git_text(folder, "rev-parse", "--show-prefix") is not None
        raise UsageError(
            f"--since {revision!r} names no commit that {str(folder)!r} has",
            why="git does not know it; a shallow clone has few" if inside else "it is no repository",
            fix="see `git log --oneline`, or give a diff with --diff",
        )
    old: dict[str, tuple[str, str]] = {}
    for entry in _names(folder, "ls-tree", "-r", "-z", commit.strip()):
        head, _, path = entry.partition("\t")
        mode, _, rest = head.partition(" ")
        old[path] = mode, rest.rpartition(" ")[2]
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    unread: list[str] = []
    nested = ""
    for path in _names(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard"):
        mode, was = old.get(path, ("", ""))
        # As the audit writes a name that is no UTF-8.
        place = f"{shown}{path}".encode("utf-8", "backslashreplace").decode()
        data = _present(folder / path)
        if data is None and (folder / path).is_dir() and not (folder / path).is_symlink():
            nested += _nested(folder / path, was if mode == _REPOSITORY else "", f"{place.rstrip('/')}/")
            continue
        if data is None:
            if not _gone_or_same(folder / path, mode, was):
                unread.append(place)
            continue
        if was and blob_id(data, was) == was:
            continue
        text = git_text(folder, "cat-file", "blob", was, errors="replace") if was else None
        after[place] = data.decode("utf-8", "replace")
        if text is not None:
            before[place] = text
    before |= _removed(folder, old, shown)
    return unified(before, after) + unified({}, dict.fromkeys(unread, "\n")) + nested


def _removed(folder: Path, old: Mapping[str, tuple[str, str]], shown: str) -> dict[str, str]:
    """The texts of the files that are there no more; what a sparse checkout leaves out is not gone."""
    found: dict[str, str] = {}
    gone = [
        path
        for path, (mode, _) in old.items()
        if mode.startswith("100") and not os.path.lexists(folder / path)
    ]
    left_out = set(_names(folder, "ls-files", "-z", "-t", "--cached")) if gone else set[str]()
    for path in gone:
        text = None if f"S {path}" in left_out else git_text(folder, "cat-file", "blob", old[path][1])
        if text is not None and len(text) <= SOURCE_FILE_BYTES_MAX:
            found[f"{shown}{path}".encode("utf-8", "backslashreplace").decode()] = text
    return found


def _nested(folder: Path, commit: str, shown: str) -> str:
    """The same of a repository inside: since the commit that is recorded of it, else all of it."""
    if commit:
        with contextlib.suppress(UsageError):  # never fetched, or no repository any more: all of it is new
            return added_since(folder, commit, shown)
    found: dict[str, str] = {}
    for inner, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        for name in names:
            file = Path(inner, name)
            place = f"{shown}{file.relative_to(folder).as_posix()}".encode(
                "utf-8", "backslashreplace"
            ).decode()
            found[place] = (_present(file) or b"\n").decode("utf-8", "replace")
    return unified({}, found)


def _names(folder: Path, *asked: str) -> list[str]:
    """What git lists, bytes that are no UTF-8 kept. Raises UsageError: no answer is not an empty one."""
    said = git_text(folder, *asked, errors="surrogateescape")
    if said is None:
        raise UsageError(
            f"git does not list the files of {str(folder)!r}",
            why=f"`git {asked[0]}` failed or took too long",
            fix="try it by hand, or give a diff with --diff",
        )
    return sorted({name for name in said.split("\0") if name})


def _present(file: Path) -> bytes | None:
    """The bytes of a regular file that the audit would read; None for anything else."""
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > SOURCE_FILE_BYTES_MAX:
            return None
        return file.read_bytes()
    except OSError:
        return None  # gone meanwhile, or not ours to read: `_gone_or_same` tells the two apart


def _gone_or_same(file: Path, mode: str, was: str) -> bool:
    """Whether nothing new can be in a file that was not read."""
    try:
        file.lstat()
        if file.is_symlink():
            return mode == _LINK and blob_id(os.fsencode(file.readlink()), was) == was
        return bool(was) and file.is_file() and blob_id(file.read_bytes(), was) == was
    except FileNotFoundError:
        return True
    except OSError:
        return False
