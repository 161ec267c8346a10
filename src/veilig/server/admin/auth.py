"""Who is at the admin page, and did they mean this request? Seats, sign-ins, and what stands before handlers.

A sign-in is a random cookie that scripts cannot read, kept as a hash in memory: it ends after half an hour of
quiet, with the seat, and with the process. A form carries a token of its sign-in; the API takes the key of a
seat and no cookie, so another site can send neither.
"""

import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from veilig.access.keys import key_hash
from veilig.access.seats import EVENTS, Seat, Seats
from veilig.app.safeguards import Desk
from veilig.core.errors import UsageError
from veilig.server.admin.html import Html

COOKIE: Final = "veilig_admin"
IDLE_S: Final = 1800.0
LIFE_S: Final = 8 * 3600.0
TRIES_PER_MINUTE: Final = (
    20  # of wrong keys, of everybody together: a key cannot be guessed, and a log can be filled
)
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "cache-control": "no-store",
}


class DeniedError(Exception):
    """This request is not heard: status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


@dataclass(slots=True)
class SignIn:
    """One browser of one seat. told: what the next page says first, once."""

    seat: str
    csrf: str
    began_s: float
    seen_s: float
    told: list[Html] = field(default_factory=list[Html])


class Door:
    """Knows seats, sign-ins and our own names. url: how people reach us, where a proxy adds https."""

    def __init__(self, desk: Desk, listen: str, url: str = "") -> None:
        self._desk = desk
        self._seats = Seats()
        self._open: dict[str, SignIn] = {}
        self._wrong: list[float] = []
        parts = urlsplit(url or f"http://{listen}")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"{url!r} is no address", fix="write for example https://admin.example.org")
        self.secure = parts.scheme == "https"
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if not self.secure and not local:
            raise UsageError(
                f"the admin page would be at {parts.netloc} without encryption",
                why="keys would be read on the way",
                fix="listen on 127.0.0.1 behind a proxy with https, and name that with --url",
            )
        self.hosts = {parts.netloc.lower()}
        if local and parts.port:
            self.hosts |= {f"localhost:{parts.port}", f"127.0.0.1:{parts.port}"}

    def seat(self, digest: bytes) -> Seat | None:
        """The live seat of a key's hash."""
        self._seats.apply(self._desk.ledger.events(after=self._seats.seen, names=EVENTS))
        return self._seats.find(digest, self._desk.now_s())

    def sign_in(self, key: str) -> str:
        """The cookie's value for a seat's key. Raises DeniedError."""
        now = time.monotonic()
        self._wrong = [t for t in self._wrong if now - t < 60]
        if len(self._wrong) >= TRIES_PER_MINUTE:
            raise DeniedError(429, "too many wrong keys in this minute; wait a moment")
        seat = self.seat(key_hash(key.strip().encode()))
        if seat is None:
            self._wrong.append(now)
            raise DeniedError(401, "this key opens no seat, or no longer does")
        cookie = secrets.token_urlsafe(32)
        self._open[_hash(cookie)] = SignIn(seat.id, secrets.token_urlsafe(32), now, now)
        return cookie

    def sign_out(self, request: Request) -> None:
        """End the sign-in of this cookie."""
        self._open.pop(_hash(request.cookies.get(COOKIE, "")), None)

    def who(self, request: Request) -> tuple[Seat, SignIn] | None:
        """Whose cookie came with a request."""
        name = _hash(request.cookies.get(COOKIE, ""))
        found, now = self._open.get(name), time.monotonic()
        if found is None:
            return None
        self._seats.apply(self._desk.ledger.events(after=self._seats.seen, names=EVENTS))
        seat = self._seats.known.get(found.seat)
        over = now - found.seen_s > IDLE_S or now - found.began_s > LIFE_S
        if over or seat is None or not seat.live(self._desk.now_s()):
            del self._open[name]
            return None
        found.seen_s = now
        return seat, found

    def bearer(self, request: Request) -> Seat:
        """Whose key came with a request to the API. Raises DeniedError."""
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        seat = self.seat(key_hash(key.strip().encode())) if kind.lower() == "bearer" else None
        if seat is None:
            raise DeniedError(401, "send `Authorization: Bearer KEY` with the key of a live seat")
        return seat

    def check_host(self, request: Request) -> None:
        """Raises DeniedError for a name that is not ours: DNS can be made to point here."""
        if request.headers.get("host", "").lower() not in self.hosts:
            raise DeniedError(421, "this server goes by another name: see --url")

    def check_change(self, request: Request, csrf: str, given: str) -> None:
        """Raises DeniedError for a change that another page asked for."""
        origin = request.headers.get("origin", "")
        site = request.headers.get("sec-fetch-site", "same-origin")
        if site not in ("same-origin", "none") or (
            origin and urlsplit(origin).netloc.lower() not in self.hosts
        ):
            raise DeniedError(403, "this request comes from another page")
        if not secrets.compare_digest(csrf.encode(), given.encode()):
            raise DeniedError(403, "the form is out of date: open the page again")


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
