"""Which scripts and manifests are below a directory, read within bounds; what was left out, and why?"""

import os
from pathlib import Path

from veilig.audit.collect import is_left_out
from veilig.audit.finding import Skipped
from veilig.audit.languages.language import language_of, may_be_script

FILE_BYTES_MAX = 1 << 20  # a larger script or manifest is data
FILES_MAX = 20_000
FOREIGN = frozenset(
    {"vendor", "bower_components", "dist", ".terraform", "third_party"}
)  # not the project's own


def collect_scripts(root: Path) -> tuple[dict[str, str], tuple[Skipped, ...]]:
    """Relative posix path -> text of every file that a rule of this package is about; nothing raises.

    Links are not followed. What is too large, unreadable or not UTF-8 is in the second part, with the reason.
    """
    files: dict[str, str] = {}
    skipped: list[Skipped] = []
    for folder, names, found in os.walk(root):
        names[:] = sorted(
            name
            for name in names
            if name not in FOREIGN and not is_left_out(at := Path(folder, name)) and not at.is_symlink()
        )
        for name in sorted(found):
            path = Path(folder, name)
            if path.is_symlink() or not (may_be_script(name) or "." not in name):
                continue
            shown = path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
            if len(files) >= FILES_MAX:
                return files, (
                    *skipped,
                    Skipped(shown, f"more than {FILES_MAX} scripts: the rest was not read"),
                )
            reason = _read(path, shown, files)
            if reason:
                skipped.append(Skipped(shown, reason))
    return files, tuple(skipped)


def _read(path: Path, shown: str, files: dict[str, str]) -> str:
    """Why the file could not be read; empty when it was, or when it is of no language we know."""
    named = may_be_script(path.name)
    try:
        if not path.is_file():
            return "not a regular file" if named else ""
        if path.stat().st_size > FILE_BYTES_MAX:
            return f"larger than {FILE_BYTES_MAX} bytes" if named else ""
        with path.open("rb") as file:
            start = file.read(2)
            if not named and start != b"#!":
                return ""
            data = start + file.read(FILE_BYTES_MAX)
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return "not UTF-8 text" if named else ""
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if language_of(shown, text) is not None:
        files[shown] = text
    return ""
