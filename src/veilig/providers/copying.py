"""How is a throw-away copy of a project made, and what stays behind?"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from veilig.audit.collect import is_left_out
from veilig.core.errors import ProviderError
from veilig.core.limits import WORKSPACE_BYTES_MAX, WORKSPACE_FILES_MAX
from veilig.providers.tree import Tree

# Not part of the project's own text: made anew by tools, or another tool's state.
LEFT_BEHIND = {
    ".git": "history stays with the user",
    ".hg": "history stays with the user",
    ".venv": "environment",
    "venv": "environment",
    "node_modules": "environment",
    "__pycache__": "cache",
    ".pytest_cache": "cache",
    ".mypy_cache": "cache",
    ".ruff_cache": "cache",
    ".hypothesis": "cache",
    ".tox": "environment",
    ".nox": "environment",
    ".veilig": "veilig's own",
}


# Where people write passwords: code, settings, notes.
SECRET_SUFFIXES = frozenset(
    {
        ".py",
        ".env",
        ".toml",
        ".yaml",
        ".yml",
        ".json",
        ".ini",
        ".cfg",
        ".conf",
        ".txt",
        ".sh",
        ".properties",
        ".pem",
    }
)


@dataclass(frozen=True, slots=True)
class Copied:
    """What stands in the copy: files and bytes; `skipped` holds (path, reason) of what does not."""

    files: int
    size_bytes: int
    skipped: tuple[tuple[str, str], ...]


def copy_tree(
    source: Path,
    target: Path,
    in_copy: Callable[[str], bool] = lambda _: True,
    owner: tuple[int, int] | None = None,
) -> Copied:
    """Copy `source` into `target`, which is emptied first; `in_copy`: what the policy lets in.

    Regular files and folders, and links that stay inside; everything else is named in `skipped`.
    Raises ProviderError when the source is no folder, holds the target, or is larger than the
    bounds of core/limits.py; a half-made copy is removed.
    """
    if not source.is_dir():
        raise ProviderError(
            f"{source} is not a folder", why="there is nothing to copy", fix="give a project's folder"
        )
    source = source.resolve()
    if target.resolve().is_relative_to(source):
        raise ProviderError(
            f"the copy would lie inside {source}",
            why="it would copy itself",
            fix="set VEILIG_HOME to a folder outside",
        )
    empty_tree(target)
    try:
        return _Copy(source, target, in_copy, owner).run()
    except OSError as error:
        empty_tree(target)
        raise ProviderError(
            f"cannot copy {source}", why=str(error), fix="free space, or fix the permissions"
        ) from error
    except ProviderError:
        empty_tree(target)
        raise


def empty_tree(target: Path) -> None:
    """Remove what is in `target`; the folder itself stays, since a wall may have it mounted."""
    target.mkdir(parents=True, mode=0o700, exist_ok=True)
    for folder, names, _ in os.walk(target):
        for name in names:
            inner = Path(folder, name)
            if not inner.is_symlink():
                inner.chmod(0o700)
    try:
        for entry in target.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError as error:
        raise ProviderError(f"cannot empty {target}", why=str(error), fix="remove it by hand") from error


def text_files(tree: Tree) -> Iterator[tuple[str, str]]:
    """The text files of a copy that may hold secrets, with their paths."""
    for folder, _, files in os.walk(tree.root):
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix not in SECRET_SUFFIXES and not name.startswith((".env", "Dockerfile")):
                continue
            shown = path.relative_to(tree.root).as_posix()
            try:
                text = tree.read(shown)
            except ProviderError:
                continue  # a link, a device, not UTF-8, or generated: never read by a planner either
            if text is not None:
                yield shown, text


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed would be left out in silence."""
    raise error


def _shown(path: str) -> str:
    """A path as the record can hold it: bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class _Copy:
    def __init__(
        self, source: Path, target: Path, in_copy: Callable[[str], bool], owner: tuple[int, int] | None
    ) -> None:
        self.in_copy = in_copy
        self.source = source
        self.target = target
        self.owner = owner
        self.files = 0
        self.size_bytes = 0
        self.skipped: list[tuple[str, str]] = []

    def run(self) -> Copied:
        self._own(self.target)
        for folder, names, files in os.walk(self.source, onerror=_refuse):
            here = Path(folder)
            rel = here.relative_to(self.source)
            self._folders(here, rel, names)
            for name in sorted(files):
                self._file(here / name, rel / name)
        return Copied(self.files, self.size_bytes, tuple((_shown(path), why) for path, why in self.skipped))

    def _folders(self, here: Path, rel: Path, names: list[str]) -> None:
        keep: list[str] = []
        for name in sorted(names):
            reason = LEFT_BEHIND.get(name)
            if name in ("venv", ".venv") and not is_left_out(here / name):
                reason = None  # a folder of the project's own that is called so
            if (here / name).is_symlink():
                self._file(here / name, rel / name)
            elif self._skills(here, rel, name):
                keep.append(name)
                (self.target / rel / name).mkdir(mode=0o755)
                self._own(self.target / rel / name)
            elif reason or rel.name == ".veilig" or (here / name / "pyvenv.cfg").exists():
                self.skipped.append(((rel / name).as_posix(), reason or "environment"))
            else:
                keep.append(name)
                made = self.target / rel / name
                made.mkdir(mode=0o755)
                self._own(made)
        names[:] = keep

    @staticmethod
    def _skills(here: Path, rel: Path, name: str) -> bool:
        """The project's skills are text for its readers; everything else of the folder is veilig's own."""
        inner = here if rel.name == ".veilig" else here / name if name == ".veilig" else None
        return inner is not None and name in (".veilig", "skills") and (inner / "skills").is_dir()

    def _file(self, path: Path, rel: Path) -> None:
        if rel.parent.name == ".veilig":
            self.skipped.append((rel.as_posix(), LEFT_BEHIND[".veilig"]))
            return
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            self._link(path, rel)
            return
        if not self.in_copy(rel.as_posix()):
            self.skipped.append((rel.as_posix(), "the policy keeps it out of the copy"))
            return
        if not stat.S_ISREG(info.st_mode):
            self.skipped.append((rel.as_posix(), "not a regular file"))
            return
        self.files += 1
        self.size_bytes += info.st_size
        if self.files > WORKSPACE_FILES_MAX or self.size_bytes > WORKSPACE_BYTES_MAX:
            raise ProviderError(
                f"{self.source} has more than {WORKSPACE_FILES_MAX} files or {WORKSPACE_BYTES_MAX >> 20} MiB",
                why="a copy of that size would take the disk",
                fix="name the folder of one project",
            )
        made = self.target / rel
        shutil.copyfile(path, made, follow_symlinks=False)
        made.chmod(stat.S_IMODE(info.st_mode) & 0o755 | 0o600)
        os.utime(made, ns=(info.st_atime_ns, info.st_mtime_ns))
        self._own(made)

    def _link(self, path: Path, rel: Path) -> None:
        aim = path.readlink()
        try:
            inside = (path.parent / aim).resolve().is_relative_to(self.source)
        except RuntimeError:  # Python 3.12 for links that lead to each other
            self.skipped.append((rel.as_posix(), "a link that leads to itself"))
            return
        if aim.is_absolute() or not inside:
            self.skipped.append((rel.as_posix(), "a link that leaves the project"))
            return
        made = self.target / rel
        made.symlink_to(aim)
        if self.owner:
            os.chown(made, *self.owner, follow_symlinks=False)

    def _own(self, path: Path) -> None:
        if self.owner:
            os.chown(path, *self.owner, follow_symlinks=False)
