"""Which text files beside Python ones say how a project is built, tested and run?"""

import os
from dataclasses import dataclass
from pathlib import Path

from veilig.audit.collect import LEFT_OUT
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


def collect_text(root: Path) -> Texts:
    """Configuration and dependency files below `root`; links are named, not followed; nothing raises."""
    files: dict[str, str] = {}
    skipped: list[Skipped] = []
    paths: set[str] = set()
    for folder, names, found in os.walk(root):
        names[:] = sorted(n for n in names if n not in LEFT_OUT and not Path(folder, n).is_symlink())
        for name in sorted(found):
            path = Path(folder, name)
            shown = path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
            if len(paths) < PATHS_MAX:
                paths.add(shown)
            if not (path.suffix in SUFFIXES or name in NAMES or name.startswith("Dockerfile")):
                continue
            if path.is_symlink():
                skipped.append(Skipped(shown, LINKED))
                continue
            reason = _read(path, shown, files) if len(files) < FILES_MAX else f"more than {FILES_MAX} files"
            if reason:
                skipped.append(Skipped(shown, reason))
    return Texts(files, tuple(skipped), frozenset(paths))


def _read(path: Path, shown: str, files: dict[str, str]) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            return f"larger than {FILE_BYTES_MAX} bytes"
        with path.open(encoding="utf-8", newline="") as file:
            files[shown] = file.read()
    except UnicodeDecodeError:
        return "not UTF-8 text"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return ""
