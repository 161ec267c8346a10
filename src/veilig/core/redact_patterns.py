"""Which texts are a provider's secret by their published shape alone? (patterns as data)

Each pattern names a literal `anchor`; the regular expression runs only where the anchor stands, so text
without secrets costs one `str.find` per anchor. Every pattern matches inside one word (no white space),
except the private-key block: the streaming redactor relies on both facts.
Source of the shapes: the providers' public documentation of their token prefixes and lengths.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from veilig.core.redact_scan import TextScan, text_scan

TOKEN_CHARS_MAX = 4096  # longest single-word secret: a signed web token with many claims
PEM_CHARS_MAX = 16_384  # an 8192-bit RSA key in PEM takes about 6,400 characters, JSON-escaped a little more


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, end) of a text that must not be shown, and the kind of secret that they are."""

    start: int
    end: int
    kind: str
    key: str = ""  # the name that the text itself gives the value (DB_PASSWORD), empty when it gives none


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of secret: literal anchors, and the expression that must match `reach` characters before one
    or later.

    group: which group is the secret. accept: a last look at what an expression cannot say.
    """

    kind: str
    anchors: tuple[str, ...]
    expression: re.Pattern[str]
    reach: int = 0
    group: int = 0
    accept: Callable[[str], bool] | None = None


# Not inside a longer word; the letter of an escape such as \n in a JSON string does not count as one.
_EDGE = r"(?:(?<![A-Za-z0-9_])|(?<=\\[nrt]))"
_END = r"(?![A-Za-z0-9_])"


def _mixed(secret: str) -> bool:
    """Random tokens of this length hold a digit and two cases; class names and slugs do not."""
    body = secret[3:]
    return (
        any(c.isdigit() for c in body) and any(c.isupper() for c in body) and any(c.islower() for c in body)
    )


def _two_digits(secret: str) -> bool:
    return sum(c.isdigit() for c in secret) >= 2


_TEMPLATE = re.compile(r"[<>{}]|\*{3}|\$[A-Z(]|%[sd(]|\.\.\.", re.ASCII)
_SAMPLE_PASSWORDS = frozenset(
    [
        "password",
        "passwd",
        "pass",
        "pw",
        "pwd",
        "secret",
        "token",
        "example",
        "changeme",
        "your-password",
        "yourpassword",
        "mypassword",
        "user",
        "xxx",
        "xxxx",
    ]
)


def _literal_password(secret: str) -> bool:
    """Not a template, and not the word that every manual writes in its place, as in user[:password]@host."""
    plain = secret.strip("[]{}()*").lower()
    return not _TEMPLATE.search(secret) and plain not in _SAMPLE_PASSWORDS and len(set(secret)) > 2


def _has_key_body(block: str) -> bool:
    return re.search(r"[A-Za-z0-9+/=]{30}", block) is not None


def _p(
    kind: str,
    anchors: str,
    expression: str,
    *,
    reach: int = 0,
    group: int = 0,
    accept: Callable[[str], bool] | None = None,
) -> Pattern:
    return Pattern(kind, tuple(anchors.split()), re.compile(expression, re.ASCII), reach, group, accept)


_PEM_HEAD = r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_PEM_FOOT = r"-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
PRIVATE_KEY = Pattern(
    "private-key",
    ("-----BEGIN ",),
    re.compile(
        # whole, or cut off: then lines of base64 as far as they reach
        rf"{_PEM_HEAD}(?:(?:(?!-----BEGIN )[\s\S]){{0,{PEM_CHARS_MAX}}}?{_PEM_FOOT}(?:\\n)?"
        rf"|(?:(?:\s|\\n|\\r|[\"'+,>|]){{0,8}}[A-Za-z0-9+/=]{{40,}}){{1,400}})"
    ),
    accept=_has_key_body,
)
PRIVATE_KEY_OPEN = re.compile(_PEM_HEAD)
PRIVATE_KEY_CLOSED = re.compile(_PEM_FOOT)
# The tail of a text in which a header may still be growing.
PRIVATE_KEY_BEGINNING = re.compile(r"-----BEGIN [A-Z0-9 ]{0,80}-{0,5}\Z|-----(?:BEGIN?|BE?)?\Z")

PATTERNS: tuple[Pattern, ...] = (
    PRIVATE_KEY,
    _p("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,255}"),
    _p("github-fine-token", "github_pat_", r"github_pat_[A-Za-z0-9_]{22,255}"),
    _p(
        "gitlab-token",
        "glpat- glcbt- glptt- glagent- glrt-",
        r"gl(?:pat|cbt|ptt|agent|rt)-[A-Za-z0-9_.\-]{16,300}",
    ),
    _p(
        "gitlab-token",
        "gldt- glsoat- glimt- gloas- glft- glffct-",
        r"gl(?:dt|soat|imt|oas|ft|ffct)-[A-Za-z0-9_.\-]{16,300}",
    ),
    _p("gitlab-token", "GR1348941", r"GR1348941[A-Za-z0-9_\-]{20,64}"),
    _p("aws-access-key-id", "AKIA ASIA ABIA ACCA", _EDGE + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}" + _END),
    _p("aws-access-key-id", "A3T", _EDGE + r"A3T[A-Z0-9]{17}" + _END),
    _p("slack-token", "xox xapp-", r"(?:xox[a-z]{1,2}|xapp)-(?=[A-Za-z0-9\-]{0,200}\d)[A-Za-z0-9\-]{16,250}"),
    _p(
        "slack-webhook",
        "https://hooks.slack.com/",
        r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/_\-]{20,200}",
    ),
    _p("stripe-key", "k_live_ k_test_", _EDGE + r"[srp]k_(?:live|test)_[A-Za-z0-9]{16,250}", reach=1),
    _p("stripe-webhook-secret", "whsec_", r"whsec_[A-Za-z0-9+/=]{24,100}"),
    _p("google-api-key", "AIza", _EDGE + r"AIza[A-Za-z0-9_\-]{35}(?![A-Za-z0-9_\-])"),
    _p("google-oauth-secret", "GOCSPX-", r"GOCSPX-[A-Za-z0-9_\-]{24,40}"),
    _p("google-oauth-token", "ya29.", _EDGE + r"ya29\.[A-Za-z0-9_\-]{20,1024}"),
    _p(
        "jwt",
        "eyJ",
        r"eyJ[A-Za-z0-9_\-]{10,1800}\.[A-Za-z0-9_\-]{10,1800}(?:\.[A-Za-z0-9_\-]{0,480})?",
    ),
    _p("npm-token", "npm_", _EDGE + r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _p("pypi-token", "pypi-AgE", r"pypi-AgE[A-Za-z0-9_\-]{50,1000}"),
    _p("anthropic-key", "sk-ant-", r"sk-ant-[a-z0-9]{2,10}-[A-Za-z0-9_\-]{20,200}"),
    _p("openai-key", "sk-", _EDGE + r"sk-[A-Za-z0-9_\-]{32,300}", accept=_mixed),
    _p("twilio-key", "SK AC", _EDGE + r"(?:SK|AC)[0-9a-f]{32}" + _END),
    _p("sendgrid-key", "SG.", _EDGE + r"SG\.[A-Za-z0-9_\-]{16,32}\.[A-Za-z0-9_\-]{32,64}"),
    _p("mailgun-key", "key-", _EDGE + r"key-[0-9a-f]{32}" + _END),
    _p("mailchimp-key", "-us", _EDGE + r"[0-9a-f]{32}-us\d{1,2}" + _END, reach=32),
    _p("telegram-token", ":A", _EDGE + r"\d{8,10}:A[A-Za-z0-9_\-]{34}(?![A-Za-z0-9_\-])", reach=10),
    _p(
        "discord-token",
        "MT Mj Mz ND NT Nj Nz OD OT",  # base 64 of the first digits of a numeric user id
        _EDGE + r"[MNO][A-Za-z0-9]{22,27}\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27,40}",
    ),
    _p("heroku-key", "HRKU-", r"HRKU-[A-Za-z0-9_\-]{30,80}"),
    _p("digitalocean-token", "dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[0-9a-f]{64}"),
    _p("shopify-token", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    _p("huggingface-token", "hf_", _EDGE + r"hf_[A-Za-z0-9]{30,40}(?![A-Za-z0-9_])"),
    _p("dockerhub-token", "dckr_pat_ dckr_oat_", r"dckr_[po]at_[A-Za-z0-9_\-]{20,60}"),
    _p(
        "azure-client-secret",
        "Q~",
        r"(?<![A-Za-z0-9~._\-])[A-Za-z0-9~._\-]{3}\dQ~[A-Za-z0-9~._\-]{31,34}",
        reach=4,
    ),
    _p("vault-token", "hvs. hvb. hvr.", _EDGE + r"hv[sbr]\.[A-Za-z0-9_\-]{24,300}"),
    _p("databricks-token", "dapi", _EDGE + r"dapi[0-9a-f]{32}(?:-\d)?" + _END),
    _p("age-key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _p("grafana-token", "glsa_ glc_", r"gl(?:sa|c)_[A-Za-z0-9_+/=]{32,400}"),
    _p("newrelic-key", "NRAK-", r"NRAK-[A-Z0-9]{27}"),
    _p("sentry-token", "sntrys_ sntryu_", r"sntry[su]_[A-Za-z0-9_+/=\-]{40,500}"),
    _p("postman-key", "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    _p("atlassian-token", "ATATT3 ATCTT3", r"AT[AC]TT3[A-Za-z0-9_\-=]{30,300}"),
    _p("groq-key", "gsk_", _EDGE + r"gsk_[A-Za-z0-9]{40,60}"),
    _p("tailscale-key", "tskey-", r"tskey-[a-z]{2,10}-[A-Za-z0-9_\-]{16,80}"),
    _p("figma-token", "figd_", r"figd_[A-Za-z0-9_\-]{36,60}"),
    _p("linear-key", "lin_api_", r"lin_api_[A-Za-z0-9]{32,48}"),
    _p("notion-token", "ntn_", _EDGE + r"ntn_[A-Za-z0-9]{40,60}"),
    _p("planetscale-token", "pscale_", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.\-]{30,80}"),
    _p("supabase-key", "sbp_", _EDGE + r"sbp_[0-9a-f]{40}"),
    _p("doppler-token", "dp.", _EDGE + r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.\-]{40,80}"),
    _p("rubygems-key", "rubygems_", r"rubygems_[0-9a-f]{48}"),
    _p("square-token", "sq0", _EDGE + r"sq0[a-z]{3}-[A-Za-z0-9_\-]{22,60}"),
    _p("replicate-token", "r8_", _EDGE + r"r8_[A-Za-z0-9]{37}" + _END),
    _p("xai-key", "xai-", _EDGE + r"xai-[A-Za-z0-9]{60,100}"),
    _p("artifactory-key", "AKCp", _EDGE + r"AKCp[A-Za-z0-9]{10,80}" + _END, accept=_two_digits),
    _p(
        "url-password",
        "://",
        r"://[^\s/:@\"'<>‹›]{0,128}:([^\s@/\"'<>‹›]{3,256})@",
        group=1,
        accept=_literal_password,
    ),
    _p(
        "azure-storage-key",
        "AccountKey=",
        r"AccountKey=([A-Za-z0-9+/]{40,120}={0,2})",
        group=1,
    ),
)

WORD_CHARS_MIN = 14  # no shape but those of `_ANYWHERE` fits into a shorter word (tests measure each)
# `in` before anything else is called: most texts hold no anchor, and all of every action is looked at.
_ANYWHERE = tuple((a, p) for p in PATTERNS for a in p.anchors if p.kind in ("private-key", "url-password"))
_ANCHORED = tuple((a, p) for p in PATTERNS for a in p.anchors if (a, p) not in _ANYWHERE)
_ALL = (*_ANYWHERE, *_ANCHORED)


@cache
def _anchor_scan() -> TextScan | None:
    return text_scan([anchor for anchor, _ in _ALL])


def _matches(pattern: Pattern, text: str, anchor: str) -> Iterator[Span]:
    at = text.find(anchor)
    while at >= 0:
        found = None
        for begin in range(max(0, at - pattern.reach), at + 1):
            found = pattern.expression.match(text, begin)
            if found:
                break
        if found and (pattern.accept is None or pattern.accept(found[pattern.group])):
            start, end = found.span(pattern.group)
            yield Span(start, end, pattern.kind)
            at = text.find(anchor, max(end, at + 1))
        else:
            at = text.find(anchor, at + 1)


def provider_spans(text: str) -> list[Span]:
    """Spans of provider-shaped secrets, in no order, possibly overlapping; linear in the text for every
    pattern.
    """
    scan = _anchor_scan()
    if scan is not None:
        standing = sorted({number for number, _, _ in scan(text)})
        return [span for n in standing for span in _matches(_ALL[n][1], text, _ALL[n][0])]
    places = [(anchor, pattern) for anchor, pattern in _ANYWHERE if anchor in text]
    # Ninety searches of a whole text are slow; its long words, each once, are a fraction of a log.
    long = "\n".join({word for word in text.split() if len(word) >= WORD_CHARS_MIN})
    if long:
        places += [(anchor, pattern) for anchor, pattern in _ANCHORED if anchor in long]
    return [span for anchor, pattern in places for span in _matches(pattern, text, anchor)]
