"""Which names do modules outside of the project offer? Read from their sources, never imported."""

import re
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from veilig.repair.recipes.project_index import exports

SOURCE_BYTES_MAX = 1 << 20  # a larger module is generated: nobody misspells its names by hand
_MODULES = re.compile(r"(?:from (?:partially initialized module )?|module )'([A-Za-z_][\w.]*)'")


def named_exports(message: str, folders: Sequence[Path]) -> Mapping[str, frozenset[str]]:
    """Module -> its public names, for the modules an error message names and whose source lies in `folders`.

    folders: import roots, the first that has the module wins; the standard library is asked last.
    """
    roots = (*folders, Path(sysconfig.get_path("stdlib")))
    found: dict[str, frozenset[str]] = {}
    for name in dict.fromkeys(_MODULES.findall(message)):
        place = next((p for root in roots if (p := _source(root, name)) is not None), None)
        if place is not None:
            found[name] = _public(place)
    return found


def _source(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
        if path.is_file() and path.stat().st_size <= SOURCE_BYTES_MAX:
            return path
    return None


def _public(path: Path) -> frozenset[str]:
    try:
        names = {name for name in exports(path.read_text(encoding="utf-8")) if not name.startswith("_")}
    except (OSError, UnicodeDecodeError):
        return frozenset()
    if path.name == "__init__.py":
        names |= {p.stem for p in path.parent.glob("*.py")} | {
            p.name for p in path.parent.iterdir() if p.is_dir()
        }
    return frozenset(name for name in names if not name.startswith("_"))
