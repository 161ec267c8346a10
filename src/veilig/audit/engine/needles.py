"""In which texts can a regular expression not be found, told without searching them?

Most patterns of the rules need one of a few words. Looking for words is fifty times as fast as looking for a
pattern, and most texts hold none of them.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

NEEDLES_MAX = 40  # more words are not quicker to look for than the pattern
LENGTH_MIN = 2  # a single letter stands everywhere
TEXTS_FOLDED_MAX = 16

type Words = frozenset[str]
type Plan = tuple[re.Pattern[str], Words, bool]

NOTHING: Words = frozenset()


def search(pattern: str | re.Pattern[str], text: str) -> re.Match[str] | None:
    """What `re.search` gives."""
    regex, needles, folds = _plan(pattern)
    if needles and (not folds or text.isascii()):  # beyond ASCII, lower() and IGNORECASE differ
        where = _folded(text) if folds else text
        for needle in needles:
            if needle in where:
                break
        else:
            return None
    return regex.search(text)


@lru_cache(maxsize=TEXTS_FOLDED_MAX)
def _folded(text: str) -> str:
    return text.lower()


@lru_cache(maxsize=4096)
def _plan(pattern: str | re.Pattern[str]) -> Plan:
    regex = re.compile(pattern)
    folds = bool(regex.flags & re.IGNORECASE)
    words = needles_of(regex.pattern, regex.flags)
    return regex, frozenset(word.lower() for word in words) if folds else words, folds


def needles_of(pattern: str, flags: int = 0) -> Words:
    """Words of which every text that the pattern is found in holds at least one; none when nobody can say.

    Source: the parse tree of the standard library, whose form is not promised: what is not known here is
    taken for something that may be empty.
    """
    try:
        parser: Any = import_module("re._parser")
        tree: Sequence[Any] = list(parser.parse(pattern, flags & ~re.DEBUG))
    except (ImportError, AttributeError, re.error, RecursionError):
        return NOTHING
    words = _of_sequence(tree)
    return words if len(words) <= NEEDLES_MAX else NOTHING


def _of_sequence(items: Sequence[Any]) -> Words:
    """The best words among those of the parts that must all be there."""
    best, run = NOTHING, ""
    for operation, value in items:
        if str(operation) == "LITERAL":
            run += chr(value)
            continue
        best = _better(_better(best, _word(run)), _of_part(str(operation), value))
        run = ""
    return _better(best, _word(run))


def _word(run: str) -> Words:
    return frozenset({run}) if len(run) >= LENGTH_MIN else NOTHING


def _of_part(operation: str, value: Any) -> Words:
    if operation == "SUBPATTERN":
        added, removed, inner = value[1], value[2], value[3]
        return NOTHING if added or removed else _of_sequence(list(inner))
    if operation == "BRANCH":
        found = [_of_sequence(list(branch)) for branch in value[1]]
        return frozenset[str]().union(*found) if all(found) else NOTHING
    if operation in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return _of_sequence(list(value[2])) if value[0] > 0 else NOTHING
    if operation == "ATOMIC_GROUP":
        return _of_sequence(list(value))
    return NOTHING


def _better(one: Words, two: Words) -> Words:
    """The words that fewer texts hold: long ones, and few."""
    return max(one, two, key=lambda words: (min(map(len, words), default=0), -len(words)))
