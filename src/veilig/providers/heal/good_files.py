"""Which files make a service what it is, and what stands in them? Configuration, code, versions, links.

Never its data, logs or pidfile: to bring one of those back would destroy what the service did since.
"""

# ruff: noqa: PTH112, PTH113, PTH114, PTH115, PTH116, PTH118, PTH120
# Paths are text here, as the kernel and the services file have them: many are looked at.

import hashlib
import os
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from veilig.core.service import HOLD_FILE, Inventory, Service
from veilig.providers.heal.proc import is_text

FILES_MAX = 200  # of one service
ENTRIES_MAX = 2000  # looked at in one folder tree; a larger one is not a service's own
DEPTH_MAX = 4
FOUND_BYTES_MAX = 256 << 10  # of a file that was only found: configuration and code are smaller
NAMED_BYTES_MAX = 32 << 20  # of a file that the operator named: a program of one file

_CODE = re.compile(
    r"\.(?:pyi?|[mc]?js|tsx?|jsx|rb|go|rs|java|kt|scala|[jw]ar|class|php|p[lm]|(?:ba)?sh|lua|exs?|erl|beam|clj|[ch]"
    r"|cc|cpp|cs|dll|so|sql|tmpl|j2|erb|hbs|wasm|r|jl|swift|dart)$"
)
_CONFIG = (".conf", ".cfg", ".ini", ".toml", ".yaml", ".yml", ".env", ".properties", ".xml")
_CONFIG_NAME = re.compile(
    r"(?:^|[._-])(?:conf|config|configuration|settings?|options|appsettings|application)(?:[._-]|$)"
)
_VERSION_NAME = re.compile(
    r"(?:^|[._-])(?:version|revision|release|build|tag|commit|image)(?:\.txt|\.json)?$|^(?:package(?:-lock)?\.json|procfile"
    r"|requirements.*\.txt|gemfile(?:\.lock)?|go\.(?:mod|sum)|pipfile(?:\.lock)?|composer\.(?:json|lock))$"
)  # fmt: skip
_OPTION = re.compile(r"-{0,2}[\w-]*(?:conf|cfg|settings)[\w-]*")
_NOT_WALKED = re.compile(
    r"\..*|__pycache__|node_modules|venv|env|logs?|data|db|te?mp|caches?|run|spool|uploads|backups?|site-packages"
    r"|target|vendor|state|storage|var"
)
_SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib", "/proc/", "/dev/", "/sys/", "/nix/", "/snap/")
_INTERPRETERS = re.compile(
    r"(?:python|pypy|node|nodejs|ruby|java|perl|php|sh|bash|dash|env|deno|bun|lua)[\d.]*$"
)


@dataclass(frozen=True, slots=True)
class FileNow:
    """One file as it is. sha: SHA-256 of its bytes (of its target, for a link); changed_s: wall clock."""

    path: str
    kind: str
    sha: str
    mode: int
    uid: int
    gid: int
    changed_s: float
    written_s: float
    link: str = ""
    named: bool = False  # by the operator: in config, tracked or cmd


@dataclass(slots=True)
class Files:
    """Reads the files of the services of one inventory; what did not change is not read again."""

    inventory: Inventory
    notes: dict[str, str] = field(default_factory=dict[str, str])
    _hashes: dict[str, tuple[tuple[int, ...], str]] = field(
        default_factory=dict[str, tuple[tuple[int, ...], str]]
    )
    _apart: dict[str, tuple[frozenset[str], tuple[str, ...]]] = field(
        default_factory=dict[str, tuple[frozenset[str], tuple[str, ...]]]
    )

    def scan(self, service: Service) -> dict[str, FileNow]:
        """Every file of the service by its path, folders resolved; links are entries of their own."""
        found: dict[str, FileNow] = {}
        for path, kind, named in self._candidates(service):
            if path in found:
                continue
            if len(found) >= FILES_MAX:
                self.notes[service.name] = (
                    f"{service.name}: more than {FILES_MAX} files; the others are not kept"
                )
                break
            seen = self.read(path, kind, named=named)
            if seen is not None:
                found[path] = seen
        return found

    def read(self, path: str, kind: str, *, named: bool = False) -> FileNow | None:
        """This file as it is; None when it is absent, no file, or too large to be kept."""
        try:
            state = os.lstat(path)
            link = os.readlink(path) if stat.S_ISLNK(state.st_mode) else ""
            limit = NAMED_BYTES_MAX if named else FOUND_BYTES_MAX
            if not link and (not stat.S_ISREG(state.st_mode) or state.st_size > limit):
                return None
            sha = link_sha(link) if link else self._sha(path, state)
        except (OSError, ValueError):
            return None
        if not is_text(link):
            self.notes[path] = f"{path}: leads to a name that is no text, so it is not kept"
            return None
        return FileNow(
            path, kind, sha, stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid,
            max(state.st_mtime, state.st_ctime), state.st_mtime, link, named,
        )  # fmt: skip

    def _sha(self, path: str, state: os.stat_result) -> str:
        mark = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        known = self._hashes.get(path)
        if known is not None and known[0] == mark:
            return known[1]
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
        self._hashes[path] = (mark, sha)
        return sha

    def _candidates(self, service: Service) -> Iterator[tuple[str, str, bool]]:
        """Path, kind, and whether the operator named it; the most certain first."""
        own = {*service.log, *service.data, service.pidfile, *service.hold}
        for path in (*service.config, *service.tracked, *named_by_command(service)):
            if path in own:
                continue
            kind = "config" if path in service.config else kind_of(path) or "version"
            for link in _links(path):
                yield link, "version", True
            yield from _inside(_resolved(path), kind)
        yield from self._walk(service)

    def _walk(self, service: Service) -> Iterator[tuple[str, str, bool]]:
        """Code, versions, links and configuration below the service's folder; not what belongs to others."""
        root = _resolved(service.folder) if service.folder else ""
        if root in ("", "/") or root.startswith(_SYSTEM) or root.count("/") < 2:
            return  # a folder that is the machine's, not the service's
        if service.name not in self._apart:
            self._apart[service.name] = _not_ours(service, self.inventory)
        not_ours, neighbours = self._apart[service.name]
        left, looked = [(root, 0)], 0
        while left:
            folder, depth = left.pop(0)
            for entry in _entries(folder):
                looked += 1
                if looked > ENTRIES_MAX:
                    self.notes[service.name] = (
                        f"{root}: more than {ENTRIES_MAX} entries; the others are not looked at"
                    )
                    return
                name = entry.name.lower()
                if entry.path in not_ours or _neighbours(name, service.name, neighbours):
                    continue
                if entry.is_symlink():
                    yield entry.path, "version", False
                elif entry.is_dir(follow_symlinks=False):
                    if depth < DEPTH_MAX and not _NOT_WALKED.fullmatch(name):
                        left.append((entry.path, depth + 1))
                elif kind := kind_of(entry.path):
                    yield entry.path, kind, False


def link_sha(target: str) -> str:
    """What stands for the content of a link."""
    return hashlib.sha256(b"link\0" + os.fsencode(target)).hexdigest()


def kind_of(path: str) -> str:
    """By its name: "config", "version" (code too), or "" for anything that may be data."""
    name = PurePosixPath(path).name.lower()
    suffix = PurePosixPath(name).suffix
    if name == HOLD_FILE.lower() or re.search(r"(?:\.pid|\.lock|\.sock|\.log|~|\.bak|\.swp|\.tmp)$", name):
        return ""
    if _VERSION_NAME.search(name) or _CODE.search(suffix):
        return "version"
    if suffix in _CONFIG or name.startswith(".env") or _CONFIG_NAME.search(name):
        return "config"
    return ""


def named_by_command(service: Service) -> tuple[str, ...]:
    """Files that its command names and that make the program: not its data, not the interpreter."""
    words: list[str] = []
    for word in service.cmd:
        words += _split(word) if " " in word else [word]
    found: list[str] = []
    for at, word in enumerate(words):
        option, equals, value = word.partition("=")
        word = value if equals and option.startswith("-") else word
        if not word or word.startswith("-"):
            continue
        path = os.path.normpath(os.path.join(service.folder or "/", word))
        before = option if equals else words[at - 1] if at else ""
        if _is_program(path, first=at == 0) or (_OPTION.fullmatch(before) and os.path.isfile(path)):
            found.append(path)
    return tuple(dict.fromkeys(found))


def _is_program(path: str, *, first: bool) -> bool:
    real = os.path.realpath(path)
    if real.startswith(_SYSTEM) or _INTERPRETERS.match(PurePosixPath(real).name):
        return False
    try:
        state = os.stat(real)
    except (OSError, ValueError):
        return False
    runs = bool(state.st_mode & 0o111)
    return stat.S_ISREG(state.st_mode) and bool(kind_of(path) or first or runs)


def _split(word: str) -> Sequence[str]:
    try:
        return shlex.split(word)
    except ValueError:
        return word.split()


def _links(path: str) -> Iterator[str]:
    """The links among the last four parts of a path: `current` in /srv/app/current/run.sh."""
    parts = PurePosixPath(path).parts
    for count in range(max(len(parts) - 3, 3), len(parts) + 1):
        part = os.path.join(*parts[:count])
        if os.path.islink(part) and not part.startswith(_SYSTEM):
            yield os.path.join(_resolved(os.path.dirname(part)), parts[count - 1])


def _inside(path: str, kind: str) -> Iterator[tuple[str, str, bool]]:
    """The file, or the files of a folder that was named."""
    if not os.path.isdir(path):
        yield path, kind, True
        return
    for entry in _entries(path):
        if entry.is_file(follow_symlinks=False) and kind_of(entry.path):
            yield entry.path, kind, True


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return sorted((entry for entry in listing if is_text(entry.name)), key=lambda entry: entry.name)
    except OSError:
        return []


def _resolved(path: str) -> str:
    return os.path.realpath(path)


def _not_ours(service: Service, inventory: Inventory) -> tuple[frozenset[str], tuple[str, ...]]:
    """Data, logs, pidfiles of all, what others name as their own; and who shares the service's folder."""
    root = _resolved(service.folder)
    found: set[str] = {inventory.path}
    neighbours: list[str] = []
    for other in inventory.services:
        found |= {*other.log, *other.data, other.pidfile, *other.hold}
        if other.name == service.name:
            continue
        found |= set(other.config)
        there = _resolved(other.folder) if other.folder else ""
        if there == root:
            neighbours.append(other.name)
        elif there and not root.startswith(there + "/"):
            found.add(there)
    return frozenset(_resolved(path) for path in found if path), tuple(neighbours)


def _neighbours(file: str, own: str, names: Sequence[str]) -> bool:
    """A file of a shared folder by another's name: worker-2.conf. The longest name in it says whose it is."""
    inside = [name for name in names if name in file]
    return bool(inside) and (own not in file or max(map(len, inside)) > len(own))
