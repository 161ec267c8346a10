"""Which end of a text may still grow into a secret that is known by its shape alone?

Asked when text has waited long for what follows it: a prompt, a progress bar, a word typed by hand. Only the
secret itself counts, not the prefix of a token or the name before it: these may be read.
"""

import re
from typing import Final

from veilig.core.redact_assignments import assignment_spans
from veilig.core.redact_patterns import PATTERNS, TOKEN_CHARS_MAX

SHOW_AFTER_S: Final = 0.2  # whoever is asked something must see the question
MASK_AFTER_S: Final = 2.0  # a writer that stops so long in the middle of a token may never go on
SHOWN_CHARS_MAX: Final = 3  # of what may become a secret; with four, a PIN would be out
HELD: Final = "‹secret:unfinished›"

_CONTEXT_CHARS: Final = 256  # before the last word: the name of a value, its separator and quote
# Whatever stands after a suspect name becomes a secret with this behind it, closed by each kind of quote.
_RANDOM: Final = "q7Rv2Kp9Wm4TzX3c"
_PROBES: Final = tuple(_RANDOM + close for close in ("", '"', "'", "`", '\\"'))
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.~+/=\-]*\Z", re.ASCII)
_URL: Final = re.compile(
    r"://[^\s/:@\"'<>‹›]{0,128}:(?!\d{1,5}\Z)([^\s@/\"'<>‹›]{1,256})\Z"
)  # five digits: a port
_HEX: Final = re.compile(
    r"(?<![0-9a-zA-Z])[0-9a-f]{16,32}\Z", re.ASCII
)  # a shape that is known by its end (-us12)
_ANCHORS: Final = tuple(
    a for p in PATTERNS for a in p.anchors if p.kind not in ("private-key", "url-password", "mailchimp-key")
)


def growing(text: str, word: int) -> int:
    """From where the end of `text` may grow into a secret by what follows; len(text) when it cannot.

    word: where the last, unfinished word begins. Shapes that are complete already are not looked for.
    """
    end = len(text)
    word = max(word, end - TOKEN_CHARS_MAX)
    least = min(
        (_after(text, anchor, word) for anchor in _ANCHORS if text.find(anchor, word) >= 0), default=end
    )
    for shape, group in ((_URL, 1), (_HEX, 0)):
        found = shape.search(text, word)
        least = min(least, found.start(group)) if found else least
    begin = max(0, word - _CONTEXT_CHARS)
    for probe in _PROBES:
        for span in assignment_spans(text[begin:] + probe):
            if begin + span.start < end < begin + span.end:
                least = min(least, begin + span.start)
    return least


def _after(text: str, anchor: str, word: int) -> int:
    """Where the token begins, behind its prefix, of which everything to the end of `text` may be a part."""
    at = text.find(anchor, word)
    while at >= 0:
        body = at + len(anchor)
        inside = len(anchor) < 4 and at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_")
        if not inside and _TOKEN.match(text, body):
            return body
        at = text.find(anchor, at + 1)
    return len(text)
