"""How are safety notices delivered? Signed, again until they are taken, each try in the ledger.

At least once: a crash between an answer and its record repeats a notice under the same webhook-id. No
redirect is followed, and nothing but ids is sent.
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from veilig.app.notices import EVENTS, RETRY_S, Notice, Outbox, endpoint_id, read_secret, sign
from veilig.app.safeguards import Desk
from veilig.core.canonical import JSON
from veilig.core.errors import UsageError
from veilig.core.ledger_event import Draft
from veilig.core.policy_safeguards import Webhook
from veilig.monitor import ladder

log = logging.getLogger(__name__)
TIMEOUT_S: Final = 10.0
AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where notices go, and what signs them."""

    url: str
    key: bytes


class Sender:
    """Delivers what is due. Raises UsageError for an endpoint without a secret or a safe address."""

    def __init__(
        self, desk: Desk, rules: tuple[Webhook, ...], environment: Mapping[str, str] | None = None
    ) -> None:
        known = os.environ if environment is None else environment
        self._desk = desk
        self._endpoints = {
            endpoint_id(rule.url): Endpoint(
                _safe(rule.url), read_secret(known.get(rule.secret_env, ""), rule.secret_env)
            )
            for rule in rules
        }
        self._outbox = Outbox(self._endpoints)
        self._not_before: dict[tuple[str, str], float] = {}
        self._client: aiohttp.ClientSession | None = None

    @property
    def endpoints(self) -> int:
        """How many are told."""
        return len(self._endpoints)

    async def deliver(self) -> None:
        """Try everything whose time has come, once. Raises LedgerError."""
        if not self._endpoints:
            return
        ledger, seen = self._desk.ledger, self._outbox.seen
        self._outbox.apply(await ledger.read(lambda: list(ledger.events(after=seen, names=EVENTS))))
        now = time.monotonic()
        ready = [
            (notice, to)
            for notice, to in self._outbox.due(self._desk.now_s())
            if self._not_before.get((notice.id, to), 0.0) <= now
        ][: 4 * AT_ONCE]
        if not ready:
            return
        gate = asyncio.Semaphore(AT_ONCE)
        drafts = await asyncio.gather(*(self._try(notice, to, gate) for notice, to in ready))
        await self._desk.ledger.submit(lambda tx: [tx.append(d.name, d.session, d.body) for d in drafts])

    async def close(self) -> None:
        """Let the connections go."""
        if self._client is not None:
            await self._client.close()

    async def _try(self, notice: Notice, to: str, gate: asyncio.Semaphore) -> Draft:
        attempt = self._outbox.failures.get((notice.id, to), 0) + 1
        async with gate:
            status, why = await self._post(notice, self._endpoints[to])
        body: dict[str, JSON] = {"event": notice.id, "type": notice.type, "to": to, "attempt": attempt}
        if not why:
            self._not_before.pop((notice.id, to), None)
            return Draft("webhook.sent", ladder.SESSION, {**body, "status": status})
        final = status == 410 or attempt >= len(RETRY_S)
        if final:
            log.warning("webhook %s is not told of %s: %s", to, notice.type, why)
        else:
            self._not_before[notice.id, to] = time.monotonic() + RETRY_S[attempt]
        return Draft("webhook.failed", ladder.SESSION, {**body, "why": why, "final": final})

    async def _post(self, notice: Notice, endpoint: Endpoint) -> tuple[int, str]:
        """The status, and why it does not count as told."""
        if self._client is None:
            self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        data, at_s = orjson.dumps(notice.body()), int(time.time())
        headers: dict[str, Any] = {
            "content-type": "application/json",
            "user-agent": "veilig",
            "webhook-id": notice.id,
            "webhook-timestamp": str(at_s),
            "webhook-signature": sign(endpoint.key, notice.id, at_s, data),
        }
        try:
            async with self._client.post(
                endpoint.url, data=data, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, "" if 200 <= answer.status < 300 else f"HTTP {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, type(error).__name__


def _safe(url: str) -> str:
    """Encrypted, or on this machine. Raises UsageError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost" or _loopback(host):
        return url
    raise UsageError(
        f"webhook {endpoint_id(url)} is not encrypted",
        why="who is under review would be read on the way",
        fix="give an https address in gateway.webhooks",
    )


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
