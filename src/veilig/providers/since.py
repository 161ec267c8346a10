"""Which lines did a project gain since a revision, committed or not? A diff, for `audit --since`."""

from pathlib import Path

from veilig.core.errors import UsageError
from veilig.core.limits import SOURCE_FILE_BYTES_MAX
from veilig.providers.history import blob_id, git_text
from veilig.repair.edit import unified


def added_since(folder: Path, revision: str, shown: str = "") -> str:
    """A unified diff from `revision` to the files as they are, with untracked ones that git does not ignore.

    shown: the folder as the user wrote it, put before each path. Git is only asked for names and old
    contents; the comparison is ours, since git's own may run filters that the repository configures.
    Raises UsageError when there is no repository or no such commit.
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
    old: dict[str, str] = {}
    for entry in (git_text(folder, "ls-tree", "-r", "-z", commit.strip()) or "").split("\0"):
        head, _, path = entry.partition("\t")
        old[path] = head.rpartition(" ")[2]
    names = git_text(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard") or ""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for path in sorted({name for name in names.split("\0") if name}):
        data = _present(folder / path)
        if data is None or (path in old and blob_id(data, old[path]) == old[path]):
            continue
        was = git_text(folder, "cat-file", "blob", old[path]) if path in old else None
        place = f"{shown}{path}"
        after[place] = data.decode("utf-8", "replace")
        if was is not None:
            before[place] = was
    return unified(before, after)


def _present(file: Path) -> bytes | None:
    """The bytes of a regular file that the audit would read; None for anything else."""
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > SOURCE_FILE_BYTES_MAX:
            return None
        return file.read_bytes()
    except OSError:
        return None  # gone meanwhile, or not ours to read: the audit names it as skipped
