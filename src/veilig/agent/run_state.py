"""What does a session with a model know between two steps? The conversation, the plan, what was touched."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, cast

from veilig.core.action_json import JSON
from veilig.core.message import Message, Role, ToolCall
from veilig.core.provider import Outcome, Step

WINDOW_TOKENS = 128_000  # where nobody knows a model's window
ANSWER_TOKENS = 8192
CHARS_PER_TOKEN = 3.5  # of code, on the safe side
OUTPUT_HEAD, OUTPUT_TAIL = 3000, 5000  # characters of a tool's output that a model is shown
COMMANDS_KEPT = 40  # in the digest that outlives old messages

type Json = dict[str, JSON]
type Handler = Callable[["Draft", Outcome], Step]


@dataclass(frozen=True, slots=True)
class Hook:
    """A command of the operator's (or, where that is allowed, the project's) at one moment of a session."""

    on: str  # start, after_edit or before_finish
    argv: tuple[str, ...]
    timeout_s: float
    whose: str = "operator"

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Hook":
        """As `session.started` records it."""
        return cls(value["on"], tuple(value["argv"]), float(value["timeout_s"]), value["whose"])


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a child session comes from, and its budget.

    parent: the session that started it; ref: with which act. tree: the state of the copy then.
    depth: how many sessions stand above it. steps, tokens, cost_usd, wall_s: as in core/session.py's Budget.
    """

    parent: str = ""
    ref: str = ""
    tree: str = ""
    depth: int = 0
    steps: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the user asked for.

    model: `vendor:name`. check: an argv whose exit code says whether the task is done. deliver: "", "apply"
    or "branch:NAME". window: tokens of the model's context, 0 to ask the provider. schema: a JSON schema that
    the final result must have, as text. servers: the MCP servers whose tools the model is told of.
    delegates: levels of child sessions that it may start; origin: where a child comes from. hooks: what the
    law wants to be run on the way. world: what the world is called that it works in, where that is no copy.
    """

    source: str
    task: str
    model: str
    test_command: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    deliver: str = ""
    window: int = 0
    answer_tokens: int = ANSWER_TOKENS
    verify: bool = True
    schema: str = ""
    images: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    delegates: int = 0
    origin: Origin | None = None
    hooks: tuple[Hook, ...] = ()
    world: str = ""
    desktop: str = ""  # "with": tools for one beside the others; "only": for a session about nothing else

    def to_json(self) -> Json:
        """The options as `session.started` records them."""
        found = cast(Json, asdict(self))
        for name in ("test_command", "check", "images", "servers"):
            found[name] = [*cast(tuple[str, ...], found[name])]
        found["hooks"] = [{**cast(Json, asdict(hook)), "argv": [*hook.argv]} for hook in self.hooks]
        return found

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "RunOptions":
        """The inverse of `to_json`."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        for name in ("test_command", "check", "images", "servers"):
            known[name] = tuple(str(word) for word in known.get(name, ()))
        known["hooks"] = tuple(Hook.from_json(one) for one in known.get("hooks", ()))
        known["origin"] = Origin(**known["origin"]) if known.get("origin") else None
        return cls(**known)


def fresh() -> Json:
    """The state of a session that has said nothing yet."""
    usage: Json = {"tokens_in": 0, "tokens_cached": 0, "tokens_out": 0, "cost_usd": 0.0, "price_known": True}
    talk: Json = {
        "messages": {},
        "count": 0,
        "sent": 0,
        "thread": "",
        "context": 0,
        "window": 0,
        "compacted": 0,
    }
    known: Json = {"plan": [], "notes": "", "files": {}, "commands": {}, "rules": {}, "failed": ""}
    work: Json = {"stage": "open", "queue": [], "doing": {}, "turns": 0, "tries": 0, "again": ["", 0]}
    end: Json = {"finish": {}, "claim": {}, "wrong": [], "proof": [], "tests": {}, "diff": "", "base": []}
    end |= {"failing": [], "before": [], "groups": [], "first_tree": "", "present_tree": "", "applied": ""}
    work |= {
        "mcp_tools": {},
        "mcp_left": [],
        "mcp_asked": [],
        "opening": "",
        "skills_left": [],
        "hook": {},
        "fresh": [],
    }
    odd: Json = {"usage": usage, "skipped": [], "cut": 0, "tight": False, "halt": False, "asked_old": False}
    odd |= {"told": [], "heard": 0}  # what people said that the model has not been told, and the last event
    return {**talk, **known, **work, **end, **odd}


class Draft:
    """The next state while it is made: shares with the old one what does not change, and never changes it."""

    def __init__(self, state: Json) -> None:
        self.state = dict(state)

    def __getitem__(self, name: str) -> Any:
        return self.state[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.state[name] = value

    def inside(self, name: str, key: str, value: JSON) -> None:
        """Set one member of an object of the state."""
        self.state[name] = {**cast(Json, self.state[name]), key: value}

    def say(self, message: Message) -> None:
        """Put a message at the end of the conversation."""
        number = cast(int, self.state["count"])
        self.inside("messages", f"{number:06d}", message.to_json())
        self.state["count"] = number + 1

    def answer(self, call: ToolCall, text: str, images: tuple[str, ...] = ()) -> None:
        """What a tool has to say to the call that wanted it."""
        self.say(Message(Role.TOOL, text, call=call.id, name=call.name, images=images))

    def messages(self) -> list[Message]:
        """The whole conversation as it stands."""
        stored = cast(Json, self.state["messages"])
        return [Message.from_json(stored[key]) for key in sorted(stored)]

    def unsent(self) -> list[JSON]:
        """The messages that the model has not seen yet, as JSON."""
        stored = cast(Json, self.state["messages"])
        first = cast(int, self.state["sent"])
        return [stored[key] for key in sorted(stored) if int(key) >= first]


def touched(now: Draft, path: str, how: str) -> None:
    """A file was read or edited once more: for digests, for the report, and for hooks."""
    did = cast(Json, cast(Json, now["files"]).get(path, {}))
    now.inside("files", path, {**did, how: cast(int, did.get(how, 0)) + 1})
    fresh = cast(list[JSON], now.state.get("fresh", []))
    if how == "edited" and path not in fresh:
        now["fresh"] = [*fresh, path]


def shown(text: str, ref: str = "") -> str:
    """A tool's output as a model is shown it: head and tail, and where the rest is."""
    if len(text) <= OUTPUT_HEAD + OUTPUT_TAIL + 200:
        return text
    left = len(text) - OUTPUT_HEAD - OUTPUT_TAIL
    first = text[:OUTPUT_HEAD].count("\n") + 1
    where = f'; read path "#{ref}" start {first} shows them' if ref else ""
    return f"{text[:OUTPUT_HEAD]}\n[... {left} characters left out{where} ...]\n{text[-OUTPUT_TAIL:]}"


def pick(text: str, start: int, lines: int) -> str:
    """Lines of a text with their numbers, and how many there are."""
    every = text.split("\n")
    if every and every[-1] == "":
        every.pop()
    part = every[start - 1 : start - 1 + lines]
    body = "\n".join(f"{number}\t{line[:2000]}" for number, line in enumerate(part, start))
    end = start - 1 + len(part)
    rest = f"\n[lines {start}-{end} of {len(every)}]" if end < len(every) or start > 1 else ""
    return (body or "[empty]") + rest
