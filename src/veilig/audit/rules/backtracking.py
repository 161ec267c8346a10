"""Can a regular expression try exponentially many ways? Answered from its parse tree, never by running it."""

import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from re import _parser  # type: ignore[attr-defined]  # the only parser of its own syntax
from typing import Any, cast

type Tokens = Sequence[tuple[object, Any]]

ENDLESS = 1_000  # a repeat with this many turns or more counts as endless
PATTERN_CHARS_MAX = 2_000
REPEATS = ("MAX_REPEAT", "MIN_REPEAT")


@lru_cache(maxsize=1024)
def catastrophic(pattern: str | bytes) -> bool:
    """Whether some text makes the pattern try exponentially many ways.

    It does when a repeat holds a repeat with nothing fixed between, or equal branches. Long and invalid
    patterns are not judged.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _explodes(_tokens(cast("Any", _parser).parse(pattern)), repeated=False)
    except (re.error, RecursionError, OverflowError, ValueError):
        return False


def _tokens(parsed: object) -> Tokens:
    return cast("Tokens", list(cast("Any", parsed)))


def _explodes(tokens: Tokens, *, repeated: bool) -> bool:
    """repeated: an endless repeat stands around these tokens, and they may match in several ways."""
    for kind, argument in tokens:
        name = str(kind)
        if name in REPEATS:
            body = _tokens(argument[2])
            endless = int(argument[1]) >= ENDLESS
            if endless and (repeated or _equal_branches(body)):
                return True
            if _explodes(body, repeated=(endless or repeated) and _loose(body)):
                return True
        elif name == "SUBPATTERN":
            if _explodes(_tokens(argument[3]), repeated=repeated):
                return True
        elif name == "BRANCH" and any(
            _explodes(_tokens(option), repeated=repeated) for option in argument[1]
        ):
            return True
    return False


def _unwrapped(body: Tokens) -> Tokens:
    while len(body) == 1 and str(body[0][0]) == "SUBPATTERN":
        body = _tokens(body[0][1][3])
    return body


def _loose(body: Tokens) -> bool:
    """Whether the group can hand its text from one turn to the next: no part of it is fixed."""
    parts = _unwrapped(body)
    kinds = [str(kind) for kind, _ in parts]
    return any(kind in REPEATS for kind in kinds) and all(kind in (*REPEATS, "AT") for kind in kinds)


def _equal_branches(body: Tokens) -> bool:
    parts = _unwrapped(body)
    if len(parts) != 1 or str(parts[0][0]) != "BRANCH":
        return False
    shown = [str(list(_tokens(option))) for option in parts[0][1][1]]
    return len(set(shown)) < len(shown)
