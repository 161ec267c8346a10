"""What in a request did the user, a tool or the world say, and what of it is new?

Clients send the whole history with every turn, and their own instructions with it. Scored are user texts,
tool arguments and tool outputs, each apart and each once per conversation; the client's boilerplate is not.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

import orjson

from veilig.monitor.reading import mapping, mappings

CONVERSATIONS_MAX: Final = 10_000  # whose items are remembered; the longest silent one goes first
ITEMS_MAX: Final = 5_000  # of one conversation
KNOWN_MAX: Final = 200_000  # of all together, about 80 bytes each; as above, the longest silent go first


class Source(StrEnum):
    """Who said it."""

    USER = "user"
    CALL = "tool arguments"
    OUTPUT = "tool output"
    CLIENT = "client"  # system and developer messages


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of a request. name: of the tool, for its arguments."""

    source: Source
    text: str
    name: str = ""


def items_of(body: dict[str, Any]) -> list[Item]:
    """The pieces of a request to the Responses, Chat Completions, Messages or Embeddings API, in order.

    Where nobody speaks as a user, the client's own text counts as the user's: a role is only a claim.
    Raises Unreadable for a shape that no such API has.
    """
    found = list(_items(body))
    if any(item.source is not Source.CLIENT for item in found):
        return found
    return [Item(Source.USER, item.text) for item in found]


def _items(body: dict[str, Any]) -> Iterator[Item]:
    if isinstance(body.get("instructions"), str):
        yield Item(Source.CLIENT, body["instructions"])
    for part in mappings(body["system"]) if isinstance(body.get("system"), list) else ():
        yield Item(Source.CLIENT, text_of(part.get("text")))
    if isinstance(body.get("system"), str):
        yield Item(Source.CLIENT, body["system"])
    given = body.get("input", body.get("messages", body.get("prompt")))
    if isinstance(given, str):
        yield Item(Source.USER, given)
        return
    for entry in cast(list[object], given) if isinstance(given, list) else ():
        if isinstance(entry, str):
            yield Item(Source.USER, entry)
        elif isinstance(entry, dict):
            yield from _entry(cast(dict[str, Any], entry))


def _entry(entry: dict[str, Any]) -> Iterator[Item]:
    kind, role = entry.get("type"), entry.get("role")
    if isinstance(kind, str) and kind.endswith("_output"):
        yield Item(Source.OUTPUT, text_of(entry.get("output")))
    elif isinstance(kind, str) and kind.endswith("_call"):
        given = next((entry[k] for k in ("arguments", "input", "action") if k in entry), "")
        yield Item(Source.CALL, text_of(given), str(entry.get("name") or kind))
    elif role in ("tool", "function"):
        yield Item(Source.OUTPUT, text_of(entry.get("content")))
    elif role in ("system", "developer"):
        yield Item(Source.CLIENT, text_of(entry.get("content")))
    elif role == "assistant" or (role == "user" and isinstance(entry.get("content"), list)):
        yield from _parts(entry, role)
    else:
        yield Item(Source.USER, text_of(entry.get("content", entry)))


def _parts(entry: dict[str, Any], role: str) -> Iterator[Item]:
    """A message in parts: in the Messages API calls and their results stand among them."""
    words: list[object] = []
    content = entry.get("content")
    for part in cast(list[object], content) if isinstance(content, list) else ():
        made: dict[str, Any] = cast(dict[str, Any], part) if isinstance(part, dict) else {}
        kind = made.get("type")
        if kind == "tool_result":
            yield Item(Source.OUTPUT, text_of(made.get("content")))
        elif kind == "tool_use":
            yield Item(Source.CALL, text_of(made.get("input")), str(made.get("name") or ""))
        else:
            words.append(cast(object, part))
    if role == "user" and words:
        yield Item(Source.USER, text_of(words))
    for call in mappings(entry.get("tool_calls")) if role == "assistant" else ():
        made = mapping(call.get("function") or call.get("custom"))
        text = text_of(made.get("arguments", made.get("input")))
        yield Item(Source.CALL, text, str(made.get("name") or ""))


def text_of(content: object) -> str:
    """The text of a content field: text, parts with text, or whatever it is as JSON."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list):
        return "\n".join(_part(part) for part in cast(list[object], content))
    return orjson.dumps(content).decode()


def _part(part: object) -> str:
    text = cast(dict[str, Any], part).get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""


class Seen:
    """Which items of which conversation were looked at already; in memory and bounded."""

    __slots__ = ("_of", "_size", "_size_max")

    def __init__(self, size_max: int = KNOWN_MAX) -> None:
        self._of: OrderedDict[str, set[int]] = OrderedDict()
        self._size = 0
        self._size_max = size_max

    def __len__(self) -> int:
        """How many items are remembered."""
        return self._size

    def note(self, conversation: str, item: Item) -> None:
        """It was looked at elsewhere: when the client sends it back as history, it is not new."""
        if (known := self._of.get(conversation)) is not None:
            before = len(known)
            known.add(hash((item.source, item.text)))
            self._size += len(known) - before

    def fresh(self, conversation: str, items: list[Item]) -> list[Item]:
        """Those that are new to the conversation, and the last user text whatever it is."""
        known = self._of.get(conversation)
        if known is None:
            known = self._of[conversation] = set()
            if len(self._of) > CONVERSATIONS_MAX:
                self._size -= len(self._of.popitem(last=False)[1])
        else:
            self._of.move_to_end(conversation)
        before = len(known)
        last = len(items) - 1
        found: list[Item] = []
        for at, item in enumerate(items):
            key = hash((item.source, item.text))
            if key not in known or (at == last and item.source is Source.USER):
                found.append(item)
                known.add(key)
        if len(known) > ITEMS_MAX:
            known.clear()  # what comes again is looked at again: more work, nothing missed
        self._size += len(known) - before
        while self._size > self._size_max and len(self._of) > 1:
            self._size -= len(self._of.popitem(last=False)[1])
        return found
