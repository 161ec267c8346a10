"""Which signals come from outside, and which go there? Alertmanager and PromQL in, OpenMetrics out."""

import asyncio
import contextlib
import logging

from veilig.core.clock import Clock
from veilig.core.service import Inventory
from veilig.providers.heal.alerts import Alerts, receiver
from veilig.providers.heal.metrics import endpoint
from veilig.providers.heal.prometheus import Queries
from veilig.providers.heal.sampler import Sampler

log = logging.getLogger(__name__)


class Outside:
    """The endpoints of one watch. metrics, alerts: HOST:PORT, "" for none; token: of Alertmanager.

    `of` goes to the sampler as its `alerts`; `open` once the sampler has begun to look.
    """

    def __init__(
        self, inventory: Inventory, clock: Clock, *, metrics: str = "", alerts: str = "", token: str = ""
    ) -> None:
        self._metrics, self._where, self._token, self._clock = metrics, alerts, token, clock
        self._sampler: Sampler | None = None
        self._alerts = Alerts(inventory, clock.boottime_s, self._news)
        self._queries = Queries(inventory, self._news)
        self._servers: list[asyncio.Server] = []
        self._asking: asyncio.Task[None] | None = None

    def of(self, service: str) -> tuple[str, ...]:
        """Fingerprints of all that fires for this service."""
        return (*self._alerts.of(service), *self._queries.of(service))

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be asked, and what named no service."""
        dropped = self._alerts.dropped
        said = (f"{dropped} alerts named no service of the file, or were too many",) if dropped else ()
        return (*self._queries.notes.values(), *said)

    async def open(self, sampler: Sampler) -> None:
        """Listen and ask. Raises UsageError when an address cannot be had."""
        self._sampler = sampler
        sampler.more_notes = lambda: self.notes
        try:
            if self._metrics:
                samples = sampler.samples
                self._servers.append(await endpoint(self._metrics, lambda: samples, self._clock.boottime_s))
            if self._where:
                self._servers.append(await receiver(self._where, self._alerts, token=self._token))
        except BaseException:
            await self.close()
            raise
        self._asking = asyncio.create_task(self._queries.run())

    async def close(self) -> None:
        """Stop listening and asking."""
        if self._asking is not None:
            self._asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asking
            self._asking = None
        for server in self._servers:
            server.close()
            await server.wait_closed()
        self._servers.clear()

    def _news(self) -> None:
        if self._sampler is not None:
            self._sampler.look_again()
