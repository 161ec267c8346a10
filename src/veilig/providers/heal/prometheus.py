"""What does a Prometheus server say of a service? Instant queries of the services file, as alerts.

A query that crosses its bound is an alert with a fingerprint of its own. A server that cannot be asked is a
note: it is no evidence for anything.
"""

import asyncio
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote, urlsplit

from veilig.core.errors import ProviderError
from veilig.core.service import Inventory, MetricBound

EVERY_S = 5.0
TIMEOUT_S = 3.0
ANSWER_BYTES = 1 << 20


def crossed(bound: MetricBound, values: Sequence[float]) -> bool:
    """Is one of them beyond the bound? Not-a-number is beyond none."""
    return any(
        (bound.above is not None and value > bound.above) or (bound.below is not None and value < bound.below)
        for value in values
        if not math.isnan(value)
    )


def fingerprint(service: str, bound: MetricBound) -> str:
    """The same for the same question about the same service."""
    plain = json.dumps([service, bound.expr, bound.above, bound.below, bound.server])
    return "promql" + hashlib.sha256(plain.encode()).hexdigest()[:16]


@dataclass(slots=True)
class Queries:
    """Asks all queries every few seconds until cancelled (`run`). news: called when something changed."""

    inventory: Inventory
    news: Callable[[], None] = lambda: None
    notes: dict[str, str] = field(default_factory=dict[str, str])
    _firing: frozenset[tuple[str, str]] = frozenset()

    def of(self, service: str) -> tuple[str, ...]:
        """Fingerprints of its queries that are beyond their bounds, sorted."""
        return tuple(sorted(key for name, key in self._firing if name == service))

    async def run(self) -> None:
        """Ask for ever; at once nothing when the file has no query."""
        while any(service.promql for service in self.inventory.services):
            await self.ask()
            await asyncio.sleep(EVERY_S)

    async def ask(self) -> None:
        """Ask all once."""
        asked = [(one.name, bound) for one in self.inventory.services for bound in one.promql]
        answers = await asyncio.gather(*(self._crossed(name, bound) for name, bound in asked))
        firing = frozenset(
            (name, fingerprint(name, bound)) for (name, bound), yes in zip(asked, answers, strict=True) if yes
        )
        if firing != self._firing:
            self._firing = firing
            self.news()

    async def _crossed(self, service: str, bound: MetricBound) -> bool:
        try:
            values = await instant(bound.server, bound.expr)
        except ProviderError as error:
            self.notes[fingerprint(service, bound)] = f"{service}: {error.what}: {error.why}"
            return False
        self.notes.pop(fingerprint(service, bound), None)
        return crossed(bound, values)


async def instant(server: str, expr: str) -> tuple[float, ...]:
    """The values of a PromQL expression now. Raises ProviderError when the server does not say.

    Source: Prometheus HTTP API, GET /api/v1/query; a vector's values, or one scalar.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            body = await _get(server, f"/api/v1/query?query={quote(expr, safe='')}")
        answer = cast(dict[str, Any], json.loads(body))
        if answer["status"] != "success":
            raise ProviderError(f"{expr!r} is not answered", why=str(answer.get("error", ""))[:200])
        data = answer["data"]
        if data["resultType"] == "scalar":
            return (float(data["result"][1]),)
        if data["resultType"] != "vector":
            raise ProviderError(f"{expr!r} is a {data['resultType']}", why="a vector or scalar is expected")
        return tuple(float(row["value"][1]) for row in data["result"])
    except (OSError, TimeoutError, EOFError) as error:
        raise ProviderError(f"{server} cannot be asked", why=str(error) or "no answer in time") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ProviderError(f"{server} does not answer as Prometheus does", why=str(error)[:200]) from error


async def _get(server: str, path: str) -> bytes:
    """A body, read to its end. As HTTP/1.0, so that it comes in one piece."""
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{server!r} is no address of a server")
    tls = True if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls, limit=ANSWER_BYTES)
    try:
        where = f"{parts.path.rstrip('/')}{path}"
        writer.write(f"GET {where} HTTP/1.0\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n\r\n".encode())
        await writer.drain()
        whole = b""
        while len(whole) <= ANSWER_BYTES and (more := await reader.read(64 << 10)):
            whole += more
    finally:
        writer.close()
    head, end, body = whole.partition(b"\r\n\r\n")
    if not end or len(whole) > ANSWER_BYTES or not head.startswith(b"HTTP/"):
        raise ValueError("half an answer, one that is too long, or no HTTP")
    return body
