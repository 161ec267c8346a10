"""Which words of a text could be a secret, though nothing says so? For masks, never for handles.

A guess is of low confidence and hidden from those who only watch. It is wrong often enough that it may not
change what is stored:
a planner must read what is there.
"""

import math
import re
from collections import Counter
from typing import Final

from veilig.core.redact_patterns import Span

WORD_CHARS_MIN: Final = 20  # below, the names of programs look as random as tokens
WORD_CHARS_MAX: Final = 512
ENTROPY_MIN_BITS: Final = 3.6  # per character; English words with numbers stay below

_WORD = re.compile(r"(?<![A-Za-z0-9+/_=\-‹:.])[A-Za-z0-9+/_\-]{20,512}={0,2}(?![A-Za-z0-9+/_\-›])", re.ASCII)
_HEX = re.compile(
    r"(?:0x)?[0-9a-fA-F\-]+\Z", re.ASCII
)  # digests, commits, UUIDs: no credential, nearly always
# one way to read each character: what anybody may write must not make a search go through all others
_WORDS = re.compile(r"(?:[A-Z]?[a-z]{2}|[A-Z]{2}|\d)(?:[_\-/]?[A-Za-z0-9])*\Z", re.ASCII)


def guesses(text: str) -> list[Span]:
    """Words that look random: disjoint, in order, in characters."""
    return [Span(m.start(), m.end(), "random") for m in _WORD.finditer(text) if _random(m[0])]


def _random(word: str) -> bool:
    if _HEX.match(word) or word.count("/") > 2:
        return False
    kinds = sum(
        (any(c.islower() for c in word), any(c.isupper() for c in word), any(c.isdigit() for c in word))
    )
    if kinds < 2:
        return False
    if kinds == 2 and _WORDS.match(word):
        return False
    switches = sum(_kind(a) != _kind(b) for a, b in zip(word, word[1:], strict=False))
    return switches * 4 >= len(word) and _entropy(word) >= ENTROPY_MIN_BITS


def _kind(char: str) -> int:
    return 0 if char.islower() else 1 if char.isupper() else 2 if char.isdigit() else 3


def _entropy(word: str) -> float:
    size = len(word)
    return -sum(n / size * math.log2(n / size) for n in Counter(word).values())
