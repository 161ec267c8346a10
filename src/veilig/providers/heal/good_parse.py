"""Does a configuration file parse as what its name says, and which keys changed? No value is ever said."""

import configparser
import io
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, cast

PARSED_BYTES = 256 << 10  # larger ones are data
KEYS_SHOWN = 8
_NODES = 5000  # of one document: a YAML alias can stand for more than anybody wrote
_ENV_LINE = re.compile(r"\s*(?:#.*|(?:export\s+)?[A-Za-z_][\w.-]*\s*[=:].*)?\s*")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Parsed:
    """valid: None when the name says no form. why: the parser's word and the place, no content."""

    valid: bool | None = None
    why: str = ""
    value: object = None


class _NotThisForm(Exception):
    """What a parser says, without the text it said it about."""


def form_of(path: str) -> str:
    """json, yaml, toml, ini, env, xml, or "" for a file whose name says no form we parse."""
    name = PurePosixPath(path).name.lower()
    if name == ".env" or name.startswith(".env.") or name.endswith(".env"):
        return "env"
    suffix = PurePosixPath(name).suffix
    forms = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".ini": "ini", ".xml": "xml"}
    return forms.get(suffix, "")


def parse(path: str, data: bytes) -> Parsed:
    """Parse it by its name. Never raises for what stands in it."""
    form = form_of(path)
    if not form or len(data) > PARSED_BYTES:
        return Parsed()
    try:
        return Parsed(True, value=_PARSERS[form](data))
    except _NotThisForm as error:
        return Parsed(False, f"not {form.upper()}: {error}")
    except UnicodeDecodeError as error:
        return Parsed(False, f"not {form.upper()}: not UTF-8 at byte {error.start}")
    except RecursionError:
        return Parsed(False, f"not {form.upper()}: nested too deeply")


def changed_keys(before: object, after: object) -> tuple[str, ...]:
    """Dotted names of what differs, sorted; at most KEYS_SHOWN and then "...". Values are not said."""
    old, new = _flat(before), _flat(after)
    keys = sorted(key for key in {*old, *new} if old.get(key, _MISSING) != new.get(key, _MISSING))
    return tuple(keys) if len(keys) <= KEYS_SHOWN else (*keys[:KEYS_SHOWN], "...")


def _flat(value: object) -> dict[str, object]:
    found: dict[str, object] = {}
    left: list[tuple[str, object]] = [("", value)]
    while left and len(found) < _NODES:
        name, part = left.pop()
        if isinstance(part, dict) and part:
            inner = cast(dict[object, object], part)
            left += [(f"{name}.{key}" if name else str(key), item) for key, item in inner.items()]
        elif isinstance(part, list) and part:
            left += [(f"{name}[{at}]", item) for at, item in enumerate(cast(list[object], part))]
        else:
            found[name] = repr(cast(object, part))  # True is not 1 in a configuration
    return found


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise _NotThisForm(f"line {error.lineno} column {error.colno}: {error.msg}") from error


def _toml(data: bytes) -> Any:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at [^)]*\)", str(error))
        raise _NotThisForm(place.group()[4:-1] if place else "no TOML") from error


def _yaml(data: bytes) -> Any:
    import yaml

    text = data.decode("utf-8-sig")
    try:
        for _ in yaml.compose_all(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1} column {mark.column + 1}: " if mark else ""
        raise _NotThisForm(f"{place}{getattr(error, 'problem', None) or 'no YAML'}") from error
    try:
        return list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, TypeError):
        return None  # tags of its own program: it parses, and what its keys are we cannot say


def _ini(data: bytes) -> Any:
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        parser.read_file(io.StringIO(data.decode("utf-8-sig")))
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or next((at for at, _ in getattr(error, "errors", ())), None)
        raise _NotThisForm(f"line {line}: {type(error).__name__}") from error
    return {name: dict(parser[name]) for name in parser.sections()}


def _env(data: bytes) -> Any:
    found: dict[str, str] = {}
    for at, line in enumerate(data.decode("utf-8-sig").splitlines(), start=1):
        if not _ENV_LINE.fullmatch(line):
            raise _NotThisForm(f"line {at}: neither NAME=value nor a comment")
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = value
    return found


def _xml(data: bytes) -> Any:
    from xml.parsers import expat

    try:
        expat.ParserCreate().Parse(data, True)  # structure only; entities are counted by expat itself
    except expat.ExpatError as error:
        raise _NotThisForm(f"line {error.lineno} column {error.offset + 1}") from error
    return None


_PARSERS = {"json": _json, "toml": _toml, "yaml": _yaml, "ini": _ini, "env": _env, "xml": _xml}
