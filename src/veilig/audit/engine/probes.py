"""Does a regular expression of the audited program keep dangerous text out? Answered by trying short
probes."""

import re
import warnings
from functools import lru_cache

PATTERN_CHARS_MAX = 300  # longer patterns are not tried: nothing is concluded from them

# Short on purpose: even a pattern with exponential backtracking ends quickly on a dozen characters.
PROBES: dict[str, tuple[str, ...]] = {
    "sql": ("a' OR 1=1", "1 OR 1=1", 'a" --', "a'b", "x;y"),
    "shell": ("a;id", "$(id)", "a|id", "`id`", "a&b", "a b;c"),
    "code": ("f(1)", "a.b()", "__x__(1)", "a=f()"),
    "path": ("../../etc", "/etc/passwd", "a/../../b", "..", "..\\x"),
    "html": ("<b>", '"x', "<i x=1>", "'a"),
    "url": ("http://e.x/", "//e.x", "http://a@e.x"),
    "redirect": ("http://e.x/", "//e.x", "/\\e.x"),
    "log": ("a\nb", "a\r\nb"),
    "header": ("a\nb", "a\r\nb"),
    "xpath": ("a' or '1", 'a" or "1'),
    "ldap": ("*", "a)(b=*", "*)(uid=*"),
    "template": ("{{7*7}}", "${7}", "{%x%}"),
    "regex": ("(a+)+", "a*", "[a"),
    "argument": ("--x", "-rf"),
    "nosql": ("$where", "a'||1"),
    "xml": ("<!DOCTYPE", "<a/>"),
}

DANGER = {
    "sql": re.compile(r"""['";\\]|--"""),
    "shell": re.compile(r"[;&|$`\n<>(){}'\"\\*?!~ ]"),
    "code": re.compile(r"[().\[\]=]"),
    "path": re.compile(r"\.\.|^/|\\"),
    "html": re.compile(r"[<>\"']"),
    "url": re.compile(r"//|@|:"),
    "redirect": re.compile(r"//|\\|:"),
    "log": re.compile(r"[\r\n]"),
    "header": re.compile(r"[\r\n]"),
    "xpath": re.compile(r"['\"]"),
    "ldap": re.compile(r"[*()\\]"),
    "template": re.compile(r"\{\{|\{%|\$\{"),
    "regex": re.compile(r"[()*+?\[{]"),
    "nosql": re.compile(r"[$'{]"),
    "xml": re.compile(r"[<&]"),
}

# What a deny-list test (`"'" in value` and the way out) keeps away. Weak on its own, and taken as meant.
DENIED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("..", ("path",)),
    ("/", ("path",)),
    ("'", ("sql", "xpath")),
    ("<", ("html", "xml")),
    ("\n", ("log", "header")),
    ("\r", ("log", "header")),
    ("*", ("ldap",)),
    ("(", ("ldap",)),
    ("{{", ("template",)),
)


@lru_cache(maxsize=2048)
def compiled(pattern: str | bytes) -> re.Pattern[str] | None:
    """The pattern, or None when it is too long or not valid."""
    if isinstance(pattern, bytes):
        pattern = pattern.decode("latin-1")
    if len(pattern) > PATTERN_CHARS_MAX:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None


@lru_cache(maxsize=2048)
def kept_out(pattern: str | bytes, how: str) -> frozenset[str]:
    """The uses whose probes `re.<how>(pattern, probe)` rejects, for how in match, fullmatch, search."""
    regex = compiled(pattern)
    if regex is None:
        return frozenset()
    text = regex.pattern
    if how == "match" and not text.endswith(("$", r"\Z")):
        return frozenset()  # only the beginning is tested
    if how == "search" and not (text.startswith(("^", r"\A")) and text.endswith(("$", r"\Z"))):
        return frozenset()
    return frozenset(
        kind
        for kind, probes in PROBES.items()
        if not any(getattr(regex, how)(probe) is not None for probe in probes)
    )


@lru_cache(maxsize=2048)
def found_by(pattern: str | bytes) -> frozenset[str]:
    """The uses for which `re.search(pattern, value)` finding nothing means the value is harmless."""
    regex = compiled(pattern)
    if regex is None:
        return frozenset()
    return frozenset(
        kind for kind, probes in PROBES.items() if all(regex.search(probe) is not None for probe in probes)
    )


@lru_cache(maxsize=2048)
def removed_by(pattern: str | bytes, replacement: str) -> frozenset[str]:
    """The uses for which nothing dangerous is left after `re.sub(pattern, replacement, value)`."""
    regex = compiled(pattern)
    if regex is None or len(replacement) > 8 or "\\" in replacement:
        return frozenset()
    return frozenset(
        kind
        for kind, danger in DANGER.items()
        if all(danger.search(regex.sub(replacement, probe)) is None for probe in PROBES[kind])
    )


def denied_by(literal: object) -> frozenset[str]:
    """The uses a value is harmless for when it does not contain `literal`."""
    if not isinstance(literal, str):
        return frozenset()
    own = frozenset({f"no-{literal}"}) if literal in ("'", '"') else frozenset[str]()
    return own | frozenset(
        kind
        for mark, kinds in DENIED
        if literal == mark or (mark == ".." and literal.startswith(".."))
        for kind in kinds
    )
