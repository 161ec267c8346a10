"""Must a request change its language on the way, and back? One translation per request and upstream.

What comes out for the client is in the client's own API, so the watch over streams, the judging of whole
answers and the bill see what the client will see.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, Protocol

import orjson

from veilig.monitor.reading import Unreadable, mapping
from veilig.server.dialects import (
    ask_chat,
    ask_messages,
    ask_responses,
    say_chat,
    say_messages,
    say_responses,
    up_chat,
    up_messages,
)
from veilig.server.dialects.sse import Events
from veilig.server.dialects.turns import Asked, Failed, Said, Untranslatable, Usage, error_of


class Speech(StrEnum):
    """An API that upstreams speak."""

    CHAT = "chat"
    MESSAGES = "messages"


class _Reader(Protocol):
    over: bool

    def event(self, data: bytes) -> Iterable[Said]: ...


class _Writer(Protocol):
    usage: Usage
    ended: bool

    def said(self, one: Said) -> bytes: ...

    def whole(self) -> dict[str, Any]: ...


READ: Final = {"responses": ask_responses.asked, "chat": ask_chat.asked, "messages": ask_messages.asked}
PATHS: Final = {Speech.CHAT: up_chat.PATH, Speech.MESSAGES: up_messages.PATH}


class Translation:
    """One request on its way to an upstream of another API, and its answer on the way back.

    surface: the client's API. model: what the upstream calls it; `shown`: what it is called here.
    Raises Untranslatable for a request that the upstream's API has no words for.
    """

    def __init__(
        self, surface: str, speech: Speech, body: dict[str, Any], *, model: str, shown: str, tokens_max: int,
        bound: str = "max_tokens",
    ) -> None:  # fmt: skip
        if surface not in READ:
            raise Untranslatable(f"{surface} are not served by the upstream of this model")
        try:
            asked = READ[surface](body)
        except Unreadable as error:
            raise Untranslatable(f"the request cannot be read: {error}") from error
        asked.model = model
        if speech is Speech.MESSAGES:
            self.raw = up_messages.written(asked, tokens_max)
        else:
            self.raw = up_chat.written(asked, tokens_max, bound=bound)
        self.path = PATHS[speech]
        self.left_out = asked.left_out
        self._speech = speech
        self._events = Events()
        self._reader: _Reader = up_messages.Stream() if speech is Speech.MESSAGES else up_chat.Stream()
        self._writer = _writer(surface, body, shown, asked)

    @property
    def usage(self) -> dict[str, Any] | None:
        """As the upstream counted; None where it did not."""
        used = self._writer.usage
        return {"input_tokens": used.read, "output_tokens": used.written} if used.known else None

    def feed(self, chunk: bytes) -> bytes:
        """What the client gets for a piece of the upstream's stream. Raises Unreadable."""
        return self._say(self._events.feed(chunk))

    def finish(self) -> bytes:
        """The upstream closed: what is left, or that it ended early."""
        out = self._say(self._events.finish())
        if not self._writer.ended and isinstance(self._reader, up_chat.Stream):
            out += b"".join(map(self._writer.said, self._reader.finish()))
        if not self._writer.ended:
            out += self._writer.said(
                Failed("upstream_error", "The upstream ended the answer early; try again")
            )
        return out

    def whole(self, body: bytes) -> bytes:
        """A whole answer. Raises Unreadable."""
        try:
            value = mapping(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise Unreadable("the answer is not JSON") from error
        said = up_messages.whole(value) if self._speech is Speech.MESSAGES else up_chat.whole(value)
        for one in said:
            self._writer.said(one)
        return orjson.dumps(self._writer.whole())

    def _say(self, events: list[bytes]) -> bytes:
        out: list[bytes] = []
        for data in events:
            if self._writer.ended:
                break
            try:
                out += [self._writer.said(one) for one in self._reader.event(data)]
            except orjson.JSONDecodeError as error:
                raise Unreadable("an event is not JSON") from error
        return b"".join(out)


def _writer(surface: str, body: dict[str, Any], shown: str, asked: Asked) -> _Writer:
    free = frozenset(t.name for t in asked.tools if t.free)
    if surface == "responses":
        return say_responses.Writer(body, shown, free)
    if surface == "chat":
        return say_chat.Writer(shown, free, usage_wanted=asked.usage_wanted)
    return say_messages.Writer(shown)


__all__ = ["Speech", "Translation", "Untranslatable", "error_of"]
