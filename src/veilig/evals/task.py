"""What is one task? A folder in Harbor's format: task.toml, instruction.md, environment/, tests/, solution/.

Read is the part of the format that a local run needs; what it does not know it refuses by name, since a key
that is skipped may be the one that makes a task fair. Versions 1.1 to 1.4 of the schema are read.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from veilig.core.errors import UsageError
from veilig.core.suggest import nearest

if TYPE_CHECKING:
    from veilig.evals.desktop_example import Example

TIMEOUT_S_MAX = 4 * 3600.0
FILE_BYTES_MAX = 8 << 20  # a task's own file; data is made by the task's environment
FILES_MAX = 400


class Network(StrEnum):
    """What a task's commands may reach."""

    NONE = "no-network"
    PUBLIC = "public"
    ALLOWLIST = "allowlist"


class Verifier(StrEnum):
    """Where the tests run: beside what the agent left running, or where only its files are left."""

    SHARED = "shared"
    SEPARATE = "separate"


class TaskError(UsageError):
    """A task that cannot be read, or must not be run here."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task. Times are seconds of wall clock; limits are 0 where the task names none."""

    name: str
    folder: Path
    instruction: str
    agent_timeout_s: float
    verifier_timeout_s: float
    build_timeout_s: float
    network: Network
    verifier: Verifier
    memory_mb: int
    cpus: int
    storage_mb: int
    workdir: str
    env: Mapping[str, str]
    verifier_env: Mapping[str, str]
    solution_env: Mapping[str, str]
    difficulty: str
    category: str
    tags: tuple[str, ...]
    programs: tuple[str, ...]
    agent: str = ""  # what of ours this task is for: "" run; heal; share: run, and the tests see its record
    digest: str = field(default="", compare=False)
    example: "Example | None" = field(default=None, compare=False)  # of a task at a desktop

    @property
    def tests(self) -> Path:
        """The folder that is brought in after the agent has ended."""
        return self.folder / "tests"

    @property
    def solution(self) -> Path:
        """The folder that only the oracle sees."""
        return self.folder / "solution"

    @property
    def environment(self) -> Path:
        """The folder with the Dockerfile and what it copies."""
        return self.folder / "environment"


# section -> keys that mean something here; "" is the top
_KEYS: Mapping[str, tuple[str, ...]] = {
    "": ("version", "schema_version", "metadata", "verifier", "agent", "environment", "solution", "task"),
    "task": ("name", "description", "keywords", "authors"),
    "verifier": ("timeout_sec", "env", "environment_mode"),
    "agent": ("timeout_sec",),
    "environment": (
        "build_timeout_sec",
        "cpus",
        "memory_mb",
        "storage_mb",
        "memory",
        "storage",
        "gpus",
        "network_mode",
        "allow_internet",
        "allowed_hosts",
        "workdir",
        "env",
    ),
    "solution": ("env",),
}
_SCHEMAS = ("1.0", "1.1", "1.2", "1.3", "1.4")


def read_task(folder: Path) -> Task:
    """The task in a folder. Raises TaskError naming the file, the key and what to write instead."""
    place = folder / "task.toml"
    try:
        given = tomllib.loads(place.read_text(encoding="utf-8"))
        instruction = (folder / "instruction.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TaskError(f"{folder} holds no task that can be read", why=str(error)) from error
    _known("", given, place)
    schema = str(given.get("schema_version", given.get("version", "1.4")))
    if schema not in _SCHEMAS:
        raise TaskError(f"{place}: schema {schema!r} is not known", why=f"known: {', '.join(_SCHEMAS)}")
    parts = {name: _section(given, name, place) for name in ("verifier", "agent", "environment", "solution")}
    meta = _table(given, "metadata", place)
    environment = parts["environment"]
    for name in ("tests/test.sh", "solution/solve.sh", "environment/Dockerfile"):
        if not (folder / name).is_file():
            raise TaskError(f"{folder} has no {name}", why="a task is gated by its own solution and tests")
    return Task(
        name=folder.name,
        folder=folder,
        instruction=instruction.strip(),
        agent_timeout_s=_seconds(parts["agent"], "timeout_sec", 600.0, place),
        verifier_timeout_s=_seconds(parts["verifier"], "timeout_sec", 600.0, place),
        build_timeout_s=_seconds(environment, "build_timeout_sec", 600.0, place),
        network=_network(environment, place),
        verifier=_choice(Verifier, parts["verifier"], "environment_mode", Verifier.SHARED, place),
        memory_mb=_megabytes(environment, "memory", place),
        cpus=_whole(environment, "cpus", place),
        storage_mb=_megabytes(environment, "storage", place),
        workdir=str(environment.get("workdir", "")),
        env=_strings(environment, "env", place),
        verifier_env=_strings(parts["verifier"], "env", place),
        solution_env=_strings(parts["solution"], "env", place),
        difficulty=str(meta.get("difficulty", "")),
        category=str(meta.get("category", "")),
        tags=_words(meta, "tags", place),
        programs=_words(meta, "programs", place),
        agent=str(meta.get("agent", "")),
        digest=digest_of(folder),
    )


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and contents of the task's files: which task was it that was run?"""
    whole = hashlib.sha256()
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    if len(files) > FILES_MAX:
        raise TaskError(f"{folder} has {len(files)} files", why=f"a task has at most {FILES_MAX}")
    for path in files:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise TaskError(
                f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB", fix="make it in the Dockerfile"
            )
        name = path.relative_to(folder).as_posix().encode()
        body = path.read_bytes()
        whole.update(b"%d %d\n" % (len(name), len(body)) + name + body)
    return whole.hexdigest()


def _known(name: str, given: Mapping[str, Any], place: Path) -> None:
    for key in given:
        if key not in _KEYS[name]:
            meant = nearest(key, _KEYS[name])
            where = f"[{name}] " if name else ""
            raise TaskError(
                f"{place}: {where}{key!r} is not known here",
                why="a key that is skipped may be what makes the task fair",
                fix=f"did you mean {meant!r}?" if meant else "run the task with Harbor, or take the key out",
            )


def _table(given: Mapping[str, Any], name: str, place: Path) -> Mapping[str, Any]:
    found = given.get(name, {})
    if not isinstance(found, dict):
        raise TaskError(f"{place}: {name!r} is no table", fix=f"write [{name}]")
    return cast(Mapping[str, Any], found)


def _section(given: Mapping[str, Any], name: str, place: Path) -> Mapping[str, Any]:
    found = _table(given, name, place)
    _known(name, found, place)
    return found


def _seconds(given: Mapping[str, Any], key: str, default: float, place: Path) -> float:
    found = given.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found <= TIMEOUT_S_MAX:
        raise TaskError(f"{place}: {key} is {found!r}", fix=f"give seconds from 1 to {TIMEOUT_S_MAX:.0f}")
    return float(found)


def _whole(given: Mapping[str, Any], key: str, place: Path) -> int:
    found = given.get(key, 0)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise TaskError(f"{place}: {key} is {found!r}", fix="give a whole number")
    if key != "gpus" and given.get("gpus"):
        raise TaskError(f"{place}: the task wants a GPU", why="no wall here hands one out")
    return found


def _megabytes(given: Mapping[str, Any], key: str, place: Path) -> int:
    """`memory_mb = 2048`, or `memory = "2G"` as the first version of the schema had it."""
    if key not in given:
        return _whole(given, f"{key}_mb", place)
    text = str(given[key]).strip().upper().removesuffix("B").removesuffix("I")
    scale = {"M": 1, "G": 1024}.get(text[-1:], 0)
    if not scale or not text[:-1].isdigit():
        raise TaskError(f"{place}: {key} is {given[key]!r}", fix="write 512M or 2G")
    return int(text[:-1]) * scale


def _network(given: Mapping[str, Any], place: Path) -> Network:
    """The network mode; a task that names none may reach everything, as the format has it."""
    if "network_mode" not in given and "allow_internet" in given:
        return Network.PUBLIC if given["allow_internet"] else Network.NONE
    return _choice(Network, given, "network_mode", Network.PUBLIC, place)


def _choice[T: StrEnum](kind: type[T], given: Mapping[str, Any], key: str, default: T, place: Path) -> T:
    found = str(given.get(key, default))
    try:
        return kind(found)
    except ValueError:
        raise TaskError(
            f"{place}: {key} is {found!r}",
            why=f"known: {', '.join(kind)}",
            fix=f"did you mean {nearest(found, list(kind))!r}?",
        ) from None


def _strings(given: Mapping[str, Any], key: str, place: Path) -> Mapping[str, str]:
    found = _table(given, key, place)
    for name, value in found.items():
        if not isinstance(value, str):
            raise TaskError(f"{place}: {key}.{name} is no text", fix=f'write {name} = "{value}"')
    return cast(Mapping[str, str], found)


def _words(given: Mapping[str, Any], key: str, place: Path) -> tuple[str, ...]:
    found = given.get(key, [])
    if not isinstance(found, list) or not all(isinstance(word, str) for word in cast(list[Any], found)):
        raise TaskError(f"{place}: {key} is no list of words", fix=f'write {key} = ["one", "two"]')
    return tuple(cast(list[str], found))
