"""In which disguises does a known secret still count as shown? (encodings of a value, as seen in the
compact view)

Forms are compared in the compact view (redact_view): lower case, without white space, quotes, brackets and
other characters that only separate. Hence hex with colons, `xxd`, %41 and one letter per line need no form
of their own.
"""

import base64
import codecs
import html
import json
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from veilig.core.redact_view import compact

READABLE_RUN = 8  # so many characters in a row give a secret away to a reader
ENCODED_RUN = 12  # as many encoded characters stand for six to nine of the secret
SHORTEST_RUN = 7  # the index looks at every fourth position and finds runs of seven and more
LONG_VALUE_BYTES = 1024  # longer values (keys, certificates) get only the common encodings: memory


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which secret number `secret` may appear: compact bytes, and the shortest run that counts."""

    secret: int
    name: str
    data: bytes
    least: int

    @property
    def wide(self) -> bool:
        """Whether only so long a run counts that pieces of eight bytes find it."""
        return self.least > READABLE_RUN + 2

    def __repr__(self) -> str:
        return f"Form(secret={self.secret}, name={self.name!r})"


def utf8(text: str) -> bytes:
    """Bytes of any str, lone surrogates too (an escaped raw byte becomes that byte again where it can)."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _aligned64(raw: bytes, shift: int) -> bytes:
    """The base64 characters that depend on `raw` alone when `shift` unknown bytes stand before it."""
    text = base64.b64encode(b"\0" * shift + raw)
    return text[(0, 2, 3)[shift] : (shift + len(raw)) * 8 // 6]


def _aligned32(raw: bytes, shift: int) -> bytes:
    text = base64.b32encode(b"\0" * shift + raw)
    return text[-(-8 * shift // 5) : (shift + len(raw)) * 8 // 5]


def _encoded(raw: bytes) -> Iterator[tuple[str, bytes]]:
    for shift in range(3):
        inner = _aligned64(raw, shift)
        yield "base64", inner
        yield "base64", inner.replace(b"+", b"-").replace(b"/", b"_")
        if (
            shift == 0 and len(raw) <= LONG_VALUE_BYTES
        ):  # encoded twice: the rarer shifts would double the index
            for outer in range(3):
                yield "base64", _aligned64(inner, outer)
    yield "hex", raw.hex().encode()
    if len(raw) > LONG_VALUE_BYTES:
        return
    for shift in range(5):
        yield "base32", _aligned32(raw, shift)
    yield "hex", b"".join(b"x%02x" % byte for byte in raw)
    yield "octal", b"".join(b"%03o" % byte for byte in raw)
    yield "decimal", b"".join(b"%d" % byte for byte in raw)
    utf16 = raw.decode("utf-8", "replace").encode("utf-16-be", "replace")
    units = [utf16[i : i + 2] for i in range(0, len(utf16), 2)]
    yield "escaped", b"".join(b"u" + unit.hex().encode() for unit in units)


def _readable(value: str, raw: bytes) -> Iterator[tuple[str, bytes]]:
    yield "part", raw
    if len(raw) > LONG_VALUE_BYTES:
        return
    yield "reversed", utf8(value[::-1])
    yield "rot13", utf8(codecs.encode(value, "rot13"))
    yield "escaped", json.dumps(value)[1:-1].encode()
    yield "escaped", utf8(html.escape(value))
    yield "percent", urllib.parse.quote(raw, safe="").encode()
    yield "percent", urllib.parse.quote(raw).encode()


def forms(secret: int, value: str) -> list[Form]:
    """Every distinct form of `value` that is long enough to be recognised.

    Forms that are too short for the index are left out; the caller looks for such values literally.
    """
    raw = utf8(value)
    made: dict[bytes, Form] = {}
    for name, data in _readable(value, raw):
        small = compact(data)
        if len(small) >= SHORTEST_RUN:
            made.setdefault(small, Form(secret, name, small, min(READABLE_RUN, len(small))))
    for name, data in _encoded(raw):
        small = compact(data)
        if len(small) >= SHORTEST_RUN:
            made.setdefault(small, Form(secret, name, small, min(ENCODED_RUN, len(small))))
    return list(made.values())
