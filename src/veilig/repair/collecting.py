"""Which text files beside Python ones say how a project is built, tested and run?"""

import codecs
import os
from dataclasses import dataclass
from pathlib import Path

from veilig.audit.collect import is_left_out
from veilig.audit.dependencies import is_dependency_file
from veilig.audit.finding import Skipped

FILE_BYTES_MAX = 1 << 20  # a larger configuration file is data
FILES_MAX = 5_000
PATHS_MAX = 50_000
LINKED = "a symbolic link: not followed"
SUFFIXES = frozenset(
    {
        ".toml",
        ".cfg",
        ".ini",
        ".txt",
        ".in",
        ".yaml",
        ".yml",
        ".json",
        ".lock",
        ".env",
        ".service",
        ".timer",
        ".socket",
        ".conf",
        ".pyi",
    }
)
NAMES = frozenset({"Dockerfile", "Containerfile", "Pipfile", ".env", ".env.example", "Procfile", "Makefile"})


@dataclass(frozen=True, slots=True)
class Texts:
    """Relative posix path -> text, what could not be read, and every path there is (PATHS_MAX at most)."""

    files: dict[str, str]
    skipped: tuple[Skipped, ...]
    paths: frozenset[str] = frozenset()


def collect_text(root: Path, *, utf16: bool = False) -> Texts:
    """Configuration and dependency files below `root`; links are not followed, and nothing raises.

    utf16: read also what Windows shells write with `>`; a repair could not write it back.
    """
    files: dict[str, str] = {}
    skipped: list[Skipped] = []
    paths: set[str] = set()
    for folder, names, found in os.walk(root):
        names[:] = sorted(n for n in names if not is_left_out(at := Path(folder, n)) and not at.is_symlink())
        for name in sorted(found):
            path = Path(folder, name)
            shown = path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
            if len(paths) < PATHS_MAX:
                paths.add(shown)
            if not (path.suffix in SUFFIXES or name in NAMES or name.startswith("Dockerfile")):
                continue
            if path.is_symlink():
                skipped += [Skipped(shown, LINKED)] if is_dependency_file(shown) else []
                continue
            reason = f"more than {FILES_MAX} files"
            if len(files) < FILES_MAX:
                reason = _read(path, shown, files, utf16=utf16)
            if reason:
                skipped.append(Skipped(shown, reason))
    return Texts(files, tuple(skipped), frozenset(paths))


def _read(path: Path, shown: str, files: dict[str, str], *, utf16: bool) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            return f"larger than {FILE_BYTES_MAX} bytes"
        data = path.read_bytes()
        wide = utf16 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        files[shown] = data.decode("utf-16" if wide else "utf-8")
    except UnicodeDecodeError:
        return "not UTF-8 text"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return ""
