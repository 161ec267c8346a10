"""Which tools is a model given, and what does a call of one ask for?

Few and small: every word here is sent with the first request and paid for. A call becomes a Wish, or
a BadCall whose text tells the model how to call it right; a malformed call never ends a session.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from veilig.core.canonical import JSON
from veilig.core.limits import COMMAND_TIMEOUT_S, COMMAND_TIMEOUT_S_MAX
from veilig.core.message import ToolCall, ToolSpec

READ_LINES = 400  # of a file at once: a screen or ten, and no window is full of one file
_BARE = re.compile(r"[\w@%+=:,./ \t-]+")  # nothing that a shell would read as more than words
_BUILTINS = (
    "cd export source . set unset alias ulimit umask exec eval trap wait read time type if for while case "
    "until function exit return jobs fg"
)
_NEEDS_SHELL = frozenset(_BUILTINS.split())

TEXT: JSON = {"type": "string"}
WHOLE: JSON = {"type": "integer"}


def spec(name: str, description: str, required: tuple[str, ...] = (), /, **fields: JSON) -> ToolSpec:
    """A tool whose arguments are these fields."""
    schema: dict[str, JSON] = {"type": "object", "properties": fields}
    if required:
        schema["required"] = [*required]
    return ToolSpec(name, description, schema)


TOOLS: tuple[ToolSpec, ...] = (
    spec(
        "shell",
        "Run a command with bash in the project root: no network, no state kept but files. "
        "background: give it a job name and go on.",
        ("command",),
        command=TEXT,
        timeout_s=WHOLE,
        background=TEXT,
    ),
    spec(
        "job",
        "New output of a background job; input: first send this text to it; stop: end it.",
        ("name",),
        name=TEXT,
        input=TEXT,
        stop={"type": "boolean"},
    ),
    spec(
        "read",
        "Lines of a file with their numbers, or the names in a folder. #REF: a tool output that was cut.",
        ("path",),
        path=TEXT,
        start=WHOLE,
        lines=WHOLE,
    ),
    spec("search", "Lines below path that match an extended regex.", ("pattern",), pattern=TEXT, path=TEXT),
    spec(
        "edit",
        "Replace old, which must stand exactly once in the file (all: every one), by new. "
        "Empty old: a new file.",
        ("path", "old", "new"),
        path=TEXT,
        old=TEXT,
        new=TEXT,
        all={"type": "boolean"},
    ),
    spec(
        "apply_patch",
        "Several edits at once: *** Begin Patch / *** Update|Add|Delete File: PATH / @@ and lines with "
        "' ', '-', '+' / *** End Patch.",
        ("patch",),
        patch=TEXT,
    ),
    spec(
        "plan",
        "Your plan, whole, each time it changes, and notes: decisions and facts to remember. "
        "Survives when old messages are dropped.",
        ("steps",),
        steps={
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"step": TEXT, "done": {"type": "boolean"}},
                "required": ["step"],
            },
        },
        notes=TEXT,
    ),
    spec("view", "Look at a picture of the project.", ("path",), path=TEXT),
    spec(
        "finish",
        "The task is done, or cannot be: say which. Tests and an audit of your changes are run then.",
        ("summary",),
        summary=TEXT,
        evidence=TEXT,
        done={"type": "boolean"},
    ),
)
NAMES = tuple(tool.name for tool in TOOLS)


def tools_there() -> tuple[ToolSpec, ...]:
    """The same tools in a world that somebody else has set up."""
    said = {
        "shell": "Run a command with bash in the working folder: no state kept but files and what runs. "
        "background: give it a job name and go on.",
        "finish": "The task is done, or cannot be: say which.",
    }
    return tuple(replace(tool, description=said.get(tool.name, tool.description)) for tool in TOOLS)


@dataclass(frozen=True, slots=True)
class Wish:
    """A well-formed call: the tool and its arguments, every required one there and of its type."""

    tool: str
    arguments: dict[str, JSON]

    def text(self, name: str) -> str:
        """A text argument, empty when it was not given."""
        return str(self.arguments.get(name) or "")

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A number within its bounds."""
        value = self.arguments.get(name)
        return min(max(value, least), most) if isinstance(value, int) else default

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no."""
        value = self.arguments.get(name)
        return value if isinstance(value, bool) else default


@dataclass(frozen=True, slots=True)
class BadCall:
    """What is told to a model that called a tool wrongly."""

    text: str


def read_call(call: ToolCall, extra: Mapping[str, ToolSpec] | None = None) -> Wish | BadCall:
    """The wish of a call. Slips that have one meaning are mended: a number as text, a single string."""
    specs = {tool.name: tool for tool in TOOLS} | dict(extra or {})
    wanted = specs.get(call.name)
    if wanted is None:
        return BadCall(f"there is no tool {call.name!r}; there are {', '.join(specs)}")
    try:
        given: Any = json.loads(call.arguments or "{}", strict=False)
    except ValueError as error:
        return BadCall(f"the arguments of {call.name} are no JSON ({error}); send the call again")
    properties = cast(dict[str, dict[str, JSON]], wanted.parameters.get("properties", {}))
    required = cast(list[str], wanted.parameters.get("required", []))
    if isinstance(given, str) and len(required) == 1:
        given = {required[0]: given}
    if not isinstance(given, dict):
        return BadCall(f"the arguments of {call.name} are no JSON object; send the call again")
    arguments = cast(dict[str, JSON], given)
    if missing := [name for name in required if arguments.get(name) is None]:
        return BadCall(f"{call.name} needs {', '.join(missing)}; send the call again")
    for name, value in arguments.items():
        kind = str(properties.get(name, {}).get("type", ""))
        mended, fits = _typed(value, kind)
        if not fits:
            return BadCall(f"{call.name}: {name} is no {kind}; send the call again")
        arguments[name] = mended
    return Wish(call.name, arguments)


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def _typed(value: JSON, kind: str) -> tuple[JSON, bool]:
    """The value as its kind wants it, and whether it fits."""
    if value is None or kind not in _TYPES:
        return value, True
    if kind == "string" and isinstance(value, list) and all(isinstance(word, str) for word in value):
        return shlex.join(cast(list[str], value)), True
    if kind == "integer" and isinstance(value, str | float) and re.fullmatch(r"-?\d+(\.0)?", str(value)):
        return int(float(value)), True
    if kind == "boolean" and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true", True
    if kind == "array" and isinstance(value, str):
        try:
            return _typed(json.loads(value), kind)
        except ValueError:
            return value, False
    fits = isinstance(value, _TYPES[kind]) and (kind != "integer" or not isinstance(value, bool))
    return value, fits


def argv_of(command: str) -> tuple[str, ...]:
    """The argv of a command line: its words where a shell would add nothing, else `bash -c` and the line.

    A rule of the policy can so name `git status` and not only `bash`.
    """
    if _BARE.fullmatch(command) and not command.isspace():
        words = command.split()
        if words and words[0] not in _NEEDS_SHELL and "=" not in words[0]:
            return tuple(words)
    return ("bash", "-c", command)


def timeout_of(wish: Wish) -> float:
    """How long a command may take, in seconds."""
    return float(wish.whole("timeout_s", int(COMMAND_TIMEOUT_S), 1, int(COMMAND_TIMEOUT_S_MAX)))
