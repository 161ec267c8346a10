"""Does this request come from our own page, in time, and from whom? What stands before every handler.

Host against a list (a name that somebody points at us is not ours), Origin of every change and every socket,
a token against forgery, a cookie that scripts cannot read, rates, and headers that let a page load nothing
from elsewhere and run no script that is not ours.
"""

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import urlsplit

from veilig.collab.accounts import Accounts, Login
from veilig.collab.roles import Refused
from veilig.core.errors import LedgerError
from veilig.core.policy_page import REQUESTS_PER_MINUTE

COOKIE: Final = "veilig_session"
BURST_S: Final = 10.0  # so many seconds' requests may come at once
COSTLIEST: Final = 20.0  # one request may cost so much: to start a session
RATES_KEPT: Final = 10_000

HEADERS: Final = (
    (b"content-security-policy", (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'"
    )),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    (b"x-frame-options", b"DENY"),
)  # fmt: skip
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Doorway:
    """Knows our own names. hosts: what `Host` may say. secure: people come over https (a proxy ends it)."""

    def __init__(
        self, accounts: Accounts, hosts: Iterable[str], *, secure: bool, per_minute: int = REQUESTS_PER_MINUTE
    ) -> None:
        self.accounts = accounts
        self.hosts = frozenset(host.lower() for host in hosts)
        self.secure = secure
        self._rate_s = per_minute / 60
        self._burst = max(self._rate_s * BURST_S, COSTLIEST)
        self._buckets: dict[str, _Bucket] = {}

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer carries."""
        return [*HEADERS, *((HSTS,) if self.secure else ())]

    def check_host(self, scope: Any) -> None:
        """Raises Refused (421) for a name that is not ours: DNS can be made to point here."""
        host = header(scope, b"host").lower()
        if host not in self.hosts:
            raise Refused(
                f"this server is not {host[:100]!r}", status=421,
                why="its names are given when it starts", fix="use its own address, or start it with --url",
            )  # fmt: skip

    def check_origin(self, scope: Any) -> None:
        """Raises Refused (403) for another page's request. No Origin: no browser sent it across sites."""
        origin = header(scope, b"origin")
        site = header(scope, b"sec-fetch-site")
        if site and site not in ("same-origin", "none"):
            raise Refused("this request comes from another site", why=f"Sec-Fetch-Site is {site[:20]!r}")
        if not origin:
            return
        parts = urlsplit(origin)
        schemes = ("https",) if self.secure else ("http", "https")
        if parts.netloc.lower() != header(scope, b"host").lower() or parts.scheme not in schemes:
            raise Refused("this request comes from another page", why=f"its Origin is {origin[:100]!r}")

    async def login(self, scope: Any) -> Login | None:
        """Whose cookie came with the request. Raises Refused (503) when nobody can be looked up."""
        given = cookie_of(header(scope, b"cookie"), COOKIE)
        if not given:
            return None
        try:
            return await self.accounts.read(lambda: self.accounts.login(given))
        except LedgerError as error:
            raise Refused(
                "nobody can be looked up", status=503, why=error.why, fix="try again", retry_after_s=5.0
            ) from error

    async def need_login(self, scope: Any) -> Login:
        """Raises Refused (401, 503)."""
        login = await self.login(scope)
        if login is None:
            raise Refused("nobody is signed in", status=401, fix="sign in, or open your link again")
        return login

    def check_token(self, scope: Any, login: Login) -> None:
        """Raises Refused (403) for a change without the token of this sign-in."""
        if not secrets.compare_digest(header(scope, b"x-csrf-token").encode(), login.csrf.encode()):
            raise Refused("the header X-CSRF-Token is missing or wrong", fix="take it from GET /api/v1/me")

    def check_rate(self, who: str, cost: float = 1.0) -> None:
        """Raises Refused (429) when somebody is too fast."""
        now = time.monotonic()
        bucket = self._buckets.get(who)
        if bucket is None:
            if len(self._buckets) >= RATES_KEPT:
                self._buckets = {k: b for k, b in self._buckets.items() if now - b.at < BURST_S}
            bucket = self._buckets[who] = _Bucket(self._burst, now)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._rate_s)
        bucket.at = now
        if bucket.left < cost:
            raise Refused("too many requests", status=429, fix="wait a moment", retry_after_s=2.0)
        bucket.left -= cost

    def passing_cookie(self, name: str, value: str) -> str:
        """A cookie for ten minutes that comes back from another site, as a strict one does not."""
        age_s, flags = (600 if value else 0), ("; Secure" if self.secure else "")
        return f"{name}={value}; Path=/api/v1/auth/oidc; Max-Age={age_s}; HttpOnly; SameSite=Lax{flags}"

    def cookie(self, value: str, age_s: int) -> str:
        """The Set-Cookie header; an empty value removes it."""
        flags = "; Secure" if self.secure else ""
        return f"{COOKIE}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{flags}"


def cookie_of(line: str, name: str) -> str:
    """One cookie of a request, empty when absent."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(line[:4096])
    except CookieError:
        return ""
    given = jar.get(name)
    return given.value if given is not None else ""


def header(scope: Any, name: bytes) -> str:
    """One header as text, empty when absent."""
    return next((v.decode("latin-1") for k, v in scope["headers"] if k == name), "")


def address(scope: Any) -> str:
    """Who is at the other end of the connection; a proxy's word is not taken for it."""
    client = scope.get("client")
    return str(client[0]) if client else "local"
