"""Which Python files are below a directory, read within bounds; what was left out, and why?"""

import os
import re
import tokenize
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from veilig.audit.finding import Skipped

FILE_BYTES_MAX = 2 << 20  # as in scan.py: larger Python files are generated data
FILES_MAX = 50_000
DEPTH_MAX = 40
SUFFIXES = frozenset({".py", ".pyw"})  # and scripts without a suffix that name a Python interpreter
# Not the project's own code: caches, environments, version control.
LEFT_OUT = frozenset(
    {
        ".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", "venv", ".tox", ".nox", ".mypy_cache",
        ".ruff_cache", ".pytest_cache", ".eggs", "site-packages",
    }
)  # fmt: skip


# By these a folder of such a name is known for an environment: without one it is the project's own.
_ENVIRONMENTS = frozenset({".venv", "venv"})
_MARKS = ("pyvenv.cfg", "conda-meta", "bin/activate", "Scripts/activate")
_CODE = frozenset({"node_modules", ".venv", "venv", ".tox", ".nox", ".eggs", "site-packages"})
_SHEBANG = re.compile(rb"#!\s*(?:\S*/env\s(?:.*[\s/])?|\S*?)python[\d.]*\b")


@dataclass(frozen=True, slots=True)
class Collected:
    """Relative posix path -> text, the files that could not be read, and the folders of others' code."""

    files: dict[str, str]
    skipped: tuple[Skipped, ...]
    passed: tuple[str, ...] = ()


def is_left_out(folder: Path) -> bool:
    """Whether a folder holds nothing of the project's own: by name, an environment by what is in it."""
    if folder.name in _ENVIRONMENTS:
        return any((folder / mark).exists() for mark in _MARKS)
    return folder.name in LEFT_OUT


def collect(root: Path, *, file_bytes_max: int = FILE_BYTES_MAX, everything: bool = False) -> Collected:
    """The Python sources below `root` (or `root` itself when it is a file).

    Symbolic links are not followed: a link is reported as skipped. Unreadable, oversized, binary and
    wrongly encoded
    files are reported too. Directories of LEFT_OUT are passed over unless `everything`; those with code are
    named in `passed`. Raises nothing for what lies below `root`; a missing root gives one Skipped.
    """
    files: dict[str, str] = {}
    skipped: list[Skipped] = []
    passed: list[str] = []
    if root.is_file():
        _read(root, root.name, file_bytes_max, files, skipped)
        return Collected(files, tuple(skipped))
    stack: list[tuple[Path, str, int]] = [(root, "", 0)]
    while stack:
        folder, prefix, depth = stack.pop()
        if depth > DEPTH_MAX:
            skipped.append(Skipped(prefix or ".", f"more than {DEPTH_MAX} directories deep"))
            continue
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(Skipped(prefix or ".", f"cannot be listed: {error.strerror or error}"))
            continue
        for entry in entries:
            name = _printable(f"{prefix}{entry.name}")
            if len(files) >= FILES_MAX:
                skipped.append(Skipped(name, f"more than {FILES_MAX} files: the rest was not read"))
                return Collected(files, tuple(skipped), tuple(passed))
            wanted = Path(entry.name).suffix.lower() in SUFFIXES or _is_script(folder, entry)
            if entry.is_symlink():
                if wanted or _is_dir(entry):
                    skipped.append(Skipped(name, "a symbolic link: not followed"))
            elif entry.is_dir(follow_symlinks=False):
                if not everything and is_left_out(folder / entry.name):
                    passed += [name] if entry.name in _CODE else []
                else:
                    stack.append((folder / entry.name, f"{prefix}{entry.name}/", depth + 1))
            elif wanted:
                _read(folder / entry.name, name, file_bytes_max, files, skipped)
    return Collected(files, tuple(skipped), tuple(passed))


def _is_script(folder: Path, entry: "os.DirEntry[str]") -> bool:
    """Whether a file without a suffix begins with the name of a Python interpreter."""
    if "." in entry.name or not entry.is_file(follow_symlinks=False):
        return False
    try:
        with (folder / entry.name).open("rb") as file:
            return _SHEBANG.match(file.read(200)) is not None
    except OSError:
        return False  # it has no suffix that says code, and nobody can read what it is


def _is_dir(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return True


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _read(path: Path, name: str, limit: int, files: dict[str, str], skipped: list[Skipped]) -> None:
    try:
        if not path.is_file():
            skipped.append(Skipped(name, "not a regular file"))
            return
        size = path.stat().st_size
        if size > limit:
            skipped.append(Skipped(name, f"{size} bytes: more than {limit}"))
            return
        with path.open("rb") as handle:
            data = handle.read(limit + 1)
    except OSError as error:
        skipped.append(Skipped(name, f"cannot be read: {error.strerror or error}"))
        return
    if len(data) > limit:
        skipped.append(Skipped(name, f"grew beyond {limit} bytes while it was read"))
        return
    if b"\0" in data:
        skipped.append(Skipped(name, "binary: it holds null bytes"))
        return
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(data).readline)
        files[name] = data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        skipped.append(Skipped(name, f"not readable as text: {error}"))
