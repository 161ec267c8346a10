"""Where do many words stand in one text, found in one pass?

With ahocorasick_rs, whose time hardly grows with the number of words. Without it (a machine for which it has
no wheel) `None` is returned, and the caller goes its slower way to the same answer.
"""

from collections.abc import Callable, Sequence
from typing import Final

type Found = tuple[int, int, int]  # number of the word, start, end
type TextScan = Callable[[str], list[Found]]
type ByteScan = Callable[[bytes], list[Found]]

DFA_WORDS_MAX: Final = 500  # twice as fast as the small automaton, and many times as large


def text_scan(words: Sequence[str]) -> TextScan | None:
    """All places of the words, overlapping ones too, in characters; None where the library is missing."""
    try:
        from ahocorasick_rs import AhoCorasick, Implementation
    except ImportError:
        return None
    kind = Implementation.DFA if len(words) <= DFA_WORDS_MAX else Implementation.ContiguousNFA
    automaton = AhoCorasick(words, implementation=kind, store_patterns=False)

    def scan(text: str) -> list[Found]:
        try:
            return automaton.find_matches_as_indexes(text, overlapping=True)
        except UnicodeEncodeError:  # half a surrogate pair: one character for another, all places stay
            plain = text.encode("utf-8", "replace").decode()
            return automaton.find_matches_as_indexes(plain, overlapping=True)

    return scan


def byte_scan(words: Sequence[bytes]) -> ByteScan | None:
    """The same for bytes."""
    try:
        from ahocorasick_rs import BytesAhoCorasick, Implementation
    except ImportError:
        return None
    kind = Implementation.DFA if len(words) <= DFA_WORDS_MAX else None
    automaton = BytesAhoCorasick(words, implementation=kind)
    return lambda data: automaton.find_matches_as_indexes(data, overlapping=True)
