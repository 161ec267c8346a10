"""What is a conversation with a model, whichever API it came through? The form between two dialects.

A request is read into `Asked` and written for the upstream; an answer is read into a run of `Said` and
written for the client. What one side says and the other has no word for is refused
(`Untranslatable`) when the answer would be about something else, else named in `left_out`; nothing is dropped
in silence.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, cast

import orjson

from veilig.core.errors import VeiligError
from veilig.monitor.reading import mapping, mappings

CUSTOM_INPUT: Final = "input"  # the one parameter of a tool that takes free text, where only JSON is spoken


class Untranslatable(VeiligError):
    """The upstream's API has no word for something that the request stands on."""


# --- what was asked -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """Something said."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: its data in base64 with its media type, or where it is."""

    media_type: str = ""
    data: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of an earlier turn. arguments: JSON text, or free text when `free`."""

    id: str
    name: str
    arguments: str
    free: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered."""

    call: str
    parts: "tuple[Text | Image, ...]"
    failed: bool = False


type Part = Text | Image | Call | Result


class Speaker(StrEnum):
    """Whose turn it is."""

    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said before the other spoke."""

    speaker: Speaker
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the client runs. free: it takes text instead of JSON."""

    name: str
    description: str
    schema: dict[str, Any]
    free: bool = False


@dataclass(slots=True)
class Asked:
    """One request. choice: auto, none, any, or a tool's name after `tool:`; "" where it says nothing."""

    model: str
    stream: bool
    system: list[str] = field(default_factory=list[str])
    turns: list[Turn] = field(default_factory=list[Turn])
    tools: list[Tool] = field(default_factory=list[Tool])
    choice: str = ""
    parallel: bool | None = None
    tokens_max: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] = field(default_factory=list[str])
    schema: dict[str, Any] | None = None  # of the answer, when it must be JSON: {name, schema, strict}
    effort: str = ""
    user: str = ""
    usage_wanted: bool = True  # in a stream
    left_out: list[str] = field(default_factory=list[str])

    def say(self, speaker: Speaker, *parts: Part) -> None:
        """Add to the last turn when the same side goes on, else begin one."""
        given = tuple(p for p in parts if not isinstance(p, Text) or p.text)
        if not given:
            return
        if self.turns and self.turns[-1].speaker is speaker:
            self.turns[-1] = Turn(speaker, self.turns[-1].parts + given)
        else:
            self.turns.append(Turn(speaker, given))

    def leave_out(self, name: str) -> None:
        """Note what the upstream is not told."""
        if name not in self.left_out:
            self.left_out.append(name)


# --- what was answered --------------------------------------------------------------------------------------


class Why(StrEnum):
    """Why an answer is over."""

    STOP = "stop"
    LENGTH = "length"
    CALLS = "calls"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Usage:
    """In tokens; read counts all input, and `cached` is the part of it that came from a cache."""

    read: int = 0
    written: int = 0
    cached: int = 0
    known: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """The upstream accepted the request. model: as it calls itself."""

    model: str


@dataclass(frozen=True, slots=True)
class Spoke:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of what it says of its reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A tool call begins."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallPart:
    """A piece of its arguments."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """It is complete."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is complete."""

    why: Why
    usage: Usage


@dataclass(frozen=True, slots=True)
class Failed:
    """The upstream gave up in the middle."""

    code: str
    message: str


type Said = Begun | Spoke | Thought | CallBegun | CallPart | CallEnd | Ended | Failed


# --- small things that several dialects share ---------------------------------------------------------------


def image_of(url: str) -> Image:
    """A picture from a URL; a data URL is taken apart. Raises Untranslatable for anything else."""
    if url.startswith(("https://", "http://")):
        return Image(url=url)
    head, comma, data = url.partition(",")
    if head.startswith("data:") and head.endswith(";base64") and comma:
        return Image(media_type=head[5:-7], data=data)
    raise Untranslatable(
        "an image is neither a URL nor base64 data",
        why="nothing else can be passed on",
        fix="send image_url as https://... or data:TYPE;base64,...",
    )


def url_of(image: Image) -> str:
    """The other way."""
    return image.url or f"data:{image.media_type};base64,{image.data}"


def refuse(what: str, fix: str) -> Untranslatable:
    """Say what cannot be passed on."""
    return Untranslatable(
        f"{what} cannot be passed on to the upstream of this model", why="its API has no such thing", fix=fix
    )


def free_text(arguments: str) -> str:
    """The text that a tool with free input was called with, out of the JSON around it."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    if isinstance(value, dict):
        text = cast(dict[str, Any], value).get(CUSTOM_INPUT)
        return text if isinstance(text, str) else arguments
    return arguments


def free_schema() -> dict[str, Any]:
    """The parameters of a tool that takes free text, for an API that speaks only JSON."""
    one = {"type": "string", "description": "the whole input, as free text"}
    return {"type": "object", "properties": {CUSTOM_INPUT: one}, "required": [CUSTOM_INPUT]}


def schema_of(value: object) -> dict[str, Any]:
    """A tool's parameters; a tool without any takes an empty object."""
    found = mapping(value)
    return found if found.get("type") == "object" else {"type": "object", "properties": {}, **found}


def number_of(value: object) -> float | None:
    """A number, or None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def whole_of(value: object) -> int | None:
    """A whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def texts_of(value: object) -> list[str]:
    """A text or a list of them."""
    if isinstance(value, str):
        return [value]
    given = cast(list[object], value) if isinstance(value, list) else []
    return [v for v in given if isinstance(v, str)]


def count_of(usage: dict[str, Any], *names: str) -> int:
    """The first of these counts that is there."""
    for name in names:
        if (found := whole_of(usage.get(name))) is not None:
            return max(0, found)
    return 0


def error_of(body: bytes) -> tuple[str, str]:
    """Code and message of an error in any of the shapes that servers of models use."""
    try:
        value = mapping(orjson.loads(body))
    except Exception:  # noqa: BLE001  # no JSON: what a proxy in between wrote
        text = body[:500].decode("utf-8", "replace").strip()
        return "upstream_error", text or "the upstream said nothing"
    error: object = value.get("error", value)
    if isinstance(error, str):
        return "upstream_error", error
    found = mapping(error)
    code = found.get("code") if isinstance(found.get("code"), str) else found.get("type")
    return str(code or "upstream_error"), str(found.get("message") or "the upstream did not say why")


def parts_of(content: object) -> list[dict[str, Any]]:
    """A content field as a list of parts."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return mappings(content)
