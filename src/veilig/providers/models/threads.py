"""What has been said in a conversation so far? Kept in the library's form, under an id bound to it."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from veilig.core.canonical import canonical
from veilig.core.message import Message

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import ModelRequestParameters

THREADS_MAX = 64  # points to go on from; one that is gone is sent again from the beginning


@dataclass(frozen=True, slots=True)
class Thread:
    """A point in a conversation: what was said until then (never changed), and what may be called.

    names: the tool that each call named.
    """

    id: str
    history: "Sequence[ModelMessage]"
    tools: "ModelRequestParameters"
    names: Mapping[str, str] = field(default_factory=dict[str, str])


class Threads:
    """The latest points, the least recently used first to go."""

    def __init__(self, most: int = THREADS_MAX) -> None:
        self._most = most
        self._found: OrderedDict[str, Thread] = OrderedDict()

    def get(self, base: str) -> Thread | None:
        """The point named `base`; None when it is not known (any more)."""
        found = self._found.get(base)
        if found is not None:
            self._found.move_to_end(base)
        return found

    def keep(self, thread: Thread) -> None:
        """Remember a point."""
        self._found[thread.id] = thread
        self._found.move_to_end(thread.id)
        while len(self._found) > self._most:
            self._found.popitem(last=False)


def chain(base: str, tools: str, messages: Iterable[Message]) -> str:
    """The id of what `messages` make of `base`: SHA-256 over the id before and the canonical form of each."""
    found = base
    if tools:
        found = _link(found, b"tools", tools.encode("utf-8", "surrogatepass"))
    for message in messages:
        found = _link(found, b"message", canonical(cast(Any, message.to_json())))
    return found


def _link(before: str, what: bytes, body: bytes) -> str:
    return hashlib.sha256(b"veilig.thread.v1\0%s\0%s\0%s" % (before.encode(), what, body)).hexdigest()
