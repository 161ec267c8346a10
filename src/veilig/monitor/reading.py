"""How is JSON of anybody read without believing its shape?"""

from typing import Any, cast


class Unreadable(Exception):
    """It cannot be read, so it cannot be judged: what that means, the caller's policy says."""


def mapping(value: object) -> dict[str, Any]:
    """An object; {} for null. Raises Unreadable for anything else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unreadable(f"an object was expected and a {type(value).__name__} came")
    return cast(dict[str, Any], value)


def mappings(value: object) -> list[dict[str, Any]]:
    """A list of objects; [] for null. Raises Unreadable for anything else."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unreadable(f"a list was expected and a {type(value).__name__} came")
    return [mapping(item) for item in cast(list[object], value)]
