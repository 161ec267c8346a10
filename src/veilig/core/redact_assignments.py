"""Which values are secret because the text beside them says so? (DB_PASSWORD=..., "token": "...",
Authorization: ...)

The name of the key makes the value suspect; the shape of the value decides: names of variables, templates,
paths, plain words and numbers stay visible, so that code about passwords can still be read.
"""

import re
from collections.abc import Iterator
from functools import cache

from veilig.core.limits import SECRET_CHARS_MIN
from veilig.core.redact_patterns import Span
from veilig.core.redact_scan import TextScan, text_scan

VALUE_CHARS_MAX = 512  # a longer value in one assignment is a document, and has a shape of its own

# Searched in the lower-cased text; each is a part of a key's name.
KEY_ANCHORS = (
    "passw",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "credential",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "accesskey",
    "access-key",
    "account_key",
    "accountkey",
    "private_key",
    "privatekey",
    "private-key",
    "encryption_key",
    "signing_key",
    "auth_key",
    "authkey",
    "art-api",
    "masterkey",
    "master_key",
    "license_key",
    "sharedaccesskey",
)
_BEFORE_KEY = frozenset(a[:-3][-1] for a in KEY_ANCHORS if a.endswith("key"))
_KEY_SAYS_SECRET = re.compile("|".join(map(re.escape, KEY_ANCHORS)))
# What the key is about, not the secret itself.
_KEY_SAYS_OTHER = re.compile(
    r"(?:tokens|tokeni[sz]\w*|passwordless|public\w*"
    r"|[_\-.]?(?:id|ids|name|names|file|path|dir|url|uri|type|kind|count|len|length|size|ttl|expiry|expires(?:_\w+)?|policy"
    r"|field|label|hint|prompt|regex|pattern|version|env|var|ref|arn|manager|store|limit|class|endpoint|prefix|header))$"
)
_KEY_CHARS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_SEPARATOR_AND_VALUE = re.compile(
    r"(?P<tail>[A-Za-z0-9_\-]{0,40})"
    r"(?:\\{0,3}[\"'`])?\]?"
    r"(?:[ \t]{0,8}(?:=>|:=|={1,3}|:|!=)[ \t]{0,8}|(?P<flag>[ \t]{1,2})|(?P<tag>>))"
    r"(?:(?P<quote>\\{0,3}[\"'`])(?P<quoted>(?:(?!(?P=quote))[^\s‹›]){1,512})(?P=quote)"
    r"|(?P<bare>[^\s\"'`,;<>(){}\[\]‹›\\|&]{1,512})(?P<next>[(\[{]?))",
    re.ASCII,
)
_AUTHORIZATION = re.compile(
    r"(?:bearer|basic|authorization\\{0,3}[\"']?\s{0,2}[:=]\s{0,2}\\{0,3}[\"']?(?:token|apikey|key)?)\s{1,4}"
    r"(?P<value>[A-Za-z0-9._~+/=\-]{8,4096})",
    re.ASCII | re.IGNORECASE,
)
_AUTHORIZATION_ANCHORS = ("bearer", "basic", "authorization")
_CURL = "curl "
# What is searched for first: anchors ending in "key" share one search; `key_says_secret` tells them apart.
_SEARCHED = (
    *dict.fromkeys("key" if a.endswith("key") else a for a in KEY_ANCHORS),
    *_AUTHORIZATION_ANCHORS,
    _CURL,
)
_CURL_USER = re.compile(
    r"(?:-u|--user|--proxy-user)[ =]?[\"']?[^\s:'\"]{1,64}:(?P<value>[^\s'\"‹›]{4,128})", re.ASCII
)

_PLACEHOLDER = re.compile(
    r"[<>]|\{\{|\}\}|\$\{|\$\(|%\(|\.\.\.|\*{3}|^\$[A-Za-z_]\w*$|^%\w+%$|xxxx|^_+$"
    r"|your|example|placeholder|redacted|changeme|change[_-]me|dummy|replace|insert[_-]|todo|fixme|not[_-]?set|sample",
    re.IGNORECASE | re.ASCII,
)
_PATH = re.compile(
    r"^(?:[a-z]+://|~?/[\w.\-]+/|\.{1,2}/|[A-Za-z]:\\)|\.(?:pem|key|crt|json|txt|py|ya?ml|toml|js|ts|md|html|env|go|java)$",
    re.ASCII,
)
_WORDS = re.compile(r"^_*[A-Za-z]+(?:[_.\-:/]+[A-Za-z]+)*_*\d{0,2}$", re.ASCII)
_SNAKE = re.compile(r"^[a-z][a-z0-9]*(?:[_.\-][a-z0-9]+)+$", re.ASCII)
_NUMBER = re.compile(r"^[+\-]?[\d._:,\-/]+[a-z%]{0,3}$", re.ASCII)
_HEX = re.compile(r"^[0-9a-fA-F\-]{16,}$", re.ASCII)
COMMON_VALUES = frozenset(
    [
        "postgres",
        "postgresql",
        "password",
        "passw0rd",
        "password1",
        "password123",
        "changeme",
        "changeit",
        "development",
        "production",
        "staging",
        "localhost",
        "undefined",
        "disabled",
        "required",
        "optional",
        "administrator",
        "anonymous",
        "username",
        "nopassword",
        "bearertoken",
        "12345678",
        "123456789",
        "1234567890",
        "qwertyuiop",
        "testtest",
        "test1234",
    ]
)


def key_says_secret(key: str) -> bool:
    """Whether a variable or field of this name holds a secret: DB_PASSWORD does, PASSWORD_FILE and
    max_tokens do not.
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
    plain = key.lower()
    found = _KEY_SAYS_SECRET.search(plain) or _KEY_SAYS_SECRET.search(name)
    return bool(found) and not _KEY_SAYS_OTHER.search(name) and not _KEY_SAYS_OTHER.search(plain)


def boring(value: str) -> bool:
    """Values that a text may show even under a suspicious name: too short, numbers, paths, templates,
    common words.
    """
    return (
        len(value) < SECRET_CHARS_MIN
        or len(set(value)) < 5
        or value.lower() in COMMON_VALUES
        or bool(_PLACEHOLDER.search(value))
        or bool(_NUMBER.match(value))
        or bool(_PATH.search(value) and "@" not in value and not looks_random(value.rsplit("/", 1)[-1]))
    )


def looks_random(value: str) -> bool:
    """Whether nobody would use the value as a word, a name or a path: digits and letters, or letters in
    mixed case.
    """
    if _HEX.match(value):
        return sum(c.isdigit() for c in value) >= 2
    kinds = sum(
        (any(c.islower() for c in value), any(c.isupper() for c in value), any(c.isdigit() for c in value))
    )
    if _SNAKE.match(value) or _WORDS.match(value):
        switches = sum(a.islower() != b.islower() for a, b in zip(value, value[1:], strict=False))
        return value.isalnum() and len(value) >= 16 and kinds >= 2 and switches * 4 > len(value)
    return kinds >= 2 or any(not c.isalnum() for c in value)


def _value_span(found: re.Match[str], head: str, *, literal: bool) -> tuple[int, int] | None:
    """Where the value stands when key and value together make it a secret."""
    if found["flag"] is not None and not head.startswith("-"):
        return None  # "token abc": only a command line's --token takes its value after a blank
    group = "quoted" if found["quoted"] is not None else "bare"
    value: str = found[group]
    if group == "bare":
        if found["next"]:
            return None  # a call or an index: the code that gets the secret, not the secret
        value = value.rstrip(".:")
    if value.startswith("$2") or not value:
        return None  # a bcrypt hash is not the password
    if boring(value) or not (literal or looks_random(value)):
        return None
    start = found.start(group)
    return start, start + len(value)


def assignment_spans(text: str, *, literal: bool = False) -> Iterator[Span]:
    """Values assigned to keys that name a secret. literal: the format knows no variables (.env, YAML),
    words count too.
    """
    lower = text.lower()
    if len(lower) != len(text):  # a few letters change their length: positions would not fit
        lower = "".join(c.lower() if c.isascii() else c for c in text)
    for anchor, at in _standing(lower):
        if anchor in _AUTHORIZATION_ANCHORS:
            header = _AUTHORIZATION.match(text, at)
            if header and _credential(header["value"]):
                yield Span(*header.span("value"), "authorization")
        elif anchor == _CURL:
            yield from _curl_spans(text, at)
        elif anchor != "key" or lower[at - 1 : at] in _BEFORE_KEY:
            span = _assigned(text, at, len(anchor), literal=literal)
            if span:
                yield span


def _standing(lower: str) -> Iterator[tuple[str, int]]:
    """The anchors that stand in the text, each with its places, in the order of `_SEARCHED`."""
    scan = _key_scan()
    if scan is not None:
        for number, at, _ in sorted(scan(lower)):
            yield _SEARCHED[number], at
        return
    for anchor in _SEARCHED:
        at = lower.find(anchor)
        while at >= 0:
            yield anchor, at
            at = lower.find(anchor, at + len(anchor))


@cache
def _key_scan() -> TextScan | None:
    return text_scan(_SEARCHED)


def _assigned(text: str, at: int, size: int, *, literal: bool) -> Span | None:
    """The value of the name of which `size` characters at `at` sound like a secret's."""
    found = _SEPARATOR_AND_VALUE.match(text, at + size)
    if not found or (found["flag"] is not None and text[at - 1 : at].lower() not in _KEY_CHARS):
        return None
    before = text[_head(text, at) : at]
    key = before + text[at : at + size] + found["tail"]
    where = _value_span(found, before, literal=literal) if key_says_secret(key) else None
    return Span(*where, "assignment", key.lstrip("-.")) if where else None


def _head(text: str, at: int) -> int:
    """Where the name begins that is being written at `at`."""
    start, least = at, max(0, at - 64)
    while start > least and text[start - 1] in _KEY_CHARS:
        start -= 1
    return start


def _curl_spans(text: str, at: int) -> Iterator[Span]:
    line_end = text.find("\n", at)
    for found in _CURL_USER.finditer(text, at, min(len(text) if line_end < 0 else line_end, at + 2048)):
        if not boring(found["value"] + "#" * SECRET_CHARS_MIN):
            yield Span(*found.span("value"), "basic-auth")


def _credential(value: str) -> bool:
    return not boring(value) and looks_random(value) and (len(value) >= 16 or value.endswith("="))
