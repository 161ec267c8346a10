"""What do a planner and a model say to each other? Messages and tools, as plain values.

The forms belong to no vendor: providers/models turns them into what each API wants, and the ledger
keeps them as they stand here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from veilig.core.canonical import JSON
from veilig.core.errors import InvalidAction


class Role(StrEnum):
    """Who says it. `tool` is the answer to one call of the assistant."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Stop(StrEnum):
    """Why a model stopped: it is finished, wants tools, ran into the bound, or would not answer."""

    DONE = "done"
    CALLS = "calls"
    LENGTH = "length"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model wants a tool. `arguments`: the JSON text as the model wrote it, which may be no JSON at all."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One thing said.

    call, name: for a tool's answer, which call it answers and which tool spoke. images: paths below the
    workspace, shown to the model beside the text. opaque: what a vendor wants to see again unchanged
    (signed reasoning), kept as text and never read.
    """

    role: Role
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    call: str = ""
    name: str = ""
    images: tuple[str, ...] = ()
    opaque: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Only what is set, so that a conversation stays small."""
        found: dict[str, JSON] = {"role": self.role.value, "text": self.text}
        if self.calls:
            found["calls"] = [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in self.calls]
        if self.images:
            found["images"] = [*self.images]
        texts = {"call": self.call, "name": self.name, "opaque": self.opaque}
        return found | {key: value for key, value in texts.items() if value}

    @classmethod
    def from_json(cls, value: object) -> "Message":
        """The inverse of `to_json`. Raises InvalidAction."""
        try:
            given = dict(cast(Mapping[str, Any], value))
            calls = tuple(
                ToolCall(str(c["id"]), str(c["name"]), str(c["arguments"])) for c in given.get("calls", ())
            )
            images = tuple(str(path) for path in given.get("images", ()))
            texts = {key: str(given.get(key, "")) for key in ("text", "call", "name", "opaque")}
            return cls(Role(given["role"]), calls=calls, images=images, **texts)
        except (TypeError, ValueError, KeyError) as error:
            raise InvalidAction(
                f"no message: {value!r:.80}", why=f"{type(error).__name__}: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it; `parameters` is a JSON schema of one object."""

    name: str
    description: str
    parameters: Mapping[str, JSON]

    def to_json(self) -> dict[str, JSON]:
        """As an action carries it."""
        return {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}


def messages_json(messages: Iterable[Message]) -> list[JSON]:
    """A conversation as an action carries it."""
    return [message.to_json() for message in messages]
