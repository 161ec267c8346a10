"""How is a stream of bytes redacted when a secret may be cut across chunks?

What the end of the stream could still turn into a secret is held back; everything before is decided for
good. The result does not depend on where the chunks are cut: text is released only up to a place that no
later byte can change. Only who asks for what is late (`late`) is shown more: what cannot be a secret's
beginning, or at most three characters of one; a longer beginning becomes a mark. What follows is still
replaced.
"""

import codecs
import re
import time
from collections.abc import Callable
from typing import Protocol

from veilig.core.redact_hold import HELD, MASK_AFTER_S, SHOW_AFTER_S
from veilig.core.redact_patterns import (
    PEM_CHARS_MAX,
    PRIVATE_KEY_BEGINNING,
    PRIVATE_KEY_CLOSED,
    PRIVATE_KEY_OPEN,
    TOKEN_CHARS_MAX,
)

CONTEXT_CHARS = (
    1024  # released text that stays at hand: the key and separator before a value, an edge, a colour
)
WORD_CHARS_MAX = TOKEN_CHARS_MAX * 2  # an unfinished word is held so long; then all but its end is released
PEM_HOLD_CHARS = PEM_CHARS_MAX + 256  # a key block longer than this is masked as a cut-off one
_BLANK = re.compile(r"\s", re.ASCII)


class Found(Protocol):
    """A place to replace."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


class Sealer[F: Found](Protocol):
    """What a stream needs of a redactor; indices count characters."""

    def places(self, text: str, start: int = 0) -> list[F]:
        """Disjoint places to replace, in order, those that begin before `start` left out."""
        ...

    def unfinished(self, text: str) -> int:
        """From where the end of `text` may be the beginning of a known secret."""
        ...

    def presentable(self, text: str, word: int) -> int:
        """Up to where `text`, unfinished as its last word (from `word` on) is, may be shown."""
        ...

    def replace(self, text: str, places: list[F], start: int, end: int) -> str:
        """text[start:end] with the places that end inside it replaced; of one that begins before `start`,
        what is left.
        """
        ...


class StreamRedactor[F: Found]:
    """Bytes in, bytes out, secrets replaced by handles; nothing is lost: out is all of in after `flush`.

    Invalid UTF-8 passes unchanged. Held back at most: the last word (WORD_CHARS_MAX characters), an open
    private-key block (PEM_HOLD_CHARS), or the longest form of a known secret with its gaps.
    """

    def __init__(self, sealer: Sealer[F], clock: Callable[[], float] = time.monotonic) -> None:
        self._sealer = sealer
        self._clock = clock
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""  # context that is out already, then what is held
        self._out = 0  # so many characters of it are out
        self._decided = 0  # up to here they are out for good; from here on a place may begin that goes on
        self._since = 0.0  # what is held waits since then
        self._asked = False  # what could be shown of it early was
        self._marked = False  # the last thing shown is the mark of a beginning

    def __repr__(self) -> str:
        return f"StreamRedactor({self.held_chars} characters held)"

    @property
    def held_chars(self) -> int:
        """How many characters wait for what follows them."""
        return len(self._text) - self._out

    def feed(self, data: bytes) -> bytes:
        """What can be shown now that `data` arrived."""
        held = self.held_chars
        self._text += self._decoder.decode(data)
        safe = self._safe()
        shown = self._release(safe) if safe > self._decided else b""
        if shown or not held:
            self._since, self._asked = self._clock(), False
        return shown

    def waits_s(self) -> float | None:
        """In how many seconds `late` should be asked; None when nothing is held."""
        if not self.held_chars:
            return None
        patience_s = MASK_AFTER_S if self._asked else SHOW_AFTER_S
        return max(0.0, self._since + patience_s - self._clock())

    def late(self) -> bytes:
        """What may be shown of what has waited long enough (see `waits_s`); safe to ask at any time.

        After SHOW_AFTER_S: what cannot be a secret's beginning, and three characters of one. After
        MASK_AFTER_S: a mark in place of the rest.
        """
        waited_s = self._clock() - self._since
        if not self.held_chars or waited_s < SHOW_AFTER_S:
            return b""
        before = self._out
        shown = self._early()
        self._asked = True
        if self.held_chars and waited_s >= MASK_AFTER_S:
            shown += b"" if self._marked else HELD.encode()
            self._out, self._marked = len(self._text), True
        elif self._out > before:
            self._since = self._clock()
        return shown

    def flush(self) -> bytes:
        """Everything that is held, sealed as it stands: at the end of the stream, or when somebody waits
        for a prompt.
        """
        self._text += self._decoder.decode(b"", final=True)
        places = self._sealer.places(self._text, self._decided)
        return self._shown(places, len(self._text))

    def _safe(self) -> int:
        """Up to here nothing that arrives later can change what is a secret."""
        text = self._text
        block = self._open_block(text)
        if block <= self._decided:
            return self._decided
        return min(block, self._word(), self._sealer.unfinished(text))

    def _word(self) -> int:
        """Where the last word begins, which may go on."""
        text, end = self._text, len(self._text)
        last_blank = _last_blank(text, max(self._decided, end - WORD_CHARS_MAX))
        word = last_blank + 1 if last_blank >= 0 else self._decided
        return end - TOKEN_CHARS_MAX if end - word > WORD_CHARS_MAX else word

    def _open_block(self, text: str) -> int:
        """Where a private-key block begins that may not be complete yet."""
        for head in PRIVATE_KEY_OPEN.finditer(text, self._decided):
            if len(text) - head.start() <= PEM_HOLD_CHARS and not PRIVATE_KEY_CLOSED.search(text, head.end()):
                return head.start()
        tail = PRIVATE_KEY_BEGINNING.search(text, max(self._decided, len(text) - 100))
        return tail.start() if tail else len(text)

    def _release(self, safe: int) -> bytes:
        places = self._sealer.places(self._text, self._decided)
        for place in places:
            if place.start < safe < place.end:
                safe = place.start
        shown = self._shown(places, safe)
        self._decided = max(self._decided, safe)
        keep = max(0, self._decided - CONTEXT_CHARS)
        self._text, self._out, self._decided = self._text[keep:], self._out - keep, self._decided - keep
        return shown

    def _early(self) -> bytes:
        """What can be shown of the end as it stands. It is not decided: a place may begin in it and go on."""
        text = self._text
        upto = self._sealer.presentable(text, self._word())
        for head in PRIVATE_KEY_OPEN.finditer(text, self._decided):
            if self._open_block(text) == head.start():
                upto = min(upto, head.end())
        places = self._sealer.places(text, self._decided)
        for place in places:
            if place.start < upto < place.end:
                upto = place.start
        return self._shown(places, upto)

    def _shown(self, places: list[F], upto: int) -> bytes:
        if upto <= self._out:
            return b""
        shown = self._sealer.replace(self._text, places, self._out, upto)
        self._out, self._marked = upto, False
        return shown.encode("utf-8", "surrogateescape")


def _last_blank(text: str, start: int) -> int:
    last = -1
    for at in (text.rfind(c, start) for c in " \n\t\r\x0b\x0c"):
        last = max(last, at)
    return last
