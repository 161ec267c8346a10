"""Which distributions does a project ask for, in which version, and where does it say so?"""

from collections.abc import Mapping
from pathlib import PurePosixPath

from veilig.audit.dependencies_foreign import foreign_reader
from veilig.audit.dependencies_lock import read_lock
from veilig.audit.dependencies_project import read_pyproject
from veilig.audit.dependencies_requirements import read_requirements
from veilig.audit.dependencies_types import (
    Dependencies,
    Found,
    NotAssessed,
    Requirement,
    canonical,
    is_lock_file,
    is_requirements_file,
)

__all__ = [
    "Dependencies",
    "NotAssessed",
    "Requirement",
    "canonical",
    "is_dependency_file",
    "is_lock_file",
    "is_requirements_file",
    "read_dependencies",
]


def is_dependency_file(path: str) -> bool:
    """Whether `read_dependencies` reads a file of this name."""
    name = PurePosixPath(path).name
    known = is_lock_file(path) or is_requirements_file(path) or name == "pyproject.toml"
    return known or foreign_reader(path) is not None


def read_dependencies(files: Mapping[str, str]) -> Dependencies:
    """All requirements in the dependency files among `files` (relative posix path -> text).

    A file that cannot be read as what its name says ends up in `not_assessed`, never in silence.
    """
    found = Found([], [])
    for path in sorted(files):
        foreign = foreign_reader(path)
        if foreign is not None:
            foreign(path, files[path], found)
        elif is_lock_file(path):
            read_lock(path, files[path], found)
        elif PurePosixPath(path).name == "pyproject.toml":
            read_pyproject(path, files[path], found)
        elif is_requirements_file(path):
            read_requirements(path, files, found)
    return Dependencies(tuple(dict.fromkeys(found.requirements)), tuple(dict.fromkeys(found.not_assessed)))
