"""Has a result the form that was asked for? The part of JSON Schema that such forms use.

Known: type, properties, required, additionalProperties (true or false), items, enum, const, minimum, maximum,
minLength, maxLength, minItems, maxItems, anyOf. Another keyword is refused, never ignored.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from veilig.core.errors import UsageError

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "null": lambda v: v is None,
}
_NOTES = frozenset({"$schema", "$id", "title", "description", "default", "examples"})
_BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda v, b: not isinstance(v, int | float) or v >= b,
    "maximum": lambda v, b: not isinstance(v, int | float) or v <= b,
    "minLength": lambda v, b: not isinstance(v, str) or len(v) >= b,
    "maxLength": lambda v, b: not isinstance(v, str) or len(v) <= b,
    "minItems": lambda v, b: not isinstance(v, list) or len(cast(list[Any], v)) >= b,
    "maxItems": lambda v, b: not isinstance(v, list) or len(cast(list[Any], v)) <= b,
    "const": lambda v, b: v == b,
    "enum": lambda v, b: v in b,
}
_KNOWN = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "anyOf", *_BOUNDS, *_NOTES}
)


def read_schema(text: str) -> dict[str, Any]:
    """The schema. Raises UsageError when it is none, or uses what is not known here."""
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        raise UsageError("the output schema is no JSON", why=str(error)) from error
    _need_known(found, "the schema")
    return cast(dict[str, Any], found)


def _need_known(schema: Any, where: str) -> None:
    if not isinstance(schema, dict):
        raise UsageError(f"{where} is no JSON object")
    rules = cast(dict[str, Any], schema)
    if unknown := sorted(set(rules) - _KNOWN):
        raise UsageError(
            f"{where} uses {unknown[0]!r}", why=f"known are {', '.join(sorted(_KNOWN - _NOTES))}"
        )
    if "type" in rules and not all(t in _TYPES for t in _listed(rules["type"])):
        raise UsageError(f"{where} has the type {rules['type']!r}", why=f"types are {', '.join(_TYPES)}")
    for name, inner in cast(dict[str, Any], rules.get("properties", {})).items():
        _need_known(inner, f"{where}.{name}")
    for inner in (*([rules["items"]] if "items" in rules else []), *rules.get("anyOf", [])):
        _need_known(inner, f"{where}[]")


def misfit(value: Any, schema: str) -> str:
    """What is wrong with a value, in words; empty when it fits. Raises UsageError as read_schema."""
    return _wrong(value, read_schema(schema), "result")


def _wrong(value: Any, rules: dict[str, Any], where: str) -> str:
    if "type" in rules and not any(_TYPES[t](value) for t in _listed(rules["type"])):
        return f"{where} is no {' or '.join(_listed(rules['type']))}"
    for name, holds in _BOUNDS.items():
        if name in rules and not holds(value, rules[name]):
            return f"{where} breaks {name} {json.dumps(rules[name])}"
    choices = cast(list[dict[str, Any]], rules.get("anyOf", []))
    if choices and all(_wrong(value, one, where) for one in choices):
        return f"{where} fits none of anyOf"
    if isinstance(value, list) and "items" in rules:
        every = (_wrong(one, rules["items"], f"{where}[{n}]") for n, one in enumerate(cast(list[Any], value)))
        return next((text for text in every if text), "")
    return _wrong_object(cast(dict[str, Any], value), rules, where) if isinstance(value, dict) else ""


def _wrong_object(value: dict[str, Any], rules: dict[str, Any], where: str) -> str:
    inner = cast(dict[str, dict[str, Any]], rules.get("properties", {}))
    if missing := [name for name in rules.get("required", []) if name not in value]:
        return f"{where} has no {missing[0]!r}"
    if rules.get("additionalProperties") is False and (more := sorted(set(value) - set(inner))):
        return f"{where} has {more[0]!r}, which is not wanted"
    every = (_wrong(value[name], one, f"{where}.{name}") for name, one in inner.items() if name in value)
    return next((text for text in every if text), "")


def _listed(given: Any) -> list[str]:
    return cast(list[str], given) if isinstance(given, list) else [str(given)]
