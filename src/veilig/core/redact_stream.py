"""How is a stream of bytes redacted when a secret may be cut across chunks?

What the end of the stream could still turn into a secret is held back; everything before is decided for
good. The result does not depend on where the chunks are cut: text is released only up to a place that no
later byte can change.
"""

import codecs
import re
from typing import Protocol

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

    def replace(self, text: str, places: list[F], start: int, end: int) -> str:
        """text[start:end] with the places inside it replaced."""
        ...


class StreamRedactor[F: Found]:
    """Bytes in, bytes out, secrets replaced by handles; nothing is lost: out is all of in after `flush`.

    Invalid UTF-8 passes unchanged. Held back at most: the last word (WORD_CHARS_MAX characters), an open
    private-key block (PEM_HOLD_CHARS), or the longest form of a known secret with its gaps.
    """

    def __init__(self, sealer: Sealer[F]) -> None:
        self._sealer = sealer
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""  # context that is out already, then what is held
        self._out = 0  # so many characters of it are out

    def __repr__(self) -> str:
        return f"StreamRedactor({self.held_chars} characters held)"

    @property
    def held_chars(self) -> int:
        """How many characters wait for what follows them."""
        return len(self._text) - self._out

    def feed(self, data: bytes) -> bytes:
        """What can be shown now that `data` arrived."""
        self._text += self._decoder.decode(data)
        safe = self._safe()
        return self._release(safe) if safe > self._out else b""

    def flush(self) -> bytes:
        """Everything that is held, sealed as it stands: at the end of the stream, or when somebody waits
        for a prompt.
        """
        self._text += self._decoder.decode(b"", final=True)
        return self._release(len(self._text), final=True)

    def _safe(self) -> int:
        """Up to here nothing that arrives later can change what is a secret."""
        text, end = self._text, len(self._text)
        block = self._open_block(text)
        if block <= self._out:
            return self._out
        last_blank = _last_blank(text, max(self._out, end - WORD_CHARS_MAX))
        word = last_blank + 1 if last_blank >= 0 else self._out
        if end - word > WORD_CHARS_MAX or (last_blank < 0 and end - self._out > WORD_CHARS_MAX):
            word = end - TOKEN_CHARS_MAX
        return min(block, word, self._sealer.unfinished(text))

    def _open_block(self, text: str) -> int:
        """Where a private-key block begins that may not be complete yet."""
        for head in PRIVATE_KEY_OPEN.finditer(text, self._out):
            if len(text) - head.start() <= PEM_HOLD_CHARS and not PRIVATE_KEY_CLOSED.search(text, head.end()):
                return head.start()
        tail = PRIVATE_KEY_BEGINNING.search(text, max(self._out, len(text) - 100))
        return tail.start() if tail else len(text)

    def _release(self, safe: int, *, final: bool = False) -> bytes:
        places = self._sealer.places(self._text, self._out)
        if not final:
            for place in places:
                if place.start < safe < place.end:
                    safe = place.start
        shown = self._sealer.replace(self._text, places, self._out, safe)
        keep = max(0, safe - CONTEXT_CHARS)
        self._text, self._out = self._text[keep:], safe - keep
        return shown.encode("utf-8", "surrogateescape")


def _last_blank(text: str, start: int) -> int:
    last = -1
    for at in (text.rfind(c, start) for c in " \n\t\r\x0b\x0c"):
        last = max(last, at)
    return last
