"""What must be visible, read-only, for an interpreter and the usual tools to run inside the box?"""

import os
import sys
from pathlib import Path

# Programs and libraries, and the few files of /etc they cannot do without. Never /etc as a whole.
_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
    "/etc/debian_version",
    "/etc/os-release",
    "/etc/gitconfig",
    "/nix/store",
)


def system_mounts() -> tuple[Path, ...]:
    """The system's programs and libraries, as far as they exist here."""
    return tuple(Path(path) for path in _SYSTEM if os.path.lexists(path))


def toolchain_mounts(python: Path) -> tuple[Path, ...]:
    """What to bind so that `python` runs inside with its standard library and site-packages.

    A virtual environment brings itself and the installation it was made from (pyenv, uv, Debian); git and the
    shell come with the system. Directories that .pth files point to are not followed: an editable install
    outside the workspace stays outside. The order is parents first; nothing is listed twice.
    """
    wanted = list(system_mounts())
    prefixes = [_prefix(python)]
    base = _pyvenv_home(prefixes[0])
    if base is not None:
        prefixes.append(_prefix(base / "python3"))
        prefixes.append(base.parent.resolve())
    prefixes.append(_prefix(python.resolve()))
    wanted += [prefix for prefix in prefixes if _fit(prefix)]
    return covering(wanted)


def own_interpreter() -> Path:
    """The interpreter for the process inside the box: the one under us, without a virtual environment."""
    base: str = getattr(sys, "_base_executable", "") or sys.executable
    return Path(base).resolve()


def covering(paths: list[Path]) -> tuple[Path, ...]:
    """The same paths without those that lie inside another one, parents first. Symbolic links stay."""
    kept: dict[Path, bool] = {}  # and whether it is a link
    for path in sorted(set(paths), key=lambda path: (len(path.parts), str(path))):
        if not any(kept.get(parent) is False for parent in path.parents):
            kept[path] = path.is_symlink()
    return tuple(kept)


def _prefix(python: Path) -> Path:
    """The directory above bin/ of an interpreter, as it was named: a venv is not its base."""
    return python.parent.absolute().parent


def _pyvenv_home(prefix: Path) -> Path | None:
    """The bin directory of the installation a virtual environment was made from."""
    try:
        lines = (prefix / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "home" and value.strip():
            return Path(value.strip())
    return None


def _fit(prefix: Path) -> bool:
    """Is it an installation, and not the root or a home, as /bin/python or ~/bin/python would make it?"""
    if len(prefix.parts) < 2 or Path.home().is_relative_to(prefix):
        return False
    return any((prefix / "lib").glob("python3*")) or (prefix / "pyvenv.cfg").is_file()
