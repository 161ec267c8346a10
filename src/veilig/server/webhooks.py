"""Who outside is told what happens in sessions? One URL, signed messages, none of which holds a secret.

A message is the view of a viewer. Its signature is HMAC-SHA256 over `timestamp.body`: who checks both can
tell that it is ours and new. Messages wait in a bounded queue; one that cannot be delivered is tried again,
then dropped and counted: the ledger has it, and a receiver sees the gap in `seq`.
"""

import asyncio
import hashlib
import hmac
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from veilig.collab.board import Card
from veilig.collab.roles import Role
from veilig.collab.view import view
from veilig.core.errors import UsageError

if TYPE_CHECKING:
    from veilig.core.ledger import Event

log = logging.getLogger(__name__)
TOLD: Final = frozenset({
    "session.started", "session.ended", "approval.asked", "approval.voted", "approval.expired",
    "comment.added", "room.joined", "secret.revealed", "session.interrupted",
})  # fmt: skip
WAITING_MAX: Final = 1000
TRIES: Final = 4
FIRST_WAIT_S: Final = 1.0  # then 2, then 4
TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go, and with what they are signed; an empty secret: unsigned."""

    url: str
    secret: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.username:
            raise UsageError(f"{self.url!r} is no address for messages", fix="write https://HOST/PATH")


def signed(secret: str, at_s: int, body: bytes) -> str:
    """The header that says that a message is ours: `t=SECONDS,v1=HEX`."""
    mac = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={mac}"


class Webhooks:
    """Hears every event, sends some. `told` is the listener of a serving; `run` sends until cancelled."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(WAITING_MAX)
        self.dropped = 0

    def told(self, event: "Event", card: Card | None, changed: bool) -> None:
        """Queue the message of an event that somebody outside waits for."""
        del changed
        if event.name not in TOLD or card is None:
            return
        message = {"session": event.session, "kind": card.kind, "event": view(event, Role.VIEWER)}
        try:
            self._waiting.put_nowait(orjson.dumps(message, default=str))
        except asyncio.QueueFull:
            self.dropped += 1
            log.warning("%d messages for %s were dropped: it is too slow", self.dropped, self._place())

    async def run(self) -> None:
        """Send, one after the other, so that they arrive in order."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http:
            while True:
                body = await self._waiting.get()
                for attempt in range(TRIES):
                    if await self._sent(http, body):
                        break
                    await asyncio.sleep(FIRST_WAIT_S * 2**attempt)
                else:
                    self.dropped += 1
                    log.warning("a message for %s was dropped: it does not take it", self._place())

    async def _sent(self, http: aiohttp.ClientSession, body: bytes) -> bool:
        at_s = int(time.time())
        headers = {"Content-Type": "application/json", "User-Agent": "veilig"}
        if self._target.secret:
            headers["X-Veilig-Signature"] = signed(self._target.secret, at_s, body)
        try:
            async with http.post(
                self._target.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status < 300 or (400 <= answer.status < 500 and answer.status != 429)
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _place(self) -> str:
        return urlsplit(self._target.url).netloc
