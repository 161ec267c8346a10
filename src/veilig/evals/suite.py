"""Which suites are there, and what is in them? A folder of tasks with a suite.toml beside them."""

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import veilig
from veilig.core.errors import UsageError
from veilig.core.suggest import nearest
from veilig.evals.desktop_example import FILE as EXAMPLE
from veilig.evals.desktop_example import read_example
from veilig.evals.task import Task, TaskError, read_task


@dataclass(frozen=True, slots=True)
class Suite:
    """Tasks that are scored together. metric: what the score is evidence of."""

    name: str
    version: str
    description: str
    metric: str
    folder: Path
    tasks: tuple[Task, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the tasks' own: which suite was it that was run?"""
        whole = "\n".join(f"{task.name} {task.digest}" for task in self.tasks)
        return hashlib.sha256(whole.encode()).hexdigest()


def homes() -> tuple[Path, ...]:
    """Where our suites lie: beside the package in an installation, at the top of a checkout."""
    package = Path(veilig.__file__).parent
    found = (package / "suites", package.parents[1] / "suites")
    return tuple(place for place in found if place.is_dir())


def names() -> list[str]:
    """The suites that come with us."""
    return sorted({place.parent.name for home in homes() for place in home.glob("*/suite.toml")})


def find_suite(name: str, only: Sequence[str] = ()) -> Suite:
    """A suite of ours by name, or any folder of tasks. Raises UsageError, TaskError.

    only: names of tasks to take; each must exist.
    """
    folder = next((home / name for home in homes() if (home / name / "suite.toml").is_file()), None)
    if folder is None and Path(name).is_dir():
        folder = Path(name).resolve()
    if folder is None:
        meant = nearest(name, names())
        raise UsageError(
            f"there is no suite {name!r}",
            why=f"suites here: {', '.join(names()) or 'none'}",
            fix=f"did you mean {meant!r}?" if meant else "give one of them, or a folder of tasks",
        )
    return read_suite(folder, only)


def read_suite(folder: Path, only: Sequence[str] = ()) -> Suite:
    """The suite in a folder; a folder that is itself a task is a suite of one."""
    if (folder / "task.toml").is_file() or (folder / EXAMPLE).is_file():
        return Suite(folder.name, "-", "one task", "", folder, (_task(folder),))
    said: dict[str, object] = {}
    place = folder / "suite.toml"
    if place.is_file():
        try:
            said = tomllib.loads(place.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise TaskError(f"{place} cannot be read", why=str(error)) from error
    found = sorted({path.parent for name in ("task.toml", EXAMPLE) for path in folder.glob(f"*/{name}")})
    found = found or sorted(folder.glob("*.json"))  # a folder of OSWorld's examples
    if only:
        unknown = sorted(set(only) - {_name(path) for path in found})
        if unknown:
            meant = nearest(unknown[0], [_name(path) for path in found])
            raise UsageError(
                f"suite {folder.name!r} has no task {unknown[0]!r}",
                fix=f"did you mean {meant!r}?" if meant else f"see `veilig eval list {folder.name}`",
            )
        found = [path for path in found if _name(path) in only]
    if not found:
        raise UsageError(f"{folder} holds no task", why="a task is a folder with a task.toml")
    return Suite(
        folder.name,
        str(said.get("version", "-")),
        str(said.get("description", "")),
        str(said.get("metric", "")),
        folder,
        tuple(_task(path) for path in found),
    )


def _name(place: Path) -> str:
    return place.name if place.is_dir() else place.stem


def _task(place: Path) -> Task:
    """The task in a folder, of Harbor's form or OSWorld's, or in one file of OSWorld's."""
    if place.is_dir() and (place / "task.toml").is_file():
        return read_task(place)
    return read_example(place / EXAMPLE if place.is_dir() else place)
