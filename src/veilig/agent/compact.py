"""What stays when a conversation outgrows the model's window? Task, plan, facts, and the newest turns.

No model is asked: what must not be forgotten stands in the state already (plan and notes as the model
wrote them, files touched, commands with their exit codes, the last failure): nothing is made up.
"""

from typing import cast

from veilig.agent.run_state import CHARS_PER_TOKEN, Draft, Json
from veilig.core.message import Message, Role

FULL = 0.8  # of the window: an answer and a tool's output still fit
KEPT = 0.3  # of the window, for the newest messages
FAILURE_CHARS = 1500


def tokens(message: Message) -> int:
    """A careful estimate; pictures count as a page."""
    size = (
        len(message.text)
        + len(message.opaque)
        + sum(len(c.arguments) + len(c.name) + 20 for c in message.calls)
    )
    return int(size / CHARS_PER_TOKEN) + 8 + 1500 * len(message.images)


def too_full(draft: Draft, window: int, answer_tokens: int) -> bool:
    """Whether the next request would not leave room for its answer."""
    fresh = sum(tokens(Message.from_json(m)) for m in draft.unsent())
    return cast(int, draft["context"]) + fresh + answer_tokens > window * FULL


def compacted(draft: Draft, window: int, task: Message, system: Message) -> None:
    """Begin the conversation anew: the same beginning, a digest, and the newest turns as they were said."""
    newest = _newest(draft.messages()[2:], int(window * KEPT))
    digest = _digest(draft, dropped=draft["count"] - 2 - len(newest))
    draft["messages"], draft["count"] = {}, 0
    for message in (system, task, Message(Role.USER, digest), *newest):
        draft.say(message)
    draft["sent"], draft["thread"], draft["context"] = 0, "", 0
    draft["compacted"] = draft["compacted"] + 1


def _newest(messages: list[Message], room: int) -> list[Message]:
    """The last messages that fit, from an answer of the model on, so that every call keeps its result."""
    kept: list[Message] = []
    best: list[Message] = []
    for message in reversed(messages):
        room -= tokens(message)
        if room < 0:
            break
        kept.append(message)
        if message.role is Role.ASSISTANT:
            best = kept[::-1]
    return best


def _digest(draft: Draft, dropped: int) -> str:
    lines = [f"[{dropped} older messages were dropped to save room. What is known from them:]"]
    plan = cast(list[Json], draft["plan"])
    if plan:
        lines += ["Plan:", *(f"- [{'x' if p.get('done') else ' '}] {p.get('step', '')}" for p in plan)]
    if draft["notes"]:
        lines += ["Notes:", str(draft["notes"])]
    files = cast(dict[str, Json], draft["files"])
    if files:
        lines.append("Files touched (their present text may be read again):")
        lines += [f"- {path}: {', '.join(_did(did))}" for path, did in sorted(files.items())]
    commands = [cast(Json, c) for _, c in sorted(cast(Json, draft["commands"]).items())]
    if commands:
        lines.append("Commands that have run (do not repeat one without a reason):")
        lines += [f"- {c['command']}: {c['result']}" for c in commands]
    if draft["failed"]:
        lines += ["The last failure:", str(draft["failed"])[-FAILURE_CHARS:]]
    lines.append("Go on from here.")
    return "\n".join(lines)


def _did(did: Json) -> list[str]:
    words = [
        f"{word} {did[word]} times" if did[word] != 1 else word
        for word in ("read", "edited")
        if did.get(word)
    ]
    return words or ["seen"]
