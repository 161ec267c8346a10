"""Which questions do rules ask about a call or a name?"""

import re
from collections.abc import Callable

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.knowledge import words
from veilig.audit.engine.state import MISSING, constant, truth
from veilig.audit.engine.value import LITERALS, Const, Dict, Opaque, Ref, Seq, Value
from veilig.audit.rules.rule import Condition

SECRET_WORDS = frozenset(
    words(
        "password passwd pwd passphrase secret token apikey api_key access_key private_key "
        "secret_key auth_token "
        "credential credentials otp csrf nonce salt session_id sessionid reset_code"
    )
)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
SECURITY_NAME = re.compile(
    r"(?i)(passw|pwd|passphrase|secret|token|api_?key|credential|otp|nonce|salt|session_?id|csrf|reset_?code"
    r"|verif\w*_?code|invit\w*|ticket|pairing_?code|access_?code|coupon|voucher|gift_?code|recovery|"
    r"auth_?code|temp\w*_?pass|"
    r"remember_?me|cookie)"
)
NOT_SECRET_NAME = re.compile(
    r"(?i)(token_?(type|count|limit|url|name|id$|index|pos|kind|s?_?max)|max_?token|tokeniz|"
    r"password_?(field|hash|label|"
    r"reset_?(url|view|form)|min|max|len|policy|validators)|(_|^)(url|uri|path|file|name|header|field|"
    r"param|label|env|type|prefix|"
    r"regex|pattern|format|length|len|help|text|message|msg|error|prompt|placeholder|template|view|"
    r"form|input|"
    r"column|endpoint|scope|algorithm|alg|status|state)$|cookie_?(name|path|domain|samesite))"
)
CHECKSUM_NAME = re.compile(
    r"(?i)(etag|checksum|cache|fingerprint|dedup|digest_?of|content_?(hash|id|key)|file_?(hash|id|"
    r"sum)|shard|bucket|"
    r"gravatar|avatar|color|colour|uuid|(^|_)(id|key)$|crc|slot|partition|ring|mtime|version)"
)


def keyword_is(position: int, name: str, *values: object) -> Condition:
    """The argument is given and is one of these constants (identity of type and value)."""

    def test(frame: Frame, site: CallSite) -> bool:
        del frame
        known = constant(site.arg(position, name))
        return any(type(known) is type(value) and known == value for value in values)

    return test


def missing(position: int, name: str) -> Condition:
    """The argument is not given, and cannot have come in through * or **."""

    def test(frame: Frame, site: CallSite) -> bool:
        del frame
        return not site.splat and site.arg(position, name) is None

    return test


def given_true(position: int, name: str) -> Condition:
    """The argument is given and true."""

    def test(frame: Frame, site: CallSite) -> bool:
        value = site.arg(position, name)
        return value is not None and truth(frame.state, value) is True

    return test


def either(*tests: Condition) -> Condition:
    """At least one of the tests."""
    return lambda frame, site: any(test(frame, site) for test in tests)


def both(*tests: Condition) -> Condition:
    """All of the tests."""
    return lambda frame, site: all(test(frame, site) for test in tests)


def negated(test: Condition) -> Condition:
    """Not the test."""
    return lambda frame, site: not test(frame, site)


def always(frame: Frame, site: CallSite) -> bool:
    """The call itself is the weakness."""
    del frame, site
    return True


def text_of(value: Value | None) -> str:
    """The constant string, or the qualified name; empty when neither is known."""
    if isinstance(value, Const) and isinstance(value.value, str):
        return value.value
    return value.qual if isinstance(value, Opaque) else ""


def argument_named(position: int, keyword: str, *endings: str) -> Condition:
    """The argument's constant text or qualified name ends with one of these."""

    def test(frame: Frame, site: CallSite) -> bool:
        del frame
        return text_of(site.arg(position, keyword)).endswith(endings)

    return test


def is_dynamic(value: Value | None) -> bool:
    """Whether nobody knows the value from the source."""
    if isinstance(value, Opaque) and value.qual.startswith(LITERALS):
        return False
    return value is not None and not isinstance(value, Const)


def first_of(frame: Frame, value: Value | None) -> Value | None:
    """The first element of a known sequence."""
    return item_of(frame, value, 0)


def item_of(frame: Frame, value: Value | None, index: int) -> Value | None:
    """One element of a known sequence; None when there is none at that place."""
    held = frame.state.get(value) if isinstance(value, Ref) else None
    return held.items[index] if isinstance(held, Seq) and index < len(held.items) else None


def dict_item(frame: Frame, value: Value | None, key: str) -> object:
    """The constant under the key of a known mapping; MISSING when there is none."""
    held = frame.state.get(value) if isinstance(value, Ref) else None
    return constant(held.items.get(key)) if isinstance(held, Dict) else MISSING


def context_name(frame: Frame, site: CallSite) -> str:
    """Names around the call that tell what it is for: function, class, and the statement's text."""
    line = frame.module.text(site.node.lineno)
    return f"{frame.scope} {line}"


def ending(*ends: str) -> Callable[[str], bool]:
    """Whether a name ends so."""
    return lambda name: name.endswith(ends)


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret, judged by its last part."""
    last = name.rpartition(".")[2].strip("[]'\"")
    return SECURITY_NAME.search(last) is not None and NOT_SECRET_NAME.search(last) is None
