"""Which entries does a services file have? JSON or our strict YAML, one mapping for each name."""

import json
from collections.abc import Mapping
from typing import Any, cast

from veilig.core.errors import PolicyError, UsageError
from veilig.core.policy_load import open_source, read_nodes
from veilig.core.policy_match import SERVICE_NAME
from veilig.core.policy_shape import plain


def read_entries(data: bytes, path: str) -> dict[str, dict[str, Any]]:
    """Name -> what the file says of it, in the file's order. Raises UsageError that says where."""
    return _entries(_document(data, path), path)


def _document(data: bytes, path: str) -> Any:
    """JSON if it is JSON, else our strict subset of YAML."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 at byte {error.start}") from error
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, path))
        except json.JSONDecodeError as error:
            if path.endswith(".json"):
                raise UsageError(f"{path}:{error.lineno}:{error.colno}: {error.msg}") from error
        except RecursionError as error:
            raise UsageError(f"{path} is nested too deeply") from error
    try:
        source = open_source(data, path)
        node = read_nodes(source)
        source.stop_if_invalid()
    except PolicyError as error:
        raise UsageError(error.what.replace(" does not validate", " is no services file")) from error
    return plain(node)


def _once(pairs: list[tuple[str, Any]], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise UsageError(f"{path}: {key!r} stands twice in one object", fix="remove one of them")
        found[key] = value
    return found


def _entries(document: Any, path: str) -> dict[str, dict[str, Any]]:
    """Name -> what the file says of it, in the file's order."""
    if isinstance(document, Mapping):
        top = cast(Mapping[str, Any], document)
        inner: Any = top.get("services")
        document = cast(Any, inner if isinstance(inner, list | Mapping) else top)
    pairs: list[tuple[str, Any]]
    if isinstance(document, Mapping):
        pairs = list(cast(Mapping[str, Any], document).items())
    elif isinstance(document, list):
        pairs = [(_name(item), item) for item in cast(list[Any], document)]
    else:
        raise UsageError(f"{path} is neither a mapping nor a list of services")
    return _checked(pairs, path)


def _name(item: Any) -> str:
    return str(cast(Mapping[str, Any], item).get("name", "")) if isinstance(item, Mapping) else ""


def _checked(pairs: list[tuple[str, Any]], path: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, body in pairs:
        if not isinstance(body, Mapping):
            raise UsageError(f"{path}: {name or body!r} is no service", fix="write a mapping with its `cmd`")
        if not SERVICE_NAME.fullmatch(name):
            raise UsageError(
                f"{path}: {name!r} cannot be the name of a service",
                why="a name has a-z, 0-9, '.', '_' and '-', so that no two look alike",
            )
        if name in found:
            raise UsageError(f"{path}: {name!r} stands twice", fix="rename one of them")
        found[name] = dict(cast(Mapping[str, Any], body))
    return found
