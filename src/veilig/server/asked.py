"""What did a request ask for? Its parts, each checked as its schema says; anything else is refused."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import orjson

from veilig.collab.accounts import Login
from veilig.collab.roles import Refused

BODY_BYTES_MAX: Final = 1 << 20
SESSION: Final = re.compile(r"[a-z]{2,16}-[0-9a-z]{4,32}(?:\.[0-9]{1,4}){0,8}")
WORD: Final = re.compile(r"[A-Za-z0-9_.@+:\-]{1,128}")

type Schema = Mapping[str, Any]


@dataclass(slots=True)
class Asked:
    """One request to the API. login: None only where an endpoint is open to strangers."""

    path: dict[str, str]
    query: Mapping[str, str]
    login: Login | None
    address: str
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    raw: Any = None  # the receive function, for an upload
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def me(self) -> Login:
        """Who asks. Raises Refused (401)."""
        if self.login is None:
            raise Refused("nobody is signed in", status=401, fix="sign in")
        return self.login

    @property
    def session(self) -> str:
        """The session in the path. Raises Refused (404) for what cannot be one."""
        ident = self.path.get("session", "")
        if not SESSION.fullmatch(ident):
            raise Refused("there is no such session", status=404, fix="see the list of sessions")
        return ident

    def word(self, name: str) -> str:
        """An id in the path. Raises Refused (404)."""
        value = self.path.get(name, "")
        if not WORD.fullmatch(value):
            raise Refused(f"there is no such {name}", status=404)
        return value

    def number(self, name: str, default: int, most: int = 1 << 53) -> int:
        """A whole number in the query, 0 or more. Raises Refused (400)."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit()) or len(text) > 16 or int(text) > most:
            raise Refused(f"{name} is not a number from 0 to {most}", status=400)
        return int(text)

    def text(self, name: str, most: int = 200) -> str:
        """A text in the query. Raises Refused (400)."""
        value = self.query.get(name, "")
        if len(value) > most:
            raise Refused(f"{name} is too long", status=400, fix=f"at most {most} characters")
        return value


def parsed(raw: bytes, schema: Schema) -> dict[str, Any]:
    """The body as its schema wants it. Raises Refused (400), naming the field."""
    try:
        value: object = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise Refused("the body is not JSON", status=400, why=str(error)[:200]) from error
    if not isinstance(value, dict):
        raise Refused("the body is not a JSON object", status=400)
    given = cast("dict[str, Any]", value)
    properties = cast(Mapping[str, Schema], schema.get("properties", {}))
    if unknown := [k for k in given if k not in properties]:
        raise Refused(f"{unknown[0][:80]!r} is not asked for", status=400, fix=f"{', '.join(properties)}")
    for name in cast("list[str]", schema.get("required", [])):
        if name not in given:
            raise Refused(f"{name} is missing", status=400)
    for name, item in given.items():
        _must_fit(name, item, properties[name])
    return given


def _must_fit(name: str, value: object, schema: Schema) -> None:
    kinds = {"string": str, "integer": int, "boolean": bool, "object": dict}
    kind = str(schema["type"])
    if type(value) is not kinds[kind]:
        raise Refused(f"{name} is not of type {kind}", status=400)
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 20):
            raise Refused(f"{name} has {len(value)} characters", status=400, why=_bounds(schema, "Length"))
        if "enum" in schema and value not in schema["enum"]:
            raise Refused(f"{name} is not one of {', '.join(schema['enum'])}", status=400)
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Refused(f"{name} holds half a character", status=400) from error
    elif isinstance(value, int) and not schema.get("minimum", 0) <= value <= schema.get("maximum", 1 << 53):
        raise Refused(f"{name} is out of bounds", status=400, why=_bounds(schema, "imum"))
    elif isinstance(value, dict):
        inner = cast(Mapping[str, Schema], schema.get("properties", {}))
        for key, item in cast("dict[str, object]", value).items():
            if key not in inner:
                raise Refused(f"{name}.{key[:80]} is not asked for", status=400)
            _must_fit(f"{name}.{key}", item, inner[key])


def _bounds(schema: Schema, end: str) -> str:
    low, high = ("minLength", "maxLength") if end == "Length" else ("minimum", "maximum")
    return f"{schema.get(low, 0)} to {schema.get(high, 'any')} are"
